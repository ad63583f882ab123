#include "exchange/health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"

struct exchange_health {
    _Atomic int references;
    char *name, *identity;
    pthread_mutex_t mutex; /* guards what follows */
    struct breaker_policy policy;
    struct breaker breaker;
    struct gate gate;
    struct balance_ewma latency;
    int64_t probed_ms, probe_every_ms; /* the last one; how far apart they are now */
};

/*  QUEUED --> GRANTED (on its way to the loop) --> gone
 *     +-----------+--> given up                          a place that was granted meanwhile is handed on */
struct exchange_wait {
    struct gate_waiter waiter;
    struct exchange_health *health; /* held */
    struct loop *loop;
    void (*granted)(void *ctx);
    void *ctx;
    bool has_place; /* under the health's mutex */
    bool given_up;  /* its loop's */
};

static void on_granted(void *ctx);

struct exchange_health *health_create(
    struct str name, struct str identity, const struct exchange_health_options *o)
{
    struct exchange_health *h = must(calloc(1, sizeof *h));
    atomic_init(&h->references, 1);
    h->name = must(strndup(name.len ? name.data : "", name.len));
    h->identity = must(strndup(identity.len ? identity.data : "", identity.len));
    pthread_mutex_init(&h->mutex, NULL);
    h->policy = o->breaker;
    gate_init(&h->gate, o->max_in_flight, o->queue_length);
    return h;
}

struct exchange_health *health_ref(struct exchange_health *h)
{
    atomic_fetch_add(&h->references, 1);
    return h;
}

void health_unref(struct exchange_health *h)
{
    if (!h || atomic_fetch_sub(&h->references, 1) > 1)
        return;
    pthread_mutex_destroy(&h->mutex);
    free(h->name);
    free(h->identity);
    free(h);
}

bool health_is(const struct exchange_health *h, struct str name, struct str identity)
{
    return str_is(name, h->name) && str_is(identity, h->identity);
}

/* Under the mutex: whoever waits and may go now. */
static void let_in(struct exchange_health *h)
{
    struct gate_waiter *next;
    while ((next = gate_next(&h->gate)) != NULL) {
        struct exchange_wait *w = container_of(next, struct exchange_wait, waiter);
        w->has_place = true;
        loop_post(w->loop, on_granted, w);
    }
}

void health_configure(struct exchange_health *h, const struct exchange_health_options *o)
{
    pthread_mutex_lock(&h->mutex);
    h->policy = o->breaker;
    h->gate.most = o->max_in_flight;
    h->gate.room = o->queue_length;
    let_in(h);
    pthread_mutex_unlock(&h->mutex);
}

bool health_admit(struct exchange_health *h)
{
    pthread_mutex_lock(&h->mutex);
    bool admitted = breaker_admit(&h->breaker, &h->policy, clock_mono_rough_ms());
    pthread_mutex_unlock(&h->mutex);
    return admitted;
}

bool health_result(
    struct exchange_health *h, enum breaker_result r, int64_t retry_after_ms, double latency_ms)
{
    int64_t now_ms = clock_mono_rough_ms();
    pthread_mutex_lock(&h->mutex);
    bool opened = breaker_result(&h->breaker, &h->policy, r, retry_after_ms, now_ms);
    if (latency_ms >= 0)
        balance_ewma_add(&h->latency, latency_ms, now_ms);
    pthread_mutex_unlock(&h->mutex);
    return opened;
}

bool health_probe_due(struct exchange_health *h, int64_t every_ms, bool always)
{
    int64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&h->mutex);
    h->probe_every_ms = breaker_probe_every(&h->breaker, every_ms);
    bool due = (h->probed_ms == 0 || now_ms >= h->probed_ms + h->probe_every_ms) &&
               (always || h->breaker.state == BREAKER_OPEN);
    if (due)
        h->probed_ms = now_ms;
    pthread_mutex_unlock(&h->mutex);
    return due;
}

void health_probed(struct exchange_health *h, bool there)
{
    enum { LATE_MS = 2000 }; /* probes are looked at once a second */
    int64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&h->mutex);
    if (there)
        breaker_answered(&h->breaker);
    else {
        breaker_result(&h->breaker, &h->policy, BREAKER_FAILED, -1, now_ms);
        breaker_missed(&h->breaker, h->probe_every_ms + LATE_MS, now_ms);
    }
    pthread_mutex_unlock(&h->mutex);
}

enum gate_answer health_enter(struct exchange_health *h, uint64_t key, struct loop *loop,
    void (*granted)(void *), void *ctx, struct exchange_wait **wait)
{
    struct exchange_wait *w = must(calloc(1, sizeof *w));
    *w = (struct exchange_wait){.health = h, .loop = loop, .granted = granted, .ctx = ctx};
    list_init(&w->waiter.link);
    pthread_mutex_lock(&h->mutex);
    enum gate_answer answer = gate_enter(&h->gate, &w->waiter, key);
    if (answer == GATE_WAIT)
        health_ref(h);
    pthread_mutex_unlock(&h->mutex);
    if (answer == GATE_WAIT)
        *wait = w;
    else
        free(w);
    return answer;
}

void health_leave(struct exchange_health *h)
{
    pthread_mutex_lock(&h->mutex);
    gate_leave(&h->gate);
    let_in(h);
    pthread_mutex_unlock(&h->mutex);
}

static void wait_free(struct exchange_wait *w)
{
    health_unref(w->health);
    free(w);
}

static void on_granted(void *ctx)
{
    struct exchange_wait *w = ctx;
    if (w->given_up)
        health_leave(w->health);
    else
        w->granted(w->ctx);
    wait_free(w);
}

void health_give_up(struct exchange_wait *w)
{
    pthread_mutex_lock(&w->health->mutex);
    bool queued = !w->has_place;
    if (queued)
        gate_give_up(&w->health->gate, &w->waiter);
    pthread_mutex_unlock(&w->health->mutex);
    w->given_up = true;
    if (queued)
        wait_free(w);
}

void health_status(struct exchange_health *h, struct exchange_health_status *out)
{
    int64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&h->mutex);
    const struct breaker *b = &h->breaker;
    *out = (struct exchange_health_status){
        .breaker = b->state == BREAKER_OPEN && now_ms >= b->until_ms ? BREAKER_HALF_OPEN : b->state,
        .in_flight = h->gate.in_flight,
        .waiting = h->gate.waiting,
        .opened = b->opened,
        .latency_ms = balance_ewma_get(&h->latency, now_ms),
        .full = h->gate.most > 0 && h->gate.in_flight >= h->gate.most};
    pthread_mutex_unlock(&h->mutex);
}
