#include "engine/worker/rope.h"

#include <math.h>

/* The dimension that turns `turns` times over the original context. */
static double yarn_dimension(const struct rope_scaling *how, int32_t n_dims, double turns)
{
    return n_dims * log(how->original_context / (turns * 2 * M_PI)) / (2 * log(how->base));
}

/* 1 for dimensions fast enough to be left alone, 0 for those to be interpolated, a ramp between. */
static double yarn_share(const struct rope_scaling *how, int32_t n_dims, int32_t i)
{
    double low = fmax(0, floor(yarn_dimension(how, n_dims, how->beta_fast)));
    double high = fmin(n_dims - 1, ceil(yarn_dimension(how, n_dims, how->beta_slow)));
    double ramp = (i - low) / fmax(0.001, high - low);
    return (1 - fmin(1, fmax(0, ramp))) * how->extrapolation;
}

double rope_frequencies(
    const struct rope_scaling *how, int32_t n_dims, const float *factors, double *frequency)
{
    for (int32_t i = 0; i < n_dims / 2; i++) {
        double plain = pow(how->base, -2.0 * i / n_dims) / (factors ? (double)factors[i] : 1);
        double share = how->yarn ? yarn_share(how, n_dims, i) : 0;
        frequency[i] = plain / how->factor * (1 - share) + plain * share;
    }
    bool stretched = how->yarn && how->extrapolation != 0;
    return how->attention_factor * (stretched ? 1 + 0.1 * log(how->factor) : 1);
}
