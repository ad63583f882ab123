#include "engine/worker/model_decoder.h"

struct layer {
    const float *attention_norm, *ffn_norm;           /* of what goes into a branch; NULL: none */
    const float *post_attention_norm, *post_ffn_norm; /* of what comes out of it; NULL: none */
    const float *q_norm, *k_norm;                     /* of heads; NULL: none */
    struct projections projections;
    struct ffn ffn;
    struct experts experts; /* instead, in a mixture */
};

struct decoder_model {
    const struct decoder *is;
    struct shape shape;
    struct traits traits;
    struct mixture mixture; /* n_experts 0: none */
    struct ends ends;
    struct layer *layers;
};

struct traits traits_turning(const struct shape *s, struct loader *l, struct rope rope)
{
    struct traits t = {.rope = rope, .embed_scale = 1, .branch_scale = 1, .logit_scale = 1};
    t.attention = shape_attention(s, l);
    t.windows = loader_alloc(l, (size_t)s->n_layers, sizeof *t.windows);
    t.turns = loader_alloc(l, (size_t)s->n_layers, sizeof *t.turns);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        t.turns[i] = true;
    return t;
}

struct traits traits_adjacent(const struct shape *s, struct loader *l)
{
    return traits_turning(s, l, loader_rope(l, s->n_rotated, ROPE_ADJACENT));
}

struct traits traits_halves(const struct shape *s, struct loader *l)
{
    return traits_turning(s, l, loader_rope(l, s->n_rotated, ROPE_HALVES));
}

/* ---- The pass ---- */

/* What heads turn by. */
struct rotation {
    const struct rope *rope;
    struct value angles;
};

static struct rotation rotation_of(struct program *p, const struct rope *rope)
{
    return (struct rotation){rope, op_rope_angles(p, rope)};
}

static struct value scaled(struct program *p, struct value x, float by)
{
    return by == 1 ? x : op_scale(p, x, by);
}

static struct value normed(
    const struct decoder_model *m, struct program *p, struct value x, const float *weight)
{
    const int32_t width = m->shape.n_embed;
    if (!weight)
        return x;
    return m->is->centred ? op_layer_norm(p, x, weight, NULL, width, false, m->shape.eps)
                          : op_rms_norm(p, x, weight, width, m->shape.eps);
}

static struct value heads_normed(
    const struct decoder_model *m, struct program *p, struct value x, const float *weight, int32_t n_heads)
{
    const int32_t width = m->shape.key_width;
    if (!weight)
        return x;
    if (m->is->head_norms == HEAD_NORMS_OWN)
        return op_layer_norm(p, x, weight, NULL, width, true, m->shape.eps);
    return op_rms_norm(
        p, x, weight, m->is->head_norms == HEAD_NORMS_ACROSS ? n_heads * width : width, m->shape.eps);
}

/* `by`: NULL where heads do not turn. */
static struct value attend(const struct decoder_model *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, const struct rotation *by)
{
    const struct shape *s = &m->shape;
    const struct traits *t = &m->traits;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x),
                 v = op_matmul(p, &l->projections.v, x);
    q = heads_normed(m, p, q, l->q_norm, s->n_heads);
    k = heads_normed(m, p, k, l->k_norm, s->n_kv_heads);
    if (by) {
        q = op_rope(p, q, by->angles, by->rope, s->key_width);
        k = op_rope(p, k, by->angles, by->rope, s->key_width);
    }
    if (t->late_slope != 0)
        q = op_scale_late(p, q, t->late_slope, t->late_span);
    return block_attend(p, &l->projections, &t->attention, cache, q, k, v);
}

static struct value network(
    const struct decoder_model *m, const struct layer *l, struct program *p, struct value x)
{
    if (m->mixture.n_experts > 0)
        return experts_forward(&l->experts, p, x);
    return ffn_forward(&l->ffn, p, m->is->gelu ? GLU_GELU : GLU_SILU, x);
}

static struct value logits(const struct decoder_model *m, struct program *p, struct value x)
{
    const struct traits *t = &m->traits;
    x = m->is->centred ? op_matmul(p, &m->ends.output, normed(m, p, x, m->ends.norm))
                       : ends_forward(&m->ends, p, x, m->shape.eps);
    x = scaled(p, x, t->logit_scale);
    return t->logit_cap > 0 ? op_softcap(p, x, t->logit_cap) : x;
}

struct value decoder_forward(const struct model *model, struct program *p, void *const *states)
{
    const struct decoder_model *m = model->data;
    const struct traits *t = &m->traits;
    const bool is_long = t->long_rope.n_dims > 0 && p->batch.n_context > t->long_after;
    struct value x = scaled(p, op_embed(p, &m->ends.embedding), t->embed_scale);
    const struct rotation all = rotation_of(p, is_long ? &t->long_rope : &t->rope);
    const struct rotation window = t->window_rope.n_dims > 0 ? rotation_of(p, &t->window_rope) : all;
    for (int32_t i = 0; i < m->shape.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct rotation *by = !t->turns[i] ? NULL : t->windows[i] > 0 ? &window : &all;
        struct value h = normed(m, p, x, l->attention_norm), y = attend(m, l, p, states[i], h, by);
        if (m->is->parallel)
            y = op_add(p, y, network(m, l, p, h));
        block_select(p, &m->shape, i, &x, &y);
        x = op_add(p, x, scaled(p, normed(m, p, y, l->post_attention_norm), t->branch_scale));
        if (m->is->parallel)
            continue;
        y = network(m, l, p, normed(m, p, x, l->ffn_norm));
        x = op_add(p, x, scaled(p, normed(m, p, y, l->post_ffn_norm), t->branch_scale));
    }
    return logits(m, p, x);
}

/* ---- Loading ---- */

static void load_head_norms(const struct decoder_model *m, struct layer *y, struct loader *l, int i)
{
    const struct shape *s = &m->shape;
    const int64_t width = s->key_width;
    switch (m->is->head_norms) {
    case HEAD_NORMS_NONE:
        break;
    case HEAD_NORMS_SHARED:
        y->q_norm = loader_vector(l, width, "blk.%d.attn_q_norm.weight", i);
        y->k_norm = loader_vector(l, width, "blk.%d.attn_k_norm.weight", i);
        break;
    case HEAD_NORMS_ACROSS:
        y->q_norm = loader_vector(l, s->n_heads * width, "blk.%d.attn_q_norm.weight", i);
        y->k_norm = loader_vector(l, s->n_kv_heads * width, "blk.%d.attn_k_norm.weight", i);
        break;
    case HEAD_NORMS_OWN:
        if (loader_has(l, "blk.%d.attn_q_norm.weight", i) || loader_has(l, "blk.%d.attn_k_norm.weight", i)) {
            y->q_norm = loader_vectors(l, width, s->n_heads, "blk.%d.attn_q_norm.weight", i);
            y->k_norm = loader_vectors(l, width, s->n_kv_heads, "blk.%d.attn_k_norm.weight", i);
        }
    }
}

static void load_layer(const struct decoder_model *m, struct layer *y, struct loader *l, int32_t i)
{
    const struct shape *s = &m->shape;
    if (!m->is->no_norms_before)
        y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
    projections_load(&y->projections, s, l, i);
    load_head_norms(m, y, l, (int)i);
    if (m->is->norms_behind) {
        y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
        y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
    }
    if (!m->is->no_norms_before && !m->is->parallel)
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
    if (m->mixture.n_experts > 0)
        experts_load(&y->experts, &m->mixture, l, i);
    else if (m->is->fused)
        ffn_load_fused(&y->ffn, l, s->n_embed, s->n_ff, i);
    else
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
}

static void load_mixture(struct decoder_model *m, struct loader *l)
{
    struct mixture defaults = *m->is->mixture;
    defaults.n_embed = m->shape.n_embed;
    defaults.n_ff = m->shape.n_ff;
    m->mixture = mixture_load(l, &defaults);
}

void decoder_load(struct model *model, struct loader *l)
{
    const struct decoder *is = model->architecture->decoder;
    const char *eps = is->centred ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    const bool mixed = is->mixture && mixture_is(l);
    struct decoder_model *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->is = is;
    m->shape = mixed ? shape_load_mixed(model, l, eps) : shape_load(model, l, eps);
    m->traits = is->traits(s, l);
    if (m->traits.long_rope.n_dims > 0 && m->traits.long_after < model->info.n_context_train)
        model->info.n_context_best = m->traits.long_after;
    if (mixed)
        load_mixture(m, l);
    ends_load(&m->ends, model, l);
    if (is->embeds)
        ends_embed(&m->ends, model, l, s->eps);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        load_layer(m, &m->layers[i], l, i);
        model->states[i] = shape_state(s, m->traits.windows[i]);
    }
}
