/* Phi 3 and 4 (Abdin et al. 2024, arxiv.org/abs/2404.14219): Llama with fused matrices. Long contexts turn by
 * LongRoPE (Ding et al. 2024, arxiv.org/abs/2402.13753): one set of factors for states within the context
 * first trained on, another for longer ones.
 *
 * Files carry an attention.sliding_window that is not used: converters wrote it for models that have none and
 * with figures that differ from the authors', so engines have come to leave it alone (llama.cpp #13676). */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    struct projections projections;
    struct ffn ffn;
};

struct phi3 {
    struct shape shape;
    struct traits traits;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct phi3 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, const struct rope *rope, struct value angles)
{
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, q, angles, rope, m->shape.key_width);
    k = op_rope(p, k, angles, rope, m->shape.key_width);
    return block_attend(
        p, &l->projections, &m->traits.attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct phi3 *m = model->data;
    const struct shape *s = &m->shape;
    const struct traits *t = &m->traits;
    const struct rope *rope = p->batch.n_context > t->long_after ? &t->long_rope : &t->rope;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[i], h, rope, angles);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        x = op_add(p, x, ffn_forward(&l->ffn, p, GLU_SILU, h));
    }
    return ends_forward(&m->ends, p, x, s->eps);
}

static struct traits traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    const int32_t trained = loader_int(l, "context_length", LOADER_REQUIRED, 1, INT32_MAX);
    t.rope = loader_rope_factors(l, s->n_rotated, ROPE_HALVES, 10000, "rope_factors_short.weight");
    t.long_rope = loader_rope_factors(l, s->n_rotated, ROPE_HALVES, 10000, "rope_factors_long.weight");
    t.long_after = loader_int(l, "rope.scaling.original_context_length", trained, 1, INT32_MAX);
    return t;
}

static void load(struct model *model, struct loader *l)
{
    struct phi3 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->traits = traits(s, l);
    if (m->traits.long_after < model->info.n_context_train)
        model->info.n_context_best = m->traits.long_after;
    ends_load(&m->ends, model, l);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        struct layer *y = &m->layers[i];
        y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
        projections_load(&y->projections, s, l, i);
        y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
        ffn_load_fused(&y->ffn, l, s->n_embed, s->n_ff, i);
        model->states[i] = shape_state(s, 0);
    }
}

const struct architecture model_phi3 = {"phi3", load, forward, traits};
