/* What product_types.h does with a block that is unpacked: its products with the columns. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_BLOCK_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_BLOCK_H

#include "engine/worker/cpu/product_quantize.h"

/* Memory that will be wanted next: for each block of 32 values a few runs of bytes. It is asked for as the
 * blocks go by: of more lines at once than a core can wait for (24 on Zen 3) the last would hold up whatever
 * else it reads. */
struct ahead {
    uintptr_t at;
    size_t bytes, apart;
    int runs;
};

INLINE void ask(struct ahead *a)
{
    for (int i = 0; i < a->runs; i++, a->at += a->apart)
        for (size_t k = 0; k < a->bytes; k += 64)
            __builtin_prefetch((const void *)(a->at + k), 0, 2);
}

/* Where a step's blocks go: of one column straight into its sum, `one`, from the first block of it, `x`; else
 * into a tile, block by block, sets of rows side by side. */
struct step {
    vfloats *one;
    const struct x_block *x;
    struct ahead *ahead; /* of one column; else a tile's products ask */
    struct unpacked *tile;
    struct run *run; /* of a type in runs (product_runs.h), in place of a tile */
};

#if !SIGNED_BY_OFFSET
/* acc[column][set] += blocks of `sets` sets by n columns, one scale for all 32 values. */
INLINE void block_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints sums[TOGETHER * SETS];
    dots(sums, u, sets, x, 0, 8, n, range);
    for (int c = 0; c < n; c++, acc += sets) {
        const vfloats x_scale = splat(x[c].scale), x_sum = splat(x[c].sum);
        for (int i = 0; i < sets; i++) {
            vfloats sum = __builtin_convertvector(sums[c * sets + i], vfloats) * u[i].scale[0];
            sum = plus(sum, x_scale, acc[i]);
            acc[i] = range == RANGE_SIGNED ? sum : minus(u[i].min[0], x_sum, sum);
        }
    }
}

/* The first and the last sixteen values with a scale and a minimum each. */
#ifdef SCALES_IN_DOTS
INLINE void halves_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints sums[TOGETHER * SETS];
    scaled_dots(sums, u, sets, x, n, range);
    for (int c = 0; c < n; c++, acc += sets) {
        const vfloats x_scale = splat(x[c].scale);
        for (int i = 0; i < sets; i++) {
            const vfloats min =
                __builtin_convertvector(pair_dot(u[i].mins, x[c].q_sums), vfloats) * u[i].min[0];
            const vfloats sum = __builtin_convertvector(sums[c * sets + i], vfloats);
            acc[i] = plus(plus(sum, u[i].scale[0], -min), x_scale, acc[i]);
        }
    }
}
#else
INLINE void halves_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints low[TOGETHER * SETS], high[TOGETHER * SETS];
    dots(low, u, sets, x, 0, 4, n, range);
    dots(high, u, sets, x, 4, 4, n, range);
    for (int c = 0; c < n; c++, acc += sets) {
        const vfloats x_scale = splat(x[c].scale), x_low = splat(x[c].sum_low), x_high = splat(x[c].sum_high);
        for (int i = 0; i < sets; i++) {
            vfloats sum = __builtin_convertvector(low[c * sets + i], vfloats) * u[i].scale[0];
            sum = plus(__builtin_convertvector(high[c * sets + i], vfloats), u[i].scale[1], sum);
            sum = plus(sum, x_scale, acc[i]);
            sum = minus(u[i].min[0], x_low, sum);
            acc[i] = minus(u[i].min[1], x_high, sum);
        }
    }
}
#endif
#endif

/* 32 values of each row with one scale: value = scale q - min; signed ones have no minimum. */
INLINE void block(
    const struct step *s, int64_t b, const vwords v[8], const enum range range, vfloats scale, vfloats min)
{
    const bool by_offset = SIGNED_BY_OFFSET && range == RANGE_SIGNED;
    struct unpacked own, *u = s->one ? &own : s->tile + b * SETS;
    for (int i = 0; i < 8; i++)
        u->v[i] = v[i] ^ (by_offset ? 0x80808080u : 0);
    u->scale[0] = scale;
    u->min[0] = min;
#if SIGNED_BY_OFFSET
    u->zero = scale * -splat(tensor_float_from_bits(SUM_ZERO));
#endif
    if (!s->one)
        return;
    ask(s->ahead);
    block_columns(s->one, s->x + b, 1, u, 1, by_offset ? RANGE_255 : range);
}

/* The same of bytes that are `offset` too high: value = scale (q - offset). */
INLINE void block_around(const struct step *s, int64_t b, const vwords v[8], const enum range range,
    vfloats scale, const uint8_t offset)
{
    if (!SIGNED_BY_OFFSET) {
        block(s, b, v, range, scale, scale * (float)offset);
        return;
    }
    vwords w[8];
    for (int i = 0; i < 8; i++)
        w[i] = v[i] + 0x01010101u * (128u - offset);
    block(s, b, w, RANGE_255, scale, (vfloats){0});
}

/* Of the first and the last sixteen values: scales, which d multiplies, and minima, which dmin does. The
 * upper `free` bits of the weight's bytes are none. */
struct half_scales {
    vints scale[2], min[2];
    vfloats d, dmin;
    int free;
};

INLINE void halves(
    const struct step *s, int64_t b, const vwords v[8], const enum range range, const struct half_scales *h)
{
    struct unpacked own, *u = s->one ? &own : s->tile + b * SETS;
#ifdef SCALES_IN_DOTS
    for (int i = 0; i < 8; i++)
        u->v[i] = v[i];
    for (int i = 0; i < 2; i++)
        u->scales[i] = ((vwords)h->scale[i] & 0xFFFFu) | (vwords)h->scale[i] << 16;
    u->mins = ((vwords)h->min[0] & 0xFFFFu) | (vwords)h->min[1] << 16;
    u->scale[0] = h->d;
    u->min[0] = h->dmin;
#else
    /* With SIGNED_BY_OFFSET bytes are as large as they can be, beside SUM_ZERO. */
    const int up = SIGNED_BY_OFFSET ? h->free : 0;
    const vfloats d = h->d * splat(1 / (float)(1 << up));
    for (int i = 0; i < 8; i++)
        u->v[i] = v[i] << up;
    for (int i = 0; i < 2; i++) {
        u->scale[i] = __builtin_convertvector(h->scale[i], vfloats) * d;
        u->min[i] = __builtin_convertvector(h->min[i], vfloats) * h->dmin;
    }
#if SIGNED_BY_OFFSET
    u->zero = (u->scale[0] + u->scale[1]) * -splat(tensor_float_from_bits(SUM_ZERO));
#endif
#endif
    if (!s->one)
        return;
    ask(s->ahead);
    halves_columns(s->one, s->x + b, 1, u, 1, range);
}

/* Bytes whose lower bits, all but `free`, are half of their range too high. */
INLINE void halves_around(const struct step *s, int64_t b, const vwords v[8], const enum range range,
    const vints scale[2], vfloats d, const int free)
{
    const int offset = 128 >> free;
    halves(s, b, v, SIGNED_BY_OFFSET ? RANGE_255 : range,
        &(struct half_scales){{scale[0], scale[1]}, {scale[0] * offset, scale[1] * offset}, d, d, free});
}

#ifdef RUNS
/* Columns whose sums are in registers together, along a tile; of fewer than GROUPED_LEAST the groups that are
 * not full cost more than that saves. */
enum { GROUP_COLUMNS = 6, GROUPED_LEAST = 33 };
_Static_assert((int)GROUP_COLUMNS <= (int)TOGETHER, "block_columns has no room for so many sums");

/* Memory is asked for every few steps, so that all columns' share in it. */
struct pace {
    struct ahead *ahead;
    int64_t every, left;
};

INLINE struct pace pace_of(struct ahead *ahead, int64_t n)
{
    return (struct pace){.ahead = ahead, .every = (n + GROUP_COLUMNS - 1) / GROUP_COLUMNS};
}

INLINE void pace_ask(struct pace *p)
{
    if (--p->left > 0)
        return;
    ask(p->ahead);
    p->left = p->every;
}

/* one(acc, x, n, columns of a group, ...) for groups of n > 1 columns. (Groups of one or two are slow alone.) */
#define IN_GROUPS(one, acc, x, n, ...)                                                                       \
    do {                                                                                                     \
        int64_t at = 0;                                                                                      \
        for (; n - at > 10 || n - at == 9 || n - at == 6; at += 6)                                           \
            one(acc + at * SETS, x + at, n, 6, __VA_ARGS__);                                                 \
        for (; n - at == 10 || n - at == 5; at += 5)                                                         \
            one(acc + at * SETS, x + at, n, 5, __VA_ARGS__);                                                 \
        for (; n - at >= 4; at += 4)                                                                         \
            one(acc + at * SETS, x + at, n, 4, __VA_ARGS__);                                                 \
        if (n - at == 3)                                                                                     \
            one(acc + at * SETS, x + at, n, 3, __VA_ARGS__);                                                 \
        else if (n - at == 2)                                                                                \
            one(acc + at * SETS, x + at, n, 2, __VA_ARGS__);                                                 \
    } while (0)
#endif

/* Columns whose sums stay in the first-level cache while a tile's blocks go by. */
enum { COLUMNS_HELD = 128 };

/* A tile of `blocks` blocks by n columns. (Inlined into each type, what is in registers would be spilled.) */
#define MULTIPLY(name, columns, range)                                                                       \
    static __attribute__((noinline)) void multiply_##name(vfloats *acc, const struct x_block *panel,         \
        int64_t n, const struct unpacked *tile, int64_t blocks, struct ahead *ahead)                         \
    {                                                                                                        \
        for (int64_t first = 0, to; first < n; first = to) {                                                 \
            const struct x_block *x = panel;                                                                 \
            const struct unpacked *u = tile;                                                                 \
            to = first + COLUMNS_HELD < n ? first + COLUMNS_HELD : n;                                        \
            for (int64_t b = 0; b < blocks; b++, u += SETS, x += n) {                                        \
                int64_t c = first;                                                                           \
                if (first == 0)                                                                              \
                    ask(ahead);                                                                              \
                for (; c + TOGETHER <= to && together(range) == TOGETHER; c += TOGETHER)                     \
                    columns(acc + c * SETS, x + c, TOGETHER, u, SETS, range);                                \
                for (; c + 4 <= to && TOGETHER > 4; c += 4)                                                  \
                    columns(acc + c * SETS, x + c, 4, u, SETS, range);                                       \
                for (; c + 2 <= to; c += 2)                                                                  \
                    columns(acc + c * SETS, x + c, 2, u, SETS, range);                                       \
                for (; c < to; c++)                                                                          \
                    columns(acc + c * SETS, x + c, 1, u, SETS, range);                                       \
            }                                                                                                \
        }                                                                                                    \
    }

MULTIPLY(halves_15, halves_columns, RANGE_15)
#ifdef RUNS
/* acc[column][set] += a tile of blocks, a scale for each, by `columns` columns of n. */
INLINE void tile_columns(vfloats *acc, const struct x_block *x, int64_t n, const int columns,
    const struct unpacked *u, int64_t blocks, const enum range range, struct pace *pace)
{
    vfloats all[GROUP_COLUMNS * SETS];
    for (int i = 0; i < columns * SETS; i++)
        all[i] = acc[i];
    ROLLED
    for (int64_t b = 0; b < blocks; b++, u += SETS, x += n) {
        pace_ask(pace);
        block_columns(all, x, columns, u, SETS, range);
    }
    for (int i = 0; i < columns * SETS; i++)
        acc[i] = all[i];
}

/* The same sums, in groups of columns along the tile where there are many. */
#define TILE_MULTIPLY(name, range)                                                                           \
    static __attribute__((noinline)) void multiply_##name(vfloats *acc, const struct x_block *x, int64_t n,  \
        const struct unpacked *tile, int64_t blocks, struct ahead *ahead)                                    \
    {                                                                                                        \
        if (n < GROUPED_LEAST) {                                                                             \
            multiply_few_##name(acc, x, n, tile, blocks, ahead);                                             \
            return;                                                                                          \
        }                                                                                                    \
        struct pace pace = pace_of(ahead, n);                                                                \
        IN_GROUPS(tile_columns, acc, x, n, tile, blocks, range, &pace);                                      \
    }

MULTIPLY(few_block_15, block_columns, RANGE_15)
MULTIPLY(few_block_31, block_columns, RANGE_31)
MULTIPLY(few_block_255, block_columns, RANGE_255)
TILE_MULTIPLY(block_15, RANGE_15)
TILE_MULTIPLY(block_31, RANGE_31)
TILE_MULTIPLY(block_255, RANGE_255)
#else
MULTIPLY(block_15, block_columns, RANGE_15)
MULTIPLY(block_31, block_columns, RANGE_31)
#endif
#if SIGNED_BY_OFFSET
#ifndef RUNS
MULTIPLY(block_255, block_columns, RANGE_255)
#endif
MULTIPLY(halves_255, halves_columns, RANGE_255)
#define multiply_block_signed multiply_block_255
#define multiply_block_around_15 multiply_block_255
#define multiply_block_around_31 multiply_block_255
#define multiply_halves_around_15 multiply_halves_255
#define multiply_halves_around_63 multiply_halves_255
#else
MULTIPLY(block_signed, block_columns, RANGE_SIGNED)
MULTIPLY(halves_63, halves_columns, RANGE_63)
#define multiply_block_around_15 multiply_block_15
#define multiply_block_around_31 multiply_block_31
#define multiply_halves_around_15 multiply_halves_15
#define multiply_halves_around_63 multiply_halves_63
#endif

#endif
