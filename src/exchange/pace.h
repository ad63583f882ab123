/* How quick one target is, learned from the answers it gave; it predicts the time to the first token of the
 * next one.
 *
 *   a server elsewhere     the median of its last times to a first token
 *   the embedded engine    loading, if it is not there
 *                          + a wait for a slot, if all are taken: (waiting + 1) / slots of an answer's time
 *                          + fresh tokens x measured prefill time of one
 *
 * A request's tokens are the router's estimate times what the target counted for earlier ones. Thread-safe.
 */
#ifndef WEIR_EXCHANGE_PACE_H
#define WEIR_EXCHANGE_PACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACE_SAMPLES = 33 };

struct pace {
    pthread_mutex_t mutex;
    double first_ms[PACE_SAMPLES];
    size_t n_first; /* ever added */
    /* Running means; 0: nothing is known yet. */
    double prefill_ms; /* of one token that was not cached */
    double answer_ms;  /* a whole answer */
    double counted;    /* tokens by the target over tokens by estimate */
    _Atomic unsigned n_answers;
};

void pace_init(struct pace *p);
void pace_destroy(struct pace *p);
/* What `from` knows; for a target that outlives a reload. */
void pace_copy(struct pace *to, struct pace *from);

void pace_first_add(struct pace *p, double ms); /* from asking to the first token */
struct pace_answer {
    int64_t estimated_tokens, input_tokens, cached_tokens; /* of the prompt; -1 unknown */
    int64_t prefill_ns;                                    /* 0: not told */
    int64_t total_ms;
};
/* Asked once an answer: is its estimate worth making, which walks over all that was asked? Of the first
 * answers all are, then one of eight. */
bool pace_wants_estimate(struct pace *p);
void pace_answer_add(struct pace *p, const struct pace_answer *a);

/* How an embedded engine stands. */
struct pace_engine {
    bool loaded;
    int64_t load_ms; /* how long loading takes */
    int slots, active, queued;
};
double pace_first_median(struct pace *p);              /* negative: none yet */
double pace_tokens(struct pace *p, int64_t estimated); /* as the target will count them */
/* Milliseconds to the first token of a prompt of which `cached` (0 to 1) is likely cached; negative: unknown.
 * `engine` NULL: it is a server elsewhere. */
double pace_predict(struct pace *p, int64_t estimated, double cached, const struct pace_engine *engine);

#endif
