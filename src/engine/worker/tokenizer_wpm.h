/* What WordPiece's normalisation knows of characters (inside the tokenizer); every table is sorted. */
#ifndef WEIR_ENGINE_WORKER_TOKENIZER_WPM_H
#define WEIR_ENGINE_WORKER_TOKENIZER_WPM_H

#include <stdint.h>

/* Characters first .. last decompose (NFD) into `base`, here in lower case, and marks. */
struct wpm_fold {
    uint32_t first, last, base;
};
struct wpm_range {
    uint32_t first, last;
};

enum {
    WPM_FOLDS = 427,
    WPM_IDEOGRAPHS = 10,
    WPM_IDEOGRAPH_BASES = 1002,
    WPM_PUNCTUATION = 189,
    WPM_CONTROLS = 26
};

extern const struct wpm_fold wpm_folds[WPM_FOLDS];
/* Compatibility ideographs and, in the same order, the ideographs that they are. */
extern const struct wpm_range wpm_ideographs[WPM_IDEOGRAPHS];
extern const uint32_t wpm_ideograph_bases[WPM_IDEOGRAPH_BASES];
extern const struct wpm_range wpm_punctuation[WPM_PUNCTUATION]; /* categories P* */
extern const struct wpm_range wpm_controls[WPM_CONTROLS];       /* Cc, Cf, Cs, Co */

#endif
