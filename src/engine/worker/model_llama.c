/* Llama (Touvron et al. 2023, arxiv.org/abs/2302.13971; Llama 3, arxiv.org/abs/2407.21783), and what shares
 * its shape: Mistral, SmolLM, and Mixtral's experts (Jiang et al. 2024, arxiv.org/abs/2401.04088). */
#include <math.h>

#include "engine/worker/model_block.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    struct linear q, k, v, output;
    struct linear gate, up, down; /* of one feed-forward network, or of each expert */
    struct linear router;         /* experts only */
};

struct llama {
    int32_t n_embed, n_heads, n_kv_heads, head_width, value_width, n_ff, n_experts, n_used;
    float eps;
    struct rope rope;
    struct attention attention;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct llama *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    struct value q = op_rope(p, op_matmul(p, &l->q, x), angles, &m->rope, m->head_width);
    struct value k = op_rope(p, op_matmul(p, &l->k, x), angles, &m->rope, m->head_width);
    struct value v = op_matmul(p, &l->v, x);
    op_kv_write(p, cache, k, v);
    return op_matmul(p, &l->output, op_attention(p, cache, q, &m->attention));
}

static struct value feed_forward(
    const struct llama *m, const struct layer *l, struct program *p, struct value x)
{
    if (m->n_experts == 0)
        return op_matmul(
            p, &l->down, op_glu(p, GLU_SILU, op_matmul(p, &l->gate, x), op_matmul(p, &l->up, x)));
    struct value routes = op_route(p, op_matmul(p, &l->router, x), m->n_used);
    struct value gate = op_matmul_experts(p, &l->gate, x, routes, m->n_used);
    struct value up = op_matmul_experts(p, &l->up, x, routes, m->n_used);
    struct value down = op_matmul_experts(p, &l->down, op_glu(p, GLU_SILU, gate, up), routes, m->n_used);
    return op_mix_experts(p, down, routes, m->n_used);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct llama *m = model->data;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < model->info.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->attention_norm, m->n_embed, m->eps);
        h = attend(m, l, p, states[i], h, angles);
        if (i == model->info.n_layers - 1) {
            /* Nothing reads the other tokens any more. */
            x = op_select(p, x);
            h = op_select(p, h);
        }
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, m->n_embed, m->eps);
        x = op_add(p, x, feed_forward(m, l, p, h));
    }
    return ends_forward(&m->ends, p, x, m->eps);
}

static void load_hyperparameters(struct llama *m, int32_t n_embed, struct loader *l)
{
    m->n_embed = n_embed;
    m->n_heads = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    m->n_kv_heads = loader_int(l, "attention.head_count_kv", m->n_heads, 1, MODEL_HEADS_MAX);
    m->n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    m->n_experts = loader_int(l, "expert_count", 0, 0, MODEL_EXPERTS_MAX);
    m->n_used = loader_int(l, "expert_used_count", 0, 0, MODEL_EXPERTS_USED_MAX);
    if (l->rc)
        return;
    if (m->n_heads % m->n_kv_heads != 0)
        return loader_fail(l, ERROR_INVALID, "%d attention heads cannot share %d of keys: the file is broken",
            (int)m->n_heads, (int)m->n_kv_heads);
    if (m->n_experts > 0 && (m->n_used < 1 || m->n_used > m->n_experts))
        return loader_fail(l, ERROR_INVALID, "the model uses %d of %d experts: the file is broken",
            (int)m->n_used, (int)m->n_experts);
    /* A file may give the widths of heads; else they share the embedding's. */
    int32_t share = n_embed % m->n_heads == 0 && n_embed / m->n_heads <= MODEL_HEAD_WIDTH_MAX
                        ? n_embed / m->n_heads
                        : LOADER_REQUIRED;
    m->head_width = loader_int(l, "attention.key_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    m->value_width = loader_int(l, "attention.value_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    int32_t n_dims = loader_int(l, "rope.dimension_count", m->head_width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc)
        return;
    if (n_dims % 2 != 0 || n_dims > m->head_width)
        return loader_fail(l, ERROR_INVALID,
            "%d of %d values of a head are to be rotated: the file is broken", (int)n_dims,
            (int)m->head_width);
    m->rope = loader_rope(l, n_dims, ROPE_ADJACENT, 10000);
    m->attention = (struct attention){.n_heads = m->n_heads,
        .scale = 1 / sqrtf((float)m->head_width),
        .later = !loader_bool(l, "attention.causal", true)};
}

static void load_layer(const struct llama *m, struct layer *y, struct loader *l, int32_t i)
{
    const int64_t queries = (int64_t)m->n_heads * m->head_width,
                  keys = (int64_t)m->n_kv_heads * m->head_width;
    const int64_t values = (int64_t)m->n_kv_heads * m->value_width,
                  mixed = (int64_t)m->n_heads * m->value_width;
    y->attention_norm = loader_vector(l, m->n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->q = loader_linear(l, m->n_embed, queries, "blk.%d.attn_q", (int)i);
    y->k = loader_linear(l, m->n_embed, keys, "blk.%d.attn_k", (int)i);
    y->v = loader_linear(l, m->n_embed, values, "blk.%d.attn_v", (int)i);
    y->output = loader_linear(l, mixed, m->n_embed, "blk.%d.attn_output", (int)i);
    y->ffn_norm = loader_vector(l, m->n_embed, "blk.%d.ffn_norm.weight", (int)i);
    if (m->n_experts == 0) {
        y->gate = loader_linear(l, m->n_embed, m->n_ff, "blk.%d.ffn_gate", (int)i);
        y->up = loader_linear(l, m->n_embed, m->n_ff, "blk.%d.ffn_up", (int)i);
        y->down = loader_linear(l, m->n_ff, m->n_embed, "blk.%d.ffn_down", (int)i);
        return;
    }
    y->router = loader_linear(l, m->n_embed, m->n_experts, "blk.%d.ffn_gate_inp", (int)i);
    y->gate = loader_experts(l, m->n_embed, m->n_ff, m->n_experts, "blk.%d.ffn_gate_exps", (int)i);
    y->up = loader_experts(l, m->n_embed, m->n_ff, m->n_experts, "blk.%d.ffn_up_exps", (int)i);
    y->down = loader_experts(l, m->n_ff, m->n_embed, m->n_experts, "blk.%d.ffn_down_exps", (int)i);
}

static void load(struct model *model, struct loader *l)
{
    const int32_t n_layers = model->info.n_layers;
    struct llama *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    load_hyperparameters(m, model->info.n_embed, l);
    ends_load(&m->ends, model, l);
    ends_embed(&m->ends, model, l, m->eps);
    m->layers = loader_alloc(l, (size_t)n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < n_layers; i++) {
        load_layer(m, &m->layers[i], l, i);
        model->states[i].kind = STATE_KV;
        model->states[i].kv = (struct kv_spec){.type = TENSOR_F32,
            .n_heads = m->n_kv_heads,
            .k_width = m->head_width,
            .v_width = m->value_width};
    }
}

const struct architecture model_llama = {"llama", load, forward};
