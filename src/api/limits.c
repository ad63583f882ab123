/* /weir/keys and /weir/teams: keys, and what they and their teams may spend and ask, for keys of the admin
 * role.
 *
 *   GET /weir/keys                    POST {name, team?, admin?, expires?, LIMITS}    -> the key, this once
 *   GET | DELETE /weir/keys/ID        POST {expires?, LIMITS}
 *   GET /weir/teams                   POST {name, LIMITS}                             "*": everyone
 *   GET | DELETE /weir/teams/NAME     POST {LIMITS}                                   LIMITS: govern/limits.h
 *
 * A change is answered when it is kept and this gateway goes by it; others know of it within a second. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/read.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"

enum { NAME_MOST = 64 };

/* A change on its way to the state. */
struct change {
    struct api_call api;
    struct arena *arena;
    bool deleted;
    char kind, name[NAME_MOST]; /* 'k' and a key's id, 't' and a team's name */
    char secret[96];            /* of a new key */
    int pending;                /* rows that are not kept yet */
    int code;                   /* the first failure, which `err` says */
    struct error err;
};

static struct budget *budget_of(const struct api_call *c)
{
    return c->shard->exchange->budget;
}

/* What follows "/weir/keys/" or "/weir/teams/". */
static struct str rest_of(const struct api_call *c, const char *kind)
{
    struct str path = http_request_path(c->http);
    size_t begin = strlen("/weir/s/") + strlen(kind);
    return path.len > begin ? str_slice(path, begin, path.len) : STR_NONE;
}

/* ---- Reading ---- */

static void time_write(struct json_writer *w, const char *key, int64_t wall_ms)
{
    char text[32];
    if (wall_ms > 0)
        clock_format(wall_ms, text);
    json_key(w, key);
    json_write_text(w, wall_ms > 0 ? text : NULL);
}

struct listing {
    const struct api_call *call;
    struct json_writer *writer;
    struct str only; /* this key; empty: all */
    bool found;
};

static int key_write(void *ctx, const struct store_key *key)
{
    struct listing *l = ctx;
    struct json_writer *w = l->writer;
    struct budget_view view;
    if (key->id.len >= NAME_MOST || (l->only.len > 0 && !str_eq(key->id, l->only)))
        return 0;
    struct arena *a = arena_create(64 * KIB);
    l->found = true;
    budget_look(budget_of(l->call), STR("key"), key->id, a, &view);
    json_object_begin(w);
    json_key(w, "id");
    json_write_str(w, key->id);
    json_key(w, "name");
    json_write_str(w, key->name);
    json_key(w, "team");
    json_write_str(w, key->team);
    json_key(w, "role");
    json_write_str(w, key->role);
    time_write(w, "created", key->created_ms);
    time_write(w, "expires", key->expires_ms);
    time_write(w, "revoked", key->revoked_ms);
    budget_view_write(&view, w);
    json_object_end(w);
    arena_free(a);
    return 0;
}

static void team_write(const struct budget_view *v, struct json_writer *w)
{
    json_object_begin(w);
    json_key(w, "name");
    json_write_str(w, v->limits.name);
    budget_view_write(v, w);
    json_object_end(w);
}

static void reply(
    const struct api_call *c, int rc, const struct error *err, bool found, const struct buf *body)
{
    if (rc)
        api_error(c, exchange_status(rc), str_from(err->message));
    else if (!found)
        api_error(c, 404, STR("there is no such key or team"));
    else
        api_reply_json(c, 200, body);
}

void api_keys_get(const struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    struct error err;
    struct listing l = {.call = c, .writer = &w, .only = rest_of(c, "key")};
    if (!api_admin_required(c))
        return;
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    if (l.only.len == 0) {
        l.found = true;
        json_object_begin(&w);
        json_key(&w, "data");
        json_array_begin(&w);
    }
    int rc = store_key_list(c->shard->exchange->store, key_write, &l, &err);
    if (l.only.len == 0) {
        json_array_end(&w);
        json_object_end(&w);
    }
    reply(c, rc, &err, l.found, &body);
    buf_free(&body);
}

void api_teams_get(const struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    struct str only = rest_of(c, "team");
    size_t n;
    if (!api_admin_required(c))
        return;
    struct arena *a = arena_create(64 * MIB);
    struct budget_view *views = budget_list(budget_of(c), a, &n);
    bool found = only.len == 0;
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    if (only.len == 0) {
        json_object_begin(&w);
        json_key(&w, "data");
        json_array_begin(&w);
    }
    for (size_t i = 0; i < n; i++) {
        if (!str_is(views[i].limits.kind, "team") || (only.len > 0 && !str_eq(views[i].limits.name, only)))
            continue;
        found = true;
        team_write(&views[i], &w);
    }
    if (only.len == 0) {
        json_array_end(&w);
        json_object_end(&w);
    }
    reply(c, 0, NULL, found, &body);
    buf_free(&body);
    arena_free(a);
}

/* ---- Changing ---- */

static void change_write(struct change *d, struct json_writer *w)
{
    struct budget_view view;
    struct listing l = {.call = &d->api, .writer = w, .only = str_from(d->name)};
    if (d->deleted || d->secret[0]) {
        json_object_begin(w);
        json_key_str(w, d->kind == 'k' ? STR("id") : STR("name"));
        json_write_text(w, d->name);
        json_key_str(w, d->deleted ? STR("deleted") : STR("key"));
        if (d->deleted)
            json_write_bool(w, true);
        else
            json_write_text(w, d->secret);
        json_object_end(w);
    } else if (d->kind == 't') {
        budget_look(budget_of(&d->api), STR("team"), str_from(d->name), d->arena, &view);
        team_write(&view, w);
    } else {
        d->code = store_key_list(d->api.shard->exchange->store, key_write, &l, &d->err);
    }
}

static void change_answer(struct change *d)
{
    struct buf body;
    struct json_writer w;
    if (d->code == 0)
        d->code = budget_refresh(budget_of(&d->api), &d->err);
    if (d->code == 0 && d->api.shard->keys)
        d->code = govern_keys_refresh(d->api.shard->keys, &d->err);
    buf_init(&body, MIB);
    json_writer_init(&w, &body);
    if (d->code == 0)
        change_write(d, &w);
    reply(&d->api, d->code, &d->err, true, &body);
    buf_free(&body);
}

static void change_end(struct change *d)
{
    if (!d->api.gone)
        change_answer(d);
    arena_free(d->arena);
    free(d);
}

static void on_kept(void *ctx, int code)
{
    struct change *d = ctx;
    if (code && d->code == 0)
        d->code = error_set(&d->err, code,
            code == ERROR_NOT_FOUND ? "there is no such key or team"
                                    : "the change could not be kept: try again");
    if (--d->pending == 0)
        change_end(d);
}

static struct change *change_begin(const struct api_call *c, char kind, struct str name)
{
    struct change *d = must(calloc(1, sizeof *d));
    d->api = *c;
    d->arena = arena_create(4 * MIB);
    d->kind = kind;
    if (name.len > 0 && name.len < sizeof d->name)
        memcpy(d->name, name.data, name.len);
    http_request_on_gone(c->http, api_on_gone, &d->api);
    return d;
}

static struct store_done change_done(struct change *d)
{
    return (struct store_done){d->api.shard->exchange->loop, on_kept, d};
}

/* A row was submitted, or could not be: then its error is the change's. */
static void change_count(struct change *d, int rc)
{
    if (rc == 0)
        d->pending++;
    else if (d->code == 0)
        d->code = rc;
}

/* All that there is was submitted. */
static void change_wait(struct change *d)
{
    if (d->pending == 0)
        change_end(d);
}

/* "90d", or null: never. */
static int expires_read(const json_t *body, bool *given, int64_t *wall_ms, struct error *err)
{
    const json_t *value = json_object_get(body, "expires");
    int64_t lifetime_ms = 0;
    *given = value != NULL;
    *wall_ms = 0;
    if (!value || json_is_null(value))
        return 0;
    if (!clock_parse_duration(json_str(value), &lifetime_ms) || lifetime_ms <= 0 ||
        lifetime_ms > INT64_MAX / 2)
        return error_set(
            err, ERROR_INVALID, "'expires' wants a time like \"24h\" or \"90d\", or null: never");
    *wall_ms = clock_wall_ms() + lifetime_ms;
    return 0;
}

#define LIMITS "budget", "requests", "tokens", "parallel", "models"

static int body_read(const struct api_call *c, struct arena *a, const char *const *known, const json_t **out,
    struct error *err)
{
    int rc = api_body_read(a, http_request_body(c->http), out, err);
    return rc ? rc : api_read_only(*out, known, err);
}

/* What the body says in the place of what there is, and on its way. What there is may have been changed a
 * moment ago, by another process or the command line. */
static void limits_change(struct change *d, const json_t *body)
{
    struct budget_view view;
    struct str kind = d->kind == 'k' ? STR("key") : STR("team");
    int rc = budget_refresh(budget_of(&d->api), &d->err);
    budget_look(budget_of(&d->api), kind, str_from(d->name), d->arena, &view);
    view.limits.created_ms = clock_wall_ms();
    if (rc == 0)
        rc = limits_json_read(d->arena, body, &view.limits, &d->err);
    if (rc == 0)
        rc = store_limits_set(d->api.shard->exchange->store, &view.limits, change_done(d), &d->err);
    change_count(d, rc);
}

static bool has_limits(const json_t *body)
{
    static const char *const names[] = {LIMITS};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(body, names[i]))
            return true;
    return false;
}

/* ---- Keys ---- */

static int key_options_read(const json_t *body, struct govern_key_options *o, struct error *err)
{
    bool given;
    int rc = json_get_str(body, "name", &o->name, err);
    if (rc == 0)
        rc = json_get_str(body, "team", &o->team, err);
    if (rc == 0)
        rc = json_get_bool(body, "admin", false, &o->admin, err);
    return rc ? rc : expires_read(body, &given, &o->expires_ms, err);
}

static void key_create(struct change *d)
{
    static const char *const known[] = {"name", "team", "admin", "expires", LIMITS, NULL};
    struct store_limits checked = limits_none(STR("key"), STR_NONE);
    struct govern_key_options o = {.name = STR_NONE};
    const json_t *body;
    int rc = body_read(&d->api, d->arena, known, &body, &d->err);
    if (rc == 0)
        rc = key_options_read(body, &o, &d->err);
    if (rc == 0)
        rc = limits_json_read(d->arena, body, &checked, &d->err); /* before there is a key */
    if (rc == 0)
        rc = govern_key_create(d->api.shard->exchange->store, &o, d->secret, change_done(d), &d->err);
    change_count(d, rc);
    memcpy(d->name, d->secret + strlen("weir_"), 12);
    if (rc == 0 && has_limits(body))
        limits_change(d, body);
    change_wait(d);
}

static int key_is(void *ctx, const struct store_key *key)
{
    const struct change *d = ctx;
    return str_is(key->id, d->name);
}

static void key_change(struct change *d)
{
    static const char *const known[] = {"expires", LIMITS, NULL};
    struct store *s = d->api.shard->exchange->store;
    const json_t *body;
    bool expires = false;
    int64_t expires_ms = 0;
    int rc = body_read(&d->api, d->arena, known, &body, &d->err);
    if (rc == 0)
        rc = expires_read(body, &expires, &expires_ms, &d->err);
    if (rc == 0 && (rc = store_key_list(s, key_is, d, &d->err)) == 0)
        rc = error_set(&d->err, ERROR_NOT_FOUND, "there is no such key");
    if (rc < 0)
        change_count(d, rc);
    if (rc > 0 && has_limits(body))
        limits_change(d, body);
    if (rc > 0 && expires && d->code == 0)
        change_count(d, store_key_expire(s, str_from(d->name), expires_ms, change_done(d), &d->err));
    change_wait(d);
}

void api_keys_post(const struct api_call *c)
{
    struct str id = rest_of(c, "key");
    if (!api_admin_required(c))
        return;
    struct change *d = change_begin(c, 'k', id);
    if (id.len == 0)
        key_create(d);
    else
        key_change(d);
}

void api_keys_delete(const struct api_call *c)
{
    if (!api_admin_required(c))
        return;
    struct change *d = change_begin(c, 'k', rest_of(c, "key"));
    d->deleted = true;
    change_count(d, store_key_revoke(c->shard->exchange->store, str_from(d->name), clock_wall_ms(),
                        change_done(d), &d->err));
    change_wait(d);
}

/* ---- Teams ---- */

void api_teams_post(const struct api_call *c)
{
    static const char *const with_name[] = {"name", LIMITS, NULL}, *const without[] = {LIMITS, NULL};
    struct str name = rest_of(c, "team");
    const json_t *body;
    if (!api_admin_required(c))
        return;
    struct change *d = change_begin(c, 't', name);
    int rc = body_read(c, d->arena, name.len ? without : with_name, &body, &d->err);
    if (rc == 0 && name.len == 0)
        rc = json_get_str(body, "name", &name, &d->err);
    if (rc == 0)
        rc = limits_team_check(name, &d->err);
    if (rc == 0) {
        memcpy(d->name, name.data, name.len);
        limits_change(d, body);
    } else {
        change_count(d, rc);
    }
    change_wait(d);
}

void api_teams_delete(const struct api_call *c)
{
    if (!api_admin_required(c))
        return;
    struct change *d = change_begin(c, 't', rest_of(c, "team"));
    d->deleted = true;
    change_count(d, store_limits_drop(
                        c->shard->exchange->store, STR("team"), str_from(d->name), change_done(d), &d->err));
    change_wait(d);
}

/* ---- Metrics ---- */

/* A value for each budget, or (`per_period` false) for each that has one. At most so many, the first ones. */
static void budget_gauge(struct buf *out, const char *family, const char *help,
    const struct budget_view *views, size_t n, bool per_period,
    int64_t (*value)(const struct budget_view *v, enum period p))
{
    enum { MOST = 512 };
    int written = 0;
    for (size_t i = 0; i < n * PERIODS && written < MOST; i++) {
        const struct budget_view *v = &views[i / PERIODS];
        enum period p = (enum period)(i % PERIODS);
        const struct meter_label labels[] = {
            {"kind", v->limits.kind}, {"name", v->limits.name}, {"period", str_from(period_name(p))}};
        if (v->limits.usd[p] < 0)
            continue;
        meter_write_value(out, family, "gauge", written ? NULL : help, labels, per_period ? 3 : 2,
            (double)value(v, p) / 1e9);
        written++;
        if (!per_period)
            i = (i / PERIODS + 1) * PERIODS - 1; /* on to the next one */
    }
}

static int64_t limit_of(const struct budget_view *v, enum period p)
{
    return v->limits.usd[p];
}

static int64_t used_of(const struct budget_view *v, enum period p)
{
    return v->used[p];
}

static int64_t reserved_of(const struct budget_view *v, enum period p)
{
    (void)p;
    return v->reserved;
}

static int64_t leased_of(const struct budget_view *v, enum period p)
{
    (void)p;
    return v->leased;
}

void api_budget_gauges(const struct exchange_shard *shard, struct buf *out)
{
    size_t n = 0;
    struct arena *a = arena_create(64 * MIB);
    struct budget_view *views = shard->budget ? budget_list(shard->budget, a, &n) : NULL;
    budget_gauge(out, "weir_budget_limit_usd", "A budget of a key (by its id), a team, or everyone (*).",
        views, n, true, limit_of);
    budget_gauge(out, "weir_budget_spent_usd", "What was spent of it in the period that runs.", views, n,
        true, used_of);
    budget_gauge(out, "weir_budget_reserved_usd", "What requests that run may still take of it.", views, n,
        false, reserved_of);
    if (n > 0 && views[0].leased >= 0)
        budget_gauge(out, "weir_budget_leased_usd",
            "What this gateway holds of it, of what gateways with one state share.", views, n, false,
            leased_of);
    arena_free(a);
}
