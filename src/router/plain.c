#include "router/plain.h"

#include <stdlib.h>
#include <string.h>

#include "router/detect.h"

/* ---- Where it came from. ---- */
enum { JOINTS_MOST = 1 << 20 };

void plain_joint_add(struct plain_joints *j, size_t plain, size_t there)
{
    struct plain_joint *last = j->n > 0 ? &j->all[j->n - 1] : NULL;
    if (j->too_many || (last && last->plain == plain && last->there == there))
        return;
    if (j->n == j->room) {
        size_t room = j->room ? j->room * 2 : 32;
        struct plain_joint *all = room <= JOINTS_MOST ? realloc(j->all, room * sizeof *all) : NULL;
        if (!all) {
            j->too_many = true;
            return;
        }
        j->all = all;
        j->room = room;
    }
    j->all[j->n++] = (struct plain_joint){(uint32_t)plain, (uint32_t)there};
}

/* How many joints stand before `at`, or at it, too. */
static size_t joints_to(const struct plain_joints *j, size_t at, bool with)
{
    size_t low = 0, high = j->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (j->all[mid].plain < at || (with && j->all[mid].plain == at))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t there_from(const struct plain_joints *j, size_t n, size_t at)
{
    return n > 0 ? j->all[n - 1].there + (at - j->all[n - 1].plain) : at;
}

bool plain_origin(const struct plain_joints *j, size_t start, size_t end, size_t *from, size_t *to)
{
    if (j->too_many || j->n == 0)
        return false;
    /* What has no width on either side is not of it. */
    size_t before = joints_to(j, end, false);
    *from = there_from(j, joints_to(j, start, true), start);
    *to = before < j->n && j->all[before].plain == end ? j->all[before].there : there_from(j, before, end);
    return true;
}

/* ---- Characters written differently. Each looks at what begins at `s`; returns how many bytes it takes and
 * which character it stands for (0: none, it has no width), or 0 where it is not that. ---- */

/* The number at the front of `s`; `*used` digits, 0 if there is none or it is no character of ours. */
static uint32_t number_read(struct str s, unsigned base, size_t least, size_t most, size_t *used)
{
    uint32_t value = 0;
    size_t i = 0;
    for (; i < s.len && i < most; i++) {
        char c = s.data[i], lower = (char)(c | 0x20);
        unsigned digit = c >= '0' && c <= '9'           ? (unsigned)(c - '0')
                         : lower >= 'a' && lower <= 'f' ? (unsigned)(lower - 'a') + 10
                                                        : 99;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    *used = i >= least ? i : 0;
    return value;
}

enum { BACKSLASHES = 16 };

/* \u0040 and, in JSON inside JSON, \\u0040; \u{40}, \U00000040, \x40, \100; \/ and \" . Of a longer row of
 * backslashes only the last ones belong to it. */
static size_t one_escape_read(struct str s, uint32_t *out)
{
    size_t n = 1, digits;
    while (n < BACKSLASHES && n < s.len && s.data[n] == '\\')
        n++;
    if (n == s.len || s.data[n] == '\\')
        return 0;
    if (s.data[n] == '/' || s.data[n] == '"') {
        *out = (unsigned char)s.data[n];
        return n + 1;
    }
    if (s.data[n] >= '0' && s.data[n] <= '3') {
        *out = number_read(str_slice(s, n, s.len), 8, 3, 3, &digits);
        return digits ? n + digits : 0;
    }
    char kind = s.data[n++];
    bool braces = kind == 'u' && n < s.len && s.data[n] == '{';
    size_t least = braces ? 1 : kind == 'u' ? 4 : kind == 'U' ? 8 : 2, most = braces ? 6 : least;
    if (kind != 'u' && kind != 'U' && kind != 'x')
        return 0;
    n += braces;
    *out = number_read(str_slice(s, n, s.len), 16, least, most, &digits);
    n += digits;
    if (digits == 0 || (braces && (n == s.len || s.data[n++] != '}')))
        return 0;
    return n;
}

/* \ud83d\ude00 (RFC 8259), and a character's bytes each of its own: \xc3\xb6, %C3%B6 (RFC 3986). A lone one
 * of these that is not UTF-8 is Latin 1. */
static size_t row_read(
    struct str s, size_t (*one_read)(struct str s, uint32_t *out), bool bytes, uint32_t *out)
{
    char utf8[4];
    uint32_t next, c;
    size_t n = one_read(s, out), end = n, length = 1;
    if (n == 0 || *out < 0x80 || *out > 0xDFFF)
        return n;
    if (!bytes) {
        bool first = *out >= 0xD800 && *out < 0xDC00 && n < s.len && s.data[n] == s.data[0];
        size_t more = first ? one_read(str_slice(s, n, s.len), &next) : 0;
        if (more == 0 || next < 0xDC00 || next > 0xDFFF)
            return n;
        *out = 0x10000 + ((*out - 0xD800) << 10) + (next - 0xDC00);
        return n + more;
    }
    for (utf8[0] = (char)*out; length < sizeof utf8 && end < s.len && s.data[end] == s.data[0]; length++) {
        size_t more = one_read(str_slice(s, end, s.len), &next);
        if (more == 0 || next < 0x80 || next > 0xBF)
            break;
        utf8[length] = (char)next;
        end += more;
        if (str_utf8_decode((struct str){utf8, length + 1}, &c) == length + 1) {
            *out = c;
            return end;
        }
    }
    return n;
}

static size_t escape_read(struct str s, uint32_t *out)
{
    size_t i = 1;
    while (i < BACKSLASHES && plain_byte(s, i) == '\\')
        i++;
    return row_read(s, one_escape_read, plain_byte(s, i) == 'x' || detect_is_digit(plain_byte(s, i)), out);
}

/* %40, and %2540 where it was encoded twice. */
static size_t one_percent_read(struct str s, uint32_t *out)
{
    size_t n = 1, digits;
    while (str_starts(str_slice(s, n, s.len), STR("25")) && s.len - n > 3)
        n += 2;
    *out = number_read(str_slice(s, n, s.len), 16, 2, 2, &digits);
    return digits ? n + digits : 0;
}

static size_t percent_read(struct str s, uint32_t *out)
{
    return row_read(s, one_percent_read, true, out);
}

/* &commat; and what else parts a value, and the letters of names (HTML, 13.5); `capital`: there is one, the
 * same in Latin 1 and next to it in Latin Extended-A. */
static const struct {
    struct str name;
    uint16_t c;
    bool capital;
} entities[] = {{{"commat;", 7}, '@', false}, {{"period;", 7}, '.', false}, {{"nbsp;", 5}, ' ', false},
    {{"hyphen;", 7}, '-', false}, {{"dash;", 5}, '-', false}, {{"lowbar;", 7}, '_', false},
    {{"colon;", 6}, ':', false}, {{"sol;", 4}, '/', false}, {{"plus;", 5}, '+', false},
    {{"num;", 4}, '#', false}, {{"szlig;", 6}, 0xDF, false},
#define LETTER(name, c)                                                                                      \
    {                                                                                                        \
        {name ";", sizeof name}, c, true                                                                     \
    }
    LETTER("agrave", 0xE0), LETTER("aacute", 0xE1), LETTER("acirc", 0xE2), LETTER("atilde", 0xE3),
    LETTER("auml", 0xE4), LETTER("aring", 0xE5), LETTER("aelig", 0xE6), LETTER("ccedil", 0xE7),
    LETTER("egrave", 0xE8), LETTER("eacute", 0xE9), LETTER("ecirc", 0xEA), LETTER("euml", 0xEB),
    LETTER("igrave", 0xEC), LETTER("iacute", 0xED), LETTER("icirc", 0xEE), LETTER("iuml", 0xEF),
    LETTER("ntilde", 0xF1), LETTER("ograve", 0xF2), LETTER("oacute", 0xF3), LETTER("ocirc", 0xF4),
    LETTER("otilde", 0xF5), LETTER("ouml", 0xF6), LETTER("oslash", 0xF8), LETTER("ugrave", 0xF9),
    LETTER("uacute", 0xFA), LETTER("ucirc", 0xFB), LETTER("uuml", 0xFC), LETTER("yacute", 0xFD),
    LETTER("aogon", 0x105), LETTER("cacute", 0x107), LETTER("ccaron", 0x10D), LETTER("eogon", 0x119),
    LETTER("lstrok", 0x142), LETTER("nacute", 0x144), LETTER("oelig", 0x153), LETTER("sacute", 0x15B),
    LETTER("scaron", 0x161), LETTER("zacute", 0x17A), LETTER("zdot", 0x17C), LETTER("zcaron", 0x17E)};

static size_t entity_named(struct str s, uint32_t *out)
{
    char first = plain_byte(s, 1);
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        size_t end = 1 + entities[i].name.len;
        bool capital = entities[i].capital && first >= 'A' && first <= 'Z';
        if ((capital ? first | 0x20 : first) != entities[i].name.data[0] ||
            (capital ? !str_is_nocase(str_slice(s, 1, end), entities[i].name.data)
                     : !str_starts(str_slice(s, 1, s.len), entities[i].name)))
            continue;
        *out = capital ? entities[i].c - (entities[i].c < 0x100 ? 0x20u : 1u) : entities[i].c;
        return end;
    }
    return 0;
}

/* &#64; and &#x40; */
static size_t entity_read(struct str s, uint32_t *out)
{
    size_t digits;
    if (!str_starts(s, STR("&#")))
        return entity_named(s, out);
    bool hex = s.len > 2 && (s.data[2] | 0x20) == 'x';
    size_t n = hex ? 3 : 2;
    *out = number_read(str_slice(s, n, s.len), hex ? 16 : 10, 2, 6, &digits);
    n += digits;
    return digits && n < s.len && s.data[n] == ';' ? n + 1 : 0;
}

/* Digits and letters of other forms and scripts, in runs from 0, A or a on (Unicode 15, Nd and So). */
static uint32_t styled(uint32_t c)
{
    static const struct {
        uint32_t first, last;
        char from;
    } runs[] = {{0x0660, 0x0669, '0'}, {0x06F0, 0x06F9, '0'}, {0x0966, 0x096F, '0'}, {0x09E6, 0x09EF, '0'},
        {0x0E50, 0x0E59, '0'}, {0x2074, 0x2079, '4'}, {0x2080, 0x2089, '0'}, {0x2460, 0x2468, '1'},
        {0x24B6, 0x24CF, 'A'}, {0x24D0, 0x24E9, 'a'}, {0x1F130, 0x1F149, 'A'}, {0x1F150, 0x1F169, 'A'},
        {0x1F170, 0x1F189, 'A'}};
    if (c >= 0x1D400 && c <= 0x1D6A3) /* thirteen alphabets, capitals and small letters */
        return (c - 0x1D400) % 52 < 26 ? 'A' + (c - 0x1D400) % 52 : 'a' + (c - 0x1D400) % 52 - 26;
    if (c >= 0x1D7CE && c <= 0x1D7FF)
        return '0' + (c - 0x1D7CE) % 10;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        if (c >= runs[i].first && c <= runs[i].last)
            return c - runs[i].first + (unsigned char)runs[i].from;
    return c == 0x2070 || c == 0x24EA ? '0' : c == 0xB9 ? '1' : c == 0xB2 ? '2' : c == 0xB3 ? '3' : c;
}

/* Marks on other characters, marks of direction and variation, and what else has no width. */
static bool has_no_width(uint32_t c)
{
    return c == 0x00AD || (c >= 0x0300 && c <= 0x036F) || c == 0x061C || c == 0x180E ||
           (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) ||
           c == 0x20E3 || (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF || (c >= 0xE0000 && c <= 0xE01EF);
}

/* Full-width forms (U+FF01 to U+FF5E), wide spaces, tags (U+E0020 to U+E007E: letters that nobody sees but a
 * model), and what has no width. */
static uint32_t folded(uint32_t c)
{
    if (c >= 0xFF01 && c <= 0xFF5E)
        return c - 0xFF01 + '!';
    if (c == 0x3000)
        return ' ';
    if (c >= 0xE0020 && c < 0xE007F)
        return c - 0xE0000;
    return has_no_width(c) ? 0 : styled(c);
}

static size_t written_read(struct str s, uint32_t *out)
{
    size_t n = 0;
    switch (s.data[0]) {
    case '\\':
        n = escape_read(s, out);
        break;
    case '%':
        n = percent_read(s, out);
        break;
    case '&':
        n = entity_read(s, out);
        break;
    default:
        if ((unsigned char)s.data[0] >= 0xC2) {
            n = str_utf8_decode(s, out);
            return n > 0 && folded(*out) != *out ? (*out = folded(*out), n) : 0;
        }
    }
    if (n == 0)
        return 0;
    char utf8[4];
    bool said =
        *out == 0 || (*out >= ' ' && (*out < 0x7F || *out >= 0xA0) && str_utf8_encode(*out, utf8) > 0);
    *out = folded(*out);
    return said ? n : 0;
}

/* A Greek or Cyrillic letter that looks like a Latin one, beside ASCII letters or digits: the letter, or 0.
 */
static char lookalike(uint32_t c)
{
    static const struct {
        uint16_t c;
        char latin;
    } all[] = {{0x391, 'A'}, {0x392, 'B'}, {0x395, 'E'}, {0x396, 'Z'}, {0x397, 'H'}, {0x399, 'I'},
        {0x39A, 'K'}, {0x39C, 'M'}, {0x39D, 'N'}, {0x39F, 'O'}, {0x3A1, 'P'}, {0x3A4, 'T'}, {0x3A5, 'Y'},
        {0x3A7, 'X'}, {0x3B1, 'a'}, {0x3BF, 'o'}, {0x3C1, 'p'}, {0x3C5, 'u'}, {0x3BD, 'v'}, {0x405, 'S'},
        {0x406, 'I'}, {0x408, 'J'}, {0x410, 'A'}, {0x412, 'B'}, {0x415, 'E'}, {0x41A, 'K'}, {0x41C, 'M'},
        {0x41D, 'H'}, {0x41E, 'O'}, {0x420, 'P'}, {0x421, 'C'}, {0x422, 'T'}, {0x423, 'Y'}, {0x425, 'X'},
        {0x430, 'a'}, {0x435, 'e'}, {0x43A, 'k'}, {0x43E, 'o'}, {0x440, 'p'}, {0x441, 'c'}, {0x443, 'y'},
        {0x445, 'x'}, {0x455, 's'}, {0x456, 'i'}, {0x458, 'j'}, {0x501, 'd'}, {0x51B, 'q'}, {0x51D, 'w'}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].c == c)
            return all[i].latin;
    return 0;
}

/* "?card=5555+3412+...": in a query a plus is a space. */
static bool plus_is_space(struct str text, size_t at)
{
    return at > 0 && at + 1 < text.len && text.data[at - 1] >= '0' && text.data[at - 1] <= '9' &&
           text.data[at + 1] >= '0' && text.data[at + 1] <= '9';
}

/* Bytes that something written differently may begin with. */
static const bool may_begin[256] = {['\\'] = true,
    ['%'] = true,
    ['&'] = true,
    ['+'] = true,
    ['='] = true,
    ['_'] = true,
    [0xC2 ... 0xFF] = true};

struct undo {
    struct str text;
    struct buf *out;
    struct plain_joints *joints;
    size_t kept; /* what stands before is in `out` */
    bool changed, url_sought, has_url;
};

static bool has_url(struct undo *u)
{
    if (!u->url_sought)
        u->has_url = str_find(u->text, STR("://")) != SIZE_MAX;
    u->url_sought = true;
    return u->has_url;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* One of another script among Latin letters: what stands before, as it was or undone, or behind it is ASCII.
 */
static size_t lookalike_read(const struct undo *u, size_t i, uint32_t *out)
{
    unsigned char lead = (unsigned char)u->text.data[i];
    if (lead < 0xCE || lead > 0xD4 || i + 2 > u->text.len)
        return 0;
    size_t n = str_utf8_decode(str_slice(u->text, i, u->text.len), out);
    size_t behind = i + n;
    for (int more = 0; more < 8 && behind + 2 <= u->text.len && (u->text.data[behind] & 0xE0) == 0xC0; more++)
        behind += 2;
    bool undone = u->kept == i && u->out->len > 0 && is_alnum(u->out->data[u->out->len - 1]);
    bool beside = undone || (i > 0 && is_alnum(u->text.data[i - 1])) ||
                  (behind < u->text.len && is_alnum(u->text.data[behind]));
    *out = n > 0 && beside ? (unsigned char)lookalike(*out) : 0;
    return *out ? n : 0;
}

/* What an escape stands for may be a look-alike, too. */
static uint32_t looked_like(const struct undo *u, size_t i, size_t n, uint32_t c)
{
    char latin = c > 0x370 && c < 0x530 ? lookalike(c) : '\0';
    char before = u->kept < i ? u->text.data[i - 1] : u->out->len > 0 ? u->out->data[u->out->len - 1] : '\0';
    return latin && (is_alnum(before) || is_alnum(plain_byte(u->text, i + n))) ? (unsigned char)latin : c;
}

/* =40 */
static size_t one_quoted_read(struct str s, uint32_t *out)
{
    size_t digits;
    *out = number_read(str_slice(s, 1, s.len), 16, 2, 2, &digits);
    return digits && plain_byte(s, 1) < 'a' && plain_byte(s, 2) < 'a' ? 1 + digits : 0;
}

/* Does the '=' at i fill base64 up ("cGFzc3dvcmQ=") or stand behind one that does? */
static bool fills_up(struct str s, size_t i)
{
    size_t from = i;
    bool letters = false;
    while (from > 0 && plain_sextet(s.data[from - 1]) >= 0)
        letters |= detect_is_alpha(s.data[--from]);
    bool whole = i - from >= 7 && !(from > 0 && detect_is_one_of(s.data[from - 1], "@."));
    return (letters && whole && (i - from + 1) % 4 == 0) || (i > 0 && s.data[i - 1] == '=');
}

/* Quoted-printable (RFC 2045): a line's end behind "=", "=C3=BC", "=40"; "x=10" is none. */
static size_t quoted_read(const struct undo *u, size_t i, uint32_t *out)
{
    struct str s = str_slice(u->text, i, u->text.len);
    size_t line = plain_byte(s, 1) == '\n' ? 2 : str_starts(s, STR("=\r\n")) ? 3 : 0;
    *out = 0;
    if (line > 0)
        return i > 0 && (unsigned char)u->text.data[i - 1] > ' ' && line < s.len && !fills_up(u->text, i)
                   ? line
                   : 0;
    uint32_t next;
    size_t n = row_read(s, one_quoted_read, true, out);
    bool row = n > 3 || (u->kept == i && i > 2 && u->text.data[i - 3] == '=') ||
               (plain_byte(s, n) == '=' && one_quoted_read(str_slice(s, n, s.len), &next) > 0);
    /* Alone only within a word; "=DE74" is none. */
    bool within = i > 0 && is_alnum(u->text.data[i - 1]) && detect_is_alpha(plain_byte(s, n));
    bool sign = within && (*out == '@' || *out == '.' || *out >= 0xA0);
    return n > 0 && (row || sign) && *out >= ' ' && *out != 0x7F ? n : 0;
}

/* Behind a picture (U+2190 on), as in most hearts: it hides nothing. */
static bool is_variant(struct str s, size_t i)
{
    if (i < 4 || !str_starts(str_slice(s, i, s.len), STR("\xEF\xB8")))
        return false;
    return s.data[i - 4] == '\xF0' || (s.data[i - 3] == '\xE2' && (unsigned char)s.data[i - 2] >= 0x86);
}

/* A tag that stands for a space, and no other tag before it: it parts other characters. */
static bool parts_others(struct str s, size_t i)
{
    static const struct str space = {"\xF3\xA0\x80\xA0", 4}, tag = {"\xF3\xA0", 2};
    return str_starts(str_slice(s, i, s.len), space) && (i < 4 || !str_starts(str_slice(s, i - 4, i), tag));
}

/* As many digits as a number of somebody's has, with no more than capitals between them: not a token's end.
 */
struct digit_count {
    size_t digits;
    bool small;
};

static void digit_count(struct digit_count *n, char c)
{
    n->digits += detect_is_digit(c);
    n->small |= detect_is_lower(c);
}

/* Of "statement_DE74370400440817264953.pdf": does the '_' at i part a number from a name? */
static bool parts_number(struct str s, size_t i)
{
    enum { PIECE = 40, LEAST = 9 };
    struct digit_count behind = {0}, before = {0};
    char next = plain_byte(s, i + 1);
    if (!detect_is_digit(next) && !detect_is_upper(next) && !(i > 0 && detect_is_digit(s.data[i - 1])))
        return false; /* nearly all */
    for (size_t k = i + 1; k < s.len && k - i < PIECE && (is_alnum(s.data[k]) || s.data[k] == '-'); k++)
        digit_count(&behind, s.data[k]);
    for (size_t k = i; k > 0 && i - k < PIECE && (is_alnum(s.data[k - 1]) || s.data[k - 1] == '-'); k--)
        digit_count(&before, s.data[k - 1]);
    return (behind.digits >= LEAST && !behind.small) || (before.digits >= LEAST && !before.small);
}

static void sign_undo(struct undo *u, size_t i)
{
    uint32_t c = ' ';
    char utf8[4], first = u->text.data[i];
    if (is_variant(u->text, i))
        return;
    size_t n = first == '+'   ? plus_is_space(u->text, i) && has_url(u)
               : first == '_' ? parts_number(u->text, i)
               : first == '=' ? quoted_read(u, i, &c)
                              : written_read(str_slice(u->text, i, u->text.len), &c);
    if (n == 0 && (n = lookalike_read(u, i, &c)) == 0)
        return;
    c = parts_others(u->text, i) ? 0 : looked_like(u, i, n, c);
    buf_append_str(u->out, str_slice(u->text, u->kept, i));
    plain_joint_add(u->joints, u->out->len, i);
    buf_append(u->out, utf8, c ? str_utf8_encode(c, utf8) : 0);
    plain_joint_add(u->joints, u->out->len, i + n);
    u->kept = i + n;
    u->changed = true;
}

int router_plain(const struct byte_map *m, struct buf *out, struct plain_joints *joints, bool *changed)
{
    struct undo u = {.text = m->text, .out = out, .joints = joints};
    for (size_t block = 0; block < m->n_blocks; block++) {
        const uint64_t *here = m->bits + block * BYTE_CLASSES;
        for (uint64_t bits = here[BYTE_SIGN] | here[BYTE_HIGH]; bits; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits);
            if (may_begin[(unsigned char)m->text.data[i]] && i >= u.kept)
                sign_undo(&u, i);
        }
    }
    if (u.changed)
        buf_append_str(out, str_slice(m->text, u.kept, m->text.len));
    *changed = u.changed;
    return out->failed;
}

/* ---- base64 (RFC 4648, also its URL form). ---- */

int plain_sextet(char c) /* without a branch: what they are is chance */
{
    const unsigned u = (unsigned char)c;
    const unsigned value = (u - 'A' < 26) * (u - 'A' + 1) + (u - 'a' < 26) * (u - 'a' + 27) +
                           (u - '0' < 10) * (u - '0' + 53) + (u == '+' || u == '-') * 63u +
                           (u == '/' || u == '_') * 64u;
    return (int)value - 1;
}

/* Pictures of some MB pass here: four digits at a time. */
static size_t quads_undo(struct str digits, size_t *at, char *to)
{
    size_t n = 0, i = 0;
    for (; i + 4 <= digits.len; i += 4) {
        int a = plain_sextet(digits.data[i]), b = plain_sextet(digits.data[i + 1]),
            c = plain_sextet(digits.data[i + 2]), d = plain_sextet(digits.data[i + 3]);
        if ((a | b | c | d) < 0)
            break;
        uint32_t bits = (uint32_t)(a << 18 | b << 12 | c << 6 | d);
        to[n++] = (char)(bits >> 16);
        to[n++] = (char)(bits >> 8);
        to[n++] = (char)bits;
    }
    *at = i;
    return n;
}

static void digits_undo(struct str digits, struct buf *out)
{
    char *to = buf_reserve(out, digits.len / 4 * 3 + 3);
    uint32_t bits = 0;
    unsigned n_bits = 0;
    size_t i = 0, n = to ? quads_undo(digits, &i, to) : 0;
    for (; i < digits.len && to; i++) {
        int six = plain_sextet(digits.data[i]);
        if (six < 0)
            continue;
        bits = bits << 6 | (uint32_t)six;
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        to[n++] = (char)(bits >> n_bits & 0xFF);
    }
    buf_commit(out, n);
}

int router_plain_data(struct str digits, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, out->max);
    digits_undo(digits, &bytes);
    struct str s = buf_str(&bytes);
    int rc = bytes.failed;
    if (rc == 0 && s.len > 0)
        rc = !memchr(s.data, '\0', s.len) && str_utf8_valid(s) ? buf_append_str(out, s)
                                                               : router_plain_file(s, out);
    buf_free(&bytes);
    return rc;
}
