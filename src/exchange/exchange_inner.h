/* Private to the files of an exchange.
 *
 *   exchange.c   ADMIT, DECIDE, RECORD, STREAM     dispatch.c   which target, when, how often
 *   leg.c        one target being asked            settle.c     SETTLE
 *   cascade.c    the local model first             spend.c      limits and budgets */
#ifndef WEIR_EXCHANGE_EXCHANGE_INNER_H
#define WEIR_EXCHANGE_EXCHANGE_INNER_H

#include "exchange/attempts.h"
#include "exchange/exchange.h"
#include "exchange/observe.h"
#include "govern/restore.h"
#include "router/doubt.h"

enum { LEGS = 2, ORDER_MOST = 64 };

/* A way to an answer. There is one, and a second where a rule hedges.
 *
 *   IDLE --> WAITING (for a place) --> PAYING (for money) --> RUNNING --> IDLE     events come while it is
 *              ^                                                  |               RUNNING
 *              +---------------------- BACKOFF <------------------+               it failed and is asked
 * again
 */
enum leg_state { LEG_IDLE, LEG_WAITING, LEG_PAYING, LEG_BACKOFF, LEG_RUNNING };

struct leg {
    struct exchange *x;
    enum leg_state state;
    const struct exchange_model *model;
    int tried;      /* how often this target was asked again */
    bool forced;    /* its breaker is open and there is no other */
    bool has_place; /* at its gate */
    bool whole;     /* asked for the answer at once: its first event tells nothing of its first token */
    struct exchange_wait *wait;
    struct provider_call *call;
    struct restore *restore;  /* of an answer to a masked request; NULL: none */
    struct loop_timer *timer; /* the nearest of its deadlines */
    size_t attempt;
    int64_t since_ms; /* began to wait, was sent */
    int64_t heard_ns; /* when its last event came */
    int64_t heard_ms, first_ms;
    int32_t n_stopped; /* choices that are complete */
    struct chat_usage usage;
    int64_t heard_milli;   /* what came, by estimate, in thousandths of a token */
    int64_t drawn;         /* what came, as the engine counted it; -1: nobody counts */
    struct doubt doubt;    /* of its first tokens, where the engine measures them */
    bool compared;         /* with a second answer, or there was none */
    bool rests;            /* its answer waits for what others say (cascade.c) */
    bool unpaid;           /* more came than is paid for, and its timer cuts it off */
    int64_t reserved;      /* of the budgets, for what it may cost: nano-dollars */
    int64_t covered_milli; /* so much of an answer that pays for, as in heard_milli; 0: it has no price */
    struct budget_wait *paying; /* for what other gateways hold of them, so much: */
    int64_t price;
    int64_t more_milli; /* which is for so much more of an answer */
};

enum cascade_state { CASCADE_OFF, CASCADE_LISTENING, CASCADE_ASKING, CASCADE_OVER };
struct cascade_held;
struct cascade {
    enum cascade_state state;
    struct leg *local;
    double doubt; /* by which it was decided */
    struct cascade_held *first, **end;
    size_t bytes;       /* held */
    int pid;            /* of the worker that holds the rest of the answer */
    int32_t n_stopped;  /* choices that are complete */
    bool whole;         /* all are */
    const char *result; /* "kept", "escalated", "returned"; NULL: not decided */
};

/*        DECIDE -> RECORD -> DISPATCH <-> STREAM -> SETTLE
 *          |          |          |                    ^
 *          +----------+----------+--------------------+      each may go straight to SETTLE
 */
struct exchange {
    struct exchange_shard *shard;
    struct exchange_world *world;
    struct chat_request *request;
    struct exchange_client client;
    bool client_gone;
    char request_id[72];
    struct str row_id;
    struct str api;
    bool identified;
    struct govern_identity identity;
    struct budget_ticket ticket;
    const struct exchange_origin *waits; /* for a batch's turn, or to be judged; else NULL */
    struct loop_timer *turn;
    struct router_ahead *ahead; /* those texts, the job's while there is one; NULL: none is long */
    struct judge_job *judging;  /* NULL: they are not being judged */
    int64_t prompt_tokens;      /* by estimate; -1: nobody asked yet */
    struct route_decision decision;
    struct attempts attempts;
    const struct exchange_model **order; /* targets, pools resolved; those before `next` had their turn */
    size_t n_order, next;
    const struct exchange_model *passed; /* the first whose breaker was open */
    bool sent;                           /* something was asked */
    struct leg legs[LEGS];
    struct leg *winner; /* the client has been told who answers */
    struct leg
        *counted; /* whose usage the ledger gets: the winner, or what was under way when the client left */
    struct cascade cascade;
    int32_t measure;    /* tokens of which the embedded engine tells how sure it is, besides */
    bool measure_again; /* and how far a second answer agrees */
    bool by_latency;    /* something went by how soon first tokens come: they are to be seen */
    bool complete;      /* the whole answer came */
    bool cacheable;     /* the answer may be kept, under `cache_key` */
    unsigned char cache_key[CACHE_KEY];
    struct cache_answer *keeping; /* being gathered */
    struct cache_answer *kept;    /* what answers instead of a target */
    struct loop_timer *hedge, *deadline;
    int64_t deadline_ms; /* INT64_MAX: none */
    bool paused;         /* by the client's watermark */
    int64_t wall_ms, started_ms, first_token_ms;
    struct chat_usage usage; /* once it settles: of the ledger's row and the client's answer */
    int64_t given_up_cost;   /* of attempts that were paid for and not used */
    int64_t cost;
    const char *outcome;
    struct exchange_failure failure; /* when status is not 200 */
    bool failed;                     /* `fail` is still to be called */
    struct exchange_seen seen;
};

/* ---- dispatch.c ---- */
void dispatch_begin(struct exchange *x);
/* The leg's target is out of the question: the next one. Ends the exchange where none is left and nothing
 * runs. */
void dispatch_next(struct leg *leg);
/* Another leg answers. */
void dispatch_beaten(struct leg *leg);
/* A running leg failed before its first event. */
void dispatch_failed(struct leg *leg, const struct chat_failure *failure);

/* ---- leg.c ---- */
/* Asks `model`, or waits for a place there. False: it cannot be asked; the attempt says why. */
bool leg_take(struct leg *leg, const struct exchange_model *model, bool forced);
/* The same target once more, `delay_ms` from now. */
void leg_again(struct leg *leg, int64_t delay_ms);
void leg_pause(struct leg *leg, bool paused);
size_t leg_masked(const struct leg *leg); /* how many findings its target is not shown */
/* What comes is no longer paid for: it is cut off soon, unless other gateways give back enough. */
void leg_unpaid(struct leg *leg);
void leg_paid(struct leg *leg);  /* it is paid for again, and goes on */
void leg_begun(struct leg *leg); /* its first event came: from now on it must not fall silent */
/* The answer is over: what came of it. IDLE afterwards. `failure` NULL: it went well. */
void leg_end(struct leg *leg, const struct chat_failure *failure);
void leg_measured(struct leg *leg, const struct chat_event *event);
/* It computes nothing and has no deadline, until it goes on as if it had just been asked. */
void leg_rest(struct leg *leg);
void leg_go_on(struct leg *leg);
/* Whatever it does, it stops; what was sent is paid for. */
void leg_cancel(struct leg *leg, const char *why);
/* What it used. Where the provider did not say, because it or the client broke off or because it never does,
 * by estimate. A count told on the way does not hold what came after it. */
void leg_usage(const struct leg *leg, bool complete, struct chat_usage *out);
/* What it was sent and what came of it is paid for, whoever hung up, and not used. */
void leg_given_up(struct leg *leg);
void leg_free(struct leg *leg);

/* ---- cascade.c ---- */
/* The leg's target is being asked: what it is decided by; NULL: it is not the local one of a cascade. */
const struct router_cascade *cascade_started(struct leg *leg);
/* An event of a leg's before anyone answers: true, it is held back. */
bool cascade_takes(struct leg *leg, const struct chat_event *event);
void cascade_answered(struct leg *by); /* before the others are cancelled */
/* None of the others answers: true, the local answer goes on. */
bool cascade_returns(struct exchange *x);
bool cascade_is_whole(const struct exchange *x); /* a complete local answer is held while others are asked */

/* ---- spend.c ---- */
void spend_begin(struct exchange *x);
int64_t spend_prompt_tokens(struct exchange *x); /* by estimate, made once */
/* May it be asked at all? False: `out` says why not, in the words of `err`. */
bool spend_admit(struct exchange *x, struct exchange_failure *out, struct error *err);
void spend_refused(const struct exchange *x, const struct exchange_failure *f); /* counts it */
/* What the leg's target may cost is reserved; ERROR_BUSY: there is not so much left, and `f` says so. Where
 * `leg->paying` then is set, `told` is called when spend_paid can say. */
int spend_reserve(struct leg *leg, void (*told)(void *ctx), struct chat_failure *f) MUST_USE;
int spend_paid(
    struct leg *leg, struct chat_failure *f) MUST_USE; /* may be asked before: it is waited no more */
/* More comes of a stream than was reserved for: its coverage doubles, or grows by what the budgets allow.
 * False: it is over, and the answer with it: `f` (NULL: not asked) says so. */
bool spend_covers(struct leg *leg, struct chat_failure *f);
void spend_drop(struct leg *leg); /* it need not be paid, where it waited for that */
/* What was reserved for the leg cost so much; 0: nothing. */
void spend_settle(struct leg *leg, int64_t nano_usd);
void spend_end(struct exchange *x, const struct chat_usage *usage);
const struct budget_rates *spend_rates(const struct exchange *x); /* NULL: nothing is limited */

/* ---- exchange.c ---- */
void leg_heard(struct leg *leg, const struct chat_event *event); /* it counts for what the answer is */
int64_t exchange_heard_in(const struct chat_event *event); /* thousandths of a token, by estimate */
void exchange_leg_event(struct leg *leg, const struct chat_event *event);
void exchange_fail_attempts(struct exchange *x); /* no target could answer */

/* ---- recall.c ---- */
/* After DECIDE: may the cache be asked, and under which key? */
void recall_prepare(struct exchange *x, const struct exchange_origin *origin);
/* A kept answer goes to the client and the exchange settles; false: there is none. */
bool recall(struct exchange *x);
/* Each event that goes to the client; STOP keeps what was gathered. */
void recall_gather(struct leg *leg, const struct chat_event *event);
void recall_forget(struct exchange *x); /* what was gathered */
void recall_free(struct exchange *x);
const char *recall_state(const struct exchange *x); /* "hit", "miss" or NULL */

/* ---- settle.c ---- */
void exchange_settle(struct exchange *x, const char *outcome);
void exchange_fail(struct exchange *x, const struct exchange_failure *failure, const char *outcome);

#endif
