/* Command R (Cohere 2024, docs.cohere.com/docs/command-r): attention and feed-forward side by side on one
 * layer norm, scaled logits. Command R+ norms queries and keys, each head by weights of its own. */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *norm;
    const float *q_norm, *k_norm; /* of every head; NULL: none */
    struct projections projections;
    struct ffn ffn;
};

struct command_r {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct command_r *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    if (l->q_norm) {
        q = op_layer_norm(p, q, l->q_norm, NULL, width, true, m->shape.eps);
        k = op_layer_norm(p, k, l->k_norm, NULL, width, true, m->shape.eps);
    }
    q = op_rope(p, q, angles, &m->traits.rope, width);
    k = op_rope(p, k, angles, &m->traits.rope, width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct command_r *m = model->data;
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
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct command_r *m = model->data = loader_alloc(l, 1, sizeof *m);
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
        if (loader_has(l, "blk.%d.attn_q_norm.weight", (int)i) ||
            loader_has(l, "blk.%d.attn_k_norm.weight", (int)i)) {
            y->q_norm = loader_vectors(l, s->key_width, s->n_heads, "blk.%d.attn_q_norm.weight", (int)i);
            y->k_norm = loader_vectors(l, s->key_width, s->n_kv_heads, "blk.%d.attn_k_norm.weight", (int)i);
        }
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        model->states[i] = shape_state(s, 0);
    }
}

const struct architecture model_command_r = {"command-r", load, forward, traits};
