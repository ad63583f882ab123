/* Inside the scheduler.
 *
 *   scheduler.c        sequences come, step and go
 *   scheduler_place.c  which of them get a slot, what they begin with, and who gives way when pages are short
 *   scheduler_batch.c  what a step computes
 *   scheduler_pace.c   how much of prompts it computes
 *   scheduler_draft.c  tokens that are likely to follow, and what became of them
 *   scheduler_model.c  those that a smaller model drafts, or a layer of the model's own */
#ifndef WEIR_ENGINE_WORKER_SCHEDULER_INNER_H
#define WEIR_ENGINE_WORKER_SCHEDULER_INNER_H

#include "base/list.h"
#include "engine/worker/lookup.h"
#include "engine/worker/scheduler.h"
#include "engine/worker/scheduler_pace.h"

enum {
    DRAFT_RANKS = 8,
    DRAFT_MOST = 15, /* tokens that are drafted for a sequence in a step */
    COSTS = 64       /* tokens in a step whose time is known one by one */
};

/* What may follow a sequence's newest token; odds[i]: that all up to the i-th are drawn. */
struct draft {
    int32_t n, taken; /* that there are; that run in this step */
    int32_t tokens[DRAFT_MOST];
    float odds[DRAFT_MOST];
    bool by_model; /* not from earlier text: */
    int8_t ranks[DRAFT_MOST];
};

/* Of tokens that the smaller model was so sure of: how many there were, how many of them right. */
struct draft_rate {
    float tried, right;
};

struct slot {
    struct sequence *sequence; /* NULL: free */
    struct token_list held;    /* free: the tokens that the state still holds; none where states share */
    uint64_t scope;            /* of whom these are */
    uint64_t freed_at;         /* 0: never used */
    int32_t told;              /* rows of the step that are in the midst of its prompt */
    int32_t stop;              /* a step ends here: a waiting sequence has this much in common. 0: nowhere */
    int32_t behind;            /* tokens before the newest to be read again: the state went back too far */
    struct draft draft;
};

struct sequence {
    struct list node;         /* among the waiting; alone once it has a slot */
    struct token_list tokens; /* the prompt and what was drawn */
    const float *scales;      /* of adapters */
    uint64_t key, scope;      /* whose it is, and with whom it shares what was computed */
    uint64_t number;          /* when it came */
    bool paused, started, shifts;
    size_t n_keep; /* of shifts */
    struct token_list expected;
    struct lookup *lookup; /* from its first token on, where tokens are drafted */
    struct draft_counts counts;
    struct draft_rate rates[DRAFT_RANKS];
    int32_t tell, tell_end; /* its owner is still to be told of the rows at these tokens of the prompt */
    const struct sequence_ops *ops;
    void *ctx;
};

/* How long a step without prompts takes, in ns, and in which step that was measured; 0: not yet. */
struct cost {
    double ns;
    uint32_t step;
};

struct scheduler {
    struct model_state *state;
    struct scheduler_options o;
    struct slot *slots;
    struct list waiting;
    uint64_t n_added, clock; /* sequences; slots freed so far */
    int32_t turn;            /* which slot is served first when prompts share a step */
    struct pace pace;
    struct cost costs[COSTS + 1]; /* by the step's tokens */
    uint32_t n_steps;
    double draft_ns;                      /* a step of the smaller model; 0: not known */
    struct draft_rate rates[DRAFT_RANKS]; /* of all sequences, of late */
    uint32_t draft_rests;                 /* until this step */
    /* The step's batch. rows[i]: the slot that the next row of logits belongs to, one before it for each
     * of `told`, and one behind it for each of its drafts. */
    int32_t *tokens, *token_slots, *rows;
    uint8_t *wants;
    int32_t n_tokens, n_rows;
    int32_t n_streams; /* of the tokens: of sequences that generate, without their drafts */
    int32_t n_drafts;
    int32_t n_told; /* rows in the midst of prompts, at most SCHEDULER_TOLD */
    float *logits;  /* n_slots + SCHEDULER_DRAFTS + SCHEDULER_TOLD rows of n_vocab */
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
/* Are they the newest one, and what is behind; not a prompt? */
bool slot_generates(const struct scheduler *s, int32_t index);
void batch_build(struct scheduler *s);
void batch_learn(struct scheduler *s, int64_t took_ns);
void batch_keep(struct scheduler *s); /* what the step computed may be had by others */

/* How many drafts of each slot run beside the n_streams tokens, where there are pages and room for them. */
void drafts_choose(struct scheduler *s, int32_t room, int32_t pages);
void drafts_beside(struct scheduler *s, int32_t room, int32_t pages); /* the same beside prompts */
void drafts_learn(struct scheduler *s, int64_t took_ns);              /* of a step without prompts */
/* The sequence has drawn its next token. */
void draft_push(struct scheduler *s, struct sequence *q, int32_t token);
/* It has drawn its last one, which is not among its tokens: for the counts. */
void draft_end(struct scheduler *s, struct sequence *q, int32_t token);
/* What the smaller model would say is added where nothing likely is drafted yet: as far as it saves more than
 * it costs, when a token takes token_ns without drafts and another one in the step verify_ns. There are so
 * many pages beside those for the newest tokens. */
void model_draft(struct scheduler *s, double token_ns, double verify_ns, int32_t pages);
void model_draft_learn(struct scheduler *s, struct sequence *q, const struct draft *d, int32_t i,
    int32_t token); /* drawn in place of the i-th */
void model_draft_begin(struct scheduler *s, int32_t index);
void model_draft_settle(struct scheduler *s, int32_t index, int32_t length);
void model_draft_end(struct scheduler *s, int32_t index, const struct sequence *q);
/* Of what the slot's state has read only the first `length` tokens are the sequence's. */
void draft_settle(struct scheduler *s, int32_t index, int32_t length);

#endif
