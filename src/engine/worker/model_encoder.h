/* What BERT and its kin share: the embedding of tokens, their end (model_embedder.h) and a state that is used
 * within one pass only. */
#ifndef WEIR_ENGINE_WORKER_MODEL_ENCODER_H
#define WEIR_ENGINE_WORKER_MODEL_ENCODER_H

#include "engine/worker/model_embedder.h"

struct layer_norm {
    const float *weight, *bias;
};

struct encoder {
    int32_t n_embed, n_heads, n_kv_heads, head_width, n_ff;
    float eps;
    struct attention attention;
    struct weight embedding;
    const float *type; /* added to every token: the first of token_types; NULL: none */
    struct layer_norm norm;
    struct embedder embedder;
};

/* Figures, embedding and end (`ranked_by`: embedder_load's); says in the model that it encodes, and what
 * state its layers share. */
void encoder_load(struct encoder *e, struct model *model, struct loader *l, enum model_pooling ranked_by);
void encoder_norm_load(struct layer_norm *n, struct loader *l, int32_t width, const char *name);

struct value encoder_norm(
    const struct encoder *e, const struct layer_norm *n, struct program *p, struct value x);
/* softmax(q K^T) V with every token seeing all others. */
struct value encoder_attend(const struct encoder *e, struct program *p, const void *state, struct value q,
    struct value k, struct value v);

#endif
