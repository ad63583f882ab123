/* Inside the complexity score; tools/score_train.c fits its weights with the same features.
 *
 *   text --one reading (score_read.c)--> counts --> 22 features:           x their weights
 *                                   |               log(1 + n) / scale, shares
 *                                   \-> grams: words, numbers and signs,   the weights at their places, each
 *                                       and each pair of them, hashed to   once, over sqrt(how many + 1)
 *                                       SCORE_GRAM_BITS
 *
 *   score = 1 / (1 + exp(-(offset + sum))) */
#ifndef WEIR_ROUTER_SCORE_H
#define WEIR_ROUTER_SCORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
    SCORE_FEATURES = 22,
    SCORE_GRAM_BITS = 16,
    SCORE_GRAMS = 1 << SCORE_GRAM_BITS,
    SCORE_TEXT = 64 * 1024, /* bytes that are counted in */
    SCORE_GRAM_TEXT = 4096, /* bytes that are read for grams */
    SCORE_GRAMS_MOST = 2 * SCORE_GRAM_TEXT
};

/* data/complexity.grams, little-endian. */
struct score_gram_weights {
    float unit; /* of `gram` */
    float offset;
    float feature[SCORE_FEATURES];
    int8_t gram[SCORE_GRAMS];
};
const struct score_gram_weights *score_weights(void);

enum score_sign {
    SCORE_OTHER,
    SCORE_SYMBOL,
    SCORE_BRACKET,
    SCORE_COMMA,
    SCORE_STOP,
    SCORE_QUESTION,
    SCORE_PERCENT,
    SCORE_SIGNS
};
enum score_word { SCORE_HARD, SCORE_STEP, SCORE_NOT, SCORE_IF, SCORE_MORE, SCORE_TASK, SCORE_WORDS };

struct score_counts {
    size_t words, letters, long_words, numbers, capitals, lines; /* letters: the words' bytes */
    size_t repeated;                                             /* words whose place came before */
    size_t sign[SCORE_SIGNS], word[SCORE_WORDS];
    bool choices; /* lines that begin with "A." or "(b)" */
};

/* The places of the text's grams, each once, in the order in which they first come. */
struct score_grams {
    uint16_t *places; /* room for SCORE_GRAMS_MOST, or NULL: only the other two are asked for */
    size_t n;
    int32_t sum; /* of their weights */
};

/* Either may be NULL. With `grams` only the first SCORE_GRAM_TEXT bytes are read, for both. */
void score_read(struct str text, struct score_counts *counts, struct score_grams *grams);

void score_features(struct str text, double out[SCORE_FEATURES]);

#endif
