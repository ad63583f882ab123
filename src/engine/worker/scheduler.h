/* Many sequences over one model_state: continuous batching.
 *
 *   waiting (in order) -> a slot -> prefill in chunks -> a token a step -> the slot is free, its tokens kept
 *                ^                        |                  |
 *                +------------------------+------------------+  no page is left and it is the youngest
 *
 * Each step runs one batch: the newest token of every sequence that generates, and beside them so much of the
 * prompts that are still being read that these do not stall (scheduler_batch.c). A new sequence begins with
 * what was computed of its beginning by any other (scheduler_place.c): it is not computed again. Where it
 * pays, tokens that are likely to follow run in the same step (scheduler_draft.c); nothing but the time it
 * takes tells whether they did.
 *
 * What a sequence's logits mean is its owner's affair (sequence_ops). One thread drives everything. */
#ifndef WEIR_ENGINE_WORKER_SCHEDULER_H
#define WEIR_ENGINE_WORKER_SCHEDULER_H

#include "engine/worker/model.h"
#include "engine/worker/tokenizer.h"

struct scheduler;
struct sequence;

/* Callbacks must not call the scheduler. */
struct sequence_ops {
    /* A slot was found; `cached` tokens of the prompt need not be computed. An error ends the sequence. */
    int (*started)(void *ctx, size_t cached, struct error *err);
    /* What follows the last token: 1 and *next to go on, 0 when the sequence is complete, or an error. The
     * row (n_vocab) may be changed. */
    int (*logits)(void *ctx, float *row, int32_t *next, struct error *err);
    /* Once, last; not after scheduler_cancel. rc 0: `logits` said so; otherwise `err` tells. */
    void (*ended)(void *ctx, int rc, const struct error *err);
    /* With scheduler_tell: the row at a token of the prompt, before the one that follows it there. */
    void (*read)(void *ctx, const float *row, int32_t next);
};

enum { SCHEDULER_DRAFTS = 32, SCHEDULER_TOLD = 32 }; /* at most, in a step: so many rows of logits more */

struct scheduler_options {
    int32_t n_slots, n_context, n_vocab; /* as the state was made for */
    int32_t n_batch;                     /* tokens in a step; at least n_slots are used */
    int64_t (*now_ns)(void);             /* NULL: the monotonic clock */
    bool drafts;                         /* tokens are drafted */
    struct model_state *draft; /* of a smaller model with the same vocabulary, which drafts too; slots and
                                  context as the state's; it must outlive the scheduler. NULL: none */
    int32_t draft_vocab;       /* its n_vocab, at most twice ours */
};

/* The state must outlive the scheduler. */
int scheduler_create(struct model_state *state, const struct scheduler_options *options,
    struct scheduler **out, struct error *err) MUST_USE;
void scheduler_free(struct scheduler *s); /* NULL is allowed; sequences go without `ended` */

/* Takes the tokens (1..n_context of them, each inside the vocabulary) and leaves the list empty. */
int scheduler_add(struct scheduler *s, struct token_list *tokens, const struct sequence_ops *ops, void *ctx,
    struct sequence **out, struct error *err) MUST_USE;
/* Before it starts: how much it takes of each adapter (model_state_adapt). The scales must outlive it. */
void scheduler_adapt(struct sequence *sequence, const float *scales);
/* Before it starts: whose it is. Keys share what a step has for prompts evenly; what was computed is had only
 * by sequences of the same scope. */
void scheduler_owner(struct sequence *sequence, uint64_t key, uint64_t scope);
/* When the context is full, the sequence goes on without the older half of its tokens but the first n_keep.
 * What is kept is computed anew at its new places. */
void scheduler_shift(struct sequence *sequence, int64_t n_keep);
/* Before it starts: what it is likely to say. Takes the tokens and leaves the list empty. */
void scheduler_expect(struct sequence *sequence, struct token_list *tokens);
/* Before it starts: of the prompt's last `count` tokens its owner is told what the model expected there
 * (fewer where the prompt is shorter: nothing is expected of the first). They are computed, even where others
 * have read them. */
void scheduler_tell(struct sequence *sequence, int32_t count);
void scheduler_pause(struct sequence *sequence, bool paused);
void scheduler_cancel(struct scheduler *s, struct sequence *sequence);

/* Tokens that were drafted, and of these drawn; and of all that were drawn those that stood where they were
 * expected. `ended` may still ask. */
struct draft_counts {
    int64_t drafted, accepted, expected;
    int64_t by_model; /* of the drafted: not from earlier text */
};
struct draft_counts scheduler_drafts(const struct sequence *sequence);

bool scheduler_ready(const struct scheduler *s); /* would a step do anything? */
void scheduler_step(struct scheduler *s);

#endif
