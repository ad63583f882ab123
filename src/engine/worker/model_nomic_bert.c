/* Nomic Embed (Nussbaum et al. 2024, arxiv.org/abs/2402.01613): BERT with rotated positions, a gated
 * feed-forward network and no biases. */
#include <stdio.h>

#include "engine/worker/model_encoder.h"
#include "engine/worker/model_ffn.h"

struct layer {
    struct linear qkv, output;
    struct ffn ffn;
    struct layer_norm attention_norm, ffn_norm;
};

struct nomic_bert {
    struct encoder encoder;
    struct rope rope;
    int32_t keys; /* width of the keys of all heads */
    struct layer *layers;
};

static struct value attend(const struct nomic_bert *m, const struct layer *l, struct program *p,
    const void *state, struct value x, struct value angles)
{
    const struct encoder *e = &m->encoder;
    const int32_t queries = e->n_embed, all = queries + 2 * m->keys;
    struct value qkv = op_matmul(p, &l->qkv, x);
    struct value q = op_part(p, qkv, all, 0, queries), k = op_part(p, qkv, all, queries, m->keys);
    struct value v = op_part(p, qkv, all, queries + m->keys, m->keys);
    q = op_rope(p, q, angles, &m->rope, e->head_width);
    k = op_rope(p, k, angles, &m->rope, e->head_width);
    return op_matmul(p, &l->output, encoder_attend(e, p, state, q, k, v));
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
        x = encoder_norm(e, &l->ffn_norm, p, op_add(p, x, ffn_forward(&l->ffn, p, GLU_SILU, x)));
    }
    return embedder_forward(&e->embedder, p, x, false);
}

static void load_layer(const struct nomic_bert *m, struct layer *y, struct loader *l, int32_t i)
{
    const struct encoder *e = &m->encoder;
    char name[64];
    y->qkv = loader_linear(l, e->n_embed, e->n_embed + 2 * m->keys, "blk.%d.attn_qkv", (int)i);
    y->output = loader_linear(l, e->n_embed, e->n_embed, "blk.%d.attn_output", (int)i);
    snprintf(name, sizeof name, "blk.%d.attn_output_norm", (int)i);
    encoder_norm_load(&y->attention_norm, l, e->n_embed, name);
    ffn_load(&y->ffn, l, e->n_embed, e->n_ff, i, "");
    snprintf(name, sizeof name, "blk.%d.layer_output_norm", (int)i);
    encoder_norm_load(&y->ffn_norm, l, e->n_embed, name);
}

static void load(struct model *model, struct loader *l)
{
    struct nomic_bert *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    encoder_load(&m->encoder, model, l, MODEL_POOL_CLS);
    m->keys = m->encoder.n_kv_heads * m->encoder.head_width;
    int32_t n_dims = loader_int(l, "rope.dimension_count", m->encoder.head_width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc)
        return;
    if (n_dims % 2 != 0 || n_dims > m->encoder.head_width)
        return loader_fail(l, ERROR_INVALID,
            "%d of %d values of a head are to be rotated: the file is broken", (int)n_dims,
            (int)m->encoder.head_width);
    m->rope = loader_rope(l, n_dims, ROPE_HALVES, 10000);
    m->layers = loader_alloc(l, (size_t)model->info.n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->info.n_layers; i++)
        load_layer(m, &m->layers[i], l, i);
}

const struct architecture model_nomic_bert = {"nomic-bert", load, forward};
