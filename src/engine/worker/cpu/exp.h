/* e^x in a form that compilers turn into vectors. */
#ifndef WEIR_ENGINE_WORKER_CPU_EXP_H
#define WEIR_ENGINE_WORKER_CPU_EXP_H

#include <stdbool.h>

#include "engine/worker/tensor_half.h"

/* `from` where `is`, else `x`. Not by a branch: gcc follows the constant through all that comes after, so
 * that what is made of it is made for every number, and takes a hundred cycles where that is a denormal. */
static inline float common_where(bool is, float from, float x)
{
    const uint32_t mask = -(uint32_t)is;
    return tensor_float_from_bits((tensor_float_bits(from) & mask) | (tensor_float_bits(x) & ~mask));
}

/* To about 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf). */
static inline float common_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number in the low bits */
    x = common_where(x < -87.0f, -87.0f, x);
    x = common_where(x > 88.0f, 88.0f, x);
    float shifted = x * 1.44269504f + magic;
    float n = shifted - magic;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    /* The low bits of `shifted` hold n: moved up to the exponent they multiply by 2^n. */
    return p * tensor_float_from_bits((tensor_float_bits(shifted) << 23) + 0x3F800000u);
}

#endif
