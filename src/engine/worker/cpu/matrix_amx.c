/* Attention on AMX's tiles of bfloat16, the softmax between its products by vectors of sixteen queries. */
#if defined(__AMX_BF16__) || defined(__AMXBF16__) /* gcc says the one, clang up to 15 the other */
#include "engine/worker/cpu/matrix.h"
#include "engine/worker/cpu/product_avx512.h"
/* clang-format off: the vectors first */
#include "engine/worker/cpu/term_avx512.h"
#include "engine/worker/cpu/tiles.h"
/* clang-format on */

enum { LINE = 64, TERM_STEPS = MATRIX_POSITIONS / MATRIX_VALUES };

/* Few columns take tiles of their own: 0, 1: their scores; 2: queries; 3, 7: keys and values; 4, 5: their
 * outputs; 6: terms. */
static void amx_begin(int32_t columns)
{
    struct tile_shapes shapes = tile_shapes;
    if (columns < MATRIX_ROWS) {
        shapes.row_bytes[0] = shapes.row_bytes[1] = shapes.row_bytes[2] =
            (uint16_t)((size_t)columns * sizeof(float));
        shapes.rows[4] = shapes.rows[5] = shapes.rows[6] = (uint8_t)columns;
    }
    tiles_configure(&shapes);
}

static void amx_end(void)
{
    _tile_release();
}

/* ---- Tiles ---- */

INLINE vwords upper_bits(vwords x)
{
    return x & 0xFFFF0000u;
}

/* The upper half of each float's bits, rounded. */
INLINE vwords upper(vfloats x)
{
    return upper_bits((vwords)x + 0x8000u);
}

INLINE void store_words(uint32_t *to, vwords first, vwords second)
{
    const vwords pairs = first >> 16 | upper_bits(second);
    memcpy(to, &pairs, sizeof pairs);
}

/* A row of words: the parts of `first`, and those of `second` behind them. */
INLINE void store_split(struct split_tile *to, int64_t row, vfloats first, vfloats second)
{
    const vwords a = upper(first), b = upper(second);
    store_words(to->high.words[row], a, b);
    store_words(
        to->low.words[row], (vwords)(first - (vfloats)a) + 0x8000u, (vwords)(second - (vfloats)b) + 0x8000u);
}

static void amx_queries(struct split_tile *to, const float *const *rows, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++)
        for (int64_t word = 0; word < MATRIX_ROWS; word += 2) {
            vwords w[4];
            rows_16(w, (const uint8_t *const *)rows, (size_t)(i * MATRIX_VALUES + 2 * word) * sizeof **rows);
            store_split(to + i, word, (vfloats)w[0], (vfloats)w[1]);
            store_split(to + i, word + 1, (vfloats)w[2], (vfloats)w[3]);
        }
}

/* Words of positions r and r + 16. */
static void amx_values(struct matrix_tile *to, const uint8_t *const *rows, int64_t steps)
{
    for (int64_t r = 0; r < MATRIX_ROWS; r++)
        for (int64_t i = 0; i < steps; i++) {
            vwords a, b;
            memcpy(&a, rows[r] + i * LINE, sizeof a);
            memcpy(&b, rows[r + MATRIX_ROWS] + i * LINE, sizeof b);
            const vwords even = (a & 0xFFFFu) | b << 16;
            memcpy(to[2 * TERM_STEPS * i].words[r], &even, sizeof even);
            store_words(to[2 * TERM_STEPS * i + TERM_STEPS].words[r], a, b);
        }
}

/* ---- Products ---- */

/* (Tiles' names are part of the instructions.) Two sums in turn, as each waits for its own last product; with
 * four, keys would be fetched twice. */
#define TWO_KEYS(from, a, b)                                                                                 \
    do {                                                                                                     \
        _tile_loadd(4, (from), row_bytes);                                                                   \
        _tile_loadd(5, (from) + 16 * row_bytes, row_bytes);                                                  \
        _tile_dpbf16ps(a, 4, 6);                                                                             \
        _tile_dpbf16ps(b, 5, 6);                                                                             \
        _tile_dpbf16ps(a, 4, 7);                                                                             \
        _tile_dpbf16ps(b, 5, 7);                                                                             \
    } while (0)

/* Keys of 32 positions. */
INLINE void few_scores(float *scores, const uint8_t *keys, size_t row_bytes, const struct split_tile *queries,
    int64_t steps, int32_t columns)
{
    const size_t row = (size_t)columns * sizeof *scores;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t i = 0; i < steps; i++, keys += LINE, queries++) {
        _tile_loadd(2, &queries->high, LINE);
        _tile_loadd(3, keys, row_bytes);
        _tile_loadd(7, keys + 16 * row_bytes, row_bytes);
        _tile_dpbf16ps(0, 3, 2);
        _tile_dpbf16ps(1, 7, 2);
        _tile_loadd(2, &queries->low, LINE);
        _tile_dpbf16ps(0, 3, 2);
        _tile_dpbf16ps(1, 7, 2);
    }
    _tile_stored(0, scores, row);
    _tile_stored(1, scores + 16 * columns, row);
}

static void amx_scores(float *scores, const uint8_t *keys, size_t row_bytes, const struct split_tile *queries,
    int64_t steps, int32_t columns)
{
    TILE_FENCE;
    if (columns < MATRIX_ROWS) {
        few_scores(scores, keys, row_bytes, queries, steps, columns);
        few_scores(scores + 32 * columns, keys + 32 * row_bytes, row_bytes, queries, steps, columns);
        TILE_FENCE;
        return;
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < steps; i++, keys += LINE, queries++) {
        _tile_loadd(6, &queries->high, LINE);
        _tile_loadd(7, &queries->low, LINE);
        TWO_KEYS(keys, 0, 1);
        TWO_KEYS(keys + 32 * row_bytes, 2, 3);
    }
    _tile_stored(0, scores, LINE);
    _tile_stored(1, scores + 256, LINE);
    _tile_stored(2, scores + 512, LINE);
    _tile_stored(3, scores + 768, LINE);
    TILE_FENCE;
}

#define TWO_VALUES(a, b)                                                                                     \
    do {                                                                                                     \
        _tile_loadd(6, values + (a)*TERM_STEPS, LINE);                                                       \
        _tile_loadd(7, values + (b)*TERM_STEPS, LINE);                                                       \
        _tile_dpbf16ps(a, 4, 6);                                                                             \
        _tile_dpbf16ps(b, 4, 7);                                                                             \
        _tile_dpbf16ps(a, 5, 6);                                                                             \
        _tile_dpbf16ps(b, 5, 7);                                                                             \
    } while (0)

INLINE void mix_four(float *out, size_t row, const struct split_tile *terms, const struct matrix_tile *values)
{
    _tile_loadd(0, out, row);
    _tile_loadd(1, out + 16, row);
    _tile_loadd(2, out + 32, row);
    _tile_loadd(3, out + 48, row);
    for (int i = 0; i < TERM_STEPS; i++, terms++, values++) {
        _tile_loadd(4, &terms->high, LINE);
        _tile_loadd(5, &terms->low, LINE);
        TWO_VALUES(0, 1);
        TWO_VALUES(2, 3);
    }
    _tile_stored(0, out, row);
    _tile_stored(1, out + 16, row);
    _tile_stored(2, out + 32, row);
    _tile_stored(3, out + 48, row);
}

INLINE void mix_two(float *out, size_t row, const struct split_tile *terms, const struct matrix_tile *values)
{
    _tile_loadd(0, out, row);
    _tile_loadd(1, out + 16, row);
    for (int i = 0; i < TERM_STEPS; i++, terms++, values++) {
        _tile_loadd(4, &terms->high, LINE);
        _tile_loadd(5, &terms->low, LINE);
        TWO_VALUES(0, 1);
    }
    _tile_stored(0, out, row);
    _tile_stored(1, out + 16, row);
}

INLINE void mix_few(float *out, size_t row, const struct split_tile *terms, const struct matrix_tile *values)
{
    _tile_loadd(4, out, row);
    _tile_loadd(5, out + 16, row);
    for (int i = 0; i < TERM_STEPS; i++, terms++, values++) {
        _tile_loadd(6, &terms->high, LINE);
        _tile_loadd(3, values, LINE);
        _tile_loadd(7, values + TERM_STEPS, LINE);
        _tile_dpbf16ps(4, 6, 3);
        _tile_dpbf16ps(5, 6, 7);
        _tile_loadd(6, &terms->low, LINE);
        _tile_dpbf16ps(4, 6, 3);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(4, out, row);
    _tile_stored(5, out + 16, row);
}

INLINE void rows_lessen(float *out, int64_t stride, const float *less, int32_t columns)
{
    for (int64_t q = 0; q < columns; q++, out += stride)
        for (int64_t i = 0; less[q] != 1 && i < stride; i += LANES)
            _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_loadu_ps(out + i), _mm512_set1_ps(less[q])));
}

static void amx_mix(float *out, int64_t stride, const float *less, const struct split_tile *terms,
    const struct matrix_tile *values, int32_t columns)
{
    const size_t row = (size_t)stride * sizeof *out;
    int64_t i = 0;
    rows_lessen(out, stride, less, columns);
    TILE_FENCE;
    for (; columns < MATRIX_ROWS && i < stride; i += 32)
        mix_few(out + i, row, terms, values + i / LANES * TERM_STEPS);
    for (; i + 64 <= stride; i += 64)
        mix_four(out + i, row, terms, values + i / LANES * TERM_STEPS);
    if (i < stride)
        mix_two(out + i, row, terms, values + i / LANES * TERM_STEPS);
    TILE_FENCE;
}

/* ---- The softmax ---- */

/* Its vectors hold one or several positions by `columns` queries, and each query's own numbers in each of
 * these. */
INLINE __m512 each_position(const float *of_queries, int32_t columns)
{
    return columns == MATRIX_ROWS      ? _mm512_loadu_ps(of_queries)
           : columns == MATRIX_QUARTER ? _mm512_broadcast_f32x4(_mm_loadu_ps(of_queries))
                                       : _mm512_broadcast_f32x8(_mm256_loadu_ps(of_queries));
}

INLINE __m512 halves_change(__m512 x)
{
    return _mm512_shuffle_f32x4(x, x, 0x4E);
}

INLINE __m512 quarters_change(__m512 x)
{
    return _mm512_shuffle_f32x4(x, x, 0xB1);
}

/* Which positions of a tile a query sees, by lanes. */
struct sight {
    __m512i first, last, lanes;
};

static struct sight sight_of(const struct matrix_queries *q, int32_t columns)
{
    int32_t lanes[MATRIX_ROWS];
    for (int32_t i = 0; i < MATRIX_ROWS; i++)
        lanes[i] = i / columns;
    return (struct sight){
        .first = _mm512_castps_si512(each_position((const float *)(const void *)q->first, columns)),
        .last = _mm512_castps_si512(each_position((const float *)(const void *)q->last, columns)),
        .lanes = _mm512_loadu_si512(lanes)};
}

INLINE __mmask16 sees(const struct sight *s, int32_t position)
{
    const __m512i p = _mm512_add_epi32(s->lanes, _mm512_set1_epi32(position));
    return _mm512_mask_cmple_epi32_mask(_mm512_cmpgt_epi32_mask(s->last, p), s->first, p);
}

/* A NaN is not larger. */
INLINE __m512 largest_scores(const float *scores, __m512 most, const struct sight *s, int32_t columns)
{
    __m512 chains[4] = {most, most, most, most};
    for (int32_t i = 0; i < MATRIX_POSITIONS * columns / LANES; i += 4)
        for (int j = 0; j < 4; j++) {
            const __mmask16 seen = s ? sees(s, (i + j) * LANES / columns) : (__mmask16)0xFFFF;
            chains[j] =
                _mm512_mask_max_ps(chains[j], seen, _mm512_loadu_ps(scores + (i + j) * LANES), chains[j]);
        }
    __m512 all = _mm512_max_ps(_mm512_max_ps(chains[0], chains[1]), _mm512_max_ps(chains[2], chains[3]));
    if (columns < MATRIX_ROWS)
        all = _mm512_max_ps(all, halves_change(all));
    return columns == MATRIX_QUARTER ? _mm512_max_ps(all, quarters_change(all)) : all;
}

/* The softmax's terms of a tile, in powers of two: `scale` and `most` are. */
struct powers {
    const float *scores;
    __m512 scale, most;
    const struct sight *sight;
    int32_t columns;
};

INLINE vfloats term(const struct powers *p, int32_t i)
{
    const vfloats t = power_lanes(_mm512_fmsub_ps(_mm512_loadu_ps(p->scores + i * LANES), p->scale, p->most));
    return p->sight ? (vfloats)_mm512_maskz_mov_ps(sees(p->sight, i * LANES / p->columns), (__m512)t) : t;
}

/* Of so many rows of words, one after the other, their columns. */
INLINE void words_turn(struct matrix_tile *to, const uint32_t *words, int32_t columns)
{
    const uint8_t *rows[MATRIX_ROWS];
    for (int i = 0; i < MATRIX_ROWS; i++)
        rows[i] = (const uint8_t *)(words + i * columns);
    for (int q = 0; q < columns; q += 4) {
        vwords w[4];
        rows_16(w, rows, (size_t)q * sizeof *words);
        memcpy(to->words[q], w, sizeof w);
    }
}

/* Of terms, what their upper halves leave need not be small. */
INLINE void words_split(uint32_t *high, uint32_t *low, vfloats first, vfloats second)
{
    store_words(high, (vwords)first, (vwords)second);
    store_words(low, (vwords)(first - (vfloats)upper_bits((vwords)first)) + 0x8000u,
        (vwords)(second - (vfloats)upper_bits((vwords)second)) + 0x8000u);
}

/* sums: of the positions that are i, i + 16, i + 32 and i + 48, then in halves. */
INLINE __m512 terms_all(struct split_tile *to, const struct powers *p)
{
    const int32_t n = p->columns;
    uint32_t high[TERM_STEPS][MATRIX_ROWS * LANES], low[TERM_STEPS][MATRIX_ROWS * LANES];
    vfloats sums[MATRIX_ROWS];
    for (int32_t i = 0; i < n; i++) {
        const vfloats a = term(p, i), b = term(p, i + n), c = term(p, i + 2 * n), d = term(p, i + 3 * n);
        sums[i] = ((a + b) + c) + d;
        words_split(high[0] + i * LANES, low[0] + i * LANES, a, b);
        words_split(high[1] + i * LANES, low[1] + i * LANES, c, d);
    }
    for (int i = 0; i < TERM_STEPS; i++) {
        words_turn(&to[i].high, high[i], n);
        words_turn(&to[i].low, low[i], n);
    }
    for (int32_t half = n / 2; half > 0; half /= 2)
        for (int32_t i = 0; i < half; i++)
            sums[i] += sums[i + half];
    __m512 sum = (__m512)sums[0];
    if (n < MATRIX_ROWS)
        sum = _mm512_add_ps(sum, halves_change(sum));
    return n == MATRIX_QUARTER ? _mm512_add_ps(sum, quarters_change(sum)) : sum;
}

INLINE void columns_terms(struct split_tile *to, float *less, const float *scores, float scale,
    const struct matrix_queries *q, const struct sight *s, int32_t columns)
{
    const __m512 before = each_position(q->most, columns), sums = each_position(q->sums, columns),
                 most = largest_scores(scores, before, s, columns), power = _mm512_set1_ps(scale * LOG2_E);
    const struct powers p = {scores, power, _mm512_mul_ps(most, power), s, columns};
    /* (Nothing seen yet, or nothing larger: as it was.) */
    const __mmask16 other = _mm512_cmp_ps_mask(most, before, _CMP_NEQ_UQ);
    const __m512 factor = _mm512_mask_mov_ps(
        _mm512_set1_ps(1), other, (__m512)power_lanes(_mm512_sub_ps(_mm512_mul_ps(before, power), p.most)));
    const __m512 sum = terms_all(to, &p);
    _mm512_storeu_ps(less, factor);
    _mm512_storeu_ps(q->most, most);
    _mm512_storeu_ps(q->sums, _mm512_fmadd_ps(sums, factor, sum));
}

/* (A loop of its own where all see all.) */
INLINE void seen_terms(struct split_tile *to, float *less, const float *scores, float scale,
    const struct matrix_queries *q, int32_t columns)
{
    if (q->first) {
        const struct sight s = sight_of(q, columns);
        columns_terms(to, less, scores, scale, q, &s, columns);
    } else {
        columns_terms(to, less, scores, scale, q, NULL, columns);
    }
}

/* (And one for each number of columns.) */
static void amx_terms(struct split_tile *to, float *less, const float *scores, float scale,
    const struct matrix_queries *q, int32_t columns)
{
    if (columns == MATRIX_QUARTER)
        seen_terms(to, less, scores, scale, q, MATRIX_QUARTER);
    else if (columns < MATRIX_ROWS)
        seen_terms(to, less, scores, scale, q, MATRIX_HALF);
    else
        seen_terms(to, less, scores, scale, q, MATRIX_ROWS);
}

const struct matrix_unit matrix_amx = {.begin = amx_begin,
    .end = amx_end,
    .queries = amx_queries,
    .values = amx_values,
    .scores = amx_scores,
    .terms = amx_terms,
    .mix = amx_mix};

#else
typedef int matrix_amx_elsewhere; /* ISO C wants something in every file */
#endif
