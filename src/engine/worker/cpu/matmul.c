/* Matrix products on floats: of weights that are floats, and of types that have no product on integers. The
 * weight is read from the mapping, TILE_ROWS rows by TILE_VALUES values at a time, turned round and made
 * floats (kernels.h), and multiplied by all columns before the next tile.
 *
 *   groups of rows -> segments of values -> tiles of the group's rows -> columns
 *
 * A segment of all columns stays in the second-level cache while the group's tiles go by. */
#include <string.h>

#include "engine/worker/cpu/cpu.h"

/* With few columns the weight's bytes are waited for: a group is one tile, so that memory is read front to
 * back, and the next tile's bytes are asked for meanwhile. The hardware's own prefetching does not follow so
 * many rows. */
enum { GROUP_ROWS = 16 * TILE_ROWS, FEW_COLUMNS = 8 };

static void prefetch(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + i);
}

/* Values [from, from + count) of the tile's rows, in memory of our own: as floats where `to_floats`, else as
 * they are, for rows that are a power of two apart push each other out of the first-level cache while they
 * are read side by side. Rows behind the last repeat it. */
static void rows_load(const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows,
    int64_t from, int64_t count, bool to_floats, struct cpu_scratch *s, const uint8_t *rows[TILE_ROWS])
{
    const enum tensor_type type = m->weight->type;
    const size_t row_bytes = tensor_row_bytes(type, m->weight->n_in), bytes = tensor_row_bytes(type, count);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        const uint8_t *at = m->data + (size_t)(row + (r < n_rows ? r : n_rows - 1)) * row_bytes +
                            tensor_row_bytes(type, from);
        float *to = s->rows + r * (TILE_VALUES + ROW_GAP);
        rows[r] = (const uint8_t *)to;
        if (to_floats)
            kernels_dequantize(k, type, at, to, count);
        else
            memcpy(to, at, bytes);
    }
}

/* The columns' values of a segment: where there are many, together in memory of our own, as rows that are a
 * power of two apart would push each other out of the caches. */
static void segment_gather(
    const struct matmul *m, int64_t from, int64_t count, struct cpu_scratch *s, const float **x)
{
    for (int32_t c = 0; c < m->n_columns; c++) {
        x[c] = m->x[c] + from;
        if (m->n_columns <= FEW_COLUMNS)
            continue;
        memcpy(s->columns + c * TILE_VALUES, x[c], (size_t)count * sizeof **x);
        x[c] = s->columns + c * TILE_VALUES;
    }
}

/* sums[column][row of the tile]; `x`: the columns' values from `from` on. */
static void tile_multiply(const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows,
    int64_t from, int64_t count, const float *const *x, struct cpu_scratch *s, float *sums)
{
    const enum tensor_type type = m->weight->type;
    const bool as_it_is = k->tile[type] != NULL;
    const uint8_t *rows[TILE_ROWS];
    const uint8_t *ahead = m->data + (size_t)(row + TILE_ROWS) * tensor_row_bytes(type, m->weight->n_in) +
                           TILE_ROWS * tensor_row_bytes(type, from);
    rows_load(k, m, row, n_rows, from, count, !as_it_is, s, rows);
    if (m->n_columns == 1 && k->single[type] && count % KERNEL_RUN == 0) {
        k->single[type](sums, rows, x[0], count, ahead);
        return;
    }
    if (m->n_columns <= FEW_COLUMNS)
        prefetch(ahead, TILE_ROWS * tensor_row_bytes(type, count));
    k->tile[as_it_is ? type : TENSOR_F32](s->tile, rows, count);
    k->multiply(sums, TILE_ROWS, s->tile, TILE_ROWS, x, m->n_columns, count);
}

/* sums[tile][column][row of the tile] */
static void group_multiply(
    const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows, struct cpu_scratch *s)
{
    const int64_t n_in = m->weight->n_in, tile_sums = (int64_t)m->n_columns * TILE_ROWS;
    const float *x[TILE_COLUMNS];
    memset(s->sums, 0, (size_t)((n_rows + TILE_ROWS - 1) / TILE_ROWS * tile_sums) * sizeof *s->sums);
    for (int64_t from = 0, count; from < n_in; from += count) {
        count = n_in - from < TILE_VALUES ? n_in - from : TILE_VALUES;
        segment_gather(m, from, count, s, x);
        for (int64_t r = 0; r < n_rows; r += TILE_ROWS)
            tile_multiply(k, m, row + r, n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS, from, count, x, s,
                s->sums + r / TILE_ROWS * tile_sums);
    }
}

static void group_store(const struct matmul *m, int64_t row, int64_t n_rows, const float *sums)
{
    for (int64_t tile = 0; tile < n_rows; tile += TILE_ROWS) {
        const int64_t n = n_rows - tile < TILE_ROWS ? n_rows - tile : TILE_ROWS;
        const float *bias = m->bias ? m->bias + row + tile : NULL;
        for (int32_t c = 0; c < m->n_columns; c++, sums += TILE_ROWS)
            for (int64_t r = 0; r < n; r++) {
                float sum = m->scale ? sums[r] * *m->scale : sums[r];
                m->y[c][row + tile + r] = bias ? sum + bias[r] : sum;
            }
    }
}

void cpu_matmul_rows(
    const struct kernels *k, const struct matmul *m, int64_t from, int64_t to, struct cpu_scratch *s)
{
    const int64_t group = m->n_columns <= FEW_COLUMNS ? TILE_ROWS : GROUP_ROWS;
    for (int64_t row = from; row < to; row += group) {
        int64_t n_rows = to - row < group ? to - row : group;
        group_multiply(k, m, row, n_rows, s);
        group_store(m, row, n_rows, s->sums);
    }
}

int64_t cpu_piece_rows(const struct cpu *c, int64_t n_rows)
{
    int64_t rows = n_rows / (4 * (int64_t)threads_count(c->threads));
    return (rows / TILE_ROWS + 1) * TILE_ROWS;
}

void cpu_matmul(const struct cpu_task *task)
{
    const struct cpu *c = task->cpu;
    const struct linear *linear = task->op->linear;
    int32_t n_columns = program_value(c->program, task->op->out)->rows;
    int64_t n_out = linear->weight.n_out, from, to;
    struct matmul m = {.weight = &linear->weight,
        .data = linear->weight.data,
        .bias = linear->bias,
        .scale = linear->weight.scales};
    while (cpu_claim(task, n_out, cpu_piece_rows(c, n_out), &from, &to))
        for (int32_t column = 0; column < n_columns; column += m.n_columns) {
            m.n_columns = n_columns - column < TILE_COLUMNS ? n_columns - column : TILE_COLUMNS;
            for (int32_t i = 0; i < m.n_columns; i++) {
                m.x[i] = cpu_row(c, task->op->a, column + i);
                m.y[i] = cpu_row(c, task->op->out, column + i);
            }
            cpu_matmul_rows(c->kernels, &m, from, to, task->scratch);
        }
}

/* Rows [from, to) of one expert, for every token that is routed to it. */
static void expert_rows(const struct cpu_task *task, int64_t expert, int64_t from, int64_t to)
{
    const struct cpu *c = task->cpu;
    const struct linear *linear = task->op->linear;
    const struct weight *w = &linear->weight;
    int32_t n_tokens = program_value(c->program, task->op->out)->rows;
    int32_t n_used = program_value(c->program, task->op->b)->width / 2;
    bool own_input = program_value(c->program, task->op->a)->width != w->n_in;
    struct matmul m = {.weight = w, .n_columns = 0};
    m.data = (const uint8_t *)w->data + (size_t)(expert * w->n_out) * tensor_row_bytes(w->type, w->n_in);
    m.bias = linear->bias ? linear->bias + expert * w->n_out : NULL;
    m.scale = w->scales ? w->scales + expert : NULL;
    for (int64_t i = 0; i < (int64_t)n_tokens * n_used; i++) {
        int64_t token = i / n_used, place = i % n_used;
        if ((int64_t)cpu_row(c, task->op->b, token)[place] != expert)
            continue;
        m.x[m.n_columns] = cpu_row(c, task->op->a, token) + (own_input ? place * w->n_in : 0);
        m.y[m.n_columns] = cpu_row(c, task->op->out, token) + place * w->n_out;
        if (++m.n_columns == TILE_COLUMNS) {
            cpu_matmul_rows(c->kernels, &m, from, to, task->scratch);
            m.n_columns = 0;
        }
    }
    if (m.n_columns > 0)
        cpu_matmul_rows(c->kernels, &m, from, to, task->scratch);
}

void cpu_matmul_experts(const struct cpu_task *task)
{
    const struct weight *w = &task->op->linear->weight;
    int64_t size = cpu_piece_rows(task->cpu, w->n_out), pieces = (w->n_out + size - 1) / size, from, to;
    while (cpu_claim(task, w->n_experts * pieces, 1, &from, &to)) {
        int64_t first = from % pieces * size;
        expert_rows(task, from / pieces, first, first + size < w->n_out ? first + size : w->n_out);
    }
}
