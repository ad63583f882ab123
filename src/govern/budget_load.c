/* What the state says of budgets: limits when they change, what others spent, four times a second; then only
 * the rows that were written since. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "govern/budget_inner.h"

/* Where gateways share a state, what others spend is asked for more often. */
enum { REFRESH_MS = 250, REFRESH_SHARED_MS = 50, NAME_MOST = 64 };

/* ---- Limits ---- */

struct limits_read {
    struct arena *arena;
    struct store_limits *rows;
    size_t n, room;
};

static int limits_row(void *ctx, const struct store_limits *row)
{
    struct limits_read *r = ctx;
    if (row->name.len >= NAME_MOST)
        return 0; /* none of ours: no key or team has such a name */
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->rows = must(reallocarray(r->rows, r->room, sizeof *r->rows));
    }
    struct store_limits *l = &r->rows[r->n++];
    *l = *row;
    l->kind = str_is(row->kind, "key") ? STR("key") : STR("team");
    l->name = arena_copy(r->arena, row->name);
    l->models = arena_copy(r->arena, row->models);
    return 0;
}

static void limits_take(struct budget *b, struct budget_account *a, const struct store_limits *l)
{
    struct str name = a->limits.name;
    if (memcmp(a->limits.usd, l->usd, sizeof l->usd) != 0)
        budget_lease_review(b, a);
    free(a->models);
    a->models = l->models.len > 0 ? must(strndup(l->models.data, l->models.len)) : NULL;
    a->limits = *l;
    a->limits.name = name;
    a->limits.models = str_from(a->models);
}

static void limits_install(struct budget *b, const struct limits_read *r)
{
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < b->n; i++)
        b->accounts[i]->limited = false;
    for (size_t i = 0; i < r->n; i++) {
        struct budget_account *a =
            budget_account_of(b, str_is(r->rows[i].kind, "key") ? 'k' : 't', r->rows[i].name);
        limits_take(b, a, &r->rows[i]);
        a->limited = true;
    }
    b->n_limited = r->n;
    for (size_t i = 0; i < b->n; i++) {
        struct budget_account *a = b->accounts[i];
        const struct store_limits none = limits_none(a->limits.kind, a->limits.name);
        if (!a->limited)
            limits_take(b, a, &none);
    }
    pthread_mutex_unlock(&b->mutex);
}

/* The count is read first: a change in between is seen the next time. */
static int limits_refresh(struct budget *b, struct error *err)
{
    int64_t changes = store_change_count(b->store);
    if (changes == b->changes)
        return 0;
    struct limits_read r = {.arena = arena_create(64 * MIB)};
    int rc = store_limits_list(b->store, limits_row, &r, err);
    if (rc == 0) {
        limits_install(b, &r);
        b->changes = changes;
    }
    free(r.rows);
    arena_free(r.arena);
    return rc;
}

/* ---- What was spent ---- */

/* All of it is read anew; until it is there, what was read before counts. */
static void all_begin(struct budget *b)
{
    struct error err;
    for (size_t i = 0; i < b->n_seen; i++)
        free(b->seen[i]);
    b->n_seen = 0;
    map_free(&b->by_row);
    if (map_init(&b->by_row, 256, &err))
        abort();
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < b->n; i++)
        memset(b->accounts[i]->reading, 0, sizeof b->accounts[i]->reading);
    pthread_mutex_unlock(&b->mutex);
}

static void all_install(struct budget *b)
{
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < b->n; i++)
        memcpy(b->accounts[i]->others, b->accounts[i]->reading, sizeof b->accounts[i]->others);
    pthread_mutex_unlock(&b->mutex);
}

static struct str key_of(const int64_t *id)
{
    return (struct str){(const char *)id, sizeof *id};
}

static struct budget_seen *seen_add(struct budget *b, int64_t id)
{
    struct budget_seen *s = must(calloc(1, sizeof *s));
    struct error err;
    bool added;
    s->id = id;
    if (b->n_seen == b->seen_room) {
        b->seen_room = b->seen_room ? 2 * b->seen_room : 256;
        b->seen = must(reallocarray(b->seen, b->seen_room, sizeof(struct budget_seen *)));
    }
    if (map_add(&b->by_row, key_of(&s->id), (uint32_t)b->n_seen, &added, &err))
        abort();
    return b->seen[b->n_seen++] = s;
}

struct spent_read {
    struct budget *budget;
    bool all; /* the first time, and once a day */
    int64_t today;
    bool again; /* a row changed of which nobody knows what it was */
};

/* `more` nano-dollars than were known. The mutex is held. */
static void spent_add(const struct spent_read *r, struct budget_account *a, int64_t day, int64_t more)
{
    if (!a)
        return;
    budget_roll(r->budget, a);
    for (int p = 0; p < PERIODS; p++)
        if (period_start((enum period)p, day) == a->start[p])
            *(r->all ? &a->reading[p] : &a->others[p]) += more;
}

/* The row's sum takes the place of what it was. Of days past nothing changes as a rule: only sums are kept.
 */
static int spent_row(void *ctx, const struct store_spend *row)
{
    struct spent_read *r = ctx;
    struct budget *b = r->budget;
    if (row->key_id.len >= NAME_MOST || row->team.len >= NAME_MOST)
        return 0;
    const uint32_t *at = map_find(&b->by_row, key_of(&row->id));
    bool recent = row->day >= r->today - 1;
    struct budget_seen *seen = at ? b->seen[*at] : recent ? seen_add(b, row->id) : NULL;
    if (!seen && !r->all) {
        r->again = true;
        return 0;
    }
    int64_t more = row->nano_usd - (seen ? seen->nano_usd : 0);
    if (seen)
        seen->nano_usd = row->nano_usd;
    pthread_mutex_lock(&b->mutex);
    spent_add(r, b->everyone, row->day, more);
    spent_add(r, row->key_id.len ? budget_account_of(b, 'k', row->key_id) : NULL, row->day, more);
    spent_add(r, row->team.len ? budget_account_of(b, 't', row->team) : NULL, row->day, more);
    pthread_mutex_unlock(&b->mutex);
    return 0;
}

/* Once a day all of it; else what was written since. */
static int spent_refresh(struct budget *b, struct error *err)
{
    pthread_mutex_lock(&b->mutex);
    budget_day_set(b, period_day(clock_wall_ms()));
    int64_t day = b->day;
    pthread_mutex_unlock(&b->mutex);
    struct spent_read r = {.budget = b, .all = day != b->loaded_day, .today = day};
    int64_t mark = r.all ? 0 : b->mark;
    if (r.all)
        all_begin(b);
    int rc = store_spend_changes(b->store, &mark, b->spender, spent_row, &r, err);
    if (rc == 0 && r.all)
        all_install(b);
    b->mark = mark;
    if (r.all)
        b->loaded_day = rc == 0 ? day : INT64_MIN;
    else if (r.again)
        b->loaded_day = INT64_MIN;
    return rc;
}

/* ---- The reader ---- */

int budget_refresh(struct budget *b, struct error *err)
{
    pthread_mutex_lock(&b->refresh);
    int rc = limits_refresh(b, err);
    if (rc == 0)
        rc = spent_refresh(b, err);
    pthread_mutex_unlock(&b->refresh);
    return rc;
}

static void health_note(struct budget *b, bool failing, const struct error *err)
{
    if (failing && !b->failing)
        log_error(
            "govern", "what limits there are and what others spend is not known for now: %s", err->message);
    else if (!failing && b->failing)
        log_info("govern", "limits and what others spend are known again");
    b->failing = failing;
}

static void *reader_main(void *ctx)
{
    struct budget *b = ctx;
    bool stop = false;
    while (!stop) {
        struct timespec until;
        struct error err;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (store_is_shared(b->store) ? REFRESH_SHARED_MS : REFRESH_MS) * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&b->refresh);
        while (!b->stop && pthread_cond_timedwait(&b->wake, &b->refresh, &until) != ETIMEDOUT)
            continue;
        stop = b->stop;
        pthread_mutex_unlock(&b->refresh);
        if (!stop)
            health_note(b, budget_refresh(b, &err) != 0, &err);
    }
    return NULL;
}

int budget_start(struct budget *b, struct error *err)
{
    pthread_mutex_lock(&b->refresh);
    b->spender = store_spender(b->store);
    pthread_mutex_unlock(&b->refresh);
    int rc = budget_refresh(b, err);
    if (rc)
        return rc;
    b->has_thread = pthread_create(&b->thread, NULL, reader_main, b) == 0;
    return b->has_thread ? budget_lease_start(b, err)
                         : error_set(err, ERROR_MEMORY,
                               "cannot start the thread that reads budgets: raise the limit (ulimit -u)");
}

int budget_create(struct store *s, struct budget **out, struct error *err)
{
    struct budget *b = must(calloc(1, sizeof *b));
    pthread_condattr_t monotonic;
    b->store = s;
    b->day = period_day(clock_wall_ms());
    b->loaded_day = INT64_MIN;
    b->spender = -1;
    b->changes = INT64_MIN;
    pthread_mutex_init(&b->mutex, NULL);
    pthread_mutex_init(&b->refresh, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &monotonic);
    pthread_cond_init(&b->lease_wake, &monotonic);
    list_init(&b->waits);
    pthread_condattr_destroy(&monotonic);
    int rc = map_init(&b->by_name, 64, err);
    if (rc == 0)
        b->everyone = budget_account_of(b, 't', STR(LIMITS_EVERYONE));
    if (rc == 0)
        rc = budget_refresh(b, err);
    if (rc) {
        budget_free(b);
        return rc;
    }
    *out = b;
    return 0;
}

void budget_free(struct budget *b)
{
    if (!b)
        return;
    budget_lease_stop(b);
    pthread_mutex_lock(&b->refresh);
    b->stop = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->refresh);
    if (b->has_thread)
        pthread_join(b->thread, NULL);
    for (size_t i = 0; i < b->n; i++) {
        free(b->accounts[i]->name);
        free(b->accounts[i]->models);
        free(b->accounts[i]->days);
        free(b->accounts[i]);
    }
    free(b->accounts);
    for (size_t i = 0; i < b->n_seen; i++)
        free(b->seen[i]);
    free(b->seen);
    map_free(&b->by_row);
    map_free(&b->by_name);
    free(b->asking);
    pthread_cond_destroy(&b->lease_wake);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->refresh);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}
