/* How activations are quantised for the products on integers (x_block in product.h): plain C, compiled for
 * each instruction set. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_QUANTIZE_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_QUANTIZE_H

#include "engine/worker/cpu/product_vector.h"

static void quantize_block(struct x_block *to, const float *x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number in the low bits */
    int32_t most = 0, low = 0, high = 0;
    for (int i = 0; i < X_VALUES; i++) {
        int32_t magnitude = (int32_t)(tensor_float_bits(x[i]) & 0x7FFFFFFFu); /* ordered as the numbers are */
        most = magnitude > most ? magnitude : most;
    }
    float max = tensor_float_from_bits((uint32_t)most);
    bool finite = most < 0x7F800000;
    /* Below 127 / FLT_MAX the inverse is infinite: such a run is zero. */
    float inverse = finite && max > 1e-36f ? 127.0f / max : 0;
    to->scale = finite ? (inverse > 0 ? max / 127.0f : 0) : NAN;
    for (int i = 0; i < X_VALUES; i++)
        to->q[i] = (int8_t)(tensor_float_bits((finite ? x[i] : 0) * inverse + magic) & 255u);
    for (int i = 0; i < 16; i++) {
        low += to->q[i];
        high += to->q[i + 16];
    }
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
        quantize_block(x, values + i);
}

#endif
