/* Half precision (IEEE 754 binary16) and bfloat16 to and from float, exact to the bit. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_HALF_H
#define WEIR_ENGINE_WORKER_TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline float tensor_float_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t tensor_float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float tensor_float_from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, fraction = h & 0x3FF;
    if (exponent == 0) {
        float f = (float)fraction * 0x1p-24f; /* zero and subnormals: exact */
        return sign ? -f : f;
    }
    exponent = exponent == 31 ? 255 : exponent + 112;
    return tensor_float_from_bits(sign | exponent << 23 | fraction << 13);
}

/* Rounds to nearest, ties to even; too large becomes infinity. */
static inline uint16_t tensor_half_from_float(float f)
{
    uint32_t bits = tensor_float_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x477FF000)
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) {
        /* Subnormal in half: adding 0.5 puts the unit of the last place at 2^-24 and rounds. */
        float shifted = tensor_float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (tensor_float_bits(shifted) - 0x3F000000));
    }
    magnitude += 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

static inline float tensor_float_from_bf16(uint16_t b)
{
    return tensor_float_from_bits((uint32_t)b << 16);
}

static inline uint16_t tensor_bf16_from_float(float f)
{
    uint32_t bits = tensor_float_bits(f);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
