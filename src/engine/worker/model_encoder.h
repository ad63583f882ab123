/* What encoders share: the embedding of tokens, a state that is used within one pass only, and what comes of
 * the hidden rows: as they are for pooling (model.c), or the scores of a head that ranks. */
#ifndef WEIR_ENGINE_WORKER_MODEL_ENCODER_H
#define WEIR_ENGINE_WORKER_MODEL_ENCODER_H

#include "engine/worker/model_arch.h"

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
    struct linear dense, score; /* of the head that ranks; dense may have no data */
};

/* Figures, embedding and head; says in the model that it encodes, and what state its layers share. */
void encoder_load(struct encoder *e, struct model *model, struct loader *l);
void encoder_norm_load(struct layer_norm *n, struct loader *l, int32_t width, const char *name);

struct value encoder_norm(
    const struct encoder *e, const struct layer_norm *n, struct program *p, struct value x);
/* softmax(q K^T) V with every token seeing all others. */
struct value encoder_attend(const struct encoder *e, struct program *p, const void *state, struct value q,
    struct value k, struct value v);
struct value encoder_output(
    const struct encoder *e, const struct model *model, struct program *p, struct value x);

#endif
