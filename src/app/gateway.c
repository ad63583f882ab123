#include "app/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/must.h"
#include "engine/engine.h"

/* One engine, how many models of all generations use it, and what looks into its file without loading it. */
struct running {
    struct list link;
    struct engine *engine, *inspector;
    char *file; /* as the system resolves it: one file has one engine, whatever its names */
    int slots, context, threads, queue, wait_ms, silence_ms;
    bool memory_unchecked, drafts_off;
    int64_t kv_bytes;
    struct engine_spill spill;
    char kv_type[8];
    char *draft; /* "": none */
    struct engine_adapter *adapters;
    size_t n_adapters;
    /* what the newest generation wishes, once `wished` */
    int64_t keep_alive_ms;
    bool preload, wished;
    int users;
};

struct gateway_engines {
    struct loop *home;
    struct engine_pool *pool;
    struct list running;
};

/* What one configuration brought to life; released with its world. */
struct generation {
    struct gateway_engines *engines;
    struct config *config;
    struct provider **providers; /* as configured; the last one is the embedded engine */
    struct running **running;    /* per model; NULL: not embedded */
    size_t n_models;
};

struct gateway_engines *gateway_engines_create(struct loop *home)
{
    struct gateway_engines *e = must(calloc(1, sizeof *e));
    e->home = home;
    e->pool = engine_pool_create(home);
    list_init(&e->running);
    return e;
}

void gateway_engines_free(struct gateway_engines *e)
{
    if (e)
        engine_pool_free(e->pool);
    free(e);
}

static bool same_adapters(const struct running *r, const struct config_model *m)
{
    bool same = r->n_adapters == m->n_adapters;
    for (size_t i = 0; same && i < m->n_adapters; i++)
        same = str_is(m->adapters[i].file, r->adapters[i].file) &&
               str_is(m->adapters[i].name, r->adapters[i].name) &&
               m->adapters[i].scale == r->adapters[i].scale;
    return same;
}

static void adapters_copy(struct running *r, const struct config_model *m)
{
    r->n_adapters = m->n_adapters;
    r->adapters = must(calloc(m->n_adapters + 1, sizeof *r->adapters));
    for (size_t i = 0; i < m->n_adapters; i++) {
        const struct config_adapter *a = &m->adapters[i];
        r->adapters[i] = (struct engine_adapter){
            must(strndup(a->file.data, a->file.len)), must(strndup(a->name.data, a->name.len)), a->scale};
    }
}

/* Content that is kept may be kept so, too; what is not, for this process alone. */
static struct engine_spill spill_of(const struct config *c, const struct config_model *m)
{
    if (m->kv_disk == 0)
        return (struct engine_spill){0};
    return (struct engine_spill){m->kv_disk, c->kv_folder.data, c->exchange.content_ms};
}

static bool same_spill(const struct engine_spill *a, const struct engine_spill *b)
{
    return a->bytes == b->bytes && a->keep_ms == b->keep_ms &&
           (a->bytes == 0 || strcmp(a->folder, b->folder) == 0);
}

static bool same(
    const struct running *r, const struct config *c, const struct config_model *m, const char *file)
{
    const struct engine_spill spill = spill_of(c, m);
    return same_adapters(r, m) && strcmp(file, r->file) == 0 && r->slots == m->slots &&
           r->context == m->context && r->threads == m->threads && r->queue == m->queue &&
           r->wait_ms == m->load_timeout_ms && r->silence_ms == m->silence_ms &&
           r->memory_unchecked == m->memory_unchecked && r->drafts_off == m->drafts_off &&
           r->kv_bytes == m->kv_bytes && str_is(m->kv_type, r->kv_type) && str_is(m->draft, r->draft) &&
           same_spill(&r->spill, &spill);
}

static void running_free(struct running *r)
{
    engine_free(r->engine);
    engine_free(r->inspector);
    for (size_t i = 0; i < r->n_adapters; i++) {
        free((char *)(uintptr_t)r->adapters[i].file);
        free((char *)(uintptr_t)r->adapters[i].name);
    }
    free(r->adapters);
    free(r->file);
    free(r->draft);
    free((char *)(uintptr_t)r->spill.folder);
    free(r);
}

static void running_drop(struct running *r)
{
    if (!r || --r->users > 0)
        return;
    list_remove(&r->link);
    running_free(r);
}

static int engines_start(
    struct gateway_engines *e, const struct config_model *m, struct running *r, struct error *err)
{
    enum { INSPECT_KEEP_MS = 10 * 1000 };
    struct engine_options options = {.name = m->name.data,
        .file = r->file,
        .adapters = r->adapters,
        .n_adapters = r->n_adapters,
        .threads = r->threads,
        .slots = r->slots,
        .context = r->context,
        .queue_limit = r->queue,
        .memory_unchecked = r->memory_unchecked,
        .drafts_off = r->drafts_off,
        .kv_bytes = r->kv_bytes,
        .kv_type = r->kv_type,
        .draft = r->draft,
        .spill = r->spill,
        .pool = e->pool,
        .keep_alive_ms = m->keep_alive_ms,
        .silence_ms = r->silence_ms,
        .wait_ms = r->wait_ms};
    struct engine_options inspect = {.name = m->name.data,
        .file = r->file,
        .inspect = true,
        .pool = e->pool,
        .keep_alive_ms = INSPECT_KEEP_MS,
        .wait_ms = r->wait_ms};
    int rc = engine_create(e->home, &options, &r->engine, err);
    return rc ? rc : engine_create(e->home, &inspect, &r->inspector, err);
}

static struct running *running_find(
    struct gateway_engines *e, const struct config *c, const struct config_model *m, const char *file)
{
    list_each(node, after, &e->running) {
        struct running *r = list_item(node, struct running, link);
        if (same(r, c, m, file))
            return r;
    }
    return NULL;
}

/* Names that share an engine may want to keep it for different times: the longest counts. */
static void wishes_add(struct running *r, const struct config_model *m)
{
    int64_t ms = m->keep_alive_ms;
    if (!r->wished || ms < 0 || (r->keep_alive_ms >= 0 && ms > r->keep_alive_ms))
        r->keep_alive_ms = ms;
    r->preload = m->preload || (r->wished && r->preload);
    r->wished = true;
}

static int running_get(struct gateway_engines *e, const struct config *c, const struct config_model *m,
    struct running **out, struct error *err)
{
    char *real = realpath(m->file.data, NULL);
    char *file = real ? real : must(strndup(m->file.data, m->file.len));
    struct running *r = running_find(e, c, m, file);
    if (r) {
        free(file);
    } else {
        r = must(calloc(1, sizeof *r));
        *r = (struct running){.file = file,
            .slots = m->slots,
            .context = m->context,
            .threads = m->threads,
            .queue = m->queue,
            .wait_ms = (int)m->load_timeout_ms,
            .silence_ms = (int)m->silence_ms,
            .memory_unchecked = m->memory_unchecked,
            .drafts_off = m->drafts_off,
            .kv_bytes = m->kv_bytes,
            .spill = spill_of(c, m)};
        snprintf(r->kv_type, sizeof r->kv_type, STR_FMT, STR_ARG(m->kv_type));
        r->draft = must(strndup(m->draft.data ? m->draft.data : "", m->draft.len));
        r->spill.folder = r->spill.folder ? must(strdup(r->spill.folder)) : NULL;
        adapters_copy(r, m);
        int rc = engines_start(e, m, r, err);
        if (rc) {
            running_free(r);
            return rc;
        }
        list_push_back(&e->running, &r->link);
    }
    r->users++;
    wishes_add(r, m);
    *out = r;
    return 0;
}

/* What a new generation says about engines that may be running already. */
static void engines_settle(struct gateway_engines *e, const struct config *c)
{
    const struct engine_pool_limits limits = {.memory = c->model_memory, .models = c->max_loaded};
    engine_pool_limit(e->pool, &limits);
    list_each(node, after, &e->running) {
        struct running *r = list_item(node, struct running, link);
        if (r->wished)
            engine_configure(r->engine, r->keep_alive_ms, r->preload);
        r->wished = false;
    }
}

/* ---- Generations ---- */

static void generation_free(void *ctx)
{
    struct generation *g = ctx;
    for (size_t i = 0; i < g->n_models; i++)
        running_drop(g->running[i]);
    for (size_t i = 0; i <= g->config->n_providers; i++)
        provider_free(g->providers[i]);
    free(g->running);
    free(g->providers);
    config_free(g->config);
    free(g);
}

/* The last reference may go on any loop; engines are ended on theirs. */
static void generation_release(void *ctx)
{
    struct generation *g = ctx;
    loop_post(g->engines->home, generation_free, g);
}

static int provider_open(
    const struct config *c, const struct config_provider *p, struct provider **out, struct error *err)
{
    struct egress_target_options target = {.name = p->name,
        .base_url = p->base_url,
        .zone = p->zone,
        .ca_file = p->ca_file,
        .proxy = p->proxy,
        .networks = p->networks,
        .n_networks = p->n_networks,
        .connect_timeout_ms = p->connect_timeout_ms,
        .first_byte_timeout_ms = p->first_byte_timeout_ms,
        .idle_timeout_ms = p->idle_timeout_ms};
    struct provider_options options = {.name = p->name,
        .kind = p->kind,
        .quirks = p->quirks,
        .api_key = p->api_key,
        .api_version = p->api_version,
        .region = p->region,
        .access_key_id = p->access_key_id,
        .secret_access_key = p->secret_access_key,
        .session_token = p->session_token,
        .answer_timeout_ms = p->answer_timeout_ms,
        .headers = p->headers,
        .n_headers = p->n_headers};
    int rc = egress_target_create(&target, &options.target, err);
    rc = rc ? rc : provider_create(&options, out, err);
    return rc ? error_wrap(err, STR_FMT ":%d", STR_ARG(c->file), p->line) : 0;
}

int gateway_check(const struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->n_providers; i++) {
        struct provider *p;
        int rc = provider_open(config, &config->providers[i], &p, err);
        if (rc)
            return rc;
        provider_free(p);
    }
    return 0;
}

static int providers_open(struct generation *g, struct error *err)
{
    const struct config *c = g->config;
    g->providers = must(calloc(c->n_providers + 1, sizeof *g->providers));
    for (size_t i = 0; i < c->n_providers; i++) {
        int rc = provider_open(c, &c->providers[i], &g->providers[i], err);
        if (rc)
            return rc;
    }
    struct provider_options local = {.name = STR("local"), .kind = STR("local")};
    return provider_create(&local, &g->providers[c->n_providers], err);
}

static int model_open(struct generation *g, size_t index, struct exchange_model *out, struct error *err)
{
    const struct config_model *m = &g->config->models[index];
    *out = (struct exchange_model){
        .name = m->name, .price = m->price, .patience = m->patience, .limits = m->limits};
    out->target.max_output = m->max_output;
    if (m->provider >= 0) {
        out->target.provider = g->providers[m->provider];
        out->target.model = m->model;
        const struct config_provider *p = &g->config->providers[m->provider];
        out->identity = p->base_url;
        out->probe_path = p->probe_path;
        out->probe_every_ms = p->probe_every_ms;
        out->probe_always = p->probe_always;
        out->traceparent = p->traceparent;
        out->unlisted = m->unlisted;
        return 0;
    }
    out->identity = m->file;
    int rc = running_get(g->engines, g->config, m, &g->running[index], err);
    if (rc)
        return error_wrap(err, "model " STR_FMT, STR_ARG(m->name));
    out->target.provider = g->providers[g->config->n_providers];
    out->target.model = m->name;
    out->target.engine = g->running[index]->engine;
    out->target.inspector = g->running[index]->inspector;
    out->target.file = g->running[index]->file;
    out->target.context = g->running[index]->context;
    /* What runs here costs nothing per token. */
    out->price = (struct govern_price){.known = true};
    return 0;
}

/* A pool stands for its members, which come before it. */
static void pool_open(
    const struct config_model *m, const struct exchange_model *models, struct exchange_model *out)
{
    *out = (struct exchange_model){.name = m->name,
        .target = models[m->members[0]].target,
        .price = models[m->members[0]].price,
        .pool = {m->balance, m->members, m->weights, m->n_members}};
}

int gateway_world(struct gateway_engines *engines, struct config *config,
    const struct exchange_world *previous, struct exchange_world **out, struct error *err)
{
    struct generation *g = must(calloc(1, sizeof *g));
    struct exchange_model *models = must(calloc(config->n_models + 1, sizeof *models));
    struct router_policy *policy = NULL;
    g->engines = engines;
    g->config = config;
    g->n_models = config->n_models;
    g->running = must(calloc(config->n_models + 1, sizeof *g->running));
    int rc = config_policy(config, &policy, err);
    if (rc == 0)
        rc = providers_open(g, err);
    else
        g->providers = must(calloc(config->n_providers + 1, sizeof *g->providers));
    for (size_t i = 0; i < config->n_models && rc == 0; i++) {
        if (config->models[i].n_members > 0)
            pool_open(&config->models[i], models, &models[i]);
        else
            rc = model_open(g, i, &models[i], err);
    }
    if (rc == 0) {
        engines_settle(engines, config);
        *out = exchange_world_create(models, config->n_models, policy, generation_release, g);
        exchange_world_configure(*out, &config->exchange, previous);
    } else {
        router_policy_free(policy);
        generation_free(g);
    }
    free(models);
    return rc;
}
