/* Llama (Touvron et al. 2023, arxiv.org/abs/2302.13971; Llama 3, arxiv.org/abs/2407.21783), and what shares
 * its shape: Mistral, SmolLM, and Mixtral's experts (Jiang et al. 2024, arxiv.org/abs/2401.04088). */
#include <math.h>

#include "engine/worker/model_decoder.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    struct projections projections;
    struct ffn ffn;       /* one network, or those of all experts */
    struct linear router; /* experts only */
};

struct llama {
    struct shape shape;
    struct traits traits;
    int32_t n_experts, n_used; /* n_experts 0: none */
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct llama *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x),
                 v = op_matmul(p, &l->projections.v, x);
    q = op_rope(p, q, angles, &m->traits.rope, width);
    k = op_rope(p, k, angles, &m->traits.rope, width);
    return block_attend(p, &l->projections, &m->traits.attention, cache, q, k, v);
}

static struct value feed_forward(
    const struct llama *m, const struct layer *l, struct program *p, struct value x)
{
    if (m->n_experts == 0)
        return ffn_forward(&l->ffn, p, GLU_SILU, x);
    struct value routes = op_route(p, op_matmul(p, &l->router, x), m->n_used);
    struct value gate = op_matmul_experts(p, &l->ffn.gate, x, routes, m->n_used);
    struct value up = op_matmul_experts(p, &l->ffn.up, x, routes, m->n_used);
    struct value down = op_matmul_experts(p, &l->ffn.down, op_glu(p, GLU_SILU, gate, up), routes, m->n_used);
    return op_mix_experts(p, down, routes, m->n_used);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct llama *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        x = op_add(p, x, feed_forward(m, l, p, h));
    }
    return ends_forward(&m->ends, p, x, s->eps);
}

/* Of files of this architecture nobody scales the scores. */
static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.attention.scale = 1 / sqrtf((float)s->key_width);
    return t;
}

static void load_mixture(struct llama *m, struct loader *l)
{
    m->n_experts = mixture_is(l) ? loader_int(l, "expert_count", LOADER_REQUIRED, 1, MODEL_EXPERTS_MAX) : 0;
    m->n_used = loader_int(l, "expert_used_count", 0, 0, MODEL_EXPERTS_USED_MAX);
    if (l->rc == 0 && m->n_experts > 0 && (m->n_used < 1 || m->n_used > m->n_experts))
        loader_fail(l, ERROR_INVALID, "the model uses %d of %d experts: the file is broken", (int)m->n_used,
            (int)m->n_experts);
}

static void load_layer(const struct llama *m, struct layer *y, struct loader *l, int32_t i)
{
    const struct shape *s = &m->shape;
    y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
    projections_load(&y->projections, s, l, i);
    y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
    if (m->n_experts == 0)
        return ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
    y->router = loader_linear(l, s->n_embed, m->n_experts, "blk.%d.ffn_gate_inp", (int)i);
    y->ffn.gate = loader_experts(l, s->n_embed, s->n_ff, m->n_experts, "blk.%d.ffn_gate_exps", (int)i);
    y->ffn.up = loader_experts(l, s->n_embed, s->n_ff, m->n_experts, "blk.%d.ffn_up_exps", (int)i);
    y->ffn.down = loader_experts(l, s->n_ff, s->n_embed, m->n_experts, "blk.%d.ffn_down_exps", (int)i);
}

static void load(struct model *model, struct loader *l)
{
    struct llama *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits(s, l);
    load_mixture(m, l);
    ends_load(&m->ends, model, l);
    ends_embed(&m->ends, model, l, s->eps);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        load_layer(m, &m->layers[i], l, i);
        model->states[i] = shape_state(s, 0);
    }
}

static const struct decoder decoder = {.traits = traits};
const struct architecture model_llama = {"llama", load, forward, &decoder};
