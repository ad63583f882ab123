/* What AVX-VNNI and AVX-512 VNNI share: four byte products are added to a lane at once, in 32 bits; the
 * weight's bytes are taken as unsigned, so that signed ones get 128 more and a minimum. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H

enum { SIGNED_BY_OFFSET = 1, SETS = 1 };

INLINE int together(const enum range range)
{
    (void)range;
    return TOGETHER;
}

/* Two chains for each column. */
INLINE void dots(vints *sums, const struct unpacked *u, const int sets, const struct x_block *x,
    const int first, const int count, const int n, const enum range range)
{
    (void)sets; /* one */
    (void)range;
    for (int c = 0; c < n; c++) {
        vints even = {0}, odd = {0};
        for (int i = first; i < first + count; i += 2) {
            even = add_products(even, u->v[i], x[c].q + 4 * i);
            odd = add_products(odd, u->v[i + 1], x[c].q + 4 * (i + 1));
        }
        sums[c] = even + odd;
    }
}

#endif
