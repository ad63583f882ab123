/* Types of blocks of 256 values, where a column's 256 values have one scale (PANEL_RUNS): a block's sum is
 * made before the column's scale comes to it, so that of 32 values' operations one is left beside their
 * products. What the sums began with (SUM_ZERO) is taken out every few of them. As much as that is, so much
 * is rounded away, which has to be small beside them: so bytes stand shifted to fill their eight bits. For
 * product_vnni.h's vectors, with
 *
 *   pairs_add   sum + the products of pairs of 16 bits */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_RUNS_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_RUNS_H

#include "engine/worker/cpu/product_block.h"

enum { RUN_BLOCKS = 8, RUN_VALUES = RUN_BLOCKS * X_VALUES };

/* Q4_K and Q5_K have minima; IQ4_XS has none, scales of either sign, and bytes that are 128 too high. */
enum run_kind { K_RUNS, IQ4_RUNS };

/* As SUM_ZERO, 1.5 * 2^23, for sums within 2^22: eight minima of 6 bits by those of 32 values. */
enum { MINS_ZERO = 0x4B400000 };

/* A block of LANES rows. mins: of two times 32 values each, to be multiplied by dmin. zero: what takes out
 * that the next few sums began with SUM_ZERO, or MINS_ZERO. */
struct run {
    vwords v[RUN_BLOCKS][8];
    vfloats scale[RUN_BLOCKS];
    vwords mins[RUN_BLOCKS / 2];
    vfloats dmin, zero[RUN_BLOCKS / 2];
};

/* How many sums go to a `zero`: as few as the bound on what is rounded away asks for. */
INLINE int run_some(const enum run_kind kind)
{
    return kind == K_RUNS ? 4 : 2;
}

INLINE enum range run_range(const enum run_kind kind)
{
    return kind == K_RUNS ? RANGE_15 : RANGE_255;
}

/* Takes what columns' minima are off their sums of a block. */
INLINE void run_mins(vfloats *all, const struct x_block *x, int64_t n, const int columns,
    const struct run *runs, const int sets)
{
    vints sums[GROUP_COLUMNS * SETS];
    for (int i = 0; i < columns * sets; i++)
        sums[i] = MINS_ZERO - (vints){0};
    UNROLLED
    for (int i = 0; i < RUN_BLOCKS / 2; i++)
        UNROLLED
    for (int k = 0; k < columns * sets; k++)
        sums[k] = pairs_add(sums[k], runs[k % sets].mins[i], x[2 * i * n + k / sets].q_sums);
    UNROLLED
    for (int k = 0; k < columns * sets; k++)
        all[k] = minus((vfloats)sums[k], runs[k % sets].dmin, all[k]);
}

/* Once the run's scales, and minima, are known. */
INLINE void run_begin(const struct step *s, const enum run_kind kind)
{
    struct run *r = s->run;
    for (int j = 0; j < RUN_BLOCKS; j += run_some(kind)) {
        vfloats scales = r->scale[j];
        for (int i = 1; i < run_some(kind); i++)
            scales += r->scale[j + i];
        r->zero[j / run_some(kind)] = scales * -splat(tensor_float_from_bits(SUM_ZERO));
    }
    if (kind == K_RUNS)
        r->zero[0] += r->dmin * splat(tensor_float_from_bits(MINS_ZERO));
    if (s->one)
        *s->one = r->zero[0];
}

/* 32 values. */
INLINE void run_block(const struct step *s, int j, const vwords v[8], const enum run_kind kind)
{
    if (!s->one) {
        for (int i = 0; i < 8; i++)
            s->run->v[j][i] = v[i];
        return;
    }
    vints sum = begun(s->x + j, -1, run_range(kind));
    ask(s->ahead);
    for (int i = 0; i < 8; i++) {
        sum = add_products(sum, v[i], s->x[j].q + 4 * i);
        OPAQUE(sum);
    }
    if (j > 0 && j % run_some(kind) == 0)
        *s->one += s->run->zero[j / run_some(kind)];
    *s->one = plus((vfloats)sum, s->run->scale[j], *s->one);
    if (j == RUN_BLOCKS - 1 && kind == K_RUNS)
        run_mins(s->one, s->x, 1, 1, s->run, 1);
}

/* acc[column][set] += SETS sets of a block by `columns` columns of n. */
INLINE void runs_columns(vfloats *acc, const struct x_block *x, int64_t n, const int columns,
    const struct run *runs, const enum run_kind kind, struct pace *pace)
{
    vfloats all[GROUP_COLUMNS * SETS];
    for (int i = 0; i < columns * SETS; i++)
        all[i] = runs[i % SETS].zero[0];
    ROLLED
    for (int b = 0; b < RUN_BLOCKS; b++) {
        const struct x_block *y = x + b * n;
        vints sums[GROUP_COLUMNS * SETS];
        vfloats scale[SETS];
        pace_ask(pace);
        for (int i = 0; i < columns * SETS; i++)
            sums[i] = begun(&y[i / SETS], -1, run_range(kind));
        UNROLLED
        for (int i = 0; i < 8; i++)
            UNROLLED
        for (int c = 0; c < columns; c++)
            UNROLLED
        for (int s = 0; s < SETS; s++) {
            vints *sum = &sums[c * SETS + s];
            *sum = add_products(*sum, runs[s].v[b][i], y[c].q + 4 * i);
            OPAQUE(*sum);
        }
        for (int s = 0; s < SETS; s++)
            scale[s] = kept(runs[s].scale[b]);
        for (int i = 0; i < columns * SETS && b > 0 && b % run_some(kind) == 0; i++)
            all[i] += runs[i % SETS].zero[b / run_some(kind)];
        for (int i = 0; i < columns * SETS; i++)
            all[i] = plus((vfloats)sums[i], scale[i % SETS], all[i]);
    }
    if (kind == K_RUNS)
        run_mins(all, x, n, columns, runs, SETS);
    for (int i = 0; i < columns * SETS; i++)
        acc[i] = plus(all[i], splat(x[i / SETS].scale), acc[i]);
}

#define RUN_MULTIPLY(name, kind)                                                                             \
    static __attribute__((noinline)) void multiply_##name(                                                   \
        vfloats *acc, const struct x_block *x, int64_t n, const struct run *runs, struct ahead *ahead)       \
    {                                                                                                        \
        struct pace pace = pace_of(ahead, n);                                                                \
        IN_GROUPS(runs_columns, acc, x, n, runs, kind, &pace);                                               \
    }

RUN_MULTIPLY(k_runs, K_RUNS)
RUN_MULTIPLY(iq4_runs, IQ4_RUNS)

static void runs_quantize(
    struct x_block *panel, int64_t n, int64_t column, const float *values, int64_t width)
{
    for (struct x_block *x = panel + column; width > 0; width -= RUN_VALUES, values += RUN_VALUES) {
        const int32_t most = magnitude_most(values, RUN_VALUES);
        for (int b = 0; b < RUN_BLOCKS; b += 2, x += 2 * n) {
            quantize_block(x, values + b * X_VALUES, most);
            quantize_block(x + n, values + (b + 1) * X_VALUES, most);
            x->q_sums[0] = (int16_t)(x->q_sums[0] + x->q_sums[1]);
            x->q_sums[1] = (int16_t)(x[n].q_sums[0] + x[n].q_sums[1]);
        }
    }
}

#define RUN(name, size, kind)                                                                                \
    static void single_##name(                                                                               \
        vfloats *acc, const struct x_block *x, const uint8_t *const *rows, int64_t from, int64_t to)         \
    {                                                                                                        \
        vfloats sum = *acc;                                                                                  \
        struct ahead ahead = ahead_of(rows, LANES, from, size, RUN_BLOCKS);                                  \
        for (int64_t i = from; i < to; i++, x += RUN_BLOCKS) {                                               \
            struct run run;                                                                                  \
            vfloats one;                                                                                     \
            step_##name(                                                                                     \
                &(struct step){.one = &one, .x = x, .ahead = &ahead, .run = &run}, rows, (size_t)i *(size)); \
            sum = plus(one, splat(x->scale), sum);                                                           \
        }                                                                                                    \
        *acc = sum;                                                                                          \
    }                                                                                                        \
    static void product_##name(float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows,   \
        int64_t from, int64_t count)                                                                         \
    {                                                                                                        \
        const int64_t to = (from + count) / RUN_BLOCKS;                                                      \
        struct run runs[SETS];                                                                               \
        struct ahead ahead = ahead_of(rows, LANES * SETS, from / RUN_BLOCKS, size, RUN_BLOCKS);              \
        for (int set = 0; set < SETS && n == 1; set++)                                                       \
            single_##name((vfloats *)acc + set, x, rows + set * LANES, from / RUN_BLOCKS, to);               \
        for (int64_t i = from / RUN_BLOCKS; i < to && n != 1; i++, x += RUN_BLOCKS * n) {                    \
            const size_t at = (size_t)i * (size);                                                            \
            if (n > MEMORY_BOUND_COLUMNS)                                                                    \
                ahead = ahead_in_rows(rows, LANES * SETS, at, size);                                         \
            for (int set = 0; set < SETS; set++)                                                             \
                step_##name(&(struct step){.run = runs + set}, rows + set * LANES, at);                      \
            multiply_##kind((vfloats *)acc, x, n, runs, &ahead);                                             \
        }                                                                                                    \
    }

#endif
