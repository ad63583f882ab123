/* The owner's words where something parts them that the eye or a program passes over. Only the owner's own
 * layer reads this: it looks for what it knows, so that nothing else comes of pieces that were none.
 *
 *                       in one word   as words
 *   Blue- \n > bird     Bluebird      Blue-bird       a line's end
 *   "Blue" + "bird"     Bluebird      Blue bird       quotes, and from a member of JSON to the next
 *   Blue <b> bird       Bluebird      Blue bird       tags, links
 *   B.l.u.e.b.i.r.d     Bluebird                      a sign between letters that stand alone
 *   B l u e  b i r d    (with marks alone)            blanks between letters that stand alone
 *   projectHeron                      project Heron   camelCase
 *   EMP–4711                          EMP-4711        Unicode's dashes and blanks
 *
 * Patterns read both; words a third one, with PLAIN_MARK there, since of many parts each may be either. */
#include "router/detect.h"
#include "router/plain.h"

#include <string.h>

#define BLANK " \t\r\n"
enum { BLANKS = 32, KEY = 64, TAG = 256 };

/* What stands from `left` to `right` goes; in its place `words` where it is read as words. */
struct part {
    size_t left, right;
    const char *words;
};

static size_t skip(struct str s, size_t i, const char *set)
{
    for (size_t n = 0; n < BLANKS && detect_is_one_of(plain_byte(s, i), set); n++)
        i++;
    return i;
}

static size_t skip_back(struct str s, size_t i, const char *set)
{
    for (size_t n = 0; n < BLANKS && i > 0 && detect_is_one_of(s.data[i - 1], set); n++)
        i--;
    return i;
}

/* Where the value of the key begins whose quote stands at i: behind its own quote, or a number; i: it is no
 * key. */
static size_t value_of(struct str s, size_t i)
{
    const char quote = s.data[i];
    size_t key = str_find_char(str_slice(s, i + 1, i + 1 + KEY), quote), colon;
    if (key == SIZE_MAX || plain_byte(s, colon = skip(s, i + 2 + key, BLANK)) != ':')
        return i;
    size_t at = skip(s, colon + 1, BLANK "\\[{");
    return plain_byte(s, at) == quote || detect_is_digit(plain_byte(s, at)) ? at : i;
}

/* The closing quote at i, and the next opening one: of the next string, or of the next member's value. */
static bool quotes_part(struct str s, size_t i, struct part *out)
{
    enum { DEPTH = 4 };
    const char quote = s.data[i];
    size_t at = skip(s, i + 1, BLANK "\\]}");
    if (detect_is_one_of(plain_byte(s, at), ",+."))
        at = skip(s, at + 1, BLANK "\\[{");
    if (plain_byte(s, at) != quote)
        return false;
    for (size_t n = 0, value; n < DEPTH && plain_byte(s, at) == quote && (value = value_of(s, at)) > at; n++)
        at = value;
    *out = (struct part){skip_back(s, i, "\\"), at + (plain_byte(s, at) == quote), " "};
    return true;
}

static bool tag_part(struct str s, size_t i, struct part *out)
{
    if (!detect_is_alpha(plain_byte(s, i + 1)) && !detect_is_one_of(plain_byte(s, i + 1), "/!"))
        return false;
    size_t end = str_find_char(str_slice(s, i, i + TAG), '>');
    *out = (struct part){i, i + end + 1, " "};
    return end != SIZE_MAX;
}

/* "](where)" of Markdown. */
static bool link_part(struct str s, size_t i, struct part *out)
{
    size_t end = str_find_char(str_slice(s, i, i + TAG), ')');
    *out = (struct part){i, i + end + 1, ""};
    return plain_byte(s, i + 1) == '(' && end != SIZE_MAX;
}

static bool line_part(struct str s, size_t i, struct part *out)
{
    size_t left = skip_back(s, i, " \t\r\\");
    bool hyphen = left > 0 && s.data[left - 1] == '-';
    *out = (struct part){left - hyphen, skip(s, i + 1, " \t>|#*/"), hyphen ? "-" : " "};
    return true;
}

static bool is_alone(struct str s, size_t i)
{
    return detect_is_alpha(plain_byte(s, i)) && (i == 0 || !detect_is_alnum(s.data[i - 1])) &&
           !detect_is_alnum(plain_byte(s, i + 1));
}

/* The sign at i, between two letters each of which stands alone. */
static bool sign_part(struct str s, size_t i, struct part *out)
{
    *out = (struct part){i, skip(s, i + 1, " "), NULL};
    return i > 0 && is_alone(s, i - 1) && is_alone(s, out->right);
}

/* The blanks at i likewise, in a run of three letters at least: "I" and "a" stand alone in any sentence. */
static bool blanks_part(struct str s, size_t i, struct part *out)
{
    const size_t right = skip(s, i, " ");
    *out = (struct part){i, right, NULL};
    return i > 0 && is_alone(s, i - 1) && is_alone(s, right) &&
           (is_alone(s, skip(s, right + 1, " ")) || (i > 1 && is_alone(s, skip_back(s, i - 1, " ") - 1)));
}

/* U+2010 to U+2015 and the minus; the blanks that part no lines. */
static bool high_part(struct str s, size_t i, struct part *out)
{
    uint32_t c;
    size_t n = str_utf8_decode(str_slice(s, i, s.len), &c);
    bool dash = (c >= 0x2010 && c <= 0x2015) || c == 0x2212, blank = c == 0xA0 || c == 0x202F;
    *out = (struct part){i, i + n, dash ? "-" : " "};
    return n > 0 && (dash || blank);
}

static bool part_read(struct str s, size_t i, enum plain_parts how, struct part *out)
{
    const char c = s.data[i];
    if (how != PLAIN_IN_ONE && detect_is_upper(c)) {
        *out = (struct part){i, i, " "};
        return i > 0 && detect_is_lower(s.data[i - 1]);
    }
    if (how == PLAIN_AS_WORDS && (unsigned char)c >= 0xC2)
        return high_part(s, i, out);
    switch (c) {
    case '"':
    case '\'':
        return quotes_part(s, i, out);
    case '<':
        return tag_part(s, i, out);
    case ']':
        return link_part(s, i, out);
    case '\n':
        return line_part(s, i, out);
    case ' ':
        return how == PLAIN_MARKED && blanks_part(s, i, out);
    default:
        return how != PLAIN_AS_WORDS && detect_is_one_of(c, ".-_*|~/") && sign_part(s, i, out);
    }
}

/* A block's blanks behind which a letter alone, or another blank, may stand. */
static uint64_t blanks_in(const struct byte_map *m, size_t block)
{
    const size_t at = block * 64;
    uint64_t alnum = byte_bits(m, BYTE_WORD, at + 2) & ~byte_bits(m, BYTE_HIGH, at + 2);
    return byte_bits(m, BYTE_SPACE, at) & (byte_bits(m, BYTE_SPACE, at + 1) | ~alnum);
}

/* Of a block's bytes, those at which something may part words. */
static uint64_t parts_in(const struct byte_map *m, size_t block, enum plain_parts how)
{
    const uint64_t *here = m->bits + block * BYTE_CLASSES;
    return here[BYTE_SIGN] | here[BYTE_CONTROL] | (how != PLAIN_IN_ONE ? here[BYTE_UPPER] : 0) |
           (how == PLAIN_AS_WORDS ? here[BYTE_HIGH] : 0) | (how == PLAIN_MARKED ? blanks_in(m, block) : 0);
}

int router_plain_parted(const struct byte_map *m, enum plain_parts how, struct buf *out,
    struct plain_joints *joints, bool *changed)
{
    static const char mark[] = {PLAIN_MARK, '\0'};
    struct str s = m->text;
    size_t kept = 0;
    *changed = false;
    for (size_t block = 0; block < m->n_blocks && !out->failed; block++)
        for (uint64_t bits = parts_in(m, block, how); bits; bits &= bits - 1) {
            struct part p;
            size_t i = block * 64 + byte_first(bits);
            if (i < kept || !part_read(s, i, how, &p) || p.left < kept)
                continue;
            buf_append_str(out, str_slice(s, kept, p.left));
            plain_joint_add(joints, out->len, p.left);
            buf_append_text(out, how == PLAIN_MARKED ? mark : how == PLAIN_AS_WORDS ? p.words : "");
            plain_joint_add(joints, out->len, p.right);
            kept = p.right;
            *changed = true;
        }
    if (*changed)
        buf_append_str(out, str_slice(s, kept, s.len));
    return out->failed;
}
