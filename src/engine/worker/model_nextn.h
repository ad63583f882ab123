/* A layer behind the last one that foretells: multi-token prediction (DeepSeek-V3, arxiv.org/abs/2412.19437,
 * section 2.2; "nextn" in files). Of what the model made of a token and of the token that follows it, it says
 * what comes behind that:
 *
 *   what the last norm gave at token t -> norm --\
 *                                                 eh_proj -> a layer like the model's -> norm -> head
 *   embedding of token t + 1 ----------> norm --/
 *
 * It keeps keys and values of its own, at the place of token t + 1. Behind what it has foretold itself its
 * own last norm stands for the model's. It only guesses: the model draws (scheduler_draft.c). A file may have
 * several, each for a token further ahead: the first is used for all. */
#ifndef WEIR_ENGINE_WORKER_MODEL_NEXTN_H
#define WEIR_ENGINE_WORKER_MODEL_NEXTN_H

#include "engine/worker/model_block.h"

/* What is not of a layer of the model. */
struct nextn {
    int32_t n_embed;
    float eps;
    const float *token_norm, *hidden_norm, *head_norm;
    struct weight embedding;
    struct linear join, head;
};

/* Where the model is to foretell and the file says it has such a layer: ends->nextn and model->foretell are
 * there, and a state more, number info.n_layers, which is the architecture's to say, as the layer of that
 * number is to load. What lacks is an error, without which model_load_with tries again. */
void nextn_load(
    struct ends *ends, struct model *model, struct loader *l, float eps, architecture_pass *foretell);

/* What the layer is given, for each token. */
struct value nextn_begin(const struct nextn *n, struct program *p);
/* Logits of what it gives. */
struct value nextn_end(const struct nextn *n, struct program *p, struct value x);

#endif
