#include "train/gemm.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

/* A block of B (K_BLOCK x N_BLOCK floats, 1 MiB) and one of A (192 KiB) stay in the second cache, or in the
 * last where that is small, a panel of B (16 KiB with AVX2) in the first. */
enum {
    K_BLOCK = 256,
    N_BLOCK = 1024,
    N_RUN = 512,        /* columns that stay in the second cache, too, where rows are walked along them */
    M_BLOCK = 192,      /* of all tiles' rows a multiple, as K_BLOCK of all steps */
    M_RUN = 4 * M_BLOCK /* rows that are packed once for all columns */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Of values of 16 bits a block has twice as many. */
static int64_t block_values(const struct train_kernels *kernels)
{
    return K_BLOCK * kernels->tile_columns / kernels->panel_floats;
}

size_t gemm_scratch_bytes(void)
{
    return (size_t)K_BLOCK * (N_BLOCK + TRAIN_TILE_COLUMNS_MAX + M_RUN + TRAIN_TILE_ROWS_MAX) * sizeof(float);
}

int gemm_scratch_create(struct gemm_scratch *s, struct error *err)
{
    s->a = pages_alloc((size_t)K_BLOCK * (M_RUN + TRAIN_TILE_ROWS_MAX) * sizeof(float));
    s->b = pages_alloc((size_t)K_BLOCK * (N_BLOCK + TRAIN_TILE_COLUMNS_MAX) * sizeof(float));
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

static int64_t panel_size(const struct train_kernels *kernels, int64_t k)
{
    return (k + kernels->k_step - 1) / kernels->k_step * kernels->k_step * kernels->panel_floats;
}

size_t gemm_packed_size(const struct train_kernels *kernels, int64_t n, int64_t k)
{
    const int64_t width = kernels->tile_columns;
    return (size_t)((n + width - 1) / width * panel_size(kernels, k));
}

void gemm_pack(const struct train_kernels *kernels, int64_t n, int64_t k, struct matrix b, float *to)
{
    const int64_t width = kernels->tile_columns;
    for (int64_t j = 0; j < n; j += width, to += panel_size(kernels, k))
        kernels->pack_panel(
            to, least(n - j, width), k, (struct matrix){b.data + j * b.column, b.row, b.column});
}

/* ---- Products ---- */

/* The last columns are fewer than a panel's: they go through a whole panel of their own. */
static void last_columns(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, const float *a,
    int64_t a_row, const float *b, float *c, int64_t ldc, bool add)
{
    _Alignas(PAGES_ALIGN) float whole[M_BLOCK * TRAIN_TILE_COLUMNS_MAX];
    const int64_t width = kernels->tile_columns;
    for (int64_t i = 0; i < m && add; i++)
        for (int64_t j = 0; j < width; j++)
            whole[i * width + j] = j < n ? c[i * ldc + j] : 0;
    kernels->panels(m, width, k, a, a_row, b, 0, whole, width, add);
    for (int64_t i = 0; i < m; i++)
        memcpy(c + i * ldc, whole + i * width, (size_t)n * sizeof *c);
}

/* At most M_BLOCK packed rows with at most N_BLOCK columns, against panels that are `apart` floats apart. */
static void block_run(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, const float *rows,
    int64_t a_row, const float *b, int64_t apart, float *c, int64_t ldc, bool add)
{
    const int64_t width = kernels->tile_columns, whole = n / width * width;
    for (int64_t j = 0; j < whole; j += N_RUN)
        kernels->panels(
            m, least(N_RUN, whole - j), k, rows, a_row, b + j / width * apart, apart, c + j, ldc, add);
    if (n > whole)
        last_columns(kernels, m, n - whole, k, rows, a_row, b + whole / width * apart, c + whole, ldc, add);
}

/* At most M_RUN rows of A with at most a block of k. */
static void rows_run(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    const float *b, int64_t apart, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    const int64_t width = kernels->tile_columns;
    int64_t a_row;
    const float *rows = kernels->pack_rows(s->a, m, k, a, &a_row);
    const int64_t row = a_row ? a_row : panel_size(kernels, k) / width; /* floats */
    for (int64_t j = 0; j < n; j += N_BLOCK)
        for (int64_t i = 0; i < m; i += M_BLOCK)
            block_run(kernels, least(M_BLOCK, m - i), least(N_BLOCK, n - j), k, rows + i * row, a_row,
                b + j / width * apart, apart, c + i * ldc + j, ldc, add);
}

void gemm_with_packed(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    const float *packed, int64_t packed_k, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    const int64_t block = block_values(kernels);
    for (int64_t i = 0; i < m; i += M_RUN)
        for (int64_t p = 0; p < k; p += block)
            rows_run(kernels, least(M_RUN, m - i), n, least(block, k - p),
                (struct matrix){a.data + i * a.row + p * a.column, a.row, a.column},
                packed + p * kernels->panel_floats, panel_size(kernels, packed_k), c + i * ldc, ldc,
                add || p > 0, s);
}

void gemm(const struct train_kernels *kernels, int64_t m, int64_t n, int64_t k, struct matrix a,
    struct matrix b, float *c, int64_t ldc, bool add, const struct gemm_scratch *s)
{
    const int64_t block = block_values(kernels);
    for (int64_t j = 0; j < n; j += N_BLOCK)
        for (int64_t p = 0; p < k; p += block) {
            const int64_t columns = least(N_BLOCK, n - j), values = least(block, k - p);
            gemm_pack(kernels, columns, values,
                (struct matrix){b.data + p * b.row + j * b.column, b.row, b.column}, s->b);
            gemm_with_packed(kernels, m, columns, values,
                (struct matrix){a.data + p * a.column, a.row, a.column}, s->b, values, c + j, ldc,
                add || p > 0, s);
        }
}
