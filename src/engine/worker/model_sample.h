/* Models of llama's shape, GLM's, or of Mixtral's, Qwen3's and GLM's mixtures, with random weights and a
 * small working tokenizer: for tests and benchmarks, which need a shape and a file, not a clever answer. The
 * same seed gives the same file. */
#ifndef WEIR_ENGINE_WORKER_MODEL_SAMPLE_H
#define WEIR_ENGINE_WORKER_MODEL_SAMPLE_H

#include "base/error.h"
#include "engine/worker/tensor.h"

struct gguf_writer;

struct model_sample {
    const char *architecture; /* "llama", with experts as Mixtral has them, "qwen3moe", "glm4" or "glm4moe" */
    uint32_t n_layers, n_embed, n_heads, n_kv_heads, n_ffn, n_vocab, n_context;
    uint32_t head_width;        /* 0: the heads share n_embed */
    uint32_t n_experts, n_used; /* 0: none; n_ffn is then each expert's */
    enum tensor_type type; /* of the matrices; a row that is not whole blocks falls back to Q8_0 or F16 */
    bool fim;              /* the vocabulary has marks for filling in the middle */
    bool tied;             /* no output.weight: the embedding is used */
    bool nextn;            /* of the glm4s: one more layer, which drafts */
    bool chain; /* layers add nothing: a token alone says what is likely to follow, and one that drafts knows
                   it */
    const char *tokenizer;     /* "llama" or "gpt2" */
    const char *pre;           /* for gpt2: tokenizer.ggml.pre */
    const char *chat_template; /* NULL: none */
    uint64_t seed;
};

/* Two layers, 64 wide, ChatML, a few hundred kilobytes. */
struct model_sample model_sample_default(void);
/* Writes the file to a descriptor at its current place. */
int model_sample_write(const struct model_sample *s, int fd, struct error *err) MUST_USE;

/* model_sample_vocab.c: the tokenizer's metadata. */
int model_sample_vocab(const struct model_sample *s, struct gguf_writer *w, struct error *err) MUST_USE;

#endif
