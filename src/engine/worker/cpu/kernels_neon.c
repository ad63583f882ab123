/* NEON, which every 64-bit Arm CPU has. Quantised types go through tensor_dequantize. */
#if defined(__aarch64__)
#include "engine/worker/cpu/product_neon.h"
/* clang-format off: the vectors first */
#include "engine/worker/cpu/kernels_common.h"
#include "engine/worker/cpu/kernels_float.h"
#include "engine/worker/cpu/kernels_tile.h"
/* clang-format on */

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
    FLOAT_PRODUCTS, TILE_PRODUCTS, .dot_rows = neon_dot_rows, .mix_rows = neon_mix_rows, .add = common_add,  \
                                   .rms_norm = common_rms_norm, .glu = common_glu, .gelu = common_gelu,      \
                                   .geglu = common_geglu, .glu_clamped = common_glu_clamped,                 \
                                   .softcap = common_softcap

const struct kernels kernels_neon = {.isa = "neon", .products = &products_neon, NEON_FLOATS};
const struct kernels kernels_dotprod = {.isa = "dotprod", .products = &products_dotprod, NEON_FLOATS};

#else
typedef int kernels_neon_elsewhere; /* ISO C wants something in every file */
#endif
