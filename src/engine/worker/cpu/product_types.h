/* The products of product.h, one step for each type: written once, compiled for each instruction set. The
 * including file defines LANES, SETS (of LANES rows each, that a tile has side by side), the vectors' parts
 * (below) and, with SIGNED_BY_OFFSET, that its dots take bytes as unsigned only, so that a signed one is 128
 * higher in a tile and sums begin with x_block's starts: then block_columns and halves_columns are its own,
 * too.
 *
 *   rows_16     16 bytes of every row: word i of row r goes to lane r of out[i]
 *   rows_word   4 bytes of every row;  rows_half: a half-precision number of every row;  rows_byte
 *   half_low    the half in the low 16 bits of each lane;  half_high: in the high ones
 *   pick        each byte of `index` (0..15) replaced by its entry of a table of 16 bytes
 *   plus, minus c + a b, c - a b, rounded once
 *   dots        sums[column][set], in each lane: of `count` words from word `first` on the byte products with
 *               the column's
 *   scaled_dots, pair_dot   with SCALES_IN_DOTS: dots of both halves times their scales;  of 16 bits
 *   together    how many columns that is best done for at once: 2 or TOGETHER
 *   peak_products   sum + the products of the bytes of w and x, for the peak
 *
 * With WIDE, the peak and the products of types that product_wide.h is about are the including file's.
 *
 * A single column's blocks go from the registers that they are unpacked in into its sum. For more a tile of
 * TILE_BLOCKS blocks is unpacked into the first-level cache and multiplied by all of them; either way a
 * column's sums are added in the order of the row. `at`: where the step's block begins in each row. Layouts
 * stand at the readers in tensor_dequant*.c. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_TYPES_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_TYPES_H

#include "engine/worker/cpu/product_block.h"
#ifdef RUNS
#include "engine/worker/cpu/product_runs.h"
#endif

/* Byte i of each lane, as a number. */
INLINE vints whole_byte_of(vwords w, int i)
{
    return (vints)(w >> 8 * i & 255u);
}

INLINE vfloats byte_of(vwords w, int i)
{
    return __builtin_convertvector(whole_byte_of(w, i), vfloats);
}

INLINE vints signed_byte_of(vwords w, int i)
{
    return (vints)(w << (24 - 8 * i)) >> 24;
}

/* ---- Blocks of 32 ---- */

INLINE void rows_32(vwords out[8], const uint8_t *const *rows, size_t at)
{
    rows_16(out, rows, at);
    rows_16(out + 4, rows, at + 16);
}

/* 16 bytes of nibbles: the low ones are values 0..15, the high ones 16..31. */
INLINE void nibbles(const uint8_t *const *rows, size_t at, vwords v[8])
{
    vwords raw[4];
    rows_16(raw, rows, at);
    for (int i = 0; i < 4; i++) {
        v[i] = raw[i] & 0x0F0F0F0Fu;
        v[i + 4] = raw[i] >> 4 & 0x0F0F0F0Fu;
    }
}

INLINE void picked(const int8_t table[16], vwords v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = pick(table, v[i]);
}

/* Bit k of `high` becomes bit 4 of value k. */
INLINE void fifth_bits(vwords high, vwords v[8])
{
    for (int i = 0; i < 8; i++) {
        vwords four = high >> 4 * i & 15u;
        v[i] |= (four * 0x00204081u & 0x01010101u) << 4; /* bit j of four at bit 8j */
    }
}

INLINE void step_q4_0(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 2, v);
    block_around(s, 0, v, RANGE_15, rows_half(rows, at), 8);
}

INLINE void step_q4_1(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 4, v);
    const vwords both = rows_word(rows, at);
    block(s, 0, v, RANGE_15, half_low(both), -half_high(both));
}

INLINE void step_q5_0(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 6, v);
    fifth_bits(rows_word(rows, at + 2), v);
    block_around(s, 0, v, RANGE_31, rows_half(rows, at), 16);
}

INLINE void step_q5_1(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 8, v);
    fifth_bits(rows_word(rows, at + 4), v);
    const vwords both = rows_word(rows, at);
    block(s, 0, v, RANGE_31, half_low(both), -half_high(both));
}

INLINE void step_q8_0(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    rows_32(v, rows, at + 2);
    block(s, 0, v, RANGE_SIGNED, rows_half(rows, at), (vfloats){0});
}

INLINE void step_iq4_nl(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 2, v);
    picked(tensor_iq4_values, v);
    block(s, 0, v, RANGE_SIGNED, rows_half(rows, at), (vfloats){0});
}

/* FP4 doubled, and 12 more, so that none is negative. */
static const int8_t fp4_offset[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/* A power of two, half of it for the doubled values. */
INLINE vfloats mxfp4_scale(const uint8_t *const *rows, size_t at)
{
    const vwords e = rows_byte(rows, at), tiny = (vwords)(e < 2);
    return (vfloats)((tiny & (0x00200000u << (e & 1u))) | (~tiny & (e - 1u) << 23));
}

INLINE void step_mxfp4(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords v[8];
    nibbles(rows, at + 1, v);
    picked(fp4_offset, v);
    block_around(s, 0, v, RANGE_31, mxfp4_scale(rows, at), 12);
}

/* ---- Blocks of 256 ---- */

struct k_head {
    vfloats d, dmin;
    vwords scales[2], mins[2]; /* eight bytes each, of 6 bits */
};

/* d f16 | dmin f16 | scales[12], as in Q4_K and Q5_K */
INLINE struct k_head k_head(const uint8_t *const *rows, size_t at)
{
    vwords h[4];
    rows_16(h, rows, at);
    return (struct k_head){.d = half_low(h[0]),
        .dmin = half_high(h[0]),
        .scales = {h[1] & 0x3F3F3F3Fu, (h[3] & 0x0F0F0F0Fu) | (h[1] >> 6 & 0x03030303u) << 4},
        .mins = {h[2] & 0x3F3F3F3Fu, (h[3] >> 4 & 0x0F0F0F0Fu) | (h[2] >> 6 & 0x03030303u) << 4}};
}

/* Byte i of each lane in its low half, byte i + 1 in its high one. */
INLINE vwords pair_of(vwords w, const int i)
{
    return (w >> 8 * i & 255u) | (w >> 8 * (i + 1) & 255u) << 16;
}

#ifdef RUNS
/* Bits that bytes of 4, or 5, stand higher. */
INLINE int k_up(const enum range range)
{
    return range == RANGE_15 ? 4 : 3;
}

INLINE void k_begin(const struct step *s, const struct k_head *h, const enum range range)
{
    const vfloats d = h->d * splat(1 / (float)(1 << k_up(range)));
    for (int j = 0; j < 8; j++)
        s->run->scale[j] = byte_of(h->scales[j / 4], j % 4) * d;
    for (int i = 0; i < 4; i++)
        s->run->mins[i] = pair_of(h->mins[i / 2], i % 2 * 2);
    s->run->dmin = h->dmin;
    run_begin(s, K_RUNS);
}

INLINE void k_block(const struct step *s, int j, const vwords v[8], enum range range, const struct k_head *h)
{
    (void)range, (void)h;
    run_block(s, j, v, K_RUNS);
}
#else
INLINE int k_up(const enum range range)
{
    (void)range;
    return 0;
}

INLINE void k_begin(const struct step *s, const struct k_head *h, const enum range range)
{
    (void)s, (void)h, (void)range;
}

INLINE void k_block(const struct step *s, int j, const vwords v[8], enum range range, const struct k_head *h)
{
    vfloats scale = byte_of(h->scales[j / 4], j % 4) * h->d, min = byte_of(h->mins[j / 4], j % 4) * h->dmin;
    block(s, j, v, range, scale, min);
}
#endif

/* Up by so many bits, or down. */
INLINE vwords shifted(vwords w, const int by)
{
    return by > 0 ? w << by : w >> -by;
}

INLINE void step_q4_k(const struct step *s, const uint8_t *const *rows, size_t at)
{
    const int up = k_up(RANGE_15);
    struct k_head h = k_head(rows, at);
    k_begin(s, &h, RANGE_15);
    UNROLLED
    for (int j = 0; j < 8; j += 2) {
        vwords raw[8], v[8];
        rows_32(raw, rows, at + 16 + 16 * (size_t)j);
        for (int odd = 0; odd < 2; odd++) {
            for (int i = 0; i < 8; i++)
                v[i] = shifted(raw[i], up - 4 * odd) & 0x0F0F0F0Fu << up;
            k_block(s, j + odd, v, RANGE_15, &h);
        }
    }
}

INLINE void step_q5_k(const struct step *s, const uint8_t *const *rows, size_t at)
{
    const int up = k_up(RANGE_31);
    struct k_head h = k_head(rows, at);
    vwords high[8];
    k_begin(s, &h, RANGE_31);
    rows_32(high, rows, at + 16);
    UNROLLED
    for (int j = 0; j < 8; j += 2) {
        vwords raw[8], v[8];
        rows_32(raw, rows, at + 48 + 16 * (size_t)j);
        for (int odd = 0; odd < 2; odd++) {
            for (int i = 0; i < 8; i++)
                v[i] = (shifted(raw[i], up - 4 * odd) & 0x0F0F0F0Fu << up) |
                       (shifted(high[i], up + 4 - j - odd) & 0x10101010u << up);
            k_block(s, j + odd, v, RANGE_31, &h);
        }
    }
}

/* Run j of a block: its low bits are a nibble of `low`, its high ones two bits of `high`. */
INLINE void q6_block(
    const struct step *s, int j, const vwords low[8], const vwords high[8], const vwords scales[4], vfloats d)
{
    vwords v[8];
    for (int i = 0; i < 8; i++)
        v[i] = (low[i] >> j % 4 / 2 * 4 & 0x0F0F0F0Fu) | (high[i] >> j % 4 * 2 & 0x03030303u) << 4;
    const vints scale[2] = {
        signed_byte_of(scales[j / 2], 2 * (j % 2)), signed_byte_of(scales[j / 2], 2 * (j % 2) + 1)};
    halves_around(s, j, v, RANGE_63, scale, d, 2);
}

INLINE void step_q6_k(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords scales[4];
    rows_16(scales, rows, at + 192);
    vfloats d = rows_half(rows, at + 208);
    UNROLLED
    for (int half = 0; half < 8; half += 4) {
        vwords low[2][8], high[8];
        rows_32(high, rows, at + 128 + 8 * (size_t)half);
        for (int odd = 0; odd < 2; odd++)
            rows_32(low[odd], rows, at + 16 * (size_t)half + 32 * (size_t)odd);
        UNROLLED
        for (int j = half; j < half + 4; j++)
            q6_block(s, j, low[j % 2], high, scales, d);
    }
}

INLINE void q2_block(const struct step *s, int j, const vwords raw[8], vwords packed, vfloats d, vfloats dmin)
{
    vwords v[8];
    for (int i = 0; i < 8; i++)
        v[i] = raw[i] >> j % 4 * 2 & 0x03030303u;
    vwords scales = packed & 0x0F0F0F0Fu, mins = packed >> 4 & 0x0F0F0F0Fu;
    const int i = 2 * (j % 2);
    halves(s, j, v, RANGE_15,
        &(struct half_scales){{whole_byte_of(scales, i), whole_byte_of(scales, i + 1)},
            {whole_byte_of(mins, i), whole_byte_of(mins, i + 1)}, d, dmin, 6});
}

INLINE void step_q2_k(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords packed[4], raw[8], both = rows_word(rows, at + 80);
    rows_16(packed, rows, at);
    UNROLLED
    for (int half = 0; half < 8; half += 4) {
        rows_32(raw, rows, at + 16 + 8 * (size_t)half);
        UNROLLED
        for (int j = half; j < half + 4; j++)
            q2_block(s, j, raw, packed[j / 2], half_low(both), half_high(both));
    }
}

/* Scale n of sixteen has its low bits in a nibble of byte n % 8, its high ones in bits 2(n/4) of byte 8 + n
 * % 4. */
INLINE void q3_block(
    const struct step *s, int j, const vwords raw[8], const vwords high[8], const vwords packed[3], vfloats d)
{
    const int n = 2 * j;
    vwords v[8];
    for (int i = 0; i < 8; i++)
        v[i] = (raw[i] >> j % 4 * 2 & 0x03030303u) | (high[i] >> j & 0x01010101u) << 2;
    vwords six = (packed[n / 4 % 2] >> n / 8 * 4 & 0x0F0F0F0Fu) | (packed[2] >> n / 4 * 2 & 0x03030303u) << 4;
    const vints scale[2] = {whole_byte_of(six, n % 4) - 32, whole_byte_of(six, n % 4 + 1) - 32};
    halves_around(s, j, v, RANGE_15, scale, d, 5);
}

INLINE void step_q3_k(const struct step *s, const uint8_t *const *rows, size_t at)
{
    vwords packed[3] = {rows_word(rows, at + 96), rows_word(rows, at + 100), rows_word(rows, at + 104)};
    vwords high[8], raw[8];
    rows_32(high, rows, at);
    UNROLLED
    for (int half = 0; half < 8; half += 4) {
        rows_32(raw, rows, at + 32 + 8 * (size_t)half);
        UNROLLED
        for (int j = half; j < half + 4; j++)
            q3_block(s, j, raw, high, packed, rows_half(rows, at + 108));
    }
}

/* Of IQ4_XS: six bits of each scale, 32 too high. */
struct iq4_head {
    vwords low, high;
    vfloats d;
};

INLINE vfloats iq4_scale(const struct iq4_head *h, int j)
{
    const vwords six = (h->low >> 4 * j & 15u) | (h->high >> 2 * j & 3u) << 4;
    return (__builtin_convertvector((vints)six, vfloats) - 32.0f) * h->d;
}

#ifdef RUNS
INLINE void iq4_begin(const struct step *s, const struct iq4_head *h)
{
    for (int j = 0; j < 8; j++)
        s->run->scale[j] = iq4_scale(h, j);
    run_begin(s, IQ4_RUNS);
}

/* tensor_iq4_values, 128 higher. */
static const int8_t iq4_offset[16] = {
    1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15};

INLINE void iq4_block(const struct step *s, int j, vwords v[8], const struct iq4_head *h)
{
    (void)h;
    picked(iq4_offset, v);
    run_block(s, j, v, IQ4_RUNS);
}
#else
INLINE void iq4_begin(const struct step *s, const struct iq4_head *h)
{
    (void)s, (void)h;
}

INLINE void iq4_block(const struct step *s, int j, vwords v[8], const struct iq4_head *h)
{
    picked(tensor_iq4_values, v);
    block(s, j, v, RANGE_SIGNED, iq4_scale(h, j), (vfloats){0});
}
#endif

INLINE void step_iq4_xs(const struct step *s, const uint8_t *const *rows, size_t at)
{
    const vwords first = rows_word(rows, at);
    const struct iq4_head h = {rows_word(rows, at + 4), first >> 16, half_low(first)};
    iq4_begin(s, &h);
    UNROLLED
    for (int j = 0; j < 8; j++) {
        vwords v[8];
        nibbles(rows, at + 8 + 16 * (size_t)j, v);
        iq4_block(s, j, v, &h);
    }
}

/* ---- A row ---- */

enum { MEMORY_BOUND_COLUMNS = 32, TILE_BLOCKS = 8 };

INLINE uintptr_t behind(const uint8_t *const *rows, int n_rows)
{
    return (uintptr_t)rows[n_rows - 1] + ((uintptr_t)rows[1] - (uintptr_t)rows[0]);
}

/* Few columns wait on memory: what follows n_rows of these in memory, from the step-th block of `bytes` on,
 * of `blocks` blocks of 32 values. The hardware's own prefetching does not go from these rows to the next. */
INLINE struct ahead ahead_of(
    const uint8_t *const *rows, int n_rows, int64_t step, size_t bytes, size_t blocks)
{
    const size_t all = (size_t)n_rows * bytes, share = (all + blocks - 1) / blocks;
    return (struct ahead){behind(rows, n_rows) + (size_t)step * all, share, share, 1};
}

/* Many columns take a part of each row at a time: the same `bytes` from byte `at` on of the rows that follow,
 * over a tile's blocks. */
INLINE struct ahead ahead_in_rows(const uint8_t *const *rows, int n_rows, size_t at, size_t bytes)
{
    return (struct ahead){
        behind(rows, n_rows) + at, bytes, (uintptr_t)rows[1] - (uintptr_t)rows[0], n_rows / TILE_BLOCKS};
}

/* A single column's sum stays in a register from block to block, and a set of rows is read to its end. */
#define PRODUCT(name, values, bytes, kind)                                                                   \
    static void single_##name(                                                                               \
        vfloats *acc, const struct x_block *x, const uint8_t *const *rows, int64_t from, int64_t to)         \
    {                                                                                                        \
        vfloats one = *acc;                                                                                  \
        struct ahead ahead = ahead_of(rows, LANES, from, bytes, (values) / X_VALUES);                        \
        for (int64_t i = from; i < to; i++, x += (values) / X_VALUES)                                        \
            step_##name(&(struct step){.one = &one, .x = x, .ahead = &ahead}, rows, (size_t)i *(bytes));     \
        *acc = one;                                                                                          \
    }                                                                                                        \
    static void product_##name(float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows,   \
        int64_t from, int64_t count)                                                                         \
    {                                                                                                        \
        enum { BLOCKS = (values) / X_VALUES };                                                               \
        const int64_t to = (from + count) / BLOCKS;                                                          \
        struct unpacked tile[TILE_BLOCKS * SETS];                                                            \
        struct ahead ahead = ahead_of(rows, LANES * SETS, from / BLOCKS, bytes, BLOCKS);                     \
        int64_t filled = 0;                                                                                  \
        for (int set = 0; set < SETS && n == 1; set++)                                                       \
            single_##name((vfloats *)acc + set, x, rows + set * LANES, from / BLOCKS, to);                   \
        for (int64_t i = from / BLOCKS; i < to && n != 1; i++) {                                             \
            if (n > MEMORY_BOUND_COLUMNS && filled == 0)                                                     \
                ahead =                                                                                      \
                    ahead_in_rows(rows, LANES * SETS, (size_t)i * (bytes), TILE_BLOCKS / BLOCKS * (bytes));  \
            for (int set = 0; set < SETS; set++)                                                             \
                step_##name(&(struct step){.tile = tile + filled * SETS + set}, rows + set * LANES,          \
                    (size_t)i * (bytes));                                                                    \
            filled += BLOCKS;                                                                                \
            if (filled < TILE_BLOCKS && i + 1 < to)                                                          \
                continue;                                                                                    \
            multiply_##kind((vfloats *)acc, x, n, tile, filled, &ahead);                                     \
            x += filled * n;                                                                                 \
            filled = 0;                                                                                      \
        }                                                                                                    \
    }

PRODUCT(q4_0, 32, 18, block_around_15)
PRODUCT(q4_1, 32, 20, block_15)
PRODUCT(q5_0, 32, 22, block_around_31)
PRODUCT(q5_1, 32, 24, block_31)
PRODUCT(q8_0, 32, 34, block_signed)
PRODUCT(iq4_nl, 32, 18, block_signed)
PRODUCT(mxfp4, 32, 17, block_around_31)
PRODUCT(q2_k, 256, 84, halves_15)
PRODUCT(q3_k, 256, 110, halves_around_15)
#if !defined(WIDE)
PRODUCT(q6_k, 256, 210, halves_around_63)
#if defined(RUNS)
RUN(q4_k, 144, k_runs)
RUN(q5_k, 176, k_runs)
RUN(iq4_xs, 136, iq4_runs)
#else
PRODUCT(q4_k, 256, 144, block_15)
PRODUCT(q5_k, 256, 176, block_31)
PRODUCT(iq4_xs, 256, 136, block_signed)
#endif

#define PRODUCTS                                                                                             \
    {                                                                                                        \
        [TENSOR_Q4_0] = product_q4_0, [TENSOR_Q4_1] = product_q4_1, [TENSOR_Q5_0] = product_q5_0,            \
        [TENSOR_Q5_1] = product_q5_1, [TENSOR_Q8_0] = product_q8_0, [TENSOR_IQ4_NL] = product_iq4_nl,        \
        [TENSOR_MXFP4] = product_mxfp4, [TENSOR_Q2_K] = product_q2_k, [TENSOR_Q3_K] = product_q3_k,          \
        [TENSOR_Q4_K] = product_q4_k, [TENSOR_Q5_K] = product_q5_k, [TENSOR_Q6_K] = product_q6_k,            \
        [TENSOR_IQ4_XS] = product_iq4_xs                                                                     \
    }

/* ---- The peak ---- */

static int64_t peak(int64_t rounds)
{
    enum { SUMS = 12 }; /* chains enough to hide an addition's latency */
    vints sums[SUMS] = {{0}};
    vwords w = {0}, x = {0};
    OPAQUE(x);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < SUMS; i++) {
            OPAQUE(w);
            sums[i] = peak_products(sums[i], w, x);
        }
    for (int i = 0; i < SUMS; i++)
        OPAQUE(sums[i]);
    return rounds * SUMS * LANES * 4 * 2;
}
#endif

#endif
