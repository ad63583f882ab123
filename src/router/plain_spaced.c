/* What is written letter by letter: "4 5 3 9   5 7 8 7", "h . b r a m w e l l @". A run of single characters
 * with one space between each loses those; more spaces than one part its words.
 *
 *   space   . 1 . 1 . 1 . . . 1 .       in a run every second byte; a block's bits tell whether there is one
 */
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

/* The end of the run of single characters at `at`, appended without what parts them; `at` if it is too short.
 */
static size_t run_join(struct str s, size_t at, struct buf *out)
{
    size_t kept = out->len, n = 0, i = at, end = at;
    for (uint32_t c; i < s.len && !is_blank(s, i); n++) {
        size_t length = (unsigned char)s.data[i] < 0x80 ? 1 : str_utf8_decode(str_slice(s, i, s.len), &c);
        if (length == 0 || !is_blank(s, i + length))
            break;
        if (end > at && i - end > 1)
            buf_append_char(out, ' ');
        buf_append_str(out, str_slice(s, i, i + length));
        end = i + length;
        i = end + spaces_at(s, end);
    }
    if (n >= LEAST)
        return end;
    out->len = kept;
    return at;
}

int router_plain_spaced(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct str s = m->text;
    size_t kept = 0;
    *changed = false;
    for (size_t block = 0; block < m->n_blocks && !*changed; block++)
        *changed = spaced_in(m->bits + block * BYTE_CLASSES, m->bits + (block + 1) * BYTE_CLASSES);
    if (!*changed)
        return 0;
    for (size_t i = 0; i < s.len && !out->failed; i++) {
        if (is_blank(s, i) || (i > 0 && !is_blank(s, i - 1)) || !is_blank(s, i + 1))
            continue;
        size_t before = out->len, end;
        buf_append_str(out, str_slice(s, kept, i));
        if ((end = run_join(s, i, out)) == i) {
            out->len = before;
            continue;
        }
        kept = end;
        i = end - 1;
    }
    buf_append_str(out, str_slice(s, kept, s.len));
    return out->failed;
}
