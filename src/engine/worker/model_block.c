#include "engine/worker/model_block.h"
#include "engine/worker/model_embedder.h"
#include "engine/worker/model_nextn.h"

#include <math.h>

/* A list by layer has 0 for those without attention; the others must agree. */
static int32_t kv_heads_load(struct loader *l, const struct shape *s)
{
    const char *const key = "attention.head_count_kv";
    const int32_t *heads = loader_ints(l, key, s->n_layers, s->n_heads, 0, MODEL_HEADS_MAX);
    int32_t most = 0;
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++) {
        if (most > 0 && heads[i] > 0 && heads[i] != most)
            loader_fail(l, ERROR_UNSUPPORTED, "layers have %d and %d heads of keys: %s", (int)most,
                (int)heads[i], "this architecture is known with one number of them");
        most = heads[i] > most ? heads[i] : most;
    }
    if (l->rc == 0 && most == 0)
        loader_fail(l, ERROR_INVALID, "no layer has heads of keys (%s): the file is broken", key);
    return most;
}

struct shape shape_load_mixed(const struct model *m, struct loader *l, const char *eps_key)
{
    struct shape s = {.n_layers = m->info.n_layers, .n_embed = m->info.n_embed};
    s.n_ff = loader_int(l, "feed_forward_length", 0, 0, MODEL_WIDTH_MAX / 2);
    s.n_heads = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    s.n_kv_heads = kv_heads_load(l, &s);
    s.eps = loader_float(l, eps_key, LOADER_REQUIRED, 0, 1);
    if (l->rc)
        return s;
    if (s.n_heads % s.n_kv_heads != 0) {
        loader_fail(l, ERROR_INVALID, "%d attention heads cannot share %d of keys: the file is broken",
            (int)s.n_heads, (int)s.n_kv_heads);
        return s;
    }
    /* A file may give the widths of heads; else they share the embedding's. */
    int32_t share = s.n_embed % s.n_heads == 0 && s.n_embed / s.n_heads <= MODEL_HEAD_WIDTH_MAX
                        ? s.n_embed / s.n_heads
                        : LOADER_REQUIRED;
    s.key_width = loader_int(l, "attention.key_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    s.value_width = loader_int(l, "attention.value_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    s.n_rotated = loader_int(l, "rope.dimension_count", s.key_width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc == 0 && (s.n_rotated % 2 != 0 || s.n_rotated > s.key_width))
        loader_fail(l, ERROR_INVALID, "%d of %d values of a head are to be rotated: the file is broken",
            (int)s.n_rotated, (int)s.key_width);
    return s;
}

struct shape shape_load(const struct model *m, struct loader *l, const char *eps_key)
{
    struct shape s = shape_load_mixed(m, l, eps_key);
    s.n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX / 2);
    return s;
}

struct attention shape_attention(const struct shape *s, struct loader *l)
{
    float scale = loader_float(l, "attention.scale", 0, 0, 1e6f); /* 0: not given */
    if (scale == 0 && s->key_width > 0)
        scale = 1 / sqrtf((float)s->key_width);
    return (struct attention){
        .n_heads = s->n_heads, .scale = scale, .later = !loader_bool(l, "attention.causal", true)};
}

struct attention shape_attention_gemma(const struct shape *s, struct loader *l, int32_t largest)
{
    struct attention how = shape_attention(s, l);
    if (l->rc == 0 && s->n_layers == largest)
        how.scale = 1 / sqrtf((float)(s->n_embed / s->n_heads));
    return how;
}

const int32_t *shape_windows(const struct shape *s, struct loader *l, int32_t width, int32_t period)
{
    int32_t *windows = loader_alloc(l, (size_t)s->n_layers, sizeof *windows);
    const char *const pattern = "attention.sliding_window_pattern";
    const bool *slides = loader_flags(l, pattern, s->n_layers);
    width = loader_int(l, "attention.sliding_window", width, 0, INT32_MAX);
    if (!slides)
        period = loader_int(l, pattern, period, 0, INT32_MAX);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        windows[i] = (slides ? slides[i] : period == 0 || (i + 1) % period != 0) ? width : 0;
    return windows;
}

struct state_spec shape_state(const struct shape *s, int32_t window)
{
    return (struct state_spec){.kind = STATE_KV,
        .kv = {.type = TENSOR_F32,
            .n_heads = s->n_kv_heads,
            .k_width = s->key_width,
            .v_width = s->value_width,
            .window = window}};
}

void ends_load(struct ends *e, const struct model *m, struct loader *l)
{
    const int32_t n_embed = m->info.n_embed, n_vocab = m->info.n_vocab;
    e->embedding = loader_weight(l, n_embed, n_vocab, "token_embd.weight");
    e->norm = loader_vector(l, n_embed, "output_norm.weight");
    e->output = loader_output(l, &e->embedding);
}

void ends_embed(struct ends *e, struct model *m, struct loader *l, float eps)
{
    if (loader_int(l, "pooling_type", MODEL_POOL_NONE, MODEL_POOL_NONE, MODEL_POOL_RANK) == MODEL_POOL_NONE &&
        !loader_has(l, "dense_2.weight"))
        return;
    m->whole = !loader_bool(l, "attention.causal", true);
    e->embedder = loader_alloc(l, 1, sizeof *e->embedder);
    if (!e->embedder)
        return;
    embedder_load(e->embedder, m, l, MODEL_POOL_NONE, MODEL_POOL_LAST);
    e->embedder->eps = eps;
    m->scores_compete = m->info.pooling == MODEL_POOL_RANK;
}

struct value ends_forward(const struct ends *e, struct program *p, struct value x, float eps)
{
    x = op_rms_norm(p, x, e->norm, (int32_t)e->output.weight.n_in, eps);
    if (e->nextn) {
        program_output(p, x, p->hidden.rows);
        x = op_select(p, x);
    }
    return e->embedder ? embedder_forward(e->embedder, p, x, true) : op_matmul(p, &e->output, x);
}

void projections_load(struct projections *y, const struct shape *s, struct loader *l, int32_t layer)
{
    const int64_t queries = (int64_t)s->n_heads * s->key_width, keys = (int64_t)s->n_kv_heads * s->key_width;
    const int64_t values = (int64_t)s->n_kv_heads * s->value_width,
                  mixed = (int64_t)s->n_heads * s->value_width;
    if (loader_has(l, "blk.%d.attn_qkv.weight", (int)layer)) {
        struct linear all =
            loader_linear(l, s->n_embed, queries + keys + values, "blk.%d.attn_qkv", (int)layer);
        y->q = loader_part(l, &all, 0, queries);
        y->k = loader_part(l, &all, queries, keys);
        y->v = loader_part(l, &all, queries + keys, values);
    } else {
        y->q = loader_linear(l, s->n_embed, queries, "blk.%d.attn_q", (int)layer);
        y->k = loader_linear(l, s->n_embed, keys, "blk.%d.attn_k", (int)layer);
        y->v = loader_linear(l, s->n_embed, values, "blk.%d.attn_v", (int)layer);
    }
    y->output = loader_linear(l, mixed, s->n_embed, "blk.%d.attn_output", (int)layer);
}

struct value block_attend(struct program *p, const struct projections *y, const struct attention *how,
    const void *cache, struct value q, struct value k, struct value v)
{
    op_kv_write(p, cache, k, v);
    return op_matmul(p, &y->output, op_attention(p, cache, q, how));
}

void block_select(struct program *p, const struct shape *s, int32_t layer, struct value *x, struct value *h)
{
    if (layer != s->n_layers - 1)
        return;
    *x = op_select(p, *x);
    *h = op_select(p, *h);
}
