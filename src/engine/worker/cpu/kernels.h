/* The inner loops, one table of them for each instruction set; the scalar one is the reference.
 *
 * A matrix product goes along the rows of the weight, some rows by some columns at a time, and adds the lanes
 * of the sums after each run of KERNEL_RUN values. Attention's works through tiles: TILE_ROWS rows are turned
 * round, so that value k of all of them stands together, and multiplied by the columns' values, one by one.
 * Either way every result depends on its own row and column alone, so that a token's logits are the same to
 * the bit whatever else is in the batch, and with any number of threads. */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/worker/cpu/matrix.h"
#include "engine/worker/cpu/product.h"
#include "engine/worker/cpu/shorts.h"
#include "engine/worker/tensor.h"

enum { TILE_ROWS = 16, KERNEL_RUN = 256, KERNEL_ALIGN = 64, COLUMN_STRIDE = 64 };

/* A product of tiles that stand in memory of our own. Row k of tile t, TILE_ROWS floats: rows + k *
 * row_stride + t * tile_stride. Columns are COLUMN_STRIDE apart and not longer. */
struct panel {
    const float *rows, *x;
    int64_t row_stride, tile_stride, tiles, n, count, acc_stride;
};

struct kernels {
    const char *isa;
    const struct products *products;  /* on integers and on bfloat16; NULL: all go through floats */
    const struct matrix_unit *matrix; /* attention's products of BF16; NULL: by `tile` and `multiply` */
    const struct short_unit *shorts;  /* attention's products of F16; NULL: the same */
    /* Whole blocks to floats; NULL: tensor_dequantize, which all must agree with to a rounding. */
    void (*dequantize[TENSOR_TYPES])(const uint8_t *from, float *to, int64_t count);
    /* n floats to F16, rounded to the nearest; NULL: tensor_quantize, which it agrees with to the bit. */
    void (*halve)(uint8_t *to, const float *from, int64_t n);
    /* tile[k * TILE_ROWS + r] = value k of rows[r], for `count` values of TILE_ROWS rows, which may be
     * unaligned. NULL: the type's rows are made floats first; F32's is always there. */
    void (*tile[TENSOR_TYPES])(float *tile, const uint8_t *const *rows, int64_t count);
    /* acc[c * TILE_ROWS + r] += rows[r] x[c] over `count` values of TILE_ROWS rows and n columns, the sums of
     * KERNEL_RUN values one after another; the same to the bit for every type that holds the same values.
     * Rows may be unaligned. `streamed`: what follows the last row will be wanted next and is asked for
     * meanwhile. NULL: the type's rows are made floats first; F32's is always there. */
    void (*along[TENSOR_TYPES])(float *acc, const uint8_t *const *rows, const float *const *x, int64_t n,
        int64_t count, bool streamed);
    /* acc[c * acc_stride + i] += the sum over `count` rows k, row_bytes apart, of value at + i of row k (at:
     * a multiple of TILE_ROWS) x x[c][k], for `tiles` x TILE_ROWS values i and n columns c; the same to the
     * bit for every type that holds the same values. NULL: the type's rows are made floats first; F32's is
     * always there. */
    void (*multiply[TENSOR_TYPES])(float *acc, int64_t acc_stride, const uint8_t *rows, size_t row_bytes,
        int64_t at, int64_t tiles, const float *const *x, int64_t n, int64_t count);
    /* acc[c * acc_stride + t * TILE_ROWS + i] += the sum over `count` rows k of value i of row k of tile t x
     * column c's value k: as multiply to the bit. */
    void (*multiply_panel)(float *acc, const struct panel *p);
    /* `rows`: n_rows of `width` floats, one after another. out[r] = rows[r] x;  y += sum of weights[r]
     * rows[r] */
    void (*dot_rows)(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width);
    void (*mix_rows)(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*rms_norm)(float *y, const float *x, const float *weight, float eps, int64_t n);
    void (*glu)(float *y, const float *gate, const float *up, int64_t n); /* silu(gate) up */
    void (*gelu)(float *y, const float *x, int64_t n);
    void (*geglu)(float *y, const float *gate, const float *up, int64_t n);       /* gelu(gate) up */
    void (*glu_clamped)(float *y, const float *gate, const float *up, int64_t n); /* GLU_CLAMPED */
    void (*softcap)(float *y, const float *x, float cap, int64_t n);              /* cap tanh(x / cap) */
    /* *max becomes the largest of it and all x, x becomes exp(scale (x - *max)); returns the sum. */
    float (*softmax_terms)(float *x, float scale, float *max, int64_t n);
    /* Products of floats from registers, as products.peak; NULL: not known. */
    int64_t (*peak)(int64_t rounds);
};

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avxvnni, kernels_avx512, kernels_avx512vnni, kernels_amx;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon, kernels_dotprod;
#endif

/* The best table for this CPU; `isa` (may be NULL) asks for a lesser one by name. */
int kernels_select(const char *isa, const struct kernels **out, struct error *err) MUST_USE;
/* All tables that this CPU can run, scalar first; returns how many. The first call asks Linux for registers,
 * which a sandbox forbids: it belongs before. */
enum { KERNELS_MAX = 6 };
int32_t kernels_list(const struct kernels *out[KERNELS_MAX]);
/* Any readable type. */
void kernels_dequantize(
    const struct kernels *k, enum tensor_type type, const uint8_t *from, float *to, int64_t count);

#endif
