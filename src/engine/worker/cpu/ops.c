/* The operations other than products and attention: each thread takes its part of the rows (tokens). */
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/cpu.h"
#include "engine/worker/rope.h"

static void embed_row(const struct cpu_task *task, int64_t row)
{
    const struct weight *table = task->op->table;
    const struct program_batch *b = &task->cpu->program->batch;
    int32_t index = task->op->kind == OP_EMBED_POSITION ? b->positions[row] : b->tokens[row];
    const uint8_t *at =
        (const uint8_t *)table->data + (size_t)index * tensor_row_bytes(table->type, table->n_in);
    kernels_dequantize(
        task->cpu->kernels, table->type, at, cpu_row(task->cpu, task->op->out, row), table->n_in);
}

static void select_row(const struct cpu_task *task, int64_t row)
{
    int32_t from = task->cpu->program->batch.outputs[row];
    size_t width = (size_t)program_value(task->cpu->program, task->op->out)->width;
    memcpy(
        cpu_row(task->cpu, task->op->out, row), cpu_row(task->cpu, task->op->a, from), width * sizeof(float));
}

static void mean_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const int32_t n_rows = program_value(c->program, task->op->a)->rows;
    float *y = cpu_row(c, task->op->out, row);
    for (int32_t i = 0; i < program_value(c->program, task->op->out)->width; i++) {
        double sum = 0;
        for (int32_t r = 0; r < n_rows; r++)
            sum += (double)cpu_row(c, task->op->a, r)[i];
        y[i] = (float)(sum / n_rows);
    }
}

static void add_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    c->kernels->add(cpu_row(c, task->op->out, row), cpu_row(c, task->op->a, row),
        cpu_row(c, task->op->b, row), program_value(c->program, task->op->out)->width);
}

static void add_vector_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    c->kernels->add(cpu_row(c, task->op->out, row), cpu_row(c, task->op->a, row), task->op->vector,
        program_value(c->program, task->op->out)->width);
}

static void gelu_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    c->kernels->gelu(cpu_row(c, task->op->out, row), cpu_row(c, task->op->a, row),
        program_value(c->program, task->op->out)->width);
}

static void scale_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const float *x = cpu_row(c, task->op->a, row);
    float *y = cpu_row(c, task->op->out, row), factor = task->op->scale.factor;
    if (task->op->kind == OP_SCALE_LATE) {
        double periods = floor(c->program->batch.positions[row] / (double)task->op->scale.span);
        factor = (float)(1 + (double)factor * log(1 + periods));
    }
    for (int32_t i = 0; i < program_value(c->program, task->op->out)->width; i++)
        y[i] = x[i] * factor;
}

/* The token behind a row: the batch's, or a selected one. */
static int32_t row_token(const struct cpu_task *task, int64_t row)
{
    const struct program_batch *b = &task->cpu->program->batch;
    const bool all = program_value(task->cpu->program, task->op->out)->rows == b->n_tokens;
    return all ? (int32_t)row : b->outputs[row];
}

static void scale_adapter_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const struct program_adapters *adapters = &c->program->adapters;
    const int32_t slot = c->program->batch.slots[row_token(task, row)];
    const float factor =
        task->op->scale.factor * adapters->scales[slot * adapters->n + task->op->scale.adapter];
    const float *x = cpu_row(c, task->op->a, row);
    float *y = cpu_row(c, task->op->out, row);
    for (int32_t i = 0; i < program_value(c->program, task->op->out)->width; i++)
        y[i] = x[i] * factor;
}

static void softcap_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    c->kernels->softcap(cpu_row(c, task->op->out, row), cpu_row(c, task->op->a, row), task->op->scale.factor,
        program_value(c->program, task->op->out)->width);
}

static void part_row(const struct cpu_task *task, int64_t row)
{
    const struct op *op = task->op;
    const float *x = cpu_row(task->cpu, op->a, row) + op->part.from;
    float *y = cpu_row(task->cpu, op->out, row);
    const int32_t n = program_value(task->cpu->program, op->out)->width / op->part.count;
    for (int32_t i = 0; i < n; i++)
        memcpy(y + i * op->part.count, x + i * op->part.run, (size_t)op->part.count * sizeof *y);
}

static void join_row(const struct cpu_task *task, int64_t row)
{
    const struct op *op = task->op;
    const int32_t a_run = op->join.a_run, b_run = op->join.b_run;
    const float *a = cpu_row(task->cpu, op->a, row), *b = cpu_row(task->cpu, op->b, row);
    float *y = cpu_row(task->cpu, op->out, row);
    const int32_t n = program_value(task->cpu->program, op->out)->width / (a_run + b_run);
    for (int32_t i = 0; i < n; i++) {
        memcpy(y + i * (a_run + b_run), a + i * a_run, (size_t)a_run * sizeof *y);
        memcpy(y + i * (a_run + b_run) + a_run, b + i * b_run, (size_t)b_run * sizeof *y);
    }
}

static void layer_norm(
    float *y, const float *x, const float *weight, const float *bias, float eps, int32_t width)
{
    double sum = 0, squares = 0;
    for (int32_t i = 0; i < width; i++)
        sum += (double)x[i];
    const double mean = sum / width;
    for (int32_t i = 0; i < width; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double scale = 1 / sqrt(squares / width + (double)eps);
    for (int32_t i = 0; i < width; i++)
        y[i] = (float)(((double)x[i] - mean) * scale) * weight[i] + (bias ? bias[i] : 0);
}

static void layer_norm_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const float *x = cpu_row(c, task->op->a, row), *weight = task->op->norm.weight,
                *bias = task->op->norm.bias;
    float *y = cpu_row(c, task->op->out, row);
    const int32_t width = program_value(c->program, task->op->out)->width, run = task->op->norm.width;
    for (int32_t i = 0; i < width; i += run) {
        int32_t at = task->op->norm.each ? i : 0;
        layer_norm(y + i, x + i, weight + at, bias ? bias + at : NULL, task->op->norm.eps, run);
    }
}

static void rms_norm_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const float *x = cpu_row(c, task->op->a, row);
    float *y = cpu_row(c, task->op->out, row);
    int32_t width = program_value(c->program, task->op->out)->width;
    for (int32_t i = 0; i < width; i += task->op->norm.width)
        c->kernels->rms_norm(y + i, x + i, task->op->norm.weight, task->op->norm.eps, task->op->norm.width);
}

void cpu_glu(
    const struct kernels *k, enum glu glu, float *y, const float *gate, const float *up, int64_t width)
{
    switch (glu) {
    case GLU_BILINEAR:
        for (int64_t i = 0; i < width; i++)
            y[i] = gate[i] * up[i];
        return;
    case GLU_SILU:
        return k->glu(y, gate, up, width);
    case GLU_GELU:
        return k->geglu(y, gate, up, width);
    case GLU_CLAMPED:
        return k->glu_clamped(y, gate, up, width);
    }
}

static void glu_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const struct op *op = task->op;
    cpu_glu(c->kernels, op->glu, cpu_row(c, op->out, row), cpu_row(c, op->a, row), cpu_row(c, op->b, row),
        program_value(c->program, op->out)->width);
}

static void gate_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    const float *gate = cpu_row(c, task->op->a, row), *x = cpu_row(c, task->op->b, row);
    float *y = cpu_row(c, task->op->out, row);
    const int32_t width = program_value(c->program, task->op->out)->width;
    const bool one = program_value(c->program, task->op->a)->width == 1;
    for (int32_t i = 0; i < width; i++)
        y[i] = x[i] / (1 + expf(-gate[one ? 0 : i]));
}

/* cos 0 .. cos n/2-1, sin 0 .. sin n/2-1 */
static void rope_angles_row(const struct cpu_task *task, int64_t row)
{
    const struct rope *rope = task->op->rope.rope;
    float *y = cpu_row(task->cpu, task->op->out, row);
    int32_t half = rope->n_dims / 2, position = task->cpu->program->batch.positions[row];
    for (int32_t i = 0; i < half; i++) {
        double angle = position * rope->frequency[i];
        y[i] = (float)(cos(angle) * rope->magnitude);
        y[i + half] = (float)(sin(angle) * rope->magnitude);
    }
}

static void rope_row(const struct cpu_task *task, int64_t row)
{
    const struct rope *rope = task->op->rope.rope;
    const int32_t half = rope->n_dims / 2, head_width = task->op->rope.head_width;
    const int32_t width = program_value(task->cpu->program, task->op->out)->width;
    const float *x = cpu_row(task->cpu, task->op->a, row), *cosine = cpu_row(task->cpu, task->op->b, row);
    const float *sine = cosine + half;
    float *y = cpu_row(task->cpu, task->op->out, row);
    memcpy(y, x, (size_t)width * sizeof *y);
    for (int32_t head = 0; head < width; head += head_width)
        for (int32_t i = 0; i < half; i++) {
            int32_t first = head + (rope->pairs == ROPE_ADJACENT ? 2 * i : i);
            int32_t second = rope->pairs == ROPE_ADJACENT ? first + 1 : first + half;
            y[first] = x[first] * cosine[i] - x[second] * sine[i];
            y[second] = x[first] * sine[i] + x[second] * cosine[i];
        }
}

static void mix_experts_row(const struct cpu_task *task, int64_t row)
{
    const struct cpu *c = task->cpu;
    int32_t width = program_value(c->program, task->op->out)->width;
    float *y = cpu_row(c, task->op->out, row);
    const float *weights = cpu_row(c, task->op->b, row) + task->op->n_used;
    memset(y, 0, (size_t)width * sizeof *y);
    c->kernels->mix_rows(y, cpu_row(c, task->op->a, row), weights, task->op->n_used, width);
}

static void each_row(const struct cpu_task *task, void (*row)(const struct cpu_task *task, int64_t row))
{
    int64_t from, to;
    cpu_rows_own(task, program_value(task->cpu->program, task->op->out)->rows, &from, &to);
    for (int64_t i = from; i < to; i++)
        row(task, i);
}

void cpu_op_run(const struct cpu_task *task)
{
    switch (task->op->kind) {
    case OP_EMBED:
    case OP_EMBED_POSITION:
        return each_row(task, embed_row);
    case OP_SELECT:
        return each_row(task, select_row);
    case OP_MEAN:
        return each_row(task, mean_row);
    case OP_ADD:
        return each_row(task, add_row);
    case OP_ADD_VECTOR:
        return each_row(task, add_vector_row);
    case OP_GELU:
        return each_row(task, gelu_row);
    case OP_SCALE:
    case OP_SCALE_LATE:
        return each_row(task, scale_row);
    case OP_SCALE_ADAPTER:
        return each_row(task, scale_adapter_row);
    case OP_SOFTCAP:
        return each_row(task, softcap_row);
    case OP_LAYER_NORM:
        return each_row(task, layer_norm_row);
    case OP_PART:
        return each_row(task, part_row);
    case OP_JOIN:
        return each_row(task, join_row);
    case OP_RMS_NORM:
        return each_row(task, rms_norm_row);
    case OP_MATMUL:
        return (cpu_quantises(task->cpu, task->op) ? cpu_product : cpu_matmul)(task);
    case OP_MATMUL_HEADS:
        return cpu_matmul_heads(task);
    case OP_GLU:
        return each_row(task, glu_row);
    case OP_ROPE_ANGLES:
        return each_row(task, rope_angles_row);
    case OP_ROPE:
        return each_row(task, rope_row);
    case OP_KV_WRITE:
        return cpu_kv_write(task);
    case OP_ATTENTION:
        return cpu_attention(task);
    case OP_GATE:
        return each_row(task, gate_row);
    case OP_CONV:
        return each_row(task, cpu_conv_row);
    case OP_DELTA:
        return cpu_delta(task);
    case OP_ROUTE:
        return each_row(task, cpu_route_row);
    case OP_MATMUL_EXPERTS:
        return cpu_experts(task);
    case OP_MIX_EXPERTS:
        return each_row(task, mix_experts_row);
    }
}
