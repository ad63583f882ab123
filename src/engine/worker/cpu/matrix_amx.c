/* Attention on AMX's tiles of bfloat16, the softmax between its products by vectors of sixteen queries. */
#if defined(__AMX_BF16__) || defined(__AMXBF16__) /* gcc says the one, clang up to 15 the other */
#include "engine/worker/cpu/matrix.h"
#include "engine/worker/cpu/product_avx512.h"
/* clang-format off: the vectors first */
#include "engine/worker/cpu/term_avx512.h"
#include "engine/worker/cpu/tiles.h"
/* clang-format on */

enum { LINE = 64, TERM_STEPS = MATRIX_POSITIONS / MATRIX_VALUES };

static void amx_begin(void)
{
    tiles_configure(&tile_shapes);
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

static void amx_scores(
    float *scores, const uint8_t *keys, size_t row_bytes, const struct split_tile *queries, int64_t steps)
{
    TILE_FENCE;
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

INLINE void rows_lessen(float *out, int64_t stride, const float *less)
{
    for (int64_t q = 0; q < MATRIX_ROWS; q++, out += stride)
        for (int64_t i = 0; less[q] != 1 && i < stride; i += LANES)
            _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_loadu_ps(out + i), _mm512_set1_ps(less[q])));
}

static void amx_mix(float *out, int64_t stride, const float *less, const struct split_tile *terms,
    const struct matrix_tile *values)
{
    const size_t row = (size_t)stride * sizeof *out;
    int64_t i = 0;
    rows_lessen(out, stride, less);
    TILE_FENCE;
    for (; i + 64 <= stride; i += 64)
        mix_four(out + i, row, terms, values + i / LANES * TERM_STEPS);
    if (i < stride)
        mix_two(out + i, row, terms, values + i / LANES * TERM_STEPS);
    TILE_FENCE;
}

/* ---- The softmax ---- */

/* Which queries see a position. */
struct sight {
    __m512i first, last;
};

INLINE __mmask16 sees(const struct sight *s, int32_t position)
{
    const __m512i p = _mm512_set1_epi32(position);
    return _mm512_mask_cmple_epi32_mask(_mm512_cmpgt_epi32_mask(s->last, p), s->first, p);
}

/* A NaN is not larger. */
INLINE __m512 largest_scores(const float *scores, __m512 most, const struct sight *s)
{
    __m512 chains[4] = {most, most, most, most};
    for (int32_t p = 0; p < MATRIX_POSITIONS; p += 4)
        for (int j = 0; j < 4; j++) {
            const __mmask16 seen = s ? sees(s, p + j) : (__mmask16)0xFFFF;
            chains[j] = _mm512_mask_max_ps(
                chains[j], seen, _mm512_loadu_ps(scores + (p + j) * MATRIX_ROWS), chains[j]);
        }
    return _mm512_max_ps(_mm512_max_ps(chains[0], chains[1]), _mm512_max_ps(chains[2], chains[3]));
}

INLINE vfloats term(const float *scores, int32_t p, __m512 most, float scale, const struct sight *s)
{
    const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(scores + p * MATRIX_ROWS), most);
    const __m512 t = (__m512)term_lanes((vfloats)x, scale);
    return (vfloats)(s ? _mm512_maskz_mov_ps(sees(s, p), t) : t);
}

/* Words of positions by queries become rows of queries. */
INLINE void words_turn(struct matrix_tile *to, const struct matrix_tile *from)
{
    const uint8_t *rows[MATRIX_ROWS];
    for (int i = 0; i < MATRIX_ROWS; i++)
        rows[i] = (const uint8_t *)from->words[i];
    for (int q = 0; q < MATRIX_ROWS; q += 4) {
        vwords w[4];
        rows_16(w, rows, (size_t)q * sizeof **from->words);
        memcpy(to->words[q], w, sizeof w);
    }
}

/* sums: of the positions that are i, i + 16, i + 32 and i + 48, then in halves. */
INLINE vfloats terms_all(
    struct split_tile *to, const float *scores, __m512 most, float scale, const struct sight *s)
{
    struct split_tile turned[TERM_STEPS];
    vfloats sums[MATRIX_ROWS];
    for (int i = 0; i < MATRIX_ROWS; i++) {
        const vfloats a = term(scores, i, most, scale, s), b = term(scores, i + 16, most, scale, s),
                      c = term(scores, i + 32, most, scale, s), d = term(scores, i + 48, most, scale, s);
        sums[i] = ((a + b) + c) + d;
        store_split(&turned[0], i, a, b);
        store_split(&turned[1], i, c, d);
    }
    for (int i = 0; i < TERM_STEPS; i++) {
        words_turn(&to[i].high, &turned[i].high);
        words_turn(&to[i].low, &turned[i].low);
    }
    for (int half = MATRIX_ROWS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            sums[i] += sums[i + half];
    return sums[0];
}

static void amx_terms(
    struct split_tile *to, float *less, const float *scores, float scale, const struct matrix_queries *q)
{
    const struct sight s = {.first = q->first ? _mm512_loadu_si512(q->first) : _mm512_setzero_si512(),
        .last = q->last ? _mm512_loadu_si512(q->last) : _mm512_setzero_si512()};
    const __m512 before = _mm512_loadu_ps(q->most), sums = _mm512_loadu_ps(q->sums);
    const __m512 most = q->first ? largest_scores(scores, before, &s) : largest_scores(scores, before, NULL);
    /* (Nothing seen yet, or nothing larger: as it was.) */
    const __mmask16 other = _mm512_cmp_ps_mask(most, before, _CMP_NEQ_UQ);
    const __m512 factor = _mm512_mask_mov_ps(
        _mm512_set1_ps(1), other, (__m512)term_lanes((vfloats)_mm512_sub_ps(before, most), scale));
    const vfloats sum =
        q->first ? terms_all(to, scores, most, scale, &s) : terms_all(to, scores, most, scale, NULL);
    _mm512_storeu_ps(less, factor);
    _mm512_storeu_ps(q->most, most);
    _mm512_storeu_ps(q->sums, _mm512_add_ps(_mm512_mul_ps(sums, factor), (__m512)sum));
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
