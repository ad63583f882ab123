/* Products of weights of halves by AMX's bfloat16: sixteen rows by sixteen columns and 32 values by one
 * instruction. A column's value is high + low (product_wide.h); a weight of BF16 is what it is, one of F16
 * the sum of two, exactly. What is added to a sum, in this order, for each 32 values:
 *
 *   BF16   w low, w high
 *   F16    high low, high high, low high (low low is under 2^-16 of the product)
 *
 * Rows are copied, or taken apart, into memory of our own as they are multiplied by the first columns: where
 * they are, a power of two apart, they would push each other out of the first-level cache. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_SPLIT_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_SPLIT_H

#include "engine/worker/cpu/product_amx.h"

/* Runs of 32 values that rows are taken at a time; as many as ask()'s parts. */
enum { SPLIT_RUNS = TILE_BLOCKS };

/* Both sets of rows. */
struct split_rows {
    _Alignas(64) uint8_t high[SPLIT_RUNS][SETS][LANES][64], low[SPLIT_RUNS][SETS][LANES][64];
};

/* The upper halves of lane i of a and b as a pair. */
INLINE __m512i upper_halves(const __m512i a, const __m512i b)
{
    return blend(_mm512_set1_epi32((int)0xFFFF0000u), b, _mm512_srli_epi32(a, 16));
}

/* Rounded to bfloat16. */
INLINE __m512 rounded(const __m512 x)
{
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)), 16);
}

/* 32 values of a column. */
static void split_column(const struct split_group *to, int64_t w, int64_t column, const float *x)
{
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16), a_high = rounded(a),
                 b_high = rounded(b);
    const __m512i high = upper_halves((__m512i)a_high, (__m512i)b_high),
                  low = upper_halves(
                      (__m512i)rounded(_mm512_sub_ps(a, a_high)), (__m512i)rounded(_mm512_sub_ps(b, b_high)));
    uint32_t pairs[2][16];
    _mm512_storeu_si512(pairs[0], high);
    _mm512_storeu_si512(pairs[1], low);
    for (int i = 0; i < 16; i++) {
        memcpy(to->high + (i * w + column) * 2, &pairs[0][i], sizeof pairs[0][i]);
        memcpy(to->low + (i * w + column) * 2, &pairs[1][i], sizeof pairs[1][i]);
    }
}

static void split_quantize(
    struct x_block *panel, int64_t n, int64_t column, const float *values, int64_t width)
{
    const struct wide_place to = wide_place(n, column);
    for (int64_t i = 0; i < width; i += X_VALUES, panel += to.places * SPLIT_BLOCKS) {
        const struct split_group g = split_group(panel, to.w, to.first);
        split_column(&g, to.w, to.c, values + i);
    }
}

/* ---- Rows ---- */

typedef void split_unpack_fn(struct split_rows *to, int64_t k, const uint8_t *const *rows, size_t at);

INLINE void unpack_bf16(struct split_rows *to, int64_t k, const uint8_t *const *rows, size_t at)
{
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
        7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int r = 0; r < SETS * LANES; r++)
        _mm512_store_si512(to->high[k][r / LANES][r % LANES],
            _mm512_permutexvar_epi16(pairs, _mm512_loadu_si512(rows[r] + at)));
}

INLINE void unpack_f16(struct split_rows *to, int64_t k, const uint8_t *const *rows, size_t at)
{
    const __m512i mask = _mm512_set1_epi32((int)0xFFFF0000u);
    for (int r = 0; r < SETS * LANES; r++) {
        const __m512i a = (__m512i)load_halves(rows[r] + at), b = (__m512i)load_halves(rows[r] + at + 32),
                      a_high = _mm512_and_si512(a, mask), b_high = _mm512_and_si512(b, mask);
        _mm512_store_si512(to->high[k][r / LANES][r % LANES], upper_halves(a, b));
        _mm512_store_si512(
            to->low[k][r / LANES][r % LANES], upper_halves((__m512i)_mm512_sub_ps((__m512)a, (__m512)a_high),
                                                  (__m512i)_mm512_sub_ps((__m512)b, (__m512)b_high)));
    }
}

/* ---- Tiles ---- */

/* Tiles 0 and 1: sums of both sets by the first group of columns; 2 and 3: by the second. 4 and 5: rows; 6
 * and 7: columns. */
INLINE void split_sums_load(const float *acc, int64_t places, const int groups)
{
    const size_t w = (size_t)wide_width(places), row = w * sizeof *acc;
    TILE_FENCE;
    _tile_loadd(0, acc, row);
    _tile_loadd(1, acc + LANES * w, row);
    if (groups == 2) {
        _tile_loadd(2, acc + 2 * LANES * w, row);
        _tile_loadd(3, acc + 3 * LANES * w, row);
    }
}

INLINE void split_sums_store(float *acc, int64_t places, const int groups)
{
    const size_t w = (size_t)wide_width(places), row = w * sizeof *acc;
    _tile_stored(0, acc, row);
    _tile_stored(1, acc + LANES * w, row);
    if (groups == 2) {
        _tile_stored(2, acc + 2 * LANES * w, row);
        _tile_stored(3, acc + 3 * LANES * w, row);
    }
    TILE_FENCE;
}

INLINE void split_columns(const uint16_t *first, const uint16_t *second, int64_t w, const int groups)
{
    _tile_loadd(6, first, (size_t)w * 4);
    if (groups == 2)
        _tile_loadd(7, second, (size_t)w * 4);
}

INLINE void split_products(const int groups)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    if (groups == 2) {
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* 32 values of the rows by one group of columns or two. */
INLINE void split_run(const struct split_rows *u, int64_t k, const struct split_group *x, int64_t w,
    const int groups, const bool two_parts)
{
    TILE_FENCE;
    _tile_loadd(4, u->high[k][0], 64);
    _tile_loadd(5, u->high[k][1], 64);
    split_columns(x[0].low, x[1].low, w, groups);
    split_products(groups);
    split_columns(x[0].high, x[1].high, w, groups);
    split_products(groups);
    if (two_parts) {
        _tile_loadd(4, u->low[k][0], 64);
        _tile_loadd(5, u->low[k][1], 64);
        split_products(groups);
    }
}

/* acc[group of columns][row][column] += SPLIT_RUNS runs, or what is left of them, of the rows by one group of
 * columns or two, from column `first` on. */
INLINE void split_step(float *acc, const struct x_block *panel, int64_t places, int64_t first, int64_t runs,
    struct split_rows *u, const uint8_t *const *rows, size_t at, struct ahead *ahead, const int groups,
    split_unpack_fn *unpack, const bool two_parts)
{
    const int64_t w = wide_width(places);
    acc += SETS * LANES * first;
    split_sums_load(acc, places, groups);
    for (int64_t k = 0; k < runs; k++, panel += places * SPLIT_BLOCKS) {
        const struct split_group x[2] = {
            split_group(panel, w, first), split_group(panel, w, first + (groups == 2 ? WIDE_COLUMNS : 0))};
        if (first == 0) {
            ask(ahead);
            unpack(u, k, rows, at + 64 * (size_t)k);
        }
        split_run(u, k, x, w, groups, two_parts);
    }
    split_sums_store(acc, places, groups);
}

/* Tiles of w columns. */
INLINE void split_begin(int64_t w)
{
    struct tile_shapes shapes = tile_shapes;
    shapes.row_bytes[0] = shapes.row_bytes[1] = shapes.row_bytes[6] = (uint16_t)(4 * w);
    tiles_configure(&shapes);
}

INLINE void split_product(float *acc, const struct x_block *panel, int64_t n, const uint8_t *const *rows,
    int64_t from, int64_t count, split_unpack_fn *unpack, const bool two_parts)
{
    struct split_rows u;
    const int64_t places = wide_places(n);
    struct ahead ahead = ahead_of(rows, LANES * SETS, from, 64, 1);
    split_begin(wide_width(places));
    for (int64_t b = from; b < from + count; b += SPLIT_RUNS, panel += SPLIT_RUNS * places * SPLIT_BLOCKS) {
        const int64_t runs = from + count - b < SPLIT_RUNS ? from + count - b : SPLIT_RUNS;
        const size_t at = 64 * (size_t)b;
        int64_t first = 0;
        if (n > MEMORY_BOUND_COLUMNS)
            ahead = ahead_in_rows(rows, LANES * SETS, at, 64 * SPLIT_RUNS);
        for (; first + 2 * WIDE_COLUMNS <= places; first += 2 * WIDE_COLUMNS)
            split_step(acc, panel, places, first, runs, &u, rows, at, &ahead, 2, unpack, two_parts);
        if (first < places)
            split_step(acc, panel, places, first, runs, &u, rows, at, &ahead, 1, unpack, two_parts);
    }
    _tile_release();
}

static int64_t split_peak(int64_t rounds)
{
    split_begin(WIDE_COLUMNS);
    tiles_begin();
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < rounds; i += 32)
        split_products(2);
    _tile_release();
    return (rounds + 31) / 32 * 4 * LANES * WIDE_COLUMNS * X_VALUES * 2;
}

static void split_product_f16(
    float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows, int64_t from, int64_t count)
{
    split_product(acc, x, n, rows, from, count, unpack_f16, true);
}

static void split_product_bf16(
    float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows, int64_t from, int64_t count)
{
    split_product(acc, x, n, rows, from, count, unpack_bf16, false);
}

#endif
