/* What an architecture is to the rest of the engine: model_NAME, in model_NAME.c or with others in
 * model_decoders.c, and one line in the table below.
 *
 *   load:     checks hyperparameters and tensors, keeps its own tables in model->data, says in model->states
 *             what each layer remembers
 *
 *   forward:  writes the forward pass of a batch as a program; gives the logits of the tokens that want them,
 *             or the embedding of a text
 *
 *   decoder:  what it has beside the plain decoder, where it is one (model_decoder.h): load and forward may
 *             then be those of all such, and training may go by it (train/family.c)
 */
#ifndef WEIR_ENGINE_WORKER_MODEL_ARCH_H
#define WEIR_ENGINE_WORKER_MODEL_ARCH_H

#include "base/arena.h"
#include "engine/worker/model.h"
#include "engine/worker/model_loader.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"

/* `states`: each layer's, as its spec asked for. */
typedef struct value architecture_pass(const struct model *m, struct program *p, void *const *states);

struct decoder;

struct architecture {
    const char *name;                                /* general.architecture */
    void (*load)(struct model *m, struct loader *l); /* failures are kept in the loader */
    architecture_pass *forward;
    const struct decoder *decoder; /* NULL: it is none */
};

struct model {
    struct model_info info;
    const struct architecture *architecture;
    struct backend *backend;
    struct arena *arena;       /* all that is loaded */
    struct state_spec *states; /* info.n_layers + 1 of them, of which n_states are made */
    int32_t n_states;          /* info.n_layers unless load says less, or one more that foretells */
    int32_t n_nextn;           /* layers behind these that foretell, where they are to */
    /* Of the layer that foretells (model_nextn.h): logits of all tokens; where none wants any, their keys and
     * values are kept, and that is all. NULL: there is none. */
    architecture_pass *foretell;
    int32_t n_positions; /* that load found to be all there are; 0: any number */
    /* Of a model that embeds: which rows of a text its end takes (as info.pooling, but never RANK), whether a
     * text must run in one piece, and whether its scores become probabilities that sum to 1. */
    enum model_pooling rows;
    bool whole, scores_compete;
    void *data; /* the architecture's own */
};

/* Every architecture that runs, a line each. */
// clang-format off
#define ARCHITECTURES(X) \
    X(llama) \
    X(qwen2moe) \
    X(qwen3moe) \
    X(gpt_oss) \
    X(glm4moe) \
    X(qwen2) \
    X(qwen3) \
    X(gemma) \
    X(smollm3) \
    X(mistral3) \
    X(deepseek2) \
    X(bert) \
    X(nomic_bert) \
    X(nomic_bert_moe) \
    X(jina_bert_v3) \
    X(modern_bert) \
    X(gemma_embedding) \
    X(gemma2) \
    X(gemma3) \
    X(phi3) \
    X(granite) \
    X(granitemoe) \
    X(olmo2) \
    X(glm4) \
    X(command_r) \
    X(cohere2) \
    X(qwen35) \
    X(qwen35moe) \
    X(gemma4) \
    X(lfm2) \
    X(lfm2moe)
// clang-format on

#define DECLARE(name) extern const struct architecture model_##name;
ARCHITECTURES(DECLARE)
#undef DECLARE

#endif
