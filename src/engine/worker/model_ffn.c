#include "engine/worker/model_ffn.h"

#include <inttypes.h>
#include <stdio.h>

/* The numbers of expert_gating_func. */
enum { GATING_NONE, GATING_SOFTMAX, GATING_SIGMOID, GATING_CHOSEN };

void ffn_load(
    struct ffn *f, struct loader *l, int32_t n_embed, int32_t n_ff, int32_t layer, const char *suffix)
{
    f->gate = loader_linear(l, n_embed, n_ff, "blk.%d.ffn_gate%s", (int)layer, suffix);
    f->up = loader_linear(l, n_embed, n_ff, "blk.%d.ffn_up%s", (int)layer, suffix);
    f->down = loader_linear(l, n_ff, n_embed, "blk.%d.ffn_down%s", (int)layer, suffix);
}

void ffn_load_fused(struct ffn *f, struct loader *l, int32_t n_embed, int32_t n_ff, int32_t layer)
{
    struct linear both = loader_linear(l, n_embed, 2 * (int64_t)n_ff, "blk.%d.ffn_up", (int)layer);
    f->gate = loader_part(l, &both, 0, n_ff);
    f->up = loader_part(l, &both, n_ff, n_ff);
    f->down = loader_linear(l, n_ff, n_embed, "blk.%d.ffn_down", (int)layer);
}

struct value ffn_forward(const struct ffn *f, struct program *p, enum glu glu, struct value x)
{
    return op_matmul(p, &f->down, op_glu(p, glu, op_matmul(p, &f->gate, x), op_matmul(p, &f->up, x)));
}

static void routing_load(struct routing *r, struct loader *l, int32_t n_experts)
{
    r->n_used = loader_int(l, "expert_used_count", LOADER_REQUIRED, 1, MODEL_EXPERTS_USED_MAX);
    r->normalized = loader_bool(l, "expert_weights_norm", r->normalized);
    r->scale = loader_float(l, "expert_weights_scale", 1, 0, 1e6f);
    if (r->scale == 0)
        r->scale = 1; /* how some files say that there is none */
    switch (loader_int(l, "expert_gating_func", GATING_NONE, GATING_NONE, GATING_CHOSEN)) {
    case GATING_SOFTMAX:
        r->score = ROUTING_SOFTMAX;
        break;
    case GATING_SIGMOID:
        r->score = ROUTING_SIGMOID;
        break;
    case GATING_CHOSEN:
        r->score = ROUTING_CHOSEN;
        break;
    default: /* as the architecture has it */
        break;
    }
    r->n_groups = loader_int(l, "expert_group_count", 0, 0, MODEL_EXPERTS_MAX);
    r->n_groups_used = loader_int(l, "expert_group_used_count", r->n_groups, 0, MODEL_EXPERTS_MAX);
    if (l->rc || r->n_used > n_experts)
        return loader_fail(l, ERROR_INVALID, "the model uses %d of %d experts: the file is broken",
            (int)r->n_used, (int)n_experts);
    if (r->n_groups > 1 &&
        (n_experts % r->n_groups != 0 || r->n_groups_used < 1 || r->n_groups_used > r->n_groups ||
            n_experts / r->n_groups * r->n_groups_used < r->n_used))
        loader_fail(l, ERROR_INVALID,
            "%d of %d experts are to be chosen from %d of %d groups: the file is broken", (int)r->n_used,
            (int)n_experts, (int)r->n_groups_used, (int)r->n_groups);
}

/* Files that do not give the width of the shared expert have it all the same. */
static int32_t shared_width(struct loader *l)
{
    const int32_t n_layers = loader_int(l, "block_count", LOADER_REQUIRED, 1, MODEL_LAYERS_MAX);
    char name[64];
    for (int32_t i = 0; l->rc == 0 && i < n_layers; i++) {
        snprintf(name, sizeof name, "blk.%d.ffn_up_shexp.weight", (int)i);
        const struct tensor *t = gguf_tensor_find(l->gguf, name);
        if (t && t->shape[1] <= MODEL_WIDTH_MAX)
            return (int32_t)t->shape[1];
    }
    return 0;
}

bool mixture_is(struct loader *l)
{
    if (loader_int(l, "expert_count", 0, 0, MODEL_EXPERTS_MAX) > 0)
        return true;
    const int32_t n_layers = loader_int(l, "block_count", LOADER_REQUIRED, 1, MODEL_LAYERS_MAX);
    for (int32_t i = 0; l->rc == 0 && i < n_layers; i++)
        if (loader_has(l, "blk.%d.ffn_gate_inp.weight", (int)i))
            return true; /* what the file lacks is then asked for by its name */
    return false;
}

struct mixture mixture_load(struct loader *l, const struct mixture *defaults)
{
    struct mixture m = *defaults;
    m.n_experts = loader_int(l, "expert_count", LOADER_REQUIRED, 1, MODEL_EXPERTS_MAX);
    m.n_ff =
        loader_int(l, "expert_feed_forward_length", m.n_ff ? m.n_ff : LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    m.n_shared_ff = loader_int(l, "expert_shared_feed_forward_length", shared_width(l), 0, MODEL_WIDTH_MAX);
    if (l->rc == 0)
        routing_load(&m.routing, l, m.n_experts);
    /* The rows of all chosen experts stand side by side. */
    int64_t widest = m.n_ff > m.n_embed ? m.n_ff : m.n_embed;
    if (l->rc == 0 && 2 * widest * m.routing.n_used > INT32_MAX)
        loader_fail(l, ERROR_INVALID, "%d experts of %" PRId64 " values for a token: the file is broken",
            (int)m.routing.n_used, widest);
    return m;
}

void experts_load(struct experts *x, const struct mixture *m, struct loader *l, int32_t i)
{
    x->mixture = m;
    x->routing = m->routing;
    x->router = loader_linear(l, m->n_embed, m->n_experts, "blk.%d.ffn_gate_inp", (int)i);
    if (loader_has(l, "blk.%d.exp_probs_b.bias", (int)i))
        x->routing.bias = loader_vector(l, m->n_experts, "blk.%d.exp_probs_b.bias", (int)i);
    if (loader_has(l, "blk.%d.ffn_gate_up_exps.weight", (int)i)) {
        x->gate_up = loader_experts(
            l, m->n_embed, 2 * (int64_t)m->n_ff, m->n_experts, "blk.%d.ffn_gate_up_exps", (int)i);
    } else {
        x->gate = loader_experts(l, m->n_embed, m->n_ff, m->n_experts, "blk.%d.ffn_gate_exps", (int)i);
        x->up = loader_experts(l, m->n_embed, m->n_ff, m->n_experts, "blk.%d.ffn_up_exps", (int)i);
    }
    x->down = loader_experts(l, m->n_ff, m->n_embed, m->n_experts, "blk.%d.ffn_down_exps", (int)i);
    if (!x->down.weight.scales && loader_has(l, "blk.%d.ffn_down_exps.scale", (int)i))
        x->routing.factors = loader_vector(l, m->n_experts, "blk.%d.ffn_down_exps.scale", (int)i);
    if (m->n_shared_ff == 0)
        return;
    ffn_load(&x->shared, l, m->n_embed, m->n_shared_ff, i, "_shexp");
    if (loader_has(l, "blk.%d.ffn_gate_inp_shexp.weight", (int)i))
        x->shared_gate = loader_linear(l, m->n_embed, 1, "blk.%d.ffn_gate_inp_shexp", (int)i);
}

struct value experts_routed(const struct experts *e, struct program *p, struct value x, struct value scores)
{
    const struct mixture *m = e->mixture;
    const int32_t n_used = m->routing.n_used;
    struct value routes = op_route_by(p, scores, &e->routing), gate, up;
    if (e->gate_up.weight.data) {
        struct value both = op_matmul_experts(p, &e->gate_up, x, routes, n_used);
        gate = op_part(p, both, 2 * m->n_ff, 0, m->n_ff);
        up = op_part(p, both, 2 * m->n_ff, m->n_ff, m->n_ff);
    } else {
        gate = op_matmul_experts(p, &e->gate, x, routes, n_used);
        up = op_matmul_experts(p, &e->up, x, routes, n_used);
    }
    struct value down = op_matmul_experts(p, &e->down, op_glu(p, m->glu, gate, up), routes, n_used);
    return op_mix_experts(p, down, routes, n_used);
}

struct value experts_forward(const struct experts *e, struct program *p, struct value x)
{
    struct value y = experts_routed(e, p, x, op_matmul(p, &e->router, x));
    if (e->mixture->n_shared_ff == 0)
        return y;
    struct value shared = ffn_forward(&e->shared, p, e->mixture->glu, x);
    if (e->shared_gate.weight.data)
        shared = op_gate(p, op_matmul(p, &e->shared_gate, x), shared);
    return op_add(p, y, shared);
}
