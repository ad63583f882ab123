/* Inside the complexity score; tools/score_train.c fits its weights with the same features.
 *
 *   text --> 17 features: counts as log(1 + n) / scale, shares           x their weights (score.c)
 *        \-> grams: words, numbers and signs, and each pair of them,     the weights at their places,
 *            hashed to SCORE_GRAM_BITS                                   over sqrt(how many + 1)
 * (score_grams.c)
 *
 *   score = 1 / (1 + exp(-(sum - middle) / width)) */
#ifndef WEIR_ROUTER_SCORE_H
#define WEIR_ROUTER_SCORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
    SCORE_FEATURES = 17,
    SCORE_GRAM_BITS = 16,
    SCORE_GRAMS = 1 << SCORE_GRAM_BITS,
    SCORE_GRAM_TEXT = 4096, /* bytes that are read for them */
    SCORE_GRAMS_MOST = 2 * SCORE_GRAM_TEXT
};

void score_features(struct str text, double out[SCORE_FEATURES]);
extern const double score_feature_weight[SCORE_FEATURES];

/* data/complexity.grams, little-endian. */
struct score_gram_weights {
    float unit;   /* of `gram` */
    float offset; /* makes the sum zero in the mean */
    int8_t gram[SCORE_GRAMS];
};
/* The places of the text's grams, in order, with repetitions; returns how many. */
size_t score_grams(struct str text, uint16_t out[SCORE_GRAMS_MOST]);
double score_grams_sum(struct str text);

#endif
