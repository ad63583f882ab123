/* The pool decides in one place, pool_run: on a timer of the home loop, which everything that may change the
 * decision sets off. What a model wants is read off its engine; nothing is kept twice. */
#include "engine/pool.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/engine_inner.h"
#include "engine/memory.h"

enum { TURN_MS = 10 * 1000, TURN_LOADS = 4, SHORT_LOOK_MS = 2000 };

struct engine_pool {
    struct loop *home;
    struct list members;
    struct loop_timer *timer;
    struct engine_pool_limits limits;
    int64_t memory_look_ms; /* when it is next asked what memory is left: each call pokes the pool */
};

/* ---- One engine ---- */

static bool takes_room(const struct engine *e)
{
    return e->process.pid != 0 && !e->options.inspect;
}

static bool idle(const struct engine *e)
{
    return e->status.state == ENGINE_UP && e->socket_io && list_empty(&e->open) && list_empty(&e->waiting);
}

static bool wishes(const struct engine *e)
{
    return e->status.state == ENGINE_UNLOADED && e->process.pid == 0 &&
           (e->preload_due || !list_empty(&e->waiting));
}

/* One that gave way joins the others at the end. */
static int64_t wished_since(const struct engine *e)
{
    if (e->preload_due)
        return 0;
    int64_t opened = list_item(e->waiting.next, struct engine_call, node)->opened_ms;
    return opened > e->left_ms ? opened : e->left_ms;
}

/* Calls that have waited for the model as long as they may. */
static void late_fail(struct engine *e, int64_t now, int64_t *due)
{
    if (e->status.state == ENGINE_UP && !e->leaving)
        return;
    list_each(node, after, &e->waiting) {
        struct engine_call *c = list_item(node, struct engine_call, node);
        int64_t late = c->opened_ms + e->options.wait_ms;
        if (late > now) {
            *due = late < *due ? late : *due;
            return;
        }
        call_fail(c, -1,
            e->status.state == ENGINE_STARTING
                ? "the local model was not loaded in time"
                : "there was no room in time to load the local model beside those in use");
    }
}

static void tend(struct engine *e, int64_t now, int64_t *due)
{
    late_fail(e, now, due);
    if (!list_empty(&e->open)) {
        if (now >= e->looked_ms + ENGINE_FILE_POLL_MS)
            supervisor_look(e);
        *due = e->looked_ms + ENGINE_FILE_POLL_MS < *due ? e->looked_ms + ENGINE_FILE_POLL_MS : *due;
    }
    if (e->leaving && e->status.state == ENGINE_UP && e->socket_io && list_empty(&e->open)) {
        e->left_ms = now;
        supervisor_unload(e, e->outdated ? "its file has changed" : "its turn is over");
        return;
    }
    int64_t keep_ms = engine_keep_ms(e);
    if (!idle(e) || keep_ms < 0)
        return;
    int64_t end = e->rested_ms + keep_ms;
    if (end <= now)
        supervisor_unload(e, "it was idle");
    else
        *due = end < *due ? end : *due;
}

/* ---- Room ---- */

/* Would `e` fit beside what is loaded? */
static bool fits(const struct engine_pool *p, const struct engine *e)
{
    int64_t all = e->weight_bytes + e->state_bytes; /* with what is loaded */
    int64_t unseen = all; /* less what the system's figure tells already: states that are allocated */
    int models = 1;
    list_each(node, after, &p->members) {
        const struct engine *m = list_item(node, struct engine, pool_node);
        if (!takes_room(m))
            continue;
        models++;
        all += m->weight_bytes + m->state_bytes;
        unseen += m->weight_bytes + (m->status.state == ENGINE_STARTING ? m->state_bytes : 0);
    }
    return (p->limits.models == 0 || models <= p->limits.models) &&
           (p->limits.memory == 0 || all <= p->limits.memory) && unseen <= engine_memory_available();
}

/* Which of two idle models goes first: one that is kept for ever last, else the one longest idle. */
static bool goes_before(struct engine *a, struct engine *b)
{
    bool kept_a = engine_keep_ms(a) < 0, kept_b = engine_keep_ms(b) < 0;
    return kept_a != kept_b ? kept_b : a->rested_ms < b->rested_ms;
}

/* What is loaded beside the one that asks. */
struct neighbours {
    int count;
    bool moving;           /* one of them is being loaded or is on its way out: wait for that */
    struct engine *idle;   /* the first to go */
    struct engine *oldest; /* of the busy ones, the one loaded longest */
};

static struct neighbours look_around(const struct engine_pool *p)
{
    struct neighbours n = {0};
    list_each(node, after, &p->members) {
        struct engine *m = list_item(node, struct engine, pool_node);
        if (!takes_room(m))
            continue;
        n.count++;
        if (m->status.state != ENGINE_UP || !m->socket_io || m->leaving)
            n.moving = true;
        else if (idle(m))
            n.idle = !n.idle || goes_before(m, n.idle) ? m : n.idle;
        else if (!n.oldest || m->up_since_ms < n.oldest->up_since_ms)
            n.oldest = m;
    }
    return n;
}

static int64_t turn_of(const struct engine_pool *p, const struct engine *e)
{
    int64_t loads = TURN_LOADS * e->load_ms;
    return p->limits.turn_ms > 0 ? p->limits.turn_ms : loads > TURN_MS ? loads : TURN_MS;
}

/* Loads `e`, or makes room for it; true when there may be more to do now. */
static bool admit(struct engine_pool *p, struct engine *e, int64_t now, int64_t *due)
{
    struct neighbours beside = {0};
    if (!e->options.inspect && !fits(p, e)) {
        beside = look_around(p);
        if (beside.count == 0)
            log_warn("engine", "%s: %lld MiB seem more than there is room for; trying", e->name,
                (long long)((e->weight_bytes + e->state_bytes) >> 20));
    }
    if (beside.count == 0) {
        supervisor_load(e);
        return true;
    }
    if (beside.moving)
        return false;
    if (beside.idle) {
        supervisor_unload(beside.idle, "another model needs its room");
        return false;
    }
    int64_t end = beside.oldest->up_since_ms + turn_of(p, beside.oldest);
    if (end <= now)
        beside.oldest->leaving = true;
    else
        *due = end < *due ? end : *due;
    return false;
}

/* Others need the memory that an idle model holds: the longest idle one goes, and in a while perhaps the
 * next. Not as soon as it rests: where it is itself what memory is short of, each of a chat's turns would
 * load it. */
static void give_back(struct engine_pool *p, int64_t now, int64_t *due)
{
    struct engine *idlest = look_around(p).idle;
    if (!idlest)
        return;
    const int64_t end = idlest->rested_ms + turn_of(p, idlest);
    int64_t next = end > p->memory_look_ms ? end : p->memory_look_ms;
    if (next <= now) {
        const int64_t reserve = p->limits.reserve > 0 ? p->limits.reserve : engine_memory_reserve();
        next = p->memory_look_ms = now + SHORT_LOOK_MS;
        if (engine_memory_available() < reserve)
            supervisor_unload(idlest, "memory is short");
    }
    *due = next < *due ? next : *due;
}

/* ---- The decision ---- */

/* An inspecting engine needs no room and never waits for any. */
static struct engine *first_wish(const struct engine_pool *p)
{
    struct engine *first = NULL;
    list_each(node, after, &p->members) {
        struct engine *m = list_item(node, struct engine, pool_node);
        if (!wishes(m))
            continue;
        if (m->options.inspect)
            return m;
        if (!first || wished_since(m) < wished_since(first))
            first = m;
    }
    return first;
}

static void pool_run(void *ctx)
{
    struct engine_pool *p = ctx;
    struct engine *e;
    int64_t now = clock_mono_ms(), due = INT64_MAX;
    list_each(node, after, &p->members) {
        tend(list_item(node, struct engine, pool_node), now, &due);
    }
    give_back(p, now, &due);
    while ((e = first_wish(p)) && admit(p, e, now, &due))
        continue;
    if (due != INT64_MAX)
        loop_timer_start(p->timer, due > now ? due - now : 0);
}

struct engine_pool *engine_pool_create(struct loop *home)
{
    struct engine_pool *p = must(calloc(1, sizeof *p));
    p->home = home;
    list_init(&p->members);
    p->timer = loop_timer_create(home, pool_run, p);
    return p;
}

void engine_pool_free(struct engine_pool *p)
{
    if (!p)
        return;
    loop_timer_free(p->timer);
    free(p);
}

void engine_pool_limit(struct engine_pool *p, const struct engine_pool_limits *limits)
{
    p->limits = *limits;
    loop_timer_start(p->timer, 0);
}

void pool_join(struct engine *e)
{
    list_push_back(&e->options.pool->members, &e->pool_node);
    pool_poke(e);
}

void pool_leave(struct engine *e)
{
    list_remove(&e->pool_node);
    pool_poke(e);
}

void pool_poke(struct engine *e)
{
    if (e->options.pool)
        loop_timer_start(e->options.pool->timer, 0);
}
