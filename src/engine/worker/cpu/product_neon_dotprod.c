/* NEON with the dot product of Armv8.2: four byte products are added to a lane at once. */
#if defined(__aarch64__)
#include "engine/worker/cpu/product_neon_dots.h"

INLINE int32x4_t add_products(int32x4_t sum, int8x16_t w, const int8_t *x)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return vdotq_s32(sum, w, vreinterpretq_s8_s32(vdupq_n_s32(word)));
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    return (vints)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x);
}

#include "engine/worker/cpu/product_types.h"

const struct products products_dotprod = {
    .isa = "dotprod", .lanes = LANES, .quantize = quantize, .of = PRODUCTS, .peak = peak};

#else
typedef int product_neon_dotprod_elsewhere; /* ISO C wants something in every file */
#endif
