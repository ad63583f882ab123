#include "train/muon.h"

#include <math.h>
#include <string.h>

void muon_orthogonal(const struct train_kernels *k, int64_t few, int64_t many, float *x, float *work,
    const struct gemm_scratch *s)
{
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f; /* Jordan's: fast rather than exact */
    float *square = work, *turned = square + few * few, *next = turned + few * few;
    k->scale(x, 1 / (sqrtf(k->dot(x, x, few * many)) + 1e-7f), few * many);
    for (int round = 0; round < 5; round++) {
        gemm(k, few, few, many, matrix_rows(x, many), matrix_turned(x, many), square, few, false, s);
        gemm(k, few, few, few, matrix_rows(square, few), matrix_rows(square, few), turned, few, false, s);
        for (int64_t i = 0; i < few * few; i++)
            turned[i] = b * square[i] + c * turned[i];
        for (int64_t i = 0; i < few; i++)
            turned[i * few + i] += a;
        gemm(k, few, many, few, matrix_rows(turned, few), matrix_rows(x, many), next, many, false, s);
        memcpy(x, next, (size_t)(few * many) * sizeof *x);
    }
}

int64_t muon_work(int64_t rows, int64_t columns)
{
    const int64_t few = rows < columns ? rows : columns;
    return 2 * few * few + 2 * rows * columns;
}

static void turn(float *to, const float *from, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[j * rows + i] = from[i * columns + j];
}

void muon(const struct train_kernels *k, const struct train_adam *a, int64_t rows, int64_t columns, float *w,
    float *m, float *g, float *work, const struct gemm_scratch *s)
{
    const bool tall = rows > columns;
    const int64_t n = rows * columns, few = tall ? columns : rows, many = tall ? rows : columns;
    float *x = work;
    for (int64_t i = 0; i < n; i++) { /* Nesterov's momentum */
        const float now = (1 - a->beta1) * a->scale * g[i];
        m[i] = a->beta1 * m[i] + now;
        g[i] = a->beta1 * m[i] + now;
    }
    if (tall)
        turn(x, g, rows, columns);
    else
        memcpy(x, g, (size_t)n * sizeof *x);
    muon_orthogonal(k, few, many, x, work + n, s);
    if (tall)
        turn(g, x, columns, rows);
    const float *step = tall ? g : x, rate = a->rate * 0.2f * sqrtf((float)many);
    for (int64_t i = 0; i < n; i++)
        w[i] -= a->rate * a->decay * w[i] + rate * step[i];
}
