/* How activations are quantised for the products on integers (x_block in product.h): plain C, compiled for
 * each instruction set. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_QUANTIZE_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_QUANTIZE_H

#include "engine/worker/cpu/product_vector.h"

typedef int32_t eight_ints __attribute__((vector_size(32), aligned(4), may_alias));

/* Of sixteen numbers. (Of a loop gcc makes sixteen single additions.) */
INLINE int32_t sum_of_half(const int32_t *q)
{
    eight_ints sums = *(const eight_ints *)q + *(const eight_ints *)(q + 8);
    sums += __builtin_shufflevector(sums, sums, 4, 5, 6, 7, 0, 1, 2, 3);
    sums += __builtin_shufflevector(sums, sums, 2, 3, 0, 1, 6, 7, 4, 5);
    return sums[0] + sums[1];
}

/* The largest magnitude's bits. */
INLINE int32_t magnitude_most(const float *x, const int n)
{
    int32_t most = 0;
    for (int i = 0; i < n; i++) {
        int32_t magnitude = (int32_t)(tensor_float_bits(x[i]) & 0x7FFFFFFFu); /* ordered as the numbers are */
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

/* `most`: the largest magnitude of all that share the scale. */
static void quantize_block(struct x_block *to, const float *x, const int32_t most)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number in the low bits */
    int32_t q[X_VALUES] = {0};
    float max = tensor_float_from_bits((uint32_t)most);
    bool finite = most < 0x7F800000;
    /* Below 127 / FLT_MAX the inverse is infinite: such a run is zero. */
    float inverse = finite && max > 1e-36f ? 127.0f / max : 0;
    to->scale = finite ? (inverse > 0 ? max / 127.0f : 0) : NAN;
    if (finite)
        for (int i = 0; i < X_VALUES; i++)
            q[i] = (int32_t)(tensor_float_bits(x[i] * inverse + magic) - tensor_float_bits(magic));
    const int32_t low = sum_of_half(q), high = sum_of_half(q + X_VALUES / 2);
    for (int i = 0; i < X_VALUES; i++)
        to->q[i] = (int8_t)q[i];
    to->q_sums[0] = (int16_t)low;
    to->q_sums[1] = (int16_t)high;
    to->start = SUM_ZERO - 128 * (low + high);
    to->starts[0] = SUM_ZERO - 128 * low;
    to->starts[1] = SUM_ZERO - 128 * high;
    to->sum_low = (float)low * to->scale;
    to->sum_high = (float)high * to->scale;
    to->sum = (float)(low + high) * to->scale;
}

static void quantize(struct x_block *x, int64_t stride, const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i += X_VALUES, x += stride)
        quantize_block(x, values + i, magnitude_most(values + i, X_VALUES));
}

#endif
