/* The decision: a named model or a route's first matching rule, then the boundary over both.
 *
 *   boundary is LOCAL if the rule, the client, a failed detector, or `on_sensitive` for a named model says
 * so; then only targets inside remain, and none left is an error: nothing loosens it again. */
#include "router/decide.h"

#include <math.h>

#include "base/limits.h"
#include "router/detect_own.h"
#include "router/policy.h"

struct work {
    const struct router_policy *policy;
    struct facts *facts;
    struct arena *arena;
    struct route_decision *out;
    const char *stays; /* why it stays inside although no rule said so */
    struct router_masked *masked;
    struct error *err;
};

static void target_add(struct work *w, size_t model)
{
    const struct router_model *m = &w->policy->models[model];
    if (w->out->n_targets == LIMIT_TARGETS || (w->out->boundary == EGRESS_BOUNDARY_LOCAL && !m->inside))
        return;
    w->out->targets[w->out->n_targets++] = m->name;
}

/* What the owner's own layer found and never lets leave; looked for only where there is such a thing. */
static const struct detect_type *owner_keeps(const struct work *w)
{
    const struct detect_own *own = w->policy->own;
    return own && own->stays ? detect_own_stays(own, facts_findings(w->facts)) : NULL;
}

/* Who asks for the local boundary from outside the rules. */
static void boundary_tighten(struct work *w)
{
    const struct detect_type *own = owner_keeps(w);
    if (w->facts->detector_failed)
        w->stays = "what cannot be checked stays inside";
    else if (w->facts->context->boundary_local)
        w->stays = "the client asked to stay inside";
    else if (own)
        w->stays = arena_printf(w->arena, "the owner keeps %s inside", own->name).data;
    else
        return;
    w->out->boundary = EGRESS_BOUNDARY_LOCAL;
}

static int targets_required(struct work *w)
{
    if (w->out->n_targets > 0)
        return 0;
    return error_set(w->err, ERROR_UNAVAILABLE,
        "the request must stay inside and no model inside may answer it (rule " STR_FMT
        "): configure a local model",
        STR_ARG(w->out->rule));
}

/* What is sensitive may leave masked. Where it cannot be masked it stays inside, as after any other error.
 * False: it stays. */
static bool mask(struct work *w)
{
    struct error err;
    const struct router_policy *p = w->policy;
    if (w->facts->context->boundary_local || !facts_findings(w->facts)->sensitive ||
        w->facts->detector_failed || owner_keeps(w))
        return false;
    if (w->facts->unknown != 0) /* it is not there any more (again.c): believed */
        return w->facts->masked = true;
    if (router_redact(
            &p->redact, w->facts->caller, w->facts->request, &w->facts->findings, &w->masked, &err) == 0)
        return true;
    w->masked = NULL;
    w->stays = arena_printf(w->arena, "it cannot be masked (%s), so it stays inside", err.message).data;
    return false;
}

/* ---- A model that the client named. ---- */

/* Instead of a model outside: all models inside, in the configuration's order. Not for vectors and ranks:
 * those of another model mean something else, and whoever compares them with earlier ones would not notice.
 */
static void targets_inside(struct work *w)
{
    if (w->facts->request->kind != CHAT_KIND_ANSWER)
        return;
    for (size_t i = 0; i < w->policy->n_models; i++)
        target_add(w, i);
}

/* A model outside was named: may the content go there? */
static int named_outside(struct work *w)
{
    enum router_on_sensitive policy = w->policy->on_sensitive;
    if (policy == ROUTER_SENSITIVE_ALLOW || !facts_findings(w->facts)->sensitive)
        return 0;
    if (policy == ROUTER_SENSITIVE_REDACT && mask(w)) {
        w->out->rule = STR("named-redacted");
        return 0;
    }
    w->out->rule = STR("named-sensitive");
    w->out->boundary = EGRESS_BOUNDARY_LOCAL;
    if (w->facts->detector_failed)
        return 0; /* boundary_tighten says why */
    if (!w->stays)
        w->stays = "sensitive content stays inside";
    if (policy != ROUTER_SENSITIVE_BLOCK)
        return 0;
    w->stays = "sensitive content is blocked";
    return error_set(w->err, ERROR_DENIED,
        "the request holds sensitive content and '" STR_FMT
        "' is outside: remove it or ask for a local model",
        STR_ARG(w->facts->request->model));
}

static int named_decide(struct work *w, size_t model)
{
    w->out->rule = STR("named");
    bool inside = w->policy->models[model].inside;
    int rc = inside ? 0 : named_outside(w);
    if (rc)
        return rc;
    boundary_tighten(w);
    if (inside || w->out->boundary == EGRESS_BOUNDARY_ANY)
        target_add(w, model);
    else
        targets_inside(w);
    return targets_required(w);
}

/* ---- A route. ---- */
enum when_answer policy_rule_match(
    const struct router_policy *p, const struct policy_rule *rule, struct facts *f)
{
    struct str first = rule->n_targets > 0 ? p->models[rule->targets[0]].name : STR_NONE;
    return rule->when ? when_match(rule->when, f, first) : WHEN_YES;
}

/* The first that matches; shadow rules on the way are noted. */
static const struct policy_rule *rule_match(struct work *w, const struct policy_route *route)
{
    struct route_decision *out = w->out;
    for (size_t i = 0; i < route->n_rules; i++) {
        const struct policy_rule *rule = &route->rules[i];
        enum when_answer answer = policy_rule_match(w->policy, rule, w->facts);
        w->facts->undecided |= answer == WHEN_UNKNOWN && !rule->shadow && w->facts->unknown != 0;
        if (answer != WHEN_YES)
            continue;
        if (!rule->shadow)
            return rule;
        if (!out->shadows)
            out->shadows = arena_alloc(w->arena, route->n_rules * sizeof *out->shadows);
        out->shadows[out->n_shadows++] = rule->name;
    }
    return NULL;
}

/* What a rule orders its targets by: less is better, unknown comes last. */
static double target_value(struct work *w, enum policy_pick pick, size_t model)
{
    const struct router_model *m = &w->policy->models[model];
    double value = pick == PICK_CHEAPEST  ? facts_cost_usd(w->facts, m->name)
                   : pick == PICK_FASTEST ? facts_latency_ms(w->facts, m->name)
                                          : m->quality;
    if (pick == PICK_BEST)
        return value > 0 ? -value : INFINITY;
    return value >= 0 ? value : INFINITY;
}

/* Equal ones stay in the order written. */
static void targets_order(struct work *w, const struct policy_rule *rule, size_t order[LIMIT_TARGETS])
{
    double values[LIMIT_TARGETS];
    for (size_t i = 0; i < rule->n_targets; i++) {
        size_t at = i, least = rule->cascade ? 1 : 0; /* a cascade's first stays the first */
        double value = rule->pick == PICK_WRITTEN ? 0 : target_value(w, rule->pick, rule->targets[i]);
        for (; at > least && values[at - 1] > value; at--) {
            values[at] = values[at - 1];
            order[at] = order[at - 1];
        }
        values[at] = value;
        order[at] = rule->targets[i];
    }
}

static bool leaves(const struct router_policy *p, const struct policy_rule *rule)
{
    bool outside = false;
    for (size_t i = 0; i < rule->n_targets; i++)
        outside = outside || !p->models[rule->targets[i]].inside;
    return outside;
}

/* From here on complexity is the route's own. Of a request that is not there any more nobody can tell it. */
static void calibration_take(struct facts *f, const struct policy_route *route)
{
    bool computed = (f->have & FACTS_COMPLEXITY) != 0;
    if (!route->calibration)
        return;
    f->calibration = route->calibration;
    if (f->unknown != 0) {
        f->unknown |= 1u << WHEN_COMPLEXITY;
        return;
    }
    f->have &= ~(unsigned)FACTS_COMPLEXITY;
    if (computed)
        facts_complexity(f);
}

/* Only an answer has tokens to be unsure of, and where the boundary leaves one target there is nobody to go
 * on to. */
static void cascade_take(struct work *w, const struct policy_rule *rule)
{
    const struct chat_request *r = w->facts->request;
    if (!rule->cascade || w->out->n_targets < 2 || r->kind != CHAT_KIND_ANSWER || r->count_only)
        return;
    struct router_cascade *copy = arena_new(w->arena, struct router_cascade);
    *copy = *rule->cascade;
    w->out->cascade = copy;
}

static int route_decide(struct work *w, const struct policy_route *route)
{
    w->out->route = route->name;
    calibration_take(w->facts, route);
    const struct policy_rule *rule = rule_match(w, route);
    if (!rule)
        return error_set(w->err, ERROR_NOT_FOUND,
            "no rule of route '" STR_FMT "' matches the request: end the route with a rule without 'when'",
            STR_ARG(route->name));
    w->out->rule = rule->name;
    w->out->hedge_ms = rule->hedge_ms;
    w->out->cache = rule->cache;
    w->out->boundary = rule->local ? EGRESS_BOUNDARY_LOCAL : EGRESS_BOUNDARY_ANY;
    if (rule->redact && facts_findings(w->facts)->sensitive && leaves(w->policy, rule) && !mask(w))
        w->out->boundary = EGRESS_BOUNDARY_LOCAL;
    if (w->out->boundary == EGRESS_BOUNDARY_ANY && !w->masked && !w->facts->masked &&
        policy_cascade_stays(w->policy, rule) && leaves(w->policy, rule) &&
        facts_findings(w->facts)->sensitive) {
        w->out->boundary = EGRESS_BOUNDARY_LOCAL;
        w->facts->undecided |= (w->facts->unknown & 1u << WHEN_SENSITIVE) != 0;
        w->stays = "what is sensitive is passed on to nobody outside";
    }
    if (!rule->local)
        boundary_tighten(w);
    size_t order[LIMIT_TARGETS];
    targets_order(w, rule, order);
    for (size_t i = 0; i < rule->n_targets; i++)
        target_add(w, order[i]);
    cascade_take(w, rule);
    return targets_required(w);
}

/* ---- Both. ---- */
static int name_unknown(const struct router_policy *p, struct str name, struct error *err)
{
    struct buf list;
    buf_init(&list, 300);
    for (size_t i = 0; i < p->n_routes && !list.failed; i++)
        buf_appendf(&list, "%s" STR_FMT, list.len ? ", " : "", STR_ARG(p->routes[i].name));
    for (size_t i = 0; i < p->n_models && !list.failed; i++)
        buf_appendf(&list, "%s" STR_FMT, list.len ? ", " : "", STR_ARG(p->models[i].name));
    int rc = error_set(err, ERROR_NOT_FOUND, "no model '" STR_FMT "': there are " STR_FMT,
        STR_ARG(str_slice(name, 0, str_utf8_floor(name.data, name.len < 64 ? name.len : 64))),
        STR_ARG(list.len ? buf_str(&list) : STR("none configured")));
    buf_free(&list);
    return rc;
}

static int name_decide(struct work *w)
{
    const struct router_policy *p = w->policy;
    struct str name = w->facts->request->model;
    for (size_t i = 0; i < p->n_routes; i++)
        if (str_eq(p->routes[i].name, name))
            return route_decide(w, &p->routes[i]);
    for (size_t i = 0; i < p->n_models; i++)
        if (str_eq(p->models[i].name, name))
            return named_decide(w, i);
    return name_unknown(p, name, w->err);
}

/* What was computed goes into the decision, and nothing else. */
static void facts_record(const struct facts *f, struct route_decision *out)
{
    out->facts_sensitive = (f->have & FACTS_FINDINGS) != 0;
    out->findings = f->findings;
    out->complexity = f->have & FACTS_COMPLEXITY ? f->complexity : NAN;
    out->task = f->have & FACTS_TASK ? f->task : NULL;
    out->tokens = f->have & FACTS_TOKENS ? f->tokens : -1;
}

int router_decide_facts(
    const struct router_policy *p, struct facts *f, struct route_decision *out, struct error *err)
{
    struct arena *a = f->request->arena;
    struct work w = {.policy = p, .facts = f, .arena = a, .out = out, .err = err};
    *out = (struct route_decision){.request_id = arena_copy(a, f->context->request_id),
        .boundary = f->context->boundary_local ? EGRESS_BOUNDARY_LOCAL : EGRESS_BOUNDARY_ANY,
        .complexity = NAN,
        .tokens = -1,
        .targets = arena_alloc(a, LIMIT_TARGETS * sizeof(struct str))};
    int rc = name_decide(&w);
    if (rc)
        out->n_targets = 0;
    facts_record(f, out);
    /* The names are the policy's; a reload may free it while the request still runs. */
    out->route = arena_copy(a, out->route);
    out->rule = arena_copy(a, out->rule);
    for (size_t i = 0; i < out->n_targets; i++)
        out->targets[i] = arena_copy(a, out->targets[i]);
    for (size_t i = 0; i < out->n_shadows; i++)
        out->shadows[i] = arena_copy(a, out->shadows[i]);
    out->masked = rc ? NULL : w.masked;
    out->reason =
        rc ? arena_copy(a, err ? str_from(err->message) : STR_NONE) : router_reason(a, out, f, w.stays);
    if (rc == 0 && w.masked)
        w.masked->permit = router_permit(a, out, true, f->context->mono_ms);
    if (rc == 0)
        out->permit = router_permit(a, out, false, f->context->mono_ms);
    return rc;
}

int router_decide(const struct router_policy *p, const struct chat_request *r, const struct router_context *c,
    struct route_decision *out, struct error *err)
{
    struct facts f;
    facts_init(&f, p->own, r, c);
    return router_decide_facts(p, &f, out, err);
}

void facts_compute(struct facts *f)
{
    facts_findings(f);
    facts_complexity(f);
    facts_task(f);
    facts_tokens(f);
}
