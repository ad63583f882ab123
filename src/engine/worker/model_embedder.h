/* The end of a model that embeds or ranks, in place of logits: which of a text's rows count, and what is made
 * of them.
 *
 *   rows of the last layer -> one or all, or their mean -> dense_2 -> dense_3              -> embedding
 *                                                      \-> cls, tanh, norm -> cls.output   -> scores (rank)
 */
#ifndef WEIR_ENGINE_WORKER_MODEL_EMBEDDER_H
#define WEIR_ENGINE_WORKER_MODEL_EMBEDDER_H

#include "engine/worker/model_arch.h"

struct embedder {
    bool mean;                   /* of the rows, within the pass */
    struct linear first, second; /* dense_2 and dense_3; no data: none */
    struct linear dense, score;  /* of the head that ranks; each may have no data, not both */
    const float *dense_norm;     /* NULL: none */
    bool gelu;                   /* behind dense, instead of tanh */
    float eps;                   /* of dense_norm */
};

/* From the file's pooling_type, `pooling` where it does not say; sets what model_info tells of embeddings.
 * `ranked_by`: whose row a head that ranks takes: MODEL_POOL_CLS, _LAST or _MEAN. */
void embedder_load(struct embedder *e, struct model *model, struct loader *l, enum model_pooling pooling,
    enum model_pooling ranked_by);
/* `x`: the rows of all tokens, or of those that are wanted if it is `selected`. */
struct value embedder_forward(const struct embedder *e, struct program *p, struct value x, bool selected);

#endif
