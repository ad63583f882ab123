#include "engine/worker/model_encoder.h"

#include <math.h>

void encoder_norm_load(struct layer_norm *n, struct loader *l, int32_t width, const char *name)
{
    n->weight = loader_vector(l, width, "%s.weight", name);
    n->bias = loader_has(l, "%s.bias", name) ? loader_vector(l, width, "%s.bias", name) : NULL;
}

static void figures_load(struct encoder *e, struct loader *l)
{
    e->n_heads = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX);
    e->n_kv_heads = loader_int(l, "attention.head_count_kv", e->n_heads, 1, MODEL_HEADS_MAX);
    e->n_ff = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    e->eps = loader_float(l, "attention.layer_norm_epsilon", 1e-12f, 0, 1);
    if (l->rc)
        return;
    if (e->n_embed % e->n_heads != 0 || e->n_embed / e->n_heads > MODEL_HEAD_WIDTH_MAX ||
        e->n_heads % e->n_kv_heads != 0)
        return loader_fail(l, ERROR_INVALID,
            "%d heads and %d of keys do not share a width of %d: the file is broken", (int)e->n_heads,
            (int)e->n_kv_heads, (int)e->n_embed);
    e->head_width = e->n_embed / e->n_heads;
    e->attention = (struct attention){.n_heads = e->n_heads,
        .scale = 1 / sqrtf((float)e->head_width),
        .later = !loader_bool(l, "attention.causal", false)};
}

static const float *type_load(struct loader *l, int32_t n_embed)
{
    static const char name[] = "token_types.weight";
    if (!loader_has(l, name))
        return NULL;
    (void)loader_weight(l, n_embed, loader_rows(l, MODEL_VOCAB_MAX, name), name);
    float *row = loader_alloc(l, (size_t)n_embed, sizeof *row);
    const void *out = NULL;
    if (l->rc)
        return NULL;
    const struct tensor *t = gguf_tensor_find(l->gguf, name);
    l->rc = tensor_dequantize(t->type, t->data, row, n_embed, l->err);
    if (l->rc == 0)
        l->rc = l->backend->ops->upload(l->backend, row, (size_t)n_embed * sizeof *row, &out, l->err);
    return out;
}

void encoder_load(struct encoder *e, struct model *model, struct loader *l, enum model_pooling ranked_by)
{
    e->n_embed = model->info.n_embed;
    figures_load(e, l);
    model->whole = true; /* tokens see those after them */
    embedder_load(&e->embedder, model, l, MODEL_POOL_NONE, ranked_by);
    e->embedder.eps = e->eps;
    e->embedding = loader_weight(l, e->n_embed, model->info.n_vocab, "token_embd.weight");
    e->type = type_load(l, e->n_embed);
    encoder_norm_load(&e->norm, l, e->n_embed, "token_embd_norm");
    if (l->rc)
        return;
    /* Layers run one after another and nothing stays: one cache does for all. */
    model->n_states = 1;
    model->states[0].kind = STATE_KV;
    model->states[0].kv = (struct kv_spec){
        .type = TENSOR_F32, .n_heads = e->n_kv_heads, .k_width = e->head_width, .v_width = e->head_width};
}

struct value encoder_norm(
    const struct encoder *e, const struct layer_norm *n, struct program *p, struct value x)
{
    return op_layer_norm(p, x, n->weight, n->bias, e->n_embed, false, e->eps);
}

struct value encoder_attend(const struct encoder *e, struct program *p, const void *state, struct value q,
    struct value k, struct value v)
{
    op_kv_write(p, state, k, v);
    return op_attention(p, state, q, &e->attention);
}
