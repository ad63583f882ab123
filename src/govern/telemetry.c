#include "govern/telemetry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "base/rand.h"
#include "govern/trace.h"
#include "router/router.h"

enum { TRIES = 5, FIRST_PAUSE_MS = 1000, MOST_PAUSE_MS = 30000, HEADERS = 16, FINISH_MS = 2000 };
#define WAITING_MOST (1 * MIB)

struct telemetry {
    struct egress *egress;
    struct meter *meter;
    _Atomic bool on;
    _Atomic uint64_t sample; /* of 2^53 */
    /* home loop: where spans go */
    struct egress_target *target; /* NULL: nowhere */
    struct egress_header headers[HEADERS + 1];
    size_t n_headers;
    struct arena *arena; /* the headers' */
    pthread_mutex_t mutex;
    struct buf waiting; /* and n_waiting: under the mutex */
    int n_waiting;
    /* home loop: the batch that is being sent */
    struct buf batch;
    int n_batch; /* 0: none */
    struct egress_transfer *transfer;
    int status, tries;
    int64_t next_ms, finish_ms;
    bool complained;
};

struct telemetry *telemetry_create(struct egress *egress, struct meter *meter)
{
    struct telemetry *t = must(calloc(1, sizeof *t));
    t->egress = egress;
    t->meter = meter;
    pthread_mutex_init(&t->mutex, NULL);
    buf_init(&t->waiting, WAITING_MOST);
    buf_init(&t->batch, WAITING_MOST + KIB);
    return t;
}

static void count(struct telemetry *t, struct str outcome, int n)
{
    const struct meter_labels labels = meter_labels(&outcome, 1);
    if (n > 0)
        meter_count(t->meter, METER_SPANS, &labels, n);
}

void telemetry_free(struct telemetry *t)
{
    if (!t)
        return;
    if (t->transfer)
        egress_close(t->transfer);
    egress_target_free(t->target);
    pthread_mutex_destroy(&t->mutex);
    buf_free(&t->waiting);
    buf_free(&t->batch);
    arena_free(t->arena);
    free(t);
}

bool telemetry_is_on(const struct telemetry *t)
{
    return atomic_load_explicit(&t->on, memory_order_relaxed);
}

bool telemetry_sample(const struct telemetry *t)
{
    return rand_u64() >> 11 < atomic_load_explicit(&t->sample, memory_order_relaxed);
}

void telemetry_add(struct telemetry *t, struct str spans, int n)
{
    pthread_mutex_lock(&t->mutex);
    bool room = t->waiting.len + spans.len + 1 <= WAITING_MOST;
    if (room) {
        if (t->waiting.len)
            buf_append_char(&t->waiting, ',');
        buf_append_str(&t->waiting, spans);
        t->n_waiting += n;
    }
    pthread_mutex_unlock(&t->mutex);
    if (!room)
        count(t, STR("dropped"), n);
}

/* ---- Sending ---- */

static void batch_over(struct telemetry *t, struct str outcome)
{
    count(t, outcome, t->n_batch);
    buf_clear(&t->batch);
    t->n_batch = t->tries = 0;
}

static void failed(struct telemetry *t, const char *why)
{
    int64_t pause = FIRST_PAUSE_MS << (t->tries < 5 ? t->tries : 5);
    if (!t->complained)
        log_warn("govern",
            "spans cannot be sent to the collector; they are kept for a while, then dropped: %s", why);
    t->complained = true;
    t->next_ms = clock_mono_ms() + (pause < MOST_PAUSE_MS ? pause : MOST_PAUSE_MS);
    if (++t->tries >= TRIES)
        batch_over(t, STR("dropped"));
}

static void on_status(void *ctx, int status)
{
    ((struct telemetry *)ctx)->status = status;
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct telemetry *t = ctx;
    bool again = code != 0 || t->status == 429 || t->status >= 500;
    if (code == 0 && t->status >= 200 && t->status < 300) {
        t->complained = false;
        batch_over(t, STR("sent"));
    } else if (again) {
        failed(t, code ? err->message : "it answers with an error");
    } else { /* it will never take these */
        t->tries = TRIES - 1;
        failed(t, "it refuses them");
    }
    egress_close(t->transfer); /* and the error with it */
    t->transfer = NULL;
}

static void batch_take(struct telemetry *t)
{
    pthread_mutex_lock(&t->mutex);
    if (t->n_waiting > 0)
        trace_export_write(buf_str(&t->waiting), WEIR_VERSION, &t->batch);
    t->n_batch = t->n_waiting;
    t->n_waiting = 0;
    buf_clear(&t->waiting);
    pthread_mutex_unlock(&t->mutex);
}

void telemetry_configure(struct telemetry *t, const struct telemetry_options *o)
{
    egress_target_free(t->target);
    arena_free(t->arena);
    t->target = o->target;
    t->arena = arena_create(256 * KIB);
    t->headers[0] = (struct egress_header){STR("Content-Type"), STR("application/json")};
    t->n_headers = 1;
    for (size_t i = 0; i < o->n_headers && i < HEADERS; i++)
        t->headers[t->n_headers++] = (struct egress_header){
            arena_copy(t->arena, o->headers[i].name), arena_copy(t->arena, o->headers[i].value)};
    atomic_store(&t->sample, (uint64_t)(o->sample * 0x1p53));
    atomic_store(&t->on, o->target != NULL);
    t->next_ms = 0;
    t->complained = false;
    if (o->target || t->transfer)
        return;
    if (t->n_batch == 0)
        batch_take(t);
    batch_over(t, STR("dropped"));
}

static void send(struct telemetry *t)
{
    struct error err;
    struct arena *a = arena_create(4 * KIB);
    struct egress_request request = {.method = "POST",
        .path = STR("/v1/traces"),
        .headers = t->headers,
        .n_headers = t->n_headers,
        .body = buf_str(&t->batch)};
    struct egress_handler handler = {on_status, NULL, on_done, t};
    t->status = 0;
    if (egress_open(t->egress, router_permit_telemetry(a, clock_mono_ms()), t->target, &request, &handler,
            &t->transfer, &err)) {
        t->transfer = NULL;
        failed(t, err.message);
    }
    arena_free(a);
}

void telemetry_look(struct telemetry *t)
{
    if (t->transfer || !t->target || clock_mono_ms() < t->next_ms)
        return;
    if (t->n_batch == 0)
        batch_take(t);
    if (t->n_batch > 0)
        send(t);
}

bool telemetry_finish(struct telemetry *t)
{
    if (!t || !t->target)
        return true;
    if (t->finish_ms == 0)
        t->finish_ms = clock_mono_ms() + FINISH_MS;
    telemetry_look(t);
    return (!t->transfer && t->n_batch == 0) || clock_mono_ms() > t->finish_ms;
}
