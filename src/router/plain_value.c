/* Are two pieces the halves of one value, wherever it was cut? Only what its own form or check digits tell,
 * so that lines and members that merely stand beside each other stay what they are.
 *
 *   hollis.bramwell@nor | thpine.net     an address whose domain goes on
 *   4539 57             | 87 6362 1486   Luhn's check digit is right
 *   DE743704            | 00440817264953 mod 97 is 1
 *   536-2               | 2-8714         three, two and four digits
 *   +48 601             | 234 567
 *   81.201.             | 57.33          four numbers up to 255, of two digits for the most part
 *   ghp_x9KqeFgHiJkL    | MnOpQrStUv     begins as a token does */
#include "router/detect_id.h"
#include "router/plain.h"

#include <string.h>

enum {
    PIECE = 64,
    CARD_LEAST = 15,
    CARD_MOST = 16,
    PHONE_LEAST = 9,
    PHONE_MOST = 15,
    IBAN_LEAST = 15,
    IBAN_MOST = 34
};

struct joined {
    char text[2 * PIECE];
    size_t n, cut;
    size_t from, to; /* where it stands */
};

static struct str text_of(const struct joined *j)
{
    return (struct str){j->text, j->n};
}

static bool is_mail(char c)
{
    return detect_is_alnum(c) || detect_is_one_of(c, "_-+.@");
}

static bool is_number(char c)
{
    return detect_is_digit(c) || detect_is_one_of(c, " -+");
}

/* The bytes of a kind that end at `left`, and those that begin at `right`; false: one is missing. */
static bool join(struct str s, size_t left, size_t right, bool (*is_kind)(char), struct joined *out)
{
    size_t from = left, to = right;
    while (from > 0 && left - from < PIECE && is_kind(s.data[from - 1]))
        from--;
    while (to < s.len && to - right < PIECE && is_kind(s.data[to]))
        to++;
    while (from < left && s.data[from] == ' ')
        from++;
    while (to > right && s.data[to - 1] == ' ')
        to--;
    out->from = from;
    out->to = to;
    out->cut = left - from;
    out->n = out->cut + (to - right);
    if (out->cut == 0 || to == right)
        return false;
    memcpy(out->text, s.data + from, out->cut);
    memcpy(out->text + out->cut, s.data + right, to - right);
    return true;
}

/* Does the domain behind the '@' end only behind the cut? "import os", "@app.route" is none. */
static bool is_address(const struct joined *j)
{
    size_t at = str_find_char(text_of(j), '@'), letters = 0, end = j->n;
    if (at == SIZE_MAX || at < 2 || at > j->cut)
        return false;
    struct str before = str_slice(text_of(j), at + 1, j->cut > at ? j->cut : at + 1);
    if (str_find_char(before, '.') != SIZE_MAX ||
        str_find_char(str_slice(text_of(j), at + 1, j->n), '@') != SIZE_MAX)
        return false;
    while (end > at && j->text[end - 1] == '.')
        end--;
    while (end > at && detect_is_alpha(j->text[end - 1])) {
        end--;
        letters++;
    }
    bool top = letters >= 2 && end > at + 2 && j->text[end - 1] == '.';
    return top && (at < j->cut || plain_is_top(str_slice(text_of(j), end, end + letters)));
}

static size_t digits_of(const struct joined *j, char out[PIECE])
{
    size_t n = 0;
    for (size_t i = 0; i < j->n && n < PIECE; i++)
        if (detect_is_digit(j->text[i]))
            out[n++] = j->text[i];
    return n;
}

static bool is_card(const char *digits, size_t n)
{
    return n >= CARD_LEAST && n <= CARD_MOST && digits[0] >= '3' && digits[0] <= '6' &&
           detect_check_luhn(digits, n);
}

/* Does a line or a quoted text of digits end before `at`, or begin behind it (`step` is 1)? */
static bool number_next(struct str s, size_t at, int step)
{
    enum { BETWEEN = 8 };
    size_t signs = 0;
    char c = '\0';
    for (size_t n = 0; n < BETWEEN; n++, at += (size_t)step) {
        c = step > 0 ? plain_byte(s, at) : at > 0 ? s.data[at - 1] : '\0';
        if (!detect_is_one_of(c, " \t\r\n\"'>|") && (c != ',' || signs == 0))
            break;
        signs += c == '\n' ? 2 : c == '"' || c == '\'';
    }
    return signs >= 2 && detect_is_digit(c);
}

/* A column or list of numbers. */
static bool is_listed(struct str s, const struct joined *j)
{
    return number_next(s, j->from, -1) || number_next(s, j->to, 1);
}

/* Groups that a space between them leaves as cards have them are put together so; here is what it would part.
 */
static bool is_run_cut(const struct joined *j)
{
    size_t left = 0, right = 0;
    while (left < j->cut && detect_is_digit(j->text[j->cut - left - 1]))
        left++;
    while (j->cut + right < j->n && detect_is_digit(j->text[j->cut + right]))
        right++;
    return left < 3 || right < 3 || left > 6 || right > 6 || left + right == 4;
}

static bool is_ssn(struct str s)
{
    bool form = s.len == 11;
    for (size_t i = 0; i < s.len && form; i++)
        form = i == 3 || i == 6 ? s.data[i] == '-' : detect_is_digit(s.data[i]);
    return form;
}

static bool is_phone(const struct joined *j, size_t n_digits)
{
    return j->text[0] == '+' && j->cut > 3 && j->n - j->cut > 2 && n_digits >= PHONE_LEAST &&
           n_digits <= PHONE_MOST && !memchr(j->text + 1, '+', j->n - 1);
}

static bool is_iban(struct str s)
{
    bool form = s.len >= IBAN_LEAST && s.len <= IBAN_MOST && detect_is_upper(s.data[0]) &&
                detect_is_upper(s.data[1]) && detect_is_digit(s.data[2]) && detect_is_digit(s.data[3]);
    for (size_t i = 4; i < s.len && form; i++)
        form = detect_is_digit(s.data[i]) || detect_is_upper(s.data[i]);
    return form && detect_check_iban(s.data, s.len);
}

static bool is_dashed(char c)
{
    return detect_is_digit(c) || c == '-';
}

static bool is_grouped(char c)
{
    return detect_is_digit(c) || detect_is_upper(c) || c == ' ';
}

/* "IBAN DE74 3704 004" | "4 0817 2649 53" */
static bool is_grouped_iban(const struct joined *j)
{
    char compact[2 * PIECE];
    size_t n = 0, digits = 0, cut = 0;
    for (size_t i = 0; i < j->n; i++) {
        digits += detect_is_digit(j->text[i]);
        cut = i == j->cut ? n : cut;
        if (j->text[i] != ' ')
            compact[n++] = j->text[i];
    }
    for (size_t from = 0; from < cut && digits >= 12; from++)
        if (is_iban((struct str){compact + from, n - from}))
            return true;
    return false;
}

static bool is_token(const struct joined *j)
{
    static const char *const begins[] = {"ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "sk-",
        "sk_live_", "xoxb-", "xoxp-", "hf_", "npm_", "AIza", "AKIA", "ASIA", "eyJ"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins && j->n >= 20; i++)
        if (j->cut >= strlen(begins[i]) && strncmp(j->text, begins[i], strlen(begins[i])) == 0)
            return true;
    return false;
}

static bool is_dotted(char c)
{
    return detect_is_digit(c) || c == '.';
}

/* The number of a list's next item ("2. ") is none of it, nor are those of sections. */
static bool is_ip(const struct joined *j)
{
    size_t parts = 1, digits = 0, long_ones = 0;
    unsigned value = 0;
    for (size_t i = 0; i <= j->n; i++) {
        if (i < j->n && detect_is_digit(j->text[i])) {
            value = value * 10 + (unsigned)(j->text[i] - '0');
            digits++;
            continue;
        }
        if (digits == 0 || digits > 3 || value > 255)
            return false;
        long_ones += digits > 1;
        parts += i < j->n;
        digits = value = 0;
    }
    return parts == 4 && long_ones > 2;
}

bool plain_is_value(struct str s, size_t left, size_t right)
{
    struct joined j;
    char digits[PIECE];
    char before = left > 0 ? s.data[left - 1] : ' ', behind = plain_byte(s, right);
    bool both = detect_is_digit(before) && detect_is_digit(behind);
    if (both && join(s, left, right, detect_is_digit, &j) && is_card(j.text, j.n) && is_run_cut(&j) &&
        !is_listed(s, &j))
        return true;
    if (is_dashed(before) && is_dashed(behind) && join(s, left, right, is_dashed, &j) && is_ssn(text_of(&j)))
        return true;
    if (is_number(before) && is_number(behind) && join(s, left, right, is_number, &j)) {
        size_t n = digits_of(&j, digits);
        if ((is_card(digits, n) && is_run_cut(&j) && !is_listed(s, &j)) || is_phone(&j, n))
            return true;
    }
    if ((before == '.' || behind == '.' || both) && join(s, left, right, is_dotted, &j) && is_ip(&j))
        return true;
    if (both && join(s, left, right, is_grouped, &j) && is_grouped_iban(&j))
        return true;
    return is_mail(before) && is_mail(behind) && join(s, left, right, is_mail, &j) &&
           (is_address(&j) || is_iban(text_of(&j)) || is_token(&j));
}
