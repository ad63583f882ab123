/* DeepSeek-V2 and V3 (arxiv.org/abs/2405.04434, arxiv.org/abs/2412.19437), and what shares their shape.
 *
 * Attention keeps one latent vector a token, shared by all heads, and one rotated key. What would make keys
 * and values of the latent is absorbed into the queries and the result, so that heads attend to the latent
 * itself:
 *
 *   q = [ K_h^T q_plain | q_rotated ]     key = [ latent | k_rotated ]     out_h = V_h (softmax(q key)
 * latent)
 *
 * Experts in groups, after leading dense layers. A layer of the same kind behind the last one drafts. */
#include <math.h>

#include "engine/worker/model_ffn.h"
#include "engine/worker/model_nextn.h"

struct layer {
    const float *attention_norm, *q_norm, *latent_norm, *ffn_norm;
    struct linear q_down, q; /* without q_down, q is of the input itself */
    struct linear latent;    /* and the rotated key */
    struct linear_heads k, v;
    struct linear output;
    struct ffn dense; /* leading layers */
    struct experts experts;
};

struct deepseek2 {
    struct mixture mixture;
    int32_t n_embed, n_heads, q_rank, latent, plain, rotated, value; /* the last three: widths in a head */
    int32_t n_dense, n_ff;
    float eps;
    struct rope rope;
    struct attention attention;
    struct ends ends;
    struct layer *layers;
};

static void keep(const struct deepseek2 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    const int32_t row = m->latent + m->rotated;
    struct value both = op_matmul(p, &l->latent, x);
    struct value latent = op_part(p, both, row, 0, m->latent);
    struct value key = op_rope(p, op_part(p, both, row, m->latent, m->rotated), angles, &m->rope, m->rotated);
    latent = op_rms_norm(p, latent, l->latent_norm, m->latent, m->eps);
    op_kv_write_latent(p, cache, op_join(p, latent, key, m->latent, m->rotated));
}

static struct value attend(const struct deepseek2 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const int32_t head = m->plain + m->rotated;
    struct value q = x;
    if (m->q_rank > 0)
        q = op_rms_norm(p, op_matmul(p, &l->q_down, x), l->q_norm, m->q_rank, m->eps);
    q = op_matmul(p, &l->q, q);
    struct value plain = op_matmul_heads(p, &l->k, op_part(p, q, head, 0, m->plain));
    struct value rotated = op_part(p, q, head, m->plain, m->rotated);
    q = op_join(p, plain, op_rope(p, rotated, angles, &m->rope, m->rotated), m->latent, m->rotated);
    struct value mixed = op_attention(p, cache, q, &m->attention);
    return op_matmul(p, &l->output, op_matmul_heads(p, &l->v, mixed));
}

/* With `select` only rows that want logits go on behind the attention. */
static struct value layer_forward(const struct deepseek2 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles, bool select)
{
    struct value h = op_rms_norm(p, x, l->attention_norm, m->n_embed, m->eps);
    keep(m, l, p, cache, h, angles);
    h = attend(m, l, p, cache, h, angles);
    if (select) {
        x = op_select(p, x);
        h = op_select(p, h);
    }
    x = op_add(p, x, h);
    h = op_rms_norm(p, x, l->ffn_norm, m->n_embed, m->eps);
    h = l->experts.mixture ? experts_forward(&l->experts, p, h) : ffn_forward(&l->dense, p, GLU_SILU, h);
    return op_add(p, x, h);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct deepseek2 *m = model->data;
    const int32_t last = m->ends.nextn ? -1 : model->info.n_layers - 1;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < model->info.n_layers; i++)
        x = layer_forward(m, &m->layers[i], p, states[i], x, angles, i == last);
    return ends_forward(&m->ends, p, x, m->eps);
}

static struct value foretell(const struct model *model, struct program *p, void *const *states)
{
    const struct deepseek2 *m = model->data;
    const struct layer *l = &m->layers[model->info.n_layers];
    const void *cache = states[model->info.n_layers];
    struct value x = nextn_begin(m->ends.nextn, p), angles = op_rope_angles(p, &m->rope);
    if (p->batch.n_outputs > 0)
        return nextn_end(m->ends.nextn, p, layer_forward(m, l, p, cache, x, angles, false));
    keep(m, l, p, cache, op_rms_norm(p, x, l->attention_norm, m->n_embed, m->eps), angles);
    return x;
}

/* Rotation changes no length here; stretched positions sharpen the scores instead. */
static void load_positions(struct deepseek2 *m, struct loader *l)
{
    m->rope = loader_rope(l, m->rotated, ROPE_ADJACENT);
    m->rope.magnitude = 1;
    const float factor = loader_float(l, "rope.scaling.factor", 1, 0, 1e6f);
    const float slope = loader_float(l, "rope.scaling.yarn_log_multiplier", 0, 0, 1e3f);
    const float sharper = 1 + slope * (factor > 0 ? logf(factor) : 0);
    const float scale = sharper * sharper / sqrtf((float)(m->plain + m->rotated));
    m->attention = (struct attention){.n_heads = m->n_heads, .scale = scale};
}

static void load_heads(struct deepseek2 *m, struct loader *l)
{
    m->n_heads = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    m->q_rank = loader_int(l, "attention.q_lora_rank", 0, 0, MODEL_WIDTH_MAX);
    m->latent = loader_int(l, "attention.kv_lora_rank", LOADER_REQUIRED, 1, MODEL_HEAD_WIDTH_MAX);
    m->rotated = loader_int(l, "rope.dimension_count", LOADER_REQUIRED, 2, MODEL_HEAD_WIDTH_MAX);
    /* Newer files give the widths of a head apart: key_length is that of the latent there. */
    int32_t key = loader_int(l, "attention.key_length_mla", 0, 0, MODEL_HEAD_WIDTH_MAX);
    if (key == 0)
        key = loader_int(l, "attention.key_length", LOADER_REQUIRED, 1, MODEL_HEAD_WIDTH_MAX);
    m->value = loader_int(l, "attention.value_length_mla", 0, 0, MODEL_HEAD_WIDTH_MAX);
    if (m->value == 0)
        m->value = loader_int(l, "attention.value_length", LOADER_REQUIRED, 1, MODEL_HEAD_WIDTH_MAX);
    m->plain = key - m->rotated;
    const int64_t widest = m->n_heads * (int64_t)(m->latent + key + m->value);
    if (l->rc == 0 && (m->plain < 1 || m->rotated % 2 != 0 || widest > MODEL_WIDTH_MAX))
        loader_fail(l, ERROR_INVALID,
            "%d heads of %d values, %d of them rotated, over a latent of %d: the file is broken",
            (int)m->n_heads, (int)key, (int)m->rotated, (int)m->latent);
}

/* Older files hold one matrix of keys and values of each head; in newer ones that of keys is transposed. */
static void load_absorbed(const struct deepseek2 *m, struct layer *y, struct loader *l, int32_t i)
{
    y->k = (struct linear_heads){.n_heads = m->n_heads};
    y->v = y->k;
    if (loader_has(l, "blk.%d.attn_kv_b.weight", (int)i)) {
        const int32_t rows = m->plain + m->value;
        y->v.weight =
            loader_linear(l, m->latent, (int64_t)m->n_heads * rows, "blk.%d.attn_kv_b", (int)i).weight;
        y->v.stride = y->k.stride = rows;
        y->v.from = y->k.count = m->plain;
        y->k.weight = y->v.weight;
        y->k.transposed = true;
    } else {
        y->k.weight = loader_experts(l, m->plain, m->latent, m->n_heads, "blk.%d.attn_k_b", (int)i).weight;
        y->v.weight = loader_experts(l, m->latent, m->value, m->n_heads, "blk.%d.attn_v_b", (int)i).weight;
        y->k.stride = y->k.count = m->latent;
        y->v.stride = m->value;
    }
    y->v.count = m->value;
    if (y->k.weight.deltas || y->v.weight.deltas)
        loader_fail(l, ERROR_UNSUPPORTED,
            "the adapter changes the keys or values of blk.%d, which adapters cannot change here: %s", (int)i,
            "they are multiplied into queries and results");
}

static void load_layer(const struct deepseek2 *m, struct layer *y, struct loader *l, int32_t i)
{
    const int32_t n_embed = m->n_embed, queries = m->n_heads * (m->plain + m->rotated);
    y->attention_norm = loader_vector(l, n_embed, "blk.%d.attn_norm.weight", (int)i);
    if (m->q_rank > 0) {
        y->q_down = loader_linear(l, n_embed, m->q_rank, "blk.%d.attn_q_a", (int)i);
        y->q_norm = loader_vector(l, m->q_rank, "blk.%d.attn_q_a_norm.weight", (int)i);
        y->q = loader_linear(l, m->q_rank, queries, "blk.%d.attn_q_b", (int)i);
    } else {
        y->q = loader_linear(l, n_embed, queries, "blk.%d.attn_q", (int)i);
    }
    y->latent = loader_linear(l, n_embed, m->latent + m->rotated, "blk.%d.attn_kv_a_mqa", (int)i);
    y->latent_norm = loader_vector(l, m->latent, "blk.%d.attn_kv_a_norm.weight", (int)i);
    load_absorbed(m, y, l, i);
    y->output = loader_linear(l, (int64_t)m->n_heads * m->value, n_embed, "blk.%d.attn_output", (int)i);
    y->ffn_norm = loader_vector(l, n_embed, "blk.%d.ffn_norm.weight", (int)i);
    if (i < m->n_dense)
        ffn_load(&y->dense, l, n_embed, m->n_ff, i, "");
    else
        experts_load(&y->experts, &m->mixture, l, i);
}

static void load_experts(struct model *model, struct deepseek2 *m, struct loader *l)
{
    m->n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    m->n_dense = loader_int(l, "leading_dense_block_count", 0, 0, model->info.n_layers);
    /* Files that do not say: a bias for the choice came with the sigmoid. */
    const bool biased = loader_has(l, "blk.%d.exp_probs_b.bias", (int)m->n_dense);
    m->mixture = mixture_load(l, &(struct mixture){.n_embed = m->n_embed,
                                     .routing.score = biased ? ROUTING_SIGMOID : ROUTING_SOFTMAX});
}

static void load(struct model *model, struct loader *l)
{
    struct deepseek2 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->n_embed = model->info.n_embed;
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    load_heads(m, l);
    load_experts(model, m, l);
    if (l->rc)
        return;
    load_positions(m, l);
    ends_load(&m->ends, model, l);
    nextn_load(&m->ends, model, l, m->eps, foretell);
    m->layers = loader_alloc(l, (size_t)model->n_states, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->n_states; i++) {
        load_layer(m, &m->layers[i], l, i);
        model->states[i].kind = STATE_KV;
        model->states[i].kv = (struct kv_spec){.type = TENSOR_F32,
            .n_heads = 1,
            .k_width = m->latent + m->rotated,
            .v_width = m->latent,
            .latent = true};
    }
}

const struct architecture model_deepseek2 = {"deepseek2", load, forward, NULL};
