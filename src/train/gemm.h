/* Products of matrices in f32, blocked for the caches (Goto and van de Geijn 2008, "Anatomy of
 * High-Performance Matrix Multiplication"; the BLIS loops):
 *
 *   for each run of K_BLOCK values of k         B's run is packed into panels of tile_columns columns
 *     for each run of M_RUN rows                A's run is packed, unless its rows can be read as they stand
 *       for N_BLOCK columns, for M_BLOCK rows   what stays in the caches
 *         for each panel, for each tile         the kernel: tile_rows x tile_columns sums in registers
 *
 * Kernels that round make bfloat16 of all that is packed, and then A is, too; those of AMX pack pairs of
 * 16 bits.
 *
 * A value of C is summed over k in an order that depends on k alone: results are the same however a product
 * is divided among threads. */
#ifndef WEIR_TRAIN_GEMM_H
#define WEIR_TRAIN_GEMM_H

#include "train/kernels.h"

/* As memory holds it, rows of `width`; and the same turned. */
static inline struct matrix matrix_rows(const float *data, int64_t width)
{
    return (struct matrix){data, width, 1};
}
static inline struct matrix matrix_turned(const float *data, int64_t width)
{
    return (struct matrix){data, 1, width};
}

/* Of one thread: packed blocks. */
struct gemm_scratch {
    float *a, *b;
};
int gemm_scratch_create(struct gemm_scratch *s, struct error *err) MUST_USE;
void gemm_scratch_free(struct gemm_scratch *s);
size_t gemm_scratch_bytes(void);

/* C (m x n, rows ldc apart) = A (m x k) B (k x n), or += where `add`. */
void gemm(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    struct matrix b, float *c, int64_t ldc, bool add, const struct gemm_scratch *s);

/* B packed once for many products; the first n' columns and the first k' rows of it may be used. `to`:
 * gemm_packed_size floats. */
size_t gemm_packed_size(const struct train_kernels *kernels, int64_t n, int64_t k);
void gemm_pack(const struct train_kernels *kernels, int64_t n, int64_t k, struct matrix b, float *to);
/* As gemm; `packed_k`: the k that B was packed with. */
void gemm_with_packed(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    const float *packed, int64_t packed_k, float *c, int64_t ldc, bool add, const struct gemm_scratch *s);

#endif
