/* NEON, which every 64-bit Arm CPU has. Quantised types go through tensor_dequantize. */
#if defined(__aarch64__)
#include <arm_neon.h>

enum { LANES = 4 };

#include "engine/worker/cpu/kernels_common.h"
#include "engine/worker/cpu/product_vector.h"

INLINE vfloats fused(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

#include "engine/worker/cpu/kernels_float.h"

/* The last values that do not fill a vector. */
static void dot_tail(float *acc, const float *a, const float *b, int64_t i, int64_t n)
{
    for (int l = 0; i < n; i++, l++)
        acc[l] += a[i] * b[i];
}

static void neon_dot_4x1(float *acc, const float *const *w, const float *x, int64_t n)
{
    float32x4_t s[4];
    for (int r = 0; r < 4; r++)
        s[r] = vld1q_f32(acc + r * LANES);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float32x4_t v = vld1q_f32(x + i);
        for (int r = 0; r < 4; r++)
            s[r] = vfmaq_f32(s[r], vld1q_f32(w[r] + i), v);
    }
    for (int r = 0; r < 4; r++) {
        vst1q_f32(acc + r * LANES, s[r]);
        dot_tail(acc + r * LANES, w[r], x, i, n);
    }
}

static void neon_dot_4x4(float *acc, int64_t stride, const float *const *w, const float *const *x, int64_t n)
{
    float32x4_t s[4][4];
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 4; r++)
            s[c][r] = vld1q_f32(acc + c * stride + r * LANES);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float32x4_t a[4];
        for (int r = 0; r < 4; r++)
            a[r] = vld1q_f32(w[r] + i);
        for (int c = 0; c < 4; c++) {
            float32x4_t v = vld1q_f32(x[c] + i);
            for (int r = 0; r < 4; r++)
                s[c][r] = vfmaq_f32(s[c][r], a[r], v);
        }
    }
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 4; r++) {
            vst1q_f32(acc + c * stride + r * LANES, s[c][r]);
            dot_tail(acc + c * stride + r * LANES, w[r], x[c], i, n);
        }
}

/* Four sums hide the latency of the additions. */
static float dot(const float *a, const float *b, int64_t n)
{
    float32x4_t s[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            s[j] = vfmaq_f32(s[j], vld1q_f32(a + i + j * LANES), vld1q_f32(b + i + j * LANES));
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3])));
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void neon_dot_rows(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++)
        out[r] = dot(rows + r * width, x, width);
}

static void neon_mix_rows(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++) {
        const float *row = rows + r * width;
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES)
            vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), vld1q_f32(row + i), weights[r]));
        for (; i < width; i++)
            y[i] += weights[r] * row[i];
    }
}

#define NEON_FLOATS                                                                                          \
    .lanes = LANES, .dot_4x1 = neon_dot_4x1, .dot_4x4 = neon_dot_4x4, .lane_sum = common_lane_sum,           \
    .dot_rows = neon_dot_rows, .mix_rows = neon_mix_rows, .add = common_add, .rms_norm = common_rms_norm,    \
    .glu = common_glu, .gelu = common_gelu, .geglu = common_geglu, .glu_clamped = common_glu_clamped,        \
    .softcap = common_softcap, .softmax_terms = common_softmax_terms, .peak = float_peak

const struct kernels kernels_neon = {.isa = "neon", .products = &products_neon, NEON_FLOATS};
const struct kernels kernels_dotprod = {.isa = "dotprod", .products = &products_dotprod, NEON_FLOATS};

#else
typedef int kernels_neon_elsewhere; /* ISO C wants something in every file */
#endif
