/* Products of each head by a matrix of its own (the absorbed projections of DeepSeek-V2's latent attention).
 */
#include <assert.h>
#include <string.h>

#include "engine/worker/cpu/cpu.h"

enum { TRANSPOSED_VALUES = 4096 }; /* floats of rows at a time, in the space of the sums */

/* One scale for all heads, or one for each. */
static const float *head_scale(const struct linear_heads *linear, int64_t head)
{
    const struct weight *w = &linear->weight;
    return w->scales ? w->scales + (w->n_experts > 1 ? head : 0) : NULL;
}

static void head_rows(const struct cpu_task *task, const uint8_t *data, int64_t head)
{
    const struct cpu *c = task->cpu;
    const struct linear_heads *linear = task->op->linear_heads;
    const int32_t n_tokens = program_value(c->program, task->op->out)->rows;
    struct matmul m = {.weight = &linear->weight, .data = data, .scale = head_scale(linear, head)};
    for (int32_t token = 0; token < n_tokens; token += m.n_columns) {
        m.n_columns = n_tokens - token < TILE_COLUMNS ? n_tokens - token : TILE_COLUMNS;
        for (int32_t i = 0; i < m.n_columns; i++) {
            m.x[i] = cpu_row(c, task->op->a, token + i) + head * linear->weight.n_in;
            m.y[i] = cpu_row(c, task->op->out, token + i) + head * linear->count;
        }
        cpu_matmul_rows(c->kernels, &m, 0, linear->count, task->scratch);
    }
}

/* The rows are made floats once for all tokens. */
static void head_transposed(const struct cpu_task *task, const uint8_t *data, int64_t head)
{
    const struct cpu *c = task->cpu;
    const struct linear_heads *linear = task->op->linear_heads;
    const struct weight *w = &linear->weight;
    const int32_t n_tokens = program_value(c->program, task->op->out)->rows;
    const size_t row_bytes = tensor_row_bytes(w->type, w->n_in);
    const int64_t tile = TRANSPOSED_VALUES / w->n_in;
    assert(tile > 0);
    for (int32_t t = 0; t < n_tokens; t++)
        memset(cpu_row(c, task->op->out, t) + head * w->n_in, 0, (size_t)w->n_in * sizeof(float));
    for (int64_t row = 0, n; row < linear->count; row += n) {
        n = linear->count - row < tile ? linear->count - row : tile;
        kernels_dequantize(
            c->kernels, w->type, data + (size_t)row * row_bytes, task->scratch->sums, n * w->n_in);
        for (int32_t t = 0; t < n_tokens; t++)
            c->kernels->mix_rows(cpu_row(c, task->op->out, t) + head * w->n_in, task->scratch->sums,
                cpu_row(c, task->op->a, t) + head * linear->count + row, n, w->n_in);
    }
    const float *scale = head_scale(linear, head);
    for (int32_t t = 0; scale && t < n_tokens; t++) {
        float *y = cpu_row(c, task->op->out, t) + head * w->n_in;
        for (int64_t i = 0; i < w->n_in; i++)
            y[i] *= *scale;
    }
}

void cpu_matmul_heads(const struct cpu_task *task)
{
    const struct linear_heads *linear = task->op->linear_heads;
    const size_t row_bytes = tensor_row_bytes(linear->weight.type, linear->weight.n_in);
    int64_t head, to;
    while (cpu_claim(task, linear->n_heads, 1, &head, &to)) {
        const uint8_t *data =
            (const uint8_t *)linear->weight.data + (size_t)(head * linear->stride + linear->from) * row_bytes;
        (linear->transposed ? head_transposed : head_rows)(task, data, head);
    }
}
