/* AVX-512 (F, BW, DQ, VL) with VNNI: sixteen rows in the lanes of a vector. */
#if defined(__AVX512VNNI__)
#include "engine/worker/cpu/product_avx512.h"

INLINE vints add_products(vints sum, vwords w, const int8_t *x)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return (vints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(word));
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    return (vints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
}

/* sum + the products of pairs of 16 bits. */
INLINE vints pairs_add(vints sum, vwords pairs, const int16_t x[2])
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return (vints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)pairs, _mm512_set1_epi32(word));
}

#define RUNS
/* clang-format off: in this order */
#include "engine/worker/cpu/product_vnni.h"
#include "engine/worker/cpu/product_types.h"
/* clang-format on */

static const struct products_tiled runs = {
    .layout = {[TENSOR_Q4_K] = PANEL_RUNS, [TENSOR_Q5_K] = PANEL_RUNS, [TENSOR_IQ4_XS] = PANEL_RUNS},
    .quantize = {[PANEL_RUNS] = runs_quantize}};

const struct products products_avx512vnni = {.isa = "avx512vnni",
    .lanes = LANES * SETS,
    .quantize = quantize,
    .of = PRODUCTS,
    .peak = peak,
    .tiled = &runs};

#else
typedef int product_avx512vnni_elsewhere; /* ISO C wants something in every file */
#endif
