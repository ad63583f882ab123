#include "router/detect_fold.h"

#include <string.h>

#include "router/detect_lexicon.h"

enum { LETTER_MOST = 4 }; /* and a space before and behind it */
_Static_assert(
    DETECT_FOLD_MOST + LETTER_MOST + 2 <= DETECT_FOLD_PIECE, "a piece has room for its last letter");

void detect_fold_begin(struct detect_fold *f, struct str text)
{
    f->text = text;
    f->at = f->n = f->fresh = 0;
    f->most = DETECT_FOLD_MOST;
    f->spaced = false;
    f->mark = '\0';
}

static void put(struct detect_fold *f, char c, size_t from, size_t to)
{
    f->bytes[f->n] = c;
    f->from[f->n] = from;
    f->to[f->n++] = to;
    f->spaced = c == ' ';
}

static void space_put(struct detect_fold *f, size_t from)
{
    if (!f->spaced)
        put(f, ' ', from, from);
}

/* What was read moves to the front, as much of it as is kept. */
static void piece_begin(struct detect_fold *f)
{
    size_t keep = f->n < DETECT_FOLD_BEHIND ? f->n : DETECT_FOLD_BEHIND;
    memmove(f->bytes, f->bytes + f->n - keep, keep);
    memmove(f->from, f->from + f->n - keep, keep * sizeof *f->from);
    memmove(f->to, f->to + f->n - keep, keep * sizeof *f->to);
    f->n = f->fresh = keep;
}

/* "\\n" as JSON and code write a line's end: its letter is none. */
static bool escape_is(const struct detect_fold *f, size_t at)
{
    char c = at + 1 < f->text.len ? f->text.data[at + 1] : ' ';
    return f->text.data[at] == '\\' && (c == 'n' || c == 'r' || c == 't');
}

bool detect_fold_read(struct detect_fold *f)
{
    piece_begin(f);
    if (f->n == 0)
        put(f, ' ', f->at, f->at);
    while (f->at < f->text.len && f->n < f->fresh + f->most) {
        char c = f->text.data[f->at], folded[LETTER_MOST];
        size_t n, length;
        bool capital;
        if (c == f->mark && c != '\0') {
            put(f, c, f->at, f->at);
            f->at++;
            continue;
        }
        if ((unsigned char)c < 0x80) {
            if (detect_is_alnum(c))
                put(f, detect_is_upper(c) ? (char)(c | 0x20) : c, f->at, f->at + 1);
            else
                space_put(f, f->at);
            f->at += escape_is(f, f->at) ? 2 : 1;
            continue;
        }
        length = detect_letter_fold(f->text, f->at, folded, &n, &capital);
        if (length == 0 || n > 2)
            space_put(f, f->at);
        for (size_t i = 0; i < n && length > 0; i++)
            put(f, folded[i], f->at, f->at + length);
        if (n > 2)
            space_put(f, f->at + length);
        f->at += length;
        while (length == 0 && ++f->at < f->text.len && ((unsigned char)f->text.data[f->at] & 0xC0) == 0x80)
            ;
    }
    return f->n > f->fresh;
}

void detect_fold_end(struct detect_fold *f)
{
    piece_begin(f);
    space_put(f, f->at);
}
