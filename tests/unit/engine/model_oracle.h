/* The llama forward pass written once more, as plainly as can be, in double precision: one sequence,
 * everything computed anew for every call. Independent of the engine but for finding tensors. */
#ifndef TESTS_UNIT_ENGINE_MODEL_ORACLE_H
#define TESTS_UNIT_ENGINE_MODEL_ORACLE_H

#include <math.h>
#include <stdio.h>

#include "unit/engine/tiny_model.h"

enum { ORACLE_TOKENS = 40, ORACLE_WIDTH = 512 };

struct oracle {
    const struct tiny *t;
    const struct gguf *g;
    double k[8][ORACLE_TOKENS][ORACLE_WIDTH], v[8][ORACLE_TOKENS][ORACLE_WIDTH]; /* of each layer */
};

static inline const float *oracle_tensor(const struct oracle *o, uint32_t layer, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    const struct tensor *t = gguf_tensor_find(o->g, full);
    return t ? t->data : NULL;
}

/* y = W x + b, the weight starting `skip` rows in. */
static inline void oracle_linear(const struct oracle *o, uint32_t layer, const char *name, uint32_t skip,
    const double *x, uint32_t n_in, uint32_t n_out, double *y)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *w = oracle_tensor(o, layer, full) + skip * n_in;
    snprintf(full, sizeof full, "%s.bias", name);
    const float *b = oracle_tensor(o, layer, full);
    for (uint32_t i = 0; i < n_out; i++) {
        y[i] = b ? (double)b[i] : 0;
        for (uint32_t j = 0; j < n_in; j++)
            y[i] += (double)w[i * n_in + j] * x[j];
    }
}

static inline void oracle_norm(const struct oracle *o, const float *weight, const double *x, double *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < o->t->n_embed; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; i < o->t->n_embed; i++)
        y[i] = x[i] / sqrt(sum / o->t->n_embed + 1e-5) * (double)weight[i];
}

static inline void oracle_rope(const struct oracle *o, double *x, uint32_t n_heads, uint32_t position)
{
    const struct tensor *factors = gguf_tensor_find(o->g, "rope_freqs.weight");
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < o->t->n_dims; i += 2) {
            double angle = position * pow(10000, -(double)i / o->t->n_dims);
            if (factors)
                angle /= (double)((const float *)factors->data)[i / 2];
            if (tiny_is(o->t->scaling, "linear"))
                angle /= 4;
            double *p = x + h * o->t->key_width + i, a = p[0], b = p[1];
            p[0] = a * cos(angle) - b * sin(angle);
            p[1] = a * sin(angle) + b * cos(angle);
        }
}

static inline void oracle_attention(struct oracle *o, uint32_t layer, uint32_t n, const double *x, double *y)
{
    const struct tiny *t = o->t;
    double q[ORACLE_WIDTH], mixed[ORACLE_WIDTH] = {0}, score[ORACLE_TOKENS];
    oracle_linear(o, layer, "attn_q", 0, x, t->n_embed, t->n_heads * t->key_width, q);
    oracle_linear(o, layer, "attn_k", 0, x, t->n_embed, t->n_kv_heads * t->key_width, o->k[layer][n]);
    oracle_linear(o, layer, "attn_v", 0, x, t->n_embed, t->n_kv_heads * t->value_width, o->v[layer][n]);
    oracle_rope(o, q, t->n_heads, n);
    oracle_rope(o, o->k[layer][n], t->n_kv_heads, n);
    for (uint32_t h = 0; h < t->n_heads; h++) {
        uint32_t kv = h / (t->n_heads / t->n_kv_heads);
        double sum = 0;
        for (uint32_t p = 0; p <= n; p++) {
            score[p] = 0;
            for (uint32_t i = 0; i < t->key_width; i++)
                score[p] += q[h * t->key_width + i] * o->k[layer][p][kv * t->key_width + i];
            sum += score[p] = exp(score[p] / sqrt(t->key_width));
        }
        for (uint32_t p = 0; p <= n; p++)
            for (uint32_t i = 0; i < t->value_width; i++)
                mixed[h * t->value_width + i] += score[p] / sum * o->v[layer][p][kv * t->value_width + i];
    }
    oracle_linear(o, layer, "attn_output", 0, mixed, t->n_heads * t->value_width, t->n_embed, y);
}

static inline void oracle_expert(
    const struct oracle *o, uint32_t layer, const char *suffix, uint32_t e, const double *x, double *y)
{
    const struct tiny *t = o->t;
    double gate[ORACLE_WIDTH], up[ORACLE_WIDTH];
    char name[32];
    snprintf(name, sizeof name, "ffn_gate%s", suffix);
    oracle_linear(o, layer, name, e * t->n_ff, x, t->n_embed, t->n_ff, gate);
    snprintf(name, sizeof name, "ffn_up%s", suffix);
    oracle_linear(o, layer, name, e * t->n_ff, x, t->n_embed, t->n_ff, up);
    for (uint32_t i = 0; i < t->n_ff; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    snprintf(name, sizeof name, "ffn_down%s", suffix);
    oracle_linear(o, layer, name, e * t->n_embed, gate, t->n_ff, t->n_embed, y);
}

static inline void oracle_ffn(const struct oracle *o, uint32_t layer, const double *x, double *y)
{
    const struct tiny *t = o->t;
    if (t->n_experts == 0) {
        oracle_expert(o, layer, "", 0, x, y);
        return;
    }
    double score[ORACLE_WIDTH], one[ORACLE_WIDTH], sum = 0;
    oracle_linear(o, layer, "ffn_gate_inp", 0, x, t->n_embed, t->n_experts, score);
    for (uint32_t e = 0; e < t->n_experts; e++)
        score[e] = exp(score[e]);
    memset(y, 0, t->n_embed * sizeof *y);
    for (uint32_t i = 0; i < t->n_used; i++) {
        uint32_t best = 0;
        for (uint32_t e = 1; e < t->n_experts; e++)
            if (score[e] > score[best])
                best = e;
        oracle_expert(o, layer, "_exps", best, x, one);
        for (uint32_t j = 0; j < t->n_embed; j++)
            y[j] += score[best] * one[j];
        sum += score[best];
        score[best] = 0;
    }
    for (uint32_t j = 0; j < t->n_embed; j++)
        y[j] /= sum;
}

/* The token at position n, all before it done; logits[n_vocab]. */
static inline void oracle_step(struct oracle *o, int32_t token, uint32_t n, double *logits)
{
    const struct tiny *t = o->t;
    double x[ORACLE_WIDTH], h[ORACLE_WIDTH], y[ORACLE_WIDTH];
    const float *embedding = gguf_tensor_find(o->g, "token_embd.weight")->data;
    for (uint32_t i = 0; i < t->n_embed; i++)
        x[i] = (double)embedding[(uint32_t)token * t->n_embed + i];
    for (uint32_t layer = 0; layer < t->n_layers; layer++) {
        oracle_norm(o, oracle_tensor(o, layer, "attn_norm.weight"), x, h);
        oracle_attention(o, layer, n, h, y);
        for (uint32_t i = 0; i < t->n_embed; i++)
            x[i] += y[i];
        oracle_norm(o, oracle_tensor(o, layer, "ffn_norm.weight"), x, h);
        oracle_ffn(o, layer, h, y);
        for (uint32_t i = 0; i < t->n_embed; i++)
            x[i] += y[i];
    }
    oracle_norm(o, gguf_tensor_find(o->g, "output_norm.weight")->data, x, h);
    const struct tensor *output = gguf_tensor_find(o->g, t->tied ? "token_embd.weight" : "output.weight");
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        logits[i] = 0;
        for (uint32_t j = 0; j < t->n_embed; j++)
            logits[i] += (double)((const float *)output->data)[i * t->n_embed + j] * h[j];
    }
}

#endif
