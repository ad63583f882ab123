/* Matrix products on integers and on bfloat16 (product.h): the input is quantised once for all products that
 * share it, in panels.
 *
 *   rows (tokens) t of the input, PANEL_COLUMNS at a time:   panel 0                panel 1
 *   blocks b of 32 values:                                   [b][t of the panel]    [b][t of the panel] ...
 */
#include <string.h>

#include "engine/worker/cpu/cpu.h"
#include "engine/worker/cpu/product_wide.h"

/* A run of a full panel's blocks, about 256 KiB, stays in the second-level cache while STEP_ROWS of the
 * weight's rows go by, with as much of their sums. All are whole blocks of every type. */
enum { PANEL_COLUMNS = PRODUCT_COLUMNS_MAX, STEP_ROWS = 256 };
static const int64_t segments[PANEL_LAYOUTS] = {
    [PANEL_BLOCKS] = 16, [PANEL_RUNS] = 16, [PANEL_GROUPS] = 16, [PANEL_WIDE] = 32, [PANEL_SPLIT] = 8};
_Static_assert(2 * STEP_ROWS * PANEL_COLUMNS <= SUMS_MAX, "a step's sums have no room in the scratch");

bool cpu_quantises(const struct cpu *c, const struct op *op)
{
    return (op->kind == OP_MATMUL || op->kind == OP_MATMUL_EXPERTS) && c->kernels->products &&
           c->kernels->products->of[op->linear->weight.type] && op->linear->weight.n_in % X_VALUES == 0;
}

enum panel_layout cpu_panel_layout(const struct cpu *c, const struct op *op)
{
    return product_layout(c->kernels->products, op->linear->weight.type);
}

/* x_blocks for each run of 32 values, at most: a wide panel has fewer. */
static int64_t value_blocks(const struct cpu *c, const struct op *op)
{
    return cpu_panel_layout(c, op) == PANEL_SPLIT ? SPLIT_BLOCKS : 1;
}

void cpu_quantised_need(
    const struct cpu *c, const struct program *p, const struct op *op, size_t *input, size_t *panel)
{
    const struct value_info *a = program_value(p, op->a);
    const size_t blocks = (size_t)value_blocks(c, op);
    const int64_t last = a->rows % PANEL_COLUMNS; /* whose panel may have places for more */
    const int64_t rows =
        a->rows - last + product_columns(c->kernels->products, op->linear->weight.type, last);
    *input = blocks * (size_t)rows * (size_t)a->width / X_VALUES;
    *panel = op->kind == OP_MATMUL_EXPERTS
                 ? blocks * PANEL_COLUMNS * (size_t)op->linear->weight.n_in / X_VALUES
                 : 0;
}

static int32_t panel_columns(int64_t first, int64_t n_rows)
{
    return n_rows - first < PANEL_COLUMNS ? (int32_t)(n_rows - first) : PANEL_COLUMNS;
}

struct x_column cpu_quantised_column(const struct cpu *c, const struct op *op, struct x_block *x, int64_t row)
{
    const struct value_info *info = program_value(c->program, op->a);
    const int64_t first = row / PANEL_COLUMNS * PANEL_COLUMNS;
    return (struct x_column){.panel = x + first * (info->width / X_VALUES) * value_blocks(c, op),
        .n = panel_columns(first, info->rows),
        .column = row - first};
}

void cpu_quantise(const struct cpu_task *task)
{
    const struct cpu *c = task->cpu;
    const struct products *p = c->kernels->products;
    const enum tensor_type type = task->op->linear->weight.type;
    const struct value_info *a = program_value(c->program, task->op->a);
    int64_t from, to;
    cpu_rows_own(task, a->rows, &from, &to);
    for (int64_t row = from; row < to; row++) {
        const struct x_column x = cpu_quantised_column(c, task->op, task->input, row);
        product_quantize(p, type, x.panel, x.n, x.column, cpu_row(c, task->op->a, row), a->width);
    }
}

/* Rows behind the last repeat it. */
void cpu_product_multiply(const struct products *p, const struct matmul *m, struct x_block *x, int64_t row,
    int64_t n_rows, float *acc)
{
    const enum tensor_type type = m->weight->type;
    const int64_t blocks = m->weight->n_in / X_VALUES, n = m->n_columns, room = product_columns(p, type, n);
    const size_t row_bytes = tensor_row_bytes(type, m->weight->n_in);
    const int64_t run = segments[product_layout(p, type)],
                  segment = n == 1 ? blocks : run * (PANEL_COLUMNS / n); /* few columns' rows: whole */
    memset(acc, 0, (size_t)((n_rows + p->lanes - 1) / p->lanes * p->lanes * room) * sizeof *acc);
    for (int64_t b = 0; b < blocks; b += segment)
        for (int64_t r = 0; r < n_rows; r += p->lanes) {
            const uint8_t *rows[PRODUCT_LANES_MAX];
            for (int64_t l = 0; l < p->lanes; l++)
                rows[l] = m->data + (size_t)(row + (r + l < n_rows ? r + l : n_rows - 1)) * row_bytes;
            p->of[type](acc + r * room, product_panel_at(p, type, x, n, b), n, rows, b,
                blocks - b < segment ? blocks - b : segment);
        }
    for (int64_t r = 0; r < n_rows; r += p->lanes)
        product_finish(p, type, acc + r * room, n);
}

void cpu_product_column(const struct products *p, const struct matmul *m, int64_t row, int64_t n_rows,
    const float *acc, int64_t c, float *restrict y)
{
    const float *bias = m->bias ? m->bias + row : NULL, scale = m->scale ? *m->scale : 1;
    const int64_t room = product_columns(p, m->weight->type, m->n_columns);
    for (int64_t r = 0; r < n_rows; r += p->lanes, y += p->lanes) {
        const int64_t n = n_rows - r < p->lanes ? n_rows - r : p->lanes;
        const float *restrict sums = acc + r * room + c * p->lanes;
        for (int64_t l = 0; l < n; l++)
            y[l] = sums[l] * scale;
        for (int64_t l = 0; bias && l < n; l++)
            y[l] += bias[r + l];
    }
}

void cpu_product_rows(const struct products *p, const struct matmul *m, struct x_block *x, int64_t from,
    int64_t to, struct cpu_scratch *s)
{
    for (int64_t row = from; row < to; row += STEP_ROWS) {
        const int64_t n_rows = to - row < STEP_ROWS ? to - row : STEP_ROWS;
        cpu_product_multiply(p, m, x, row, n_rows, s->sums);
        for (int64_t c = 0; c < m->n_columns; c++)
            cpu_product_column(p, m, row, n_rows, s->sums, c, m->y[c] + row);
    }
}

void cpu_product(const struct cpu_task *task)
{
    const struct cpu *c = task->cpu;
    const struct linear *linear = task->op->linear;
    const int32_t n_tokens = program_value(c->program, task->op->out)->rows;
    int64_t n_out = linear->weight.n_out, from, to;
    struct matmul m = {.weight = &linear->weight,
        .data = linear->weight.data,
        .bias = linear->bias,
        .scale = linear->weight.scales};
    while (cpu_claim(task, n_out, cpu_piece_rows(c, n_out), &from, &to))
        for (int32_t first = 0; first < n_tokens; first += PANEL_COLUMNS) {
            m.n_columns = panel_columns(first, n_tokens);
            for (int32_t i = 0; i < m.n_columns; i++)
                m.y[i] = cpu_row(c, task->op->out, first + i);
            cpu_product_rows(c->kernels->products, &m,
                cpu_quantised_column(c, task->op, task->input, first).panel, from, to, task->scratch);
        }
}
