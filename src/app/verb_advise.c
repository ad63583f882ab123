/* weir advise: local, cloud or hybrid, and when it pays, from what the ledger measured.
 *
 *   ledger --> kinds (route x task): tokens, costs, times --+
 *              models: speeds, who answers most             +--> advise.c --> a table, or an object
 *   options: hardware, energy, prices, quality -------------+ */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/advise_inner.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/must.h"
#include "json/json.h"

static const char help[] =
    "usage: weir advise [--since 30d] [--hardware USD] [--quality FILE] [options] [--json]\n"
    "                   [--config FILE | --state URL]\n"
    "\n"
    "Says of the ledger's answered requests, kind by kind (route and task), whether they are better answered here\n"
    "or outside, what a month costs each way, from how many requests a month a machine of one's own pays and when\n"
    "its price is back, and what to change in the configuration. Tokens, prices and speeds are measured; what no\n"
    "ledger knows is assumed, said, and set by:\n"
    "\n"
    "  --hardware USD     price of a machine, default 2000; 0: it is there already\n"
    "  --months N         how long it is used, default 36\n"
    "  --watts N          it draws at work, default 300; --idle-watts N: otherwise, default 50\n"
    "  --kwh USD          price of energy, default 0.30\n"
    "  --load SHARE       of its hours that a machine works at most, default 0.5\n"
    "  --decode N, --prefill N   tokens a second there, as weir bench says; default: as measured here, one request at\n"
    "                     a time\n"
    "  --local MODEL      whose speed and quality count here; default: the one that answered most\n"
    "  --cloud MODEL      whose price and quality count outside; default likewise\n"
    "  --price IN,OUT     that price, USD per million tokens\n"
    "  --volume N         requests a month; default: as measured, over at least a day\n"
    "  --quality FILE     what weir eval --out graded, with both models\n"
    "  --tolerance SHARE  how much less quality will do, default 0.05\n"
    "  --least N          requests of a kind before anything is said of it, default 30\n"
    "  --since AGE|TIME   only what is newer; default all\n"
    "  --json             an object instead of a table\n";

enum { GRADED_LEAST = 20 };
static const double NANO = 1e-9;

/* ---- Options ---- */

struct number {
    const char *name, *text;
    double least, most, *to;
};

static int price_read(struct advising *x)
{
    struct str text = str_from(x->price_text);
    size_t comma = str_find_char(text, ',');
    double in, out;
    if (comma == SIZE_MAX || !str_to_double(str_slice(text, 0, comma), &in) ||
        !str_to_double(str_slice(text, comma + 1, text.len), &out) || !(in >= 0 && in <= 1e6) ||
        !(out >= 0 && out <= 1e6))
        return verb_failf(EXIT_USAGE,
            "--price wants two numbers like 2.50,10 (USD per million tokens), not '%s'", x->price_text);
    x->price = (struct govern_price){.known = true,
        .input = llround(in * 1000),
        .cached_input = llround(in * 1000),
        .output = llround(out * 1000)};
    return EXIT_DONE;
}

/* EXIT_DONE: it may go on; -2: helped. */
static int options_read(int argc, char **argv, struct advising *x)
{
    struct advise_assumptions *a = &x->assumed;
    double least = (double)a->least;
    struct number numbers[] = {{"hardware", NULL, 0, 1e9, &a->hardware_usd},
        {"months", NULL, 1, 1200, &a->months}, {"watts", NULL, 0, 1e6, &a->watts},
        {"idle-watts", NULL, 0, 1e6, &a->idle_watts}, {"kwh", NULL, 0, 100, &a->kwh_usd},
        {"load", NULL, 0.001, 1, &a->load}, {"decode", NULL, 0.01, 1e7, &x->decode},
        {"prefill", NULL, 0.01, 1e8, &x->prefill}, {"volume", NULL, 0, 1e12, &a->volume},
        {"tolerance", NULL, 0, 1, &a->tolerance}, {"least", NULL, 1, 1e9, &least}};
    enum { NUMBERS = sizeof numbers / sizeof *numbers, OTHERS = 9 };
    struct verb_option options[NUMBERS + OTHERS] = {{"since", &x->since, NULL},
        {"local", &x->local_name, NULL}, {"cloud", &x->cloud_name, NULL}, {"price", &x->price_text, NULL},
        {"quality", &x->quality_file, NULL}, {"json", NULL, &x->json}, {"state", &x->where.url, NULL},
        {"config", &x->where.config, NULL}};
    size_t n_options = 8;
    for (size_t i = 0; i < NUMBERS; i++)
        options[n_options++] = (struct verb_option){numbers[i].name, &numbers[i].text, NULL};
    int n = verb_options(argc, argv, options, n_options, help);
    if (n < 0)
        return n == -2 ? -2 : EXIT_USAGE;
    if (n > 0)
        return verb_failf(EXIT_USAGE, "advise takes no argument '%s'", argv[1]);
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i].text &&
            !verb_number(numbers[i].name, numbers[i].text, numbers[i].least, numbers[i].most, numbers[i].to))
            return EXIT_USAGE;
    a->least = (int64_t)least;
    if (a->idle_watts > a->watts)
        return verb_failf(EXIT_USAGE, "--idle-watts is more than --watts: a machine at work draws more");
    return x->price_text ? price_read(x) : EXIT_DONE;
}

/* ---- The ledger ---- */

static void sample_add(struct advise_samples *s, double value)
{
    s->at[s->n++ % ADVISE_SAMPLES] = value;
}

static void task_append(struct buf *to, struct str decision)
{
    json_t *tree = NULL;
    struct error err;
    struct str task = STR_NONE;
    if (decision.len > 0 && json_read(decision, &tree, &err) == 0)
        task = json_text(tree, "task");
    buf_append_str(to, task.len > 0 ? task : STR("?"));
    json_decref(tree);
}

/* The row's kind, a new one where there is none yet. Its key is only copied once: a ledger has many rows, and
 * few kinds. NULL: no memory, as x->err says. */
static struct advise_kind *kind_ensure(struct advising *x, const struct store_opened *o)
{
    buf_clear(&x->key);
    buf_append_str(&x->key, o->model);
    buf_append_char(&x->key, '\0');
    task_append(&x->key, o->decision);
    const uint32_t *at = map_find(&x->kinds_by_key, buf_str(&x->key));
    bool added;
    if (at)
        return x->kinds[*at];
    x->kinds = must(reallocarray(x->kinds, x->n_kinds + 1, sizeof *x->kinds));
    struct advise_kind *k = x->kinds[x->n_kinds] = must(calloc(1, sizeof *k));
    k->key = arena_copy(x->arena, buf_str(&x->key));
    k->is_route = o->route.len > 0;
    return map_add(&x->kinds_by_key, k->key, (uint32_t)x->n_kinds++, &added, &x->err) ? NULL : k;
}

/* Likewise of a model; `inside` is what a new one is. */
static struct advise_model *model_ensure(struct advising *x, struct str name, bool inside)
{
    const uint32_t *at = map_find(&x->models_by_name, name);
    bool added;
    if (at)
        return x->models[*at];
    x->models = must(reallocarray(x->models, x->n_models + 1, sizeof *x->models));
    struct advise_model *m = x->models[x->n_models] = must(calloc(1, sizeof *m));
    *m = (struct advise_model){.name = arena_copy(x->arena, name), .inside = inside};
    return map_add(&x->models_by_name, m->name, (uint32_t)x->n_models++, &added, &x->err) ? NULL : m;
}

/* What is not known (-1) counts as nothing. */
static int64_t counted(int64_t n)
{
    return n > 0 ? n : 0;
}

static void usage_add(struct chat_usage *to, int64_t input, int64_t cached, int64_t output)
{
    to->input_tokens += input;
    to->cached_tokens += cached;
    to->output_tokens += output;
}

/* How fast it was: of the prompt what was not cached, up to the first token; then token by token. */
static void speed_add(struct advise_model *m, const struct store_settled *s)
{
    enum { PROMPT_LEAST = 32, ANSWER_LEAST = 8 };
    int64_t fresh = s->input_tokens - counted(s->cached_tokens), rest_ms = s->total_ms - s->first_token_ms;
    if (s->first_token_ms > 0 && fresh >= PROMPT_LEAST)
        sample_add(&m->prefill, (double)fresh * 1000 / (double)s->first_token_ms);
    if (s->first_token_ms >= 0 && rest_ms > 0 && s->output_tokens >= ANSWER_LEAST)
        sample_add(&m->decode, (double)(s->output_tokens - 1) * 1000 / (double)rest_ms);
}

static int row_add(void *ctx, const struct store_ledger_row *row)
{
    struct advising *x = ctx;
    const struct store_settled *s = &row->settled;
    const struct store_opened *o = &row->opened;
    if (!str_is(s->outcome, "ok"))
        return 0;
    bool inside = str_is(s->provider, "local") || (x->policy && router_policy_is_inside(x->policy, s->model));
    bool stays = str_is(o->boundary, "local");
    struct advise_kind *k = kind_ensure(x, o);
    struct advise_model *m = model_ensure(x, s->model, inside);
    if (!k || !m)
        return x->err.code;
    int64_t in = counted(s->input_tokens), cached = counted(s->cached_tokens),
            out = counted(s->output_tokens);
    x->first_ms = x->first_ms ? x->first_ms : o->wall_ms;
    x->last_ms = o->wall_ms;
    m->requests++;
    k->requests++;
    k->inside += inside;
    k->must_stay += stays;
    k->spent += counted(s->cost_nano_usd);
    usage_add(&k->fresh, in - cached, 0, out);
    if (!stays)
        usage_add(&k->leave_fresh, in - cached, 0, out);
    if (!stays && !inside && s->cost_nano_usd >= 0)
        k->cost += s->cost_nano_usd;
    else if (!stays)
        usage_add(&k->unpriced, in, cached, out);
    sample_add(inside ? &k->here : &k->there, (double)s->total_ms);
    if (str_is(s->provider, "local"))
        speed_add(m, s);
    return 0;
}

/* ---- Models: who stands for here, who for outside. ---- */

static const struct advise_model *model_most(const struct advising *x, bool inside)
{
    const struct advise_model *most = NULL;
    for (size_t i = 0; i < x->n_models; i++)
        if (x->models[i]->inside == inside && (!most || x->models[i]->requests > most->requests))
            most = x->models[i];
    return most;
}

static const struct config_model *configured(const struct advising *x, struct str name)
{
    for (size_t i = 0; x->config && i < x->config->n_models; i++)
        if (str_eq(x->config->models[i].name, name))
            return &x->config->models[i];
    return NULL;
}

/* Where nothing has left yet: the configured one that would have cost the least. */
static const struct config_model *cheapest(const struct advising *x)
{
    struct chat_usage all = {0};
    const struct config_model *best = NULL;
    for (size_t i = 0; i < x->n_kinds; i++)
        usage_add(&all, x->kinds[i]->unpriced.input_tokens, x->kinds[i]->unpriced.cached_tokens,
            x->kinds[i]->unpriced.output_tokens);
    for (size_t i = 0; x->config && i < x->config->n_models; i++) {
        const struct config_model *m = &x->config->models[i];
        if (!m->price.known || router_policy_is_inside(x->policy, m->name))
            continue;
        if (!best || govern_price_cost(&m->price, &all) < govern_price_cost(&best->price, &all))
            best = m;
    }
    return best;
}

static int models_choose(struct advising *x)
{
    x->local = x->local_name ? model_ensure(x, str_from(x->local_name), true) : model_most(x, true);
    x->cloud = x->cloud_name ? model_ensure(x, str_from(x->cloud_name), false) : model_most(x, false);
    const struct config_model *known = x->cloud ? configured(x, x->cloud->name) : cheapest(x);
    if (x->cloud_name && !known && !x->price.known)
        return verb_failf(EXIT_USAGE,
            "--cloud: the configuration has no model '%s': name one of it, or say --price IN,OUT",
            x->cloud_name);
    if (!x->cloud && known)
        x->cloud = model_ensure(x, known->name, false);
    if (!x->price.known && known)
        x->price = known->price;
    if (x->local && isnan(x->prefill))
        x->prefill = advise_median(&x->local->prefill);
    if (x->local && isnan(x->decode))
        x->decode = advise_median(&x->local->decode);
    return EXIT_DONE;
}

/* ---- Quality: the mean of what weir eval --out graded. ---- */

static int graded_add(struct advising *x, struct str line)
{
    json_t *tree;
    const char *name;
    json_t *score;
    int rc = json_read(line, &tree, &x->err);
    if (rc)
        return rc;
    json_object_foreach(json_object_get(tree, "scores"), name, score)
    {
        struct advise_model *m = json_is_number(score) ? model_ensure(x, str_from(name), false) : NULL;
        if (!m)
            continue;
        m->quality += json_number_value(score);
        m->graded++;
    }
    json_decref(tree);
    return 0;
}

static int quality_read(struct advising *x)
{
    FILE *f = x->quality_file ? fopen(x->quality_file, "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int rc = 0;
    if (!x->quality_file)
        return EXIT_DONE;
    if (!f)
        return verb_failf(EXIT_USAGE, "cannot open %s: %s: give a file that weir eval --out wrote",
            x->quality_file, strerror(errno));
    for (long number = 1; rc == 0 && (n = getline(&line, &room, f)) > 0; number++)
        if ((rc = graded_add(x, str_trim((struct str){line, (size_t)n}))) != 0)
            verb_failf(EXIT_USAGE, "%s, line %ld: %s", x->quality_file, number, x->err.message);
    free(line);
    fclose(f);
    return rc ? EXIT_USAGE : EXIT_DONE;
}

static double quality_of(const struct advise_model *m)
{
    return m && m->graded >= GRADED_LEAST ? m->quality / (double)m->graded : NAN;
}

/* ---- The verb ---- */

static double busy_of(const struct advising *x, const struct chat_usage *u)
{
    return (double)u->input_tokens / x->prefill + (double)u->output_tokens / x->decode;
}

static struct advise_group group_of(const struct advising *x, const struct advise_kind *k)
{
    size_t end = str_find_char(k->key, '\0');
    int64_t rest = k->unpriced.input_tokens + k->unpriced.output_tokens;
    int64_t cost = rest == 0 ? 0 : govern_price_cost(&x->price, &k->unpriced);
    return (struct advise_group){.route = str_slice(k->key, 0, end),
        .task = str_slice(k->key, end + 1, k->key.len),
        .requests = k->requests,
        .inside = k->inside,
        .must_stay = k->must_stay,
        .spent_usd = (double)k->spent * NANO,
        .cloud_usd = cost < 0 ? NAN : (double)(k->cost + cost) * NANO,
        .busy_s = busy_of(x, &k->fresh),
        .leave_busy = busy_of(x, &k->leave_fresh)};
}

static int by_requests(const void *a, const void *b)
{
    const struct advise_kind *x = *(struct advise_kind *const *)a, *y = *(struct advise_kind *const *)b;
    return (x->requests < y->requests) - (x->requests > y->requests);
}

static int answer(struct advising *x)
{
    struct advice advice;
    struct advise_group *groups = must(calloc(x->n_kinds + 1, sizeof *groups));
    qsort(x->kinds, x->n_kinds, sizeof(struct advise_kind *), by_requests);
    for (size_t i = 0; i < x->n_kinds; i++)
        groups[i] = group_of(x, x->kinds[i]);
    x->assumed.quality_local = quality_of(x->local);
    x->assumed.quality_cloud = quality_of(x->cloud);
    x->days = (double)(x->last_ms - x->first_ms) / 86400e3;
    advise(&x->assumed, groups, x->n_kinds, x->days > 1 ? x->days : 1, &advice);
    int exit_code = advise_print(x, groups, &advice);
    free(groups);
    return exit_code;
}

static int ledger_read(struct advising *x, int64_t since_ms)
{
    struct store *s;
    int exit_code = verb_state_open(&x->where, false, &s);
    if (exit_code)
        return exit_code;
    int rc = map_init(&x->kinds_by_key, 256, &x->err);
    if (rc == 0)
        rc = map_init(&x->models_by_name, 256, &x->err);
    if (rc == 0)
        rc = store_ledger_list(s, since_ms, row_add, x, &x->err);
    store_close(s);
    return rc ? verb_fail(EXIT_FAILED, &x->err) : EXIT_DONE;
}

static void advising_free(struct advising *x)
{
    for (size_t i = 0; i < x->n_kinds; i++)
        free(x->kinds[i]);
    for (size_t i = 0; i < x->n_models; i++)
        free(x->models[i]);
    free(x->kinds);
    free(x->models);
    map_free(&x->kinds_by_key);
    map_free(&x->models_by_name);
    buf_free(&x->key);
    arena_free(x->arena);
    router_policy_free(x->policy);
    if (x->config)
        config_free(x->config);
}

int verb_advise(int argc, char **argv)
{
    struct advising x = {.assumed = {.hardware_usd = 2000,
                             .months = 36,
                             .watts = 300,
                             .idle_watts = 50,
                             .kwh_usd = 0.30,
                             .load = 0.5,
                             .volume = NAN,
                             .tolerance = 0.05,
                             .least = 30},
        .prefill = NAN,
        .decode = NAN};
    const struct config_overrides asks_nobody = {.asks_nobody = true};
    int64_t since_ms;
    int exit_code = options_read(argc, argv, &x);
    if (exit_code != EXIT_DONE)
        return exit_code == -2 ? EXIT_DONE : exit_code;
    if (!verb_since(x.since, &since_ms))
        return EXIT_USAGE;
    if ((!x.where.url || x.where.config) &&
        config_policy_load(str_from(x.where.config), &asks_nobody, &x.config, &x.policy, &x.err))
        return verb_fail(EXIT_USAGE, &x.err);
    x.arena = arena_create(256 * MIB);
    buf_init(&x.key, 16 * MIB);
    exit_code = ledger_read(&x, since_ms);
    if (exit_code == EXIT_DONE)
        exit_code = models_choose(&x);
    if (exit_code == EXIT_DONE)
        exit_code = quality_read(&x);
    if (exit_code == EXIT_DONE)
        exit_code = answer(&x);
    advising_free(&x);
    return exit_code;
}
