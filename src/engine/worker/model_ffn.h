/* Feed-forward parts that architectures share: one gated network (Shazeer 2020, arxiv.org/abs/2002.05202) and
 * a mixture of experts, with a shared expert that sees every token where there is one.
 *
 *   x -> router -> the experts chosen ----\
 *    \-> shared expert, * sigmoid(gate) ---+-> sum */
#ifndef WEIR_ENGINE_WORKER_MODEL_FFN_H
#define WEIR_ENGINE_WORKER_MODEL_FFN_H

#include "engine/worker/model_loader.h"
#include "engine/worker/program.h"

struct ffn {
    struct linear gate, up, down;
};

/* down(f(gate x) * up x); the tensors are blk.LAYER.ffn_gateSUFFIX and so on. */
void ffn_load(
    struct ffn *f, struct loader *l, int32_t n_embed, int32_t n_ff, int32_t layer, const char *suffix);
/* The same from blk.LAYER.ffn_up that holds the gate's rows, then those of up. */
void ffn_load_fused(struct ffn *f, struct loader *l, int32_t n_embed, int32_t n_ff, int32_t layer);
struct value ffn_forward(const struct ffn *f, struct program *p, enum glu glu, struct value x);

/* What a model's mixtures have in common. */
struct mixture {
    int32_t n_embed, n_experts, n_ff, n_shared_ff; /* n_shared_ff 0: no shared expert */
    struct routing routing;
    enum glu glu;
};

/* Whether the file has one: it says how many experts, or holds a router, whose experts it must then count. */
bool mixture_is(struct loader *l);
/* `defaults`: for what the file does not say; its n_embed and glu are kept. */
struct mixture mixture_load(struct loader *l, const struct mixture *defaults);

/* Of one layer. */
struct experts {
    const struct mixture *mixture;
    struct routing routing; /* the mixture's, with the layer's bias and factors */
    struct linear router, gate, up, down;
    struct linear gate_up; /* instead of gate and up, if it has data */
    struct ffn shared;
    struct linear shared_gate; /* if it has data */
};

void experts_load(struct experts *x, const struct mixture *m, struct loader *l, int32_t layer);
/* `x` goes to the experts, `scores` (of the router) chooses them. */
struct value experts_routed(const struct experts *e, struct program *p, struct value x, struct value scores);
struct value experts_forward(const struct experts *e, struct program *p, struct value x);

#endif
