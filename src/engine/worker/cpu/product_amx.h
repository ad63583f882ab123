/* Products of wide types by AMX: tiles of sixteen rows of a weight by sixteen columns, 64 values by one
 * instruction. A weight times its whole scale has up to 14 bits, of which two tiles hold a part each:
 *
 *   value = d (high << SHIFT | low) - dmin min
 *   Q4_K, Q5_K   a scale is 8 a + b:  high = a q, low = b q  (bytes without a sign, SHIFT 3)
 *   others       the product's upper byte (signed) and lower one, SHIFT 8
 *
 * Rows stand as the file has them, 64 values side by side; columns come four values at a time
 * (product_wide.h). Sums of 256 values leave the tiles through memory, a step later, and are made floats
 * another step later. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_AMX_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_AMX_H

#include "engine/worker/cpu/product_few.h"
#include "engine/worker/cpu/tiles.h"

enum { PARTS = 4, PART_VALUES = 64 };

/* What a step's rows have beside their values. */
struct amx_head {
    _Alignas(16) uint8_t scales[LANES][16];
    int32_t mins[LANES][4]; /* two of 16 bits each */
    vfloats d, dmin;
};

/* 256 values of LANES rows. */
struct amx_rows {
    uint8_t high[PARTS][LANES][PART_VALUES], low[PARTS][LANES][PART_VALUES];
};

/* 256 values of LANES rows as the file has them, from byte `at` of each. What is to be asked for is `ahead`
 * bytes on. */
struct amx_block {
    struct amx_head *head;
    const uint8_t *const *rows;
    size_t at, bytes, ahead;
};

struct amx_sums {
    vints high[LANES], low[LANES];
};

/* Constant vectors of bytes. */
INLINE __m512i bytes_each(const uint8_t of[4])
{
    __m512i v = _mm512_set1_epi8((char)of[0]);
    for (int i = 1; i < 4; i++)
        v = _mm512_mask_mov_epi8(v, 0xFFFFULL << 16 * i, _mm512_set1_epi8((char)of[i]));
    return v;
}

/* In each of four runs of 16 bytes, byte of[i] of `from` (16 bytes) as a number of 16 bits, eight times. */
INLINE __m512i words_each(const uint8_t *from, const int a, const int b, const int c, const int d)
{
    const uint8_t of[4] = {(uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d};
    const __m512i index = _mm512_or_si512(bytes_each(of), _mm512_set1_epi16((short)0x8000));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load_16(from)), index);
}

/* Shifts of the first and the last 32 bytes' words. */
INLINE __m512i shifts(const int first, const int last)
{
    return _mm512_mask_mov_epi16(
        _mm512_set1_epi16((short)first), 0xFFFF0000u, _mm512_set1_epi16((short)last));
}

/* 32 bytes, twice. */
INLINE __m512i load_twice(const uint8_t *at)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

INLINE __m512i both(const __m512i v, const uint32_t mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi32((int)mask));
}

/* The bytes of `a` where the mask has ones, else those of `b`. */
INLINE __m512i blend(const __m512i mask, const __m512i a, const __m512i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xCA);
}

/* Numbers of 16 bits for the even and the odd bytes: their upper bytes, and their lower ones. */
INLINE void split(uint8_t *high, uint8_t *low, const __m512i even, const __m512i odd)
{
    const __m512i first = _mm512_set1_epi16(0x00FF);
    _mm512_store_si512(high, blend(first, _mm512_srli_epi16(even, 8), odd));
    _mm512_store_si512(low, blend(first, even, _mm512_slli_epi16(odd, 8)));
}

/* ---- Q4_K and Q5_K ---- */

/* Four words of each lane become 16 bytes of each row. */
INLINE void rows_of_words(uint8_t to[LANES][16], const vwords w[4])
{
    const __m512i a = _mm512_unpacklo_epi32((__m512i)w[0], (__m512i)w[1]),
                  b = _mm512_unpacklo_epi32((__m512i)w[2], (__m512i)w[3]),
                  c = _mm512_unpackhi_epi32((__m512i)w[0], (__m512i)w[1]),
                  d = _mm512_unpackhi_epi32((__m512i)w[2], (__m512i)w[3]);
    const __m512i rows[4] = {_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b),
        _mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d)};
    for (int r = 0; r < 4; r++) {
        _mm_store_si128((__m128i *)(void *)to[r], _mm512_castsi512_si128(rows[r]));
        _mm_store_si128((__m128i *)(void *)to[4 + r], _mm512_extracti32x4_epi32(rows[r], 1));
        _mm_store_si128((__m128i *)(void *)to[8 + r], _mm512_extracti32x4_epi32(rows[r], 2));
        _mm_store_si128((__m128i *)(void *)to[12 + r], _mm512_extracti32x4_epi32(rows[r], 3));
    }
}

INLINE void k_heads(struct amx_head *to, const uint8_t *const *rows, size_t at)
{
    const struct k_head h = k_head(rows, at);
    const vwords scales[4] = {h.scales[0] & 0x07070707u, h.scales[1] & 0x07070707u,
        h.scales[0] >> 3 & 0x07070707u, h.scales[1] >> 3 & 0x07070707u};
    const vwords mins[4] = {
        pair_of(h.mins[0], 0), pair_of(h.mins[0], 2), pair_of(h.mins[1], 0), pair_of(h.mins[1], 2)};
    rows_of_words(to->scales, scales);
    rows_of_words((uint8_t(*)[16])(void *)to->mins, mins);
    to->d = h.d;
    to->dmin = h.dmin;
}

/* Two blocks of 32 values with a scale each: no byte's product with a part of it has a carry. */
INLINE void k_row(struct amx_rows *to, const int j, const int r, const uint8_t *scales, const __m512i q)
{
    const int a = 2 * j, b = 2 * j + 1;
    _mm512_store_si512(to->low[j][r], _mm512_mullo_epi16(q, words_each(scales, a, a, b, b)));
    _mm512_store_si512(to->high[j][r], _mm512_mullo_epi16(q, words_each(scales, 8 + a, 8 + a, 8 + b, 8 + b)));
}

INLINE void head_q4_k(struct amx_head *to, const uint8_t *const *rows, size_t at)
{
    k_heads(to, rows, at);
}

INLINE void part_q4_k(
    struct amx_rows *to, const int j, const int first, const int end, const struct amx_block *b)
{
    const struct amx_head *h = b->head;
    for (int r = first; r < end; r++) {
        const __m512i raw = load_twice(b->rows[r] + b->at + 16 + 32 * j);
        k_row(to, j, r, h->scales[r], both(_mm512_srlv_epi16(raw, shifts(0, 4)), 0x0F0F0F0Fu));
    }
}

INLINE void head_q5_k(struct amx_head *to, const uint8_t *const *rows, size_t at)
{
    k_heads(to, rows, at);
}

/* Bits 2j of `raw` in the first half and 2j + 1 in the second become bit 4 of each byte. */
INLINE __m512i fifth(const __m512i raw, const int j)
{
    return both(j < 2 ? _mm512_sllv_epi16(raw, shifts(4 - 2 * j, 3 - 2 * j))
                      : _mm512_srlv_epi16(raw, shifts(2 * j - 4, 2 * j - 3)),
        0x10101010u);
}

INLINE void part_q5_k(
    struct amx_rows *to, const int j, const int first, const int end, const struct amx_block *b)
{
    const struct amx_head *h = b->head;
    for (int r = first; r < end; r++) {
        const __m512i raw = load_twice(b->rows[r] + b->at + 48 + 32 * j),
                      high = load_twice(b->rows[r] + b->at + 16);
        const __m512i q = both(_mm512_srlv_epi16(raw, shifts(0, 4)), 0x0F0F0F0Fu);
        k_row(to, j, r, h->scales[r], _mm512_or_si512(q, fifth(high, j)));
    }
}

/* ---- Q6_K ---- */

INLINE void head_q6_k(struct amx_head *to, const uint8_t *const *rows, size_t at)
{
    for (int r = 0; r < LANES; r++)
        memcpy(to->scales[r], rows[r] + at + 192, 16);
    to->d = rows_half(rows, at + 208);
}

/* 64 values of six bits. */
INLINE __m512i q6_values(const uint8_t *row, const int j)
{
    const __m512i raw = _mm512_loadu_si512(row + j / 2 * 64), high = load_twice(row + 128 + j / 2 * 32);
    const __m512i low = both(j % 2 ? _mm512_srli_epi16(raw, 4) : raw, 0x0F0F0F0Fu);
    return _mm512_or_si512(
        low, both(j % 2 ? _mm512_srlv_epi16(high, shifts(0, 2)) : _mm512_sllv_epi16(high, shifts(4, 2)),
                 0x30303030u));
}

INLINE void part_q6_k(
    struct amx_rows *to, const int j, const int first, const int end, const struct amx_block *b)
{
    const struct amx_head *h = b->head;
    for (int r = first; r < end; r++) {
        const __m512i q = q6_values(b->rows[r] + b->at, j);
        /* each scale beside a zero, so that pairs of products are one */
        const __m512i even = words_each(h->scales[r], 4 * j, 4 * j + 1, 4 * j + 2, 4 * j + 3),
                      odd = _mm512_slli_epi16(even, 8),
                      zero = _mm512_maddubs_epi16(_mm512_set1_epi8(32), even);
        split(to->high[j][r], to->low[j][r], _mm512_sub_epi16(_mm512_maddubs_epi16(q, even), zero),
            _mm512_sub_epi16(_mm512_maddubs_epi16(q, odd), zero));
    }
}

/* ---- IQ4_XS ---- */

/* Scales as numbers of 16 bits. */
INLINE void head_iq4_xs(struct amx_head *to, const uint8_t *const *rows, size_t at)
{
    const vwords first = rows_word(rows, at), low = rows_word(rows, at + 4), high = first >> 16;
    vwords pairs[4];
    for (int j = 0; j < 8; j += 2) {
        const vwords a = ((low >> 4 * j & 15u) | (high >> 2 * j & 3u) << 4) - 32u,
                     b = ((low >> 4 * (j + 1) & 15u) | (high >> 2 * (j + 1) & 3u) << 4) - 32u;
        pairs[j / 2] = (a & 0xFFFFu) | b << 16;
    }
    rows_of_words(to->scales, pairs);
    to->d = half_low(first);
}

/* The table's sixteen values times two scales; of each value and scale one byte, twice. */
INLINE __m512i half_table(const __m512i products, const int byte)
{
    uint8_t index[64];
    for (int i = 0; i < 64; i++)
        index[i] = (uint8_t)(2 * (i % 16) + byte + i / 32 * 32);
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(index), products);
}

INLINE void part_iq4_xs(
    struct amx_rows *to, const int j, const int first, const int end, const struct amx_block *b)
{
    const struct amx_head *h = b->head;
    const __m256i table =
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)tensor_iq4_values));
    const __m512i values = _mm512_broadcast_i64x4(table), lanes = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                  by = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004,
                      0x0004000400040004, 0, 0),
                  pairs = _mm512_mask_mov_epi16(
                      _mm512_set1_epi16((short)(2 * j)), 0xFFFF0000u, _mm512_set1_epi16((short)(2 * j + 1)));
    for (int r = first; r < end; r++) {
        const __m512i raw = _mm512_permutexvar_epi64(lanes, load_twice(b->rows[r] + b->at + 8 + 32 * j));
        const __m512i q = both(_mm512_srlv_epi16(raw, by), 0x0F0F0F0Fu);
        const __m512i scales = _mm512_permutexvar_epi16(pairs, _mm512_broadcast_i32x4(load_16(h->scales[r])));
        const __m512i products = _mm512_mullo_epi16(values, scales);
        _mm512_store_si512(to->low[j][r], _mm512_shuffle_epi8(half_table(products, 0), q));
        _mm512_store_si512(to->high[j][r], _mm512_shuffle_epi8(half_table(products, 1), q));
    }
}

/* ---- Tiles ---- */

/* Tiles 0 and 1: sums of the first group of columns, high and low; 2 and 3: of the second. 4 and 5: rows; 6
 * and 7: columns. (A tile's number is part of the instruction.) */
#define TILE_MULTIPLY_HIGH(sum, columns, negative)                                                           \
    do {                                                                                                     \
        if (negative)                                                                                        \
            _tile_dpbssd(sum, 4, columns);                                                                   \
        else                                                                                                 \
            _tile_dpbusd(sum, 4, columns);                                                                   \
    } while (0)

INLINE void tiles_begin(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* What a step made, of one group of columns or two. */
struct amx_made {
    const struct amx_head *head;
    struct wide_group x[2];
    float *acc; /* [group][both sets' rows][column] */
    int groups; /* 0: nothing */
};

/* Its sums leave the tiles in the first part of the next step, when the unit has done with them, and are made
 * floats in the one after that, a row or two behind each instruction, so that the unit never waits. */
struct amx_work {
    struct amx_rows rows[SETS];
    struct amx_sums sums[2][3];     /* a third, unused: not 4096 bytes apart */
    struct amx_head heads[4][SETS]; /* of block b in b % 4: the next one's and those of sums that wait */
    struct amx_made in_tiles, stored;
    int turn; /* where sums go next; those of `stored` are in the other */
};

/* What a step's columns have beside their values, in registers. */
struct amx_columns {
    __m512i sums[2][4];
    __m512 scale[2];
};

INLINE struct amx_columns columns_of(const struct amx_made *m, const int groups, const bool mins)
{
    struct amx_columns c;
    UNROLLED
    for (int g = 0; g < groups; g++) {
        c.scale[g] = _mm512_loadu_ps(m->x[g].scale);
        UNROLLED
        for (int i = 0; i < 4 && mins; i++)
            c.sums[g][i] = _mm512_loadu_si512(m->x[g].sums + i * WIDE_COLUMNS * 2);
    }
    return c;
}

/* acc += (d sums - dmin mins) scale of row r, rounded as in product_few.h. */
INLINE void row_add(const struct amx_made *m, const struct amx_sums *sums, const struct amx_columns *x,
    const int groups, const int r, const int shift, const bool mins)
{
    const struct amx_head *h = m->head;
    const __m512 d = _mm512_set1_ps(((const float *)&h->d)[r]);
    __m512i pairs[4];
    UNROLLED
    for (int i = 0; i < 4 && mins; i++)
        pairs[i] = _mm512_set1_epi32(h->mins[r][i]);
    UNROLLED
    for (int g = 0; g < groups; g++) {
        float *acc = m->acc + (g * SETS * LANES + r) * WIDE_COLUMNS;
        const vints sum = (sums[g].high[r] << shift) + sums[g].low[r];
        __m512 total = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sum), d);
        if (mins) {
            __m512i least = _mm512_setzero_si512();
            UNROLLED
            for (int i = 0; i < 4; i++)
                least = _mm512_dpwssd_epi32(least, x->sums[g][i], pairs[i]);
            total = _mm512_fnmadd_ps(
                _mm512_cvtepi32_ps(least), _mm512_set1_ps(((const float *)&h->dmin)[r]), total);
        }
        _mm512_store_ps(acc, _mm512_fmadd_ps(total, x->scale[g], _mm512_load_ps(acc)));
    }
}

/* All rows at once. */
INLINE void made_add(
    const struct amx_made *m, const struct amx_sums *sums, const int groups, const int shift, const bool mins)
{
    const struct amx_columns x = columns_of(m, groups, mins);
    for (int r = 0; r < LANES; r++)
        row_add(m, sums, &x, groups, r, shift, mins);
}

INLINE void stored_add(struct amx_work *w, const int shift, const bool mins)
{
    if (w->stored.groups == 1)
        made_add(&w->stored, w->sums[w->turn ^ 1], 1, shift, mins);
    else if (w->stored.groups == 2)
        made_add(&w->stored, w->sums[w->turn ^ 1], 2, shift, mins);
    w->stored.groups = 0;
}

/* What was in the tiles is stored: of a sum that a step begins anew. */
#define TILE_RENEW(sum, to)                                                                                  \
    do {                                                                                                     \
        if (w->in_tiles.groups > (sum) / 2)                                                                  \
            _tile_stored(sum, to, 64);                                                                       \
        _tile_zero(sum);                                                                                     \
    } while (0)

INLINE void step_renews(struct amx_work *w, const int sum)
{
    struct amx_sums *to = w->sums[w->turn];
    if (sum == 0)
        TILE_RENEW(0, to[0].high);
    else if (sum == 1)
        TILE_RENEW(1, to[0].low);
    else if (sum == 2)
        TILE_RENEW(2, to[1].high);
    else
        TILE_RENEW(3, to[1].low);
}

/* Instruction i of part j of a step: sums i. */
INLINE void step_multiply(struct amx_work *w, const struct amx_rows *rows, const int j, const int i,
    const struct wide_group *x, const bool negative)
{
    const int8_t *columns = x[i / 2].q + j * PART_VALUES * WIDE_COLUMNS;
    TILE_FENCE;
    if (i == 0)
        _tile_loadd(6, columns, 4 * WIDE_COLUMNS);
    if (i == 0)
        _tile_loadd(4, rows->high[j], PART_VALUES);
    if (i == 1)
        _tile_loadd(5, rows->low[j], PART_VALUES);
    if (i == 2)
        _tile_loadd(7, columns, 4 * WIDE_COLUMNS);
    if (j == 0)
        step_renews(w, i);
    if (i == 0)
        TILE_MULTIPLY_HIGH(0, 6, negative);
    else if (i == 1)
        _tile_dpbusd(1, 5, 6);
    else if (i == 2)
        TILE_MULTIPLY_HIGH(2, 7, negative);
    else
        _tile_dpbusd(3, 5, 7);
    TILE_FENCE;
}

/* How a type's 256 values are read and multiplied. */
struct amx_type {
    void (*head)(struct amx_head *to, const uint8_t *const *rows, size_t at);
    /* Rows [first, end) of part j become those of the block. */
    void (*part)(struct amx_rows *to, const int j, const int first, const int end, const struct amx_block *b);
    size_t bytes;
    int shift;
    bool negative, mins;
};

INLINE void rows_ask(const struct amx_block *b, const int first, const int end)
{
    for (int r = first; r < end; r++) {
        const uint8_t *row = b->rows[r] + b->at + b->ahead;
        for (size_t i = 0; i < b->bytes; i += 64)
            _mm_prefetch((const char *)row + i, _MM_HINT_T1);
    }
}

/* 256 values of the rows by one group of columns or two. `next`: what the rows become meanwhile, if not NULL.
 * (A part's rows are written well before they are loaded: a tile's load waits for stores.) */
INLINE void amx_step(struct amx_work *w, struct amx_rows *rows, const struct amx_made *now, const int groups,
    const struct amx_block *next, const struct amx_type t)
{
    if (w->stored.groups != groups)
        stored_add(w, t.shift, t.mins);
    if (groups == 1 && w->in_tiles.groups == 2) {
        _tile_stored(2, w->sums[w->turn][1].high, 64);
        _tile_stored(3, w->sums[w->turn][1].low, 64);
    }
    const bool add = w->stored.groups == groups;
    const struct amx_columns x = columns_of(add ? &w->stored : now, groups, t.mins);
    const struct amx_sums *sums = w->sums[w->turn ^ 1];
    UNROLLED
    for (int j = 0; j < PARTS; j++) {
        if (next)
            rows_ask(next, 4 * j, 4 * j + 4);
        UNROLLED
        for (int i = 0; i < 2 * groups; i++) {
            const int each = 2 / groups, r = (2 * groups * j + i) * each;
            step_multiply(w, rows, j, i, now->x, t.negative);
            for (int k = 0; k < each && add; k++)
                row_add(&w->stored, sums, &x, groups, r + k, t.shift, t.mins);
        }
        if (next)
            t.part(rows, j, 0, LANES, next);
    }
    w->stored = w->in_tiles;
    w->in_tiles = *now;
    w->turn ^= 1;
}

/* What is left in the tiles, and of the step before. */
INLINE void amx_end(struct amx_work *w, const int shift, const bool mins)
{
    stored_add(w, shift, mins);
    for (int i = 0; i < 2 * w->in_tiles.groups; i++)
        step_renews(w, i);
    TILE_FENCE;
    w->stored = w->in_tiles;
    w->turn ^= 1;
    stored_add(w, shift, mins);
}

/* `next` (NULL: none): with these columns, the last ones, its values take the block's place. */
INLINE void amx_columns(struct amx_work *w, int set, struct amx_made *made, const struct x_block *x,
    int64_t first, const struct amx_block *next, const struct amx_type t)
{
    made->x[0] = wide_group(x, WIDE_COLUMNS, first);
    made->x[1] = wide_group(x, WIDE_COLUMNS, first + WIDE_COLUMNS);
    if (next)
        t.head(next->head, next->rows, next->at);
    if (made->groups == 2 && next)
        amx_step(w, w->rows + set, made, 2, next, t);
    else if (made->groups == 2)
        amx_step(w, w->rows + set, made, 2, NULL, t);
    else if (next)
        amx_step(w, w->rows + set, made, 1, next, t);
    else
        amx_step(w, w->rows + set, made, 1, NULL, t);
}

/* acc[group of columns][set][row][column] += blocks [from, to) of the rows by all columns: 256 values of both
 * sets, which stay in the first-level cache, by two groups at a time. */
INLINE void amx_product(float *acc, const struct x_block *panel, int64_t n, const uint8_t *const *rows,
    int64_t from, int64_t to, const struct amx_type t)
{
    _Alignas(64) struct amx_work w;
    const int64_t places = wide_places(n);
    const size_t ahead = LANES * SETS * (size_t)(rows[1] - rows[0]);
    w.in_tiles.groups = w.stored.groups = w.turn = 0;
    tiles_configure(&tile_shapes);
    for (int set = 0; set < SETS; set++) {
        const struct amx_block b = {
            &w.heads[from % 4][set], rows + set * LANES, (size_t)from * t.bytes, t.bytes, ahead};
        t.head(b.head, b.rows, b.at);
        for (int j = 0; j < PARTS; j++)
            t.part(&w.rows[set], j, 0, LANES, &b);
    }
    for (int64_t b = from; b < to; b++, panel += places * WIDE_BLOCKS)
        for (int64_t first = 0; first < places; first += 2 * WIDE_COLUMNS)
            for (int set = 0; set < SETS; set++) {
                struct amx_made made = {.head = &w.heads[b % 4][set],
                    .acc = acc + (first * SETS + set * WIDE_COLUMNS) * LANES,
                    .groups = first + WIDE_COLUMNS < places ? 2 : 1};
                const bool last = first + 2 * WIDE_COLUMNS >= places && b + 1 < to;
                const struct amx_block next = {&w.heads[(b + 1) % 4][set], rows + set * LANES,
                    (size_t)(b + 1) * t.bytes, t.bytes, ahead};
                amx_columns(&w, set, &made, panel, first, last ? &next : NULL, t);
            }
    amx_end(&w, t.shift, t.mins);
    _tile_release();
}

#define AMX(name, bytes, shift, negative, mins)                                                              \
    static __attribute__((noinline)) void amx_product_##name(float *acc, const struct x_block *panel,        \
        int64_t n, const uint8_t *const *rows, int64_t from, int64_t to)                                     \
    {                                                                                                        \
        amx_product(acc, panel, n, rows, from, to,                                                           \
            (struct amx_type){head_##name, part_##name, bytes, shift, negative, mins});                      \
    }                                                                                                        \
    static void wide_product_##name(float *acc, const struct x_block *x, int64_t n,                          \
        const uint8_t *const *rows, int64_t from, int64_t count)                                             \
    {                                                                                                        \
        const int64_t first = from / (WIDE_VALUES / X_VALUES),                                               \
                      to = (from + count) / (WIDE_VALUES / X_VALUES);                                        \
        (n < WIDE_LEAST ? few_product_##name : amx_product_##name)(acc, x, n, rows, first, to);              \
    }

AMX(q4_k, 144, 3, false, true)
AMX(q5_k, 176, 3, false, true)
AMX(q6_k, 210, 8, true, false)
AMX(iq4_xs, 136, 8, true, false)

#endif
