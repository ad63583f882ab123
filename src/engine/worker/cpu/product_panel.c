/* Panels of quantised columns, whichever way the type takes them. */
#include <string.h>

#include "engine/worker/cpu/product_wide.h"

bool product_is_wide(const struct products *p, enum tensor_type type)
{
    return p->wide && p->wide->types[type];
}

int64_t product_columns(const struct products *p, enum tensor_type type, int64_t n)
{
    return product_is_wide(p, type) ? wide_places(n) : n;
}

int64_t product_panel_blocks(const struct products *p, enum tensor_type type, int64_t n, int64_t block)
{
    return product_columns(p, type, n) *
           (product_is_wide(p, type) ? block / (WIDE_VALUES / X_VALUES) * WIDE_BLOCKS : block);
}

struct x_block *product_panel_at(
    const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n, int64_t block)
{
    return panel + product_panel_blocks(p, type, n, block);
}

void product_quantize(const struct products *p, enum tensor_type type, struct x_block *panel, int64_t n,
    int64_t column, const float *values, int64_t width)
{
    if (product_is_wide(p, type))
        p->wide->quantize(panel, n, column, values, width);
    else
        p->quantize(panel + column, n, values, width);
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

void product_column_copy(const struct products *p, enum tensor_type type, const struct x_column *to,
    const struct x_column *from, int64_t blocks)
{
    const bool wide = product_is_wide(p, type);
    for (int64_t b = 0; b < blocks && !wide; b++)
        to->panel[b * to->n + to->column] = from->panel[b * from->n + from->column];
    for (int64_t b = 0; b < blocks && wide; b += WIDE_VALUES / X_VALUES) {
        const struct place t = place_of(to, b), f = place_of(from, b);
        place_copy(&t, &f);
    }
}

void product_column_read(
    const struct products *p, enum tensor_type type, const struct x_column *x, float *values, int64_t width)
{
    for (int64_t i = 0; i < width; i++)
        if (product_is_wide(p, type)) {
            const struct place at = place_of(x, i / X_VALUES);
            const int64_t k = i % WIDE_VALUES;
            values[i] = (float)at.group.q[(k / 4 * at.w + at.c) * 4 + k % 4] * at.group.scale[at.c];
        } else {
            const struct x_block *at = x->panel + i / X_VALUES * x->n + x->column;
            values[i] = (float)at->q[i % X_VALUES] * at->scale;
        }
}

void product_finish(const struct products *p, enum tensor_type type, float *acc, int64_t n)
{
    if (product_is_wide(p, type) && n >= WIDE_LEAST)
        p->wide->turn(acc, n);
}
