/* Rotary position embedding (Su et al. 2021, arxiv.org/abs/2104.09864) and its stretchings.
 *
 * Each pair i of a head's first n_dims values is turned by position * frequency[i]. Linear scaling, YaRN
 * (Peng et al. 2023, arxiv.org/abs/2309.00071) and per-dimension factors (Llama 3's rope_freqs) do not depend
 * on the position, so all of them are folded into the frequencies once. */
#ifndef WEIR_ENGINE_WORKER_ROPE_H
#define WEIR_ENGINE_WORKER_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/worker/program.h"

struct rope {
    int32_t n_dims;
    enum rope_pairs pairs;
    const double *frequency; /* n_dims / 2, radians a position */
    double magnitude;        /* cosines and sines are multiplied by it */
};

struct rope_scaling {
    double base;             /* of the frequencies: base^(-2i/n_dims) */
    double factor;           /* positions are divided by it; 1: none */
    bool yarn;               /* leave fast dimensions as they are */
    double original_context; /* YaRN: positions that the model was first trained on */
    double beta_fast, beta_slow, extrapolation, attention_factor;
};

/* Fills frequency[n_dims / 2] and gives the magnitude. `factors`: n_dims / 2 divisors or NULL. */
double rope_frequencies(
    const struct rope_scaling *how, int32_t n_dims, const float *factors, double *frequency);

#endif
