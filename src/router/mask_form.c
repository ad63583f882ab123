/* What pseudonyms look like.
 *
 *   PERSON, STREET_ADDRESS, secrets   PERSON_47, of another way of writing it PERSON_47B
 *   EMAIL_ADDRESS                     user4731@example.com                RFC 2606
 *   PHONE_NUMBER                      +49 000 0004731                     country and shape; no subscriber
 * begins with 0 CREDIT_CARD                       4000 0031 2245 9073                 the brand's test range,
 * Luhn's check digit IBAN_CODE                         DE51 0000 0000 0000 4731 52         country, length,
 * ISO 7064's check digits; bank 0 DATE_OF_BIRTH                     07.11.1979 separators, order and century
 *   IP_ADDRESS, MAC_ADDRESS           192.0.2.47, 2001:db8::1f3a:22       RFC 5737, RFC 3849, RFC 7042
 *   other numbers                     KX 941-57                           length, separators, kind of each
 * character; those of digits begin with 9, which few issuers give
 */
#include <stdio.h>
#include <string.h>

#include "router/detect_own.h"
#include "router/mask.h"

enum form {
    FORM_TAG,
    FORM_EMAIL,
    FORM_PHONE,
    FORM_CARD,
    FORM_IBAN,
    FORM_DATE,
    FORM_IP,
    FORM_MAC,
    FORM_NUMBER
};
enum { NUMBER_LEAST = 6 /* shorter ones stand in answers by chance */, TAIL = 4 };

static size_t count(struct str s, bool (*is)(char c))
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += is(s.data[i]);
    return n;
}

/* In JSON a placeholder must read as it is. */
static bool would_be_escaped(char c)
{
    return c == '"' || c == '\\' || ((unsigned char)c < ' ');
}

/* "DE89 3704 ...", whatever its digits come to. */
static bool like_iban(struct str s)
{
    return s.len > 4 && detect_is_upper(s.data[0]) && detect_is_upper(s.data[1]) &&
           detect_is_digit(s.data[2]) && detect_is_digit(s.data[3]) && count(s, detect_is_alnum) >= 15;
}

/* Is a sign in it that a form would leave as it is, as full-width digits? Wide spaces and dashes may stay. */
static bool has_other_signs(struct str s)
{
    uint32_t c;
    for (size_t i = 0, n; i < s.len; i += n) {
        n = (unsigned char)s.data[i] < 0x80 ? 1 : str_utf8_decode(str_slice(s, i, s.len), &c);
        if (n == 0 || (n > 1 && c != 0xA0 && c != 0x202F && !(c >= 0x2009 && c <= 0x2014)))
            return true;
    }
    return false;
}

static enum form form_of(const struct detect_type *type, struct str original)
{
    static const struct {
        const char *type;
        enum form form;
    } forms[] = {{"EMAIL_ADDRESS", FORM_EMAIL}, {"PHONE_NUMBER", FORM_PHONE}, {"CREDIT_CARD", FORM_CARD},
        {"IBAN_CODE", FORM_IBAN}, {"DATE_OF_BIRTH", FORM_DATE}, {"IP_ADDRESS", FORM_IP},
        {"MAC_ADDRESS", FORM_MAC}, {"PERSON", FORM_TAG}, {"STREET_ADDRESS", FORM_TAG}};
    size_t digits = count(original, detect_is_digit), signs = count(original, detect_is_alnum);
    if (original.len > MASK_PLACEHOLDER - 40 || count(original, would_be_escaped) > 0 ||
        detect_own_kind(type) == OWN_WORD || has_other_signs(original))
        return FORM_TAG;
    if (strcmp(type->name, "BANK_ACCOUNT") == 0 && like_iban(original))
        return FORM_IBAN;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        enum form form = forms[i].form;
        if (strcmp(type->name, forms[i].type) != 0)
            continue;
        if ((form == FORM_PHONE && digits < TAIL) || (form == FORM_CARD && digits < 12) ||
            (form == FORM_DATE && digits < 4) || (form == FORM_IBAN && (signs < 12 || digits < 10)))
            return FORM_TAG;
        return form;
    }
    return signs < NUMBER_LEAST || digits == 0 || (type->category == ROUTER_SECRET && digits < original.len)
               ? FORM_TAG
               : FORM_NUMBER;
}

/* What may stand between two numbers of a date: ".", " March ", " de marzo de ". */
static size_t date_gap(struct str text, size_t at, size_t end)
{
    enum { GAP = 20 };
    size_t i = at;
    for (; i < end && i - at < GAP && !detect_is_digit(text.data[i]); i++) {
        char c = text.data[i];
        if (!detect_is_alpha(c) && (unsigned char)c < 0x80 && !strchr(" .,-/", c))
            return 0;
    }
    return i < end && i - at < GAP ? i - at : 0;
}

size_t mask_date_end(struct str text, size_t start, size_t end)
{
    size_t groups = 0, digits = 0, at = start, last = start;
    do {
        size_t n = 0;
        while (at + n < end && detect_is_digit(text.data[at + n]))
            n++;
        groups = n >= 6 || (n == 4 && groups > 0) ? 3 : groups + 1; /* a year ends it, or is first */
        digits += n;
        last = at + n;
        at = last + date_gap(text, last, end);
    } while (groups < 3 && at > last);
    return groups > 1 && digits >= 4 ? last : 0;
}

struct str mask_form_key(struct arena *a, const struct detect_type *type, struct str original)
{
    enum form form = form_of(type, original);
    bool only_signs = form != FORM_TAG && form != FORM_EMAIL && form != FORM_DATE;
    char *key = arena_alloc(a, original.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < original.len; i++) {
        char c = original.data[i];
        if (detect_is_upper(c))
            key[n++] = (char)(c | 0x20);
        else if (only_signs ? detect_is_alnum(c) || (unsigned char)c >= 0x80 : (unsigned char)c > ' ')
            key[n++] = c;
        else if (!only_signs && n > 0 && key[n - 1] != ' ')
            key[n++] = ' ';
    }
    return (struct str){key, n};
}

/* ---- Digits drawn from a hash (splitmix64; Steele, Lea and Flood, 2014). ---- */

static unsigned draw(uint64_t *state, unsigned below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) % below);
}

static char draw_digit(uint64_t *state)
{
    return (char)('0' + draw(state, 10));
}

/* ---- Each form: `out` holds the original already. ---- */

/* Where its digits are; at most `most`. */
static size_t digits_find(const char *out, size_t len, size_t *at, size_t most)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < most; i++)
        if (detect_is_digit(out[i]))
            at[n++] = i;
    return n;
}

/* How many digits a country's code has (ITU-T E.164). */
static size_t country_digits(char first, char second)
{
    if (first == '1' || first == '7')
        return 1;
    switch (first) {
    case '2':
        return second == '0' || second == '7' ? 2 : 3;
    case '3':
        return second == '5' || second == '7' || second == '8' ? 3 : 2;
    case '4':
        return second == '2' ? 3 : 2;
    case '5':
        return second == '0' || second == '9' ? 3 : 2;
    case '6':
        return second <= '6' ? 2 : 3;
    case '8':
        return second == '1' || second == '2' || second == '4' || second == '6' ? 2 : 3;
    default:
        return second >= '0' && second <= '8' && second != '6' && second != '7' ? 2 : 3;
    }
}

static void phone_form(char *out, size_t len, uint64_t state)
{
    size_t at[MASK_PLACEHOLDER] = {0}, n = digits_find(out, len, at, MASK_PLACEHOLDER), from = 0;
    if (out[0] == '+' || (n > 8 && out[at[0]] == '0' && out[at[1]] == '0')) {
        from = out[0] == '+' ? 0 : 2;
        from += country_digits(out[at[from]], out[at[from + 1]]);
    }
    /* No area of North America is 555, and no exchange begins with 0. */
    bool american = n - from == 10 && (from == 0 ? out[at[0]] != '0' : out[at[from - 1]] == '1');
    for (size_t i = from; i < n; i++)
        out[at[i]] = i + TAIL >= n ? draw_digit(&state) : american ? "555010"[i - from] : '0';
}

static void card_form(char *out, size_t len, uint64_t state)
{
    size_t at[MASK_PLACEHOLDER] = {0}, n = digits_find(out, len, at, MASK_PLACEHOLDER);
    char first = out[at[0]], second = out[at[1]];
    const char *range = first == '3' && (second == '4' || second == '7') ? "378282"
                        : first == '3'                                   ? "305693"
                        : first == '5' || first == '2'                   ? "555555"
                        : first == '6'                                   ? "601111"
                                                                         : "400000";
    unsigned sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        out[at[i]] = i < 6 ? range[i] : draw_digit(&state);
        unsigned digit = (unsigned)(out[at[i]] - '0') << ((n - i) % 2 == 0);
        sum += digit > 9 ? digit - 9 : digit;
    }
    out[at[n - 1]] = (char)('0' + (10 - sum % 10) % 10);
}

static void iban_form(char *out, size_t len, uint64_t state)
{
    size_t at[MASK_PLACEHOLDER] = {0}, n = 0;
    for (size_t i = 0; i < len && n < MASK_PLACEHOLDER; i++)
        if (detect_is_alnum(out[i]))
            at[n++] = i;
    for (size_t i = 4; i < n; i++) {
        char *c = &out[at[i]];
        if (detect_is_digit(*c))
            *c = i + 6 >= n ? draw_digit(&state) : '0';
        else
            *c = (char)((detect_is_upper(*c) ? 'A' : 'a') + (i + 6 >= n ? draw(&state, 26) : 'X' - 'A'));
    }
    out[at[2]] = out[at[3]] = '0';
    unsigned rest = 0;
    for (size_t i = 0; i < n; i++) { /* the country and the check digits count last */
        char c = out[at[(i + 4) % n]];
        rest = detect_is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97
                                  : (rest * 100 + (unsigned)((c | 0x20) - 'a' + 10)) % 97;
    }
    out[at[2]] = (char)('0' + (98 - rest) / 10);
    out[at[3]] = (char)('0' + (98 - rest) % 10);
}

/* Digits of a run of a date: a year keeps its century, all else is right as a day and as a month. */
static void date_run(char *run, size_t n, uint64_t *state)
{
    bool year = n >= 4 && ((run[0] == '1' && run[1] == '9') || (run[0] == '2' && run[1] == '0'));
    size_t i = 0;
    if (year) {
        run[2] = (char)('0' + (run[0] == '1' ? 3 + draw(state, 7) : draw(state, 3)));
        run[3] = draw_digit(state);
        i = 4;
    }
    for (; n - i >= 2 && !(n - i == 4 && n == 8 && !year); i += 2) {
        unsigned value = 1 + draw(state, 12);
        run[i] = (char)('0' + value / 10);
        run[i + 1] = (char)('0' + value % 10);
    }
    if (n - i == 4)
        date_run(run + i, 4, state);
    else if (n - i == 1)
        run[i] = (char)('1' + draw(state, 9));
}

static void date_form(char *out, size_t len, uint64_t state)
{
    for (size_t i = 0, n; i < len; i += n) {
        for (n = 0; i + n < len && detect_is_digit(out[i + n]);)
            n++;
        if (n > 0)
            date_run(out + i, n, &state);
        else
            n = 1;
    }
}

static size_t ip_form(char *out, struct str original, uint64_t state)
{
    static const char *const nets[] = {"192.0.2", "198.51.100", "203.0.113"};
    size_t slash = str_find_char(original, '/');
    struct str prefix = slash == SIZE_MAX ? STR_NONE : str_slice(original, slash, original.len);
    unsigned net = draw(&state, 3), a = draw(&state, 65536), b = 1 + draw(&state, 65535);
    int n = str_find_char(original, ':') == SIZE_MAX
                ? snprintf(out, MASK_PLACEHOLDER, "%s.%u" STR_FMT, nets[net], 1 + a % 254, STR_ARG(prefix))
                : snprintf(out, MASK_PLACEHOLDER, "2001:db8::%x:%x" STR_FMT, a, b, STR_ARG(prefix));
    return (size_t)n;
}

static void mac_form(char *out, size_t len, uint64_t state)
{
    for (size_t i = 0, n = 0; i < len; i++)
        if (detect_is_hex(out[i])) {
            char c = n < 10 ? "00005e0053"[n] : "0123456789abcdef"[draw(&state, 16)];
            out[i] = detect_is_upper(out[i]) && detect_is_lower(c) ? (char)(c & ~0x20) : c;
            n++;
        }
}

static void number_form(char *out, size_t len, uint64_t state)
{
    bool digits_only = true, first = true;
    for (size_t i = 0; i < len; i++)
        digits_only = digits_only && !detect_is_alpha(out[i]);
    for (size_t i = 0; i < len; i++) {
        if (detect_is_digit(out[i]))
            out[i] = digits_only && first ? '9' : draw_digit(&state);
        else if (detect_is_alpha(out[i]))
            out[i] = (char)((detect_is_upper(out[i]) ? 'A' : 'a') + draw(&state, 26));
        else
            continue;
        first = false;
    }
}

/* B, C ... Z, ZB ...: the first way of writing has no letter. */
static size_t variant_write(char *out, uint32_t variant, char first)
{
    size_t n = 0;
    for (; variant > 25 && n < 20; variant -= 25)
        out[n++] = (char)(first + 25);
    if (variant > 0)
        out[n++] = (char)(first + (int)(variant > 25 ? 25 : variant));
    return n;
}

/* Two digits; after some attempts, where many of a type are named, four. */
static size_t tag_form(
    const struct detect_type *type, uint64_t state, uint32_t attempt, uint32_t variant, char *out)
{
    unsigned number = attempt < 6 ? 10 + draw(&state, 90) : 1000 + draw(&state, 9000);
    size_t n = (size_t)snprintf(out, MASK_PLACEHOLDER - 24, "%s_%u", type->name, number);
    return n + variant_write(out + n, variant, 'A');
}

static size_t email_form(uint64_t state, uint32_t variant, char *out)
{
    size_t n = (size_t)snprintf(out, 40, "user%u", 1000 + draw(&state, 9000));
    n += variant_write(out + n, variant, 'a');
    memcpy(out + n, "@example.com", 12);
    return n + 12;
}

size_t mask_form(const struct detect_type *type, struct str original, uint64_t hash, uint32_t attempt,
    uint32_t variant, char out[MASK_PLACEHOLDER])
{
    enum form form = form_of(type, original);
    if (form == FORM_TAG)
        return tag_form(type, hash, attempt, variant, out);
    if (form == FORM_EMAIL)
        return email_form(hash, variant, out);
    if (form == FORM_IP)
        return ip_form(out, original, hash);
    static void (*const in_place[])(char *, size_t, uint64_t) = {[FORM_PHONE] = phone_form,
        [FORM_CARD] = card_form,
        [FORM_IBAN] = iban_form,
        [FORM_DATE] = date_form,
        [FORM_MAC] = mac_form,
        [FORM_NUMBER] = number_form};
    memcpy(out, original.data, original.len);
    in_place[form](out, original.len, hash);
    return original.len;
}
