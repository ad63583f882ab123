#include "train/gemm.h"

#include <stdlib.h>
#include <string.h>

/* A block of B (K_BLOCK x N_BLOCK floats, 1 MiB) stays in the last cache, one of A (96 KiB) in the second, a
 * panel of B (16 KiB with AVX2) in the first. */
enum { K_BLOCK = 256, N_BLOCK = 1024, M_BLOCK = 96, ALIGN = 64 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

size_t gemm_scratch_bytes(void)
{
    return (size_t)K_BLOCK * (N_BLOCK + TRAIN_TILE_COLUMNS_MAX + M_BLOCK + TRAIN_TILE_ROWS_MAX) *
           sizeof(float);
}

int gemm_scratch_create(struct gemm_scratch *s, struct error *err)
{
    s->a = aligned_alloc(ALIGN, (size_t)K_BLOCK * (M_BLOCK + TRAIN_TILE_ROWS_MAX) * sizeof(float));
    s->b = aligned_alloc(ALIGN, (size_t)K_BLOCK * (N_BLOCK + TRAIN_TILE_COLUMNS_MAX) * sizeof(float));
    if (s->a && s->b)
        return 0;
    gemm_scratch_free(s);
    return error_set(err, ERROR_MEMORY, "no memory for the products' blocks");
}

void gemm_scratch_free(struct gemm_scratch *s)
{
    free(s->a);
    free(s->b);
    *s = (struct gemm_scratch){0};
}

/* ---- Packing ---- */

/* One panel: `width` columns of the n that are left, for each value of k side by side; missing ones are 0. */
static void panel_pack(int64_t width, int64_t n, int64_t k, struct matrix b, float *restrict to)
{
    if (n < width)
        memset(to, 0, (size_t)(width * k) * sizeof *to);
    if (b.column == 1) {
        for (int64_t p = 0; p < k; p++)
            memcpy(to + p * width, b.data + p * b.row, (size_t)n * sizeof *to);
        return;
    }
    /* Columns stand far apart, their values together: 8 of each column at a time stay in one cache line. */
    for (int64_t p = 0; p < k; p += 8) {
        const int64_t end = least(p + 8, k);
        for (int64_t j = 0; j < n; j++) {
            const float *from = b.data + j * b.column;
            for (int64_t q = p; q < end; q++)
                to[q * width + j] = from[q * b.row];
        }
    }
}

size_t gemm_packed_size(const struct train_kernels *kernels, int64_t n, int64_t k)
{
    const int64_t width = kernels->tile_columns;
    return (size_t)((n + width - 1) / width * width * k);
}

void gemm_pack(const struct train_kernels *kernels, int64_t n, int64_t k, struct matrix b, float *to)
{
    const int64_t width = kernels->tile_columns;
    for (int64_t j = 0; j < n; j += width, to += width * k)
        panel_pack(
            width, least(width, n - j), k, (struct matrix){b.data + j * b.column, b.row, b.column}, to);
}

/* Rows of A by tiles of `height`: for each value of k a tile's rows side by side. A turned matrix is read in
 * the order in which it lies in memory. */
static void rows_pack(int64_t height, int64_t m, int64_t k, struct matrix a, float *restrict to)
{
    for (int64_t p = 0; p < k; p++) {
        const float *from = a.data + p * a.column;
        for (int64_t i = 0; i < m; i += height) {
            float *tile = to + i * k + p * height;
            if (a.row == 1 && m - i >= height)
                memcpy(tile, from + i, (size_t)height * sizeof *to);
            else
                for (int64_t r = 0; r < least(height, m - i); r++)
                    tile[r] = from[(i + r) * a.row];
        }
    }
}

/* ---- Products ---- */

/* One tile of C; the last columns go through a whole tile of their own. */
static void tile_run(const struct train_kernels *kernels, int64_t rows, int64_t columns, int64_t k,
    const float *a, int64_t a_row, int64_t a_column, const float *b, float *c, int64_t ldc, bool add)
{
    _Alignas(ALIGN) float whole[TRAIN_TILE_ROWS_MAX * TRAIN_TILE_COLUMNS_MAX];
    const int64_t width = kernels->tile_columns;
    if (columns == width) {
        kernels->tile((int32_t)rows, k, a, a_row, a_column, b, c, ldc, add);
        return;
    }
    kernels->tile((int32_t)rows, k, a, a_row, a_column, b, whole, width, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = add ? c[i * ldc + j] + whole[i * width + j] : whole[i * width + j];
}

/* Rows [0, m) of A with at most K_BLOCK of k, against packed panels that are `panel` floats apart. */
static void block_run(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    const float *b, int64_t panel, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    const int64_t height = kernels->tile_rows, width = kernels->tile_columns;
    const bool in_place = a.column == 1;
    if (!in_place)
        rows_pack(height, m, k, a, s->a);
    for (int64_t j = 0; j < n; j += width, b += panel)
        for (int64_t i = 0; i < m; i += height)
            tile_run(kernels, least(height, m - i), least(width, n - j), k,
                in_place ? a.data + i * a.row : s->a + i * k, in_place ? a.row : 1, in_place ? 1 : height, b,
                c + i * ldc + j, ldc, add);
}

void gemm_with_packed(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    const float *packed, int64_t packed_k, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    const int64_t width = kernels->tile_columns, rows = M_BLOCK / kernels->tile_rows * kernels->tile_rows;
    for (int64_t p = 0; p < k; p += K_BLOCK)
        for (int64_t i = 0; i < m; i += rows)
            block_run(kernels, least(rows, m - i), n, least(K_BLOCK, k - p),
                (struct matrix){a.data + i * a.row + p * a.column, a.row, a.column}, packed + p * width,
                packed_k * width, c + i * ldc, ldc, add || p > 0, s);
}

void gemm(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    struct matrix b, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    for (int64_t j = 0; j < n; j += N_BLOCK)
        for (int64_t p = 0; p < k; p += K_BLOCK) {
            const int64_t columns = least(N_BLOCK, n - j), values = least(K_BLOCK, k - p);
            gemm_pack(kernels, columns, values,
                (struct matrix){b.data + p * b.row + j * b.column, b.row, b.column}, s->b);
            gemm_with_packed(kernels, m, columns, values,
                (struct matrix){a.data + p * a.column, a.row, a.column}, s->b, values, c + j, ldc,
                add || p > 0, s);
        }
}
