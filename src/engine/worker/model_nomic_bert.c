/* Nomic Embed (Nussbaum et al. 2024, arxiv.org/abs/2402.01613): BERT with rotated positions, a gated
 * feed-forward network and no biases. Nomic Embed 2 (arxiv.org/abs/2502.07972) has BERT's networks, and
 * experts in every second layer; Jina 3 (Sturua et al. 2024, arxiv.org/abs/2409.10173) has BERT's networks.
 */
#include <stdio.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_encoder.h"
#include "engine/worker/model_ffn.h"

struct layer {
    struct projections projections;
    struct ffn ffn; /* without a gate: down(gelu(up)); of each expert if there is a router */
    struct linear router;
    struct layer_norm attention_norm, ffn_norm;
};

struct nomic_bert {
    struct encoder encoder;
    struct shape shape; /* of the attention */
    struct rope rope;
    bool gated;
    int32_t n_experts, expert_period; /* layer 1 has them, and each expert_period-th behind it */
    struct routing routing;
    struct layer *layers;
};

static struct value attend(const struct nomic_bert *m, const struct layer *l, struct program *p,
    const void *state, struct value x, struct value angles)
{
    const struct encoder *e = &m->encoder;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, q, angles, &m->rope, e->head_width);
    k = op_rope(p, k, angles, &m->rope, e->head_width);
    return block_attend(p, &l->projections, &e->attention, state, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value feed_forward(
    const struct nomic_bert *m, const struct layer *l, struct program *p, struct value x)
{
    if (m->gated)
        return ffn_forward(&l->ffn, p, GLU_SILU, x);
    if (!l->router.weight.data)
        return op_matmul(p, &l->ffn.down, op_gelu(p, op_matmul(p, &l->ffn.up, x)));
    const int32_t n_used = m->routing.n_used;
    struct value routes = op_route_by(p, op_matmul(p, &l->router, x), &m->routing);
    struct value hidden = op_gelu(p, op_matmul_experts(p, &l->ffn.up, x, routes, n_used));
    return op_mix_experts(p, op_matmul_experts(p, &l->ffn.down, hidden, routes, n_used), routes, n_used);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct nomic_bert *m = model->data;
    const struct encoder *e = &m->encoder;
    struct value x = op_embed(p, &e->embedding), angles = op_rope_angles(p, &m->rope);
    if (e->type)
        x = op_add_vector(p, x, e->type);
    x = encoder_norm(e, &e->norm, p, x);
    for (int32_t i = 0; i < model->info.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value mixed = attend(m, l, p, states[0], x, angles);
        x = encoder_norm(e, &l->attention_norm, p, op_add(p, x, mixed));
        x = encoder_norm(e, &l->ffn_norm, p, op_add(p, x, feed_forward(m, l, p, x)));
    }
    return embedder_forward(&e->embedder, p, x, false);
}

static void load_ffn(const struct nomic_bert *m, struct layer *y, struct loader *l, int32_t i)
{
    const int32_t n_embed = m->encoder.n_embed, n_ff = m->encoder.n_ff;
    if (m->gated)
        return ffn_load(&y->ffn, l, n_embed, n_ff, i, "");
    if (m->n_experts == 0 || i % m->expert_period != 1) {
        y->ffn.up = loader_linear(l, n_embed, n_ff, "blk.%d.ffn_up", (int)i);
        y->ffn.down = loader_linear(l, n_ff, n_embed, "blk.%d.ffn_down", (int)i);
        return;
    }
    y->router = loader_linear(l, n_embed, m->n_experts, "blk.%d.ffn_gate_inp", (int)i);
    y->ffn.up = loader_experts(l, n_embed, n_ff, m->n_experts, "blk.%d.ffn_up_exps", (int)i);
    y->ffn.down = loader_experts(l, n_ff, n_embed, m->n_experts, "blk.%d.ffn_down_exps", (int)i);
}

static void load_layer(const struct nomic_bert *m, struct layer *y, struct loader *l, int32_t i)
{
    const struct encoder *e = &m->encoder;
    char name[64];
    projections_load(&y->projections, &m->shape, l, i);
    snprintf(name, sizeof name, "blk.%d.attn_output_norm", (int)i);
    encoder_norm_load(&y->attention_norm, l, e->n_embed, name);
    load_ffn(m, y, l, i);
    snprintf(name, sizeof name, "blk.%d.layer_output_norm", (int)i);
    encoder_norm_load(&y->ffn_norm, l, e->n_embed, name);
}

static void load_experts(struct nomic_bert *m, struct loader *l)
{
    m->n_experts = loader_int(l, "expert_count", 0, 0, MODEL_EXPERTS_MAX);
    m->expert_period = loader_int(l, "moe_every_n_layers", 0, 0, MODEL_LAYERS_MAX);
    if (m->n_experts == 0 || m->expert_period == 0) {
        m->n_experts = 0;
        return;
    }
    const int32_t n_used = loader_int(l, "expert_used_count", LOADER_REQUIRED, 1, MODEL_EXPERTS_USED_MAX);
    m->routing = (struct routing){.score = ROUTING_SOFTMAX, .n_used = n_used, .scale = 1};
    if (l->rc == 0 && n_used > m->n_experts)
        loader_fail(l, ERROR_INVALID, "the model uses %d of %d experts: the file is broken", (int)n_used,
            (int)m->n_experts);
}

static void load_positions(struct nomic_bert *m, struct loader *l)
{
    const struct encoder *e = &m->encoder;
    m->shape = (struct shape){.n_embed = e->n_embed,
        .n_heads = e->n_heads,
        .n_kv_heads = e->n_kv_heads,
        .key_width = e->head_width,
        .value_width = e->head_width};
    int32_t n_dims = loader_int(l, "rope.dimension_count", e->head_width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc == 0 && (n_dims % 2 != 0 || n_dims > e->head_width))
        loader_fail(l, ERROR_INVALID, "%d of %d values of a head are to be rotated: the file is broken",
            (int)n_dims, (int)e->head_width);
    if (l->rc == 0)
        m->rope = loader_rope(l, n_dims, ROPE_HALVES);
}

static void load(struct model *model, struct loader *l)
{
    struct nomic_bert *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->gated = model->architecture == &model_nomic_bert;
    encoder_load(&m->encoder, model, l, MODEL_POOL_CLS);
    load_experts(m, l);
    load_positions(m, l);
    m->layers = loader_alloc(l, (size_t)model->info.n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->info.n_layers; i++)
        load_layer(m, &m->layers[i], l, i);
}

const struct architecture model_nomic_bert = {"nomic-bert", load, forward, NULL};
const struct architecture model_nomic_bert_moe = {"nomic-bert-moe", load, forward, NULL};
const struct architecture model_jina_bert_v3 = {"jina-bert-v3", load, forward, NULL};
