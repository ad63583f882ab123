/* NEON without the dot product: bytes are multiplied to 16 bits and added in pairs, twice. */
#if defined(__aarch64__)
#include "engine/worker/cpu/product_neon_dots.h"

INLINE int32x4_t add_products(int32x4_t sum, int8x16_t w, const int8_t *x)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    int8x16_t column = vreinterpretq_s8_s32(vdupq_n_s32(word));
    int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(column)), high = vmull_high_s8(w, column);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)w), vget_low_s8((int8x16_t)x));
    int16x8_t high = vmull_high_s8((int8x16_t)w, (int8x16_t)x);
    return (vints)vpadalq_s16(vpadalq_s16((int32x4_t)sum, low), high);
}

#include "engine/worker/cpu/product_types.h"

const struct products products_neon = {
    .isa = "neon", .lanes = LANES, .quantize = quantize, .of = PRODUCTS, .peak = peak};

#else
typedef int product_neon_elsewhere; /* ISO C wants something in every file */
#endif
