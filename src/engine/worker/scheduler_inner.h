/* Inside the scheduler.
 *
 *   scheduler.c        sequences come, step and go
 *   scheduler_place.c  which of them get a slot, what they begin with, and who gives way when pages are short
 *   scheduler_batch.c  what a step computes */
#ifndef WEIR_ENGINE_WORKER_SCHEDULER_INNER_H
#define WEIR_ENGINE_WORKER_SCHEDULER_INNER_H

#include "base/list.h"
#include "engine/worker/scheduler.h"

struct slot {
    struct sequence *sequence; /* NULL: free */
    struct token_list held;    /* free: the tokens that the state still holds; none where states share */
    uint64_t scope;            /* of whom these are */
    uint64_t freed_at;         /* 0: never used */
    int32_t stop;              /* a step ends here: a waiting sequence has this much in common. 0: nowhere */
};

struct sequence {
    struct list node;         /* among the waiting; alone once it has a slot */
    struct token_list tokens; /* the prompt and what was drawn */
    const float *scales;      /* of adapters */
    uint64_t key, scope;      /* whose it is, and with whom it shares what was computed */
    uint64_t number;          /* when it came */
    bool paused, started, shifts;
    size_t n_keep; /* of shifts */
    const struct sequence_ops *ops;
    void *ctx;
};

/* How long steps take, in ns: with one token for each of `streams` sequences, and for each token of a prompt
 * beside these. 0: not known. */
struct pace {
    double alone, token;
    int32_t streams, since; /* since: steps beside prompts since `alone` was measured */
};

struct scheduler {
    struct model_state *state;
    struct scheduler_options o;
    struct slot *slots;
    struct list waiting;
    uint64_t n_added, clock; /* sequences; slots freed so far */
    int32_t turn;            /* which slot is served first when prompts share a step */
    struct pace pace;
    /* The step's batch, n_batch each; rows[i]: the slot that the i-th row of logits belongs to. */
    int32_t *tokens, *token_slots, *rows;
    uint8_t *wants;
    int32_t n_tokens, n_rows;
    int32_t n_streams; /* of the tokens: of sequences that generate */
    float *logits;     /* n_slots rows of n_vocab */
};

void sequence_end(struct scheduler *s, int32_t index, int rc, const struct error *err);
/* The slot is free again; what its state holds is kept for others. Returns the sequence's tokens where the
 * slot does not remember them itself. */
struct token_list slot_release(struct scheduler *s, int32_t index);

/* Others may have what the slot's state holds of its sequence; with `leave` all of it, and it is empty. */
void slot_keep(struct scheduler *s, int32_t index, bool leave);

void slots_fill(struct scheduler *s);
/* Makes room until every sequence that runs can go on by a token. */
void room_secure(struct scheduler *s);

/* Tokens that the slot's state has not seen yet. */
int32_t slot_pending(const struct scheduler *s, int32_t index);
void batch_build(struct scheduler *s);
void batch_learn(struct scheduler *s, int64_t took_ns);
void batch_keep(struct scheduler *s); /* what the step computed may be had by others */

#endif
