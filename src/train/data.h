/* Examples as tokens, and the order in which they are learned. */
#ifndef WEIR_TRAIN_DATA_H
#define WEIR_TRAIN_DATA_H

#include "base/rand.h"
#include "json/json.h"
#include "train/pass.h"

struct train_text;

/* Calls fn with each line's object, whose "messages" has been checked: a list of objects with a role and, as
 * text, a content. Errors name file and line. */
int data_each(const struct train_files *files, int (*fn)(void *ctx, const json_t *body, struct error *err),
    void *ctx, struct error *err) MUST_USE;

/* Example i: tokens[starts[i] .. starts[i + 1]); learned[t]: how often token t counts as one that the model
 * has to say, 0: it is only read. */
struct train_data {
    int32_t *tokens;
    uint8_t *learned;
    size_t n_tokens, room;
    size_t *starts;
    size_t n_docs, room_docs;
    int64_t n_learned;
    int32_t most;                       /* tokens that an example may have */
    int64_t too_long, nothing_to_learn; /* left out */
};

/* Appends the files' examples; each goes to `second` (may be NULL) instead with the chance `share`. */
int data_read(const struct train_files *files, const struct train_text *text, int32_t context,
    struct train_data *d, struct train_data *second, double share, uint64_t seed, struct error *err) MUST_USE;
void data_free(struct train_data *d); /* a zeroed one is allowed */

/* The endless stream of examples: in each epoch all of them once, in an order that seed and epoch give. */
struct data_order {
    const struct train_data *data;
    uint64_t seed;
    uint32_t *order;
    int64_t epoch;
    size_t next; /* in `order` */
};
int data_order_create(
    const struct train_data *d, uint64_t seed, struct data_order *o, struct error *err) MUST_USE;
void data_order_free(struct data_order *o);
void data_order_seek(struct data_order *o, int64_t epoch, size_t next);

/* The examples of one step, packed into equally long sequences of at most `context` tokens. */
struct batch {
    struct train_sequence *sequences;
    size_t n_sequences;
    int64_t n_tokens;
    double weight; /* of all targets */
    struct arena *arena;
};
/* Sequences for so many tokens; a small batch is cut finer than its context asks for, so that threads share
 * it. */
size_t train_batch_parts(size_t tokens, size_t context);
/* Takes examples until they have `tokens` tokens. `prompt`: what a prompt's token counts. */
int train_batch_take(struct data_order *o, int64_t tokens, int32_t context, double prompt, struct batch *b,
    struct error *err) MUST_USE;
/* The first n examples as they stand; only what is learned counts. */
int train_batch_make(
    const struct train_data *d, size_t n, int32_t context, struct batch *b, struct error *err) MUST_USE;
void train_batch_free(struct batch *b);

#endif
