/* Plain C: the reference that the others are held against, and what runs where there is nothing better. */
enum { LANES = 8 };

#include "engine/worker/cpu/kernels_common.h"

static void dot_lanes(float *acc, const float *a, const float *b, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] += a[i + l] * b[i + l];
    for (int l = 0; i < n; i++, l++)
        acc[l] += a[i] * b[i];
}

static void scalar_dot_4x1(float *acc, const float *const *w, const float *x, int64_t n)
{
    for (int r = 0; r < KERNEL_ROWS; r++)
        dot_lanes(acc + r * LANES, w[r], x, n);
}

static void scalar_dot_4x4(
    float *acc, int64_t stride, const float *const *w, const float *const *x, int64_t n)
{
    for (int c = 0; c < KERNEL_COLUMNS; c++)
        scalar_dot_4x1(acc + c * stride, w, x[c], n);
}

static void scalar_dot_rows(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++) {
        float acc[LANES] = {0};
        dot_lanes(acc, rows + r * width, x, width);
        out[r] = common_lane_sum(acc);
    }
}

static void scalar_mix_rows(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < width; i++)
            y[i] += weights[r] * rows[r * width + i];
}

const struct kernels kernels_scalar = {
    .isa = "scalar",
    .lanes = LANES,
    .dot_4x1 = scalar_dot_4x1,
    .dot_4x4 = scalar_dot_4x4,
    .lane_sum = common_lane_sum,
    .dot_rows = scalar_dot_rows,
    .mix_rows = scalar_mix_rows,
    .add = common_add,
    .rms_norm = common_rms_norm,
    .glu = common_glu,
    .gelu = common_gelu,
    .geglu = common_geglu,
    .glu_clamped = common_glu_clamped,
    .softcap = common_softcap,
    .softmax_terms = common_softmax_terms,
};
