/* A value cut in two by a line's end, by quotes ("AKIA..." + "..."), or over two members of JSON. The pieces
 * are put together where they look like pieces, so that lines of prose and columns of numbers stay what they
 * are.
 *
 *   4539 5787     \n  "> "          6362 1486     digits on both sides: one space
 *   AKIAXRHWWJH4  " + "             JKD7SVWF      a code on both sides: nothing
 *   jo.doe@       \n                work.org      nothing
 *   4539 5787     ", "last": "      6362 1486
 *              left          right
 */
#include "router/detect_id.h"
#include "router/plain.h"

#include <string.h>

enum { BLANKS = 32, KEY = 64, PIECE = 96, LEFT_LEAST = 8, RIGHT_LEAST = 4 };
enum { GROUP_LEAST = 3, GROUP_MOST = 6, CARD_LEAST = 15, CARD_MOST = 16 }; /* digits */

static size_t skip(struct str s, size_t i, const char *set)
{
    for (size_t n = 0; n < BLANKS && detect_is_one_of(plain_byte(s, i), set); n++)
        i++;
    return i;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

/* ---- What may cut a value. ---- */
struct cut {
    size_t left, right; /* where the piece before ends, where the one behind begins */
    bool member;        /* of JSON */
};

/* A line's end at i, or one in program text ("\n"): `length` bytes. */
static void line_cut(struct str s, size_t i, size_t length, struct cut *out)
{
    out->left = i;
    for (size_t n = 0; n < BLANKS && out->left > 0 && detect_is_one_of(s.data[out->left - 1], " \t\r\\-");
         n++)
        out->left--;
    out->right = skip(s, i + length, " \t>|");
}

/* The closing quote at i, and the next opening one: of the next string, or of the next member's value. */
static bool quotes_cut(struct str s, size_t i, struct cut *out)
{
    size_t at = skip(s, i + 1, " \t\r\n\\");
    if (detect_is_one_of(plain_byte(s, at), ",+."))
        at = skip(s, at + 1, " \t\r\n\\");
    const char quote = s.data[i];
    if (plain_byte(s, at) != quote)
        return false;
    *out = (struct cut){i, at + 1, false};
    size_t end = str_find_char(str_slice(s, at + 1, at + 1 + KEY), quote), colon;
    if (end == SIZE_MAX || plain_byte(s, colon = skip(s, at + 2 + end, " \t\r\n")) != ':')
        return true;
    at = skip(s, colon + 1, " \t\r\n");
    *out = (struct cut){i, at + 1, true};
    return plain_byte(s, at) == quote;
}

static bool cut_read(struct str s, size_t i, struct cut *out)
{
    *out = (struct cut){0, 0, false};
    if (is_quote(s.data[i]))
        return quotes_cut(s, i, out);
    if (s.data[i] == '\n')
        line_cut(s, i, 1, out);
    else if (str_starts(str_slice(s, i, s.len), STR("\\n")))
        line_cut(s, i, 2, out);
    else if (str_starts(str_slice(s, i, s.len), STR("\\r\\n")))
        line_cut(s, i, 4, out);
    return out->right > 0;
}

/* ---- Pieces. ---- */
struct piece {
    size_t length, digits, letters;
};

static bool is_code(char c)
{
    return detect_is_alnum(c) || detect_is_one_of(c, "_-+/=.");
}

static void piece_count(struct piece *p, char c)
{
    p->length++;
    p->digits += detect_is_digit(c);
    p->letters += detect_is_alpha(c);
}

/* Are they two pieces of one key or token? Both have letters and digits. */
static bool are_code(struct str s, const struct cut *c)
{
    struct piece left = {0}, right = {0};
    for (size_t i = c->left; i > 0 && left.length < PIECE && is_code(s.data[i - 1]); i--)
        piece_count(&left, s.data[i - 1]);
    for (size_t i = c->right; right.length < PIECE && is_code(plain_byte(s, i)); i++)
        piece_count(&right, s.data[i]);
    return left.length >= LEFT_LEAST && left.digits && left.letters && right.length >= RIGHT_LEAST &&
           right.digits && right.letters;
}

/* The end of the last of the lines that are groups of one card number, of which the first ends at `left`:
 * they hold nothing else, and its check digit is right. SIZE_MAX: they are none. */
static size_t card_end(struct str s, size_t left)
{
    char digits[CARD_MOST];
    size_t n = 0, from = left;
    while (from > 0 && left - from < GROUP_MOST && detect_is_digit(s.data[from - 1]))
        from--;
    bool column = from > 1 && s.data[from - 1] == '\n' && detect_is_digit(s.data[from - 2]);
    for (size_t at = from; !column;) {
        size_t end = at;
        while (detect_is_digit(plain_byte(s, end)) && end - at <= GROUP_MOST)
            end++;
        if (end - at < GROUP_LEAST || end - at > GROUP_MOST || n + (end - at) > CARD_MOST)
            break;
        memcpy(digits + n, s.data + at, end - at);
        n += end - at;
        end = skip(s, end, " \t\r");
        if (n >= CARD_LEAST && plain_byte(s, end) != '\n' && end < s.len)
            break;
        if (n >= CARD_LEAST && detect_check_luhn(digits, n) &&
            !detect_is_digit(plain_byte(s, skip(s, end + 1, " \t>|"))))
            return end; /* not if a column goes on */
        if (plain_byte(s, end) != '\n')
            break;
        at = skip(s, end + 1, " \t>|");
    }
    return SIZE_MAX;
}

/* Of a member's value, which ends there: nothing but four digits or more. */
static bool is_number(struct str s, size_t at, bool back)
{
    size_t n = 0, digits = 0;
    for (; n < PIECE; n++) {
        char c = back ? (at > n ? s.data[at - n - 1] : '\0') : plain_byte(s, at + n);
        if (!detect_is_digit(c) && c != ' ' && c != '-')
            return is_quote(c) && digits >= RIGHT_LEAST;
        digits += detect_is_digit(c);
    }
    return false;
}

struct undo {
    struct str text;
    struct buf *out;
    size_t kept;   /* what stands before is in `out` */
    size_t joined; /* the end of a line that stays: a column of numbers is no number */
};

/* What stands between the two: "", " ", "-", or NULL where they are no pieces of one. */
static const char *glue_of(const struct undo *u, const struct cut *c, size_t at)
{
    struct str s = u->text;
    char before = c->left > 0 ? s.data[c->left - 1] : '\0', behind = plain_byte(s, c->right);
    if (at != u->joined && plain_is_value(s, c->left, c->right))
        return "";
    if (detect_is_digit(before) && detect_is_digit(behind) && !are_code(s, c)) {
        bool quoted = is_quote(s.data[at]);
        bool pieces = quoted ? is_number(s, c->left, true) && is_number(s, c->right, false) : at != u->joined;
        return !pieces ? NULL : plain_byte(s, c->left) == '-' ? "-" : " ";
    }
    bool mail = before == '@' && c->left > 1 && is_code(s.data[c->left - 2]) && detect_is_alpha(behind);
    return !c->member && (mail || are_code(s, c)) ? "" : NULL;
}

static void cut_undo(struct undo *u, size_t at)
{
    struct cut c;
    if (!cut_read(u->text, at, &c) || c.left < u->kept)
        return;
    const char *glue = glue_of(u, &c, at);
    if (!glue)
        return;
    buf_append_str(u->out, str_slice(u->text, u->kept, c.left));
    buf_append_text(u->out, glue);
    u->kept = c.right;
    if (*glue && u->text.data[at] == '\n' && (u->joined == SIZE_MAX || at >= u->joined)) {
        size_t line = str_find_char(str_slice(u->text, c.right, u->text.len), '\n');
        u->joined = card_end(u->text, c.left);
        if (u->joined == SIZE_MAX && line != SIZE_MAX)
            u->joined = c.right + line;
    }
}

int router_plain_split(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct undo u = {.text = m->text, .out = out, .joined = SIZE_MAX};
    for (size_t block = 0; block < m->n_blocks && !out->failed; block++) {
        const uint64_t *here = m->bits + block * BYTE_CLASSES;
        for (uint64_t bits = here[BYTE_CONTROL] | here[BYTE_SIGN]; bits; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits);
            if (i < m->text.len && i >= u.kept && detect_is_one_of(m->text.data[i], "\n\"'\\"))
                cut_undo(&u, i);
        }
    }
    *changed = u.kept > 0;
    if (*changed)
        buf_append_str(out, str_slice(m->text, u.kept, m->text.len));
    return out->failed;
}
