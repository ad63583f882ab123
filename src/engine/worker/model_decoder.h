/* Decoders that are the plain one but for a few parts: which, and what their files say of them. Their pass is
 * one.
 *
 *   a layer:   x += scale norm(attention(turn(norm(q k))))     of norm(x), and
 *              x += scale norm(down(gate up))                  of norm(x), or of what attention reads
 *
 * Training has a pass of its own for the same parts (train/pass.c). */
#ifndef WEIR_ENGINE_WORKER_MODEL_DECODER_H
#define WEIR_ENGINE_WORKER_MODEL_DECODER_H

#include "engine/worker/model_block.h"
#include "engine/worker/model_ffn.h"

/* What the file says, beside the shape. */
struct traits {
    struct rope rope;
    struct rope window_rope; /* of layers with a window instead, where it has n_dims */
    struct rope long_rope;   /* of states of more than long_after positions instead, likewise */
    int32_t long_after;
    struct attention attention;
    const int32_t *windows; /* of each layer; 0: it has none */
    bool *turns;            /* of each layer: do its heads turn with the position? */
    /* What is multiplied: embeddings, branches before they are added, logits. */
    float embed_scale, branch_scale, logit_scale;
    float logit_cap;             /* logits are held below it by tanh; 0: none */
    float late_slope, late_span; /* queries: times 1 + slope log(1 + floor(position / span)) */
};

/* The plain decoder: all heads turn, pairs side by side or a head's halves; no windows, scales of 1. */
struct traits traits_adjacent(const struct shape *s, struct loader *l);
struct traits traits_halves(const struct shape *s, struct loader *l);
/* The same by a rope of the caller's. */
struct traits traits_turning(const struct shape *s, struct loader *l, struct rope rope);

/* Queries and keys may be normed before they turn: all heads by one weight, by one norm that goes across
 * them, or each by a weight of its own, where the file has it. */
enum head_norms { HEAD_NORMS_NONE, HEAD_NORMS_SHARED, HEAD_NORMS_ACROSS, HEAD_NORMS_OWN };

/* What follows from the architecture alone. */
struct decoder {
    struct traits (*traits)(const struct shape *s, struct loader *l);
    enum head_norms head_norms;
    bool norms_behind, no_norms_before; /* of branches */
    bool parallel;                      /* the network reads what attention reads */
    bool centred;                       /* norms take the mean away */
    bool gelu;                          /* GeGLU, not SwiGLU */
    bool fused;                         /* the network's gate and up stand in one matrix */
    const struct mixture *mixture; /* the network may be one of experts: what it is unless a file says more */
    bool embeds;                   /* see ends_embed */
};

/* Of an architecture that has a struct decoder and no more. */
void decoder_load(struct model *model, struct loader *l);
architecture_pass decoder_forward;

#endif
