/* Attention on integers of 16 bits by AVX-512 VNNI. */
#if defined(__AVX512VNNI__)
#if !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#include "engine/worker/cpu/product_avx512.h"
#include "engine/worker/cpu/shorts.h"
/* clang-format off: the vectors first */
#include "engine/worker/cpu/term_avx512.h"
/* clang-format on */

INLINE float power_of_two(int32_t e)
{
    return tensor_float_from_bits((uint32_t)(127 + e) << 23);
}

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

/* The exponent of a row's largest value; 16: it has some that is no number. */
INLINE int32_t row_exponent(const uint8_t *row, int64_t width, const bool whole)
{
    __m512i most = _mm512_setzero_si512();
    for (int64_t i = 0; i < width; i += 2 * LANES) {
        const __mmask32 m = (__mmask32)lanes_left(width - i - LANES) << 16 | lanes_left(width - i);
        const __m512i halves =
            whole ? _mm512_loadu_si512(row + 2 * i) : _mm512_maskz_loadu_epi16(m, row + 2 * i);
        most = _mm512_max_epu16(most, _mm512_and_si512(halves, _mm512_set1_epi16(0x7FFF)));
    }
    const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    const __m128i quarter = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)),
                  least = _mm_minpos_epu16(_mm_xor_si128(quarter, _mm_set1_epi16(-1)));
    return (int32_t)((uint16_t)~_mm_cvtsi128_si32(least) >> 10) - 15;
}

/* Of `bits`; what its values are multiplied by. */
INLINE float row_scale(int32_t e, int32_t bits)
{
    return e > 15 ? 0 : power_of_two(bits - 1 - e);
}

INLINE void keys_of(
    const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width, const bool whole)
{
    for (int64_t r = 0; r < SHORT_ROWS; r++, at++) {
        const int32_t e = row_exponent(rows[r], width, whole);
        const __m512 by = _mm512_set1_ps(row_scale(e, SHORT_KEY_BITS));
        t->key_scale[at] = e > 15 ? NAN : power_of_two(e + 1 - SHORT_KEY_BITS);
        uint32_t *to = t->keys + at * SHORT_RUN;
        for (int64_t i = 0; i < width; i += SHORT_VALUES) {
            const __m512i low = whole_numbers(halves_at(rows[r], i, width, whole), by),
                          high = whole_numbers(halves_at(rows[r], i + LANES, width, whole), by);
            const int64_t pair = i / 2;
            _mm512_storeu_si512(to + pair / SHORT_RUN * SHORT_POSITIONS * SHORT_RUN + pair % SHORT_RUN,
                side_by_side(low, high));
        }
    }
}

static void vnni_keys(const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width)
{
    if (width % SHORT_VALUES == 0)
        keys_of(t, at, rows, width, true);
    else
        keys_of(t, at, rows, width, false);
}

INLINE __m512 value_scale(const struct short_tile *t, int64_t at, int32_t e)
{
    t->value_power[at] = e > 15 ? NAN : (float)(e + 1 - SHORT_VALUE_BITS);
    return _mm512_set1_ps(t->value_back[at] = row_scale(e, SHORT_VALUE_BITS));
}

INLINE void values_of(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
    const uint8_t *const *beside, int64_t width, const bool whole)
{
    const int64_t pair = at / 32 * 16 + at % 16;
    uint32_t *to = t->values + pair * ((width + LANES - 1) / LANES * LANES);
    for (int64_t r = 0; r < SHORT_ROWS; r++) {
        const __m512 a = value_scale(t, at + r, row_exponent(rows[r], width, whole)),
                     b = value_scale(t, at + r + LANES, row_exponent(beside[r], width, whole));
        for (int64_t i = 0; i < width; i += LANES, to += LANES)
            _mm512_storeu_si512(to, side_by_side(whole_numbers(halves_at(rows[r], i, width, whole), a),
                                        whole_numbers(halves_at(beside[r], i, width, whole), b)));
    }
}

static void vnni_values(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
    const uint8_t *const *beside, int64_t width)
{
    if (width % SHORT_VALUES == 0)
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
        by[q] = _mm512_set1_ps(length > 0 ? most / length : 0);
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

/* ---- Products ---- */

/* (gcc's own copies sums to other registers, and these to memory.) */
INLINE void dot_add(vints *sum, __m512i a, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

INLINE __m512i word_of_all(const uint32_t *at)
{
    return _mm512_set1_epi32((int)*at);
}

enum { ROWS_MOST = 16, GROUPS_MOST = 3, COLUMNS_MOST = 6, VECTORS_MOST = 4 };

INLINE __m512 score_of(vints sum, __m512 key_scale, __m512 query_scale, __m512 value_power)
{
    return _mm512_fmadd_ps(
        _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sum), key_scale), query_scale, value_power);
}

/* `rows` positions from `at` on by `groups` of queries. */
INLINE void some_scores(float *scores, const struct short_tile *t, int64_t at, const uint32_t *queries,
    int64_t stride, const float *scales, int64_t pairs, const int rows, const int groups)
{
    vints sums[ROWS_MOST][GROUPS_MOST];
    for (int r = 0; r < rows; r++)
        for (int g = 0; g < groups; g++)
            sums[r][g] = (vints){0};
    for (int64_t from = 0; from < pairs; from += SHORT_RUN) {
        const uint32_t *keys = t->keys + (from / SHORT_RUN * SHORT_POSITIONS + at) * SHORT_RUN,
                       *end = keys + (pairs - from < SHORT_RUN ? pairs - from : SHORT_RUN);
        for (; keys < end; keys++, queries += stride) {
            __m512i q[GROUPS_MOST];
            for (int g = 0; g < groups; g++)
                q[g] = _mm512_loadu_si512(queries + g * LANES);
            for (int r = 0; r < rows; r++) {
                const __m512i k = word_of_all(keys + r * SHORT_RUN);
                for (int g = 0; g < groups; g++)
                    dot_add(&sums[r][g], k, q[g]);
            }
        }
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int g = 0; g < groups; g++) {
            const __m512 s = score_of(sums[r][g], _mm512_set1_ps(t->key_scale[at + r]),
                _mm512_loadu_ps(scales + g * LANES), _mm512_set1_ps(t->value_power[at + r]));
            _mm512_storeu_ps(scores + (g * SHORT_POSITIONS + at + r) * LANES, s);
        }
    }
}

INLINE void tile_scores(float *scores, const struct short_tile *t, const uint32_t *queries, int64_t stride,
    const float *scales, int64_t pairs, const int rows, const int groups)
{
    for (int64_t at = 0; at < SHORT_POSITIONS; at += rows)
        some_scores(scores, t, at, queries, stride, scales, pairs, rows, groups);
}

static void vnni_scores(float *scores, const struct short_tile *t, const uint32_t *queries, int64_t stride,
    const float *scales, int64_t pairs, int64_t groups)
{
    for (; groups > 0; groups -= 3) {
        if (groups >= 3)
            tile_scores(scores, t, queries, stride, scales, pairs, 8, 3);
        else if (groups == 2)
            tile_scores(scores, t, queries, stride, scales, pairs, 8, 2);
        else
            tile_scores(scores, t, queries, stride, scales, pairs, 16, 1);
        queries += 3 * LANES;
        scales += 3 * LANES;
        scores += 3 * LANES * SHORT_POSITIONS;
    }
}

/* Sixteen positions' pairs [from, from + 16), turned round: each pair of all of them. */
INLINE void keys_turn(vwords turned[LANES], const struct short_tile *t, int64_t at, int64_t from)
{
    const uint32_t *keys = t->keys + (from / SHORT_RUN * SHORT_POSITIONS + at) * SHORT_RUN + from % SHORT_RUN;
    const uint8_t *rows[LANES];
    for (int r = 0; r < LANES; r++)
        rows[r] = (const uint8_t *)(keys + r * SHORT_RUN);
    UNROLLED
    for (int i = 0; i < LANES; i += 4)
        rows_16(turned + i, rows, (size_t)i * sizeof *keys);
}

/* Sums of one query one after the other would wait for each other. */
enum { FEW = 4, CHAINS = 2 };

INLINE void few_scores_at(float *scores, const struct short_tile *t, int64_t at, const uint32_t *queries,
    int64_t stride, const float *scales, int64_t pairs, const int n)
{
    vints sums[FEW][CHAINS];
    for (int c = 0; c < n; c++)
        for (int i = 0; i < CHAINS; i++)
            sums[c][i] = (vints){0};
    for (int64_t from = 0; from < pairs; from += LANES) {
        vwords turned[LANES];
        keys_turn(turned, t, at, from);
        UNROLLED
        for (int i = 0; i < LANES; i++, queries += stride)
            for (int c = 0; c < n; c++)
                dot_add(&sums[c][i % CHAINS], (__m512i)turned[i], word_of_all(queries + c));
    }
    for (int c = 0; c < n; c++)
        _mm512_storeu_ps(scores + c * SHORT_POSITIONS + at,
            score_of(sums[c][0] + sums[c][1], _mm512_loadu_ps(t->key_scale + at), _mm512_set1_ps(scales[c]),
                _mm512_loadu_ps(t->value_power + at)));
}

static void vnni_few_scores(float *scores, const struct short_tile *t, const uint32_t *queries,
    int64_t stride, const float *scales, int64_t pairs, int64_t n)
{
    for (int64_t at = 0; at < SHORT_POSITIONS; at += LANES) {
        int64_t c = 0;
        for (; c + FEW <= n; c += FEW)
            few_scores_at(scores + c * SHORT_POSITIONS, t, at, queries + c, stride, scales + c, pairs, FEW);
        for (; c < n; c++)
            few_scores_at(scores + c * SHORT_POSITIONS, t, at, queries + c, stride, scales + c, pairs, 1);
    }
}

/* Where the term of a pair of positions stands: from one pair to the next, from one query to the next. */
struct term_steps {
    int64_t pair, query;
};

INLINE void some_mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    struct term_steps step, const uint32_t *values, const int n, const int vectors)
{
    vints sums[COLUMNS_MOST][VECTORS_MOST];
    for (int c = 0; c < n; c++)
        for (int i = 0; i < vectors; i++)
            sums[c][i] = (vints){0};
    for (int p = 0; p < SHORT_POSITIONS / 2; p++, values += width, terms += step.pair) {
        __m512i v[VECTORS_MOST];
        for (int i = 0; i < vectors; i++)
            v[i] = _mm512_loadu_si512(values + i * LANES);
        for (int c = 0; c < n; c++) {
            const __m512i w = word_of_all(terms + c * step.query);
            for (int i = 0; i < vectors; i++)
                dot_add(&sums[c][i], w, v[i]);
        }
    }
    for (int c = 0; c < n; c++)
        for (int i = 0; i < vectors; i++) {
            float *at = out + c * width + i * LANES;
            const __m512 sum =
                _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sums[c][i]), _mm512_set1_ps(more[c]));
            _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_loadu_ps(at), _mm512_set1_ps(less[c]), sum));
        }
}

INLINE void columns_mix(float *out, int64_t width, const float *less, const float *more,
    const uint32_t *terms, struct term_steps step, const uint32_t *values, const int n)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        some_mix(out + i, width, less, more, terms, step, values + i, n, 4);
    for (; i < width; i += LANES)
        some_mix(out + i, width, less, more, terms, step, values + i, n, 1);
}

INLINE void mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    struct term_steps step, const uint32_t *values, int64_t n, const int most)
{
    int64_t c = 0;
    for (; c + most <= n; c += most)
        columns_mix(out + c * width, width, less + c, more + c, terms + c * step.query, step, values, most);
    for (; most > 4 && c + 4 <= n; c += 4)
        columns_mix(out + c * width, width, less + c, more + c, terms + c * step.query, step, values, 4);
    for (; c < n; c++)
        columns_mix(out + c * width, width, less + c, more + c, terms + c * step.query, step, values, 1);
}

static void vnni_mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    const uint32_t *values, int64_t n)
{
    mix(out, width, less, more, terms, (struct term_steps){LANES, 1}, values, n, COLUMNS_MOST);
}

static void vnni_few_mix(float *out, int64_t width, const float *less, const float *more,
    const uint32_t *terms, const uint32_t *values, int64_t n)
{
    mix(out, width, less, more, terms, (struct term_steps){1, SHORT_POSITIONS / 2}, values, n, FEW);
}

/* ---- The softmax ---- */

/* Of the scores at a position those that are seen; NULL: all. */
INLINE __mmask16 sees(const struct short_queries *q, int32_t position)
{
    const __m512i p = _mm512_set1_epi32(position);
    return _mm512_mask_cmple_epi32_mask(
        _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(q->last), p), _mm512_loadu_si512(q->first), p);
}

/* A NaN is not larger. */
INLINE __m512 largest_scores(const float *scores, const struct short_queries *q, const bool all)
{
    __m512 chains[4];
    for (int j = 0; j < 4; j++)
        chains[j] = _mm512_set1_ps(-INFINITY);
    for (int32_t i = 0; i < SHORT_POSITIONS; i += 4)
        for (int j = 0; j < 4; j++)
            chains[j] = _mm512_mask_max_ps(chains[j], all ? (__mmask16)0xFFFF : sees(q, i + j),
                _mm512_loadu_ps(scores + (i + j) * LANES), chains[j]);
    return _mm512_max_ps(_mm512_max_ps(chains[0], chains[1]), _mm512_max_ps(chains[2], chains[3]));
}

/* Sums of some lanes' terms: as they are, and as they were before the powers of their values went into them.
 */
struct term_sums {
    __m512 with, without;
};

INLINE struct term_sums four_sums(const __m512 terms[4], const __m512 back[4])
{
    struct term_sums s = {terms[0], _mm512_mul_ps(terms[0], back[0])};
    for (int i = 1; i < 4; i++) {
        s.with = _mm512_add_ps(s.with, terms[i]);
        s.without = _mm512_fmadd_ps(terms[i], back[i], s.without);
    }
    return s;
}

/* What a tile's terms, the largest of which is 1, are multiplied by to be integers. */
INLINE __m512 term_scale(__m512 sum)
{
    return _mm512_min_ps(_mm512_div_ps(_mm512_set1_ps(SHORT_TERMS), sum), _mm512_set1_ps(SHORT_TERM));
}

/* Scores become terms. */
INLINE struct term_sums tile_terms(
    float *scores, const struct short_tile *t, __m512 most, const struct short_queries *q, const bool all)
{
    struct term_sums sums = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int32_t i = 0; i < LANES; i++) {
        __m512 w[4], back[4];
        for (int j = 0; j < 4; j++) {
            const int32_t p = i + j * LANES;
            w[j] = (__m512)power_lanes(_mm512_sub_ps(_mm512_loadu_ps(scores + p * LANES), most));
            w[j] = all ? w[j] : _mm512_maskz_mov_ps(sees(q, p), w[j]);
            back[j] = _mm512_set1_ps(t->value_back[p]);
            _mm512_storeu_ps(scores + p * LANES, w[j]);
        }
        const struct term_sums four = four_sums(w, back);
        sums.with = _mm512_add_ps(sums.with, four.with);
        sums.without = _mm512_add_ps(sums.without, four.without);
    }
    return sums;
}

INLINE void terms_round(uint32_t *to, const float *terms, __m512 scale)
{
    for (int i = 0; i < SHORT_POSITIONS / 2; i++) {
        const float *at = terms + (i / LANES * 2 * LANES + i % LANES) * LANES;
        _mm512_storeu_si512(to + i * LANES, side_by_side(whole_numbers(_mm512_loadu_ps(at), scale),
                                                whole_numbers(_mm512_loadu_ps(at + LANES * LANES), scale)));
    }
}

/* How sixteen queries (or one, in all lanes) go on from the largest score so far to what it is with a tile's;
 * what is known of them is made less, and more is added. */
struct turn {
    __m512 here, most, less, more;
};

/* Nothing seen here, or yet: as it was. */
INLINE struct turn turn_of(__m512 before, __m512 here)
{
    struct turn t;
    const __mmask16 some = _mm512_cmp_ps_mask(here, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
    t.here = _mm512_maskz_mov_ps(some, here);
    t.most = _mm512_max_ps(before, here);
    t.less = _mm512_mask_mov_ps(_mm512_set1_ps(1), _mm512_cmp_ps_mask(t.most, before, _CMP_NEQ_UQ),
        (__m512)power_lanes(_mm512_sub_ps(before, t.most)));
    t.more = _mm512_maskz_mov_ps(some, (__m512)power_lanes(_mm512_sub_ps(t.here, t.most)));
    return t;
}

INLINE __m512 sums_go_on(const struct turn *t, __m512 sums, __m512 sum)
{
    return _mm512_fmadd_ps(sums, t->less, _mm512_mul_ps(sum, t->more));
}

INLINE void queries_terms(uint32_t *to, float *less, float *more, float *scores, const struct short_tile *t,
    const struct short_queries *q, const bool all)
{
    const struct turn turn = turn_of(_mm512_loadu_ps(q->most), largest_scores(scores, q, all));
    const struct term_sums sums = tile_terms(scores, t, turn.here, q, all);
    const __m512 scale = term_scale(sums.with);
    terms_round(to, scores, scale);
    _mm512_storeu_ps(less, turn.less);
    _mm512_storeu_ps(more, _mm512_div_ps(turn.more, scale));
    _mm512_storeu_ps(q->most, turn.most);
    _mm512_storeu_ps(q->sums, sums_go_on(&turn, _mm512_loadu_ps(q->sums), sums.without));
}

static void vnni_terms(uint32_t *terms, float *less, float *more, float *scores, const struct short_tile *t,
    const struct short_queries *q)
{
    if (q->first)
        queries_terms(terms, less, more, scores, t, q, false);
    else
        queries_terms(terms, less, more, scores, t, q, true);
}

/* Lanes that are positions [first, last). */
INLINE __mmask16 lanes_from(int32_t first, int32_t last)
{
    return (__mmask16)(lanes_left(last) & ~lanes_left(first));
}

/* Sums of four positions each, added as tile_terms adds them. */
INLINE __m512 sum_of_all(__m512 sums)
{
    float of[LANES], sum = 0;
    _mm512_storeu_ps(of, sums);
    for (int i = 0; i < LANES; i++)
        sum += of[i];
    return _mm512_set1_ps(sum);
}

/* Of one query: a vector is sixteen positions. */
INLINE void few_terms_of(uint32_t *to, float *less, float *more, const float *scores,
    const struct short_tile *t, const struct short_queries *q, int64_t c)
{
    __m512 most = _mm512_set1_ps(-INFINITY), w[4], back[4];
    __mmask16 seen[4];
    for (int j = 0; j < 4; j++) {
        seen[j] = q->first ? lanes_from(q->first[c] - j * LANES, q->last[c] - j * LANES) : 0xFFFF;
        w[j] = _mm512_loadu_ps(scores + j * LANES);
        back[j] = _mm512_loadu_ps(t->value_back + j * LANES);
        most = _mm512_mask_max_ps(most, seen[j], w[j], most);
    }
    const struct turn turn = turn_of(_mm512_set1_ps(q->most[c]), _mm512_set1_ps(_mm512_reduce_max_ps(most)));
    for (int j = 0; j < 4; j++)
        w[j] = _mm512_maskz_mov_ps(seen[j], (__m512)power_lanes(_mm512_sub_ps(w[j], turn.here)));
    const struct term_sums sums = four_sums(w, back);
    const __m512 scale = term_scale(sum_of_all(sums.with)), sum = sum_of_all(sums.without);
    for (int i = 0; i < 2; i++)
        _mm512_storeu_si512(
            to + i * LANES, side_by_side(whole_numbers(w[2 * i], scale), whole_numbers(w[2 * i + 1], scale)));
    less[c] = _mm512_cvtss_f32(turn.less);
    more[c] = _mm512_cvtss_f32(_mm512_div_ps(turn.more, scale));
    q->most[c] = _mm512_cvtss_f32(turn.most);
    q->sums[c] = _mm512_cvtss_f32(sums_go_on(&turn, _mm512_set1_ps(q->sums[c]), sum));
}

static void vnni_few_terms(uint32_t *terms, float *less, float *more, const float *scores,
    const struct short_tile *t, const struct short_queries *q, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        few_terms_of(terms + c * SHORT_POSITIONS / 2, less, more, scores + c * SHORT_POSITIONS, t, q, c);
}

const struct short_unit shorts_avx512vnni = {.queries = vnni_queries,
    .keys = vnni_keys,
    .values = vnni_values,
    .scores = vnni_scores,
    .terms = vnni_terms,
    .mix = vnni_mix,
    .few_scores = vnni_few_scores,
    .few_terms = vnni_few_terms,
    .few_mix = vnni_few_mix};

#else
typedef int shorts_avx512vnni_elsewhere; /* ISO C wants something in every file */
#endif
