/* Qwen3's mixtures (Qwen team 2025, arxiv.org/abs/2505.09388): every head of queries and keys is normalised
 * before it is rotated; experts everywhere, chosen by softmax. */
#include <math.h>

#include "engine/worker/model_arch.h"
#include "engine/worker/model_ffn.h"
#include "engine/worker/model_heads.h"

struct layer {
    const float *attention_norm, *q_norm, *k_norm, *ffn_norm;
    struct linear q, k, v, output;
    struct experts experts;
};

struct qwen3moe {
    struct heads heads;
    struct mixture mixture;
    float eps;
    struct rope rope;
    struct attention attention;
    struct weight embedding;
    const float *output_norm;
    struct linear output;
    struct layer *layers;
};

static struct value attend(const struct qwen3moe *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const int32_t width = m->heads.k_width;
    struct value q = op_rms_norm(p, op_matmul(p, &l->q, x), l->q_norm, width, m->eps);
    struct value k = op_rms_norm(p, op_matmul(p, &l->k, x), l->k_norm, width, m->eps);
    struct value v = op_matmul(p, &l->v, x);
    q = op_rope(p, q, angles, &m->rope, width);
    k = op_rope(p, k, angles, &m->rope, width);
    op_kv_write(p, cache, k, v);
    return op_matmul(p, &l->output, op_attention(p, cache, q, &m->attention));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct qwen3moe *m = model->data;
    const int32_t n_embed = model->info.n_embed;
    struct value x = op_embed(p, &m->embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < model->info.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, n_embed, m->eps);
        h = attend(m, l, p, states[i], h, angles);
        if (i == model->info.n_layers - 1) {
            x = op_select(p, x);
            h = op_select(p, h);
        }
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, n_embed, m->eps);
        x = op_add(p, x, experts_forward(&l->experts, p, h));
    }
    return op_matmul(p, &m->output, op_rms_norm(p, x, m->output_norm, n_embed, m->eps));
}

static void load_layer(
    const struct qwen3moe *m, struct layer *y, struct loader *l, int32_t n_embed, int32_t i)
{
    const struct heads *h = &m->heads;
    y->attention_norm = loader_vector(l, n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->q = loader_linear(l, n_embed, h->queries, "blk.%d.attn_q", (int)i);
    y->k = loader_linear(l, n_embed, h->keys, "blk.%d.attn_k", (int)i);
    y->v = loader_linear(l, n_embed, h->values, "blk.%d.attn_v", (int)i);
    y->output = loader_linear(l, h->mixed, n_embed, "blk.%d.attn_output", (int)i);
    y->q_norm = loader_vector(l, h->k_width, "blk.%d.attn_q_norm.weight", (int)i);
    y->k_norm = loader_vector(l, h->k_width, "blk.%d.attn_k_norm.weight", (int)i);
    y->ffn_norm = loader_vector(l, n_embed, "blk.%d.ffn_norm.weight", (int)i);
    experts_load(&y->experts, &m->mixture, l, i);
}

static void load(struct model *model, struct loader *l)
{
    const int32_t n_embed = model->info.n_embed, n_vocab = model->info.n_vocab;
    struct qwen3moe *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->heads = heads_load(l, n_embed);
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    m->mixture = mixture_load(l, &(struct mixture){.n_embed = n_embed, .routing.normalized = true});
    if (l->rc)
        return;
    m->rope = loader_rope(l, m->heads.n_rotated, ROPE_HALVES);
    m->attention = (struct attention){.n_heads = m->heads.n, .scale = 1 / sqrtf((float)m->heads.k_width)};
    m->embedding = loader_weight(l, n_embed, n_vocab, "token_embd.weight");
    m->output_norm = loader_vector(l, n_embed, "output_norm.weight");
    m->output = loader_output(l, &m->embedding);
    m->layers = loader_alloc(l, (size_t)model->info.n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->info.n_layers; i++) {
        load_layer(m, &m->layers[i], l, n_embed, i);
        model->states[i].kind = STATE_KV;
        model->states[i].kv = heads_cache(&m->heads, 0);
    }
}

const struct architecture model_qwen3moe = {"qwen3moe", load, forward, NULL};
