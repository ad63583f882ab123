/* Matrix products. Weights are read from the mapping, a tile at a time. */
#include <string.h>

#include "engine/worker/cpu/cpu.h"

enum { PREFETCH_ROWS = 2 };

/* Asks for the bytes of a later row of the tile, or of the next tile, while this one is computed. The
 * hardware's own prefetching does not follow from row to row. */
static void prefetch(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + i);
}

/* Points w[] at the values [from, from + count) of each row of a tile; rows behind the last repeat it, so
 * that kernels always see whole groups. */
static void tile_load(const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows,
    int64_t from, int64_t count, struct cpu_scratch *s, const float *w[TILE_ROWS])
{
    const struct weight *weight = m->weight;
    size_t row_bytes = tensor_row_bytes(weight->type, weight->n_in);
    const uint8_t *at = m->data + (size_t)row * row_bytes + tensor_row_bytes(weight->type, from);
    bool direct = weight->type == TENSOR_F32 && (uintptr_t)at % sizeof(float) == 0;
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        if (r >= n_rows) {
            w[r] = w[n_rows - 1];
        } else if (direct) {
            w[r] = (const float *)(const void *)(at + (size_t)r * row_bytes);
        } else {
            if (row + r + PREFETCH_ROWS < weight->n_out)
                prefetch(at + (size_t)(r + PREFETCH_ROWS) * row_bytes, tensor_row_bytes(weight->type, count));
            kernels_dequantize(k, weight->type, at + (size_t)r * row_bytes, s->tile + r * TILE_VALUES, count);
            w[r] = s->tile + r * TILE_VALUES;
        }
    }
}

/* sums += tile x columns */
static void tile_multiply(const struct kernels *k, const struct matmul *m, const float *const *w,
    int64_t n_rows, int64_t from, int64_t count, float *sums)
{
    const int64_t stride = TILE_ROWS * k->lanes;
    int32_t c = 0;
    for (; c + KERNEL_COLUMNS <= m->n_columns; c += KERNEL_COLUMNS) {
        const float *x[KERNEL_COLUMNS] = {
            m->x[c] + from, m->x[c + 1] + from, m->x[c + 2] + from, m->x[c + 3] + from};
        for (int64_t r = 0; r < n_rows; r += KERNEL_ROWS)
            k->dot_4x4(sums + c * stride + r * k->lanes, stride, w + r, x, count);
    }
    for (; c < m->n_columns; c++)
        for (int64_t r = 0; r < n_rows; r += KERNEL_ROWS)
            k->dot_4x1(sums + c * stride + r * k->lanes, w + r, m->x[c] + from, count);
}

static void tile_store(
    const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows, const float *sums)
{
    for (int32_t c = 0; c < m->n_columns; c++)
        for (int64_t r = 0; r < n_rows; r++) {
            float sum = k->lane_sum(sums + (c * TILE_ROWS + r) * k->lanes);
            sum = m->scale ? sum * *m->scale : sum;
            m->y[c][row + r] = m->bias ? sum + m->bias[row + r] : sum;
        }
}

void cpu_matmul_rows(
    const struct kernels *k, const struct matmul *m, int64_t from, int64_t to, struct cpu_scratch *s)
{
    /* With few columns a tile is used up at once: a small one stays in the first-level cache. */
    const int64_t tile_rows = m->n_columns < KERNEL_COLUMNS ? KERNEL_ROWS : TILE_ROWS;
    const size_t sums_bytes = (size_t)m->n_columns * TILE_ROWS * (size_t)k->lanes * sizeof(float);
    for (int64_t row = from; row < to; row += tile_rows) {
        int64_t n_rows = to - row < tile_rows ? to - row : tile_rows;
        memset(s->sums, 0, sums_bytes);
        for (int64_t at = 0; at < m->weight->n_in; at += TILE_VALUES) {
            int64_t count = m->weight->n_in - at < TILE_VALUES ? m->weight->n_in - at : TILE_VALUES;
            const float *w[TILE_ROWS];
            tile_load(k, m, row, n_rows, at, count, s, w);
            tile_multiply(k, m, w, n_rows, at, count, s->sums);
        }
        tile_store(k, m, row, n_rows, s->sums);
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
