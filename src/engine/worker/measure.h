/* How sure the model is of the first tokens of an answer: of each, its log-probability and the entropy of
 * what it was drawn from, in nats. Both of the model's own distribution, before any sampler; under a grammar,
 * of what fits it: a token that is the only one that fits says nothing and is left out.
 *
 *   see (the row, after the grammar's mask, before the sampler) -> of (what was drawn)
 *
 * And how likely it found the end of the prompt. */
#ifndef WEIR_ENGINE_WORKER_MEASURE_H
#define WEIR_ENGINE_WORKER_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Zeroed: nothing is measured. */
struct measure {
    int64_t left; /* tokens that are still to be measured */
    int32_t n_vocab;
    float *row; /* as it was seen */
    bool open;  /* the row seen last left a choice */
    double largest, log_sum, entropy;
};

int measure_begin(struct measure *m, int64_t tokens, int32_t n_vocab, struct error *err) MUST_USE;
void measure_free(struct measure *m);
void measure_see(struct measure *m, const float *row);
/* Of the token that was drawn from the row; false: it is not to be told. */
bool measure_of(struct measure *m, int32_t token, double *logprob, double *entropy);

/* The log-probability of a token in a row of n_vocab logits; 0, as if it were sure, of a row without numbers.
 */
double measure_logprob(const float *row, int32_t n_vocab, int32_t token);

#endif
