/* BERT (Devlin et al. 2018, arxiv.org/abs/1810.04805) as an encoder of sentences: learned positions, layer
 * norms behind each residual sum. BGE, MiniLM, E5 and GTE models are of this kind. */
#include <stdio.h>

#include "engine/worker/model_encoder.h"

struct layer {
    struct linear q, k, v, output, up, down;
    struct layer_norm attention_norm, ffn_norm;
};

struct bert {
    struct encoder encoder;
    struct weight positions;
    struct layer *layers;
};

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct bert *m = model->data;
    const struct encoder *e = &m->encoder;
    struct value x = op_add(p, op_embed(p, &e->embedding), op_embed_position(p, &m->positions));
    if (e->type)
        x = op_add_vector(p, x, e->type);
    x = encoder_norm(e, &e->norm, p, x);
    for (int32_t i = 0; i < model->info.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value q = op_matmul(p, &l->q, x), k = op_matmul(p, &l->k, x), v = op_matmul(p, &l->v, x);
        struct value mixed = op_matmul(p, &l->output, encoder_attend(e, p, states[0], q, k, v));
        x = encoder_norm(e, &l->attention_norm, p, op_add(p, x, mixed));
        struct value hidden = op_matmul(p, &l->down, op_gelu(p, op_matmul(p, &l->up, x)));
        x = encoder_norm(e, &l->ffn_norm, p, op_add(p, x, hidden));
    }
    return embedder_forward(&e->embedder, p, x, false);
}

static void load_layer(const struct encoder *e, struct layer *y, struct loader *l, int32_t i)
{
    const int64_t keys = (int64_t)e->n_kv_heads * e->head_width;
    char name[64];
    y->q = loader_linear(l, e->n_embed, e->n_embed, "blk.%d.attn_q", (int)i);
    y->k = loader_linear(l, e->n_embed, keys, "blk.%d.attn_k", (int)i);
    y->v = loader_linear(l, e->n_embed, keys, "blk.%d.attn_v", (int)i);
    y->output = loader_linear(l, e->n_embed, e->n_embed, "blk.%d.attn_output", (int)i);
    snprintf(name, sizeof name, "blk.%d.attn_output_norm", (int)i);
    encoder_norm_load(&y->attention_norm, l, e->n_embed, name);
    y->up = loader_linear(l, e->n_embed, e->n_ff, "blk.%d.ffn_up", (int)i);
    y->down = loader_linear(l, e->n_ff, e->n_embed, "blk.%d.ffn_down", (int)i);
    snprintf(name, sizeof name, "blk.%d.layer_output_norm", (int)i);
    encoder_norm_load(&y->ffn_norm, l, e->n_embed, name);
}

static void load(struct model *model, struct loader *l)
{
    struct bert *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    encoder_load(&m->encoder, model, l, MODEL_POOL_CLS);
    model->n_positions = model->info.n_context_train;
    m->positions = loader_weight(l, m->encoder.n_embed, model->n_positions, "position_embd.weight");
    m->layers = loader_alloc(l, (size_t)model->info.n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->info.n_layers; i++)
        load_layer(&m->encoder, &m->layers[i], l, i);
}

const struct architecture model_bert = {"bert", load, forward, NULL};
