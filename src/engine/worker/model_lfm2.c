/* LFM 2 (Liquid AI 2025, arxiv.org/abs/2511.23404): most layers mix tokens by a gated short convolution, the
 * others by attention with normed queries and keys; lfm2moe has experts behind the first layers.
 *
 *   convolution:  x -> b, c, u;  out = W (c * conv(b * u)) */
#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

struct layer {
    const float *norm, *ffn_norm;
    bool attends;
    const float *q_norm, *k_norm; /* of a head */
    struct projections projections;
    const float *conv; /* of each channel, the oldest input's weight first */
    struct linear before, behind, input, output;
    struct ffn ffn;
    struct experts experts; /* instead, if its mixture is set */
};

struct lfm2 {
    struct shape shape;
    const int32_t *kv_heads; /* of each layer; 0: convolution */
    const int32_t *windows;  /* of those that attend */
    struct recurrent_spec recurrent;
    struct rope rope;
    struct attention attention;
    int32_t n_dense; /* layers without experts */
    struct mixture mixture;
    struct ends ends;
    struct layer *layers;
};

static struct value attend(const struct lfm2 *m, const struct layer *l, struct program *p, const void *cache,
    struct value x, struct value angles)
{
    const int32_t width = m->shape.key_width;
    struct value q = op_matmul(p, &l->projections.q, x), k = op_matmul(p, &l->projections.k, x);
    q = op_rope(p, op_rms_norm(p, q, l->q_norm, width, m->shape.eps), angles, &m->rope, width);
    k = op_rope(p, op_rms_norm(p, k, l->k_norm, width, m->shape.eps), angles, &m->rope, width);
    return block_attend(p, &l->projections, &m->attention, cache, q, k, op_matmul(p, &l->projections.v, x));
}

static struct value convolve(const struct layer *l, struct program *p, const void *state, struct value x)
{
    struct value u = op_glu(p, GLU_BILINEAR, op_matmul(p, &l->before, x), op_matmul(p, &l->input, x));
    u = op_conv(p, state, l->conv, u);
    return op_matmul(p, &l->output, op_glu(p, GLU_BILINEAR, op_matmul(p, &l->behind, x), u));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct lfm2 *m = model->data;
    const struct shape *s = &m->shape;
    struct value x = op_embed(p, &m->ends.embedding), angles = op_rope_angles(p, &m->rope);
    for (int32_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = op_rms_norm(p, x, l->norm, s->n_embed, s->eps);
        h = l->attends ? attend(m, l, p, states[i], h, angles) : convolve(l, p, states[i], h);
        block_select(p, s, i, &x, &h);
        x = op_add(p, x, h);
        h = op_rms_norm(p, x, l->ffn_norm, s->n_embed, s->eps);
        h = i < m->n_dense ? ffn_forward(&l->ffn, p, GLU_SILU, h) : experts_forward(&l->experts, p, h);
        x = op_add(p, x, h);
    }
    return ends_forward(&m->ends, p, x, s->eps);
}

static void load_layer(const struct lfm2 *m, struct layer *y, struct loader *l, int32_t i)
{
    const struct shape *s = &m->shape;
    y->norm = loader_vector(l, s->n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->ffn_norm = loader_vector(l, s->n_embed, "blk.%d.ffn_norm.weight", (int)i);
    if (i < m->n_dense)
        ffn_load(&y->ffn, l, s->n_embed, s->n_ff, i, "");
    else
        experts_load(&y->experts, &m->mixture, l, i);
    y->attends = m->kv_heads[i] > 0;
    if (y->attends) {
        projections_load(&y->projections, s, l, i);
        y->q_norm = loader_vector(l, s->key_width, "blk.%d.attn_q_norm.weight", (int)i);
        y->k_norm = loader_vector(l, s->key_width, "blk.%d.attn_k_norm.weight", (int)i);
        return;
    }
    struct linear all =
        loader_linear(l, s->n_embed, 3 * (int64_t)s->n_embed, "blk.%d.shortconv.in_proj", (int)i);
    y->before = loader_part(l, &all, 0, s->n_embed);
    y->behind = loader_part(l, &all, s->n_embed, s->n_embed);
    y->input = loader_part(l, &all, 2 * (int64_t)s->n_embed, s->n_embed);
    y->conv = loader_vectors(l, m->recurrent.n_conv + 1, s->n_embed, "blk.%d.shortconv.conv.weight", (int)i);
    y->output = loader_linear(l, s->n_embed, s->n_embed, "blk.%d.shortconv.out_proj", (int)i);
}

static void load_hyperparameters(struct lfm2 *m, const struct model *model, struct loader *l)
{
    struct shape *s = &m->shape;
    *s = shape_load(model, l, "attention.layer_norm_rms_epsilon");
    m->kv_heads = loader_ints(l, "attention.head_count_kv", s->n_layers, LOADER_REQUIRED, 0, MODEL_HEADS_MAX);
    m->rope = loader_rope(l, s->n_rotated, ROPE_HALVES);
    m->attention = shape_attention(s, l);
    m->windows = shape_windows(s, l, 0, 0);
    m->recurrent.n_conv = loader_int(l, "shortconv.l_cache", LOADER_REQUIRED, 2, 64) - 1;
    m->recurrent.channels = s->n_embed;
    m->n_dense = s->n_layers;
    if (!mixture_is(l))
        return;
    m->n_dense = loader_int(l, "leading_dense_block_count", 0, 0, s->n_layers);
    struct mixture defaults = {.n_embed = s->n_embed, .glu = GLU_SILU};
    defaults.routing = (struct routing){.score = ROUTING_SIGMOID, .normalized = true, .scale = 1};
    m->mixture = mixture_load(l, &defaults);
}

static void load(struct model *model, struct loader *l)
{
    struct lfm2 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    const struct shape *s = &m->shape;
    load_hyperparameters(m, model, l);
    m->ends.embedding = loader_weight(l, s->n_embed, model->info.n_vocab, "token_embd.weight");
    m->ends.norm =
        loader_vector(l, s->n_embed, "token_embd_norm.weight"); /* the output's, despite its name */
    m->ends.output = loader_output(l, &m->ends.embedding);
    ends_embed(&m->ends, model, l, s->eps);
    m->layers = loader_alloc(l, (size_t)s->n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        load_layer(m, &m->layers[i], l, i);
        model->states[i] = shape_state(s, m->windows[i]);
        if (!m->layers[i].attends)
            model->states[i] = (struct state_spec){.kind = STATE_RECURRENT, .recurrent = m->recurrent};
    }
}

const struct architecture model_lfm2 = {.name = "lfm2", .load = load, .forward = forward};
const struct architecture model_lfm2moe = {.name = "lfm2moe", .load = load, .forward = forward};
