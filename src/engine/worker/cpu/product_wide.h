/* Columns for a matrix unit: quantised in runs of 256 values, and up to sixteen columns side by side as a
 * group. Types of blocks of 256 take them, whose scales of 16 or 32 values are whole numbers: with these
 * multiplied in, a block is summed in integers from end to end, and made a float once.
 *
 *   a group of w columns      q      [64][w][4]   four values of each column
 *   and 256 values:           scale  [w]
 *                             sums   [4][w][2]    of 32 values each, two at a time
 *                             halves [8][w][2]    of 16
 *   a panel:                  [256 values][group], WIDE_BLOCKS x_blocks for each column
 *
 * Groups are of sixteen columns; of fewer than WIDE_LEAST, which are left to vectors, there is one group of
 * as many. What is in a place without a column does not matter. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_WIDE_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_WIDE_H

#include "engine/worker/cpu/product.h"

enum { WIDE_VALUES = 256, WIDE_COLUMNS = 16, WIDE_LEAST = 10 };

struct wide_group {
    int8_t *q;
    float *scale;
    int16_t *sums, *halves;
};

_Static_assert(
    WIDE_BLOCKS * sizeof(struct x_block) >= 308, "a column's values, scale and sums have no room");

/* Places for n columns. */
static inline int64_t wide_places(int64_t n)
{
    return n < WIDE_LEAST ? n : (n + WIDE_COLUMNS - 1) / WIDE_COLUMNS * WIDE_COLUMNS;
}

/* The group of w columns that begins with column `first`, at the panel's 256 values `x`. */
static inline struct wide_group wide_group(const struct x_block *x, int64_t w, int64_t first)
{
    int8_t *q = (int8_t *)(uintptr_t)(x + first * WIDE_BLOCKS);
    return (struct wide_group){.q = q,
        .scale = (float *)(void *)(q + 256 * w),
        .sums = (int16_t *)(void *)(q + 260 * w),
        .halves = (int16_t *)(void *)(q + 276 * w)};
}

#endif
