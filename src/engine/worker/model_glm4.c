/* GLM 4 (GLM Team 2024, arxiv.org/abs/2406.12793; the 0414 models): norms before and behind attention and
 * feed-forward, half of each head rotated, biased queries, keys and values. Some files have a layer of the
 * same kind behind the last one, which drafts. */
#include "engine/worker/model_decoder.h"
#include "engine/worker/model_ffn.h"
#include "engine/worker/model_nextn.h"

struct layer {
    const float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm;
    struct projections projections; /* with biases */
    struct ffn ffn;
};

struct glm4 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static void keep(const struct glm4 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    struct value k =
        op_rope(p, op_matmul(p, &l->projections.k, x), angles, &m->traits.rope, m->shape.key_width);
    op_kv_write(p, cache, k, op_matmul(p, &l->projections.v, x));
}

static struct value attend(const struct glm4 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    struct value q =
        op_rope(p, op_matmul(p, &l->projections.q, x), angles, &m->traits.rope, m->shape.key_width);
    return op_matmul(p, &l->projections.output, op_attention(p, cache, q, &m->traits.attention));
}

/* With `select` only rows that want logits go on behind the attention. */
static struct value layer_forward(const struct glm4 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles, bool select)
{
    const struct shape *s = &m->shape;
    struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
    keep(m, l, p, cache, h, angles);
    h = attend(m, l, p, cache, h, angles);
    if (select) {
        x = op_select(p, x);
        h = op_select(p, h);
    }
    x = op_add(p, x, op_rms_norm(p, h, l->post_attention_norm, s->n_embed, s->eps));
    h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
    h = ffn_forward(&l->ffn, p, GLU_SILU, h);
    return op_add(p, x, op_rms_norm(p, h, l->post_ffn_norm, s->n_embed, s->eps));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct glm4 *m = model->data;
    const int32_t last = m->ends.nextn ? -1 : m->shape.n_layers - 1;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->traits.rope);
    for (int32_t i = 0; i < m->shape.n_layers; i++)
        x = layer_forward(m, &m->layers[i], p, states[i], x, angles, i == last);
    return ends_forward(&m->ends, p, x, m->shape.eps);
}

static struct value foretell(const struct model *model, struct program *p, void *const *states)
{
    const struct glm4 *m = model->data;
    const struct shape *s = &m->shape;
    const struct layer *l = &m->layers[s->n_layers];
    const void *cache = states[s->n_layers];
    struct value x = nextn_begin(m->ends.nextn, p), angles = op_rope_angles(p, &m->traits.rope);
    if (p->batch.n_outputs > 0)
        return nextn_end(m->ends.nextn, p, layer_forward(m, l, p, cache, x, angles, false));
    keep(m, l, p, cache, op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps), angles);
    return x;
}

static void load(struct model *model, struct loader *l)
{
    struct glm4 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits_adjacent(s, l);
    ends_load(&m->ends, model, l);
    nextn_load(&m->ends, model, l, s->eps, foretell);
    m->layers = loader_alloc(l, (size_t)model->n_states, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->n_states; i++) {
        struct layer *y = &m->layers[i];
        y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
        projections_load(&y->projections, s, l, i);
        y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
        y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        ffn_load_fused(&y->ffn, l, s->n_embed, s->n_ff, i);
        model->states[i] = shape_state(s, 0);
    }
}

static const struct decoder decoder = {.traits = traits_adjacent, .norms_behind = true, .fused = true};
const struct architecture model_glm4 = {"glm4", load, forward, &decoder};
