/* Products of weights and activations that are made smaller first: of quantised weights on integers, of
 * halves (F16, BF16) on bfloat16.
 *
 * Activations are quantised in runs of 32 values, each with a scale of its own (x_block). Weights are used as
 * the file holds them: LANES rows at a time, a vector lane for each, are unpacked to bytes and
 * multiplied by every column (token) of a panel before the next few values:
 *
 *      rows 0..LANES-1, values 4i..4i+3 ---> v[i], a row in each 32-bit lane
 *      column c, values 4i..4i+3        ---> the same four bytes in all lanes
 *      acc[c][lane] += scale_w[lane] scale_x[c] (sum of the 32 products) - min_w[lane] sum_x[c]
 *
 * The weights stream by once, for a single token, the tokens of many streams and a prompt alike. The sums of
 * 32 products are exact and are added in the order of the row, so that a token's result is the same to the
 * bit whatever else is in the batch. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/worker/tensor.h"

enum { X_VALUES = 32, PRODUCT_LANES_MAX = 32, PRODUCT_COLUMNS_MAX = 256, WIDE_BLOCKS = 5 };

/* 32 values of an activation: q * scale, q within +-127. A run that holds what is no finite number has a
 * scale of NaN. */
struct x_block {
    int8_t q[X_VALUES];
    float scale;
    float sum;                /* of its values, as they are quantised */
    float sum_low, sum_high;  /* of the first and the last sixteen */
    int16_t q_sums[2];        /* the same of q */
    int32_t start, starts[2]; /* what sums of products by bytes that are 128 too high begin with (SUM_ZERO) */
};

/* As bits of a float, 1.125 * 2^23: as a sum that began with it stays within 2^20 of it (eight words of bytes
 * of 248), it is the float 1.125 * 2^23 + sum, without being converted. */
enum { SUM_ZERO = 0x4B100000 };

/* acc[c * lanes + r] += rows[r] x[c] over the blocks [from, from + count) of the rows, for all lanes r and n
 * columns. `x`: the panel from the block `from` on, all columns of a block together: x[b * n + c]. `acc` is
 * aligned to KERNEL_ALIGN. Rows may be unaligned; from and count are whole blocks of the weight's type. For a
 * matrix unit's type it may stand otherwise until product_finish. */
typedef void product_fn(
    float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows, int64_t from, int64_t count);

/* How the columns of a panel stand: as x_blocks, whose scale may be that of 256 values (PANEL_RUNS: then the
 * q_sums of two blocks, of all 32 values each, stand with the first), or as a matrix unit takes them
 * (product_wide.h). */
enum panel_layout { PANEL_BLOCKS, PANEL_RUNS, PANEL_GROUPS, PANEL_WIDE, PANEL_SPLIT, PANEL_LAYOUTS };

/* What a table has for the other layouts; `turn` and `split_peak` with a matrix unit. */
struct products_tiled {
    enum panel_layout layout[TENSOR_TYPES];
    void (*quantize[PANEL_LAYOUTS])(
        struct x_block *panel, int64_t n, int64_t column, const float *values, int64_t width);
    /* acc[group of w columns][row][w] becomes acc[c * lanes + r]. */
    void (*turn)(float *acc, int64_t n);
    int64_t (*split_peak)(int64_t rounds); /* as products.peak, of bfloat16 */
};

struct products {
    const char *isa;
    int32_t lanes;
    /* n values, a multiple of 32, to x[0], x[stride], ... */
    void (*quantize)(struct x_block *x, int64_t stride, const float *values, int64_t n);
    product_fn *of[TENSOR_TYPES]; /* NULL: the type goes through floats */
    /* Products of bytes from registers, as fast as this instruction set does them; returns how many
     * operations that were (a product and its addition are two). */
    int64_t (*peak)(int64_t rounds);
    const struct products_tiled *tiled; /* NULL: all columns are x_blocks */
};

#if defined(__x86_64__)
extern const struct products products_avx2, products_avxvnni, products_avx512vnni, products_amx;
#elif defined(__aarch64__)
extern const struct products products_neon, products_dotprod;
#endif

/* A column of a panel of n. */
struct x_column {
    struct x_block *panel;
    int64_t n, column;
};

enum panel_layout product_layout(const struct products *p, enum tensor_type type);
/* The panel from a block of 32 values on, the first of a block of the type; how many x_blocks are before it.
 */
int64_t product_panel_blocks(const struct products *p, enum tensor_type type, int64_t n, int64_t block);
struct x_block *product_panel_at(
    const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n, int64_t block);
/* Columns that acc has to have room for. */
int64_t product_columns(const struct products *p, enum tensor_type type, int64_t n);
/* A column of a panel that products with rows of this type take. */
void product_quantize(const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n,
    int64_t column, const float *values, int64_t width);
void product_column_copy(const struct products *p, enum tensor_type type, const struct x_column *to,
    const struct x_column *from, int64_t blocks);
/* What its values are, as they are quantised. */
void product_column_read(
    const struct products *p, enum tensor_type type, const struct x_column *x, float *values, int64_t width);
/* What products of a row's last blocks left in acc becomes acc[c * lanes + r], whichever type. */
void product_finish(const struct products *p, enum tensor_type type, float *acc, int64_t n);

/* NULL if every product agrees with plain arithmetic on a few random rows, else the name of the first type
 * that does not. Run before a table is used: a wrong product must not answer. */
const char *products_check(const struct products *p);

struct rand_pcg;
/* A row whose scales are finite numbers up to one; all other bytes are `fill`, or random (-1). */
void product_random_row(
    enum tensor_type type, struct rand_pcg *random, int fill, uint8_t *row, int64_t values);
/* Is `got` the product of the row, as its format is defined, and a column's values as they are quantised, up
 * to rounding? At most 1,024 values. */
bool product_agrees(enum tensor_type type, const uint8_t *row, const float *x, int64_t values, float got);

#endif
