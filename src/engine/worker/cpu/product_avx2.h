/* The parts of product_types.h for vectors of 256 bits, but the dot: shared by AVX2 and AVX-VNNI. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_AVX2_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_AVX2_H

#include <immintrin.h>

enum { LANES = 8, TOGETHER = 4 };

#include "engine/worker/cpu/product_vector.h"

/* (A broadcast is a load and a blend may go to any unit; an insertion has one unit to go to.) */
INLINE __m256i load_two(const uint8_t *low, const uint8_t *high)
{
    __m256i a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)low));
    __m256i b = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)high));
    return _mm256_blend_epi32(a, b, 0xF0);
}

/* Eight rows of four words are turned round in two halves of four rows. */
INLINE void rows_16(vwords out[4], const uint8_t *const *rows, size_t at)
{
    __m256i a = load_two(rows[0] + at, rows[4] + at), b = load_two(rows[1] + at, rows[5] + at);
    __m256i c = load_two(rows[2] + at, rows[6] + at), d = load_two(rows[3] + at, rows[7] + at);
    __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    out[0] = (vwords)_mm256_unpacklo_epi64(ab, cd);
    out[1] = (vwords)_mm256_unpackhi_epi64(ab, cd);
    ab = _mm256_unpackhi_epi32(a, b);
    cd = _mm256_unpackhi_epi32(c, d);
    out[2] = (vwords)_mm256_unpacklo_epi64(ab, cd);
    out[3] = (vwords)_mm256_unpackhi_epi64(ab, cd);
}

INLINE vfloats rows_half(const uint8_t *const *rows, size_t at)
{
    __m128i h = _mm_setzero_si128();
    h = _mm_insert_epi16(h, read_short(rows[0] + at), 0);
    h = _mm_insert_epi16(h, read_short(rows[1] + at), 1);
    h = _mm_insert_epi16(h, read_short(rows[2] + at), 2);
    h = _mm_insert_epi16(h, read_short(rows[3] + at), 3);
    h = _mm_insert_epi16(h, read_short(rows[4] + at), 4);
    h = _mm_insert_epi16(h, read_short(rows[5] + at), 5);
    h = _mm_insert_epi16(h, read_short(rows[6] + at), 6);
    h = _mm_insert_epi16(h, read_short(rows[7] + at), 7);
    return (vfloats)_mm256_cvtph_ps(h);
}

INLINE float read_half(const uint8_t *at)
{
    return _cvtsh_ss(read_short(at));
}

INLINE vints load_bytes(const uint8_t *at)
{
    return (vints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at));
}

INLINE vfloats load_halves(const uint8_t *at)
{
    return (vfloats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
}

INLINE vwords rows_byte(const uint8_t *const *rows, size_t at)
{
    uint64_t bytes = 0;
    for (int r = 0; r < LANES; r++)
        bytes |= (uint64_t)rows[r][at] << 8 * r;
    return (vwords)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
}

INLINE vfloats half_high(vwords w)
{
    __m256i h = _mm256_srli_epi32((__m256i)w, 16);
    return (vfloats)_mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}

INLINE vfloats half_low(vwords w)
{
    return half_high(w << 16);
}

INLINE vwords pick(const int8_t table[16], vwords index)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vwords)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), (__m256i)index);
}

INLINE vfloats plus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

INLINE vfloats minus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

INLINE __m256i column_word(const int8_t *x)
{
    int32_t w;
    memcpy(&w, x, sizeof w);
    return _mm256_set1_epi32(w);
}

#endif
