/* Loops that a compiler turns into vectors by itself: each kernels_*.c includes them and compiles them for
 * its instruction set. LANES is the including file's. */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_COMMON_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_COMMON_H

#include <math.h>

#include "engine/worker/cpu/exp.h"
#include "engine/worker/cpu/kernels.h"

static inline float common_lane_sum(const float *acc)
{
    float sum[LANES];
    for (int i = 0; i < LANES; i++)
        sum[i] = acc[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

static void common_add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void common_rms_norm(float *y, const float *x, const float *weight, float eps, int64_t n)
{
    double sums[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            sums[l] += (double)x[i + l] * (double)x[i + l];
    for (; i < n; i++)
        sums[0] += (double)x[i] * (double)x[i];
    double sum = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void common_glu(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + common_exp(-gate[i])) * up[i];
}

/* By tanh (Hendrycks and Gimpel 2016, arxiv.org/abs/1606.08415): (1 + tanh u) / 2 = 1 / (1 + e^-2u) */
static inline float common_gelu_one(float x)
{
    return x / (1.0f + common_exp(-1.59576912f * (x + 0.044715f * x * x * x)));
}

static void common_gelu(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = common_gelu_one(x[i]);
}

static void common_geglu(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = common_gelu_one(gate[i]) * up[i];
}

static void common_glu_clamped(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i] < 7.0f ? gate[i] : 7.0f;
        float u = up[i] < 7.0f ? up[i] : 7.0f;
        u = u > -7.0f ? u : -7.0f;
        y[i] = g / (1.0f + common_exp(-1.702f * g)) * (u + 1.0f);
    }
}

static void common_softcap(float *y, const float *x, float cap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = cap * (1.0f - 2.0f / (1.0f + common_exp(2.0f * x[i] / cap)));
}

#endif
