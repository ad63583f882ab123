/* Rates where gateways share a state: of requests and tokens a minute, and requests at a time, each lets
 * through its part, limit / (gateways that the key or team asked within a minute). What it was asked for each
 * tells the state every 2 s, and reads who else was. Until that is known all others that live count, so that
 * together they let through no more than one would. Where a key moves to another gateway it is up to twice
 * that, for a minute. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "govern/budget_inner.h"
#include "json/json.h"

/* SURE_MS: two beats; whoever was asked at the same time has said so by then. */
enum { ASKED_MS = 60000, SURE_MS = 4000, NAMES_MOST = 4 * MIB };

int64_t budget_parts(const struct budget *b, struct budget_account *a, int64_t now_ns)
{
    int64_t n = 1 + (a->sharers >= 0 && a->sharers < b->others ? a->sharers : b->others);
    if (n != a->parts) { /* as much was taken, of more or less */
        rate_rescale(&a->requests, n, a->parts, now_ns);
        rate_rescale(&a->tokens, n, a->parts, now_ns);
        a->parts = n;
    }
    return n;
}

int64_t budget_part(int64_t limit, int64_t parts)
{
    return limit <= 0 || parts == 1 ? limit : limit > parts ? limit / parts : 1;
}

void budget_asked(const struct budget *b, struct budget_account *a)
{
    const struct store_limits *l = &a->limits;
    if (!b->shared || (l->requests < 0 && l->tokens < 0 && l->parallel < 0))
        return;
    int64_t now_ms = clock_mono_ms();
    if (a->asked_ms == 0)
        a->since_ms = now_ms;
    a->asked_ms = now_ms;
}

/* The names of those that were asked of late, as a JSON array; false: there are none. */
static bool asked_gather(struct budget *b, struct buf *names)
{
    struct json_writer w;
    bool some = false;
    json_writer_init(&w, names);
    json_array_begin(&w);
    pthread_mutex_lock(&b->mutex);
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < b->n; i++) {
        struct budget_account *a = b->accounts[i];
        if (a->asked_ms == 0 || now_ms - a->asked_ms > ASKED_MS) {
            a->asked_ms = 0;
            a->sharers = -1;
        } else if (names->len < NAMES_MOST - KIB) {
            json_write_text(&w, a->name);
            some = true;
        } else {
            a->sharers = -1; /* of further ones all others count */
        }
    }
    pthread_mutex_unlock(&b->mutex);
    json_array_end(&w);
    return some;
}

static void on_shared(void *ctx, struct str name, int64_t others)
{
    struct budget *b = ctx;
    pthread_mutex_lock(&b->mutex);
    const uint32_t *at = map_find(&b->by_name, name);
    struct budget_account *a = at ? b->accounts[*at] : NULL;
    if (a && clock_mono_ms() - a->since_ms >= SURE_MS)
        a->sharers = others;
    pthread_mutex_unlock(&b->mutex);
}

/* As long as nobody knows, all others count. */
static void health_note(struct budget *b, int rc, const struct error *err)
{
    if (rc && !b->rates_fail)
        log_error("govern", "who shares a rate is not known, so all gateways count: %s", err->message);
    else if (rc == 0 && b->rates_fail)
        log_info("govern", "who shares a rate is known again");
    b->rates_fail = rc != 0;
    if (rc == 0)
        return;
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < b->n; i++)
        b->accounts[i]->sharers = -1;
    pthread_mutex_unlock(&b->mutex);
}

void budget_rates_share(struct budget *b, int64_t life_ms)
{
    struct buf names;
    struct error err;
    buf_init(&names, NAMES_MOST);
    int rc = !asked_gather(b, &names) ? 0
             : names.failed
                 ? error_set(&err, names.failed, "there are too many keys")
                 : store_lease_share(b->store, b->spender, life_ms, buf_str(&names), on_shared, b, &err);
    buf_free(&names);
    health_note(b, rc, &err);
}
