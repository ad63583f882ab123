/* A tokenizer of Hugging Face's (tokenizer.json, tokenizer.model, tokenizer_config.json,
 * generation_config.json, chat_template.jinja) to a GGUF file's tokenizer.* and back.
 *
 *   tokenizer.json   BPE with byte-level words        --> gpt2, tokenizer.ggml.pre by its expressions
 *                    BPE with byte fallback           --> llama, scores by the order of merges; or, of an
 *                                                         architecture that says so, gemma4, with the merges
 *                    Unigram                          --> t5
 *   tokenizer.model  (SentencePiece) where it is beside either of the last two: its scores and kinds */
#ifndef WEIR_TRAIN_HF_TOKENS_H
#define WEIR_TRAIN_HF_TOKENS_H

#include "base/map.h"
#include "engine/worker/gguf_write.h"
#include "train/hf/config.h"

/* As tokenizer.ggml.token_type says it. */
enum hf_token {
    HF_TOKEN_NORMAL = 1,
    HF_TOKEN_UNKNOWN = 2,
    HF_TOKEN_CONTROL = 3,
    HF_TOKEN_USER = 4,
    HF_TOKEN_UNUSED = 5,
    HF_TOKEN_BYTE = 6
};

struct hf_tokens {
    struct arena *arena;
    int64_t n; /* rows of the embedding */
    struct str *texts;
    float *scores;
    int32_t *types;                          /* 0: not given yet */
    struct map ids;                          /* text -> id */
    struct json_view json, config;           /* tokenizer.json, tokenizer_config.json */
    const struct json_item *root, *settings; /* NULL: the file is not there */
};

/* Writes all tokenizer.* and what generation_config.json says of sampling. `pre`: the pre-tokenizer's name
 * where its expressions are not known; NULL: they must be. */
int hf_tokens_write(const struct hf_config *c, const char *folder, const char *pre, struct gguf_writer *w,
    struct error *err) MUST_USE;
/* Writes the files into `folder`. */
int hf_tokens_make(const struct gguf *g, const char *folder, struct error *err) MUST_USE;

/* ---- Inside ---- */

/* Reads FOLDER/NAME where it is; *out stays NULL where it is not. */
int hf_json_read(struct arena *a, const char *folder, const char *name, struct json_view *v,
    const struct json_item **out, struct error *err) MUST_USE;
/* The name of a pre-tokenizer by tokenizer.json; of several that cut alike `usual`, where that is one. */
int hf_pre_find(
    const struct json_item *root, const char *usual, const char **out, struct error *err) MUST_USE;
/* tokenizer.json's "pre_tokenizer" of that name. */
int hf_pre_make(struct str name, bool *ignore_merges, struct json_writer *w, struct error *err) MUST_USE;

/* tokenizer.model: SentencePiece's ModelProto (its sentencepiece_model.proto). Fills texts, scores, types;
 * *unigram: its pieces are chosen by likelihood. */
struct hf_pieces {
    bool unigram, space_prefix;
    int64_t count;
};
int hf_pieces_read(struct str proto, struct hf_tokens *t, struct hf_pieces *out, struct error *err) MUST_USE;
int hf_pieces_make(const struct gguf *g, bool unigram, struct buf *out, struct error *err) MUST_USE;

/* tokenizer.ggml.*_token_id, add_bos_token, templates, sampling. */
int hf_specials_write(const struct hf_tokens *t, const struct hf_config *c, const char *folder,
    struct gguf_writer *w, struct error *err) MUST_USE;

#endif
