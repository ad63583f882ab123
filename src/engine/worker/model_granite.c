/* Granite 3 and 4 (IBM 2024, github.com/ibm-granite/granite-3.0-language-models): Llama whose embeddings,
 * residual branches, scores and logits are scaled (muP, Yang et al. 2022, arxiv.org/abs/2203.03466). With a
 * mixture of experts it is granitemoe. */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    bool turns;
    struct projections projections;
    struct ffn ffn;
    struct experts experts; /* instead, in a mixture */
};

struct granite {
    struct shape shape;
    struct traits traits;
    struct mixture mixture; /* n_experts 0: none */
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct granite *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    if (l->turns) {
        q = op_rope(p, q, angles, &m->traits.rope, m->shape.key_width);
        k = op_rope(p, k, angles, &m->traits.rope, m->shape.key_width);
    }
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct granite *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_scale(p, op_embed(p, &m->ends.embedding), m->traits.embed_scale);
    struct value angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, op_scale(p, h, m->traits.branch_scale));
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        h = m->mixture.n_experts > 0 ? experts_forward(&l->experts, p, h)
                                     : ffn_forward(&l->ffn, p, GLU_SILU, h);
        x = op_add(p, x, op_scale(p, h, m->traits.branch_scale));
    }
    return op_scale(p, ends_forward(&m->ends, p, x, s->eps), m->traits.logit_scale);
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.embed_scale = loader_scale(l, "embedding_scale", 1);
    t.branch_scale = loader_scale(l, "residual_scale", 1);
    t.logit_scale = 1 / loader_scale(l, "logit_scale", LOADER_REQUIRED);
    const bool turns = loader_bool(l, "rope.scaling.finetuned", true);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        t.turns[i] = turns;
    return t;
}

static void load_mixture(struct granite *m, struct loader *l)
{
    if (loader_int(l, "expert_count", 0, 0, MODEL_EXPERTS_MAX) == 0)
        return;
    struct mixture defaults = {.n_embed = m->shape.n_embed, .n_ff = m->shape.n_ff, .glu = GLU_SILU};
    defaults.routing = (struct routing){.score = ROUTING_SOFTMAX, .normalized = true, .scale = 1};
    m->mixture = mixture_load(l, &defaults);
}

static void load(struct model *model, struct loader *l)
{
    struct granite *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits(s, l);
    load_mixture(m, l);
    ends_load(&m->ends, model, l);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        struct layer *y = &m->layers[i];
        y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
        projections_load(&y->projections, s, l, i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        if (m->mixture.n_experts > 0)
            experts_load(&y->experts, &m->mixture, l, i);
        else
            ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        y->turns = m->traits.turns[i];
        model->states[i] = shape_state(s, 0);
    }
}

const struct architecture model_granite = {"granite", load, forward, traits};
const struct architecture model_granitemoe = {"granitemoe", load, forward, NULL};
