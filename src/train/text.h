/* What turns conversations into tokens: a tokenizer and a chat template, learned from the data or taken from
 * a model file. Either way they are held as the metadata of a GGUF file in memory, so that training, the file
 * that comes out of it, and the engine that runs it all read the same. */
#ifndef WEIR_TRAIN_TEXT_H
#define WEIR_TRAIN_TEXT_H

#include "base/buf.h"
#include "engine/worker/chat_template.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/tokenizer.h"
#include "train/train.h"

struct train_text {
    struct buf bytes; /* of the GGUF file that `gguf` reads */
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct chat_template *template;
};

/* A new tokenizer of at most `most` tokens, learned from all messages of these files. */
int train_text_learn(
    const struct train_files *data, int32_t most, struct train_text *t, struct error *err) MUST_USE;
/* Those of a model file. */
int train_text_from(const struct gguf *from, struct train_text *t, struct error *err) MUST_USE;
int train_text_open(const char *path, struct train_text *t, struct error *err) MUST_USE;
void train_text_free(struct train_text *t); /* a zeroed one is allowed */
/* Writes all tokenizer.* of it, and general.sampling.* where the file has them. */
void train_text_write(const struct train_text *t, struct gguf_writer *w);

#endif
