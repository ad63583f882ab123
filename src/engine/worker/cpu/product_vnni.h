/* What AVX-VNNI and AVX-512 VNNI share: four byte products are added to a lane at once, in 32 bits; the
 * weight's bytes are taken as unsigned, so that signed ones get 128 more, and what that adds is in what the
 * column's sums begin with. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H

/* Two sets of rows share what is fetched of a column, and TOGETHER columns what is fetched of the rows. */
enum { SETS = 2, HALVES_TOGETHER = 4 };
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
 * scale's few bits times 1.125 * 2^23 are no more than a float holds.) */
INLINE vfloats scaled(vints sum, vfloats scale, vfloats zero)
{
    return plus((vfloats)sum, scale, zero);
}

/* What the sums of a block (half: -1), or of a half of it, begin with. */
INLINE vints begun(const struct x_block *x, const int half, const enum range range)
{
    return (range != RANGE_255 ? SUM_ZERO : half < 0 ? x->start : x->starts[half]) - (vints){0};
}

/* What is in `v` stays in registers as long as gcc cannot tell where it is from. */
INLINE vfloats kept(vfloats v)
{
    OPAQUE(v);
    return v;
}

/* One scale for all 32 values. */
INLINE void block_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints sums[TOGETHER * SETS];
    vfloats scale[SETS], zero[SETS];
    for (int i = 0; i < n * sets; i++)
        sums[i] = begun(&x[i / sets], -1, range);
    dots(sums, u, sets, x, 0, 8, n);
    for (int s = 0; s < sets; s++) {
        scale[s] = kept(u[s].scale[0]);
        zero[s] = kept(u[s].zero);
    }
    for (int c = 0; c < n; c++) {
        const vfloats x_scale = kept(splat(x[c].scale)), x_sum = splat(x[c].sum);
        for (int s = 0; s < sets; s++, acc++) {
            const vfloats sum = plus(scaled(sums[c * sets + s], scale[s], zero[s]), x_scale, *acc);
            *acc = range == RANGE_255 ? sum : minus(u[s].min[0], x_sum, sum);
        }
    }
}

/* The first and the last sixteen values with a scale, and a minimum, each: of a few columns at a time, so
 * that both halves' sums are in registers, and are added before the column's scale. What both began with is
 * taken out by the first half's step: what that rounds away is 2^-25 of SUM_ZERO, of sums of bytes that use
 * all their bits. */
INLINE void halves_some(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints low[HALVES_TOGETHER * SETS], high[HALVES_TOGETHER * SETS];
    vfloats scale[2][SETS], zero[SETS];
    for (int i = 0; i < n * sets; i++) {
        low[i] = begun(&x[i / sets], 0, range);
        high[i] = begun(&x[i / sets], 1, range);
    }
    dots(low, u, sets, x, 0, 4, n);
    dots(high, u, sets, x, 4, 4, n);
    for (int s = 0; s < sets; s++) {
        scale[0][s] = kept(u[s].scale[0]);
        scale[1][s] = kept(u[s].scale[1]);
        zero[s] = kept(u[s].zero);
    }
    for (int c = 0; c < n; c++) {
        const vfloats x_scale = kept(splat(x[c].scale));
        for (int s = 0; s < sets; s++, acc++) {
            const vfloats half = scaled(low[c * sets + s], scale[0][s], zero[s]);
            const vfloats sum = plus(scaled(high[c * sets + s], scale[1][s], half), x_scale, *acc);
            *acc = range == RANGE_255 ? sum
                                      : minus(u[s].min[1], splat(x[c].sum_high),
                                            minus(u[s].min[0], splat(x[c].sum_low), sum));
        }
    }
}

INLINE void halves_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    for (int c = 0; c < n; c += HALVES_TOGETHER)
        halves_some(acc + c * sets, x + c, n - c < HALVES_TOGETHER ? n - c : HALVES_TOGETHER, u, sets, range);
}

#endif
