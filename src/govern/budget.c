#include "govern/budget.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "govern/budget_inner.h"

#define NANO 1e-9

/* ---- Accounts ---- */

struct budget_account *budget_account_of(struct budget *b, char kind, struct str name)
{
    char joined[80];
    bool added;
    struct error err;
    assert(name.len < sizeof joined - 1);
    joined[0] = kind;
    memcpy(joined + 1, name.data, name.len);
    const uint32_t *at = map_find(&b->by_name, (struct str){joined, name.len + 1});
    if (at)
        return b->accounts[*at];
    struct budget_account *a = must(calloc(1, sizeof *a));
    a->name = must(strndup(joined, name.len + 1));
    a->limits = limits_none(kind == 'k' ? STR("key") : STR("team"), str_from(a->name + 1));
    a->day = b->day;
    a->rest = INT64_MAX;
    a->sharers = -1;
    a->parts = 1;
    for (int p = 0; p < PERIODS; p++)
        a->start[p] = period_start((enum period)p, b->day);
    if (b->n == b->room) {
        b->room = b->room ? 2 * b->room : 64;
        b->accounts = must(reallocarray(b->accounts, b->room, sizeof(struct budget_account *)));
    }
    b->accounts[b->n] = a;
    if (map_add(&b->by_name, str_from(a->name), (uint32_t)b->n, &added, &err))
        abort();
    b->n++;
    return a;
}

void budget_day_set(struct budget *b, int64_t day)
{
    /* A clock that is put back a little changes nothing: what is counted is of today. One that was wrong by
     * days is followed, and nothing is forgotten for that. */
    if (day > b->day || day < b->day - 1)
        b->day = day;
}

static void days_add(struct budget_account *a, int64_t day, int64_t nano_usd)
{
    size_t oldest = 0;
    for (size_t i = 0; i < a->n_days; i++) {
        if (a->days[i].day == day) {
            a->days[i].nano_usd += nano_usd;
            return;
        }
        if (a->days[i].day < a->days[oldest].day)
            oldest = i;
    }
    if (a->n_days == BUDGET_DAYS) {
        a->days[oldest] = (struct budget_spent){day, nano_usd};
        return;
    }
    if (a->n_days == a->days_room) {
        a->days_room = a->days_room ? 2 * a->days_room : 4;
        a->days = must(reallocarray(a->days, a->days_room, sizeof *a->days));
    }
    a->days[a->n_days++] = (struct budget_spent){day, nano_usd};
}

static int64_t days_sum(const struct budget_account *a, enum period p, int64_t start)
{
    int64_t sum = 0;
    for (size_t i = 0; i < a->n_days; i++)
        if (period_start(p, a->days[i].day) == start)
            sum += a->days[i].nano_usd;
    return sum;
}

/* A period that a clock went ahead of, or fell behind, is still the one in which something was spent. What
 * the later one had counts in the earlier one, too: a clock that is put back makes nothing free. */
void budget_roll(const struct budget *b, struct budget_account *a)
{
    if (a->day == b->day)
        return;
    a->day = b->day;
    for (int p = 0; p < PERIODS; p++) {
        int64_t start = period_start((enum period)p, b->day);
        if (start > a->start[p])
            a->own[p] = a->others[p] = a->reading[p] = 0;
        if (start != a->start[p])
            a->own[p] += days_sum(a, (enum period)p, start);
        a->start[p] = start;
    }
}

static int64_t used(const struct budget_account *a, int p)
{
    return a->own[p] + a->others[p];
}

int64_t budget_rest(const struct budget_account *a, enum period *which)
{
    int64_t least = INT64_MAX;
    for (int p = 0; p < PERIODS; p++) {
        int64_t rest = a->limits.usd[p] - used(a, p) - a->reserved;
        if (a->limits.usd[p] < 0 || rest >= least)
            continue;
        least = rest;
        *which = (enum period)p;
    }
    return least;
}

bool budget_has_money(const struct budget_account *a)
{
    for (int p = 0; p < PERIODS; p++)
        if (a->limits.usd[p] >= 0)
            return true;
    return false;
}

/* ---- A request begins ---- */

static void level_add(struct budget_ticket *t, struct budget_account *a)
{
    const struct store_limits *l = &a->limits;
    budget_roll(t->budget, a);
    t->levels[t->n_levels++] = a;
    t->token_rated |= l->tokens >= 0;
    t->rated |= l->tokens >= 0 || l->requests >= 0 || l->parallel >= 0 || l->models.len > 0;
    t->money |= budget_has_money(a);
}

void budget_open(
    struct budget *b, struct str key_id, struct str team, int64_t wall_ms, struct budget_ticket *t)
{
    *t = (struct budget_ticket){.budget = b, .rates = {{-1, 0, 0}, {-1, 0, 0}}};
    if (!b)
        return;
    t->day = period_day(wall_ms);
    pthread_mutex_lock(&b->mutex);
    budget_day_set(b, t->day);
    if (key_id.len > 0)
        level_add(t, budget_account_of(b, 'k', key_id));
    if (team.len > 0)
        level_add(t, budget_account_of(b, 't', team));
    level_add(t, b->everyone);
    pthread_mutex_unlock(&b->mutex);
}

const char *budget_who(const struct budget_account *a, char out[80])
{
    if (a->name[0] == 'k')
        return "this key";
    if (strcmp(a->name + 1, LIMITS_EVERYONE) == 0)
        return "everyone together";
    size_t n = strlen(a->name + 1);
    memcpy(out, "the team ", 9);
    memcpy(out + 9, a->name + 1, n < 70 ? n + 1 : 70);
    out[79] = '\0';
    return out;
}

static int too_much(const struct budget_account *a, const char *what, int64_t limit, int64_t wait_ns,
    struct budget_refusal *refusal, struct error *err)
{
    char name[80];
    refusal->retry_after_ms = wait_ns / 1000000 + 1;
    return error_set(err, ERROR_BUSY, "too much at once: %s may have %lld %s, try again in %.1f s",
        budget_who(a, name), (long long)limit, what, (double)refusal->retry_after_ms / 1000);
}

/* What this gateway lets through. */
struct parts {
    int64_t requests, tokens, parallel;
};

static struct parts parts_of(const struct budget *b, struct budget_account *a, int64_t now_ns)
{
    int64_t n = budget_parts(b, a, now_ns);
    return (struct parts){budget_part(a->limits.requests, n), budget_part(a->limits.tokens, n),
        budget_part(a->limits.parallel, n)};
}

static int level_check(const struct budget_account *a, const struct parts *part, struct str model,
    int64_t tokens, int64_t now_ns, struct budget_refusal *refusal, struct error *err)
{
    const struct store_limits *l = &a->limits;
    char name[80];
    *refusal = (struct budget_refusal){-1, "requests", false};
    if (!limits_model_allowed(l->models, model))
        return error_set(err, ERROR_DENIED,
            "%s may not ask for the model '" STR_FMT "': GET /v1/models lists what it may",
            budget_who(a, name), STR_ARG(str_slice(model, 0, 80)));
    if (l->parallel >= 0 && a->in_flight >= part->parallel) /* nobody knows for how long */
        return too_much(a, l->parallel == 1 ? "request at a time" : "requests at a time", l->parallel,
            999000000, refusal, err);
    int64_t wait = l->requests >= 0 ? rate_wait_ns(&a->requests, part->requests, 1, now_ns) : 0;
    if (wait > 0)
        return too_much(a, "requests a minute", l->requests, wait, refusal, err);
    wait = l->tokens >= 0 ? rate_wait_ns(&a->tokens, part->tokens, tokens, now_ns) : 0;
    refusal->type = "tokens";
    return wait > 0 ? too_much(a, "tokens a minute", l->tokens, wait, refusal, err) : 0;
}

static void level_take(struct budget_account *a, const struct parts *part, int64_t tokens, int64_t now_ns)
{
    a->in_flight++;
    if (part->requests >= 0)
        rate_take(&a->requests, part->requests, 1, now_ns);
    if (part->tokens >= 0)
        rate_take(&a->tokens, part->tokens, tokens, now_ns);
}

/* The scarcer of two. */
static void rate_note(
    struct budget_rate *to, const struct rate *r, int64_t limit, int64_t part, int64_t now_ns)
{
    if (limit < 0)
        return;
    int64_t room = rate_room(r, part, now_ns);
    if (to->limit < 0 || room < to->room)
        *to = (struct budget_rate){limit, room, rate_full_ns(r, now_ns) / 1000000};
}

int budget_admit(struct budget_ticket *t, struct str model, int64_t tokens, int64_t now_ns,
    struct budget_refusal *refusal, struct error *err)
{
    int rc = 0;
    struct parts parts[sizeof t->levels / sizeof *t->levels];
    if (!t->rated)
        return 0;
    pthread_mutex_lock(&t->budget->mutex);
    for (int i = 0; i < t->n_levels; i++)
        parts[i] = parts_of(t->budget, t->levels[i], now_ns);
    for (int i = 0; i < t->n_levels && rc == 0; i++)
        rc = level_check(t->levels[i], &parts[i], model, tokens, now_ns, refusal, err);
    for (int i = 0; i < t->n_levels; i++) {
        struct budget_account *a = t->levels[i];
        if (rc == 0)
            level_take(a, &parts[i], tokens, now_ns);
        budget_asked(t->budget, a);
        t->token_limits[i] = a->limits.tokens;
        rate_note(&t->rates.requests, &a->requests, a->limits.requests, parts[i].requests, now_ns);
        rate_note(&t->rates.tokens, &a->tokens, a->limits.tokens, parts[i].tokens, now_ns);
    }
    pthread_mutex_unlock(&t->budget->mutex);
    t->admitted = rc == 0;
    t->tokens = tokens;
    return rc;
}

/* ---- Money ---- */

int budget_too_little(const struct budget_account *a, enum period p, int64_t nano_usd, int64_t rest,
    struct budget_refusal *refusal, int64_t day, struct error *err)
{
    static const char *const spans[PERIODS] = {"", " for the day", " for the week", " for the month"};
    char name[80];
    int64_t end_ms = period_end_ms(p, day);
    int64_t left_ms = end_ms - clock_wall_ms();
    *refusal = (struct budget_refusal){end_ms < 0    ? -1
                                       : left_ms > 0 ? left_ms
                                                     : 0,
        "insufficient_quota", false};
    return error_set(err, ERROR_BUSY, "the budget of %s%s has %.6g USD left, and this may cost %.6g USD",
        budget_who(a, name), spans[p], rest > 0 ? (double)rest * NANO : 0, (double)nano_usd * NANO);
}

int budget_try(
    const struct budget_ticket *t, int64_t nano_usd, struct budget_refusal *refusal, struct error *err)
{
    for (int i = 0; i < t->n_levels; i++) {
        enum period p = PERIOD_TOTAL;
        int64_t rest = budget_rest(t->levels[i], &p);
        if (rest < nano_usd)
            return budget_too_little(t->levels[i], p, nano_usd, rest, refusal, t->budget->day, err);
    }
    for (int i = 0; i < t->n_levels; i++)
        if (!budget_lease_has(t->budget, t->levels[i], nano_usd))
            return budget_lease_held(t->budget, t->levels[i], nano_usd, refusal, err);
    for (int i = 0; i < t->n_levels; i++) {
        t->levels[i]->reserved += nano_usd;
        budget_lease_spent(t->budget, t->levels[i]);
    }
    return 0;
}

int budget_reserve(
    struct budget_ticket *t, int64_t nano_usd, struct budget_refusal *refusal, struct error *err)
{
    if (!t->budget || nano_usd <= 0)
        return 0;
    pthread_mutex_lock(&t->budget->mutex);
    int rc = budget_try(t, nano_usd, refusal, err);
    pthread_mutex_unlock(&t->budget->mutex);
    return rc;
}

/* It counts where the state counts it: on the day on which the request began. */
static void spend(struct budget_account *a, int64_t day, int64_t nano_usd)
{
    for (int p = 0; p < PERIODS; p++)
        if (day >= a->start[p])
            a->own[p] += nano_usd;
    if (nano_usd > 0)
        days_add(a, day, nano_usd);
}

void budget_settle(struct budget_ticket *t, int64_t reserved, int64_t nano_usd)
{
    int64_t cost = nano_usd > 0 ? nano_usd : 0;
    if (!t->budget || (reserved == 0 && cost == 0))
        return;
    pthread_mutex_lock(&t->budget->mutex);
    for (int i = 0; i < t->n_levels; i++) {
        struct budget_account *a = t->levels[i];
        budget_roll(t->budget, a);
        a->reserved -= reserved;
        assert(a->reserved >= 0);
        spend(a, t->day, cost);
    }
    budget_lease_freed(t->budget);
    pthread_mutex_unlock(&t->budget->mutex);
}

void budget_close(struct budget_ticket *t, int64_t tokens)
{
    if (!t->admitted)
        return;
    t->admitted = false;
    pthread_mutex_lock(&t->budget->mutex);
    for (int i = 0; i < t->n_levels; i++) {
        struct budget_account *a = t->levels[i];
        a->in_flight--;
        if (t->token_limits[i] >= 0)
            rate_correct(&a->tokens, budget_part(t->token_limits[i], a->parts), t->tokens, tokens);
    }
    pthread_mutex_unlock(&t->budget->mutex);
}

double budget_left(const struct budget_ticket *t)
{
    double least = INFINITY;
    if (!t->budget || !t->money)
        return least;
    pthread_mutex_lock(&t->budget->mutex);
    for (int i = 0; i < t->n_levels; i++) {
        enum period p;
        int64_t rest = budget_rest(t->levels[i], &p);
        if (rest < INT64_MAX)
            least = fmin(least, rest > 0 ? (double)rest * NANO : 0);
    }
    pthread_mutex_unlock(&t->budget->mutex);
    return least;
}

double budget_share(const struct budget_ticket *t)
{
    double least = 1;
    if (!t->budget || !t->money)
        return least;
    pthread_mutex_lock(&t->budget->mutex);
    for (int i = 0; i < t->n_levels; i++) {
        const struct budget_account *a = t->levels[i];
        for (int p = 0; p < PERIODS; p++) {
            int64_t rest = a->limits.usd[p] - used(a, p) - a->reserved;
            if (a->limits.usd[p] >= 0)
                least = fmin(least, rest > 0 ? (double)rest / (double)a->limits.usd[p] : 0);
        }
    }
    pthread_mutex_unlock(&t->budget->mutex);
    return least;
}

/* ---- Lists ---- */

static void view_fill(
    struct budget *b, struct budget_account *a, struct arena *arena, struct budget_view *out)
{
    budget_roll(b, a);
    *out = (struct budget_view){.reserved = a->reserved, .limits = a->limits, .limited = a->limited};
    int64_t leased = a->granted - a->own[PERIOD_TOTAL];
    out->leased = !b->shared ? -1 : leased > 0 ? leased : 0;
    out->limits.name = arena_copy(arena, a->limits.name);
    out->limits.models = arena_copy(arena, a->limits.models);
    for (int p = 0; p < PERIODS; p++) {
        out->used[p] = used(a, p);
        out->ends_ms[p] = period_end_ms((enum period)p, b->day);
    }
}

void budget_look(struct budget *b, struct str kind, struct str name, struct arena *a, struct budget_view *out)
{
    pthread_mutex_lock(&b->mutex);
    view_fill(b, budget_account_of(b, str_is(kind, "key") ? 'k' : 't', name), a, out);
    pthread_mutex_unlock(&b->mutex);
}

struct budget_view *budget_list(struct budget *b, struct arena *a, size_t *n)
{
    pthread_mutex_lock(&b->mutex);
    struct budget_view *views = arena_alloc(a, (b->n_limited + 1) * sizeof *views);
    *n = 0;
    for (size_t i = 0; i < b->n && *n < b->n_limited; i++)
        if (b->accounts[i]->limited)
            view_fill(b, b->accounts[i], a, &views[(*n)++]);
    pthread_mutex_unlock(&b->mutex);
    return views;
}

bool budget_allows(struct budget *b, struct str key_id, struct str team, struct str model)
{
    struct budget_ticket t;
    bool allowed = true;
    budget_open(b, key_id, team, clock_wall_ms(), &t);
    if (!t.rated)
        return true;
    pthread_mutex_lock(&b->mutex);
    for (int i = 0; i < t.n_levels; i++)
        allowed = allowed && limits_model_allowed(t.levels[i]->limits.models, model);
    pthread_mutex_unlock(&b->mutex);
    return allowed;
}

void budget_view_write(const struct budget_view *v, struct json_writer *w)
{
    static const enum period order[] = {PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_TOTAL};
    char ends[32];
    json_key(w, "budget");
    json_object_begin(w);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        enum period p = order[i];
        json_key_str(w, str_from(period_name(p)));
        json_object_begin(w);
        limits_usd_write(w, "limit", v->limits.usd[p]);
        limits_usd_write(w, "used", v->used[p]);
        if (v->ends_ms[p] >= 0)
            clock_format(v->ends_ms[p], ends);
        json_member_text(w, "ends", v->ends_ms[p] >= 0 ? ends : NULL);
        json_object_end(w);
    }
    json_object_end(w);
    limits_json_write(&v->limits, w);
}
