/* What is written letter by letter: "4 5 3 9   5 7 8 7", "h . b r a m w e l l @", "4-5-3-9 5-7-8-7". A run of
 * single characters with one space between each loses those; more spaces than one part its words. With the
 * same sign between each it loses that, and a space parts.
 *
 *   space   . 1 . 1 . 1 . . . 1 .       in a run every second byte; a block's bits tell whether there is one
 */
#include "router/detect.h"
#include "router/plain.h"

enum { LEAST = 8 /* characters of a run */, REACH = 16 /* of one before its block */ };

static const bool between[256] = {
    ['-'] = true, ['.'] = true, ['_'] = true, ['/'] = true, ['*'] = true, ['|'] = true, [':'] = true};

static bool is_between(char c)
{
    return between[(unsigned char)c];
}

/* As many bytes alone between two spaces as a run has, in a block and the one behind it? */
static bool spaced_in(const uint64_t *here, const uint64_t *next)
{
    unsigned __int128 space = (unsigned __int128)next[BYTE_SPACE] << 64 | here[BYTE_SPACE];
    unsigned __int128 alone = ~space & space << 1 & space >> 1;
    return __builtin_popcountll((uint64_t)alone) + __builtin_popcountll((uint64_t)(alone >> 64)) >= LEAST - 2;
}

/* The same sign three times in a block, with a letter or digit between? */
static bool signed_in(const struct byte_map *m, size_t block)
{
    const uint64_t *here = m->bits + block * BYTE_CLASSES, sign = here[BYTE_SIGN], word = here[BYTE_WORD];
    bool same = false;
    for (uint64_t bits = sign & word >> 1 & sign >> 2 & word >> 3 & sign >> 4; bits && !same;
         bits &= bits - 1) {
        const char *at = m->text.data + block * 64 + byte_first(bits);
        same = at[0] == at[2] && at[2] == at[4] && is_between(at[0]);
    }
    return same;
}

static bool is_blank(struct str s, size_t i)
{
    return i >= s.len || (unsigned char)s.data[i] <= ' ';
}

static size_t spaces_at(struct str s, size_t i)
{
    size_t n = 0;
    while (i + n < s.len && s.data[i + n] == ' ')
        n++;
    return n;
}

static bool closes(char c)
{
    return detect_is_one_of(c, ",;:.)]}\"") || detect_is_one_of(c, "!?>'");
}

/* How many bytes the character at i has that stands alone before a blank, or before a sign that ends what it
 * is in ("1 0,"); 0: none does. */
static size_t single_at(struct str s, size_t i)
{
    uint32_t c;
    if (is_blank(s, i))
        return 0;
    size_t n = (unsigned char)s.data[i] < 0x80 ? 1 : str_utf8_decode(str_slice(s, i, s.len), &c);
    bool ends =
        n > 0 && closes(plain_byte(s, i + n)) && (is_blank(s, i + n + 1) || closes(s.data[i + n + 1]));
    return n > 0 && (ends || is_blank(s, i + n)) ? n : 0;
}

/* May a run begin there? At a word's beginning, or behind what opens it: "(D E 7 4", "{"iban":"D E 7 4". */
static bool may_begin(struct str s, size_t i)
{
    return i == 0 || is_blank(s, i - 1) ||
           (detect_is_one_of(s.data[i - 1], "([{<\"'=:") &&
               (i == 1 || is_blank(s, i - 2) || detect_is_one_of(s.data[i - 2], "([{<\"'=:")));
}

/* The end of the run of single characters at `at`; `at` if it is too short. */
static size_t run_end(struct str s, size_t at)
{
    size_t end = at, singles = 0;
    for (size_t i = at, n; (n = single_at(s, i)) > 0; singles++) {
        end = i + n;
        i = end + spaces_at(s, end);
    }
    return singles >= LEAST ? end : at;
}

/* The end of the run with the same sign between all characters, which a space may stand for; `at` if it is
 * too short. */
static size_t signed_end(struct str s, size_t at)
{
    const char sign = plain_byte(s, at + 1);
    size_t end = at, singles = 0;
    if (!detect_is_alnum(s.data[at]))
        return at;
    for (size_t i = at;; singles++) {
        const char c = plain_byte(s, i), behind = plain_byte(s, i + 1);
        const bool group = behind == ' ' && plain_byte(s, i + 3) == sign;
        if (c <= ' ' || c > '~' || c == sign)
            break;
        end = i + 1;
        if (behind != sign && !group) {
            singles++;
            break;
        }
        i += 2;
    }
    return singles >= LEAST && !detect_is_alnum(plain_byte(s, end)) ? end : at;
}

/* Appends a run without what parts its characters. */
static void signed_join(struct str s, size_t at, size_t end, struct buf *out, struct plain_joints *joints)
{
    for (; at < end; at += 2) {
        plain_joint_add(joints, out->len, at);
        buf_append_char(out, s.data[at]);
        plain_joint_add(joints, out->len, at + 1);
        if (at + 1 < end && s.data[at + 1] == ' ')
            buf_append_char(out, ' ');
    }
}

static void run_join(struct str s, size_t at, size_t end, struct buf *out, struct plain_joints *joints)
{
    while (at < end) {
        size_t n = single_at(s, at), spaces = spaces_at(s, at + n);
        plain_joint_add(joints, out->len, at);
        buf_append_str(out, str_slice(s, at, at + n));
        plain_joint_add(joints, out->len, at + n);
        at += n + spaces;
        if (at < end && spaces > 1)
            buf_append_char(out, ' ');
    }
}

static bool any_spaced(const struct byte_map *m)
{
    for (size_t block = 0; block < m->n_blocks; block++)
        if (spaced_in(m->bits + block * BYTE_CLASSES, m->bits + (block + 1) * BYTE_CLASSES))
            return true;
    return false;
}

/* Where the next run with signs may begin, from i on. It may reach into the block behind. */
static size_t signs_next(const struct byte_map *m, size_t i)
{
    size_t block = (i + REACH) / 64;
    const size_t first = block;
    bool before = block > 0 && signed_in(m, block - 1);
    while (block < m->n_blocks && !before && !(before = signed_in(m, block)))
        block++;
    return block > first ? block * 64 - REACH : i;
}

int router_plain_spaced(const struct byte_map *m, struct buf *out, struct plain_joints *joints, bool *changed)
{
    struct str s = m->text;
    const bool spaces = any_spaced(m);
    size_t kept = 0, checked = spaces ? SIZE_MAX : 0;
    *changed = false;
    for (size_t i = 0; i < s.len && !out->failed; i++) {
        if (i >= checked) {
            if ((i = signs_next(m, i)) >= s.len)
                break;
            checked = (i + REACH) / 64 * 64 + 64 - REACH;
        }
        if (!may_begin(s, i))
            continue;
        const size_t spaced = spaces ? run_end(s, i) : i;
        const size_t end = spaced > i || !is_between(plain_byte(s, i + 1)) ? spaced : signed_end(s, i);
        if (end == i)
            continue;
        buf_append_str(out, str_slice(s, kept, i));
        if (end > spaced)
            signed_join(s, i, end, out, joints);
        else
            run_join(s, i, end, out, joints);
        kept = end;
        i = end - 1;
        *changed = true;
    }
    if (*changed)
        buf_append_str(out, str_slice(s, kept, s.len));
    return out->failed;
}
