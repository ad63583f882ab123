/* AVX-VNNI: 256 bits, on CPUs without AVX-512. */
#if defined(__AVXVNNI__)
#include "engine/worker/cpu/product_avx2.h"

INLINE vints add_products(vints sum, vwords w, const int8_t *x)
{
    return (vints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, column_word(x));
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    return (vints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x);
}

/* clang-format off: in this order */
#include "engine/worker/cpu/product_vnni.h"
#include "engine/worker/cpu/product_types.h"
/* clang-format on */

const struct products products_avxvnni = {
    .isa = "avxvnni", .lanes = LANES * SETS, .quantize = quantize, .of = PRODUCTS, .peak = peak};

#else
typedef int product_avxvnni_elsewhere; /* ISO C wants something in every file */
#endif
