/* What an architecture is to the rest of the engine: one file, model_NAME.c, and one line in model.c's table.
 *
 *   load:    checks hyperparameters and tensors, keeps its own tables in model->data, says in model->states
 * what each layer remembers forward: writes the forward pass of a batch as a program; gives the logits of the
 * tokens that want them
 */
#ifndef WEIR_ENGINE_WORKER_MODEL_ARCH_H
#define WEIR_ENGINE_WORKER_MODEL_ARCH_H

#include "base/arena.h"
#include "engine/worker/model.h"
#include "engine/worker/model_loader.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"

struct architecture {
    const char *name;                                /* general.architecture */
    void (*load)(struct model *m, struct loader *l); /* failures are kept in the loader */
    /* `states`: each layer's, as its spec asked for. */
    struct value (*forward)(const struct model *m, struct program *p, void *const *states);
};

struct model {
    struct model_info info;
    const struct architecture *architecture;
    struct backend *backend;
    struct arena *arena;       /* all that is loaded */
    struct state_spec *states; /* info.n_layers of them, of which n_states are made */
    int32_t n_states;          /* info.n_layers unless load says less */
    int32_t n_positions;       /* that load found to be all there are; 0: any number */
    void *data;                /* the architecture's own */
};

extern const struct architecture model_llama;
extern const struct architecture model_bert, model_nomic_bert;
extern const struct architecture model_qwen2moe;
extern const struct architecture model_qwen3moe;
extern const struct architecture model_gpt_oss;
extern const struct architecture model_glm4moe;
extern const struct architecture model_qwen2;
extern const struct architecture model_qwen3;
extern const struct architecture model_gemma;
extern const struct architecture model_smollm3;
extern const struct architecture model_mistral3;
extern const struct architecture model_deepseek2;
extern const struct architecture model_gemma2;
extern const struct architecture model_gemma3;
extern const struct architecture model_phi3;
extern const struct architecture model_granite;
extern const struct architecture model_granitemoe;
extern const struct architecture model_olmo2;
extern const struct architecture model_glm4;
extern const struct architecture model_command_r;
extern const struct architecture model_cohere2;
extern const struct architecture model_qwen35;
extern const struct architecture model_qwen35moe;
extern const struct architecture model_gemma4;
extern const struct architecture model_lfm2;
extern const struct architecture model_lfm2moe;

#endif
