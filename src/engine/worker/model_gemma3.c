/* Gemma 3 (Gemma Team 2025, arxiv.org/abs/2503.19786): Gemma 2 with queries and keys normed head by head
 * instead of capped scores; five layers with a window, whose positions turn at a base of their own, to one
 * without. */
#include <math.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm;
    const float *q_norm, *k_norm; /* of a head */
    struct projections projections;
    int32_t window;
    struct ffn ffn;
};

struct gemma3 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct gemma3 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const struct rope *rope = l->window > 0 ? &m->traits.window_rope : &m->traits.rope;
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, op_rms_norm(p, q, l->q_norm, width, m->shape.eps), angles, rope, width);
    k = op_rope(p, op_rms_norm(p, k, l->k_norm, width, m->shape.eps), angles, rope, width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct gemma3 *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_scale(p, op_embed(p, &m->ends.embedding), m->traits.embed_scale);
    struct value angles = op_rope_angles(p, &m->traits.rope),
                 local = op_rope_angles(p, &m->traits.window_rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, l->window > 0 ? local : angles);
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
    t.window_rope = loader_rope_window(l, s->n_rotated, ROPE_HALVES, 10000);
    t.attention = shape_attention_gemma(s, l, GEMMA3_LARGEST);
    t.logit_cap = loader_float(l, "final_logit_softcapping", 0, 0, 1e6f);
    t.windows = shape_windows(s, l, 0, 6);
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct gemma3 *m = model->data = loader_alloc(l, 1, sizeof *m);
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
        y->q_norm = loader_vector(l, s->key_width, "blk.%d.attn_q_norm.weight", (int)i);
        y->k_norm = loader_vector(l, s->key_width, "blk.%d.attn_k_norm.weight", (int)i);
        y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
        y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        y->window = m->traits.windows[i];
        model->states[i] = shape_state(s, y->window);
    }
}

const struct architecture model_gemma3 = {"gemma3", load, forward, traits};
