/* Searches for the scale of a run of values, each the best of some that are tried: what is left between the
 * values and what a reader will see is weighed and made small by least squares. Sums are made in the order of
 * the format's reference, so that the bytes are its bytes. Runs have up to TENSOR_RUN_MAX values; levels come
 * out beside them. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_FIT_H
#define WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_FIT_H

#include <stdbool.h>
#include <stdint.h>

enum { TENSOR_RUN_MAX = 32 };
#define TENSOR_NOTHING 1e-15f /* a run that nowhere exceeds it is zeros */

/* value = scale * level + least, levels 0..most */
struct tensor_line {
    float scale, least; /* least <= 0 */
};

/* Which scales are tried: (most + first + step i) levels over the run's width, i = 0..steps. `absolute`:
 * errors count as they are, not squared. */
struct tensor_line_search {
    int n, most, steps;
    float first, step;
    bool absolute;
};

struct tensor_line tensor_fit_line(
    const float *x, const float *weights, const struct tensor_line_search *s, uint8_t *levels);

/* value = scale * (level - middle), levels 0..2 middle - 1. `weights`: NULL for the values' squares. Returns
 * the scale, which may be negative. */
float tensor_fit_signed(const float *x, const float *weights, int n, int middle, uint8_t *levels);
/* The same without weights, one level after the other turned as long as it helps. */
float tensor_fit_signed_by_turns(const float *x, int n, int middle, uint8_t *levels);
/* value = scale * level. Values are not negative, but for one of eight at most: then `least` is
 * TENSOR_BELOW, and its level comes out as a byte does, 256 more. */
struct tensor_levels {
    int n, least, most; /* least: 0 */
};
enum { TENSOR_BELOW = -(1 << 22) };
float tensor_fit_positive(
    const float *x, const float *weights, const struct tensor_levels *s, uint8_t *levels);

#endif
