/* What the configuration says about targets that are slow, busy or down: time-outs, retries, breakers,
 * places, pools.
 *
 * A model has what its provider has where it says nothing itself. */
#include <string.h>

#include "app/config_inner.h"
#include "exchange/retry.h"

enum { HOUR_MS = 3600 * 1000, QUEUE_MS = 30 * 1000, WEIGHT_MOST = 1000 };

void config_patience_init(struct exchange_patience *p, struct breaker_policy *b)
{
    *p = (struct exchange_patience){.queue_ms = QUEUE_MS, .retries = RETRY_DEFAULT};
    *b = BREAKER_DEFAULT;
}

/* breaker: off, or {failures: 5, ratio: 0.5, open: 5s} */
static int breaker_read(const struct yaml_node *map, struct breaker_policy *b, struct error *err)
{
    static const char *const keys[] = {"failures", "ratio", "open", NULL};
    const struct yaml_node *n = yaml_get(map, "breaker");
    int64_t failures = b->failures;
    if (!n)
        return 0;
    if (n->kind == YAML_SCALAR && (str_is(n->value, "off") || str_is(n->value, "false"))) {
        b->failures = 0;
        return 0;
    }
    if (n->kind != YAML_MAP)
        return yaml_error(n, err, ERROR_INVALID,
            "'breaker' is off or {failures: 5, ratio: 0.5, open: 5s}, not '" STR_FMT "'", STR_ARG(n->value));
    if (failures == 0) /* a model's own, where its provider has none */
        *b = BREAKER_DEFAULT;
    int rc = yaml_check_keys(n, keys, "a breaker", err);
    if (rc == 0)
        rc = yaml_get_int(n, "failures", b->failures, 1, 1000, &failures, err);
    if (rc == 0)
        rc = yaml_get_double(n, "ratio", b->ratio, 0.01, 1, &b->ratio, err);
    if (rc == 0)
        rc = config_get_duration(n, "open", b->open_ms, BREAKER_OPEN_MOST_MS, &b->open_ms, err);
    if (rc == 0 && b->open_ms == 0)
        rc = yaml_error(n, err, ERROR_INVALID, "'open' is longer than 0s: write breaker: off for none");
    b->failures = (int)failures;
    return rc;
}

int config_patience_read(
    const struct yaml_node *map, struct exchange_patience *p, struct breaker_policy *b, struct error *err)
{
    int64_t retries;
    int rc =
        config_get_duration(map, "first_token_timeout", p->first_token_ms, HOUR_MS, &p->first_token_ms, err);
    if (rc == 0)
        rc = config_get_duration(map, "timeout", p->total_ms, HOUR_MS, &p->total_ms, err);
    if (rc == 0)
        rc = yaml_get_int(map, "retries", p->retries, 0, RETRY_MOST, &retries, err);
    if (rc == 0)
        p->retries = (int)retries;
    return rc ? rc : breaker_read(map, b, err);
}

/* probe: {path: /models, interval: 5s}: appended to base_url, asked for while the breaker is open. */
int config_probe_read(const struct yaml_node *map, struct config_provider *p, struct error *err)
{
    static const char *const keys[] = {"path", "interval", "always", NULL};
    const struct yaml_node *n = yaml_get(map, "probe");
    if (!n)
        return 0;
    int rc = yaml_check_keys(n, keys, "a probe", err);
    if (rc == 0)
        rc = yaml_get_str(n, "path", STR_NONE, &p->probe_path, err);
    if (rc == 0)
        rc = config_get_duration(n, "interval", 5000, HOUR_MS, &p->probe_every_ms, err);
    if (rc == 0)
        rc = yaml_get_bool(n, "always", false, &p->probe_always, err);
    if (rc == 0 && (p->probe_path.len < 2 || p->probe_path.data[0] != '/'))
        rc = yaml_error(n, err, ERROR_INVALID,
            "'probe' wants a 'path' that begins with '/', like /models: it is appended to base_url");
    return rc;
}

/* queue: {length: 100, timeout: 10s} beside max_in_flight; a bare number is the embedded engine's own queue.
 */
static int queue_read(const struct yaml_node *map, struct config_model *m, struct error *err)
{
    static const char *const keys[] = {"length", "timeout", NULL};
    const struct yaml_node *n = yaml_get(map, "queue");
    int64_t length = 0;
    if (!n || n->kind != YAML_MAP)
        return 0;
    int rc = yaml_check_keys(n, keys, "a queue", err);
    if (rc == 0)
        rc = yaml_get_int(n, "length", 100, 1, GATE_ROOM_MOST, &length, err);
    if (rc == 0)
        rc = config_get_duration(n, "timeout", QUEUE_MS, HOUR_MS, &m->patience.queue_ms, err);
    if (rc == 0 && m->limits.max_in_flight == 0)
        rc = yaml_error(n, err, ERROR_INVALID,
            "'queue' is for what 'max_in_flight' does not let in: say how many requests it may have at a "
            "time");
    m->limits.queue_length = (int)length;
    return rc;
}

int config_model_patience(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    int64_t most;
    config_patience_init(&m->patience, &m->limits.breaker);
    if (m->provider >= 0) {
        m->patience = c->providers[m->provider].patience;
        m->limits.breaker = c->providers[m->provider].breaker;
    }
    int rc = config_patience_read(n, &m->patience, &m->limits.breaker, err);
    if (rc == 0)
        rc = config_get_duration(n, "connect_timeout", 0, HOUR_MS, &m->patience.connect_ms, err);
    if (rc == 0)
        rc = config_get_duration(n, "idle_timeout", 0, HOUR_MS, &m->patience.idle_ms, err);
    if (rc == 0 && m->patience.connect_ms > 0 && m->provider < 0)
        rc = yaml_error(yaml_get(n, "connect_timeout"), err, ERROR_INVALID,
            "'connect_timeout' belongs to a model with a 'provider'");
    if (rc == 0)
        rc = yaml_get_int(n, "max_in_flight", 0, 1, 1 << 20, &most, err);
    if (rc == 0)
        m->limits.max_in_flight = (int)most;
    return rc ? rc : queue_read(n, m, err);
}

/* ---- Pools: balance: {over: [a, b], by: prefix}, or over: {a: 3, b: 1} ---- */

static const char *const ways[] = {"weighted", "least_busy", "lowest_latency", "prefix", NULL};

static int member_find(
    const struct config *c, const struct yaml_node *n, struct str name, size_t *out, struct error *err)
{
    const char *names[65] = {NULL};
    for (size_t i = 0; i < c->n_models; i++) {
        if (str_eq(c->models[i].name, name)) {
            *out = i;
            return c->models[i].n_members == 0
                       ? 0
                       : yaml_error(n, err, ERROR_INVALID,
                             "'" STR_FMT "' balances itself: name its members instead", STR_ARG(name));
        }
        if (i < 64)
            names[i] = arena_strdup(c->arena, c->models[i].name);
    }
    const char *near = yaml_nearest(name, names);
    return yaml_error(n, err, ERROR_INVALID, "no model '" STR_FMT "' before this one%s%s%s", STR_ARG(name),
        near ? ": did you mean '" : ": put those it balances over above it", near ? near : "",
        near ? "'?" : "");
}

static int weight_read(const struct yaml_node *map, const struct yaml_node *n, int *out, struct error *err)
{
    int64_t weight;
    *out = 1;
    if (map->kind != YAML_MAP)
        return 0;
    int rc = str_to_int64(n->value, &weight) && weight >= 1 && weight <= WEIGHT_MOST
                 ? 0
                 : yaml_error(n, err, ERROR_INVALID, "a weight is a whole number from 1 to %d", WEIGHT_MOST);
    if (rc == 0)
        *out = (int)weight;
    return rc;
}

static int members_read(
    const struct config *c, const struct yaml_node *over, struct config_model *m, struct error *err)
{
    size_t *members = arena_alloc(c->arena, over->count * sizeof *members);
    int *weights = arena_alloc(c->arena, over->count * sizeof *weights);
    size_t n_members = 0;
    for (const struct yaml_node *n = over->first; n; n = n->next) {
        struct str name = over->kind == YAML_MAP ? n->key : n->value;
        size_t i = n_members;
        int rc = n->kind == YAML_SCALAR ? member_find(c, n, name, &members[i], err)
                                        : yaml_error(n, err, ERROR_INVALID,
                                              "'over' wants names of models: [a, b], or {a: 3, b: 1}");
        if (rc == 0)
            rc = weight_read(over, n, &weights[i], err);
        for (size_t k = 0; k < i && rc == 0; k++)
            if (members[k] == members[i])
                rc = yaml_error(n, err, ERROR_INVALID, "'" STR_FMT "' is in 'over' twice", STR_ARG(name));
        if (rc)
            return rc;
        n_members++;
    }
    m->members = members;
    m->weights = weights;
    m->n_members = n_members;
    return 0;
}

/* What belongs to a target is said of the members. */
static int pool_keys_check(const struct yaml_node *n, struct error *err)
{
    for (const struct yaml_node *k = n->first; k; k = k->next)
        if (!str_is(k->key, "name") && !str_is(k->key, "quality") && !str_is(k->key, "balance"))
            return yaml_error(k, err, ERROR_INVALID,
                "a model with 'balance' has no '" STR_FMT "': its members have", STR_ARG(k->key));
    return 0;
}

int config_pool_read(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    static const char *const keys[] = {"over", "by", NULL};
    const struct yaml_node *balance = yaml_get(n, "balance"), *over = yaml_get(balance, "over");
    int by = BALANCE_LEAST_BUSY, rc = pool_keys_check(n, err);
    if (rc == 0)
        rc = yaml_check_keys(balance, keys, "a balance", err);
    if (rc == 0 && (!over || over->kind == YAML_SCALAR || over->count < 2 || over->count > BALANCE_MOST))
        rc = yaml_error(balance, err, ERROR_INVALID,
            "'balance' wants 'over': 2 to %d models, like {over: [a, b], by: least_busy}", BALANCE_MOST);
    if (rc == 0)
        rc = config_get_choice(balance, "by", ways, by, &by, err);
    m->balance = (enum balance_by)by;
    m->provider = -1;
    m->price.known = true;
    return rc || !over ? rc : members_read(c, over, m, err);
}

/* ---- base_urls: [A, B]: the short form of a provider and a model for each, and a pool over these ---- */

int config_servers_read(
    struct config *c, const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    const struct yaml_node *list = yaml_get(n, "base_urls");
    int by = BALANCE_LEAST_BUSY, rc = config_get_choice(n, "balance", ways, by, &by, err);
    p->balance = (enum balance_by)by;
    if (rc == 0 && !list && yaml_get(n, "balance"))
        rc = yaml_error(
            yaml_get(n, "balance"), err, ERROR_INVALID, "'balance' of a provider wants 'base_urls'");
    if (rc || !list)
        return rc;
    if (list->kind != YAML_LIST || list->count < 2 || list->count > BALANCE_MOST || yaml_get(n, "base_url"))
        return yaml_error(list, err, ERROR_INVALID,
            "'base_urls' wants a list of 2 to %d addresses, in place of 'base_url'", BALANCE_MOST);
    rc = config_get_strings(c, n, "base_urls", &p->more_urls, &p->n_more, err);
    for (size_t i = 0; i < p->n_more && rc == 0; i++)
        if (!str_starts(p->more_urls[i], STR("https://")) && !str_starts(p->more_urls[i], STR("http://")))
            rc = yaml_error(list, err, ERROR_INVALID, "each of 'base_urls' begins with https://");
    if (rc)
        return rc;
    p->base_url = *p->more_urls++;
    p->n_more--;
    return 0;
}

void config_servers_add(struct config *c, const struct config_provider *p)
{
    for (size_t i = 0; i < p->n_more; i++) {
        struct config_provider *server = &c->providers[c->n_providers++];
        *server = *p;
        server->name = arena_printf(c->arena, STR_FMT "/%zu", STR_ARG(p->name), i + 2);
        server->base_url = p->more_urls[i];
        server->n_more = 0;
    }
}

void config_members_add(struct config *c)
{
    const struct config_model model = c->models[c->n_models - 1];
    const struct config_provider *p = model.provider >= 0 ? &c->providers[model.provider] : NULL;
    if (!p || p->n_more == 0)
        return;
    const size_t n = p->n_more + 1;
    size_t *members = arena_alloc(c->arena, n * sizeof *members);
    int *weights = arena_alloc(c->arena, n * sizeof *weights);
    c->n_models--;
    for (size_t i = 0; i < n; i++) {
        struct config_model *member = &c->models[c->n_models];
        *member = model;
        member->name = arena_printf(c->arena, STR_FMT "/%zu", STR_ARG(model.name), i + 1);
        member->provider = model.provider + (int)i;
        member->unlisted = true;
        members[i] = c->n_models++;
        weights[i] = 1;
    }
    c->models[c->n_models++] = (struct config_model){.name = model.name,
        .provider = -1,
        .price = {.known = true},
        .quality = model.quality,
        .balance = p->balance,
        .members = members,
        .weights = weights,
        .n_members = n,
        .line = model.line};
}

bool config_model_is_inside(const struct config *c, const struct config_model *m)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (!config_model_is_inside(c, &c->models[m->members[i]]))
            return false;
    return m->n_members > 0 || m->provider < 0 || c->providers[m->provider].zone == EGRESS_ZONE_LOCAL;
}

/* ---- What applies to all requests ---- */

/* cache: {ttl: 10m, max_bytes: 64MiB}. Without it only rules that say `cache: true` keep answers; with it
 * clients may ask, too. */
static int cache_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"ttl", "max_bytes", NULL};
    const struct yaml_node *n = yaml_get(root, "cache");
    c->exchange.client_cache = n != NULL;
    int rc = n ? yaml_check_keys(n, keys, "the cache", err) : 0;
    if (rc == 0)
        rc = config_get_duration(n, "ttl", 10 * 60 * 1000, 24 * (int64_t)HOUR_MS, &c->cache_ttl_ms, err);
    if (rc == 0)
        rc = config_get_size(n, "max_bytes", 64 << 20, 64LL << 30, &c->cache_bytes, err);
    return rc;
}

int config_read_exchange(struct config *c, const struct yaml_node *root, struct error *err)
{
    struct exchange_settings *s = &c->exchange;
    int rc = config_get_duration(root, "request_timeout", 0, HOUR_MS, &s->request_timeout_ms, err);
    if (rc == 0)
        rc = config_get_duration(root, "drain_timeout", 30000, HOUR_MS, &c->drain_ms, err);
    if (rc == 0)
        rc = config_get_duration(root, "drain_delay", 0, HOUR_MS, &c->drain_delay_ms, err);
    if (rc == 0)
        rc = config_get_duration(root, "stream_keep_alive", 15000, HOUR_MS, &s->keep_alive_ms, err);
    return rc ? rc : cache_read(c, root, err);
}
