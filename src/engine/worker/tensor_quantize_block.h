/* What the writers of tensor_quantize*.c share. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_BLOCK_H
#define WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_BLOCK_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/worker/tensor_half.h"

/* What values weigh. */
struct tensor_importance {
    const float *weights; /* of the block's values; NULL: not known */
    float power;          /* with weights: the mean square of the whole row */
};

/* A block of values to bytes: of 256, tensor_quantize_k.c; of 32 and 256, tensor_quantize_iq4.c; of 256,
 * tensor_quantize_ternary.c and, once their codebooks are made, tensor_quantize_grid.c and _iq1.c. */
typedef void tensor_writer(const float *from, const struct tensor_importance *w, uint8_t *to);
tensor_writer tensor_write_q2_k, tensor_write_q3_k, tensor_write_q4_k, tensor_write_q5_k, tensor_write_q6_k;
tensor_writer tensor_write_iq4_nl, tensor_write_iq4_xs, tensor_write_tq1_0, tensor_write_tq2_0;
tensor_writer tensor_write_iq2_xxs, tensor_write_iq2_xs, tensor_write_iq2_s, tensor_write_iq3_xxs;
tensor_writer tensor_write_iq3_s, tensor_write_iq1_s, tensor_write_iq1_m;

/* Writes a half and gives the value that a reader will see. */
static inline float tensor_put_half(uint8_t *to, float value)
{
    uint16_t h = tensor_half_from_float(value);
    memcpy(to, &h, sizeof h);
    return tensor_float_from_half(h);
}

/* To the nearest whole number, ties to even, within bounds; `least` for what is no number. */
static inline int tensor_nearest(float value, int least, int most)
{
    value = value > (float)least ? value : (float)least;
    value = value < (float)most ? value : (float)most;
    return (int)(value + 0x1.8p23f - 0x1.8p23f); /* from here on a unit is the last place */
}

/* The mean square of n values, times `factor`. */
static inline float tensor_power(const float *x, int64_t n, float factor)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return factor * sum / (float)n;
}

/* What a run of values weighs: the importance of each times how large it is, but not nothing. */
static inline void tensor_weigh(const float *x, const float *importance, int n, float power, float *weights)
{
    for (int i = 0; i < n; i++)
        weights[i] = importance[i] * sqrtf(power + x[i] * x[i]);
}

#endif
