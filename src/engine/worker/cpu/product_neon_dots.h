/* The dots of product_types.h for plain NEON and for dotprod, which differ in how products are added. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_NEON_DOTS_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_NEON_DOTS_H

#include "engine/worker/cpu/product_neon.h"

/* Weights' bytes of at most 63 are signed as well. */
enum { SETS = 1 };
#define SIGNED_BY_OFFSET 0

INLINE int together(const enum range range)
{
    (void)range;
    return TOGETHER;
}

/* sum + the products of each lane's four bytes and x[0..3]: the including file's. */
INLINE int32x4_t add_products(int32x4_t sum, int8x16_t w, const int8_t *x);

/* Two chains for each column. */
INLINE void dots(vints *sums, const struct unpacked *u, const int sets, const struct x_block *x,
    const int first, const int count, const int n, const enum range range)
{
    (void)sets; /* one */
    (void)range;
    for (int c = 0; c < n; c++) {
        int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
        for (int i = first; i < first + count; i += 2) {
            even = add_products(even, (int8x16_t)u->v[i], x[c].q + 4 * i);
            odd = add_products(odd, (int8x16_t)u->v[i + 1], x[c].q + 4 * (i + 1));
        }
        sums[c] = (vints)vaddq_s32(even, odd);
    }
}

#endif
