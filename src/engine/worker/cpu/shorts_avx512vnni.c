/* Attention on integers of 16 bits by AVX-512 VNNI. */
#if defined(__AVX512VNNI__)
#if !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#include "engine/worker/cpu/product_avx512.h"
#include "engine/worker/cpu/shorts.h"
/* clang-format off: the vectors first */
#include "engine/worker/cpu/shorts_rows_avx512.h"
#include "engine/worker/cpu/term_avx512.h"
/* clang-format on */

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
    for (int64_t at = 0; at < SHORT_POSITIONS; at += LANES)
        for (int64_t c = 0; c < n; c += FEW)
            if (n - c > 1)
                few_scores_at(
                    scores + c * SHORT_POSITIONS, t, at, queries + c, stride, scales + c, pairs, FEW);
            else
                few_scores_at(scores + c * SHORT_POSITIONS, t, at, queries + c, stride, scales + c, pairs, 1);
}

INLINE void some_mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    struct short_steps step, const uint32_t *values, const int n, const int vectors)
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
    const uint32_t *terms, struct short_steps step, const uint32_t *values, const int n)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        some_mix(out + i, width, less, more, terms, step, values + i, n, 4);
    for (; i < width; i += LANES)
        some_mix(out + i, width, less, more, terms, step, values + i, n, 1);
}

INLINE void mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    struct short_steps step, const uint32_t *values, int64_t n, const int most)
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
    mix(out, width, less, more, terms, SHORT_TERMS_MANY, values, n, COLUMNS_MOST);
}

static void vnni_few_mix(float *out, int64_t width, const float *less, const float *more,
    const uint32_t *terms, const uint32_t *values, int64_t n)
{
    mix(out, width, less, more, terms, SHORT_TERMS_FEW, values, n, FEW);
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
INLINE float sum_of_all(__m512 sums)
{
    float of[LANES], sum = 0;
    _mm512_storeu_ps(of, sums);
    for (int i = 0; i < LANES; i++)
        sum += of[i];
    return sum;
}

/* Of one query, by sixteen positions. */
struct few_terms {
    __m512 of[4];
    __mmask16 seen[4];
    float with, without; /* term_sums */
};

/* The largest of the scores that are seen, which `of` become. */
INLINE float few_begin(struct few_terms *f, const float *scores, const struct short_queries *q, int64_t query)
{
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int j = 0; j < 4; j++) {
        f->seen[j] = q->first ? lanes_from(q->first[query] - j * LANES, q->last[query] - j * LANES) : 0xFFFF;
        f->of[j] = _mm512_loadu_ps(scores + j * LANES);
        most = _mm512_mask_max_ps(most, f->seen[j], f->of[j], most);
    }
    return _mm512_reduce_max_ps(most);
}

INLINE void few_terms_of(struct few_terms *f, const struct short_tile *t, float most)
{
    __m512 back[4];
    for (int j = 0; j < 4; j++) {
        back[j] = _mm512_loadu_ps(t->value_back + j * LANES);
        f->of[j] = _mm512_maskz_mov_ps(
            f->seen[j], (__m512)power_lanes(_mm512_sub_ps(f->of[j], _mm512_set1_ps(most))));
    }
    const struct term_sums sums = four_sums(f->of, back);
    f->with = sum_of_all(sums.with);
    f->without = sum_of_all(sums.without);
}

INLINE void few_round(uint32_t *to, const struct few_terms *f, float scale)
{
    const __m512 by = _mm512_set1_ps(scale);
    for (int i = 0; i < 2; i++)
        _mm512_storeu_si512(to + i * LANES,
            side_by_side(whole_numbers(f->of[2 * i], by), whole_numbers(f->of[2 * i + 1], by)));
}

static void vnni_few_terms(uint32_t *terms, float *less, float *more, const float *scores,
    const struct short_tile *t, const struct short_queries *q, int64_t n)
{
    const __mmask16 own = lanes_left(n);
    struct few_terms few[SHORT_FEW];
    float here[LANES] = {0}, with[LANES] = {0}, without[LANES] = {0}, scale[LANES];
    for (int64_t c = 0; c < n; c++)
        here[c] = few_begin(&few[c], scores + c * SHORT_POSITIONS, q, c);
    const struct turn turn = turn_of(_mm512_maskz_loadu_ps(own, q->most), _mm512_loadu_ps(here));
    _mm512_storeu_ps(here, turn.here);
    for (int64_t c = 0; c < n; c++) {
        few_terms_of(&few[c], t, here[c]);
        with[c] = few[c].with;
        without[c] = few[c].without;
    }
    const __m512 by = term_scale(_mm512_loadu_ps(with));
    _mm512_storeu_ps(scale, by);
    for (int64_t c = 0; c < n; c++)
        few_round(terms + c * SHORT_POSITIONS / 2, &few[c], scale[c]);
    _mm512_mask_storeu_ps(less, own, turn.less);
    _mm512_mask_storeu_ps(more, own, _mm512_div_ps(turn.more, by));
    _mm512_mask_storeu_ps(q->most, own, turn.most);
    _mm512_mask_storeu_ps(
        q->sums, own, sums_go_on(&turn, _mm512_maskz_loadu_ps(own, q->sums), _mm512_loadu_ps(without)));
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
