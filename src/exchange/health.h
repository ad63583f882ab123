/* How one target stands, as all loops together know it: breaker, places, latency. It outlives a reload of the
 * configuration in which the target is the same.
 *
 *   health_admit --> (health_enter --> granted?) --> the request runs --> health_leave, health_result */
#ifndef WEIR_EXCHANGE_HEALTH_H
#define WEIR_EXCHANGE_HEALTH_H

#include "base/loop.h"
#include "base/str.h"
#include "exchange/balance.h"
#include "exchange/breaker.h"
#include "exchange/gate.h"

struct exchange_health;

struct exchange_health_options {
    struct breaker_policy breaker;
    int max_in_flight; /* 0: no limit */
    int queue_length;  /* how many may wait for a place */
};

/* `name` is the target's, `identity` whatever makes it another one (its provider's address). */
struct exchange_health *health_create(
    struct str name, struct str identity, const struct exchange_health_options *o);
struct exchange_health *health_ref(struct exchange_health *h);
void health_unref(struct exchange_health *h); /* NULL is allowed */
bool health_is(const struct exchange_health *h, struct str name, struct str identity);
/* New limits for one that is kept; who waits and may go now is let in. */
void health_configure(struct exchange_health *h, const struct exchange_health_options *o);

/* ---- The breaker. ---- */
bool health_admit(struct exchange_health *h);
/* `latency_ms` to the first event, negative: there was none. True: the breaker opened with this. */
bool health_result(
    struct exchange_health *h, enum breaker_result r, int64_t retry_after_ms, double latency_ms);
/* Is it time to ask whether the target is there? Then the next time is `every_ms` away. `always`: also while
 * the breaker is closed. */
bool health_probe_due(struct exchange_health *h, int64_t every_ms, bool always);
/* `there`: it answered; an open breaker lets a request through now. Not: like a failed request. */
void health_probed(struct exchange_health *h, bool there);

/* ---- Places. ---- */
struct exchange_wait;
/* OPEN: a place is taken. WAIT: `granted` is called on `loop` when there is one, unless health_give_up comes
 * first. `key`: who is asking, for fairness. */
enum gate_answer health_enter(struct exchange_health *h, uint64_t key, struct loop *loop,
    void (*granted)(void *ctx), void *ctx, struct exchange_wait **wait);
void health_leave(struct exchange_health *h);
void health_give_up(struct exchange_wait *w); /* on its loop, before `granted` */

/* ---- What others ask. ---- */
struct exchange_health_status {
    enum breaker_state breaker;
    int in_flight, waiting;
    int64_t opened; /* times */
    double latency_ms;
    bool full;
};
void health_status(struct exchange_health *h, struct exchange_health_status *out);

#endif
