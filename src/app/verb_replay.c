/* weir replay: what other rules would have done with the requests of the ledger. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/responses_in.h"
#include "api/responses_kept.h"
#include "app/config.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/limits.h"
#include "base/must.h"
#include "base/sort.h"
#include "exchange/attempts.h"
#include "govern/govern.h"
#include "json/json.h"

static const char help[] =
    "usage: weir replay --policy NEW.yaml [--since 7d] [--json] [--state URL | --config FILE]\n"
    "\n"
    "Decides the answered requests of the ledger again, by the routes, models and prices of NEW.yaml, and prints\n"
    "what would have changed: which rule and target, cost, share inside, time to the first token, and leaks:\n"
    "sensitive requests that would leave. Nothing is sent, nothing is written. Where the retention kept what was\n"
    "asked (responses), it is judged anew, also by new detectors. The ledger itself holds no content, so else a\n"
    "rule is asked with what the old decision had computed; a request for which that does not suffice (a fact\n"
    "that no rule had asked for, tags, tools, pictures, language, budget) is counted as undecided and left out.\n"
    "Cost is the new target's price for the tokens that were used; latency the median of what that target took\n"
    "in these rows (of requests whose own is known: not of answers asked for whole). A cascade is decided by what\n"
    "its local model was measured as then; a request where it was not is taken to be kept, and counted as\n"
    "unmeasured. Exit code 1 if a request would leak.\n"
    "\n"
    "  --policy FILE      a configuration with the new routes\n"
    "  --since AGE|TIME   only what is newer: 24h, 7d, 2026-11-20 or 2026-11-20T12:00:00Z; default all\n"
    "  --json             an object instead of a table\n"
    "  --state URL        the state, like sqlite:weir.db; default the configuration's\n"
    "  --config FILE      the configuration of that state; default weir.yaml\n";

enum { TARGETS_MOST = 1024, CHANGES_MOST = 256, LEAKS_SHOWN = 20, SAMPLES_MOST = 4096 };

/* Of one side, before or after. */
struct side {
    int64_t inside, cost_nano, cost_unknown, latency_known;
    double latency_ms; /* sum */
};

struct target {
    char name[LIMIT_MODEL_NAME + 1];
    double first_ms[SAMPLES_MOST]; /* a sample of its times to the first token */
    int64_t n_first;
    double median;
};

struct key {
    char id[32], name[64];
};

struct change {
    char from[128], to[128]; /* "rule -> target" */
    int64_t count;
};

struct replay {
    const struct config *config;
    const struct router_policy *policy;
    struct target *targets;
    size_t n_targets;
    struct key *keys; /* rules know them by name, the ledger by id */
    size_t n_keys;
    struct change changes[CHANGES_MOST];
    size_t n_changes;
    int64_t other_changes; /* of further kinds */
    struct store *store;
    int64_t rows, decided, undecided, refused, changed, leaks, unchecked, unmeasured, with_content;
    char leaked[LEAKS_SHOWN][72];
    struct side before, after;
    struct error *err;
};

/* ---- How long targets took ---- */

static struct target *target_find(struct replay *r, struct str name)
{
    for (size_t i = 0; i < r->n_targets; i++)
        if (str_is(name, r->targets[i].name))
            return &r->targets[i];
    return NULL;
}

static int row_time(void *ctx, const struct store_ledger_row *row)
{
    struct replay *r = ctx;
    const struct store_settled *s = &row->settled;
    if (s->first_token_ms < 0 || s->model.len == 0 || s->model.len > LIMIT_MODEL_NAME)
        return 0;
    struct target *t = target_find(r, s->model);
    if (!t) {
        if (r->n_targets == TARGETS_MOST)
            return 0;
        r->targets = must(realloc(r->targets, (r->n_targets + 1) * sizeof *r->targets));
        t = &r->targets[r->n_targets++];
        t->n_first = 0;
        memcpy(t->name, s->model.data, s->model.len);
        t->name[s->model.len] = '\0';
    }
    t->first_ms[t->n_first++ % SAMPLES_MOST] = (double)s->first_token_ms;
    return 0;
}

static void medians_make(struct replay *r)
{
    for (size_t i = 0; i < r->n_targets; i++) {
        struct target *t = &r->targets[i];
        size_t n = t->n_first < SAMPLES_MOST ? (size_t)t->n_first : SAMPLES_MOST;
        sort_doubles(t->first_ms, n);
        t->median = t->first_ms[n / 2];
    }
}

static int key_take(void *ctx, const struct store_key *key)
{
    struct replay *r = ctx;
    r->keys = must(realloc(r->keys, (r->n_keys + 1) * sizeof *r->keys));
    struct key *k = &r->keys[r->n_keys++];
    snprintf(k->id, sizeof k->id, STR_FMT, STR_ARG(key->id));
    snprintf(k->name, sizeof k->name, STR_FMT, STR_ARG(key->name));
    return 0;
}

static struct str key_name(const struct replay *r, struct str id)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (str_is(id, r->keys[i].id))
            return str_from(r->keys[i].name);
    return STR_NONE;
}

/* ---- What the router asks ---- */
struct asked {
    struct replay *replay;
    const struct store_settled *settled;
};

static int64_t cost_at(const struct replay *r, struct str model, const struct store_settled *s)
{
    const struct chat_usage usage = {.input_tokens = s->input_tokens,
        .cached_tokens = s->cached_tokens,
        .output_tokens = s->output_tokens};
    for (size_t i = 0; i < r->config->n_models; i++) {
        const struct config_model *m = &r->config->models[i];
        const struct govern_price free_of_charge = {.known = true};
        if (str_eq(m->name, model))
            return govern_price_cost(m->file.len > 0 ? &free_of_charge : &m->price, &usage);
    }
    return -1;
}

static double ask_cost(void *ctx, struct str model, int64_t tokens)
{
    const struct asked *a = ctx;
    (void)tokens;
    int64_t nano = cost_at(a->replay, model, a->settled);
    return nano < 0 ? -1 : (double)nano * 1e-9;
}

static double ask_latency(void *ctx, struct str model, int64_t tokens)
{
    const struct asked *a = ctx;
    (void)tokens;
    const struct target *t = target_find(a->replay, model);
    return t ? t->median : -1;
}

/* ---- Rows ---- */

static void side_add(struct side *side, bool inside, int64_t cost_nano, double latency_ms)
{
    side->inside += inside;
    if (cost_nano >= 0)
        side->cost_nano += cost_nano;
    else
        side->cost_unknown++;
    if (latency_ms >= 0) {
        side->latency_ms += latency_ms;
        side->latency_known++;
    }
}

static void change_add(struct replay *r, const char *from, const char *to)
{
    for (size_t i = 0; i < r->n_changes; i++)
        if (strcmp(r->changes[i].from, from) == 0 && strcmp(r->changes[i].to, to) == 0) {
            r->changes[i].count++;
            return;
        }
    if (r->n_changes == CHANGES_MOST) {
        r->other_changes++;
        return;
    }
    struct change *c = &r->changes[r->n_changes++];
    c->count = 1;
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
}

static void leak_note(struct replay *r, const struct store_opened *o, const struct router_again *again)
{
    if (!again->checked) {
        r->unchecked++;
        return;
    }
    if (!again->sensitive || again->masked)
        return;
    if (r->leaks < LEAKS_SHOWN)
        snprintf(r->leaked[r->leaks], sizeof r->leaked[0], STR_FMT, STR_ARG(o->request_id));
    r->leaks++;
}

/* Who would answer. A cascade's local model was perhaps measured then; else it is taken to be sure, and
 * counted. */
static struct str target_of(struct replay *r, const struct store_settled *s, const struct route_decision *d)
{
    struct doubt doubt;
    if (d->n_targets == 0 || !d->cascade)
        return d->n_targets > 0 ? d->targets[0] : STR_NONE;
    bool told = attempts_measured(s->attempts, d->targets[0], &doubt);
    r->unmeasured += !told;
    return d->targets[told && doubt_value(&doubt, d->cascade) >= d->cascade->threshold];
}

/* Old and new rule and first target; both sides' figures. */
static void row_compare(struct replay *r, const struct store_ledger_row *row, const struct route_decision *d,
    const struct router_again *again)
{
    const struct store_opened *o = &row->opened;
    const struct store_settled *s = &row->settled;
    char from[128], to[128];
    struct str target = target_of(r, s, d);
    bool was_inside = str_is(s->provider, "local") || router_policy_is_inside(r->policy, s->model);
    bool inside = target.len == 0 || router_policy_is_inside(r->policy, target);
    snprintf(from, sizeof from, STR_FMT " -> " STR_FMT, STR_ARG(o->rule), STR_ARG(s->model));
    snprintf(to, sizeof to, STR_FMT " -> " STR_FMT, STR_ARG(d->rule),
        STR_ARG(target.len ? target : STR("refused")));
    r->decided++;
    if (strcmp(from, to) != 0) {
        r->changed++;
        change_add(r, from, to);
    }
    const struct asked asked = {r, s};
    const bool same = str_eq(target, s->model);
    const double was_ms = (double)s->first_token_ms,
                 ms = same              ? was_ms
                      : target.len == 0 ? -1
                                        : ask_latency((void *)(uintptr_t)&asked, target, 0);
    /* The same rows on both sides: those of which one time is not known would move the other side's mean. */
    const bool timed = was_ms >= 0 && ms >= 0;
    side_add(&r->before, was_inside, s->cost_nano_usd, timed ? was_ms : -1);
    if (target.len == 0) {
        r->refused++;
        return;
    }
    side_add(&r->after, inside, same ? s->cost_nano_usd : cost_at(r, target, s), timed ? ms : -1);
    if (!inside)
        leak_note(r, o, again);
}

/* The request itself, where it was kept and can still be read. */
static struct chat_request *request_kept(
    struct replay *r, struct arena *a, const struct store_ledger_row *row)
{
    char id[RESPONSES_ID];
    struct store_response kept;
    struct str body;
    struct chat_request *request;
    struct error err;
    api_responses_id(row->id, id);
    if (store_response_find(r->store, str_from(id), row->opened.key_id, a, &kept, &err) ||
        api_responses_again(&kept, a, &body, &err) || api_responses_read(a, body, &request, &err))
        return NULL;
    r->with_content++;
    return request;
}

static int row_decide(struct replay *r, struct arena *a, const struct store_ledger_row *row)
{
    const struct store_opened *o = &row->opened;
    struct asked asked = {r, &row->settled};
    struct router_context c = {.request_id = o->request_id,
        .key = key_name(r, o->key_id),
        .team = o->team,
        .wall_ms = o->wall_ms,
        .cost_usd = ask_cost,
        .latency_ms = ask_latency,
        .ctx = &asked};
    struct route_decision d;
    json_t *decision;
    struct router_again again;
    int rc = json_read_in(a, o->decision, &decision, r->err);
    if (rc)
        return error_wrap(r->err, "the decision of " STR_FMT, STR_ARG(o->request_id));
    c.boundary_local =
        str_find(json_text(decision, "reason"), STR("the client asked to stay inside")) != SIZE_MAX;
    rc = router_decide_again(
        r->policy, a, o->model, decision, request_kept(r, a, row), &c, &d, &again, r->err);
    if (!again.told)
        r->undecided++;
    else if (rc == 0 || rc == ERROR_NOT_FOUND || rc == ERROR_DENIED || rc == ERROR_UNAVAILABLE)
        row_compare(r, row, &d, &again);
    else
        return rc;
    return 0;
}

static int row_take(void *ctx, const struct store_ledger_row *row)
{
    struct replay *r = ctx;
    if (!str_is(row->settled.outcome, "ok") || row->opened.decision.len == 0)
        return 0;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    r->rows++;
    int rc = row_decide(r, a, row);
    arena_free(a);
    return rc;
}

/* ---- What came of it ---- */

static double share(int64_t part, int64_t of)
{
    return of > 0 ? 100.0 * (double)part / (double)of : 0;
}

static double mean_ms(const struct side *s)
{
    return s->latency_known > 0 ? s->latency_ms / (double)s->latency_known : -1;
}

static int by_count(const void *a, const void *b)
{
    int64_t x = ((const struct change *)a)->count, y = ((const struct change *)b)->count;
    return (x < y) - (x > y);
}

static int table_print(const struct replay *r)
{
    int64_t answered = r->decided - r->refused;
    printf("%" PRId64 " answered requests, %" PRId64 " decided again, %" PRId64
           " undecided (facts not in the ledger)\n",
        r->rows, r->decided, r->undecided);
    printf("%-22s %14s %14s\n", "", "BEFORE", "AFTER");
    printf("%-22s %14s %14" PRId64 "\n", "  by their content", "", r->with_content);
    printf("%-22s %14s %14" PRId64 "\n", "changed", "", r->changed);
    printf("%-22s %13.1f%% %13.1f%%\n", "inside", share(r->before.inside, r->decided),
        share(r->after.inside, answered));
    printf("%-22s %14.6f %14.6f\n", "cost, USD", (double)r->before.cost_nano * 1e-9,
        (double)r->after.cost_nano * 1e-9);
    printf("%-22s %14" PRId64 " %14" PRId64 "\n", "  of unknown cost", r->before.cost_unknown,
        r->after.cost_unknown);
    printf("%-22s %14.0f %14.0f\n", "first token, mean ms", mean_ms(&r->before), mean_ms(&r->after));
    printf("%-22s %14s %14" PRId64 "\n", "refused", "", r->refused);
    printf("%-22s %14s %14" PRId64 "\n", "sensitive, leaving", "", r->leaks);
    printf("%-22s %14s %14" PRId64 "\n", "unchecked, leaving", "", r->unchecked);
    printf("%-22s %14s %14" PRId64 "\n", "cascade, unmeasured", "", r->unmeasured);
    for (size_t i = 0; i < r->n_changes; i++)
        printf("%7" PRId64 "  %s  =>  %s\n", r->changes[i].count, r->changes[i].from, r->changes[i].to);
    if (r->other_changes > 0)
        printf("%7" PRId64 "  other changes\n", r->other_changes);
    for (int64_t i = 0; i < r->leaks && i < LEAKS_SHOWN; i++)
        printf("leak: %s\n", r->leaked[i]);
    return 0;
}

static void side_write(struct json_writer *w, const char *key, const struct side *s)
{
    json_key(w, key);
    json_object_begin(w);
    json_member_int(w, "inside", s->inside);
    json_member_double(w, "cost_usd", (double)s->cost_nano * 1e-9);
    json_member_int(w, "cost_unknown", s->cost_unknown);
    json_key(w, "first_token_ms");
    if (s->latency_known > 0)
        json_write_double(w, mean_ms(s));
    else
        json_write_null(w);
    json_object_end(w);
}

static int json_print(const struct replay *r)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 4 * MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_int(&w, "requests", r->rows);
    json_member_int(&w, "decided", r->decided);
    json_member_int(&w, "undecided", r->undecided);
    json_member_int(&w, "with_content", r->with_content);
    json_member_int(&w, "changed", r->changed);
    json_member_int(&w, "refused", r->refused);
    json_member_int(&w, "leaks", r->leaks);
    json_member_int(&w, "unchecked_leaving", r->unchecked);
    json_member_int(&w, "unmeasured", r->unmeasured);
    side_write(&w, "before", &r->before);
    side_write(&w, "after", &r->after);
    json_key(&w, "changes");
    json_array_begin(&w);
    for (size_t i = 0; i < r->n_changes; i++) {
        json_object_begin(&w);
        json_member_text(&w, "from", r->changes[i].from);
        json_member_text(&w, "to", r->changes[i].to);
        json_member_int(&w, "count", r->changes[i].count);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_key(&w, "leaking");
    json_array_begin(&w);
    for (int64_t i = 0; i < r->leaks && i < LEAKS_SHOWN; i++)
        json_write_text(&w, r->leaked[i]);
    json_array_end(&w);
    json_object_end(&w);
    return verb_print_line(&out, r->err);
}

static int replay_run(struct replay *r, struct store *s, int64_t since_ms)
{
    int rc = store_key_list(s, key_take, r, r->err);
    if (rc == 0)
        rc = store_ledger_list(s, since_ms, row_time, r, r->err);
    medians_make(r);
    return rc ? rc : store_ledger_list(s, since_ms, row_take, r, r->err);
}

int verb_replay(int argc, char **argv)
{
    const char *since = NULL, *file = NULL;
    bool json = false;
    struct verb_state where = {NULL, NULL};
    const struct verb_option options[] = {{"since", &since, NULL}, {"policy", &file, NULL},
        {"json", NULL, &json}, {"state", &where.url, NULL}, {"config", &where.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !file)
        return verb_failf(
            EXIT_USAGE, "replay wants the new rules, --policy NEW.yaml: see weir replay --help");
    const struct config_overrides asks_nobody = {.asks_nobody = true};
    int64_t since_ms;
    struct config *config;
    struct router_policy *policy;
    struct store *s;
    struct error err = {.message = "the result could not be printed"};
    if (!verb_since(since, &since_ms))
        return EXIT_USAGE;
    if (config_policy_load(str_from(file), &asks_nobody, &config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    int exit_code = verb_state_open(&where, false, &s);
    if (exit_code == EXIT_DONE) {
        struct replay *r = must(calloc(1, sizeof *r));
        r->config = config;
        r->policy = policy;
        r->store = s;
        r->err = &err;
        int rc = replay_run(r, s, since_ms);
        store_close(s);
        qsort(r->changes, r->n_changes, sizeof *r->changes, by_count);
        if (rc == 0)
            rc = (json ? json_print : table_print)(r);
        exit_code = rc || fflush(stdout) != 0 ? verb_fail(EXIT_FAILED, &err)
                    : r->leaks > 0            ? EXIT_FAILED
                                              : EXIT_DONE;
        free(r->targets);
        free(r->keys);
        free(r);
    }
    router_policy_free(policy);
    config_free(config);
    return exit_code;
}
