/* GLM-4.5 (Zhipu 2025, arxiv.org/abs/2508.06471): the first layers are dense; experts are chosen by sigmoid
 * and a bias that balances them, beside a shared one; part of each head is rotated. A layer of the same kind
 * behind the last one drafts. */
#include <math.h>

#include "engine/worker/model_ffn.h"
#include "engine/worker/model_heads.h"
#include "engine/worker/model_nextn.h"

struct layer {
    const float *attention_norm, *q_norm, *k_norm, *ffn_norm; /* q_norm, k_norm: NULL for none */
    struct linear q, k, v, output;
    struct ffn dense; /* leading layers */
    struct experts experts;
};

struct glm4moe {
    struct heads heads;
    struct mixture mixture;
    int32_t n_dense, n_ff;
    float eps;
    struct rope rope;
    struct attention attention;
    struct ends ends;
    struct layer *layers;
};

static void keep(const struct glm4moe *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    struct value k = op_matmul(p, &l->k, x);
    if (l->k_norm)
        k = op_rms_norm(p, k, l->k_norm, m->heads.k_width, m->eps);
    k = op_rope(p, k, angles, &m->rope, m->heads.k_width);
    op_kv_write(p, cache, k, op_matmul(p, &l->v, x));
}

static struct value attend(const struct glm4moe *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    struct value q = op_matmul(p, &l->q, x);
    if (l->q_norm)
        q = op_rms_norm(p, q, l->q_norm, m->heads.k_width, m->eps);
    q = op_rope(p, q, angles, &m->rope, m->heads.k_width);
    return op_matmul(p, &l->output, op_attention(p, cache, q, &m->attention));
}

/* With `select` only rows that want logits go on behind the attention. */
static struct value layer_forward(const struct glm4moe *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles, bool select)
{
    const int32_t n_embed = m->mixture.n_embed;
    struct value h = op_rms_norm(p, x, l->attention_norm, n_embed, m->eps);
    keep(m, l, p, cache, h, angles);
    h = attend(m, l, p, cache, h, angles);
    if (select) {
        x = op_select(p, x);
        h = op_select(p, h);
    }
    x = op_add(p, x, h);
    h = op_rms_norm(p, x, l->ffn_norm, n_embed, m->eps);
    h = l->experts.mixture ? experts_forward(&l->experts, p, h) : ffn_forward(&l->dense, p, GLU_SILU, h);
    return op_add(p, x, h);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct glm4moe *m = model->data;
    const int32_t last = m->ends.nextn ? -1 : model->info.n_layers - 1;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < model->info.n_layers; i++)
        x = layer_forward(m, &m->layers[i], p, states[i], x, angles, i == last);
    return ends_forward(&m->ends, p, x, m->eps);
}

static struct value foretell(const struct model *model, struct program *p, void *const *states)
{
    const struct glm4moe *m = model->data;
    const struct layer *l = &m->layers[model->info.n_layers];
    const void *cache = states[model->info.n_layers];
    struct value x = nextn_begin(m->ends.nextn, p), angles = op_rope_angles(p, &m->rope);
    if (p->batch.n_outputs > 0)
        return nextn_end(m->ends.nextn, p, layer_forward(m, l, p, cache, x, angles, false));
    keep(m, l, p, cache, op_rms_norm(p, x, l->attention_norm, m->mixture.n_embed, m->eps), angles);
    return x;
}

static void load_layer(const struct glm4moe *m, struct layer *y, struct loader *l, int32_t n_embed, int32_t i)
{
    const struct heads *h = &m->heads;
    y->attention_norm = loader_vector(l, n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->q = loader_linear(l, n_embed, h->queries, "blk.%d.attn_q", (int)i);
    y->k = loader_linear(l, n_embed, h->keys, "blk.%d.attn_k", (int)i);
    y->v = loader_linear(l, n_embed, h->values, "blk.%d.attn_v", (int)i);
    y->output = loader_linear(l, h->mixed, n_embed, "blk.%d.attn_output", (int)i);
    if (loader_has(l, "blk.%d.attn_q_norm.weight", (int)i)) {
        y->q_norm = loader_vector(l, h->k_width, "blk.%d.attn_q_norm.weight", (int)i);
        y->k_norm = loader_vector(l, h->k_width, "blk.%d.attn_k_norm.weight", (int)i);
    }
    y->ffn_norm = loader_vector(l, n_embed, "blk.%d.post_attention_norm.weight", (int)i);
    if (i < m->n_dense)
        ffn_load(&y->dense, l, n_embed, m->n_ff, i, "");
    else
        experts_load(&y->experts, &m->mixture, l, i);
}

static void load(struct model *model, struct loader *l)
{
    const int32_t n_embed = model->info.n_embed;
    struct glm4moe *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->heads = heads_load(l, n_embed);
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    m->mixture = mixture_load(
        l, &(struct mixture){.n_embed = n_embed, .routing = {.score = ROUTING_SIGMOID, .normalized = true}});
    m->n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    m->n_dense = loader_int(l, "leading_dense_block_count", 0, 0, model->info.n_layers);
    if (l->rc)
        return;
    m->rope = loader_rope(l, m->heads.n_rotated, ROPE_HALVES);
    m->attention = (struct attention){.n_heads = m->heads.n, .scale = 1 / sqrtf((float)m->heads.k_width)};
    ends_load(&m->ends, model, l);
    nextn_load(&m->ends, model, l, m->eps, foretell);
    m->layers = loader_alloc(l, (size_t)model->n_states, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->n_states; i++) {
        load_layer(m, &m->layers[i], l, n_embed, i);
        model->states[i].kind = STATE_KV;
        model->states[i].kv = heads_cache(&m->heads, 0);
    }
}

const struct architecture model_glm4moe = {"glm4moe", load, forward, NULL};
