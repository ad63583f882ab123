/* Attention over the KV cache (Vaswani et al. 2017; grouped queries: Ainslie et al. 2023). */
#include <assert.h>
#include <string.h>

#include "engine/worker/cpu/cpu.h"
#include "engine/worker/kvcache.h"
#include "engine/worker/tensor_quantize.h"

static void row_write(enum tensor_type type, char *to, const float *from, int32_t width)
{
    if (type == TENSOR_F32) {
        memcpy(to, from, (size_t)width * sizeof *from);
        return;
    }
    struct error err;
    int rc = tensor_quantize(type, from, to, width, &err);
    assert(rc == 0); /* kvcache.c makes layers of these types only, of whole blocks */
    (void)rc;
}

void cpu_kv_write(const struct cpu_task *task)
{
    const struct kv_layer *l = task->op->kv.layer;
    const struct program_batch *b = &task->cpu->program->batch;
    int64_t from, to;
    while (cpu_claim(task, b->n_tokens, 8, &from, &to))
        for (int64_t t = from; t < to; t++) {
            const float *k = cpu_row(task->cpu, task->op->a, t);
            const float *v = l->spec.latent ? NULL : cpu_row(task->cpu, task->op->b, t);
            int32_t slot = b->slots[t], position = b->positions[t];
            for (int32_t h = 0; h < l->spec.n_heads; h++) {
                row_write(
                    l->spec.type, kv_key(l, slot, h, position), k + h * l->spec.k_width, l->spec.k_width);
                if (v)
                    row_write(l->spec.type, kv_value(l, slot, h, position), v + h * l->spec.v_width,
                        l->spec.v_width);
            }
        }
}

static int32_t group_size(const struct op *op)
{
    return op->kv.how.n_heads / op->kv.layer->spec.n_heads;
}

static int32_t widest_row(const struct kv_spec *spec)
{
    return spec->k_width > spec->v_width ? spec->k_width : spec->v_width;
}

size_t cpu_attention_scores(const struct program *p, const struct op *op)
{
    int32_t last = 0;
    for (int32_t t = 0; t < p->batch.n_tokens; t++)
        last = p->batch.positions[t] > last ? p->batch.positions[t] : last;
    last -= kv_first(op->kv.layer, last);
    return (size_t)group_size(op) * ((size_t)last + 1) +
           TILE_POSITIONS * (size_t)widest_row(&op->kv.layer->spec);
}

/* `count` rows of the cache as floats: in place if that is what they are. */
static const float *rows_read(const struct kernels *k, enum tensor_type type, const char *rows, int64_t count,
    int32_t width, float *tile)
{
    if (type == TENSOR_F32)
        return (const float *)(const void *)rows;
    kernels_dequantize(k, type, (const uint8_t *)rows, tile, count * width);
    return tile;
}

static const float *values_read(const struct kernels *k, const struct kv_layer *l, int32_t slot, int32_t head,
    int32_t position, int32_t count, float *tile)
{
    const int32_t width = l->spec.v_width;
    if (!l->spec.latent)
        return rows_read(k, l->spec.type, kv_value(l, slot, head, position), count, width, tile);
    const char *keys = kv_key(l, slot, head, position);
    for (int32_t i = 0; i < count; i++)
        kernels_dequantize(
            k, l->spec.type, (const uint8_t *)keys + (size_t)i * l->k_row, tile + i * width, width);
    return tile;
}

/* Positions from `position` on, at most n, whose rows stand together: no more than a tile. */
static int32_t run_length(const struct kv_layer *l, int32_t position, int32_t n)
{
    int32_t count = n < TILE_POSITIONS ? n : TILE_POSITIONS, left = l->n_rows - position % l->n_rows;
    return count < left ? count : left;
}

/* A score of no position: it takes its share of the sum and gives nothing. There is room behind the scores.
 */
static float terms_with_sink(
    const struct kernels *k, const struct attention *how, float sink, float *scores, int32_t n)
{
    const float behind = scores[n];
    scores[n] = sink / how->scale;
    float sum = k->softmax_terms(scores, how->scale, n + 1);
    scores[n] = behind;
    return sum;
}

/* Raw products of a head become terms of a softmax, not yet divided by their sum, which is returned. */
static float scores_to_terms(
    const struct kernels *k, const struct attention *how, int32_t head, float *scores, int32_t n)
{
    if (how->sinks)
        return terms_with_sink(k, how, how->sinks[head], scores, n);
    if (how->softcap == 0)
        return k->softmax_terms(scores, how->scale, n);
    /* cap * tanh(scale * s / cap): the scale goes into a cap for the raw products. */
    k->softcap(scores, scores, how->softcap / how->scale, n);
    return k->softmax_terms(scores, how->scale, n);
}

/* The positions that a token sees: up to its own or, with `later`, up to the last of its slot in this batch.
 */
struct span {
    int32_t first, last;
};

static struct span positions_seen(const struct cpu_task *task, int64_t token)
{
    const struct program_batch *b = &task->cpu->program->batch;
    const struct attention *how = &task->op->kv.how;
    const int32_t own = b->positions[token];
    while (how->later && token + 1 < b->n_tokens && b->slots[token + 1] == b->slots[token])
        token++;
    struct span s = {.last = b->positions[token]};
    s.first = kv_first(task->op->kv.layer, s.last);
    if (how->reach == 0)
        return s;
    s.first = own - how->reach > s.first ? own - how->reach : s.first;
    s.last = s.last - own > how->reach ? own + how->reach : s.last;
    return s;
}

/* The queries of one token that share a head of keys and values: the cache is read once for all of them. */
static void attend(const struct cpu_task *task, int64_t token, int32_t head)
{
    const struct kernels *k = task->cpu->kernels;
    const struct kv_layer *l = task->op->kv.layer;
    const int32_t slot = task->cpu->program->batch.slots[token], group = group_size(task->op);
    const struct span seen = positions_seen(task, token);
    const int32_t first = seen.first, n = seen.last - first + 1;
    const int32_t kw = l->spec.k_width, vw = l->spec.v_width;
    const float *q = cpu_row(task->cpu, task->op->a, token) + (int64_t)head * group * kw;
    float *out = cpu_row(task->cpu, task->op->out, token) + (int64_t)head * group * vw;
    float *scores = task->scratch->scores, *tile = scores + (int64_t)group * n;

    for (int32_t at = 0, count; at < n; at += count) {
        count = run_length(l, first + at, n - at);
        const float *keys = rows_read(k, l->spec.type, kv_key(l, slot, head, first + at), count, kw, tile);
        for (int32_t g = 0; g < group; g++)
            k->dot_rows(scores + (int64_t)g * n + at, keys, q + g * kw, count, kw);
    }
    for (int32_t g = 0; g < group; g++) {
        float *row = scores + (int64_t)g * n,
              sum = scores_to_terms(k, &task->op->kv.how, head * group + g, row, n);
        for (int32_t i = 0; i < n; i++)
            row[i] /= sum;
    }
    memset(out, 0, (size_t)group * (size_t)vw * sizeof *out);
    for (int32_t at = 0, count; at < n; at += count) {
        count = run_length(l, first + at, n - at);
        const float *values = values_read(k, l, slot, head, first + at, count, tile);
        for (int32_t g = 0; g < group; g++)
            k->mix_rows(out + g * vw, values, scores + (int64_t)g * n + at, count, vw);
    }
}

void cpu_attention(const struct cpu_task *task)
{
    const int64_t n_tokens = task->cpu->program->batch.n_tokens;
    int64_t from, to;
    while (cpu_claim(task, n_tokens * task->op->kv.layer->spec.n_heads, 1, &from, &to))
        attend(task, from % n_tokens, (int32_t)(from / n_tokens));
}
