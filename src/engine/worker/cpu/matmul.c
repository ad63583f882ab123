/* Matrix products on floats: of weights that are floats, and of types that have no product on integers.
 *
 *   groups of rows -> segments of values -> tiles of TILE_ROWS of the group's rows -> columns
 *
 * Many columns: a tile's values are made floats in memory of our own, and a segment of all columns stays in
 * the second-level cache while the group's tiles go by. Few columns wait for the weight's bytes: a group is
 * one tile, whose rows are read front to back, where they are, and the next tile's are asked for meanwhile.
 */
#include <string.h>

#include "engine/worker/cpu/cpu.h"

/* PIECE_ROWS: a thread takes a multiple of it, whole tiles of every kernel, as a part of one costs as much.
 */
enum { GROUP_ROWS = 16 * TILE_ROWS, FEW_COLUMNS = 24, PIECE_ROWS = PRODUCT_LANES_MAX };

static bool as_it_is(const struct kernels *k, const struct matmul *m)
{
    return m->n_columns <= FEW_COLUMNS && k->along[m->weight->type];
}

/* Values [from, from + count) of the tile's rows; those behind the last repeat it. Floats go into memory of
 * our own, for rows that are a power of two apart push each other out of the first-level cache while they are
 * read side by side. */
static void rows_load(const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows,
    int64_t from, int64_t count, struct cpu_scratch *s, const uint8_t *rows[TILE_ROWS])
{
    const enum tensor_type type = m->weight->type;
    const size_t row_bytes = tensor_row_bytes(type, m->weight->n_in);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        rows[r] = m->data + (size_t)(row + (r < n_rows ? r : n_rows - 1)) * row_bytes +
                  tensor_row_bytes(type, from);
        if (as_it_is(k, m))
            continue;
        float *to = s->rows + r * (TILE_VALUES + ROW_GAP);
        if (type == TENSOR_F32)
            memcpy(to, rows[r], (size_t)count * sizeof *to);
        else
            kernels_dequantize(k, type, rows[r], to, count);
        rows[r] = (const uint8_t *)to;
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

/* sums[tile][column][row of the tile]. A segment is a run of the kernels, or all of the row. */
static void group_multiply(
    const struct kernels *k, const struct matmul *m, int64_t row, int64_t n_rows, struct cpu_scratch *s)
{
    const int64_t n_in = m->weight->n_in, tile_sums = (int64_t)m->n_columns * TILE_ROWS;
    const int64_t segment = as_it_is(k, m) ? n_in : TILE_VALUES;
    const enum tensor_type type = as_it_is(k, m) ? m->weight->type : TENSOR_F32;
    const float *x[TILE_COLUMNS];
    const uint8_t *rows[TILE_ROWS];
    memset(s->sums, 0, (size_t)((n_rows + TILE_ROWS - 1) / TILE_ROWS * tile_sums) * sizeof *s->sums);
    for (int64_t from = 0, count; from < n_in; from += count) {
        count = n_in - from < segment ? n_in - from : segment;
        segment_gather(m, from, count, s, x);
        for (int64_t r = 0; r < n_rows; r += TILE_ROWS) {
            rows_load(k, m, row + r, n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS, from, count, s, rows);
            k->along[type](s->sums + r / TILE_ROWS * tile_sums, rows, x, m->n_columns, count, as_it_is(k, m));
        }
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
    const int64_t round = 4 * (int64_t)threads_count(c->threads) * PIECE_ROWS; /* of all pieces */
    return n_rows > 0 ? (n_rows + round - 1) / round * PIECE_ROWS : PIECE_ROWS;
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
