/* Command R7B and Command A (Cohere 2025, arxiv.org/abs/2504.00698): attention and feed-forward side by side
 * on one layer norm, scaled logits; three layers with a window and positions to one that sees all without
 * them. */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *norm;
    struct projections projections;
    struct ffn ffn;
    bool turns;
};

struct cohere2 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct cohere2 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    if (l->turns) {
        q = op_rope(p, q, angles, &m->traits.rope, width);
        k = op_rope(p, k, angles, &m->traits.rope, width);
    }
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct cohere2 *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_layer_norm(p, x, l->norm, NULL, s->n_embed, false, s->eps);
        struct value y =
            op_add(p, attend(m, l, p, states[i], h, angles), ffn_forward(&l->ffn, p, GLU_SILU, h));
        block_select(p, s, i, &x, &y);
        x = op_add(p, x, y);
    }
    x = op_layer_norm(p, x, m->ends.norm, NULL, s->n_embed, false, s->eps);
    return op_scale(p, op_matmul(p, &m->ends.output, x), m->traits.logit_scale);
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.logit_scale = loader_float(l, "logit_scale", LOADER_REQUIRED, 0, 1e6f);
    t.windows = shape_windows(s, l, LOADER_REQUIRED, 4);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        t.turns[i] = t.windows[i] > 0;
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct cohere2 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_epsilon");
    m->traits = traits(s, l);
    ends_load(&m->ends, model, l);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        struct layer *y = &m->layers[i];
        y->norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
        projections_load(&y->projections, s, l, i);
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        y->turns = m->traits.turns[i];
        model->states[i] = shape_state(s, m->traits.windows[i]);
    }
}

const struct architecture model_cohere2 = {"cohere2", load, forward, traits};
