/* What is written letter by letter: "4 5 3 9   5 7 8 7", "h . b r a m w e l l @". A run of single characters
 * with one space between each loses those; more spaces than one part its words.
 *
 *   space   . 1 . 1 . 1 . . . 1 .       in a run every second byte; a block's bits tell whether there is one
 */
#include "router/detect.h"
#include "router/plain.h"

enum { LEAST = 8 /* characters of a run */ };

/* As many bytes alone between two spaces as a run has, in a block and the one behind it? */
static bool spaced_in(const uint64_t *here, const uint64_t *next)
{
    unsigned __int128 space = (unsigned __int128)next[BYTE_SPACE] << 64 | here[BYTE_SPACE];
    unsigned __int128 alone = ~space & space << 1 & space >> 1;
    return __builtin_popcountll((uint64_t)alone) + __builtin_popcountll((uint64_t)(alone >> 64)) >= LEAST - 2;
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

/* How many bytes the character at i has that stands alone before a blank, or before a sign that ends what it
 * is in ("1 0,"); 0: none does. */
static size_t single_at(struct str s, size_t i)
{
    uint32_t c;
    if (is_blank(s, i))
        return 0;
    size_t n = (unsigned char)s.data[i] < 0x80 ? 1 : str_utf8_decode(str_slice(s, i, s.len), &c);
    bool ends = n > 0 && detect_is_one_of(plain_byte(s, i + n), ",;:.!?)]}>\"'") && is_blank(s, i + n + 1);
    return n > 0 && (ends || is_blank(s, i + n)) ? n : 0;
}

/* May a run begin there? At a word's beginning, or behind what opens it: "(D E 7 4". */
static bool may_begin(struct str s, size_t i)
{
    return i == 0 || is_blank(s, i - 1) ||
           (detect_is_one_of(s.data[i - 1], "([{<\"'=:") && (i == 1 || is_blank(s, i - 2)));
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

/* Appends a run without what parts its characters. */
static void run_join(struct str s, size_t at, size_t end, struct buf *out)
{
    while (at < end) {
        size_t n = single_at(s, at), spaces = spaces_at(s, at + n);
        buf_append_str(out, str_slice(s, at, at + n));
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

int router_plain_spaced(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct str s = m->text;
    size_t kept = 0;
    *changed = false;
    if (!any_spaced(m))
        return 0;
    for (size_t i = 0, end; i < s.len && !out->failed; i++) {
        if (!may_begin(s, i) || (end = run_end(s, i)) == i)
            continue;
        buf_append_str(out, str_slice(s, kept, i));
        run_join(s, i, end, out);
        kept = end;
        i = end - 1;
        *changed = true;
    }
    if (*changed)
        buf_append_str(out, str_slice(s, kept, s.len));
    return out->failed;
}
