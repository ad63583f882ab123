/* What AVX-VNNI and AVX-512 VNNI share: four byte products are added to a lane at once, in 32 bits; the
 * weight's bytes are taken as unsigned, so that signed ones get 128 more and a minimum. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VNNI_H

enum { SIGNED_BY_OFFSET = 1 };

INLINE vwords magnitude(vwords w)
{
    return w;
}

INLINE vints dot(
    const vwords *v, const vwords *sizes, const int8_t *x, const int count, const enum range range)
{
    (void)sizes;
    (void)range;
    vints even = {0}, odd = {0}; /* two chains */
    for (int i = 0; i < count; i += 2) {
        even = add_products(even, v[i], x + 4 * i);
        odd = add_products(odd, v[i + 1], x + 4 * i + 4);
    }
    return even + odd;
}

#endif
