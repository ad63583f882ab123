/* Products of blocks of 32 values that have a float as their scale, by AMX: sixteen rows by sixteen columns
 * and a block by one instruction, whose sums leave the tiles through memory and are scaled by vectors: what
 * product_types.h makes of them, to the bit.
 *
 * A step is TILE_BLOCKS blocks of a set of rows by a group of columns: its sums are scaled while the next
 * step's are made. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_GROUPS_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_GROUPS_H

#include "engine/worker/cpu/product_amx.h"

/* TILE_BLOCKS blocks of both sets of rows: bytes with a sign. */
struct groups_rows {
    _Alignas(64) uint8_t q[SETS][TILE_BLOCKS][LANES][X_VALUES];
    vfloats scale[SETS][TILE_BLOCKS];
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

INLINE void groups_unpack(struct groups_rows *to, int64_t b, const uint8_t *const *rows, size_t at,
    groups_values_fn *values, groups_scale_fn *scale)
{
    for (int set = 0; set < SETS; set++, rows += LANES) {
        for (int r = 0; r < LANES; r++)
            _mm256_store_si256((__m256i *)(void *)to->q[set][b][r], values(rows[r] + at));
        to->scale[set][b] = scale(rows, at);
    }
}

/* ---- Tiles ---- */

/* Tiles 0 to 3: sums of a block each; 4 and 5: rows, of 32 values; 6 and 7: columns. */
static const struct tile_shapes group_shapes = {.palette = 1,
    .row_bytes = {64, 64, 64, 64, X_VALUES, X_VALUES, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, X_VALUES / 4, X_VALUES / 4}};

struct groups_sums {
    vints of[TILE_BLOCKS][LANES];
};

#define GROUP_TILE(sum, row, column, b)                                                                      \
    do {                                                                                                     \
        _tile_zero(sum);                                                                                     \
        _tile_loadd(row, rows[b], X_VALUES);                                                                 \
        _tile_loadd(column, x + (b)*places, 64);                                                             \
        _tile_dpbssd(sum, row, column);                                                                      \
    } while (0)

/* Sums of four blocks, or of those that are left of them; what is behind these does not matter. */
INLINE void four_blocks(vints (*sums)[LANES], const uint8_t (*rows)[LANES][X_VALUES], const struct x_block *x,
    int64_t places, int64_t n)
{
    GROUP_TILE(0, 4, 6, 0);
    if (n > 1)
        GROUP_TILE(1, 5, 7, 1);
    if (n > 2)
        GROUP_TILE(2, 4, 6, 2);
    if (n > 3)
        GROUP_TILE(3, 5, 7, 3);
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
}

/* Sums that wait to be scaled. */
struct groups_pending {
    const struct groups_sums *sums; /* NULL: none */
    const vfloats *scale;
    const struct x_block *x;
    float *acc; /* [row][column] */
    int64_t places, blocks;
};

INLINE void groups_scale(const struct groups_pending *p)
{
    vfloats x[TILE_BLOCKS] = {{0}};
    if (!p->sums)
        return;
    for (int64_t b = 0; b < p->blocks; b++)
        memcpy(&x[b], ((const struct x_group *)(const void *)(p->x + b * p->places))->scale, sizeof x[b]);
    const float *scale = (const float *)p->scale;
    for (int r = 0; r < LANES; r++) {
        vfloats *acc = (vfloats *)(void *)(p->acc + r * WIDE_COLUMNS), sum = *acc;
        for (int64_t b = 0; b < p->blocks; b++)
            sum = plus(__builtin_convertvector(p->sums->of[b][r], vfloats) * scale[b * LANES + r], x[b], sum);
        *acc = sum;
    }
}

/* One step: the blocks of a set of rows by the group of columns whose blocks begin at `x`. */
INLINE void groups_step(struct groups_sums *sums, const struct groups_rows *u, int set,
    const struct x_block *x, float *acc, int64_t places, int64_t blocks, struct groups_pending *p)
{
    TILE_FENCE;
    for (int64_t b = 0; b < blocks; b += 4)
        four_blocks(sums->of + b, u->q[set] + b, x + b * places, places, blocks - b);
    TILE_FENCE;
    if (p->blocks == TILE_BLOCKS) { /* known, so that it is written out */
        struct groups_pending whole = *p;
        whole.blocks = TILE_BLOCKS;
        groups_scale(&whole);
    } else {
        groups_scale(p);
    }
    *p = (struct groups_pending){sums, u->scale[set], x, acc, places, blocks};
}

INLINE void groups_product(float *acc, const struct x_block *panel, int64_t n, const uint8_t *const *rows,
    int64_t from, int64_t count, size_t bytes, groups_values_fn *values, groups_scale_fn *scale)
{
    struct groups_rows u;
    struct groups_sums sums[2];
    const int64_t places = wide_places(n);
    struct ahead ahead = ahead_of(rows, LANES * SETS, from, bytes, 1);
    int turn = 0;
    _tile_loadconfig(&group_shapes);
    for (int64_t b = from; b < from + count; b += TILE_BLOCKS, panel += TILE_BLOCKS * places) {
        const int64_t blocks = from + count - b < TILE_BLOCKS ? from + count - b : TILE_BLOCKS;
        struct groups_pending p = {.sums = NULL};
        if (n > MEMORY_BOUND_COLUMNS)
            ahead = ahead_in_rows(rows, LANES * SETS, (size_t)b * bytes, TILE_BLOCKS * bytes);
        for (int64_t i = 0; i < blocks; i++) {
            ask(&ahead);
            groups_unpack(&u, i, rows, (size_t)(b + i) * bytes, values, scale);
        }
        for (int64_t first = 0; first < places; first += WIDE_COLUMNS)
            for (int set = 0; set < SETS; set++, turn ^= 1)
                groups_step(&sums[turn], &u, set, panel + first,
                    acc + (first * SETS + set * WIDE_COLUMNS) * LANES, places, blocks, &p);
        groups_scale(&p);
    }
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
