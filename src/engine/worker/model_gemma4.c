/* Gemma 4 (Google 2026, ai.google.dev/gemma): Gemma 3 with heads of another width in layers with a window,
 * values normed too, scores not scaled, and a factor for what a layer gives. The last layers may attend to
 * what earlier ones kept; each layer may mix in an embedding of its own for the token, or experts beside its
 * dense network. */
#include <math.h>

#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

/* Figures of the layers with a window, and of those without. */
struct kind {
    int32_t width, window; /* of a head; 0: none */
    struct rope rope;
};

struct layer {
    const struct kind *kind;
    int32_t n_kv_heads, kept_by; /* the layer whose keys and values are read: this one or one before */
    struct attention attention;
    const float *attention_norm, *post_attention_norm, *ffn_norm, *post_ffn_norm, *q_norm, *k_norm;
    struct linear q, k, v, output; /* v without data: values are what k gives */
    struct ffn ffn;
    bool mixes; /* the dense network and experts */
    const float *router_norm, *experts_norm, *post_dense_norm, *post_experts_norm;
    struct experts experts;
    struct linear own_gate, own; /* of the layer's own embedding */
    const float *own_norm;
    float factor;
};

struct gemma4 {
    int32_t n_layers, n_embed, n_own; /* n_own: width of a layer's own embedding; 0: none */
    float eps, logit_cap;
    struct kind wide, local;
    struct mixture mixture;
    struct ends ends;
    struct weight own_embedding;
    struct linear own_projection;
    const float *own_norm, *ones;
    struct layer *layers;
};

static struct value norm(const struct gemma4 *m, struct program *p, struct value x, const float *weight)
{
    return op_rms_norm(p, x, weight, m->n_embed, m->eps);
}

static struct value attend(const struct gemma4 *m, const struct layer *l, struct program *p,
    void *const *states, int32_t i, struct value x, struct value angles)
{
    const int32_t width = l->kind->width;
    struct value q = op_rms_norm(p, op_matmul(p, &l->q, x), l->q_norm, width, m->eps);
    q = op_rope(p, q, angles, &l->kind->rope, width);
    if (l->kept_by == i) {
        struct value k = op_matmul(p, &l->k, x), v = l->v.weight.data ? op_matmul(p, &l->v, x) : k;
        k = op_rope(p, op_rms_norm(p, k, l->k_norm, width, m->eps), angles, &l->kind->rope, width);
        op_kv_write(p, states[i], k, op_rms_norm(p, v, m->ones, width, m->eps));
    }
    return op_matmul(p, &l->output, op_attention(p, states[l->kept_by], q, &l->attention));
}

static struct value feed_forward(
    const struct gemma4 *m, const struct layer *l, struct program *p, struct value x)
{
    struct value dense = ffn_forward(&l->ffn, p, GLU_GELU, norm(m, p, x, l->ffn_norm));
    if (!l->mixes)
        return dense;
    struct value scores = op_scale(p, norm(m, p, x, l->router_norm), 1 / sqrtf((float)m->n_embed));
    scores = op_matmul(p, &l->experts.router, scores);
    struct value mixed = experts_routed(&l->experts, p, norm(m, p, x, l->experts_norm), scores);
    return op_add(p, norm(m, p, dense, l->post_dense_norm), norm(m, p, mixed, l->post_experts_norm));
}

/* For all layers at once: what the token has for each, and what its embedding says to each. */
static struct value own_embeddings(const struct gemma4 *m, struct program *p, struct value x)
{
    struct value token = op_scale(p, op_embed(p, &m->own_embedding), sqrtf((float)m->n_own));
    struct value said = op_scale(p, op_matmul(p, &m->own_projection, x), 1 / sqrtf((float)m->n_embed));
    said = op_rms_norm(p, said, m->own_norm, m->n_own, m->eps);
    return op_scale(p, op_add(p, said, token), sqrtf(0.5f));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct gemma4 *m = model->data;
    struct value x = op_scale(p, op_embed(p, &m->ends.embedding), sqrtf((float)m->n_embed)), own = x;
    struct value angles = op_rope_angles(p, &m->wide.rope), local = op_rope_angles(p, &m->local.rope);
    if (m->n_own > 0)
        own = own_embeddings(m, p, x);
    for (int32_t i = 0; i < m->n_layers; i++) {
        const struct layer *l = &m->layers[i];
        const bool last = i == m->n_layers - 1;
        struct value h = norm(m, p, x, l->attention_norm);
        h = attend(m, l, p, states, i, h, l->kind == &m->local ? local : angles);
        if (last) {
            x = op_select(p, x);
            h = op_select(p, h);
        }
        x = op_add(p, x, norm(m, p, h, l->post_attention_norm));
        x = op_add(p, x, norm(m, p, feed_forward(m, l, p, x), l->post_ffn_norm));
        if (m->n_own > 0) {
            struct value mine = op_part(p, own, m->n_layers * m->n_own, i * m->n_own, m->n_own);
            h = op_glu(p, GLU_GELU, op_matmul(p, &l->own_gate, x), last ? op_select(p, mine) : mine);
            x = op_add(p, x, norm(m, p, op_matmul(p, &l->own, h), l->own_norm));
        }
        x = op_scale(p, x, l->factor);
    }
    x = ends_forward(&m->ends, p, x, m->eps);
    return m->logit_cap > 0 ? op_softcap(p, x, m->logit_cap) : x;
}

static void load_kind(struct kind *k, struct loader *l, bool local)
{
    int32_t width = loader_int(l, "attention.key_length", LOADER_REQUIRED, 1, MODEL_HEAD_WIDTH_MAX);
    if (local)
        width = loader_int(l, "attention.key_length_swa", width, 1, MODEL_HEAD_WIDTH_MAX);
    k->width = width;
    const int32_t value = loader_int(
        l, local ? "attention.value_length_swa" : "attention.value_length", width, 1, MODEL_HEAD_WIDTH_MAX);
    const int32_t n_rotated = loader_int(
        l, local ? "rope.dimension_count_swa" : "rope.dimension_count", width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc == 0 && (value != width || n_rotated > width || n_rotated % 2 != 0))
        loader_fail(l, ERROR_INVALID,
            "heads of %d values with keys of %d, %d of them rotated: the file is broken", (int)value,
            (int)width, (int)n_rotated);
    if (l->rc)
        return;
    if (local) {
        k->window = loader_int(l, "attention.sliding_window", LOADER_REQUIRED, 1, INT32_MAX);
        k->rope = loader_rope_window(l, n_rotated, ROPE_HALVES, 10000);
    } else {
        k->rope = loader_rope(l, n_rotated, ROPE_HALVES);
    }
}

/* The last layers keep nothing: they read what the last layer of their kind before them has kept. */
static int32_t keeper_of(const struct gemma4 *m, struct loader *l, int32_t i, int32_t n_keeping)
{
    int32_t keeper = i;
    while (keeper >= n_keeping || m->layers[keeper].kind != m->layers[i].kind)
        if (--keeper < 0) {
            loader_fail(l, ERROR_INVALID,
                "layer %d shares the keys of a layer that does not exist: the file is broken", (int)i);
            return i;
        }
    return keeper;
}

static void load_attention(
    const struct gemma4 *m, struct layer *y, struct loader *l, int32_t n_heads, int32_t i)
{
    const int32_t width = y->kind->width;
    const int64_t queries = (int64_t)n_heads * width, keys = (int64_t)y->n_kv_heads * width;
    if (n_heads % y->n_kv_heads != 0 || queries > MODEL_WIDTH_MAX)
        return loader_fail(l, ERROR_INVALID, "%d attention heads cannot share %d of keys: the file is broken",
            (int)n_heads, (int)y->n_kv_heads);
    y->attention = (struct attention){.n_heads = n_heads, .scale = 1};
    y->attention_norm = loader_vector(l, m->n_embed, "blk.%d.attn_norm.weight", (int)i);
    y->q = loader_linear(l, m->n_embed, queries, "blk.%d.attn_q", (int)i);
    y->q_norm = loader_vector(l, width, "blk.%d.attn_q_norm.weight", (int)i);
    if (y->kept_by == i) {
        y->k = loader_linear(l, m->n_embed, keys, "blk.%d.attn_k", (int)i);
        y->k_norm = loader_vector(l, width, "blk.%d.attn_k_norm.weight", (int)i);
        if (loader_has(l, "blk.%d.attn_v.weight", (int)i))
            y->v = loader_linear(l, m->n_embed, keys, "blk.%d.attn_v", (int)i);
    }
    y->output = loader_linear(l, queries, m->n_embed, "blk.%d.attn_output", (int)i);
    y->post_attention_norm = loader_vector(l, m->n_embed, "blk.%d.post_attention_norm.weight", (int)i);
}

static void load_feed_forward(
    const struct gemma4 *m, struct layer *y, struct loader *l, int32_t n_ff, int32_t i)
{
    const int32_t n_embed = m->n_embed;
    y->ffn_norm = loader_vector(l, n_embed, "blk.%d.ffn_norm.weight", (int)i);
    ffn_load(&y->ffn, l, n_embed, n_ff, i, "");
    y->post_ffn_norm = loader_vector(l, n_embed, "blk.%d.post_ffw_norm.weight", (int)i);
    y->mixes = loader_has(l, "blk.%d.ffn_gate_inp.weight", (int)i);
    if (y->mixes) {
        experts_load(&y->experts, &m->mixture, l, i);
        y->router_norm = loader_vector(l, n_embed, "blk.%d.ffn_gate_inp.scale", (int)i);
        y->experts_norm = loader_vector(l, n_embed, "blk.%d.pre_ffw_norm_2.weight", (int)i);
        y->post_dense_norm = loader_vector(l, n_embed, "blk.%d.post_ffw_norm_1.weight", (int)i);
        y->post_experts_norm = loader_vector(l, n_embed, "blk.%d.post_ffw_norm_2.weight", (int)i);
    }
    if (m->n_own > 0) {
        y->own_gate = loader_linear(l, n_embed, m->n_own, "blk.%d.inp_gate", (int)i);
        y->own = loader_linear(l, m->n_own, n_embed, "blk.%d.proj", (int)i);
        y->own_norm = loader_vector(l, n_embed, "blk.%d.post_norm.weight", (int)i);
    }
    y->factor = 1;
    if (loader_has(l, "blk.%d.layer_output_scale.weight", (int)i)) {
        const float *factor = loader_vector(l, 1, "blk.%d.layer_output_scale.weight", (int)i);
        y->factor = factor ? *factor : 1;
    }
}

static void load_layers(struct model *model, struct gemma4 *m, struct loader *l)
{
    const int32_t n = m->n_layers;
    const int32_t *heads = loader_ints(l, "attention.head_count", n, LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    const int32_t *kv = loader_ints(l, "attention.head_count_kv", n, LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    const int32_t *n_ff = loader_ints(l, "feed_forward_length", n, LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    const int32_t n_keeping = n - loader_int(l, "attention.shared_kv_layers", 0, 0, n);
    const bool *slides = loader_flags(l, "attention.sliding_window_pattern", n);
    if (l->rc == 0 && !slides)
        loader_fail(l, ERROR_INVALID,
            "the model file lacks the list 'attention.sliding_window_pattern': fetch it again");
    m->layers = loader_alloc(l, (size_t)n, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < n; i++) {
        struct layer *y = &m->layers[i];
        y->kind = slides[i] ? &m->local : &m->wide;
        y->kept_by = keeper_of(m, l, i, n_keeping);
        /* Heads are read as the keeper has laid them out. */
        y->n_kv_heads = y->kept_by == i ? kv[i] : m->layers[y->kept_by].n_kv_heads;
        load_attention(m, y, l, heads[i], i);
        load_feed_forward(m, y, l, n_ff[i], i);
        if (y->kept_by == i)
            model->states[i].kv = (struct kv_spec){.type = TENSOR_F32,
                .n_heads = y->n_kv_heads,
                .k_width = y->kind->width,
                .v_width = y->kind->width,
                .window = y->kind->window};
    }
}

static void load_own_embeddings(struct gemma4 *m, int32_t n_vocab, struct loader *l)
{
    m->n_own = loader_int(l, "embedding_length_per_layer_input", LOADER_REQUIRED, 0, MODEL_WIDTH_MAX);
    if (l->rc || m->n_own == 0)
        return;
    const int64_t all = (int64_t)m->n_own * m->n_layers;
    if (all > MODEL_WIDTH_MAX)
        return loader_fail(l, ERROR_INVALID, "%d layers with embeddings of %d values: the file is broken",
            (int)m->n_layers, (int)m->n_own);
    m->own_embedding = loader_weight(l, all, n_vocab, "per_layer_token_embd.weight");
    m->own_projection = loader_linear(l, m->n_embed, all, "per_layer_model_proj");
    m->own_norm = loader_vector(l, m->n_own, "per_layer_proj_norm.weight");
}

static void load(struct model *model, struct loader *l)
{
    struct gemma4 *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    m->n_layers = model->info.n_layers;
    m->n_embed = model->info.n_embed;
    m->eps = loader_float(l, "attention.layer_norm_rms_epsilon", LOADER_REQUIRED, 0, 1);
    m->logit_cap = loader_float(l, "final_logit_softcapping", 30, 0, 1e6f);
    load_kind(&m->wide, l, false);
    load_kind(&m->local, l, true);
    if (mixture_is(l))
        m->mixture = mixture_load(
            l, &(struct mixture){.n_embed = m->n_embed, .routing.normalized = true, .glu = GLU_GELU});
    ends_load(&m->ends, model, l);
    load_own_embeddings(m, model->info.n_vocab, l);
    m->ones = loader_ones(l, m->wide.width > m->local.width ? m->wide.width : m->local.width);
    load_layers(model, m, l);
}

const struct architecture model_gemma4 = {"gemma4", load, forward, NULL};
