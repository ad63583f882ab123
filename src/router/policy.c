#include "router/policy.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/rand.h"
#include "router/calibrate.h"
#include "router/detect_own.h"

enum { MAX_POLICY = 16 << 20, HEDGE_MOST_MS = 600 * 1000 };

/* ---- Compiling. ---- */
static size_t model_find(const struct router_policy *p, struct str name)
{
    for (size_t i = 0; i < p->n_models; i++)
        if (str_eq(p->models[i].name, name))
            return i;
    return SIZE_MAX;
}

static int model_unknown(const struct router_policy *p, const struct yaml_node *n, struct error *err)
{
    const char *names[65] = {NULL};
    char list[300] = "";
    for (size_t i = 0, used = 0; i < p->n_models && i < 64; i++) {
        names[i] = p->models[i].name.data; /* copies of ours: terminated */
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", names[i]);
    }
    const char *near = yaml_nearest(n->value, names);
    if (near)
        return yaml_error(
            n, err, ERROR_INVALID, "no model '" STR_FMT "': did you mean '%s'?", STR_ARG(n->value), near);
    return yaml_error(n, err, ERROR_INVALID, "no model '" STR_FMT "': models has %s", STR_ARG(n->value),
        p->n_models ? list : "none");
}

static int target_add(
    struct router_policy *p, struct policy_rule *rule, const struct yaml_node *n, struct error *err)
{
    if (n->kind != YAML_SCALAR)
        return yaml_error(n, err, ERROR_INVALID, "'use' wants names of models: [house, gpt-4o]");
    size_t model = model_find(p, n->value);
    if (model == SIZE_MAX)
        return model_unknown(p, n, err);
    for (size_t i = 0; i < rule->n_targets; i++)
        if (rule->targets[i] == model)
            return yaml_error(n, err, ERROR_INVALID, "'" STR_FMT "' is in 'use' twice", STR_ARG(n->value));
    rule->targets[rule->n_targets++] = model;
    return 0;
}

static size_t inside_count(const struct router_policy *p, const struct policy_rule *rule)
{
    size_t inside = 0;
    for (size_t i = 0; i < rule->n_targets; i++)
        inside += p->models[rule->targets[i]].inside;
    return inside;
}

/* use: {cheapest: [house, gpt-4o]} */
static int pick_compile(const struct yaml_node **use, struct policy_rule *rule, struct error *err)
{
    static const char *const picks[] = {"cheapest", "fastest", "best", NULL};
    const struct yaml_node *map = *use;
    int rc = yaml_check_keys(map, picks, "'use'", err);
    if (rc)
        return rc;
    if (map->count != 1 || map->first->kind != YAML_LIST)
        return yaml_error(
            map, err, ERROR_INVALID, "'use' wants one list to choose from: {cheapest: [house, gpt-4o]}");
    while (!str_is(map->first->key, picks[rule->pick]))
        rule->pick++;
    rule->pick++; /* the first of `picks` is the second of enum policy_pick */
    *use = map->first;
    return 0;
}

/* An empty list is a rule that lets nothing through: it says so with boundary: local. */
static int targets_compile(
    struct router_policy *p, const struct yaml_node *map, struct policy_rule *rule, struct error *err)
{
    const struct yaml_node *use = yaml_get(map, "use");
    if (!use)
        return yaml_error(map, err, ERROR_INVALID, "the rule has no 'use': say which models may answer");
    if (use->kind == YAML_MAP) {
        int rc = pick_compile(&use, rule, err);
        if (rc)
            return rc;
    }
    size_t count = use->kind == YAML_LIST ? use->count : 1;
    if (count > LIMIT_TARGETS)
        return yaml_error(use, err, ERROR_INVALID, "'use' has more than %d models", LIMIT_TARGETS);
    rule->targets = arena_alloc(p->arena, (count + 1) * sizeof *rule->targets);
    if (use->kind != YAML_LIST)
        return target_add(p, rule, use, err);
    int rc = 0;
    for (const struct yaml_node *n = use->first; n && rc == 0; n = n->next)
        rc = target_add(p, rule, n, err);
    return rc;
}

static int boundary_compile(
    struct router_policy *p, const struct yaml_node *map, struct policy_rule *rule, struct error *err)
{
    struct str boundary;
    int rc = yaml_get_str(map, "boundary", STR("any"), &boundary, err);
    if (rc)
        return rc;
    rule->local = str_is(boundary, "local");
    if (!rule->local && !str_is(boundary, "any"))
        return yaml_error(yaml_get(map, "boundary"), err, ERROR_INVALID,
            "'boundary' is local or any, not '" STR_FMT "'", STR_ARG(boundary));
    if (!rule->local && rule->n_targets == 0)
        return yaml_error(map, err, ERROR_INVALID,
            "the rule's 'use' is empty: name models, or write boundary: local to refuse what matches");
    if (rule->local && rule->n_targets > 0 && inside_count(p, rule) == 0)
        return yaml_error(map, err, ERROR_INVALID,
            "boundary: local, but every model in 'use' is outside: name a model of ours");
    return 0;
}

/* redact: true */
static int redact_compile(const struct yaml_node *map, struct policy_rule *rule, struct error *err)
{
    int rc = yaml_get_bool(map, "redact", false, &rule->redact, err);
    if (rc == 0 && rule->redact && rule->local)
        rc = yaml_error(yaml_get(map, "redact"), err, ERROR_INVALID,
            "redact: true masks what leaves, and with boundary: local nothing does: leave one of them out");
    return rc;
}

/* The key that all of this process's policies share: a reload changes no pseudonym. */
static unsigned char process_key[REDACT_KEY];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void process_key_make(void)
{
    rand_bytes(process_key, sizeof process_key);
}

static void redact_options_make(const struct router_policy_options *o, struct router_redact_options *out)
{
    pthread_once(&process_key_once, process_key_make);
    out->never = o->redact_never;
    if (o->redact_key.len > 0)
        crypto_generichash(
            out->key, sizeof out->key, (const unsigned char *)o->redact_key.data, o->redact_key.len, NULL, 0);
    else
        memcpy(out->key, process_key, sizeof out->key);
}

/* hedge: 800ms */
static int hedge_compile(const struct yaml_node *map, struct policy_rule *rule, struct error *err)
{
    struct str text;
    int rc = yaml_get_str(map, "hedge", STR_NONE, &text, err);
    if (rc || !text.data)
        return rc;
    if (!clock_parse_duration(text, &rule->hedge_ms) || rule->hedge_ms < 1 || rule->hedge_ms > HEDGE_MOST_MS)
        return yaml_error(yaml_get(map, "hedge"), err, ERROR_INVALID,
            "'hedge' must be a duration like 800ms or 2s (at most %d s), not '" STR_FMT "'",
            HEDGE_MOST_MS / 1000, STR_ARG(text));
    return 0;
}

/* cascade: {threshold: 0.4, tokens: 16} or {calibration: FILE} */
static int cascade_read(const struct router_policy_options *o, const struct yaml_node *map,
    struct router_cascade *c, struct arena *a, struct error *err)
{
    static const char *const keys[] = {"threshold", "tokens", "calibration", NULL};
    struct str file, text;
    struct error why;
    int64_t tokens;
    if (map->kind != YAML_MAP)
        return yaml_error(map, err, ERROR_INVALID, "'cascade' wants a map: {threshold: 0.4}");
    int rc = yaml_check_keys(map, keys, "'cascade'", err);
    if (rc == 0)
        rc = yaml_get_str(map, "calibration", STR_NONE, &file, err);
    if (rc == 0 && file.len > 0 && o->calibration &&
        (o->calibration(a, file, &text, &why) || router_cascade_read(text, c, &why)))
        rc = yaml_error(yaml_get(map, "calibration"), err, ERROR_INVALID, "the calibration " STR_FMT ": %s",
            STR_ARG(file), why.message);
    if (rc == 0 && !c->fitted && !yaml_get(map, "threshold"))
        rc = yaml_error(map, err, ERROR_INVALID,
            "'cascade' wants a 'threshold' of doubt from 0 to 1, or a 'calibration' (weir calibrate "
            "--cascade)");
    if (rc == 0)
        rc = yaml_get_int(
            map, "tokens", c->fitted ? c->tokens : DOUBT_TOKENS, 1, CHAT_MEASURE_MAX, &tokens, err);
    if (rc)
        return rc;
    c->tokens = (int32_t)tokens;
    return c->fitted && !yaml_get(map, "threshold")
               ? 0
               : yaml_get_double(map, "threshold", 0, 0, 1, &c->threshold, err);
}

static int cascade_compile(struct router_policy *p, const struct router_policy_options *o,
    const struct yaml_node *map, struct policy_rule *rule, struct error *err)
{
    const struct yaml_node *cascade = yaml_get(map, "cascade");
    if (!cascade)
        return 0;
    rule->cascade = arena_new(p->arena, struct router_cascade);
    int rc = cascade_read(o, cascade, rule->cascade, p->arena, err);
    if (rc)
        return rc;
    if (rule->n_targets < 2 || (rule->local && inside_count(p, rule) < 2))
        return yaml_error(cascade, err, ERROR_INVALID,
            "'cascade' has nobody to go on to: 'use' wants the local model and then a stronger one%s",
            rule->local ? ", inside as well" : "");
    if (!p->models[rule->targets[0]].embedded)
        return yaml_error(cascade, err, ERROR_INVALID,
            "'cascade' begins with a model of the embedded engine, which tells how sure it is, and "
            "'" STR_FMT "', the first in 'use', is none: put a model with a 'file' first",
            STR_ARG(p->models[rule->targets[0]].name));
    if (rule->hedge_ms > 0)
        return yaml_error(cascade, err, ERROR_INVALID,
            "'cascade' and 'hedge' both ask a second target: leave one of them out");
    return 0;
}

static int rule_compile(struct router_policy *p, const struct router_policy_options *o,
    const struct yaml_node *map, size_t index, struct policy_rule *rule, struct error *err)
{
    static const char *const keys[] = {
        "name", "when", "use", "boundary", "redact", "hedge", "cascade", "cache", "shadow", NULL};
    struct str name = {0};
    int rc = yaml_check_keys(map, keys, "a rule", err);
    if (rc == 0)
        rc = yaml_get_str(map, "name", STR_NONE, &name, err);
    if (rc)
        return rc;
    if (name.len > 120)
        return yaml_error(map, err, ERROR_INVALID, "the rule's name is longer than 120 bytes");
    rule->name = name.len ? arena_copy(p->arena, name) : arena_printf(p->arena, "rule-%zu", index + 1);
    rule->line = map->line;
    const struct yaml_node *when = yaml_get(map, "when");
    if (when)
        rc = when_compile(p->arena, when, &rule->when, err);
    if (rc == 0)
        rc = targets_compile(p, map, rule, err);
    if (rc == 0)
        rc = boundary_compile(p, map, rule, err);
    if (rc == 0)
        rc = redact_compile(map, rule, err);
    if (rc == 0)
        rc = hedge_compile(map, rule, err);
    if (rc == 0)
        rc = cascade_compile(p, o, map, rule, err);
    if (rc == 0)
        rc = yaml_get_bool(map, "shadow", false, &rule->shadow, err);
    return rc ? rc : yaml_get_bool(map, "cache", false, &rule->cache, err);
}

static int rules_compile(struct router_policy *p, const struct router_policy_options *o,
    const struct yaml_node *list, struct policy_route *route, struct error *err)
{
    route->rules = arena_alloc(p->arena, list->count * sizeof *route->rules);
    for (const struct yaml_node *n = list->first; n; n = n->next) {
        struct policy_rule *rule = &route->rules[route->n_rules];
        int rc = rule_compile(p, o, n, route->n_rules, rule, err);
        if (rc)
            return rc;
        for (size_t i = 0; i < route->n_rules; i++)
            if (str_eq(route->rules[i].name, rule->name))
                return yaml_error(n, err, ERROR_INVALID, "a rule named '" STR_FMT "' is on line %d already",
                    STR_ARG(rule->name), route->rules[i].line);
        route->n_rules++;
    }
    for (size_t i = 0; i < route->n_rules; i++)
        if (!route->rules[i].shadow)
            return 0;
    return yaml_error(list, err, ERROR_INVALID,
        "every rule of the route is a shadow rule, which decides nothing: add one without 'shadow'");
}

static bool asks_threshold(const struct when *w)
{
    if (!w)
        return false;
    if (w->kind == WHEN_NUMBER)
        return w->number.threshold;
    bool asks = false;
    if (w->kind == WHEN_ALL || w->kind == WHEN_ANY || w->kind == WHEN_NOT)
        for (const struct when *child = w->first; child; child = child->next)
            asks = asks || asks_threshold(child);
    return asks;
}

/* calibration: FILE */
static int calibration_compile(struct router_policy *p, const struct yaml_node *map,
    const struct router_policy_options *o, struct policy_route *route, struct error *err)
{
    struct str file;
    int rc = yaml_get_str(map, "calibration", STR_NONE, &file, err);
    if (rc)
        return rc;
    if (file.len > 0 && o->calibration) {
        struct error why;
        struct str text;
        route->calibration = arena_new(p->arena, struct router_calibration);
        if (o->calibration(p->arena, file, &text, &why) ||
            router_calibration_read(text, route->calibration, &why))
            return yaml_error(yaml_get(map, "calibration"), err, ERROR_INVALID,
                "the calibration " STR_FMT ": %s", STR_ARG(file), why.message);
    }
    for (size_t i = 0; i < route->n_rules; i++)
        if (!route->calibration && asks_threshold(route->rules[i].when))
            return yaml_error(map, err, ERROR_INVALID,
                "rule " STR_FMT " compares with the threshold of a calibration, and the route names none: "
                "calibration: FILE (see weir calibrate)",
                STR_ARG(route->rules[i].name));
    return 0;
}

static int route_compile(struct router_policy *p, const struct router_policy_options *o,
    const struct yaml_node *map, struct policy_route *route, struct error *err)
{
    static const char *const keys[] = {"name", "rules", "calibration", NULL};
    struct str name = {0};
    int rc = yaml_check_keys(map, keys, "a route", err);
    if (rc == 0)
        rc = yaml_get_str(map, "name", STR_NONE, &name, err);
    if (rc)
        return rc;
    if (name.len == 0 || name.len > LIMIT_MODEL_NAME)
        return yaml_error(map, err, ERROR_INVALID, "the route has no name: clients ask for it by its name");
    if (model_find(p, name) != SIZE_MAX)
        return yaml_error(
            map, err, ERROR_INVALID, "a model is named '" STR_FMT "' too: rename one", STR_ARG(name));
    for (size_t i = 0; i < p->n_routes; i++)
        if (str_eq(p->routes[i].name, name))
            return yaml_error(map, err, ERROR_INVALID, "a route named '" STR_FMT "' is on line %d already",
                STR_ARG(name), p->routes[i].line);
    route->name = arena_copy(p->arena, name);
    route->line = map->line;
    const struct yaml_node *rules = yaml_get(map, "rules");
    if (!rules || rules->kind != YAML_LIST || rules->count == 0)
        return yaml_error(
            map, err, ERROR_INVALID, "route '" STR_FMT "' wants a list of 'rules'", STR_ARG(name));
    return rules_compile(p, o, rules, route, err);
}

static int routes_compile(struct router_policy *p, const struct router_policy_options *o, struct error *err)
{
    const struct yaml_node *routes = o->routes;
    if (!routes)
        return 0;
    if (routes->kind != YAML_LIST)
        return yaml_error(routes, err, ERROR_INVALID, "'routes' must be a list");
    p->routes = arena_alloc(p->arena, (routes->count + 1) * sizeof *p->routes);
    for (const struct yaml_node *n = routes->first; n; n = n->next) {
        int rc = route_compile(p, o, n, &p->routes[p->n_routes], err);
        if (rc == 0)
            rc = calibration_compile(p, n, o, &p->routes[p->n_routes], err);
        if (rc)
            return rc;
        p->n_routes++;
    }
    return 0;
}

int router_policy_compile(
    const struct router_policy_options *o, struct router_policy **out, struct error *err)
{
    int rc = router_detect_init(err); /* rules may name types that the detector must know */
    if (rc)
        return rc;
    tzset(); /* for `time`; localtime_r need not do it */
    struct arena *a = arena_create(MAX_POLICY);
    struct router_policy *p = arena_new(a, struct router_policy);
    p->arena = a;
    p->on_sensitive = o->on_sensitive;
    redact_options_make(o, &p->redact);
    p->n_models = o->n_models;
    p->models = arena_alloc(a, (o->n_models + 1) * sizeof *p->models);
    for (size_t i = 0; i < o->n_models; i++)
        p->models[i] = (struct router_model){arena_copy(a, o->models[i].name), o->models[i].inside,
            o->models[i].quality, o->models[i].embedded};
    const struct detect_own_files files = {o->owner_file, o->owner_ctx};
    if (o->owner)
        rc = detect_own_compile(a, o->owner, &files, &p->own, err);
    p->redact.own = p->own;
    if (rc == 0) /* rules may name the owner's types */
        rc = routes_compile(p, o, err);
    if (rc)
        arena_free(a);
    else
        *out = p;
    return rc;
}

void router_policy_free(struct router_policy *p)
{
    if (p)
        arena_free(p->arena);
}

const struct detect_own *router_policy_own(const struct router_policy *p)
{
    return p->own;
}

bool router_policy_marked(const struct router_policy *p, const struct router_context *c)
{
    return detect_own_marked(p->own, c);
}

size_t router_policy_n_routes(const struct router_policy *p)
{
    return p->n_routes;
}

struct str router_policy_route_name(const struct router_policy *p, size_t index)
{
    return p->routes[index].name;
}

bool router_policy_is_inside(const struct router_policy *p, struct str model)
{
    size_t index = model_find(p, model);
    return index != SIZE_MAX && p->models[index].inside;
}

/* Whoever lets a second model read over the first one's shoulder may not have thought of what is sensitive:
 * it stays, unless all that is sensitive may leave. */
bool policy_cascade_stays(const struct router_policy *p, const struct policy_rule *rule)
{
    return rule->cascade && p->on_sensitive != ROUTER_SENSITIVE_ALLOW;
}

/* ---- Warnings. ---- */

/* Does the condition hold for every sensitive request? */
static bool covers_sensitive(const struct when *w)
{
    if (!w)
        return true;
    if (w->kind == WHEN_BOOL)
        return w->fact == WHEN_SENSITIVE && w->expected;
    if (w->kind != WHEN_ALL && w->kind != WHEN_ANY)
        return false;
    bool all = w->kind == WHEN_ALL;
    for (const struct when *child = w->first; child; child = child->next)
        if (covers_sensitive(child) != all)
            return !all;
    return all;
}

/* Does it hold for no sensitive request? */
static bool excludes_sensitive(const struct when *w)
{
    if (!w)
        return false;
    if (w->kind == WHEN_BOOL)
        return w->fact == WHEN_SENSITIVE && !w->expected;
    if (w->kind == WHEN_NOT)
        return covers_sensitive(w->first);
    if (w->kind != WHEN_ALL && w->kind != WHEN_ANY)
        return false;
    bool any = w->kind == WHEN_ANY;
    for (const struct when *child = w->first; child; child = child->next)
        if (excludes_sensitive(child) != any)
            return !any;
    return any;
}

static void route_warnings(const struct router_policy *p, const struct policy_route *route,
    void (*warn)(void *ctx, const char *line), void *ctx)
{
    char line[512];
    const struct policy_rule *last = NULL;
    for (size_t i = 0; i < route->n_rules; i++)
        if (!route->rules[i].shadow)
            last = &route->rules[i];
    bool guarded = false;
    for (size_t i = 0; i < route->n_rules && !guarded; i++) {
        const struct policy_rule *rule = &route->rules[i];
        if (rule->shadow)
            continue;
        bool stays = rule->local || rule->redact || policy_cascade_stays(p, rule) ||
                     inside_count(p, rule) == rule->n_targets;
        if (!stays && !excludes_sensitive(rule->when)) {
            snprintf(line, sizeof line,
                "route %s: rule %s (line %d) lets sensitive content leave: put a rule with when: {sensitive: "
                "true} "
                "and boundary: local before it, or redact: true in it",
                route->name.data, rule->name.data, rule->line);
            warn(ctx, line);
            break;
        }
        guarded = stays && covers_sensitive(rule->when);
    }
    if (last && last->when) {
        snprintf(line, sizeof line,
            "route %s: its last rule has a condition, and a request that matches no rule is refused: end "
            "with a rule "
            "without 'when'",
            route->name.data);
        warn(ctx, line);
    }
}

void router_policy_warnings(
    const struct router_policy *p, void (*warn)(void *ctx, const char *line), void *ctx)
{
    for (size_t i = 0; i < p->n_routes; i++)
        route_warnings(p, &p->routes[i], warn, ctx);
    detect_own_say(p->own, warn, ctx);
}
