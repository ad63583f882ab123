/* OLMo 2 (OLMo Team 2024, arxiv.org/abs/2501.00656): norms behind attention and feed-forward instead of
 * before them, queries and keys normed over all heads together. OLMo 3 (2025) adds windows, three layers of
 * four. */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *q_norm, *k_norm; /* of all heads */
    const float *post_attention_norm, *post_ffn_norm;
    struct projections projections;
    int32_t window;
    struct ffn ffn;
};

struct olmo2 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct olmo2 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    const struct shape *s = &m->shape;
    const struct rope *rope = l->window > 0 ? &m->traits.window_rope : &m->traits.rope;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rms_norm(p, q, l->q_norm, s->n_heads * s->key_width, s->eps);
    k = op_rms_norm(p, k, l->k_norm, s->n_kv_heads * s->key_width, s->eps);
    q = op_rope(p, q, angles, rope, s->key_width);
    k = op_rope(p, k, angles, rope, s->key_width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct olmo2 *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_embed(p, &m->ends.embedding);
    struct value angles = op_rope_angles(p, &m->traits.rope),
                 local = op_rope_angles(p, &m->traits.window_rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = attend(m, l, p, states[i], x, l->window > 0 ? local : angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, op_rms_norm(p, h, l->post_attention_norm, s->n_embed, s->eps));
        h = ffn_forward(&l->ffn, p, GLU_SILU, x);
        x = op_add(p, x, op_rms_norm(p, h, l->post_ffn_norm, s->n_embed, s->eps));
    }
    return ends_forward(&m->ends, p, x, s->eps);
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    const float base = loader_float(l, "rope.freq_base", 10000, 1e-3f, 1e15f);
    t.window_rope = loader_rope_window(l, s->n_rotated, ROPE_HALVES, base); /* not scaled */
    t.windows = shape_windows(s, l, 0, 4);
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct olmo2 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits(s, l);
    ends_load(&m->ends, model, l);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        struct layer *y = &m->layers[i];
        projections_load(&y->projections, s, l, i);
        y->q_norm = loader_vector(l, (int64_t)s->n_heads * s->key_width, "blk.%d.attn_q_norm.weight", (int)i);
        y->k_norm =
            loader_vector(l, (int64_t)s->n_kv_heads * s->key_width, "blk.%d.attn_k_norm.weight", (int)i);
        y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
        y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
        y->window = m->traits.windows[i];
        model->states[i] = shape_state(s, y->window);
    }
}

const struct architecture model_olmo2 = {"olmo2", load, forward, traits};
