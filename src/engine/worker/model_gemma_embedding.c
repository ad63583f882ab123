/* EmbeddingGemma (Vera et al. 2025, arxiv.org/abs/2509.20354): Gemma 3 as an encoder. Every token sees those
 * after it; five layers that see half a window to either side to one that sees the whole text. The mean of
 * the rows goes through two more layers where the file has them. */
#include <math.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_embedder.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm;
    const float *q_norm, *k_norm; /* of a head */
    struct projections projections;
    bool local;
    struct ffn ffn;
};

struct gemma_embedding {
    struct shape shape;
    struct rope rope, local_rope;
    struct attention attention, local_attention;
    struct weight embedding;
    const float *norm;
    struct embedder embedder;
    struct layer *layers;
};

static struct value attend(const struct gemma_embedding *m, const struct layer *l, struct program *p,
    const void *state, struct value x, struct value angles)
{
    const struct rope *rope = l->local ? &m->local_rope : &m->rope;
    const struct attention *how = l->local ? &m->local_attention : &m->attention;
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, op_rms_norm(p, q, l->q_norm, width, m->shape.eps), angles, rope, width);
    k = op_rope(p, op_rms_norm(p, k, l->k_norm, width, m->shape.eps), angles, rope, width);
    return block_attend(p, &l->projections, how, state, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct gemma_embedding *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_scale(p, op_embed(p, &m->embedding), sqrtf((float)s->n_embed));
    struct value angles = op_rope_angles(p, &m->rope), local = op_rope_angles(p, &m->local_rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, s->n_embed, s->eps);
        h = attend(m, l, p, states[0], h, l->local ? local : angles);
        x = op_add(p, x, op_rms_norm(p, h, l->post_attention_norm, s->n_embed, s->eps));
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        h = ffn_forward(&l->ffn, p, GLU_GELU, h);
        x = op_add(p, x, op_rms_norm(p, h, l->post_ffn_norm, s->n_embed, s->eps));
    }
    return embedder_forward(&m->embedder, p, op_rms_norm(p, x, m->norm, s->n_embed, s->eps), false);
}

static void load_layer(const struct shape *s, struct layer *y, struct loader *l, int32_t i)
{
    y->attention_norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
    projections_load(&y->projections, s, l, i);
    y->q_norm = loader_vector(l, s->key_width, "blk.%d.attn_q_norm.weight", (int)i);
    y->k_norm = loader_vector(l, s->key_width, "blk.%d.attn_k_norm.weight", (int)i);
    y->post_attention_norm = loader_vector(l, s->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
    y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
    y->post_ffn_norm = loader_vector(l, s->n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
    ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
}

static void load(struct model *model, struct loader *l)
{
    struct gemma_embedding *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    m->shape = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->rope = loader_rope(l, s->n_rotated, ROPE_HALVES);
    m->local_rope = loader_rope_window(l, s->n_rotated, ROPE_HALVES, 10000);
    const int32_t *windows = shape_windows(s, l, LOADER_REQUIRED, 6);
    m->attention = shape_attention(s, l);
    m->attention.later = true;
    m->local_attention = m->attention;
    model->whole = true;
    embedder_load(&m->embedder, model, l, MODEL_POOL_MEAN, MODEL_POOL_CLS);
    m->embedding = loader_weight(l, s->n_embed, model->info.n_vocab, "token_embd.weight");
    m->norm = loader_vector(l, s->n_embed, "output_norm.weight");
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        load_layer(s, &m->layers[i], l, i);
        m->layers[i].local = windows[i] > 0;
        if (windows[i] > 0)
            m->local_attention.reach = windows[i] / 2;
    }
    /* Layers run one after another and nothing stays: one cache does for all. */
    model->n_states = 1;
    model->states[0] = shape_state(s, 0);
}

const struct architecture model_gemma_embedding = {"gemma-embedding", load, forward, NULL};
