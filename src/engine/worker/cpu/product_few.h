/* Products of wide types with a few columns, from the registers that a block is unpacked in, summed in whole
 * numbers: what the matrix unit makes of them, to the bit. LANES rows at a time, as in product_types.h. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_FEW_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_FEW_H

#include "engine/worker/cpu/product_wide.h"

/* As product_types.h's struct ahead, but never past `to`: a step of 256 values may ask more often than it has
 * shares. */
struct ahead_to {
    uintptr_t at, to;
    size_t share;
};

INLINE struct ahead_to ahead_to_of(
    const uint8_t *const *rows, int n_rows, int64_t step, size_t bytes, size_t parts)
{
    const struct ahead a = ahead_of(rows, n_rows, step, bytes, parts);
    return (struct ahead_to){a.at, a.at, a.bytes};
}

INLINE void ask_to(struct ahead_to *a, const int hint)
{
    const uintptr_t to = a->at + a->share < a->to ? a->at + a->share : a->to;
    for (; a->at < to; a->at += 64)
        if (hint == 3)
            __builtin_prefetch((const void *)a->at, 0, 3);
        else
            __builtin_prefetch((const void *)a->at, 0, 2);
}

/* 256 values of LANES rows, for more columns than two. */
struct few_tile {
    vwords v[WIDE_VALUES / 4];
    vints scales[WIDE_VALUES / 16];
    vwords mins[4];
    vfloats d, dmin;
};

/* Of one column or two, sums of 256 values: products, and minima times what their values add up to. */
struct few {
    vints sums[2], mins[2];
    struct wide_group x;
    vfloats *acc; /* [column][set] */
    struct ahead_to *ahead;
    struct few_tile *tile; /* if any, all goes there instead */
};

/* -offset times the sum of the values from word `first` on, `count` words. */
INLINE vints few_begin(
    const struct wide_group *x, int64_t w, int64_t c, const int first, const int count, const int offset)
{
    const int i = first / count;
    const int16_t *of = count == 8 ? x->sums : x->halves;
    return (vints){0} - (offset ? offset * (int32_t)of[(i / 2 * w + c) * 2 + i % 2] : 0);
}

/* sums += scale x (products of `count` words from word `first` on with v); v is `offset` too high. */
INLINE void few_add(struct few *f, const int n, const vwords *v, const int first, const int count,
    const vints scale, const int offset)
{
    if (f->tile) {
        for (int k = 0; k < count; k++)
            f->tile->v[first + k] = v[k];
        f->tile->scales[first / count] = scale;
        return;
    }
    for (int c = 0; c < n; c++) {
        vints sum = few_begin(&f->x, n, c, first, count, offset);
        UNROLLED
        for (int k = 0; k < count; k++)
            sum = add_products(sum, v[k], f->x.q + ((first + k) * n + c) * 4);
        f->sums[c] += sum * scale;
    }
    ask_to(f->ahead, 3);
}

/* acc += (d sums - dmin mins) scale: in this order in product_amx.h, too. */
INLINE vfloats few_float(
    vfloats acc, vints sums, vints mins, vfloats d, vfloats dmin, float scale, const bool has_mins)
{
    vfloats sum = __builtin_convertvector(sums, vfloats) * d;
    if (has_mins)
        sum = minus(__builtin_convertvector(mins, vfloats), dmin, sum);
    return plus(sum, splat(scale), acc);
}

/* `mins`: NULL, or pairs of the minima of the blocks 2i and 2i + 1. */
INLINE void few_finish(struct few *f, const int n, vfloats d, vfloats dmin, const vwords *mins)
{
    if (f->tile) {
        f->tile->d = d;
        f->tile->dmin = dmin;
        for (int i = 0; i < 4 && mins; i++)
            f->tile->mins[i] = mins[i];
        return;
    }
    for (int c = 0; c < n; c++) {
        for (int i = 0; i < 4 && mins; i++)
            f->mins[c] = pairs_add(f->mins[c], mins[i], f->x.sums + (i * n + c) * 2);
        f->acc[c * SETS] =
            few_float(f->acc[c * SETS], f->sums[c], f->mins[c], d, dmin, f->x.scale[c], mins != NULL);
    }
}

/* acc[column][set] += two sets' tiles by n columns of w, from column c on. */
INLINE void tile_columns(vfloats *acc, const struct few_tile *tile, const struct wide_group *x, int64_t w,
    int64_t c, const int n, const int count, const int offset, const bool mins, struct ahead_to *ahead)
{
    vints all[4 * SETS] = {{0}}, sums[4 * SETS];
    for (int first = 0; first < WIDE_VALUES / 4; first += count) {
        for (int i = 0; i < n * SETS; i++)
            sums[i] = few_begin(x, w, c + i / SETS, first, count, offset);
        ask_to(ahead, 3);
        UNROLLED
        for (int k = 0; k < count; k++)
            UNROLLED
        for (int i = 0; i < n; i++)
            UNROLLED
        for (int s = 0; s < SETS; s++) {
            vints *sum = &sums[i * SETS + s];
            *sum = add_products(*sum, tile[s].v[first + k], x->q + ((first + k) * w + c + i) * 4);
            OPAQUE(*sum);
        }
        for (int i = 0; i < n * SETS; i++)
            all[i] += sums[i] * tile[i % SETS].scales[first / count];
    }
    for (int i = 0; i < n * SETS; i++) {
        const struct few_tile *t = &tile[i % SETS];
        vints m = {0};
        for (int k = 0; k < 4 && mins; k++)
            m = pairs_add(m, t->mins[k], x->sums + (k * w + c + i / SETS) * 2);
        acc[i] = few_float(acc[i], all[i], m, t->d, t->dmin, x->scale[c + i / SETS], mins);
    }
}

#define TILE_MULTIPLY(kind, count, offset, mins)                                                             \
    static __attribute__((noinline)) void tile_multiply_##kind(vfloats *acc, const struct few_tile *tile,    \
        const struct x_block *x, int64_t n, struct ahead_to *ahead)                                          \
    {                                                                                                        \
        const struct wide_group g = wide_group(x, n, 0);                                                     \
        int64_t c = 0;                                                                                       \
        for (; c + 4 <= n; c += 4)                                                                           \
            tile_columns(acc + c * SETS, tile, &g, n, c, 4, count, offset, mins, ahead);                     \
        for (; c + 2 <= n; c += 2)                                                                           \
            tile_columns(acc + c * SETS, tile, &g, n, c, 2, count, offset, mins, ahead);                     \
        for (; c < n; c++)                                                                                   \
            tile_columns(acc + c * SETS, tile, &g, n, c, 1, count, offset, mins, ahead);                     \
    }

TILE_MULTIPLY(with_mins, 8, 0, true)
TILE_MULTIPLY(halves, 4, 32, false)
TILE_MULTIPLY(signed, 8, 128, false)

INLINE void few_k_finish(struct few *f, const int n, const struct k_head *h)
{
    const vwords mins[4] = {
        pair_of(h->mins[0], 0), pair_of(h->mins[0], 2), pair_of(h->mins[1], 0), pair_of(h->mins[1], 2)};
    few_finish(f, n, h->d, h->dmin, mins);
}

INLINE void few_q4_k(struct few *f, const int n, const uint8_t *const *rows, size_t at)
{
    const struct k_head h = k_head(rows, at);
    UNROLLED
    for (int j = 0; j < 8; j += 2) {
        vwords raw[8], v[8];
        rows_32(raw, rows, at + 16 + 16 * (size_t)j);
        for (int high = 0; high < 2; high++) {
            for (int i = 0; i < 8; i++)
                v[i] = raw[i] >> 4 * high & 0x0F0F0F0Fu;
            few_add(f, n, v, 8 * (j + high), 8, whole_byte_of(h.scales[j / 4], j % 4 + high), 0);
        }
    }
    few_k_finish(f, n, &h);
}

INLINE void few_q5_k(struct few *f, const int n, const uint8_t *const *rows, size_t at)
{
    const struct k_head h = k_head(rows, at);
    vwords fifth[8];
    rows_32(fifth, rows, at + 16);
    UNROLLED
    for (int j = 0; j < 8; j += 2) {
        vwords raw[8], v[8];
        rows_32(raw, rows, at + 48 + 16 * (size_t)j);
        for (int high = 0; high < 2; high++) {
            for (int i = 0; i < 8; i++)
                v[i] = (raw[i] >> 4 * high & 0x0F0F0F0Fu) | (fifth[i] >> (j + high) & 0x01010101u) << 4;
            few_add(f, n, v, 8 * (j + high), 8, whole_byte_of(h.scales[j / 4], j % 4 + high), 0);
        }
    }
    few_k_finish(f, n, &h);
}

INLINE void few_q6_k(struct few *f, const int n, const uint8_t *const *rows, size_t at)
{
    vwords scales[4];
    rows_16(scales, rows, at + 192);
    UNROLLED
    for (int half = 0; half < 8; half += 4) {
        vwords low[2][8], high[8], v[8];
        rows_32(high, rows, at + 128 + 8 * (size_t)half);
        for (int odd = 0; odd < 2; odd++)
            rows_32(low[odd], rows, at + 16 * (size_t)half + 32 * (size_t)odd);
        UNROLLED
        for (int j = 0; j < 4; j++) {
            for (int i = 0; i < 8; i++)
                v[i] = (low[j % 2][i] >> j / 2 * 4 & 0x0F0F0F0Fu) | (high[i] >> 2 * j & 0x03030303u) << 4;
            for (int i = 0; i < 2; i++)
                few_add(f, n, v + 4 * i, 8 * (half + j) + 4 * i, 4,
                    signed_byte_of(scales[(half + j) / 2], 2 * (j % 2) + i), 32);
        }
    }
    few_finish(f, n, rows_half(rows, at + 208), (vfloats){0}, NULL);
}

INLINE void few_iq4_xs(struct few *f, const int n, const uint8_t *const *rows, size_t at)
{
    const vwords first = rows_word(rows, at), low = rows_word(rows, at + 4), high = first >> 16;
    UNROLLED
    for (int j = 0; j < 8; j++) {
        vwords v[8];
        nibbles(rows, at + 8 + 16 * (size_t)j, v);
        picked(tensor_iq4_values, v);
        for (int i = 0; i < 8; i++)
            v[i] ^= 0x80808080u;
        const vwords six = (low >> 4 * j & 15u) | (high >> 2 * j & 3u) << 4;
        few_add(f, n, v, 8 * j, 8, (vints)six - 32, 128);
    }
    few_finish(f, n, half_low(first), (vfloats){0}, NULL);
}

/* Sums of one column or two stay in registers along a set of rows. */
#define FEW(name, bytes, kind)                                                                               \
    INLINE void few_columns_##name(vfloats *acc, const struct x_block *x, const int n,                       \
        const uint8_t *const *rows, int64_t from, int64_t to)                                                \
    {                                                                                                        \
        struct ahead_to ahead = ahead_to_of(rows, LANES, from, bytes, WIDE_VALUES / X_VALUES);               \
        for (int64_t i = from; i < to; i++, x += n * WIDE_BLOCKS) {                                          \
            struct few f = {.x = wide_group(x, n, 0), .acc = acc, .ahead = &ahead};                          \
            ahead.to += LANES * (bytes);                                                                     \
            few_##name(&f, n, rows, (size_t)i *(bytes));                                                     \
        }                                                                                                    \
    }                                                                                                        \
    static __attribute__((noinline)) void few_product_##name(float *acc, const struct x_block *x, int64_t n, \
        const uint8_t *const *rows, int64_t from, int64_t to)                                                \
    {                                                                                                        \
        for (int set = 0; set < SETS && n <= 2; set++)                                                       \
            if (n == 1)                                                                                      \
                few_columns_##name((vfloats *)acc + set, x, 1, rows + set * LANES, from, to);                \
            else                                                                                             \
                few_columns_##name((vfloats *)acc + set, x, 2, rows + set * LANES, from, to);                \
        if (n <= 2)                                                                                          \
            return;                                                                                          \
        struct few_tile tile[SETS];                                                                          \
        struct ahead_to ahead = ahead_to_of(rows, LANES * SETS, from, bytes, WIDE_VALUES / X_VALUES);        \
        for (int64_t i = from; i < to; i++, x += n * WIDE_BLOCKS) {                                          \
            ahead.to += LANES * SETS * (bytes);                                                              \
            for (int set = 0; set < SETS; set++)                                                             \
                few_##name(&(struct few){.tile = tile + set}, 0, rows + set * LANES, (size_t)i * (bytes));   \
            tile_multiply_##kind((vfloats *)acc, tile, x, n, &ahead);                                        \
        }                                                                                                    \
    }

FEW(q4_k, 144, with_mins)
FEW(q5_k, 176, with_mins)
FEW(q6_k, 210, halves)
FEW(iq4_xs, 136, signed)

#endif
