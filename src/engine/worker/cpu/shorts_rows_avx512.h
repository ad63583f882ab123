/* Rows of F16, and queries, as integers of 16 bits (shorts.h) by AVX-512. */
#ifndef WEIR_ENGINE_WORKER_CPU_SHORTS_ROWS_AVX512_H
#define WEIR_ENGINE_WORKER_CPU_SHORTS_ROWS_AVX512_H

INLINE __mmask16 lanes_left(int64_t left)
{
    return (__mmask16)(left >= LANES ? 0xFFFF : left > 0 ? (1u << left) - 1 : 0);
}

/* Sixteen of a row's values from the i-th on, zeros behind its end. `whole`: it ends behind them. */
INLINE __m512 halves_at(const uint8_t *row, int64_t i, int64_t width, const bool whole)
{
    return _mm512_cvtph_ps(whole ? _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * i))
                                 : _mm256_maskz_loadu_epi16(lanes_left(width - i), row + 2 * i));
}

/* The whole number nearest to each x times `by` is in the low bits of what this returns. */
INLINE __m512i whole_numbers(__m512 x, __m512 by)
{
    const __m512 magic = _mm512_set1_ps(12582912.0f); /* 1.5 * 2^23 */
    return _mm512_castps_si512(_mm512_fmadd_ps(x, by, magic));
}

INLINE __m512i side_by_side(__m512i low, __m512i high)
{
    return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16));
}

/* The larger of both, of either's quarters that `low` and `high` choose. */
#define LARGER_QUARTERS(a, b, low, high)                                                                     \
    _mm512_max_epu16(_mm512_shuffle_i64x2(a, b, low), _mm512_shuffle_i64x2(a, b, high))

/* The largest of 32 values' bits, but for the sign, of each 32 of a row. */
INLINE __m512i row_largest(const uint8_t *row, int64_t width, const bool whole)
{
    const __m512i sign = _mm512_set1_epi16(0x7FFF);
    __m512i most = _mm512_setzero_si512();
    for (int64_t i = 0; i < width; i += 2 * LANES) {
        const __mmask32 mask = (__mmask32)lanes_left(width - i - LANES) << 16 | lanes_left(width - i);
        most = _mm512_max_epu16(
            most, _mm512_and_si512(sign,
                      whole ? _mm512_loadu_si512(row + 2 * i) : _mm512_maskz_loadu_epi16(mask, row + 2 * i)));
    }
    return most;
}

/* The exponents of eight rows' largest values; 16: of one that has some that is no number. */
INLINE __m256i row_exponents(const uint8_t *const *rows, int64_t width, const bool whole)
{
    __m512i m[SHORT_ROWS];
    UNROLLED
    for (int r = 0; r < SHORT_ROWS; r++)
        m[r] = row_largest(rows[r], width, whole);
    UNROLLED
    for (int r = 0; r < SHORT_ROWS; r += 2)
        m[r] = LARGER_QUARTERS(m[r], m[r + 1], 0x44, 0xEE);
    UNROLLED
    for (int r = 0; r < SHORT_ROWS; r += 4)
        m[r] = LARGER_QUARTERS(m[r], m[r + 2], 0x88, 0xDD);
    __m512i all = _mm512_max_epu16(_mm512_unpacklo_epi64(m[0], m[4]), _mm512_unpackhi_epi64(m[0], m[4]));
    all = _mm512_max_epu16(all, _mm512_srli_epi64(all, 32));
    all = _mm512_max_epu16(all, _mm512_srli_epi64(all, 16));
    const __m512i in_order = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), all);
    const __m256i words = _mm256_and_si256(_mm512_cvtepi64_epi32(in_order), _mm256_set1_epi32(0x7FFF));
    return _mm256_sub_epi32(_mm256_srli_epi32(words, 10), _mm256_set1_epi32(15));
}

INLINE __mmask8 are_numbers(__m256i exponents)
{
    return _mm256_cmple_epi32_mask(exponents, _mm256_set1_epi32(15));
}

INLINE __m256 powers_of_two(__m256i e)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
}

/* What the rows are multiplied by to be of `bits`; 0 where some are no numbers. */
INLINE __m256 row_scales(__m256i e, int bits)
{
    return _mm256_maskz_mov_ps(
        are_numbers(e), powers_of_two(_mm256_sub_epi32(_mm256_set1_epi32(bits - 1), e)));
}

INLINE __m256 or_none(__m256i e, __m256 x)
{
    return _mm256_mask_mov_ps(_mm256_set1_ps(NAN), are_numbers(e), x);
}

INLINE void key_pairs(uint32_t *to, const uint8_t *row, int64_t i, int64_t width, __m512 by, const bool whole)
{
    _mm512_storeu_si512(to, side_by_side(whole_numbers(halves_at(row, i, width, whole), by),
                                whole_numbers(halves_at(row, i + LANES, width, whole), by)));
}

INLINE void keys_of(
    const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width, const bool whole)
{
    const __m256i e = row_exponents(rows, width, whole);
    float scales[SHORT_ROWS];
    _mm256_storeu_ps(scales, row_scales(e, SHORT_KEY_BITS));
    _mm256_storeu_ps(t->key_scale + at,
        or_none(e, powers_of_two(_mm256_sub_epi32(e, _mm256_set1_epi32(SHORT_KEY_BITS - 1)))));
    for (int64_t r = 0; r < SHORT_ROWS; r++) {
        const uint8_t *row = rows[r];
        const __m512 by = _mm512_set1_ps(scales[r]);
        uint32_t *to = t->keys + (at + r) * SHORT_RUN;
        for (int64_t i = 0; i < width; i += 2 * SHORT_VALUES, to += SHORT_POSITIONS * SHORT_RUN) {
            key_pairs(to, row, i, width, by, whole);
            if (i + SHORT_VALUES < width)
                key_pairs(to + LANES, row, i + SHORT_VALUES, width, by, whole);
        }
    }
}

static void vnni_keys(const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width)
{
    if (width == 64 || width == 128) /* most models' */
        width == 64 ? keys_of(t, at, rows, 64, true) : keys_of(t, at, rows, 128, true);
    else if (width % SHORT_VALUES == 0)
        keys_of(t, at, rows, width, true);
    else
        keys_of(t, at, rows, width, false);
}

INLINE void value_scales(
    const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width, const bool whole)
{
    const __m256i e = row_exponents(rows, width, whole),
                  power = _mm256_sub_epi32(e, _mm256_set1_epi32(SHORT_VALUE_BITS - 1));
    _mm256_storeu_ps(t->value_power + at, or_none(e, _mm256_cvtepi32_ps(power)));
    _mm256_storeu_ps(t->value_back + at, row_scales(e, SHORT_VALUE_BITS));
}

INLINE void values_of(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
    const uint8_t *const *beside, int64_t width, const bool whole)
{
    const int64_t pair = at / 32 * 16 + at % 16;
    uint32_t *to = t->values + pair * ((width + LANES - 1) / LANES * LANES);
    value_scales(t, at, rows, width, whole);
    value_scales(t, at + LANES, beside, width, whole);
    for (int64_t r = 0; r < SHORT_ROWS; r++) {
        const uint8_t *low = rows[r], *high = beside[r];
        const __m512 a = _mm512_set1_ps(t->value_back[at + r]),
                     b = _mm512_set1_ps(t->value_back[at + r + LANES]);
        for (int64_t i = 0; i < width; i += LANES, to += LANES)
            _mm512_storeu_si512(to, side_by_side(whole_numbers(halves_at(low, i, width, whole), a),
                                        whole_numbers(halves_at(high, i, width, whole), b)));
    }
}

static void vnni_values(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
    const uint8_t *const *beside, int64_t width)
{
    if (width == 64 || width == 128)
        width == 64 ? values_of(t, at, rows, beside, 64, true) : values_of(t, at, rows, beside, 128, true);
    else if (width % SHORT_VALUES == 0)
        values_of(t, at, rows, beside, width, true);
    else
        values_of(t, at, rows, beside, width, false);
}

/* ---- Queries ---- */

INLINE __m512 floats_at(const float *row, int64_t i, int64_t width)
{
    return _mm512_maskz_loadu_ps(lanes_left(width - i), row + i);
}

static float row_length(const float *row, int64_t width)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        const __m512 x = floats_at(row, i, width);
        sum = _mm512_fmadd_ps(x, x, sum);
    }
    return sqrtf(_mm512_reduce_add_ps(sum));
}

static void vnni_queries(
    uint32_t *to, int64_t stride, float *scales, const float *const *rows, int64_t width, float scale)
{
    const float most = short_query_length(width);
    __m512 by[SHORT_QUERIES];
    for (int q = 0; q < SHORT_QUERIES; q++) {
        const float length = row_length(rows[q], width);
        by[q] = _mm512_set1_ps(short_query_scale(length, most));
        scales[q] = length * scale / most;
    }
    for (int64_t i = 0; i < width; i += SHORT_VALUES) {
        uint32_t words[SHORT_QUERIES][LANES];
        const uint8_t *of[SHORT_QUERIES];
        for (int q = 0; q < SHORT_QUERIES; q++) {
            _mm512_storeu_si512(words[q], side_by_side(whole_numbers(floats_at(rows[q], i, width), by[q]),
                                              whole_numbers(floats_at(rows[q], i + LANES, width), by[q])));
            of[q] = (const uint8_t *)words[q];
        }
        for (size_t w = 0; w < LANES; w += 4) {
            vwords turned[4];
            rows_16(turned, of, w * sizeof **words);
            for (int j = 0; j < 4; j++, to += stride)
                memcpy(to, &turned[j], sizeof turned[j]);
        }
    }
}

#endif
