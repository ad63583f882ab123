/* DISPATCH: the targets of a decision in their order, pools resolved; the same one again after a passing
 * failure, the next one after any other, two at a time where a rule hedges.
 *
 * A target whose breaker is open is passed over. Where that leaves none, the first of them is asked all the
 * same: the breaker protects a target from useless requests, but a request that is refused unseen helps
 * nobody. */
#include "base/clock.h"
#include "base/rand.h"
#include "exchange/exchange_inner.h"
#include "exchange/retry.h"

enum { PREFIX_BYTES = 4096 };

/* ---- The order ---- */

static uint64_t hash_on(uint64_t hash, struct str text)
{
    return (hash ^ str_hash(text)) * 0x100000001b3u;
}

/* The conversation's beginning: instructions and the first thing the user said, which do not change from turn
 * to turn. */
static uint64_t prefix_of(const struct chat_request *r)
{
    uint64_t hash = hash_on(0, str_slice(r->prompt, 0, PREFIX_BYTES));
    if (r->n_inputs > 0) /* nothing of them is cached: only spread */
        return hash_on(hash, str_slice(r->inputs[0].text, 0, PREFIX_BYTES));
    for (size_t i = 0; i < r->n_messages; i++) {
        const struct chat_message *m = &r->messages[i];
        for (size_t k = 0; k < m->n_parts; k++)
            hash = hash_on(hash, str_slice(m->parts[k].text, 0, PREFIX_BYTES));
        if (m->role == CHAT_USER)
            break;
    }
    return hash;
}

static void order_add(struct exchange *x, const struct exchange_model *m)
{
    for (size_t i = 0; i < x->n_order; i++)
        if (x->order[i] == m)
            return; /* on its own and in a pool */
    if (x->n_order < ORDER_MOST)
        x->order[x->n_order++] = m;
}

/* A pool's members, the chosen one first. */
static void order_add_pool(struct exchange *x, const struct exchange_pool *pool)
{
    struct balance_load loads[BALANCE_MOST];
    x->by_latency |= pool->by == BALANCE_LOWEST_LATENCY;
    uint64_t prefix = pool->by == BALANCE_PREFIX ? prefix_of(x->request) : 0;
    for (size_t i = 0; i < pool->n; i++) {
        const struct exchange_model *m = exchange_world_model(x->world, pool->members[i]);
        struct exchange_health_status s;
        health_status(m->health, &s);
        loads[i] = (struct balance_load){.name = str_hash(m->name),
            .weight = pool->weights[i],
            .in_flight = s.in_flight,
            .latency_ms = s.latency_ms,
            .shut = s.full || s.breaker == BREAKER_OPEN};
    }
    for (size_t i; (i = balance_choose(pool->by, loads, pool->n, prefix, rand_u64())) != SIZE_MAX;) {
        loads[i].taken = true;
        order_add(x, exchange_world_model(x->world, pool->members[i]));
    }
}

static void order_make(struct exchange *x)
{
    x->order = arena_alloc(x->request->arena, ORDER_MOST * sizeof *x->order);
    for (size_t i = 0; i < x->decision.n_targets; i++) {
        const struct exchange_model *m = exchange_world_find(x->world, x->decision.targets[i]);
        if (m && m->pool.n > 0)
            order_add_pool(x, &m->pool);
        else if (m) /* the policy was compiled against this world's models */
            order_add(x, m);
    }
}

/* ---- The next ---- */

static bool any_busy(const struct exchange *x)
{
    for (int i = 0; i < LEGS; i++)
        if (x->legs[i].state != LEG_IDLE)
            return true;
    return false;
}

/* Tries are bounded by the targets and their retries; this bounds both together. */
static bool may_try(const struct exchange *x)
{
    return x->attempts.count + LEGS < ATTEMPTS_MOST;
}

/* False: none is left. */
static bool take_next(struct leg *leg)
{
    struct exchange *x = leg->x;
    while (x->next < x->n_order && may_try(x))
        if (leg_take(leg, x->order[x->next++], false))
            return true;
    if (x->sent || any_busy(x) || !x->passed || !may_try(x))
        return false;
    const struct exchange_model *best = x->passed;
    x->passed = NULL;
    return leg_take(leg, best, true);
}

void dispatch_next(struct leg *leg)
{
    if (!take_next(leg) && !cascade_returns(leg->x) && !any_busy(leg->x))
        exchange_fail_attempts(leg->x);
}

/* Its target had no turn to the end: should the one that answers break off half-way, it is the next. */
void dispatch_beaten(struct leg *leg)
{
    struct exchange *x = leg->x;
    if (leg->state != LEG_IDLE && x->next > 1)
        x->order[--x->next] = leg->model;
    leg_cancel(leg, "another target answers");
}

void dispatch_failed(struct leg *leg, const struct chat_failure *failure)
{
    struct exchange *x = leg->x;
    bool retryable = failure->retryable;
    int64_t left = x->deadline_ms == INT64_MAX ? INT64_MAX : x->deadline_ms - clock_mono_ms();
    int64_t delay =
        may_try(x) ? retry_delay(failure, leg->tried, leg->model->patience.retries, left, rand_u64()) : -1;
    leg_end(leg, failure);
    if (delay >= 0) {
        observe_retried(leg);
        leg_again(leg, delay);
    } else if (retryable) {
        dispatch_next(leg);
    } else if (!cascade_returns(x)) {
        exchange_fail_attempts(x); /* the request itself is at fault: nobody would answer it */
    }
}

/* ---- Hedging ---- */

static void on_hedge(void *ctx)
{
    struct exchange *x = ctx;
    if (x->winner || x->outcome || x->legs[1].state != LEG_IDLE || x->next >= x->n_order)
        return;
    if (take_next(&x->legs[1]))
        observe_hedged(&x->legs[1]);
}

void dispatch_begin(struct exchange *x)
{
    order_make(x);
    if (x->decision.hedge_ms > 0 && x->n_order > 1) {
        x->hedge = loop_timer_create(x->shard->loop, on_hedge, x);
        loop_timer_start(x->hedge, x->decision.hedge_ms);
    }
    dispatch_next(&x->legs[0]);
}
