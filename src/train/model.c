#include "train/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"

enum { LAYER_WEIGHTS = 9, ALIGN_VALUES = 16 };

static struct train_weight *weight_add(struct train_model *m, const char *name, int64_t n_in, int64_t n_out)
{
    struct train_weight *w = &m->weights[m->n_weights++];
    *w = (struct train_weight){
        .n_in = n_in, .n_out = n_out ? n_out : 1, .vector = n_out == 0, .at = -1, .lora_a = -1, .lora_b = -1};
    snprintf(w->name, sizeof w->name, "%s.weight", name);
    return w;
}

static struct train_weight *block_add(
    struct train_model *m, int32_t layer, const char *name, int64_t n_in, int64_t n_out)
{
    char full[48];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    return weight_add(m, full, n_in, n_out);
}

/* Names and shapes of all weights, in the order in which files hold them. */
static void weights_list(struct train_model *m)
{
    const struct train_shape *s = &m->shape;
    const int64_t d = s->n_embed, q = (int64_t)s->n_heads * s->head_width,
                  kv = (int64_t)s->n_kv_heads * s->head_width;
    m->embedding = weight_add(m, "token_embd", d, s->n_vocab);
    for (int32_t i = 0; i < s->n_layers; i++)
        m->layers[i] = (struct train_layer){.attn_norm = block_add(m, i, "attn_norm", d, 0),
            .q = block_add(m, i, "attn_q", d, q),
            .k = block_add(m, i, "attn_k", d, kv),
            .v = block_add(m, i, "attn_v", d, kv),
            .output = block_add(m, i, "attn_output", q, d),
            .ffn_norm = block_add(m, i, "ffn_norm", d, 0),
            .gate = block_add(m, i, "ffn_gate", d, s->n_ffn),
            .up = block_add(m, i, "ffn_up", d, s->n_ffn),
            .down = block_add(m, i, "ffn_down", s->n_ffn, d)};
    m->output_norm = weight_add(m, "output_norm", d, 0);
    m->output = s->tied ? m->embedding : weight_add(m, "output", d, s->n_vocab);
}

int64_t train_model_parameters(const struct train_shape *s)
{
    const int64_t d = s->n_embed, q = (int64_t)s->n_heads * s->head_width,
                  kv = (int64_t)s->n_kv_heads * s->head_width;
    return (s->tied ? 1 : 2) * d * s->n_vocab + d +
           s->n_layers * (2 * d + 2 * d * q + 2 * d * kv + 3 * d * (int64_t)s->n_ffn);
}

static void angles_fill(struct train_model *m)
{
    const int32_t half = m->shape.head_width / 2;
    for (int32_t i = 0; i < half; i++) {
        double frequency = pow((double)m->shape.rope_base, -2.0 * i / m->shape.head_width);
        for (int32_t p = 0; p < m->shape.n_context; p++) {
            m->cosine[(int64_t)p * half + i] = (float)cos(p * frequency);
            m->sine[(int64_t)p * half + i] = (float)sin(p * frequency);
        }
    }
}

/* Box and Muller 1958. */
static float normal(struct rand_pcg *r)
{
    double u = 1 - rand_pcg_double(r), v = rand_pcg_double(r);
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

/* Matrices that add to the residual stream begin smaller, by their number (Radford et al. 2019). */
static void values_fill(struct train_model *m, uint64_t seed)
{
    struct rand_pcg random;
    rand_pcg_seed(&random, seed);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct train_weight *w = &m->weights[i];
        float *to = train_weight_values(m, w), scale = 0.02f;
        if (strstr(w->name, "attn_output") || strstr(w->name, "ffn_down"))
            scale /= sqrtf(2 * (float)m->shape.n_layers);
        for (int64_t j = 0; j < w->n_in * w->n_out; j++)
            to[j] = w->vector ? 1 : normal(&random) * scale;
    }
}

int train_model_create(
    const struct train_shape *shape, uint64_t seed, struct train_model *m, struct error *err)
{
    const size_t angles = (size_t)shape->n_context * (size_t)shape->head_width / 2;
    *m = (struct train_model){.shape = *shape};
    m->weights = calloc((size_t)(shape->n_layers * LAYER_WEIGHTS + 3), sizeof *m->weights);
    m->layers = calloc((size_t)shape->n_layers, sizeof *m->layers);
    m->cosine = calloc(angles, sizeof *m->cosine);
    m->sine = calloc(angles, sizeof *m->sine);
    if (m->weights && m->layers)
        weights_list(m);
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct train_weight *w = &m->weights[i];
        w->at = m->n_values;
        m->n_values += (w->n_in * w->n_out + ALIGN_VALUES - 1) / ALIGN_VALUES * ALIGN_VALUES;
    }
    m->values = m->n_weights ? aligned_alloc(64, (size_t)m->n_values * sizeof *m->values) : NULL;
    if (!m->values || !m->cosine || !m->sine) {
        train_model_free(m);
        return error_set(err, ERROR_MEMORY, "no memory for a model of %lld parameters: choose a smaller one",
            (long long)train_model_parameters(shape));
    }
    memset(m->values, 0, (size_t)m->n_values * sizeof *m->values);
    angles_fill(m);
    values_fill(m, seed);
    return 0;
}

void train_model_free(struct train_model *m)
{
    free(m->weights);
    free(m->layers);
    free(m->cosine);
    free(m->sine);
    free(m->values);
    *m = (struct train_model){0};
}
