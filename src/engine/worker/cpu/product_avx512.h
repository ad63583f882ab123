/* The parts of product_types.h for vectors of 512 bits, but the dots: sixteen rows in the lanes of a vector.
 */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_AVX512_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_AVX512_H

#include <immintrin.h>

enum { LANES = 16, TOGETHER = 8 };

#include "engine/worker/cpu/product_vector.h"

INLINE __m128i load_16(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* Rows r, r + 4, r + 8 and r + 12. */
INLINE __m512i load_four(const uint8_t *const *rows, size_t at)
{
    __m512i v = _mm512_castsi128_si512(load_16(rows[0] + at));
    v = _mm512_inserti32x4(v, load_16(rows[4] + at), 1);
    v = _mm512_inserti32x4(v, load_16(rows[8] + at), 2);
    return _mm512_inserti32x4(v, load_16(rows[12] + at), 3);
}

/* Sixteen rows of four words are turned round in four parts of four rows. */
INLINE void rows_16(vwords out[4], const uint8_t *const *rows, size_t at)
{
    __m512i a = load_four(rows, at), b = load_four(rows + 1, at), c = load_four(rows + 2, at),
            d = load_four(rows + 3, at);
    __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    out[0] = (vwords)_mm512_unpacklo_epi64(ab, cd);
    out[1] = (vwords)_mm512_unpackhi_epi64(ab, cd);
    ab = _mm512_unpackhi_epi32(a, b);
    cd = _mm512_unpackhi_epi32(c, d);
    out[2] = (vwords)_mm512_unpacklo_epi64(ab, cd);
    out[3] = (vwords)_mm512_unpackhi_epi64(ab, cd);
}

INLINE vfloats rows_half(const uint8_t *const *rows, size_t at)
{
    uint16_t h[LANES];
    for (int r = 0; r < LANES; r++)
        h[r] = read_short(rows[r] + at);
    return (vfloats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}

INLINE float read_half(const uint8_t *at)
{
    return _cvtsh_ss(read_short(at));
}

INLINE vints load_bytes(const uint8_t *at)
{
    return (vints)_mm512_cvtepi8_epi32(load_16(at));
}

INLINE vfloats load_halves(const uint8_t *at)
{
    return (vfloats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

INLINE vwords rows_byte(const uint8_t *const *rows, size_t at)
{
    uint8_t bytes[LANES];
    for (int r = 0; r < LANES; r++)
        bytes[r] = rows[r][at];
    return (vwords)_mm512_cvtepu8_epi32(load_16(bytes));
}

INLINE vfloats half_low(vwords w)
{
    return (vfloats)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)w));
}

INLINE vfloats half_high(vwords w)
{
    return half_low(w >> 16);
}

INLINE vwords pick(const int8_t table[16], vwords index)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vwords)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), (__m512i)index);
}

INLINE vfloats plus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

INLINE vfloats minus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

#endif
