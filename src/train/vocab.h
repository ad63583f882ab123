/* A byte-level BPE tokenizer of one's own (Sennrich et al. 2016, arxiv.org/abs/1508.07909; bytes as in
 * Radford et al. 2019): words are cut as `qwen2` does it (digits singly), and the most frequent pair of
 * neighbours is joined until the vocabulary is full. Among equally frequent pairs the one of the smaller
 * numbers is first, so the same data always give the same tokenizer.
 *
 *   ids: <|endoftext|> <|im_start|> <|im_end|> | 256 bytes | a token for each merge */
#ifndef WEIR_TRAIN_VOCAB_H
#define WEIR_TRAIN_VOCAB_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "engine/worker/gguf_write.h"

struct vocab;

enum { VOCAB_SPECIALS = 3, VOCAB_FIRST_MERGE = VOCAB_SPECIALS + 256 };

int vocab_create(struct vocab **out, struct error *err) MUST_USE;
void vocab_free(struct vocab *v); /* NULL is allowed */
/* Counts the words of a text, which must be valid UTF-8. */
int vocab_add(struct vocab *v, struct str text, struct error *err) MUST_USE;
/* Learns merges until there are `most` tokens, or no pair occurs twice. */
int vocab_learn(struct vocab *v, int32_t most, struct error *err) MUST_USE;
/* tokenizer.ggml.* and the ChatML template. */
void vocab_write(const struct vocab *v, struct gguf_writer *w);

#endif
