/* Leases: what this gateway may spend of a budget that it shares with others, and the thread that takes more
 * and gives back. The state decides (store.h); here is only what it granted.
 *
 *   granted = own (spent) + reserved + free            to reserve takes of `free`: no state, no waiting
 *
 *   free falls below `low` -----------> take: half of what is left, shared by all gateways
 *   somebody waits for more -----------> take; others, of whom it is wanted, give back what is free (WANTED)
 *   nothing happened for a while ------> give back what is free
 *   not seen by the state for too long -> nothing is reserved; the state forgets it a little later
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "govern/budget_inner.h"

/* Of LIFE_MS the state counts by its clock from when it saw us, we from before we asked, and we stop sooner.
 */
enum { BEAT_MS = 2000, LIFE_MS = 10000, SURE_MS = 8000 };
enum { ROUND_MS = 50, IDLE_MS = 10000, GIVEN_AT_ONCE = 64 };

/*   waiting --> answered (on its way to the loop) --> told --> ended
 *      +-----------+--> ended                                           ended before it was told: nobody is
 */
struct budget_wait {
    struct list link; /* of the budget's; guarded by its mutex, as is `answered` */
    struct budget_ticket ticket;
    int64_t nano_usd;
    struct loop *loop;
    void (*told)(void *ctx);
    void *ctx;
    bool answered;
    bool telling, ended; /* its loop's */
    int code;
    struct budget_refusal refusal;
    struct error err;
};

static int64_t free_of(const struct budget_account *a)
{
    return a->granted - a->own[PERIOD_TOTAL] - a->reserved;
}

/* ---- Asking for more ---- */

static void ask(struct budget *b, struct budget_account *a)
{
    if (a->asked)
        return;
    if (b->n_asking == b->asking_room) {
        b->asking_room = b->asking_room ? 2 * b->asking_room : 16;
        b->asking = must(reallocarray(b->asking, b->asking_room, sizeof *b->asking));
    }
    a->asked = true;
    b->asking[b->n_asking++] = a;
    b->lease_work = true;
    pthread_cond_signal(&b->lease_wake);
}

bool budget_lease_has(struct budget *b, struct budget_account *a, int64_t nano_usd)
{
    if (!b->shared || !budget_has_money(a))
        return true;
    return free_of(a) >= nano_usd && clock_mono_ms() < b->lease_until_ms;
}

void budget_lease_spent(struct budget *b, struct budget_account *a)
{
    if (b->shared && budget_has_money(a) && free_of(a) < a->low)
        ask(b, a);
}

void budget_lease_freed(struct budget *b)
{
    if (!b->shared || list_empty(&b->waits))
        return;
    b->lease_freed = true;
    pthread_cond_signal(&b->lease_wake);
}

void budget_lease_review(struct budget *b, struct budget_account *a)
{
    if (b->shared && free_of(a) > 0) /* what is taken later is of the new budget */
        a->reviewed = true;
}

int budget_lease_held(const struct budget *b, const struct budget_account *a, int64_t nano_usd,
    struct budget_refusal *refusal, struct error *err)
{
    char name[80];
    *refusal = (struct budget_refusal){1000, "requests", true};
    if (clock_mono_ms() >= b->lease_until_ms)
        return error_set(err, ERROR_BUSY,
            "what is left of the budget of %s is not known for now, because the state does not answer: try "
            "again soon",
            budget_who(a, name));
    return error_set(err, ERROR_BUSY,
        "other gateways hold what is left of the budget of %s, and this may cost %.6g USD: try again soon",
        budget_who(a, name), (double)nano_usd * 1e-9);
}

/* ---- Those who wait ---- */

struct budget_wait *budget_wait_begin(
    const struct budget_ticket *t, int64_t nano_usd, struct loop *loop, void (*told)(void *ctx), void *ctx)
{
    struct budget *b = t->budget;
    struct budget_wait *w = must(calloc(1, sizeof *w));
    *w = (struct budget_wait){
        .ticket = *t, .nano_usd = nano_usd, .loop = loop, .told = told, .ctx = ctx, .code = ERROR_BUSY};
    pthread_mutex_lock(&b->mutex);
    list_push_back(&b->waits, &w->link);
    for (int i = 0; i < t->n_levels; i++)
        if (!budget_lease_has(b, t->levels[i], nano_usd))
            ask(b, t->levels[i]);
    budget_lease_freed(b); /* or something was, since it was refused */
    pthread_mutex_unlock(&b->mutex);
    return w;
}

static void on_told(void *ctx)
{
    struct budget_wait *w = ctx;
    w->telling = true;
    if (w->ended)
        free(w);
    else
        w->told(w->ctx);
}

int budget_wait_end(struct budget_wait *w, struct budget_refusal *refusal, struct error *err)
{
    struct budget *b = w->ticket.budget;
    pthread_mutex_lock(&b->mutex);
    bool answered = w->answered;
    if (!answered) {
        list_remove(&w->link);
        w->code = budget_try(&w->ticket, w->nano_usd, &w->refusal, &w->err);
    }
    pthread_mutex_unlock(&b->mutex);
    int rc = w->code;
    *refusal = w->refusal;
    if (rc)
        (void)error_set(err, rc, "%s", w->err.message);
    w->ended = true;
    if (!answered || w->telling)
        free(w);
    return rc;
}

static void answer(struct budget_wait *w, int code)
{
    w->code = code;
    w->answered = true;
    list_remove(&w->link);
    loop_post(w->loop, on_told, w);
}

/* Is it certain that the level will not have so much? Then `w` is told. */
static bool is_hopeless(struct budget *b, struct budget_wait *w, const struct budget_account *a)
{
    enum period p = PERIOD_TOTAL;
    int64_t rest = budget_rest(a, &p);
    if (a->rest < INT64_MAX && rest > free_of(a) + a->rest)
        rest = free_of(a) + a->rest;
    if (rest >= w->nano_usd)
        return false;
    answer(w, budget_too_little(a, p, w->nano_usd, rest, &w->refusal, b->day, &w->err));
    return true;
}

/* In turn: whoever there is enough for has it reserved, and goes on. */
static void waits_serve(struct budget *b)
{
    pthread_mutex_lock(&b->mutex);
    b->lease_freed = false;
    list_each(node, after, &b->waits) {
        struct budget_wait *w = list_item(node, struct budget_wait, link);
        const struct budget_ticket *t = &w->ticket;
        bool enough = true, told = false;
        for (int i = 0; i < t->n_levels && !told; i++) {
            told = budget_has_money(t->levels[i]) && is_hopeless(b, w, t->levels[i]);
            enough = enough && budget_lease_has(b, t->levels[i], w->nano_usd);
        }
        if (told || !enough)
            continue;
        answer(w, budget_try(t, w->nano_usd, &w->refusal, &w->err));
    }
    pthread_mutex_unlock(&b->mutex);
}

/* ---- The thread ---- */

/* Of several steps none of which keeps the next one from its turn: the first that fails is told. */
struct steps {
    int rc;
    struct error err;
};

static void steps_note(struct steps *s, int rc, const struct error *err)
{
    if (rc == 0 || s->rc)
        return;
    s->rc = rc;
    s->err = *err;
}

/* One account that always fails is asked for now and then: what is told is that something fails, and once
 * nothing has for a while, that nothing does. */
static void health_note(struct budget *b, int rc, const struct error *err)
{
    int64_t now_ms = clock_mono_ms();
    b->lease_fails = rc != 0;
    if (rc)
        b->lease_failed_ms = now_ms;
    if (rc && !b->lease_told)
        log_error(
            "govern", "what gateways hold of their budgets cannot be told apart for now: %s", err->message);
    else if (b->lease_told && now_ms - b->lease_failed_ms >= LIFE_MS)
        log_info("govern", "what gateways hold of their budgets is known again");
    else
        return;
    b->lease_told = rc != 0;
}

/* The state has forgotten what was granted; what runs is to be covered anew. */
static void leases_void(struct budget *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct budget_account *a = b->accounts[i];
        a->granted = a->own[PERIOD_TOTAL];
        if (budget_has_money(a) && a->reserved > 0)
            ask(b, a);
    }
}

static int beat(struct budget *b, struct error *err)
{
    bool renewed;
    int64_t others, asked_ms = clock_mono_ms();
    int rc = store_lease_beat(b->store, b->spender, LIFE_MS, &renewed, &others, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&b->mutex);
    if (renewed)
        leases_void(b);
    b->others = others;
    b->lease_until_ms = asked_ms + SURE_MS;
    pthread_mutex_unlock(&b->mutex);
    return 0;
}

static struct store_lease lease_of(const struct budget *b, const struct budget_account *a)
{
    return (struct store_lease){.kind = a->limits.kind,
        .name = str_from(a->name + 1),
        .spender = b->spender,
        .want = a->own[PERIOD_TOTAL] + a->reserved,
        .starts = {period_start(PERIOD_TOTAL, b->day), period_start(PERIOD_DAY, b->day),
            period_start(PERIOD_WEEK, b->day), period_start(PERIOD_MONTH, b->day)}};
}

static int take(struct budget *b, struct budget_account *a, struct error *err)
{
    int64_t granted, rest;
    pthread_mutex_lock(&b->mutex);
    budget_day_set(b, period_day(clock_wall_ms()));
    bool has_money = budget_has_money(a);
    struct store_lease l = lease_of(b, a);
    if (a->wanted > 0)
        l.must = l.want + a->least;
    l.want += a->wanted;
    pthread_mutex_unlock(&b->mutex);
    int rc = has_money ? store_lease_take(b->store, &l, &granted, &rest, err) : 0;
    if (rc || !has_money)
        return rc;
    if (granted < 0)
        return beat(b, err); /* forgotten: whoever waits asks again */
    pthread_mutex_lock(&b->mutex);
    a->granted = granted;
    a->rest = rest;
    a->low = free_of(a) > 0 ? free_of(a) / 2 : 0;
    pthread_mutex_unlock(&b->mutex);
    return 0;
}

/* Those that are to have more, with what is waited for; the caller's array. */
static struct budget_account **takes_gather(struct budget *b, size_t *n)
{
    pthread_mutex_lock(&b->mutex);
    b->lease_work = false;
    list_each(node, after, &b->waits) {
        struct budget_wait *w = list_item(node, struct budget_wait, link);
        for (int i = 0; i < w->ticket.n_levels; i++)
            if (!budget_lease_has(b, w->ticket.levels[i], w->nano_usd))
                ask(b, w->ticket.levels[i]);
    }
    for (size_t i = 0; i < b->n_asking; i++) {
        b->asking[i]->wanted = 0;
        b->asking[i]->least = b->asking[i]->rest = INT64_MAX;
    }
    list_each(node, after, &b->waits) {
        struct budget_wait *w = list_item(node, struct budget_wait, link);
        for (int i = 0; i < w->ticket.n_levels; i++) {
            struct budget_account *a = w->ticket.levels[i];
            if (!a->asked)
                continue;
            a->wanted += w->nano_usd;
            a->least = w->nano_usd < a->least ? w->nano_usd : a->least;
        }
    }
    struct budget_account **asking = b->asking;
    *n = b->n_asking;
    for (size_t i = 0; i < *n; i++)
        asking[i]->asked = false;
    b->asking = NULL;
    b->n_asking = b->asking_room = 0;
    b->lease_work = false;
    pthread_mutex_unlock(&b->mutex);
    return asking;
}

static void takes_make(struct budget *b, struct steps *s)
{
    size_t n;
    struct error err;
    struct budget_account **asking = takes_gather(b, &n);
    for (size_t i = 0; i < n; i++)
        steps_note(s, take(b, asking[i], &err), &err);
    waits_serve(b);
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < n; i++)
        asking[i]->rest = INT64_MAX; /* of a moment ago */
    pthread_mutex_unlock(&b->mutex);
    free(asking);
}

/* ---- Giving back ---- */

struct giving {
    struct budget *budget;
    struct store_lease leases[GIVEN_AT_ONCE];
    size_t n;
};

/* The mutex is held. From here on it is not spent any more, whatever becomes of telling the state. */
static void give_note(struct giving *g, struct budget_account *a)
{
    if (g->n == GIVEN_AT_ONCE || free_of(a) <= 0)
        return;
    g->leases[g->n] = lease_of(g->budget, a);
    a->granted = g->leases[g->n++].want;
    a->low = 0;
}

static void gives_make(struct giving *g, struct steps *s)
{
    struct error err;
    for (size_t i = 0; i < g->n; i++)
        steps_note(s, store_lease_give(g->budget->store, &g->leases[i], &err), &err);
}

static void on_wanted(void *ctx, struct str kind, struct str name)
{
    struct giving *g = ctx;
    char joined[80] = {str_is(kind, "key") ? 'k' : 't'};
    if (name.len >= sizeof joined - 1)
        return;
    memcpy(joined + 1, name.data, name.len);
    pthread_mutex_lock(&g->budget->mutex);
    const uint32_t *at = map_find(&g->budget->by_name, (struct str){joined, name.len + 1});
    if (at)
        give_note(g, g->budget->accounts[*at]);
    pthread_mutex_unlock(&g->budget->mutex);
}

static void wanted_give(struct budget *b, struct steps *s)
{
    struct giving g = {.budget = b};
    struct error err;
    pthread_mutex_lock(&b->mutex);
    bool limited = b->n_limited > 0;
    pthread_mutex_unlock(&b->mutex);
    if (limited)
        steps_note(s, store_lease_wanted(b->store, b->spender, on_wanted, &g, &err), &err);
    gives_make(&g, s);
}

/* Those whose budget is another one, and `idle`: those that spent nothing since the last time. */
static void unused_give(struct budget *b, bool idle, struct steps *s)
{
    struct giving g = {.budget = b};
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < b->n && g.n < GIVEN_AT_ONCE; i++) {
        struct budget_account *a = b->accounts[i];
        if (a->reviewed || (idle && a->reserved == 0 && a->rested == a->own[PERIOD_TOTAL]))
            give_note(&g, a);
        if (budget_has_money(a) && free_of(a) < 0)
            ask(b, a);
        a->reviewed = false;
        if (idle)
            a->rested = a->own[PERIOD_TOTAL];
    }
    pthread_mutex_unlock(&b->mutex);
    gives_make(&g, s);
}

struct agenda {
    int64_t beat_ms, look_ms, unused_ms, idle_ms; /* when each is due */
};

static bool is_due(int64_t *at_ms, int64_t every_ms)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms < *at_ms)
        return false;
    *at_ms = now_ms + every_ms;
    return true;
}

static void turn(struct budget *b, struct agenda *next, bool work, struct steps *s)
{
    struct error err;
    bool beats = is_due(&next->beat_ms, BEAT_MS);
    if (beats)
        steps_note(s, beat(b, &err), &err);
    if (s->rc) { /* nobody answers */
        next->beat_ms = 0;
        waits_serve(b);
        return;
    }
    if (beats && b->others > 0)
        budget_rates_share(b, LIFE_MS);
    bool look = is_due(&next->look_ms, ROUND_MS);
    if (look)
        wanted_give(b, s);
    if (is_due(&next->unused_ms, 1000))
        unused_give(b, is_due(&next->idle_ms, IDLE_MS), s);
    if (work || look)
        takes_make(b, s);
    else
        waits_serve(b);
}

/* Waits for something to do; false: no more. */
static bool work_wait(struct budget *b, bool *work)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ROUND_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&b->mutex);
    bool late = b->lease_fails; /* not at once again */
    while (!b->lease_stop && (late || (!b->lease_work && !b->lease_freed)) &&
           pthread_cond_timedwait(&b->lease_wake, &b->mutex, &until) != ETIMEDOUT)
        continue;
    *work = b->lease_work;
    bool stop = b->lease_stop;
    pthread_mutex_unlock(&b->mutex);
    return !stop;
}

static void *leaser_main(void *ctx)
{
    struct budget *b = ctx;
    struct agenda next = {clock_mono_ms() + BEAT_MS, 0, 0, clock_mono_ms() + IDLE_MS};
    bool work;
    while (work_wait(b, &work)) {
        struct steps steps = {0};
        turn(b, &next, work, &steps);
        health_note(b, steps.rc, &steps.err);
    }
    return NULL;
}

int budget_lease_start(struct budget *b, struct error *err)
{
    if (!store_is_shared(b->store))
        return 0;
    pthread_mutex_lock(&b->mutex);
    b->shared = true;
    pthread_mutex_unlock(&b->mutex);
    int rc = beat(b, err);
    if (rc)
        return rc;
    b->has_leaser = pthread_create(&b->leaser, NULL, leaser_main, b) == 0;
    return b->has_leaser
               ? 0
               : error_set(err, ERROR_MEMORY,
                     "cannot start the thread that shares budgets with other gateways: raise the limit "
                     "(ulimit -u)");
}

void budget_lease_stop(struct budget *b)
{
    struct error err;
    if (!b->shared)
        return;
    pthread_mutex_lock(&b->mutex);
    b->lease_stop = true;
    b->lease_until_ms = 0;
    pthread_cond_signal(&b->lease_wake);
    pthread_mutex_unlock(&b->mutex);
    if (b->has_leaser)
        pthread_join(b->leaser, NULL);
    if (store_lease_end(b->store, b->spender, &err))
        log_warn(
            "govern", "what this gateway held of budgets is free in %d s: %s", LIFE_MS / 1000, err.message);
}
