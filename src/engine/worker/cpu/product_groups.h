/* Products of blocks of 32 values that have a float as their scale, by AMX: sixteen rows by sixteen columns
 * and a block by one instruction, whose sums leave the tiles through memory and are scaled by vectors: what
 * product_types.h makes of them, to the bit.
 *
 * A step is GROUP_BLOCKS blocks of a set of rows by two groups of columns. Two blocks' sums are in tiles at a
 * time: they are stored as the next two's are begun, so that nothing waits for them, and scaled in the step
 * after that, two rows behind each instruction. What a core has to load bounds all this, so two groups share
 * a row's tiles and scales. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_GROUPS_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_GROUPS_H

#include "engine/worker/cpu/product_amx.h"

enum { GROUP_BLOCKS = 4 };

/* TILE_BLOCKS blocks of both sets of rows: bytes with a sign. */
struct groups_rows {
    _Alignas(64) uint8_t q[SETS][TILE_BLOCKS][LANES][X_VALUES];
    vfloats scale[2][SETS][TILE_BLOCKS]; /* those before are read while these are made */
};

/* ---- Rows ---- */

typedef __m256i groups_values_fn(const uint8_t *at);
typedef vfloats groups_scale_fn(const uint8_t *const *rows, size_t at);

INLINE __m256i values_q8_0(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(at + 2));
}

/* The low nibbles of 16 bytes, then the high ones. */
INLINE __m256i nibbles_of(const uint8_t *at)
{
    const __m128i raw = load_16(at);
    return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(raw), _mm_srli_epi16(raw, 4), 1),
        _mm256_set1_epi8(15));
}

INLINE __m256i values_q4_0(const uint8_t *at)
{
    return _mm256_sub_epi8(nibbles_of(at + 2), _mm256_set1_epi8(8));
}

INLINE __m256i table_of(const int8_t table[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

INLINE __m256i values_iq4_nl(const uint8_t *at)
{
    return _mm256_shuffle_epi8(table_of(tensor_iq4_values), nibbles_of(at + 2));
}

INLINE __m256i values_mxfp4(const uint8_t *at)
{
    return _mm256_sub_epi8(
        _mm256_shuffle_epi8(table_of(fp4_offset), nibbles_of(at + 1)), _mm256_set1_epi8(12));
}

INLINE void groups_unpack(struct groups_rows *to, int turn, int64_t b, const uint8_t *const *rows, size_t at,
    groups_values_fn *values, groups_scale_fn *scale)
{
    for (int set = 0; set < SETS; set++, rows += LANES) {
        for (int r = 0; r < LANES; r++)
            _mm256_store_si256((__m256i *)(void *)to->q[set][b][r], values(rows[r] + at));
        to->scale[turn][set][b] = scale(rows, at);
    }
}

/* ---- Tiles ---- */

/* Tiles 0 to 3: sums of a block each; 4 and 5: rows, of 32 values; 6 and 7: columns. */
static const struct tile_shapes group_shapes = {.palette = 1,
    .row_bytes = {64, 64, 64, 64, X_VALUES, X_VALUES, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, X_VALUES / 4, X_VALUES / 4}};

/* [block][group of columns][row] */
struct groups_sums {
    vints of[GROUP_BLOCKS][2][LANES];
};

/* What a step makes, or has made. */
struct groups_made {
    struct groups_sums *sums; /* NULL: none */
    const float *scale;       /* [block][row] */
    const struct x_block *x;
    float *acc; /* [group of columns][both sets' rows][column] */
    int64_t places;
};

/* Both groups' scales. */
struct groups_scales {
    vfloats of[GROUP_BLOCKS][2];
};

INLINE struct groups_scales groups_scales_of(
    const struct groups_made *m, const int64_t blocks, const int groups)
{
    struct groups_scales x;
    UNROLLED
    for (int64_t b = 0; b < blocks; b++)
        UNROLLED
    for (int g = 0; g < groups; g++) {
        const struct x_block *at = m->x + b * m->places + g * WIDE_COLUMNS;
        memcpy(&x.of[b][g], ((const struct x_group *)(const void *)at)->scale, sizeof x.of[b][g]);
    }
    return x;
}

INLINE void groups_row_add(const struct groups_made *m, const struct groups_scales *x, const int r,
    const int64_t blocks, const int groups)
{
    UNROLLED
    for (int g = 0; g < groups; g++) {
        vfloats *acc = (vfloats *)(void *)(m->acc + (g * SETS * LANES + r) * WIDE_COLUMNS), sum = *acc;
        UNROLLED
        for (int64_t b = 0; b < blocks; b++)
            sum = plus(__builtin_convertvector(m->sums->of[b][g][r], vfloats) * m->scale[b * LANES + r],
                x->of[b][g], sum);
        *acc = sum;
    }
}

static __attribute__((noinline)) void groups_add(
    const struct groups_made *m, const int64_t blocks, const int groups)
{
    const struct groups_scales x = groups_scales_of(m, blocks, groups);
    for (int r = 0; r < LANES; r++)
        groups_row_add(m, &x, r, blocks, groups);
}

/* The step before, whose last four sums are in the tiles, and the one before that, which waits to be scaled.
 */
struct groups_work {
    struct groups_rows u;
    struct groups_sums sums[3];
    struct groups_made in_tiles, stored;
    int at;
};

#define GROUP_TILE(sum, row, column)                                                                         \
    do {                                                                                                     \
        _tile_stored(sum, to, 64);                                                                           \
        _tile_zero(sum);                                                                                     \
        _tile_dpbssd(sum, row, column);                                                                      \
    } while (0)

/* Sum i of a step, of block i / 2 and group i % 2; to: of what was in its tile, four sums before. */
INLINE void groups_tile(
    const uint8_t (*rows)[LANES][X_VALUES], const int i, const struct groups_made *now, vints *to)
{
    const struct x_block *x = now->x + i / 2 * now->places + i % 2 * WIDE_COLUMNS;
    TILE_FENCE;
    if (i % 4 == 0) {
        _tile_loadd(4, rows[i / 2], X_VALUES);
        _tile_loadd(6, x, 64);
        GROUP_TILE(0, 4, 6);
    } else if (i % 4 == 1) {
        _tile_loadd(7, x, 64);
        GROUP_TILE(1, 4, 7);
    } else if (i % 4 == 2) {
        _tile_loadd(5, rows[i / 2], X_VALUES);
        _tile_loadd(6, x, 64);
        GROUP_TILE(2, 5, 6);
    } else {
        _tile_loadd(7, x, 64);
        GROUP_TILE(3, 5, 7);
    }
    TILE_FENCE;
}

/* All that was begun is finished. */
INLINE void groups_drain(struct groups_work *w)
{
    if (w->stored.sums)
        groups_add(&w->stored, GROUP_BLOCKS, 2);
    if (w->in_tiles.sums) {
        struct groups_sums *to = w->in_tiles.sums;
        _tile_stored(0, to->of[2][0], 64);
        _tile_stored(1, to->of[2][1], 64);
        _tile_stored(2, to->of[3][0], 64);
        _tile_stored(3, to->of[3][1], 64);
        TILE_FENCE;
        groups_add(&w->in_tiles, GROUP_BLOCKS, 2);
    }
    w->in_tiles.sums = w->stored.sums = NULL;
}

INLINE void groups_step(
    struct groups_work *w, const uint8_t (*rows)[LANES][X_VALUES], const struct groups_made *now)
{
    struct groups_sums *before = w->in_tiles.sums ? w->in_tiles.sums : now->sums;
    const bool add = w->stored.sums != NULL;
    const struct groups_scales x = groups_scales_of(add ? &w->stored : now, GROUP_BLOCKS, 2);
    enum { SUMS = 2 * GROUP_BLOCKS, ROWS = LANES / SUMS };
    UNROLLED
    for (int i = 0; i < SUMS; i++) {
        groups_tile(rows, i, now, i < 4 ? before->of[2 + i / 2][i % 2] : now->sums->of[i / 2 - 2][i % 2]);
        for (int r = ROWS * i; r < ROWS * (i + 1) && add; r++)
            groups_row_add(&w->stored, &x, r, GROUP_BLOCKS, 2);
    }
    w->stored = w->in_tiles;
    w->in_tiles = *now;
}

/* Fewer blocks, or a single group of columns. */
static __attribute__((noinline)) void groups_rest(struct groups_work *w,
    const uint8_t (*rows)[LANES][X_VALUES], const struct groups_made *now, int64_t blocks, int groups)
{
    struct groups_made one = *now;
    groups_drain(w);
    for (int g = 0; g < groups; g++) {
        for (int64_t b = 0; b < blocks; b++) {
            TILE_FENCE;
            _tile_zero(0);
            _tile_loadd(4, rows[b], X_VALUES);
            _tile_loadd(6, one.x + b * one.places, 64);
            _tile_dpbssd(0, 4, 6);
            _tile_stored(0, one.sums->of[b][0], 64);
            TILE_FENCE;
        }
        groups_add(&one, blocks, 1);
        one.x += WIDE_COLUMNS;
        one.acc += SETS * LANES * WIDE_COLUMNS;
    }
}

/* What is unpacked, by all columns: blocks [first, first + GROUP_BLOCKS) of it, or what is left of them. */
INLINE void groups_columns(struct groups_work *w, float *acc, const struct x_block *panel, int64_t places,
    int64_t first, int64_t blocks, int turn)
{
    for (int64_t column = 0; column < places; column += 2 * WIDE_COLUMNS)
        for (int set = 0; set < SETS; set++, w->at = (w->at + 1) % 3) {
            const int groups = column + WIDE_COLUMNS < places ? 2 : 1;
            const struct groups_made now = {&w->sums[w->at], (const float *)&w->u.scale[turn][set][first],
                panel + first * places + column, acc + (column * SETS + set * WIDE_COLUMNS) * LANES, places};
            if (blocks >= GROUP_BLOCKS && groups == 2)
                groups_step(w, w->u.q[set] + first, &now);
            else
                groups_rest(
                    w, w->u.q[set] + first, &now, blocks < GROUP_BLOCKS ? blocks : GROUP_BLOCKS, groups);
        }
}

INLINE void groups_product(float *acc, const struct x_block *panel, int64_t n, const uint8_t *const *rows,
    int64_t from, int64_t count, size_t bytes, groups_values_fn *values, groups_scale_fn *scale)
{
    struct groups_work w;
    const int64_t places = wide_places(n);
    struct ahead ahead = ahead_of(rows, LANES * SETS, from, bytes, 1);
    int turn = 0;
    w.in_tiles.sums = w.stored.sums = NULL;
    w.at = 0;
    _tile_loadconfig(&group_shapes);
    for (int64_t b = from; b < from + count; b += TILE_BLOCKS, panel += TILE_BLOCKS * places, turn ^= 1) {
        const int64_t blocks = from + count - b < TILE_BLOCKS ? from + count - b : TILE_BLOCKS;
        if (n > MEMORY_BOUND_COLUMNS)
            ahead = ahead_in_rows(rows, LANES * SETS, (size_t)b * bytes, TILE_BLOCKS * bytes);
        for (int64_t i = 0; i < blocks; i++) {
            ask(&ahead);
            groups_unpack(&w.u, turn, i, rows, (size_t)(b + i) * bytes, values, scale);
        }
        for (int64_t first = 0; first < blocks; first += GROUP_BLOCKS)
            groups_columns(&w, acc, panel, places, first, blocks - first, turn);
    }
    groups_drain(&w);
    _tile_release();
}

#define GROUPS(name, bytes, scale)                                                                           \
    static __attribute__((noinline)) void many_product_##name(float *acc, const struct x_block *x,           \
        int64_t n, const uint8_t *const *rows, int64_t from, int64_t count)                                  \
    {                                                                                                        \
        groups_product(acc, x, n, rows, from, count, bytes, values_##name, scale);                           \
    }                                                                                                        \
    static void groups_product_##name(float *acc, const struct x_block *x, int64_t n,                        \
        const uint8_t *const *rows, int64_t from, int64_t count)                                             \
    {                                                                                                        \
        (n < GROUPS_LEAST ? product_##name : many_product_##name)(acc, x, n, rows, from, count);             \
    }

GROUPS(q4_0, 18, rows_half)
GROUPS(q8_0, 34, rows_half)
GROUPS(iq4_nl, 18, rows_half)
GROUPS(mxfp4, 17, mxfp4_scale)

#endif
