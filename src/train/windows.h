/* A text as models read it to be judged: in windows of `context` tokens, each read anew, the first token of
 * each replaced by the model's BOS where the model wants one. What is left behind the last window is not
 * read.
 *
 *   text -> tokens -> | window | window | ... |          of a window: | first half, unjudged | second half |
 *
 * That is how llama.cpp's tools cut a text, so that figures can be compared. */
#ifndef WEIR_TRAIN_WINDOWS_H
#define WEIR_TRAIN_WINDOWS_H

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "engine/worker/tokenizer.h"

enum { WINDOW_LEAST = 8, WINDOW_MOST = 1 << 16, WINDOW_DEFAULT = 512 };

/* A model that reads windows. The backend may be shared: one model runs at a time. */
struct reader {
    const char *path;
    struct gguf *gguf;
    struct model *model;
    struct model_state *state;
    struct token_list tokens; /* the text, by its own tokenizer */
    int32_t bos;              /* -1: windows begin with their own first token */
    int32_t context;
    int64_t n_windows;
};
/* Opens the model (its first part, where it has several) and reads the text's tokens. ERROR_MEMORY where
 * `memory` bytes do not do for it; what it takes is subtracted. ERROR_INVALID: less than two windows. */
int reader_open(const char *path, struct str text, int32_t context, struct backend *backend, uint64_t *memory,
    struct reader *out, struct error *err) MUST_USE;
void reader_close(struct reader *r); /* zeroed is allowed */

/* The window's tokens from `from` on, `count` of them, after those before them; from 0 the window begins
 * anew. `logits`: n_vocab floats for each token; NULL: none are wanted. */
int reader_read(
    struct reader *r, int64_t window, int32_t from, int32_t count, float *logits, struct error *err) MUST_USE;

#endif
