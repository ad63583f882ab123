/* How well a model foretells a text, and how far it is from another model (weir perplexity).
 *
 *   of each window the second half: logits -> a row for each token -> sums and the rows' order -> figures
 *
 * Figures and their standard errors are those of llama.cpp's perplexity program; the reference's
 * probabilities are used as they are, where that program rounds them to 16 bits. */
#ifndef WEIR_TRAIN_PERPLEXITY_H
#define WEIR_TRAIN_PERPLEXITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* One token of the text. The last three only with a reference. */
struct perplexity_row {
    double nll;      /* -ln p(token) */
    double base_nll; /* the reference's */
    double kl;       /* Kullback-Leibler divergence of the model from the reference, in nats */
    bool same_top;   /* do both think the same token the likeliest? */
};
/* `reference`: its logits; NULL: none. NaN in nll: a logit is no number. */
struct perplexity_row perplexity_row(
    const float *logits, const float *reference, int32_t n_vocab, int32_t token);

struct perplexity_sums {
    int64_t count, most;
    double nll, nll2;
    double base, base2, both; /* the reference's, and the sum of both's product */
    double kl, kl2;
    double shift, shift2, shift4; /* of p(token) - the reference's */
    int64_t same_top;
    float *kls, *shifts; /* `most` of each; NULL without a reference */
};
/* For at most `most` tokens. */
int perplexity_create(int64_t most, bool reference, struct perplexity_sums *out, struct error *err) MUST_USE;
void perplexity_free(struct perplexity_sums *s); /* zeroed is allowed */
void perplexity_add(struct perplexity_sums *s, const struct perplexity_row *row);

struct estimate {
    double value, error; /* standard error */
};
struct perplexity_figures {
    struct estimate perplexity;
    /* With a reference: */
    struct estimate base, ratio, log_ratio, difference; /* ratio: perplexity / base */
    double correlation;                                 /* of the logarithms; 0..1 */
    struct estimate kl, shift, shift_rms, same_top;     /* shares: 0..1 */
    double kl_median, kl_90, kl_95, kl_99, kl_999, kl_max;
};
/* Sorts what was added. Zeros where nothing was. */
void perplexity_figures(struct perplexity_sums *s, struct perplexity_figures *out);

#endif
