/* Gemma 2 (Gemma Team 2024, arxiv.org/abs/2408.00118): Gemma with a norm behind attention and feed-forward
 * too, a sliding window in every other layer, and scores and logits held within soft caps. */
#include <math.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm;
    struct projections projections;
    struct ffn ffn;
};

struct gemma2 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct gemma2 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, q, angles, &m->traits.rope, m->shape.key_width);
    k = op_rope(p, k, angles, &m->traits.rope, m->shape.key_width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct gemma2 *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_scale(p, op_embed(p, &m->ends.embedding), m->traits.embed_scale);
    struct value angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, op_rms_norm(p, h, l->post_attention_norm, s->n_embed, s->eps));
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        h = ffn_forward(&l->ffn, p, GLU_GELU, h);
        x = op_add(p, x, op_rms_norm(p, h, l->post_ffn_norm, s->n_embed, s->eps));
    }
    x = ends_forward(&m->ends, p, x, s->eps);
    return m->traits.logit_cap > 0 ? op_softcap(p, x, m->traits.logit_cap) : x;
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    t.embed_scale = sqrtf((float)s->n_embed);
    t.attention = shape_attention_gemma(s, l, GEMMA2_LARGEST);
    t.attention.softcap = loader_float(l, "attn_logit_softcapping", 50, 0, 1e6f);
    t.logit_cap = loader_float(l, "final_logit_softcapping", 30, 0, 1e6f);
    t.windows = shape_windows(s, l, 4096, 2);
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct gemma2 *m = model->data = loader_alloc(l, 1, sizeof *m);
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
        y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
        y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        model->states[i] = shape_state(s, m->traits.windows[i]);
    }
}

const struct architecture model_gemma2 = {"gemma2", load, forward, traits};
