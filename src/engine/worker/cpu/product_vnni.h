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

INLINE vints begun(int32_t start)
{
    return start - (vints){0};
}

/* acc[column][set] += blocks of `sets` sets by n columns, one scale for all 32 values. */
INLINE void block_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    vints sums[TOGETHER * SETS];
    for (int i = 0; i < n * sets; i++)
        sums[i] = begun(range == RANGE_255 ? x[i / sets].start : SUM_ZERO);
    dots(sums, u, sets, x, 0, 8, n);
    for (int c = 0; c < n; c++)
        for (int s = 0; s < sets; s++, acc++) {
            vfloats sum = scaled(sums[c * sets + s], u[s].scale[0], u[s].zero[0]);
            sum = plus(sum, splat(x[c].scale), *acc);
            *acc = range == RANGE_255 ? sum : minus(u[s].min[0], splat(x[c].sum), sum);
        }
}

/* The first and the last sixteen values with a scale, and a minimum, each. */
INLINE void halves_columns(vfloats *acc, const struct x_block *x, const int n, const struct unpacked *u,
    const int sets, const enum range range)
{
    for (int half = 0; half < 2; half++) {
        vints sums[TOGETHER * SETS];
        for (int i = 0; i < n * sets; i++)
            sums[i] = begun(range == RANGE_255 ? x[i / sets].starts[half] : SUM_ZERO);
        dots(sums, u, sets, x, 4 * half, 4, n);
        for (int c = 0; c < n; c++)
            for (int s = 0; s < sets; s++) {
                vfloats sum = scaled(sums[c * sets + s], u[s].scale[half], u[s].zero[half]);
                sum = plus(sum, splat(x[c].scale), acc[c * sets + s]);
                const vfloats x_sum = splat(half ? x[c].sum_high : x[c].sum_low);
                acc[c * sets + s] = range == RANGE_255 ? sum : minus(u[s].min[half], x_sum, sum);
            }
    }
}

#endif
