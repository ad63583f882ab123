/* Plain C: the reference that the others are held against, and what runs where there is nothing better. */
enum { LANES = 8 };

#include <string.h>

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

static void scalar_tile(float *tile, const uint8_t *const *rows, int64_t count)
{
    for (int64_t k = 0; k < count; k++)
        for (int r = 0; r < TILE_ROWS; r++)
            memcpy(&tile[k * TILE_ROWS + r], rows[r] + (size_t)k * sizeof *tile, sizeof *tile);
}

static void scalar_multiply(float *acc, int64_t acc_stride, const uint8_t *rows, size_t row_bytes, int64_t at,
    int64_t tiles, const float *const *x, int64_t n, int64_t count)
{
    for (int64_t c = 0; c < n; c++)
        for (int64_t i = 0; i < tiles * TILE_ROWS; i++)
            for (int64_t from = 0; from < count; from += COLUMN_STRIDE) {
                float sum = 0, w;
                for (int64_t k = from; k < from + COLUMN_STRIDE && k < count; k++) {
                    memcpy(&w, rows + (size_t)k * row_bytes + (size_t)(at + i) * sizeof w, sizeof w);
                    sum += w * x[c][k];
                }
                acc[c * acc_stride + i] += sum;
            }
}

static void scalar_multiply_panel(float *acc, const struct panel *p)
{
    for (int64_t t = 0; t < p->tiles; t++)
        for (int64_t c = 0; c < p->n; c++) {
            const float *x = p->x + c * COLUMN_STRIDE, *rows = p->rows + t * p->tile_stride;
            scalar_multiply(acc + c * p->acc_stride + t * TILE_ROWS, 0, (const uint8_t *)rows,
                (size_t)p->row_stride * sizeof *rows, 0, 1, &x, 1, p->count);
        }
}

static void scalar_dot_rows(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++) {
        float acc[LANES] = {0};
        dot_lanes(acc, rows + r * width, x, width);
        out[r] = common_lane_sum(acc);
    }
}

static void scalar_along(
    float *acc, const uint8_t *const *rows, const float *const *x, int64_t n, int64_t count, bool streamed)
{
    (void)streamed;
    for (int64_t c = 0; c < n; c++)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int64_t from = 0; from < count; from += KERNEL_RUN) {
                const int64_t to = from + KERNEL_RUN < count ? from + KERNEL_RUN : count;
                float sum = 0, w;
                for (int64_t k = from; k < to; k++) {
                    memcpy(&w, rows[r] + (size_t)k * sizeof w, sizeof w);
                    sum += w * x[c][k];
                }
                acc[c * TILE_ROWS + r] += sum;
            }
}

static void scalar_mix_rows(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < width; i++)
            y[i] += weights[r] * rows[r * width + i];
}

static float scalar_softmax_terms(float *x, float scale, float *most, int64_t n)
{
    float max = *most;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    *most = max;
    for (int64_t i = 0; i < n; i++)
        x[i] = common_exp((x[i] - max) * scale);
    float sums[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            sums[l] += x[i + l];
    for (; i < n; i++)
        sums[i % LANES] += x[i];
    return common_lane_sum(sums);
}

const struct kernels kernels_scalar = {
    .isa = "scalar",
    .tile = {[TENSOR_F32] = scalar_tile},
    .along = {[TENSOR_F32] = scalar_along},
    .multiply = {[TENSOR_F32] = scalar_multiply},
    .multiply_panel = scalar_multiply_panel,
    .dot_rows = scalar_dot_rows,
    .mix_rows = scalar_mix_rows,
    .add = common_add,
    .rms_norm = common_rms_norm,
    .glu = common_glu,
    .gelu = common_gelu,
    .geglu = common_geglu,
    .glu_clamped = common_glu_clamped,
    .softcap = common_softcap,
    .softmax_terms = scalar_softmax_terms,
};
