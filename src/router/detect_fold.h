/* A text as the owner's own layer reads it: letters and digits in lower case without their accents (the
 * lexicon's folding), one space for whatever stands between, a space at both ends.
 *
 *   "Das Projekt\n  HÉRON-2!" --> " das projekt heron 2 "      each byte with the place it comes from
 *
 * Letters of three and four bytes (Chinese, Japanese ...) stand between spaces: such scripts have none. */
#ifndef WEIR_ROUTER_DETECT_FOLD_H
#define WEIR_ROUTER_DETECT_FOLD_H

#include "base/str.h"

enum { DETECT_FOLD_MOST = 2042, DETECT_FOLD_PIECE = DETECT_FOLD_MOST + 6, DETECT_FOLD_BEHIND = 256 };

struct detect_fold {
    struct str text; /* valid UTF-8 */
    size_t at, most; /* most: of new bytes in a piece, up to DETECT_FOLD_MOST, and what one letter is more */
    bool spaced;
    char mark;                                           /* stays as it is (plain.h); 0: none does */
    size_t fresh, n;                                     /* bytes[fresh .. n) are new */
    char bytes[DETECT_FOLD_BEHIND + DETECT_FOLD_PIECE];  /* before them the last ones read */
    size_t from[DETECT_FOLD_BEHIND + DETECT_FOLD_PIECE]; /* where in the text it begins and ends */
    size_t to[DETECT_FOLD_BEHIND + DETECT_FOLD_PIECE];
};

void detect_fold_begin(struct detect_fold *f, struct str text);
/* The next piece; false at the end of the text. For a text that comes in parts: set `text` to the next one
 * and `at` to 0, and read on. */
bool detect_fold_read(struct detect_fold *f);
/* The space at the end, behind the last piece. */
void detect_fold_end(struct detect_fold *f);

#endif
