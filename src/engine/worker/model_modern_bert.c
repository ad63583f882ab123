/* ModernBERT (Warner et al. 2024, arxiv.org/abs/2412.13663): an encoder with rotated positions, norms before
 * each part and gated feed-forward networks. Every third layer, from the first on, sees the whole text; the
 * others half a window to either side, and turn positions by a base of their own. */
#include <math.h>
#include <stdio.h>

#include "engine/worker/model_encoder.h"
#include "engine/worker/model_ffn.h"

enum { PERIOD = 3 };

struct layer {
    bool local;
    struct layer_norm attention_norm, ffn_norm; /* the first layer has no attention_norm */
    struct linear qkv, output;
    struct ffn ffn;
};

struct modern_bert {
    struct encoder encoder;
    struct rope rope, local_rope;
    struct attention local_attention;
    enum glu glu;
    int32_t period; /* of layers that see the whole text */
    struct layer_norm norm;
    struct layer *layers;
};

static struct value attend(const struct modern_bert *m, const struct layer *l, struct program *p,
    const void *state, struct value x, struct value angles)
{
    const struct encoder *e = &m->encoder;
    const struct rope *rope = l->local ? &m->local_rope : &m->rope;
    const int32_t width = e->n_embed, all = 3 * width;
    struct value qkv = op_matmul(p, &l->qkv, x);
    struct value q = op_part(p, qkv, all, 0, width), k = op_part(p, qkv, all, width, width);
    q = op_rope(p, q, angles, rope, e->head_width);
    k = op_rope(p, k, angles, rope, e->head_width);
    op_kv_write(p, state, k, op_part(p, qkv, all, 2 * width, width));
    const struct attention *how = l->local ? &m->local_attention : &e->attention;
    return op_matmul(p, &l->output, op_attention(p, state, q, how));
}

static struct value forward(const struct model *model, struct program *p, void *const *states)
{
    const struct modern_bert *m = model->data;
    const struct encoder *e = &m->encoder;
    struct value x = encoder_norm(e, &e->norm, p, op_embed(p, &e->embedding));
    struct value angles = op_rope_angles(p, &m->rope), local = op_rope_angles(p, &m->local_rope);
    for (int32_t i = 0; i < model->info.n_layers; i++) {
        const struct layer *l = &m->layers[i];
        struct value h = l->attention_norm.weight ? encoder_norm(e, &l->attention_norm, p, x) : x;
        x = op_add(p, x, attend(m, l, p, states[0], h, l->local ? local : angles));
        h = encoder_norm(e, &l->ffn_norm, p, x);
        x = op_add(p, x, ffn_forward(&l->ffn, p, m->glu, h));
    }
    return embedder_forward(&e->embedder, p, encoder_norm(e, &m->norm, p, x), false);
}

static void load_layer(const struct encoder *e, struct layer *y, struct loader *l, int32_t i)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.attn_norm", (int)i);
    if (i > 0 || loader_has(l, "%s.weight", name))
        encoder_norm_load(&y->attention_norm, l, e->n_embed, name);
    y->qkv = loader_linear(l, e->n_embed, 3 * (int64_t)e->n_embed, "blk.%d.attn_qkv", (int)i);
    y->output = loader_linear(l, e->n_embed, e->n_embed, "blk.%d.attn_output", (int)i);
    snprintf(name, sizeof name, "blk.%d.ffn_norm", (int)i);
    encoder_norm_load(&y->ffn_norm, l, e->n_embed, name);
    ffn_load_fused(&y->ffn, l, e->n_embed, e->n_ff, i);
}

static void load_positions(struct modern_bert *m, struct loader *l)
{
    const struct encoder *e = &m->encoder;
    const int32_t window = loader_int(l, "attention.sliding_window", 0, 0, INT32_MAX);
    const int32_t period = loader_int(l, "attention.sliding_window_pattern", PERIOD, 1, MODEL_LAYERS_MAX);
    if (l->rc == 0 && (e->head_width % 2 != 0 || e->n_kv_heads != e->n_heads))
        loader_fail(l, ERROR_INVALID, "%d heads of %d values, %d of keys: the file is broken",
            (int)e->n_heads, (int)e->head_width, (int)e->n_kv_heads);
    if (l->rc)
        return;
    m->period = window > 0 ? period : 1;
    m->rope = loader_rope(l, e->head_width, ROPE_HALVES);
    m->local_rope = loader_rope_window(l, e->head_width, ROPE_HALVES, 10000);
    m->local_attention = e->attention;
    m->local_attention.reach = window / 2;
}

/* Granite's embedders of this kind gate by SiLU. */
static enum glu gate_load(struct loader *l)
{
    const struct str name = loader_str(l, "hidden_activation", STR("gelu"));
    if (str_is(name, "silu") || str_is(name, "swish") || str_is(name, "swiglu"))
        return GLU_SILU;
    if (!str_is(name, "gelu") && !str_is(name, "geglu"))
        loader_fail(l, ERROR_UNSUPPORTED, "the model's networks are gated by '" STR_FMT "': %s",
            STR_ARG(str_slice(name, 0, 64)), "this architecture is known with gelu and silu");
    return GLU_GELU;
}

static void load(struct model *model, struct loader *l)
{
    struct modern_bert *m = model->data = loader_alloc(l, 1, sizeof *m);
    if (!m)
        return;
    encoder_load(&m->encoder, model, l, MODEL_POOL_MEAN);
    m->encoder.embedder.gelu = true;
    load_positions(m, l);
    m->glu = gate_load(l);
    encoder_norm_load(&m->norm, l, m->encoder.n_embed, "output_norm");
    m->layers = loader_alloc(l, (size_t)model->info.n_layers, sizeof *m->layers);
    for (int32_t i = 0; l->rc == 0 && i < model->info.n_layers; i++) {
        load_layer(&m->encoder, &m->layers[i], l, i);
        m->layers[i].local = i % m->period != 0;
    }
}

const struct architecture model_modern_bert = {"modern-bert", load, forward, NULL};
