/* Panels of quantised columns, whichever way the type takes them. */
#include <string.h>

#include "engine/worker/cpu/product_wide.h"
#include "engine/worker/tensor_half.h"

enum panel_layout product_layout(const struct products *p, enum tensor_type type)
{
    return p->tiled ? p->tiled->layout[type] : PANEL_BLOCKS;
}

/* Do n columns stand as x_blocks, side by side? */
static bool are_blocks(enum panel_layout layout, int64_t n)
{
    return layout == PANEL_BLOCKS || layout == PANEL_RUNS || (layout == PANEL_GROUPS && n < GROUPS_LEAST);
}

int64_t product_columns(const struct products *p, enum tensor_type type, int64_t n)
{
    return are_blocks(product_layout(p, type), n) ? n : wide_places(n);
}

int64_t product_panel_blocks(const struct products *p, enum tensor_type type, int64_t n, int64_t block)
{
    const int64_t columns = product_columns(p, type, n);
    switch (product_layout(p, type)) {
    case PANEL_WIDE:
        return columns * (block / (WIDE_VALUES / X_VALUES) * WIDE_BLOCKS);
    case PANEL_SPLIT:
        return columns * block * SPLIT_BLOCKS;
    default:
        return columns * block;
    }
}

struct x_block *product_panel_at(
    const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n, int64_t block)
{
    return panel + product_panel_blocks(p, type, n, block);
}

/* A column's 32 values, whether columns stand in groups or not. */
static struct x_block *block_of(const struct x_column *x, int64_t block, bool groups)
{
    return x->panel + (groups ? wide_places(x->n) * block + x->column / WIDE_COLUMNS * WIDE_COLUMNS
                              : x->n * block + x->column);
}

static struct x_block block_get(enum panel_layout layout, const struct x_column *x, int64_t block)
{
    const bool groups = layout == PANEL_GROUPS && x->n >= GROUPS_LEAST;
    const void *at = block_of(x, block, groups);
    const int64_t c = x->column % WIDE_COLUMNS;
    struct x_block b;
    if (!groups)
        return *(const struct x_block *)at;
    const struct x_group *g = at;
    for (int i = 0; i < X_VALUES / 4; i++)
        memcpy(b.q + 4 * i, g->q[i][c], 4);
    b.scale = g->scale[c];
    memcpy(&b.sum, g->rest[c], sizeof g->rest[c]);
    return b;
}

static void block_put(
    enum panel_layout layout, const struct x_column *x, int64_t block, const struct x_block *b)
{
    const bool groups = layout == PANEL_GROUPS && x->n >= GROUPS_LEAST;
    void *at = block_of(x, block, groups);
    const int64_t c = x->column % WIDE_COLUMNS;
    if (!groups) {
        *(struct x_block *)at = *b;
        return;
    }
    struct x_group *g = at;
    for (int i = 0; i < X_VALUES / 4; i++)
        memcpy(g->q[i][c], b->q + 4 * i, 4);
    g->scale[c] = b->scale;
    memcpy(g->rest[c], &b->sum, sizeof g->rest[c]);
}

static void groups_quantize(
    const struct products *p, const struct x_column *x, const float *values, int64_t width)
{
    struct x_block b;
    for (int64_t i = 0; i < width; i += X_VALUES) {
        p->quantize(&b, 1, values + i, X_VALUES);
        block_put(PANEL_GROUPS, x, i / X_VALUES, &b);
    }
}

void product_quantize(const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n,
    int64_t column, const float *values, int64_t width)
{
    const enum panel_layout layout = product_layout(p, type);
    if (layout != PANEL_RUNS && are_blocks(layout, n))
        p->quantize(panel + column, n, values, width);
    else if (layout == PANEL_GROUPS)
        groups_quantize(p, &(struct x_column){panel, n, column}, values, width);
    else
        p->tiled->quantize[layout](panel, n, column, values, width);
}

/* The group that a column stands in, at the panel's 256 values or 32 that hold a block. */
static struct wide_group wide_group_at(const struct x_column *x, const struct wide_place *p, int64_t block)
{
    const int64_t run = block / (WIDE_VALUES / X_VALUES);
    return wide_group(x->panel + p->places * run * WIDE_BLOCKS, p->w, p->first);
}

static struct split_group split_group_at(const struct x_column *x, const struct wide_place *p, int64_t block)
{
    return split_group(x->panel + p->places * block * SPLIT_BLOCKS, p->w, p->first);
}

/* Of words of four bytes, each of them in all columns of a group before the next. */
static void words_copy(
    const struct wide_place *t, void *to, const struct wide_place *f, const void *from, int count)
{
    for (int k = 0; k < count; k++)
        memcpy((char *)to + (k * t->w + t->c) * 4, (const char *)from + (k * f->w + f->c) * 4, 4);
}

void product_column_copy(const struct products *p, enum tensor_type type, const struct x_column *to,
    const struct x_column *from, int64_t blocks)
{
    const enum panel_layout layout = product_layout(p, type);
    const struct wide_place t = wide_place(to->n, to->column), f = wide_place(from->n, from->column);
    for (int64_t b = 0; b < blocks; b += layout == PANEL_WIDE ? WIDE_VALUES / X_VALUES : 1)
        if (layout == PANEL_WIDE) {
            const struct wide_group g = wide_group_at(to, &t, b), h = wide_group_at(from, &f, b);
            words_copy(&t, g.q, &f, h.q, WIDE_VALUES / 4);
            words_copy(&t, g.scale, &f, h.scale, 1);
            words_copy(&t, g.sums, &f, h.sums, 4);
            words_copy(&t, g.halves, &f, h.halves, 8);
        } else if (layout == PANEL_SPLIT) {
            const struct split_group g = split_group_at(to, &t, b), h = split_group_at(from, &f, b);
            words_copy(&t, g.high, &f, h.high, X_VALUES / 2);
            words_copy(&t, g.low, &f, h.low, X_VALUES / 2);
        } else {
            const struct x_block block = block_get(layout, from, b);
            block_put(layout, to, b, &block);
        }
}

static float value_read(enum panel_layout layout, const struct x_column *x, int64_t i)
{
    const int64_t block = i / X_VALUES;
    const struct wide_place at = wide_place(x->n, x->column);
    if (layout == PANEL_WIDE) {
        const struct wide_group g = wide_group_at(x, &at, block);
        const int64_t k = i % WIDE_VALUES;
        return (float)g.q[(k / 4 * at.w + at.c) * 4 + k % 4] * g.scale[at.c];
    }
    if (layout == PANEL_SPLIT) {
        const struct split_group g = split_group_at(x, &at, block);
        const int64_t k = (i % (X_VALUES / 2) * at.w + at.c) * 2 + i % X_VALUES / (X_VALUES / 2);
        return tensor_float_from_bits((uint32_t)g.high[k] << 16) +
               tensor_float_from_bits((uint32_t)g.low[k] << 16);
    }
    const struct x_block b = block_get(layout, x, block);
    return (float)b.q[i % X_VALUES] * b.scale;
}

void product_column_read(
    const struct products *p, enum tensor_type type, const struct x_column *x, float *values, int64_t width)
{
    const enum panel_layout layout = product_layout(p, type);
    for (int64_t i = 0; i < width; i++)
        values[i] = value_read(layout, x, i);
}

void product_finish(const struct products *p, enum tensor_type type, float *acc, int64_t n)
{
    const enum panel_layout layout = product_layout(p, type);
    if (layout == PANEL_SPLIT || (layout == PANEL_WIDE && n >= WIDE_LEAST) ||
        (layout == PANEL_GROUPS && n >= GROUPS_LEAST))
        p->tiled->turn(acc, n);
}
