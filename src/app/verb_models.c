/* weir models: which models the configuration names, whether they are here, and what a running gateway has
 * loaded. */
#include <stdio.h>
#include <sys/stat.h>

#include "app/config.h"
#include "app/running.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/limits.h"
#include "hub/hub.h"

static const char help[] =
    "usage: weir models [--config FILE] [--json] [--found] [--gateway URL]\n"
    "\n"
    "Lists the models that clients may ask for: routes, model files and providers' models; where the gateway runs,\n"
    "also whether a model file is loaded. Where the configuration has no models_dir, also what lies in models/, where\n"
    "weir pull puts it: clients may not ask for it yet, weir run and others take its path.\n"
    "\n"
    "  --gateway URL    where it runs; default: where the configuration listens\n"
    "  --found          instead: models that Ollama, LM Studio, Hugging Face's cache and llama.cpp keep here; their\n"
    "                   names serve as FILE for weir run, show, bench and logits, as models[].file, and as the model that\n"
    "                   finetune, quantize, imatrix, perplexity and export read, without a second copy\n";

/* Bytes of a model file, or -1 when it is not there. */
static long long file_bytes(struct str file)
{
    struct stat st;
    struct arena *a = arena_create(64 * KIB);
    long long bytes = stat(arena_strdup(a, file), &st) == 0 ? (long long)st.st_size : -1;
    arena_free(a);
    return bytes;
}

struct row {
    struct str name, where, detail;
    long long bytes; /* -1: no file */
    bool present;
    const char *state; /* of its engine in the running gateway; NULL: not known */
};

static int row_print(const struct row *r, struct error *err)
{
    printf("%-24.*s %-12.*s " STR_FMT, STR_ARG(r->name), STR_ARG(r->where), STR_ARG(r->detail));
    if (r->bytes >= 0)
        printf("  (%.1f MiB)", (double)r->bytes / (double)MIB);
    printf("%s%s%s\n", r->present ? "" : "  MISSING", r->state ? "  " : "", r->state ? r->state : "");
    return ferror(stdout) ? error_set(err, ERROR_IO, "standard output cannot be written") : 0;
}

static int row_print_json(const struct row *r, struct error *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_member_str(&w, "name", r->name);
    json_member_str(&w, "provider", r->where);
    json_member_str(&w, "model", r->detail);
    json_maybe_int(&w, "bytes", r->bytes);
    json_member_bool(&w, "present", r->present);
    if (r->state)
        json_member_text(&w, "state", r->state);
    json_object_end(&w);
    return verb_print_line(&text, err);
}

/* What GET /readyz says of each model; NULL: no gateway runs there. */
static const json_t *states_get(const struct config *c, const char *url, struct arena *a)
{
    json_t *ready;
    struct error err; /* nothing is listed of a gateway that is not there */
    return running_ask(c, url, "/readyz", a, &ready, &err) == 0 ? json_object_get(ready, "models") : NULL;
}

static const char *state_of(const json_t *states, struct str name)
{
    static const struct {
        const char *told, *says;
    } words[] = {{"up", "loaded"}, {"unloaded", "not loaded"}, {"starting", "loading"}, {"down", "down"}};
    char key[LIMIT_MODEL_NAME + 1];
    snprintf(key, sizeof key, STR_FMT, STR_ARG(name));
    struct str state = json_text(states, key);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(state, words[i].told))
            return words[i].says;
    return NULL;
}

static struct row model_row(const struct config *c, const struct config_model *m, const json_t *states)
{
    if (m->provider >= 0)
        return (struct row){m->name, c->providers[m->provider].name, m->model, -1, true, NULL};
    if (m->n_members > 0)
        return (struct row){m->name, STR("balance"), c->models[m->members[0]].name, -1, true, NULL};
    long long bytes = file_bytes(m->file);
    return (struct row){m->name, STR("local"), m->file, bytes, bytes >= 0, state_of(states, m->name)};
}

static int found_print(int (*print)(const struct row *r, struct error *err), struct error *err)
{
    struct arena *a = arena_create(64 * MIB);
    struct hub_found *list;
    size_t n;
    int rc = 0;
    hub_found_list(a, &list, &n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = print(&(struct row){list[i].name, STR("found"), list[i].path, list[i].bytes, true, NULL}, err);
    if (n == 0)
        fprintf(stderr, "weir: no other program keeps models here: weir pull fetches one\n");
    arena_free(a);
    return rc;
}

/* Fetched, but nothing serves it. */
static int kept_print(const struct config *c, struct arena *a,
    int (*print)(const struct row *r, struct error *err), struct error *err)
{
    struct config_kept *list;
    size_t n;
    int rc = config_kept_list(c, a, &list, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = print(&(struct row){list[i].name, STR("not served"), list[i].path, file_bytes(list[i].path),
                       true, NULL},
            err);
    if (rc)
        return rc;
    if (n > 0)
        fprintf(stderr,
            "weir: clients may ask for what is served: 'models_dir: models' in weir.yaml serves the others\n");
    else if (c->n_models == 0)
        fprintf(stderr, "weir: no models: name some under 'models' in weir.yaml, or set OPENAI_API_KEY\n");
    return rc;
}

int verb_models(int argc, char **argv)
{
    const char *file = NULL, *gateway = NULL;
    bool json = false, found = false;
    const struct verb_option options[] = {
        {"config", &file, NULL}, {"json", NULL, &json}, {"found", NULL, &found}, {"gateway", &gateway, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n != 0)
        return n == -2 ? EXIT_DONE
               : n < 0 ? EXIT_USAGE
                       : verb_failf(EXIT_USAGE, "models takes no argument '%s'", argv[1]);
    int (*print)(const struct row *r, struct error *err) = json ? row_print_json : row_print;
    struct error err;
    int rc = 0;
    if (found)
        return found_print(print, &err) ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
    const struct config_overrides asks_nobody = {.asks_nobody = true};
    struct config *config;
    struct router_policy *policy;
    if (config_policy_load(str_from(file), &asks_nobody, &config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    struct arena *a = arena_create(64 * MIB);
    const json_t *states = states_get(config, gateway, a);
    for (size_t i = 0; i < router_policy_n_routes(policy) && rc == 0; i++)
        rc = print(
            &(struct row){router_policy_route_name(policy, i), STR("route"), STR(""), -1, true, NULL}, &err);
    for (size_t i = 0; i < config->n_models && rc == 0; i++) {
        struct row row = model_row(config, &config->models[i], states);
        rc = print(&row, &err);
    }
    rc = rc ? rc : kept_print(config, a, print, &err);
    arena_free(a);
    router_policy_free(policy);
    config_free(config);
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}
