#include "engine/worker/program.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/worker/kvcache.h"
#include "engine/worker/lora.h"
#include "engine/worker/recurrent.h"
#include "engine/worker/rope.h"

enum { ALIGN_FLOATS = 16 }; /* a cache line */

static const struct value none = {-1};

void program_reset(struct program *p, const struct program_batch *batch)
{
    p->batch = *batch;
    p->n_ops = p->n_values = 0;
    p->failed = 0;
}

void program_free(struct program *p)
{
    free(p->ops);
    free(p->values);
    *p = (struct program){0};
}

/* Room for one more item, or NULL and the failure is kept. */
static void *grow(struct program *p, void *items, size_t count, size_t *max, size_t size)
{
    if (count < *max)
        return items;
    size_t more = *max ? *max * 2 : 256;
    void *grown = realloc(items, more * size);
    if (!grown) {
        p->failed = ERROR_MEMORY;
        return items;
    }
    *max = more;
    return grown;
}

static struct value value_new(struct program *p, int64_t rows, int64_t width)
{
    assert(rows >= 0 && width >= 0 && width <= INT32_MAX);
    p->values = grow(p, p->values, p->n_values, &p->max_values, sizeof *p->values);
    if (p->failed)
        return none;
    p->values[p->n_values] = (struct value_info){.rows = (int32_t)rows, .width = (int32_t)width};
    return (struct value){(int32_t)p->n_values++};
}

static void value_used(struct program *p, struct value v)
{
    if (v.id >= 0)
        p->values[v.id].last_use = (int32_t)p->n_ops;
}

static struct value op_append(struct program *p, const struct op *op)
{
    p->ops = grow(p, p->ops, p->n_ops, &p->max_ops, sizeof *p->ops);
    if (p->failed)
        return none;
    value_used(p, op->out);
    value_used(p, op->a);
    value_used(p, op->b);
    p->ops[p->n_ops++] = *op;
    return op->out;
}

static int32_t rows_of(const struct program *p, struct value v)
{
    return p->failed ? 0 : p->values[v.id].rows;
}

static int32_t width_of(const struct program *p, struct value v)
{
    return p->failed ? 0 : p->values[v.id].width;
}

const struct value_info *program_value(const struct program *p, struct value v)
{
    assert(v.id >= 0 && (size_t)v.id < p->n_values);
    return &p->values[v.id];
}

/* ---- Adapters: y + B (factor * scale * (A x)) ---- */

/* Rows are those of the batch's tokens, or of the selected ones. */
static struct value scale_adapter(struct program *p, struct value x, const struct lora_delta *d)
{
    struct op op = {.kind = OP_SCALE_ADAPTER, .a = x, .b = none, .scale = {d->factor, 0, d->adapter}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

/* The next of a weight's deltas, from d on, that the batch uses. */
static const struct lora_delta *delta_used(const struct program *p, const struct lora_delta *d)
{
    while (d && !(p->adapters.used >> d->adapter & 1))
        d = d->next;
    return d;
}

/* A value that no operation makes. */
struct value op_input(struct program *p, const float *host, int32_t width)
{
    struct value v = value_new(p, p->batch.n_tokens, width);
    if (!p->failed)
        p->values[v.id].host = (float *)(uintptr_t)host; /* which is only read */
    return v;
}

static struct value embed_plain(struct program *p, const struct weight *table)
{
    struct value out = value_new(p, p->batch.n_tokens, table->n_in);
    return op_append(p, &(struct op){.kind = OP_EMBED, .out = out, .a = none, .b = none, .table = table});
}

struct value op_embed(struct program *p, const struct weight *table)
{
    struct value y = embed_plain(p, table);
    const struct lora_delta *d = table->deltas;
    for (; (d = delta_used(p, d)) != NULL; d = d->next)
        y = op_add(p, y, op_matmul(p, &d->b, scale_adapter(p, embed_plain(p, &d->a.weight), d)));
    return y;
}

struct value op_embed_position(struct program *p, const struct weight *table)
{
    struct value out = value_new(p, p->batch.n_tokens, table->n_in);
    return op_append(
        p, &(struct op){.kind = OP_EMBED_POSITION, .out = out, .a = none, .b = none, .table = table});
}

struct value op_select(struct program *p, struct value x)
{
    struct value out = value_new(p, p->batch.n_outputs, width_of(p, x));
    return op_append(p, &(struct op){.kind = OP_SELECT, .out = out, .a = x, .b = none});
}

struct value op_mean(struct program *p, struct value x)
{
    struct value out = value_new(p, 1, width_of(p, x));
    return op_append(p, &(struct op){.kind = OP_MEAN, .out = out, .a = x, .b = none});
}

struct value op_add(struct program *p, struct value a, struct value b)
{
    assert(rows_of(p, a) == rows_of(p, b) && width_of(p, a) == width_of(p, b));
    struct value out = value_new(p, rows_of(p, a), width_of(p, a));
    return op_append(p, &(struct op){.kind = OP_ADD, .out = out, .a = a, .b = b});
}

struct value op_add_vector(struct program *p, struct value x, const float *vector)
{
    struct value out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &(struct op){.kind = OP_ADD_VECTOR, .out = out, .a = x, .b = none, .vector = vector});
}

struct value op_scale(struct program *p, struct value x, float factor)
{
    struct op op = {.kind = OP_SCALE, .a = x, .b = none, .scale = {.factor = factor}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_scale_late(struct program *p, struct value x, float slope, float span)
{
    assert(p->failed || (rows_of(p, x) == p->batch.n_tokens && span > 0));
    struct op op = {.kind = OP_SCALE_LATE, .a = x, .b = none, .scale = {.factor = slope, .span = span}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_softcap(struct program *p, struct value x, float cap)
{
    struct op op = {.kind = OP_SOFTCAP, .a = x, .b = none, .scale = {.factor = cap}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_part(struct program *p, struct value x, int32_t run, int32_t from, int32_t count)
{
    assert(run > 0 && from >= 0 && count > 0 && from + count <= run && width_of(p, x) % run == 0);
    struct op op = {.kind = OP_PART, .a = x, .b = none, .part = {run, from, count}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x) / run * (int64_t)count);
    return op_append(p, &op);
}

struct value op_join(struct program *p, struct value a, struct value b, int32_t a_run, int32_t b_run)
{
    assert(rows_of(p, a) == rows_of(p, b) && a_run > 0 && b_run > 0);
    assert((int64_t)width_of(p, a) * b_run == (int64_t)width_of(p, b) * a_run);
    struct op op = {.kind = OP_JOIN, .a = a, .b = b, .join = {a_run, b_run}};
    op.out = value_new(p, rows_of(p, a), (int64_t)width_of(p, a) + width_of(p, b));
    return op_append(p, &op);
}

struct value op_layer_norm(struct program *p, struct value x, const float *weight, const float *bias,
    int32_t width, bool each, float eps)
{
    assert(width > 0 && width_of(p, x) % width == 0);
    struct op op = {.kind = OP_LAYER_NORM, .a = x, .b = none, .norm = {weight, bias, eps, width, each}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_rms_norm(struct program *p, struct value x, const float *weight, int32_t width, float eps)
{
    assert(width > 0 && width_of(p, x) % width == 0);
    struct op op = {.kind = OP_RMS_NORM, .a = x, .b = none, .norm = {weight, NULL, eps, width, false}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_matmul(struct program *p, const struct linear *linear, struct value x)
{
    assert(p->failed || width_of(p, x) == linear->weight.n_in);
    struct op op = {.kind = OP_MATMUL, .a = x, .b = none, .linear = linear};
    op.out = value_new(p, rows_of(p, x), linear->weight.n_out);
    struct value y = op_append(p, &op);
    const struct lora_delta *d = linear->weight.deltas;
    for (; (d = delta_used(p, d)) != NULL; d = d->next)
        y = op_add(p, y, op_matmul(p, &d->b, scale_adapter(p, op_matmul(p, &d->a, x), d)));
    return y;
}

struct value op_matmul_heads(struct program *p, const struct linear_heads *linear, struct value x)
{
    const int64_t n_in = linear->transposed ? linear->count : linear->weight.n_in;
    const int64_t n_out = linear->transposed ? linear->weight.n_in : linear->count;
    assert(p->failed || width_of(p, x) == n_in * linear->n_heads);
    struct op op = {.kind = OP_MATMUL_HEADS, .a = x, .b = none, .linear_heads = linear};
    op.out = value_new(p, rows_of(p, x), n_out * linear->n_heads);
    return op_append(p, &op);
}

struct value op_glu(struct program *p, enum glu glu, struct value gate, struct value up)
{
    assert(rows_of(p, gate) == rows_of(p, up) && width_of(p, gate) == width_of(p, up));
    struct value out = value_new(p, rows_of(p, gate), width_of(p, gate));
    return op_append(p, &(struct op){.kind = OP_GLU, .out = out, .a = gate, .b = up, .glu = glu});
}

struct value op_gelu(struct program *p, struct value x)
{
    struct value out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &(struct op){.kind = OP_GELU, .out = out, .a = x, .b = none});
}

struct value op_rope_angles(struct program *p, const struct rope *rope)
{
    struct value out = value_new(p, p->batch.n_tokens, rope->n_dims);
    return op_append(
        p, &(struct op){.kind = OP_ROPE_ANGLES, .out = out, .a = none, .b = none, .rope = {rope, 0}});
}

struct value op_rope(
    struct program *p, struct value x, struct value angles, const struct rope *rope, int32_t head_width)
{
    assert(rope->n_dims <= head_width && width_of(p, x) % head_width == 0);
    assert(rows_of(p, x) == rows_of(p, angles));
    struct value out = value_new(p, rows_of(p, x), width_of(p, x));
    struct op op = {.kind = OP_ROPE, .out = out, .a = x, .b = angles, .rope = {rope, head_width}};
    return op_append(p, &op);
}

void op_kv_write(struct program *p, const struct kv_layer *layer, struct value k, struct value v)
{
    assert(p->failed || width_of(p, k) == layer->spec.n_heads * layer->spec.k_width);
    assert(p->failed || width_of(p, v) == layer->spec.n_heads * layer->spec.v_width);
    op_append(p, &(struct op){.kind = OP_KV_WRITE, .out = none, .a = k, .b = v, .kv = {layer, {0}}});
}

void op_kv_write_latent(struct program *p, const struct kv_layer *layer, struct value k)
{
    assert(p->failed || width_of(p, k) == layer->spec.n_heads * layer->spec.k_width);
    assert(layer->spec.latent);
    op_append(p, &(struct op){.kind = OP_KV_WRITE, .out = none, .a = k, .b = none, .kv = {layer, {0}}});
}

struct value op_attention(
    struct program *p, const struct kv_layer *layer, struct value q, const struct attention *how)
{
    assert(p->failed || width_of(p, q) == how->n_heads * layer->spec.k_width);
    struct value out = value_new(p, rows_of(p, q), (int64_t)how->n_heads * layer->spec.v_width);
    return op_append(
        p, &(struct op){.kind = OP_ATTENTION, .out = out, .a = q, .b = none, .kv = {layer, *how}});
}

struct value op_conv(
    struct program *p, const struct recurrent_layer *layer, const float *weight, struct value x)
{
    assert(p->failed || width_of(p, x) == layer->spec.channels);
    assert(p->failed || rows_of(p, x) == p->batch.n_tokens);
    struct op op = {.kind = OP_CONV, .a = x, .b = none, .recurrent = {.layer = layer, .weight = weight}};
    op.out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &op);
}

struct value op_delta(struct program *p, const struct recurrent_layer *layer, const struct delta *how,
    struct value mixed, struct value gates)
{
    const struct recurrent_spec *s = &layer->spec;
    assert(p->failed || width_of(p, mixed) == 2 * how->n_k_heads * s->k_width + s->n_heads * s->v_width);
    assert(p->failed || width_of(p, gates) == 2 * s->n_heads);
    struct op op = {.kind = OP_DELTA, .a = mixed, .b = gates, .recurrent = {.layer = layer, .delta = *how}};
    op.out = value_new(p, rows_of(p, mixed), (int64_t)s->n_heads * s->v_width);
    return op_append(p, &op);
}

struct value op_silu(struct program *p, struct value x)
{
    return op_gate(p, x, x);
}

struct value op_gate(struct program *p, struct value gate, struct value x)
{
    assert(rows_of(p, gate) == rows_of(p, x));
    assert(width_of(p, gate) == width_of(p, x) || width_of(p, gate) == 1);
    struct value out = value_new(p, rows_of(p, x), width_of(p, x));
    return op_append(p, &(struct op){.kind = OP_GATE, .out = out, .a = gate, .b = x});
}

struct value op_route_by(struct program *p, struct value scores, const struct routing *how)
{
    assert(p->failed || how->n_used <= width_of(p, scores));
    struct value out = value_new(p, rows_of(p, scores), 2 * (int64_t)how->n_used);
    return op_append(p, &(struct op){.kind = OP_ROUTE, .out = out, .a = scores, .b = none, .routing = *how});
}

struct value op_route(struct program *p, struct value scores, int32_t n_used)
{
    return op_route_by(p, scores, &(struct routing){.n_used = n_used, .normalized = true, .scale = 1});
}

struct value op_matmul_experts(
    struct program *p, const struct linear *linear, struct value x, struct value routes, int32_t n_used)
{
    assert(p->failed || width_of(p, routes) == 2 * n_used);
    struct op op = {.kind = OP_MATMUL_EXPERTS, .a = x, .b = routes, .linear = linear};
    op.out = value_new(p, rows_of(p, x), linear->weight.n_out * n_used);
    struct value y = op_append(p, &op);
    const struct lora_delta *d = linear->weight.deltas;
    for (; (d = delta_used(p, d)) != NULL; d = d->next) {
        struct value down = scale_adapter(p, op_matmul_experts(p, &d->a, x, routes, n_used), d);
        y = op_add(p, y, op_matmul_experts(p, &d->b, down, routes, n_used));
    }
    return y;
}

struct value op_mix_experts(struct program *p, struct value x, struct value routes, int32_t n_used)
{
    assert(width_of(p, x) % n_used == 0);
    struct value out = value_new(p, rows_of(p, x), width_of(p, x) / n_used);
    struct op op = {.kind = OP_MIX_EXPERTS, .out = out, .a = x, .b = routes, .n_used = n_used};
    return op_append(p, &op);
}

void program_output(struct program *p, struct value x, float *host)
{
    if (!p->failed)
        p->values[x.id].host = host;
}

/* Values in memory at one moment, by rising offset. More at once than this is a bug of a model. */
enum { LIVE_MAX = 64 };

struct live {
    int32_t ids[LIVE_MAX];
    int32_t count;
};

static size_t value_floats(const struct value_info *v)
{
    size_t floats = (size_t)v->rows * (size_t)v->width;
    return (floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

/* Puts a value into the lowest gap that holds it; returns where it ends. */
static size_t live_place(struct program *p, struct live *live, int32_t id)
{
    struct value_info *v = &p->values[id];
    size_t need = value_floats(v), at = 0;
    int32_t i = 0;
    for (; i < live->count; i++) {
        const struct value_info *other = &p->values[live->ids[i]];
        if (other->offset >= at + need)
            break;
        at = other->offset + value_floats(other);
    }
    assert(live->count < LIVE_MAX);
    for (int32_t j = live->count++; j > i; j--)
        live->ids[j] = live->ids[j - 1];
    live->ids[i] = id;
    v->offset = at;
    return at + need;
}

static void live_expire(struct program *p, struct live *live, int32_t op)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < live->count; i++)
        if (p->values[live->ids[i]].last_use > op)
            live->ids[kept++] = live->ids[i];
    live->count = kept;
}

int program_plan(struct program *p, size_t *floats, struct error *err)
{
    if (p->failed)
        return error_set(err, p->failed, "no memory for the list of operations of one step");
    struct live live = {.count = 0};
    *floats = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        int32_t id = p->ops[i].out.id;
        if (id >= 0 && !p->values[id].host) {
            size_t end = live_place(p, &live, id);
            *floats = end > *floats ? end : *floats;
        }
        live_expire(p, &live, (int32_t)i);
    }
    return 0;
}
