/* Layers with a recurrent state: the short convolution before them, and the gated delta rule (Yang et al.
 * 2024, arxiv.org/abs/2412.06464). */
#include "engine/worker/recurrent.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/cpu.h"

/* The input `back` tokens before token t of its sequence; what came before the step is in the state, and
 * zeros before the sequence (NULL). */
static const float *conv_input(const struct cpu_task *task, int64_t t, int32_t back)
{
    const struct recurrent_layer *l = task->op->recurrent.layer;
    const struct program_batch *b = &task->cpu->program->batch;
    const int32_t slot = b->slots[t], from = l->slots[slot].from;
    for (; back > 0 && t > 0 && b->slots[t - 1] == slot; back--)
        t--;
    if (back == 0)
        return cpu_row(task->cpu, task->op->a, t);
    return from < 0 ? NULL : recurrent_conv(l, slot, from) + (l->spec.n_conv - back) * l->spec.channels;
}

/* The last token of a run leaves its inputs and those before it. */
static void conv_keep(const struct cpu_task *task, int64_t t)
{
    const struct recurrent_layer *l = task->op->recurrent.layer;
    const int32_t slot = task->cpu->program->batch.slots[t];
    float *to = recurrent_conv(l, slot, l->slots[slot].to);
    const size_t bytes = (size_t)l->spec.channels * sizeof *to;
    for (int32_t i = 0; i < l->spec.n_conv; i++, to += l->spec.channels) {
        const float *x = conv_input(task, t, l->spec.n_conv - 1 - i);
        if (x)
            memcpy(to, x, bytes);
        else
            memset(to, 0, bytes);
    }
}

void cpu_conv_row(const struct cpu_task *task, int64_t t)
{
    const struct recurrent_layer *l = task->op->recurrent.layer;
    const struct program_batch *b = &task->cpu->program->batch;
    const int32_t taps = l->spec.n_conv + 1, channels = l->spec.channels;
    const float *weight = task->op->recurrent.weight;
    float *y = cpu_row(task->cpu, task->op->out, t);
    memset(y, 0, (size_t)channels * sizeof *y);
    for (int32_t tap = 0; tap < taps; tap++) {
        const float *x = conv_input(task, t, taps - 1 - tap);
        for (int32_t i = 0; x && i < channels; i++)
            y[i] += weight[i * taps + tap] * x[i];
    }
    if (t + 1 == b->n_tokens || b->slots[t + 1] != b->slots[t])
        conv_keep(task, t);
}

/* y = x / max(|x|, eps) * scale */
static void unit(float *y, const float *x, int32_t n, float eps, float scale)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const float factor = scale / fmaxf(sqrtf((float)sum), eps);
    for (int32_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

static float softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}

/* One token and head: S <- decay S + beta (v - decay S k) k^T;  out = S q */
static void delta_token(const struct cpu_task *task, int64_t t, int32_t head, float *state)
{
    const struct cpu *c = task->cpu;
    const struct delta *how = &task->op->recurrent.delta;
    const struct recurrent_spec *spec = &task->op->recurrent.layer->spec;
    const int32_t kw = spec->k_width, vw = spec->v_width, group = head % how->n_k_heads;
    const float *mixed = cpu_row(c, task->op->a, t), *gates = cpu_row(c, task->op->b, t);
    const float *v = mixed + 2 * how->n_k_heads * kw + head * vw;
    float *q = task->scratch->sums, *k = q + kw, *recalled = k + kw;
    assert(2 * (size_t)kw + (size_t)vw <= sizeof task->scratch->sums / sizeof *q);
    unit(q, mixed + group * kw, kw, how->eps, 1 / sqrtf((float)kw));
    unit(k, mixed + (how->n_k_heads + group) * kw, kw, how->eps, 1);
    const float beta = 1 / (1 + expf(-gates[head]));
    const float decay = expf(how->rate[head] * softplus(gates[spec->n_heads + head] + how->bias[head]));
    c->kernels->dot_rows(recalled, state, k, vw, kw);
    for (int32_t i = 0; i < vw; i++) {
        const float change = beta * (v[i] - decay * recalled[i]);
        float *row = state + (size_t)i * (size_t)kw;
        for (int32_t j = 0; j < kw; j++)
            row[j] = decay * row[j] + change * k[j];
    }
    c->kernels->dot_rows(cpu_row(c, task->op->out, t) + head * vw, state, q, vw, kw);
}

/* The tokens of one sequence, one after another. */
static void delta_run(const struct cpu_task *task, int64_t first, int32_t head)
{
    const struct recurrent_layer *l = task->op->recurrent.layer;
    const struct program_batch *b = &task->cpu->program->batch;
    const int32_t slot = b->slots[first], from = l->slots[slot].from;
    float *state = recurrent_head(l, slot, l->slots[slot].to, head);
    const size_t bytes = (size_t)l->spec.k_width * (size_t)l->spec.v_width * sizeof *state;
    if (from < 0)
        memset(state, 0, bytes);
    else
        memcpy(state, recurrent_head(l, slot, from, head), bytes);
    for (int64_t t = first; t < b->n_tokens && b->slots[t] == slot; t++)
        delta_token(task, t, head, state);
}

void cpu_delta(const struct cpu_task *task)
{
    const struct program_batch *b = &task->cpu->program->batch;
    const int32_t n_heads = task->op->recurrent.layer->spec.n_heads;
    int64_t from, to;
    /* Of all pairs of token and head, those of a token that begins a run have something to do. */
    while (cpu_claim(task, (int64_t)b->n_tokens * n_heads, 1, &from, &to)) {
        int64_t t = from / n_heads;
        if (t == 0 || b->slots[t] != b->slots[t - 1])
            delta_run(task, t, (int32_t)(from % n_heads));
    }
}
