/* Panels of quantised columns, whichever way the type takes them. */
#include <string.h>

#include "engine/worker/cpu/product_wide.h"
#include "engine/worker/tensor_half.h"

enum panel_layout product_layout(const struct products *p, enum tensor_type type)
{
    return p->tiled ? p->tiled->layout[type] : PANEL_BLOCKS;
}

int64_t product_columns(const struct products *p, enum tensor_type type, int64_t n)
{
    const enum panel_layout layout = product_layout(p, type);
    return layout == PANEL_BLOCKS || (layout == PANEL_GROUPS && n < GROUPS_LEAST) ? n : wide_places(n);
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
    if (layout == PANEL_BLOCKS || (layout == PANEL_GROUPS && n < GROUPS_LEAST))
        p->quantize(panel + column, n, values, width);
    else if (layout == PANEL_GROUPS)
        groups_quantize(p, &(struct x_column){panel, n, column}, values, width);
    else
        p->tiled->quantize[layout](panel, n, column, values, width);
}

/* A column at a panel's 256 values. */
struct place {
    struct wide_group group;
    int64_t w, c;
};

static struct place place_of(const struct x_column *x, int64_t block)
{
    const int64_t places = wide_places(x->n), w = places < WIDE_COLUMNS ? places : WIDE_COLUMNS,
                  c = x->column % WIDE_COLUMNS;
    const struct x_block *at = x->panel + places * (block / (WIDE_VALUES / X_VALUES)) * WIDE_BLOCKS;
    return (struct place){wide_group(at, w, x->column - c), w, c};
}

static void place_copy(const struct place *to, const struct place *from)
{
    for (int k = 0; k < WIDE_VALUES / 4; k++)
        memcpy(to->group.q + (k * to->w + to->c) * 4, from->group.q + (k * from->w + from->c) * 4, 4);
    to->group.scale[to->c] = from->group.scale[from->c];
    for (int k = 0; k < 4; k++)
        memcpy(to->group.sums + (k * to->w + to->c) * 2, from->group.sums + (k * from->w + from->c) * 2, 4);
    for (int k = 0; k < 8; k++)
        memcpy(
            to->group.halves + (k * to->w + to->c) * 2, from->group.halves + (k * from->w + from->c) * 2, 4);
}

/* A column at a panel's 32 values of two parts. */
struct split_place {
    struct split_group group;
    int64_t w, c;
};

static struct split_place split_place_of(const struct x_column *x, int64_t block)
{
    const int64_t places = wide_places(x->n), w = places < WIDE_COLUMNS ? places : WIDE_COLUMNS,
                  c = x->column % WIDE_COLUMNS;
    return (struct split_place){
        split_group(x->panel + places * block * SPLIT_BLOCKS, w, x->column - c), w, c};
}

static void split_place_copy(const struct split_place *to, const struct split_place *from)
{
    for (int k = 0; k < X_VALUES / 2; k++) {
        memcpy(to->group.high + (k * to->w + to->c) * 2, from->group.high + (k * from->w + from->c) * 2, 4);
        memcpy(to->group.low + (k * to->w + to->c) * 2, from->group.low + (k * from->w + from->c) * 2, 4);
    }
}

void product_column_copy(const struct products *p, enum tensor_type type, const struct x_column *to,
    const struct x_column *from, int64_t blocks)
{
    const enum panel_layout layout = product_layout(p, type);
    for (int64_t b = 0; b < blocks; b += layout == PANEL_WIDE ? WIDE_VALUES / X_VALUES : 1)
        if (layout == PANEL_WIDE) {
            const struct place t = place_of(to, b), f = place_of(from, b);
            place_copy(&t, &f);
        } else if (layout == PANEL_SPLIT) {
            const struct split_place t = split_place_of(to, b), f = split_place_of(from, b);
            split_place_copy(&t, &f);
        } else {
            const struct x_block block = block_get(layout, from, b);
            block_put(layout, to, b, &block);
        }
}

static float value_read(enum panel_layout layout, const struct x_column *x, int64_t i)
{
    const int64_t block = i / X_VALUES;
    if (layout == PANEL_WIDE) {
        const struct place at = place_of(x, block);
        const int64_t k = i % WIDE_VALUES;
        return (float)at.group.q[(k / 4 * at.w + at.c) * 4 + k % 4] * at.group.scale[at.c];
    }
    if (layout == PANEL_SPLIT) {
        const struct split_place at = split_place_of(x, block);
        const int64_t k = (i % (X_VALUES / 2) * at.w + at.c) * 2 + i % X_VALUES / (X_VALUES / 2);
        return tensor_float_from_bits((uint32_t)at.group.high[k] << 16) +
               tensor_float_from_bits((uint32_t)at.group.low[k] << 16);
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
