#include "train/muon.h"

#include <math.h>
#include <string.h>

/* What is as long as the shorter side: X X^T, or of a tall matrix X^T X. */
static void square_make(const struct train_kernels *k, int64_t rows, int64_t columns, const float *x,
    float *square, const struct gemm_scratch *s)
{
    const struct matrix plain = matrix_rows(x, columns), turned = matrix_turned(x, columns);
    if (rows > columns)
        gemm(k, columns, columns, rows, turned, plain, square, columns, false, s);
    else
        gemm(k, rows, rows, columns, plain, turned, square, rows, false, s);
}

void muon_orthogonal(const struct train_kernels *k, int64_t rows, int64_t columns, float *x, float *work,
    const struct gemm_scratch *s)
{
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f; /* Jordan's: fast rather than exact */
    const int64_t few = rows < columns ? rows : columns, n = rows * columns;
    float *square = work, *factor = square + few * few, *now = x, *next = factor + few * few;
    k->scale(x, 1 / (sqrtf(k->dot(x, x, n)) + 1e-7f), n);
    for (int round = 0; round < 5; round++) {
        square_make(k, rows, columns, now, square, s);
        gemm(k, few, few, few, matrix_rows(square, few), matrix_rows(square, few), factor, few, false, s);
        k->mix(factor, c, square, b, few * few);
        for (int64_t i = 0; i < few; i++)
            factor[i * few + i] += a;
        const struct matrix by = matrix_rows(factor, few), from = matrix_rows(now, columns);
        gemm(k, rows, columns, few, rows > columns ? from : by, rows > columns ? by : from, next, columns,
            false, s);
        float *old = now;
        now = next;
        next = old;
    }
    if (now != x)
        memcpy(x, now, (size_t)n * sizeof *x);
}

int64_t muon_work(int64_t rows, int64_t columns)
{
    const int64_t few = rows < columns ? rows : columns;
    return 2 * few * few + rows * columns;
}

void muon(const struct train_kernels *k, const struct train_adam *a, int64_t rows, int64_t columns, float *w,
    float *m, float *g, float *work, const struct gemm_scratch *s)
{
    const int64_t n = rows * columns, many = rows < columns ? columns : rows;
    const float share = (1 - a->beta1) * a->scale;
    k->mix(m, a->beta1, g, share, n); /* Nesterov's momentum */
    k->mix(g, share, m, a->beta1, n);
    muon_orthogonal(k, rows, columns, g, work, s);
    k->mix(w, 1 - a->rate * a->decay, g, -a->rate * 0.2f * sqrtf((float)many), n);
}
