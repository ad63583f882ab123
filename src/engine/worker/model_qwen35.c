/* Qwen3.5 (after Qwen3-Next): most layers learn by the gated delta rule (Yang et al. 2024,
 * arxiv.org/abs/2412.06464) into a state of fixed size; each full_attention_interval-th attends to all
 * tokens, its result gated by the input. Dense, or with experts and a gated shared one. One more that attends
 * to all, behind the last layer, drafts. */
#include <math.h>

#include "engine/worker/model_ffn.h"
#include "engine/worker/model_heads.h"
#include "engine/worker/model_nextn.h"

struct layer {
    const float *attention_norm, *ffn_norm;
    bool recurrent;
    struct linear q, k, v, attention_output; /* full attention; q is also of the gate */
    const float *q_norm, *k_norm;
    struct linear mixed, gate, beta, alpha, output; /* recurrent; `mixed`: queries, keys, values */
    const float *conv, *norm;
    struct delta delta;
    struct ffn dense;
    struct experts experts;
};

struct qwen35 {
    struct heads heads;
    struct recurrent_spec recurrent;
    int32_t n_embed, n_k_heads, interval, n_ff;
    struct mixture mixture; /* n_experts 0: dense */
    float eps;
    struct rope rope;
    struct attention attention;
    struct ends ends;
    struct layer *layers;
};

static void keep(const struct qwen35 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    const int32_t width = m->heads.k_width;
    struct value k = op_rms_norm(p, op_matmul(p, &l->k, x), l->k_norm, width, m->eps);
    op_kv_write(p, cache, op_rope(p, k, angles, &m->rope, width), op_matmul(p, &l->v, x));
}

static struct value attend(const struct qwen35 *m, const struct layer *l, struct program *p,
    const void *cache, struct value x, struct value angles)
{
    const int32_t width = m->heads.k_width;
    struct value both = op_matmul(p, &l->q, x);
    struct value q = op_part(p, both, 2 * width, 0, width), gate = op_part(p, both, 2 * width, width, width);
    q = op_rope(p, op_rms_norm(p, q, l->q_norm, width, m->eps), angles, &m->rope, width);
    struct value mixed = op_attention(p, cache, q, &m->attention);
    return op_matmul(p, &l->attention_output, op_gate(p, gate, mixed));
}

static struct value learn(
    const struct qwen35 *m, const struct layer *l, struct program *p, const void *state, struct value x)
{
    const int32_t n_heads = m->recurrent.n_heads;
    struct value mixed = op_silu(p, op_conv(p, state, l->conv, op_matmul(p, &l->mixed, x)));
    struct value beta = op_matmul(p, &l->beta, x), alpha = op_matmul(p, &l->alpha, x);
    struct value y = op_delta(p, state, &l->delta, mixed, op_join(p, beta, alpha, n_heads, n_heads));
    y = op_rms_norm(p, y, l->norm, m->recurrent.v_width, m->eps);
    return op_matmul(p, &l->output, op_glu(p, GLU_SILU, op_matmul(p, &l->gate, x), y));
}

/* With `select` only rows that want logits go on behind the attention. */
static struct value layer_forward(const struct qwen35 *m, const struct layer *l, struct program *p,
    const void *state, struct value x, struct value angles, bool select)
{
    struct value h = op_rms_norm(p, x, l->attention_norm, m->n_embed, m->eps);
    if (!l->recurrent)
        keep(m, l, p, state, h, angles);
    h = l->recurrent ? learn(m, l, p, state, h) : attend(m, l, p, state, h, angles);
    if (select) {
        x = op_select(p, x);
        h = op_select(p, h);
    }
    x = op_add(p, x, h);
    h = op_rms_norm(p, x, l->ffn_norm, m->n_embed, m->eps);
    h = m->mixture.n_experts > 0 ? experts_forward(&l->experts, p, h)
                                 : ffn_forward(&l->dense, p, GLU_SILU, h);
    return op_add(p, x, h);
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct qwen35 *m = model->data;
    const int32_t last = m->ends.nextn ? -1 : model->info.n_layers - 1;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < model->info.n_layers; i++)
        x = layer_forward(m, &m->layers[i], p, states[i], x, angles, i == last);
    return ends_forward(&m->ends, p, x, m->eps);
}

static struct value foretell(const struct model *model, struct program *p, void *const *states)
{
    const struct qwen35 *m = model->data;
    const struct layer *l = &m->layers[model->info.n_layers];
    const void *cache = states[model->info.n_layers];
    struct value x = nextn_begin(m->ends.nextn, p), angles = op_rope_angles(p, &m->rope);
    if (p->batch.n_outputs > 0)
        return nextn_end(m->ends.nextn, p, layer_forward(m, l, p, cache, x, angles, false));
    keep(m, l, p, cache, op_rms_norm(p, x, l->attention_norm, m->n_embed, m->eps), angles);
    return x;
}

static void load_recurrent(struct qwen35 *m, struct loader *l)
{
    struct recurrent_spec *r = &m->recurrent;
    r->n_conv = loader_int(l, "ssm.conv_kernel", LOADER_REQUIRED, 1, 64) - 1;
    r->k_width = loader_int(l, "ssm.state_size", LOADER_REQUIRED, 1, MODEL_HEAD_WIDTH_MAX);
    m->n_k_heads = loader_int(l, "ssm.group_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    r->n_heads = loader_int(l, "ssm.time_step_rank", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    const int32_t inner = loader_int(l, "ssm.inner_size", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    if (l->rc)
        return;
    r->v_width = inner / r->n_heads;
    const int64_t channels = 2 * (int64_t)m->n_k_heads * r->k_width + inner;
    if (inner % r->n_heads != 0 || r->n_heads % m->n_k_heads != 0 || r->v_width > MODEL_HEAD_WIDTH_MAX ||
        channels > MODEL_WIDTH_MAX)
        loader_fail(l, ERROR_INVALID, "%d heads over %d of keys share a state %d wide: the file is broken",
            (int)r->n_heads, (int)m->n_k_heads, (int)inner);
    r->channels = (int32_t)channels;
}

static void load_delta_layer(
    const struct qwen35 *m, struct layer *y, struct loader *l, int32_t n_embed, int32_t i)
{
    const struct recurrent_spec *r = &m->recurrent;
    const int32_t inner = r->n_heads * r->v_width;
    y->mixed = loader_linear(l, n_embed, r->channels, "blk.%d.attn_qkv", (int)i);
    y->gate = loader_linear(l, n_embed, inner, "blk.%d.attn_gate", (int)i);
    y->conv = loader_vectors(l, r->n_conv + 1, r->channels, "blk.%d.ssm_conv1d.weight", (int)i);
    y->beta = loader_linear(l, n_embed, r->n_heads, "blk.%d.ssm_beta", (int)i);
    y->alpha = loader_linear(l, n_embed, r->n_heads, "blk.%d.ssm_alpha", (int)i);
    y->delta = (struct delta){.n_k_heads = m->n_k_heads, .eps = m->eps};
    y->delta.rate = loader_vector(l, r->n_heads, "blk.%d.ssm_a", (int)i);
    y->delta.bias = loader_vector(l, r->n_heads, "blk.%d.ssm_dt.bias", (int)i);
    y->norm = loader_vector(l, r->v_width, "blk.%d.ssm_norm.weight", (int)i);
    y->output = loader_linear(l, inner, n_embed, "blk.%d.ssm_out", (int)i);
}

static void load_attention_layer(
    const struct qwen35 *m, struct layer *y, struct loader *l, int32_t n_embed, int32_t i)
{
    const struct heads *h = &m->heads;
    y->q = loader_linear(l, n_embed, 2 * (int64_t)h->queries, "blk.%d.attn_q", (int)i);
    y->k = loader_linear(l, n_embed, h->keys, "blk.%d.attn_k", (int)i);
    y->v = loader_linear(l, n_embed, h->values, "blk.%d.attn_v", (int)i);
    y->q_norm = loader_vector(l, h->k_width, "blk.%d.attn_q_norm.weight", (int)i);
    y->k_norm = loader_vector(l, h->k_width, "blk.%d.attn_k_norm.weight", (int)i);
    y->attention_output = loader_linear(l, h->mixed, n_embed, "blk.%d.attn_output", (int)i);
}

static void load_layer(struct model *model, struct layer *y, struct loader *l, int32_t i)
{
    const struct qwen35 *m = model->data;
    const int32_t n_embed = model->info.n_embed;
    y->attention_norm = loader_vector(l, n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->ffn_norm = loader_vector(l, n_embed, "blk.%d.post_attention_norm.weight", (int)i);
    y->recurrent = i < model->info.n_layers && (i + 1) % m->interval != 0;
    if (y->recurrent) {
        load_delta_layer(m, y, l, n_embed, i);
        model->states[i] = (struct state_spec){.kind = STATE_RECURRENT, .recurrent = m->recurrent};
    } else {
        load_attention_layer(m, y, l, n_embed, i);
        model->states[i] = (struct state_spec){.kind = STATE_KV, .kv = heads_cache(&m->heads, 0)};
    }
    if (m->mixture.n_experts > 0)
        experts_load(&y->experts, &m->mixture, l, i);
    else
        ffn_load(&y->dense, l, n_embed, m->n_ff, i, "");
}

static void load(struct model *model, struct loader *l)
{
    const int32_t n_embed = model->info.n_embed;
    struct qwen35 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->n_embed = n_embed;
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    m->interval = loader_int(l, "full_attention_interval", 4, 1, MODEL_LAYERS_MAX);
    m->heads = heads_load(l, n_embed);
    load_recurrent(m, l);
    if (mixture_is(l))
        m->mixture = mixture_load(l, &(struct mixture){.n_embed = n_embed, .routing.normalized = true});
    else
        m->n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    if (l->rc == 0 && m->heads.k_width != m->heads.v_width)
        loader_fail(l, ERROR_INVALID, "keys of %d values but values of %d: the file is broken",
            (int)m->heads.k_width, (int)m->heads.v_width);
    if (l->rc)
        return;
    m->rope = loader_rope(l, m->heads.n_rotated, ROPE_HALVES);
    m->attention = (struct attention){.n_heads = m->heads.n, .scale = 1 / sqrtf((float)m->heads.k_width)};
    ends_load(&m->ends, model, l);
    nextn_load(&m->ends, model, l, m->eps, foretell);
    m->layers = loader_alloc(l, (size_t)model->n_states, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->n_states; i++)
        load_layer(model, &m->layers[i], l, i);
}

const struct architecture model_qwen35 = {"qwen35", load, forward, NULL};
const struct architecture model_qwen35moe = {"qwen35moe", load, forward, NULL};
