/* Muon (Jordan 2024, kellerjordan.github.io/posts/muon): the step of a matrix is its gradient's momentum made
 * orthogonal, so that all directions move alike and not only the few that a gradient is full of. A step takes
 * the size that AdamW's has (Liu et al. 2025, arxiv.org/abs/2502.16982), and with it the same learning rate.
 */
#ifndef WEIR_TRAIN_MUON_H
#define WEIR_TRAIN_MUON_H

#include "train/gemm.h"

/* x [rows][columns] becomes the orthogonal matrix nearest to it, about (singular values of 0.7 to 1.2), by
 * five rounds of Newton and Schulz's iteration. work: muon_work floats. */
void muon_orthogonal(const struct train_kernels *k, int64_t rows, int64_t columns, float *x, float *work,
    const struct gemm_scratch *s);

/* w [rows][columns] takes a step of `a`, which scales the gradient, too; m: its momentum; g: its gradient,
 * which is overwritten; `work`: muon_work floats. */
void muon(const struct train_kernels *k, const struct train_adam *a, int64_t rows, int64_t columns, float *w,
    float *m, float *g, float *work, const struct gemm_scratch *s);
int64_t muon_work(int64_t rows, int64_t columns);

#endif
