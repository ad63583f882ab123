/* Low-rank adapters (Hu et al. 2021, arxiv.org/abs/2106.09685): W x becomes
 *
 *   W x + scale * alpha / rank * B (A x)        A: rank rows of n_in values, B: n_out rows of rank values
 *
 * An adapter is a GGUF file of its own: general.type "adapter", adapter.type "lora", adapter.lora.alpha, and
 * for each weight that it changes NAME.lora_a and NAME.lora_b. For the embedding A is a table of the
 * vocabulary's tokens. How much of an adapter a sequence takes is its slot's affair (model_state_adapt), so
 * that sequences of one batch may differ. */
#ifndef WEIR_ENGINE_WORKER_LORA_H
#define WEIR_ENGINE_WORKER_LORA_H

#include "engine/worker/program.h"

struct gguf;
struct loader;

enum {
    LORA_ADAPTERS_MAX = 64, /* bits of program_adapters.used */
    LORA_RANK_MAX = 1 << 14
};
#define LORA_EMBEDDING "token_embd.weight"

/* While a model is loaded. */
struct lora {
    const struct gguf *gguf;
    float alpha; /* 0: the file gives none, then a scale counts as it is */
    bool *taken; /* of each tensor: some weight has it */
};

/* What one adapter adds to one weight. */
struct lora_delta {
    const struct lora_delta *next;
    int32_t adapter;
    float factor; /* alpha / rank */
    struct linear a, b;
};

/* Checks what the adapter says of itself against the model; fills `lora`. Failures are kept in the loader. */
void lora_open(struct loader *l, struct lora *lora, const struct gguf *gguf);
/* What the loader's adapters add to this weight; NULL: nothing. */
const struct lora_delta *lora_deltas(struct loader *l, const char *name, const struct weight *w);
/* The same of rows [from, from + count) of the weight. */
const struct lora_delta *lora_part(
    struct loader *l, const struct lora_delta *whole, int64_t from, int64_t count);
/* Every tensor of every adapter belongs to a weight that was loaded. */
void lora_check_taken(struct loader *l);

#endif
