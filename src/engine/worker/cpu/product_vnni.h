/* What AVX-VNNI and AVX-512 VNNI share: four byte products are added to a lane at once, in 32 bits; the
 * weight's bytes are taken as unsigned, so that signed ones get 128 more and a minimum. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H

enum { SIGNED_BY_OFFSET = 1 };

INLINE vwords magnitude(vwords w)
{
    return w;
}

/* Two chains for each column. */
INLINE void dots(vints *sums, const vwords *v, const vwords *sizes, const struct x_block *x, const int first,
    const int count, const int n, const enum range range)
{
    (void)sizes;
    (void)range;
    for (int c = 0; c < n; c++) {
        vints even = {0}, odd = {0};
        for (int i = 0; i < count; i += 2) {
            even = add_products(even, v[i], x[c].q + 4 * (first + i));
            odd = add_products(odd, v[i + 1], x[c].q + 4 * (first + i + 1));
        }
        sums[c] = even + odd;
    }
}

#endif
