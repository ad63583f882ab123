/* weir-train: models of one's own, trained where the data is. A program of its own (`weir train` and `weir
 * finetune` start it), which links the engine and no network code.
 *
 *   configuration ----> model (shape, weights) ----+
 *   JSONL -> tokens, loss masks -> batches --------+--> loop: forward, backward, AdamW --> GGUF
 *                                                         |  ^
 *                                                      checkpoint
 *
 * The configuration is YAML or JSON (JSON is YAML, too). Paths in it are relative to its own folder:
 *
 *   name: house                  general.name of the model
 *   model:
 *     layers: 6
 *     embed: 256                 width of the residual stream
 *     heads: 8                   a head is embed / heads wide, an even number
 *     kv_heads: 4                default: as many as heads
 *     ffn: 704
 *     vocab: 2048                tokens of the tokenizer that is trained on the data, specials included
 *     context: 1024              the longest example, in tokens; longer ones are left out and counted
 *     tied: true                 the embedding is the output matrix, too (default true)
 *     rope_base: 10000
 *     norm_eps: 1e-5
 *   tokenizer: other.gguf        optional: its tokenizer and chat template instead of a new one
 *   data:
 *     train: [a.jsonl, b.jsonl]
 *     validation: [v.jsonl]      or
 *     validation_share: 0.02     of the training examples, drawn by the seed; 0: none
 *   train:
 *     steps: 2000                or epochs: 3
 *     batch_tokens: 16384        tokens of examples in a step (weir finetune: by the data, 256 to 2048) ...
 *     accumulate: 1              ... times this (memory does not depend on either)
 *     learning_rate: 0.001       (weir finetune's adapters: by the model's width)
 *     final_rate: 0.1            share of it that is left at the end of the cosine
 *     warmup: 100                steps
 *     weight_decay: 0.1          of matrices
 *     optimizer: adamw           or muon, of layers' matrices: a third of the steps, each a fifth dearer
 *     embedding: trained         or frozen, by weir finetune --full: tokens stay what the file says they are (every
 *                                step pushes all of them a little, those too that no example holds)
 *     precision: f32             or bf16, of what products take and passes keep; sums, weights, gradients and
 *                                moments stay f32: of each layer, a pass keeps half the memory
 *     beta1: 0.9
 *     beta2: 0.95
 *     clip: 1.0                  largest norm of the gradient; 0: any
 *     prompt_loss: 0             what a token of a prompt counts beside one of a completion (0 to 1)
 *     seed: 1
 *     validate_every: 100        steps
 *     patience: 0                validations in a row without a better loss that end it; 0: none do
 *     checkpoint_every: 100      steps
 *   lora:                        for weir finetune, which needs no `model`
 *     rank: 16
 *     alpha: 32                  what the adapter adds is multiplied by alpha / rank
 *   output:
 *     type: F16                  of matrices: F32 F16 BF16 Q8_0 (weir finetune --full and --merged: of those
 *                                trained; those of the base if nothing is said)
 *
 * A line of data is {"messages": [{"role": "system"|"user"|"assistant", "content": "..."}, ...], "tools"?:
 * [...]}. It goes through the chat template; tokens of assistants' messages and the mark that ends them are
 * learned, unless the message says "weight": 0; "weight": 5 counts them five times (a label of two tokens
 * beside answers of a hundred). Examples are packed into sequences of at most `context` tokens, but attention
 * and positions never cross from one to the other. */
#ifndef WEIR_TRAIN_TRAIN_H
#define WEIR_TRAIN_TRAIN_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "engine/worker/tensor.h"

struct train_shape {
    int32_t n_layers, n_embed, n_heads, n_kv_heads, head_width, n_ffn, n_vocab, n_context;
    bool tied;
    float rope_base, norm_eps;
};

/* What a layer's matrices are trained by; all else by AdamW. */
enum train_optimizer { TRAIN_ADAMW, TRAIN_MUON };
enum train_precision { TRAIN_F32, TRAIN_BF16 };

struct train_schedule {
    enum train_optimizer optimizer;
    enum train_precision precision;
    bool embedding_frozen;
    int64_t steps, epochs; /* one of them is 0 */
    int64_t batch_tokens;  /* of a step, accumulation included */
    int64_t warmup, validate_every, patience, checkpoint_every;
    double learning_rate, final_rate, weight_decay, beta1, beta2, clip, prompt_loss;
    uint64_t seed;
};

struct train_files {
    struct str *paths;
    size_t count;
};

struct train_config {
    struct arena *arena; /* everything below lives here */
    struct str name, tokenizer;
    struct train_shape shape; /* n_vocab: at most; the tokenizer decides */
    struct train_schedule schedule;
    struct train_files data, validation;
    double validation_share;
    enum tensor_type type;
    struct train_lora {
        int32_t rank;
        float alpha;
    } lora;
};

/* Reads and checks the file; errors name the line. The caller frees c->arena, also on error. A model that is
 * tuned has its own shape. */
enum train_kind { TRAIN_NEW, TRAIN_TUNE };
int train_config_read(
    const char *path, enum train_kind kind, struct train_config *c, struct error *err) MUST_USE;
/* What tuning on one file of examples does unless a configuration says otherwise. */
void train_config_default(const char *data, struct train_config *c);

#endif
