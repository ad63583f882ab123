/* What AVX-VNNI and AVX-512 VNNI share: four byte products are added to a lane at once, in 32 bits; the
 * weight's bytes are taken as unsigned, so that signed ones get 128 more, and what that adds is in what the
 * column's sums begin with. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H

/* Two sets of rows share what is fetched of a column, and TOGETHER columns what is fetched of the rows. */
enum { SETS = 2 };
#define SIGNED_BY_OFFSET 1

INLINE int together(const enum range range)
{
    (void)range;
    return TOGETHER;
}

/* sums[column][set] += of `count` words from word `first` on. (Told nothing of the order, gcc spills.) */
INLINE void dots(vints *sums, const struct unpacked *u, const int sets, const struct x_block *x,
    const int first, const int count, const int n)
{
    UNROLLED
    for (int i = first; i < first + count; i++)
        UNROLLED
    for (int c = 0; c < n; c++)
        UNROLLED
    for (int s = 0; s < sets; s++) {
        sums[c * sets + s] = add_products(sums[c * sets + s], u[s].v[i], x[c].q + 4 * i);
        OPAQUE(sums[c * sets + s]);
    }
}

/* What is in `sum`, which began with SUM_ZERO or x's start, times the scale. (Exact but for one rounding: the
 * scale's few bits times 1.5 * 2^23 are no more than a float holds.) */
INLINE vfloats scaled(vints sum, vfloats scale, vfloats zero)
{
    return plus((vfloats)sum, scale, zero);
}

/* What the sums of a block (half: -1), or of a half of it, begin with. */
INLINE vints begun(const struct x_block *x, const int half, const enum range range)
{
    return (range != RANGE_255 ? SUM_ZERO : half < 0 ? x->start : x->starts[half]) - (vints){0};
}

/* acc[column][set] += a block (half: -1), or a half of it, of `sets` sets by n columns. (What all columns
 * share stays in registers as long as gcc cannot tell where it is from.) */
INLINE void part_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const int half, const enum range range)
{
    vints sums[TOGETHER * SETS];
    vfloats scale[SETS], zero[SETS];
    for (int i = 0; i < n * sets; i++)
        sums[i] = begun(&x[i / sets], half, range);
    dots(sums, u, sets, x, half > 0 ? 4 : 0, half < 0 ? 8 : 4, n);
    for (int s = 0; s < sets; s++) {
        scale[s] = u[s].scale[half > 0];
        zero[s] = u[s].zero[half > 0];
        OPAQUE(scale[s]);
        OPAQUE(zero[s]);
    }
    for (int c = 0; c < n; c++) {
        vfloats x_scale = splat(x[c].scale);
        const vfloats x_sum = splat(half < 0 ? x[c].sum : half ? x[c].sum_high : x[c].sum_low);
        OPAQUE(x_scale);
        for (int s = 0; s < sets; s++, acc++) {
            const vfloats sum = plus(scaled(sums[c * sets + s], scale[s], zero[s]), x_scale, *acc);
            *acc = range == RANGE_255 ? sum : minus(u[s].min[half > 0], x_sum, sum);
        }
    }
}

/* One scale for all 32 values. */
INLINE void block_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    part_columns(acc, x, n, u, sets, -1, range);
}

/* The first and the last sixteen values with a scale, and a minimum, each: of four columns at a time, as both
 * halves' sums are in registers. */
INLINE void halves_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    enum { HALVES_TOGETHER = 4 };
    for (int c = 0; c < n; c += HALVES_TOGETHER) {
        const int some = n - c < HALVES_TOGETHER ? n - c : HALVES_TOGETHER;
        vfloats sums[HALVES_TOGETHER * SETS];
        for (int i = 0; i < some * sets; i++)
            sums[i] = acc[c * sets + i];
        part_columns(sums, x + c, some, u, sets, 0, range);
        part_columns(sums, x + c, some, u, sets, 1, range);
        for (int i = 0; i < some * sets; i++)
            acc[c * sets + i] = sums[i];
    }
}

#endif
