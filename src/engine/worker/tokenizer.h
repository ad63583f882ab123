/* Text to token ids and back, as the model's own tokenizer does it. Immutable once created; thread-safe. */
#ifndef WEIR_ENGINE_WORKER_TOKENIZER_H
#define WEIR_ENGINE_WORKER_TOKENIZER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

struct gguf;
struct tokenizer;

/* Reads tokenizer.ggml.*; the gguf must outlive the result. An unknown model or pre-tokenizer is
 * ERROR_UNSUPPORTED and names it: never a guess. */
int tokenizer_create(const struct gguf *g, struct tokenizer **out, struct error *err) MUST_USE;
void tokenizer_free(struct tokenizer *t); /* NULL is allowed */

/* A growable list of ids; start from {0}, free(ids.ids). */
struct token_list {
    int32_t *ids;
    size_t count, capacity;
};
int token_list_append(struct token_list *list, int32_t id, struct error *err) MUST_USE;

/* Appends the ids of `text` (valid UTF-8 or not). `add_special`: BOS/EOS as the model wants them.
 * `parse_special`: text that spells a special token becomes that token. Work is O(n log n) in the text. */
int tokenizer_encode(const struct tokenizer *t, struct str text, bool add_special, bool parse_special,
    struct token_list *out, struct error *err) MUST_USE;

/* Appends the bytes of one token: may be part of a character. Special tokens give nothing unless
 * `with_special`. An id out of range gives nothing. */
int tokenizer_append_piece(const struct tokenizer *t, int32_t id, bool with_special, struct buf *out);
/* A whole sequence, with the leading-space rule undone where the model has one. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool with_special,
    struct buf *out, struct error *err) MUST_USE;

int32_t tokenizer_vocab_size(const struct tokenizer *t);
struct str tokenizer_text(const struct tokenizer *t, int32_t id); /* as the file spells it; "" out of range */
int32_t tokenizer_find(const struct tokenizer *t, struct str text); /* exact spelling; -1 if absent */
int32_t tokenizer_bos(const struct tokenizer *t);                   /* -1 if the model has none */
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_is_end(
    const struct tokenizer *t, int32_t id); /* EOS, EOT, EOM or an end of turn known by its text */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id); /* control or unknown tokens */

#endif
