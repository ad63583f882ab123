/* Gemma (Gemma Team 2024, arxiv.org/abs/2403.08295): embeddings scaled by the root of their width, GeGLU. The
 * norms' weights are stored with their 1 added. */
#include <math.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    struct projections projections;
    struct ffn ffn;
};

struct gemma {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct gemma *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, q, angles, &m->traits.rope, m->shape.key_width);
    k = op_rope(p, k, angles, &m->traits.rope, m->shape.key_width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct gemma *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_scale(p, op_embed(p, &m->ends.embedding), m->traits.embed_scale);
    struct value angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        x = op_add(p, x, ffn_forward(&l->ffn, p, GLU_GELU, h));
    }
    return ends_forward(&m->ends, p, x, s->eps);
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    t.embed_scale = sqrtf((float)s->n_embed);
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct gemma *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits(s, l);
    ends_load(&m->ends, model, l);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        struct layer *y = &m->layers[i];
        y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
        projections_load(&y->projections, s, l, i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        model->states[i] = shape_state(s, 0);
    }
}

const struct architecture model_gemma = {"gemma", load, forward, traits};
