/* weir report: what was asked, by whom, what it took and cost, and what answers from inside would have cost
 * elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/must.h"
#include "json/json.h"

static const char help[] =
    "usage: weir report [--by day|month|key|team|model|route|rule] [--since 30d] [--instead MODEL] [--json]\n"
    "                   [--config FILE | --state URL]\n"
    "\n"
    "Sums the ledger: requests, those that failed, those answered inside (by this machine or a provider of zone\n"
    "local), tokens and cost in US dollars. The ledger goes back as far as retention.metadata lets it.\n"
    "\n"
    "  --by WHAT          a line for each; default day\n"
    "  --since AGE        from then on, like 24h, 30d or 2026-11-01; default all\n"
    "  --instead MODEL    what the answers from inside would have cost at this configured model's price\n"
    "  --json             JSONL instead of a table\n";

enum by { BY_DAY, BY_MONTH, BY_KEY, BY_TEAM, BY_MODEL, BY_ROUTE, BY_RULE, BY_WHATS };
static const char *const whats[BY_WHATS] = {"day", "month", "key", "team", "model", "route", "rule"};

struct sums {
    struct str name;
    int64_t requests, failed, inside, input, output, cost, instead;
};

struct report {
    struct verb_state where;
    const char *since, *instead;
    bool json;
    enum by by;
    struct config *config;
    struct router_policy *policy; /* NULL: only what ran here is known to be inside */
    struct govern_price price;    /* of `instead` */
    struct arena *arena;
    struct map by_name, key_names; /* to indexes of `groups` and `names` */
    struct sums *groups, total;
    size_t n_groups, room;
    struct str *names; /* of keys */
    size_t n_names, names_room;
    struct error err;
};

static bool options_read(int argc, char **argv, struct report *r, int *exit_code)
{
    const char *by = "day";
    const struct verb_option options[] = {{"by", &by, NULL}, {"since", &r->since, NULL},
        {"instead", &r->instead, NULL}, {"json", NULL, &r->json}, {"state", &r->where.url, NULL},
        {"config", &r->where.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    *exit_code = n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n < 0)
        return false;
    if (n > 0)
        verb_failf(EXIT_USAGE, "report takes no argument '%s'", argv[1]);
    for (int i = 0; i < BY_WHATS && n == 0; i++)
        if (strcmp(by, whats[i]) == 0) {
            r->by = (enum by)i;
            return true;
        }
    if (n == 0)
        verb_failf(EXIT_USAGE, "--by is day, month, key, team, model, route or rule, not '%s'", by);
    return false;
}

/* ---- Names of keys: the ledger has their ids. ---- */

static int key_note(void *ctx, const struct store_key *key)
{
    struct report *r = ctx;
    bool added;
    if (r->n_names == r->names_room) {
        r->names_room = r->names_room ? 2 * r->names_room : 64;
        r->names = must(reallocarray(r->names, r->names_room, sizeof *r->names));
    }
    r->names[r->n_names] = arena_printf(r->arena, STR_FMT " " STR_FMT, STR_ARG(key->id), STR_ARG(key->name));
    struct str id = str_slice(r->names[r->n_names], 0, key->id.len);
    return map_add(&r->key_names, id, (uint32_t)r->n_names++, &added, &r->err);
}

/* ---- Sums ---- */

static struct str group_of(const struct report *r, const struct store_ledger_row *row, char text[32])
{
    const uint32_t *name = NULL;
    switch (r->by) {
    case BY_KEY:
        name = map_find(&r->key_names, row->opened.key_id);
        return name ? r->names[*name] : row->opened.key_id;
    case BY_TEAM:
        return row->opened.team;
    case BY_MODEL:
        return row->settled.model;
    case BY_ROUTE:
        return row->opened.model;
    case BY_RULE:
        return row->opened.rule;
    default:
        clock_format(row->opened.wall_ms, text);
        return (struct str){text, r->by == BY_MONTH ? 7 : 10};
    }
}

static struct sums *sums_of(struct report *r, struct str name)
{
    bool added;
    const uint32_t *at = map_find(&r->by_name, name);
    if (at)
        return &r->groups[*at];
    if (r->n_groups == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->groups = must(reallocarray(r->groups, r->room, sizeof *r->groups));
    }
    struct sums *s = &r->groups[r->n_groups];
    *s = (struct sums){.name = arena_copy(r->arena, name)};
    return map_add(&r->by_name, s->name, (uint32_t)r->n_groups++, &added, &r->err) ? NULL : s;
}

static void sums_add(struct sums *s, const struct store_settled *row, bool inside, int64_t instead)
{
    bool answered = str_is(row->outcome, "ok") || str_is(row->outcome, "cached");
    s->requests++;
    s->failed += !answered && !str_is(row->outcome, "open");
    s->inside += answered && inside;
    s->input += row->input_tokens > 0 ? row->input_tokens : 0;
    s->output += row->output_tokens > 0 ? row->output_tokens : 0;
    s->cost += row->cost_nano_usd > 0 ? row->cost_nano_usd : 0;
    s->instead += instead;
}

static int row_add(void *ctx, const struct store_ledger_row *row)
{
    struct report *r = ctx;
    char text[32];
    struct sums *s = sums_of(r, group_of(r, row, text));
    if (!s)
        return r->err.code;
    const struct store_settled *settled = &row->settled;
    bool inside = str_is(settled->provider, "local") ||
                  (r->policy && router_policy_is_inside(r->policy, settled->model));
    const struct chat_usage usage = {.input_tokens = settled->input_tokens,
        .cached_tokens = settled->cached_tokens,
        .output_tokens = settled->output_tokens};
    int64_t instead = inside && r->instead ? govern_price_cost(&r->price, &usage) : 0;
    instead = instead > 0 ? instead : 0;
    sums_add(s, settled, inside, instead);
    sums_add(&r->total, settled, inside, instead);
    return 0;
}

/* Days in their order, others by what they cost, then by how often they asked. */
static int compare_days(const void *a, const void *b)
{
    const struct sums *x = a, *y = b;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    return n > 0 ? memcmp(x->name.data, y->name.data, n) : 0;
}

static int compare_costs(const void *a, const void *b)
{
    const struct sums *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? 1 : -1;
    return (x->requests < y->requests) - (x->requests > y->requests);
}

/* ---- Printing ---- */

static void print_usd(int64_t nano_usd)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_decimal(&text, (nano_usd + 50000) / 100000, 4);
    printf(" %14s", text.data);
    buf_free(&text);
}

static void print_row(const struct report *r, const struct sums *s)
{
    verb_print_cell(s->name.len ? s->name : STR("-"), 36);
    printf(" %10lld %8lld %10lld %14lld %14lld", (long long)s->requests, (long long)s->failed,
        (long long)s->inside, (long long)s->input, (long long)s->output);
    print_usd(s->cost);
    if (r->instead)
        print_usd(s->instead);
    putchar('\n');
}

static void usd_write(struct json_writer *w, const char *key, int64_t nano_usd)
{
    struct buf text;
    buf_init(&text, 64);
    buf_append_decimal(&text, nano_usd, 9);
    json_key_str(w, str_from(key));
    json_write_raw(w, buf_str(&text));
    buf_free(&text);
}

static int print_json(struct report *r, const struct sums *s)
{
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"requests", s->requests}, {"failed", s->failed}, {"inside", s->inside},
        {"input_tokens", s->input}, {"output_tokens", s->output}};
    struct buf text;
    struct json_writer w;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_key_str(&w, str_from(whats[r->by]));
    json_write_str(&w, s->name);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_key_str(&w, str_from(counts[i].key));
        json_write_int(&w, counts[i].value);
    }
    usd_write(&w, "cost_usd", s->cost);
    if (r->instead)
        usd_write(&w, "instead_usd", s->instead);
    json_object_end(&w);
    return verb_print_line(&text, &r->err);
}

static int print(struct report *r)
{
    int rc = 0;
    qsort(r->groups, r->n_groups, sizeof *r->groups, r->by <= BY_MONTH ? compare_days : compare_costs);
    if (!r->json)
        printf("%-36s %10s %8s %10s %14s %14s %14s%s\n", whats[r->by], "REQUESTS", "FAILED", "INSIDE",
            "INPUT", "OUTPUT", "USD", r->instead ? "    INSTEAD USD" : "");
    for (size_t i = 0; i < r->n_groups && rc == 0; i++) {
        if (r->json)
            rc = print_json(r, &r->groups[i]);
        else
            print_row(r, &r->groups[i]);
    }
    r->total.name = STR("total");
    if (!r->json)
        print_row(r, &r->total);
    return rc ? verb_fail(EXIT_FAILED, &r->err) : EXIT_DONE;
}

/* ---- The verb ---- */

static int price_find(struct report *r)
{
    for (size_t i = 0; r->instead && i < r->config->n_models; i++)
        if (str_is(r->config->models[i].name, r->instead))
            r->price = r->config->models[i].price;
    if (!r->instead || r->price.known)
        return EXIT_DONE;
    return verb_failf(
        EXIT_USAGE, "--instead wants a configured model whose price is known, not '%s'", r->instead);
}

static int sum(struct report *r, int64_t since_ms)
{
    struct store *s;
    int exit_code = verb_state_open(&r->where, false, &s);
    if (exit_code)
        return exit_code;
    int rc = map_init(&r->by_name, 256, &r->err);
    if (rc == 0)
        rc = map_init(&r->key_names, 256, &r->err);
    if (rc == 0 && r->by == BY_KEY)
        rc = store_key_list(s, key_note, r, &r->err);
    if (rc == 0)
        rc = store_ledger_list(s, since_ms, row_add, r, &r->err);
    store_close(s);
    return rc ? verb_fail(EXIT_FAILED, &r->err) : EXIT_DONE;
}

int verb_report(int argc, char **argv)
{
    const struct config_overrides asks_nobody = {.asks_nobody = true};
    struct report r = {.json = false};
    int64_t since_ms;
    int exit_code;
    if (!options_read(argc, argv, &r, &exit_code))
        return exit_code;
    if (!verb_since(r.since, &since_ms))
        return EXIT_USAGE;
    if ((!r.where.url || r.instead) &&
        config_policy_load(str_from(r.where.config), &asks_nobody, &r.config, &r.policy, &r.err))
        return verb_fail(EXIT_USAGE, &r.err);
    exit_code = price_find(&r);
    r.arena = arena_create(256 * MIB);
    if (exit_code == EXIT_DONE)
        exit_code = sum(&r, since_ms);
    if (exit_code == EXIT_DONE)
        exit_code = print(&r);
    map_free(&r.by_name);
    map_free(&r.key_names);
    free(r.groups);
    free(r.names);
    arena_free(r.arena);
    router_policy_free(r.policy);
    if (r.config)
        config_free(r.config);
    if (exit_code == EXIT_DONE && fflush(stdout) != 0)
        return verb_failf(EXIT_FAILED, "cannot write to standard output");
    return exit_code;
}
