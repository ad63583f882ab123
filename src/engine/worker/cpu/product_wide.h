/* Columns for a matrix unit, up to sixteen of them side by side as a group.
 *
 * PANEL_WIDE: quantised in runs of 256 values. Types of blocks of 256 take them, whose scales of 16 or 32
 * values are whole numbers: with these multiplied in, a block is summed in integers from end to end, and made
 * a float once.
 *
 *   a group of w columns      q      [64][w][4]   four values of each column
 *   and 256 values:           scale  [w]
 *                             sums   [4][w][2]    of 32 values each, two at a time
 *                             halves [8][w][2]    of 16
 *   a panel:                  [256 values][group], WIDE_BLOCKS x_blocks for each column
 *
 * PANEL_SPLIT: each value as the sum of two bfloat16, of which the first is the value rounded, the second
 * what that leaves out. Weights of halves take them.
 *
 *   a group of w columns      high   [16][w][2]   values i and i + 16 of each column
 *   and 32 values:            low    [16][w][2]
 *   a panel:                  [32 values][group], SPLIT_BLOCKS x_blocks for each column
 *
 * PANEL_GROUPS: x_blocks of sixteen columns, whose values stand four by four. Types of blocks of 32 values
 * take them. (Fewer than GROUPS_LEAST columns are left to vectors, which are faster there, and stand as
 * PANEL_BLOCKS.)
 *
 * Groups are of sixteen columns; of fewer than WIDE_LEAST, which are left to vectors where they are bytes,
 * there is one group of as many. What is in a place without a column does not matter. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_WIDE_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_WIDE_H

#include "engine/worker/cpu/product.h"

enum { WIDE_VALUES = 256, WIDE_COLUMNS = 16, WIDE_LEAST = 10, GROUPS_LEAST = 32, SPLIT_BLOCKS = 2 };

struct wide_group {
    int8_t *q;
    float *scale;
    int16_t *sums, *halves;
};

_Static_assert(WIDE_BLOCKS * sizeof(struct x_block) >= 308, "a column's values, scale and sums have no room");

/* Places for n columns. */
static inline int64_t wide_places(int64_t n)
{
    return n < WIDE_LEAST ? n : (n + WIDE_COLUMNS - 1) / WIDE_COLUMNS * WIDE_COLUMNS;
}

/* Columns of a group where there are so many places. */
static inline int64_t wide_width(int64_t places)
{
    return places < WIDE_COLUMNS ? places : WIDE_COLUMNS;
}

/* Where a column of n stands: column c of the group of w that begins with `first`. */
struct wide_place {
    int64_t places, w, first, c;
};

static inline struct wide_place wide_place(int64_t n, int64_t column)
{
    const int64_t places = wide_places(n), c = column % WIDE_COLUMNS;
    return (struct wide_place){places, wide_width(places), column - c, c};
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

/* x_blocks of sixteen columns. */
struct x_group {
    int8_t q[X_VALUES / 4][WIDE_COLUMNS][4];
    float scale[WIDE_COLUMNS];
    uint8_t rest[WIDE_COLUMNS][sizeof(struct x_block) - offsetof(struct x_block, sum)];
};

_Static_assert(sizeof(struct x_group) == WIDE_COLUMNS * sizeof(struct x_block), "a group has no room");

/* What wide_group is, at the panel's 32 values `x`. */
struct split_group {
    uint16_t *high, *low;
};

_Static_assert(SPLIT_BLOCKS * sizeof(struct x_block) == 2 * 2 * X_VALUES, "a column's values have no room");

static inline struct split_group split_group(const struct x_block *x, int64_t w, int64_t first)
{
    uint16_t *high = (uint16_t *)(uintptr_t)(x + first * SPLIT_BLOCKS);
    return (struct split_group){high, high + X_VALUES * w};
}

#endif
