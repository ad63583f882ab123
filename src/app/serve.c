#include "app/serve.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "api/batches.h"
#include "api/shelf.h"
#include "app/gateway.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/spill_file.h"
#include "engine/engine.h"
#include "exchange/forecast.h"
#include "exchange/graded.h"
#include "exchange/learn.h"
#include "exchange/probe.h"
#include "govern/access_log.h"
#include "govern/telemetry.h"

enum { MAX_SHARDS = 256, KEYS_EVERY_MS = 1000, PURGE_EVERY_MS = 3600 * 1000 };

struct serving;

struct shard {
    struct serving *serving;
    struct loop *loop;
    struct exchange_shard exchange;
    struct api_shard api;
    struct http_server *http;
    struct loop_timer *drain; /* once draining: looks whether it is over */
    bool closed;              /* no longer accepting */
    pthread_t thread;
    bool has_thread;
};

struct serving {
    struct shard shards[MAX_SHARDS];
    int n_shards;
    struct str file;
    struct config_overrides overrides;
    struct config *config;        /* the current generation's; owned by its world */
    struct exchange_world *world; /* likewise */
    struct gateway_engines *engines;
    struct store *store;
    struct meter *meter;
    struct cache *cache;
    struct forecast *forecast;
    struct graded *graded;
    struct judge *judge;
    struct access_log *access_log;
    struct telemetry *telemetry;
    struct govern_keys *keys;
    struct budget *budget;
    struct loop_timer *every_second, *purge;
    struct clock_looked purged;
    struct spill_expiry expiry; /* the home shard's */
    struct exchange_prober *prober;
    char *files; /* NULL: no folder for clients' files */
    struct batches *batches;
    struct loop_signal *signals[3];
    _Atomic int n_running;                          /* shards whose loop has not ended */
    _Atomic int64_t drain_until_ms, drain_delay_ms; /* all loops look at them */
    bool draining;
    /* What cannot change while it runs: copies outlive every generation. */
    struct arena *arena;
    struct str listen_host, *hosts, fixed[CONFIG_FIXED];
    size_t n_hosts;
    int connections_most;
    int64_t retention_ms, drain_ms;
    int64_t models_tried; /* the mark of models_dir that a reload was tried for */
};

static struct shard *home(struct serving *s)
{
    return &s->shards[0];
}

/* ---- Draining ---- */

static void drain_begin(void *ctx);

static void drain_look(void *ctx)
{
    struct shard *shard = ctx;
    struct serving *s = shard->serving;
    if (!shard->closed && s->drain_until_ms > 0) {
        drain_begin(shard);
        return;
    }
    bool quiet = shard->exchange.n_open == 0 && http_server_connections(shard->http) == 0;
    /* The engines live on the home loop, so it goes last. */
    bool others = shard == home(s) && (atomic_load(&s->n_running) > 1 || !telemetry_finish(s->telemetry));
    if ((quiet || clock_mono_ms() > s->drain_until_ms) && !others)
        loop_stop(shard->loop);
    else
        loop_timer_start(shard->drain, 20);
}

static void drain_begin(void *ctx)
{
    struct shard *shard = ctx;
    if (!shard->exchange.draining && shard->serving->drain_delay_ms > 0) {
        shard->exchange.draining = true; /* /readyz says so; who asks all the same is answered */
        loop_timer_start(shard->drain, shard->serving->drain_delay_ms);
        return;
    }
    shard->exchange.draining = true;
    http_server_stop_accepting(shard->http);
    shard->closed = true;
    loop_timer_start(shard->drain, 0);
}

static void on_stop_signal(int signal, void *ctx)
{
    struct serving *s = ctx;
    (void)signal;
    if (s->draining) {
        log_warn("serve", "stopping at once");
        s->drain_until_ms = 0;
        return;
    }
    log_info("serve", "draining: no new connections, %lld s for those that are open",
        (long long)s->drain_ms / 1000);
    s->draining = true;
    s->drain_until_ms = clock_mono_ms() + s->drain_delay_ms + s->drain_ms;
    for (int i = 0; i < s->n_shards; i++)
        loop_post(s->shards[i].loop, drain_begin, &s->shards[i]);
}

/* ---- Reloading ---- */

static void telemetry_install(struct serving *s, const struct config *config, struct egress_target *target)
{
    const struct config_telemetry *c = &config->telemetry;
    telemetry_configure(s->telemetry,
        &(struct telemetry_options){
            .target = target, .headers = c->headers, .n_headers = c->n_headers, .sample = c->sample});
}

struct swap {
    struct shard *shard;
    struct exchange_world *world;
};

static void world_swap(void *ctx)
{
    struct swap *swap = ctx;
    struct error err;
    if (http_server_tls_read(swap->shard->http, &err))
        log_error("serve", "the old certificate stays: %s", err.message);
    exchange_world_unref(swap->shard->exchange.world);
    swap->shard->exchange.world = swap->world;
    free(swap);
}

static void world_install(struct serving *s, struct config *config, struct exchange_world *world)
{
    struct exchange_world *old = s->world;
    s->config = config;
    s->world = world;
    s->retention_ms = config->retention_metadata_ms;
    s->drain_ms = config->drain_ms;
    s->drain_delay_ms = config->drain_delay_ms;
    cache_configure(s->cache, config->cache_ttl_ms, (size_t)config->cache_bytes);
    for (int i = 0; i < s->n_shards; i++) {
        struct swap *swap = malloc(sizeof *swap);
        if (!swap)
            abort();
        *swap = (struct swap){&s->shards[i], exchange_world_ref(world)};
        loop_post(s->shards[i].loop, world_swap, swap);
    }
    exchange_world_unref(old);
}

/* Who turns `auth` on must not believe that it is. */
static void fixed_look(const struct serving *s, const struct config *config)
{
    struct arena *a = arena_create(1 << 20);
    struct str now[CONFIG_FIXED];
    config_fixed(config, a, now);
    for (size_t i = 0; i < CONFIG_FIXED; i++)
        if (!str_eq(now[i], s->fixed[i]))
            log_warn("serve", "'%s' changes only at a restart: until then it stays as it was",
                config_fixed_keys[i]);
    arena_free(a);
}

/* A file that it came from and that is gone is an error: the built-in rules are not the owner's. */
static void reload(struct serving *s)
{
    struct str from = config_origin(s->config);
    struct config *config = NULL;
    struct exchange_world *world = NULL;
    struct egress_target *collector = NULL;
    struct error err;
    int rc = config_load(from.len > 0 ? from : s->file, &s->overrides, &config, &err);
    if (rc == 0 && (rc = serve_collector(config, &collector, &err)) != 0)
        config_free(config);
    else if (rc == 0)
        rc = gateway_world(s->engines, config, s->world, &world, &err); /* takes it, also on failure */
    if (rc) {
        egress_target_free(collector);
        log_error("serve", "the configuration was not reloaded, the old one stays: %s", err.message);
        return;
    }
    telemetry_install(s, config, collector);
    world_install(s, config, world);
    log_info("serve", "the configuration was reloaded");
    fixed_look(s, config);
}

static void on_reload_signal(int signal, void *ctx)
{
    (void)signal;
    access_log_reopen(((struct serving *)ctx)->access_log);
    reload(ctx);
}

/* A reload that fails is not tried again until the folder changes once more. */
static void models_look(struct serving *s)
{
    int64_t mark;
    if (!config_models_changed(s->config, &mark) || mark == s->models_tried)
        return;
    s->models_tried = mark;
    log_info("serve", "the models in " STR_FMT " have changed", STR_ARG(s->config->models_dir));
    reload(s);
}

/* ---- Chores ---- */

static void on_every_second(void *ctx)
{
    struct serving *s = ctx;
    struct error err;
    if (s->keys && govern_keys_refresh(s->keys, &err))
        log_error("serve", "the keys could not be read again: %s", err.message);
    prober_look(s->prober);
    if (s->telemetry)
        telemetry_look(s->telemetry);
    models_look(s);
    loop_timer_start(s->every_second, KEYS_EVERY_MS);
}

/* The clock may be ahead already where we start: at first nothing is older than it was for the last request.
 */
static int purge_begin(struct serving *s, struct error *err)
{
    int64_t newest_ms, now_ms = clock_wall_ms();
    int rc = store_ledger_newest(s->store, now_ms, &newest_ms, err);
    if (rc == 0 && newest_ms >= 0)
        s->purged = (struct clock_looked){newest_ms, clock_mono_ms()};
    return rc;
}

static void on_purge(void *ctx)
{
    struct serving *s = ctx;
    struct error err;
    int64_t now = clock_wall_settled(&s->purged, clock_wall_ms(), clock_mono_ms()),
            content_ms = exchange_world_settings(s->world)->content_ms;
    if (store_response_purge(s->store, now - content_ms, &err))
        log_error("serve", "old responses could not be deleted: %s", err.message);
    if (s->files)
        shelf_purge(s->files, (now - content_ms) / 1000, NULL);
    if (s->config->kv_folder.len > 0)
        spill_expiry_begin(&s->expiry, s->config->kv_folder.data, now - content_ms);
    if (s->retention_ms > 0 && store_purge_later(s->store, now - s->retention_ms, &err))
        log_error("serve", "old rows could not be deleted: %s", err.message);
    loop_timer_start(s->purge, PURGE_EVERY_MS);
}

/* ---- Starting ---- */

static int state_open(struct serving *s, struct error *err)
{
    int64_t recovered;
    int rc = store_open(s->config->state, &s->store, err);
    if (rc == 0)
        rc = store_claim(s->store, err);
    if (rc == 0 && !str_is(s->config->journal, "off"))
        rc = store_journal(s->store, s->config->journal, err);
    if (rc == 0)
        rc = store_ledger_recover(s->store, &recovered, err);
    if (rc == 0 && recovered > 0)
        log_warn("serve", "%lld requests were cut off when the gateway last ended; the ledger says so",
            (long long)recovered);
    if (rc == 0)
        rc = budget_create(s->store, &s->budget, err);
    if (rc == 0)
        rc = budget_start(s->budget, err);
    if (rc == 0 && s->config->auth_keys)
        rc = govern_keys_create(s->store, &s->keys, err);
    if (rc == 0 && s->keys && govern_keys_count(s->keys) == 0)
        log_warn(
            "serve", "no key exists yet, so every request will be refused: weir keys create --name NAME");
    return rc;
}

/* A stream takes two descriptors, its client's and its provider's, and the state and the engines want some,
 * too: clients that only sit there must not have them all. */
static int connections_most(const struct serving *s)
{
    enum { SPARE = 32, SPARE_OF_A_LOOP = 8, FEW = 1000 };
    struct rlimit files;
    const int wanted = s->config->max_connections;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > INT32_MAX)
        return wanted;
    const int left = ((int)files.rlim_cur - SPARE - SPARE_OF_A_LOOP * s->n_shards) / 2;
    const int most = left > s->n_shards ? left : s->n_shards;
    if (most >= wanted)
        return wanted;
    if (most < FEW)
        log_info("serve", "%d clients at a time: the system lets this process open %d files (ulimit -n)",
            most, (int)files.rlim_cur);
    return most;
}

static int shard_http(struct serving *s, int index, struct error *err)
{
    struct shard *shard = &s->shards[index];
    const struct config *c = s->config;
    struct http_options o;
    http_options_init(&o);
    char *host = arena_strdup(s->arena, c->listen_host);
    o.address = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    o.port = c->listen_port;
    o.share = index > 0 ? home(s)->http : NULL;
    if (c->tls_certificate.len) {
        o.certificate = arena_strdup(s->arena, c->tls_certificate);
        o.key = arena_strdup(s->arena, c->tls_key);
    }
    o.max_body = (size_t)c->max_body;
    o.refuse = api_refuse;
    o.max_connections = (s->connections_most + s->n_shards - 1) / s->n_shards;
    return http_server_create(shard->loop, &o, api_handle, &shard->api, &shard->http, err);
}

/* What leaves is counted as it is recorded. */
static void witness(void *ctx, struct loop *loop, const struct egress_record *record,
    void (*done)(void *done_ctx, int code), void *done_ctx)
{
    struct serving *s = ctx;
    const struct meter_labels labels =
        meter_labels((struct str[]){record->target,
                         record->zone == EGRESS_ZONE_LOCAL ? STR("local") : STR("cloud"), record->rule},
            3);
    meter_count(s->meter, METER_EGRESS_REQUESTS, &labels, 1);
    meter_count(s->meter, METER_EGRESS_BYTES, &labels, record->bytes);
    govern_audit_witness(s->store, loop, record, done, done_ctx);
}

static int shard_open(struct serving *s, int index, struct error *err)
{
    struct shard *shard = &s->shards[index];
    struct egress_options egress = {.offline = s->config->offline, .witness = witness, .witness_ctx = s};
    shard->serving = s;
    shard->exchange.store = s->store;
    shard->exchange.meter = s->meter;
    shard->exchange.cache = s->cache;
    shard->exchange.forecast = s->forecast;
    shard->exchange.graded = s->graded;
    shard->exchange.budget = s->budget;
    shard->exchange.judge = s->judge;
    shard->api = (struct api_shard){.exchange = &shard->exchange,
        .keys = s->keys,
        .loopback = egress_host_is_loopback(s->listen_host),
        .log = s->access_log,
        .hosts = s->hosts,
        .n_hosts = s->n_hosts,
        .started_s = clock_wall_ms() / 1000,
        .files = s->files};
    int rc = index > 0 ? loop_create(&shard->loop, err) : 0;
    if (rc)
        return rc;
    shard->exchange.loop = shard->loop;
    shard->drain = loop_timer_create(shard->loop, drain_look, shard);
    rc = egress_create(shard->loop, &egress, &shard->exchange.egress, err);
    return rc ? rc : shard_http(s, index, err);
}

static void *shard_thread(void *ctx)
{
    struct shard *shard = ctx;
    struct error err;
    if (loop_run(shard->loop, &err))
        log_error("serve", "%s", err.message);
    atomic_fetch_sub(&shard->serving->n_running, 1);
    return NULL;
}

static void announce(const struct serving *s)
{
    const struct config *c = s->config;
    const char *scheme = c->tls_certificate.len ? "https" : "http";
    bool v6 = str_find_char(c->listen_host, ':') != SIZE_MAX;
    char url[320];
    snprintf(url, sizeof url, "%s://%s" STR_FMT "%s:%d", scheme, v6 ? "[" : "", STR_ARG(c->listen_host),
        v6 ? "]" : "", http_server_port(s->shards[0].http));
    printf("weir %s is at %s (open it in a browser, or ask it as any OpenAI-compatible endpoint)\n",
        WEIR_VERSION, url);
    const struct router_policy *policy = exchange_world_policy(s->world);
    struct str first = router_policy_n_routes(policy) ? router_policy_route_name(policy, 0)
                       : c->n_models                  ? c->models[0].name
                                                      : STR_NONE;
    size_t embedded = 0;
    for (size_t i = 0; i < c->n_models; i++)
        embedded += c->models[i].file.len > 0;
    if (embedded == 0)
        printf("There is no local model: start with MODEL=file.gguf (make run MODEL=file.gguf, or weir serve "
               "--model "
               "file.gguf), or name one under 'models' in weir.yaml.\n");
    if (c->n_providers == 0)
        printf(
            "There is no cloud provider: set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY and start "
            "again, or configure 'providers' in weir.yaml.\n");
    if (first.len)
        printf("Try it:\n  curl %s/v1/chat/completions -H 'content-type: application/json'%s -d "
               "'{\"model\":\"" STR_FMT "\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'\n",
            url, c->auth_keys ? " -H \"authorization: Bearer $WEIR_KEY\"" : "", STR_ARG(first));
    fflush(stdout);
}

static void on_warning(void *ctx, const char *line)
{
    (void)ctx;
    log_warn("serve", "%s", line);
}

static int start(struct serving *s, struct config *config, struct error *err)
{
    int rc = router_detect_init(err);
    s->config = config;
    if (rc == 0)
        rc = state_open(s, err);
    if (rc == 0 && config->access_log.len)
        rc = access_log_create(config->access_log, &s->access_log, err);
    if (rc == 0)
        rc = loop_create(&home(s)->loop, err);
    if (rc == 0)
        rc = judge_create(s->n_shards, &s->judge, err);
    if (rc) {
        config_free(config);
        return rc;
    }
    s->connections_most = connections_most(s);
    s->engines = gateway_engines_create(home(s)->loop);
    rc = gateway_world(s->engines, config, NULL, &s->world, err);
    struct error learned;
    if (rc == 0)
        rc = purge_begin(s, err);
    if (rc == 0 && learn_ledger(s->world, s->forecast, s->store, clock_wall_ms(), &learned))
        log_warn("serve", "what targets cost and take is not known from before: %s", learned.message);
    for (int i = 0; i < s->n_shards && rc == 0; i++) {
        rc = shard_open(s, i, err);
        s->shards[i].exchange.world = exchange_world_ref(s->world);
    }
    struct egress_target *collector = NULL;
    if (rc == 0)
        rc = serve_collector(config, &collector, err);
    if (rc)
        return rc;
    s->telemetry = telemetry_create(home(s)->exchange.egress, s->meter);
    telemetry_install(s, config, collector);
    for (int i = 0; i < s->n_shards; i++)
        s->shards[i].exchange.telemetry = s->telemetry;
    router_policy_warnings(exchange_world_policy(s->world), on_warning, NULL);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < 3; i++)
        s->signals[i] = loop_signal_create(
            home(s)->loop, numbers[i], numbers[i] == SIGHUP ? on_reload_signal : on_stop_signal, s);
    s->prober = prober_create(&home(s)->exchange);
    s->batches = batches_create(&home(s)->api, s->files);
    for (int i = 0; i < s->n_shards; i++)
        s->shards[i].api.batches = s->batches;
    s->every_second = loop_timer_create(home(s)->loop, on_every_second, s);
    s->purge = loop_timer_create(home(s)->loop, on_purge, s);
    loop_timer_start(s->every_second, KEYS_EVERY_MS);
    loop_timer_start(s->purge, 1000);
    return 0;
}

static int run(struct serving *s, struct error *err)
{
    atomic_store(&s->n_running, s->n_shards);
    /* Signals belong to the home loop alone. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (int i = 1; i < s->n_shards; i++) {
        if (pthread_create(&s->shards[i].thread, NULL, shard_thread, &s->shards[i]) != 0)
            return error_set(err, ERROR_MEMORY, "cannot start a thread for each core: set 'threads' lower");
        s->shards[i].has_thread = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    announce(s);
    return loop_run(home(s)->loop, err);
}

/* Everything that is left is told, settled and written before what it stands on goes. */
static void stop(struct serving *s)
{
    for (int i = 1; i < s->n_shards; i++) {
        if (!s->shards[i].has_thread)
            continue;
        loop_stop(s->shards[i].loop);
        pthread_join(s->shards[i].thread, NULL);
    }
    for (int i = s->n_shards - 1; i >= 0; i--)
        http_server_free(s->shards[i].http);
    batches_free(s->batches);
    judge_free(s->judge);
    budget_free(s->budget);
    store_close(s->store);
    for (int i = 0; i < 3; i++)
        loop_signal_free(s->signals[i]);
    prober_free(s->prober);
    loop_timer_free(s->every_second);
    loop_timer_free(s->purge);
    spill_expiry_end(&s->expiry);
    telemetry_free(s->telemetry);
    for (int i = s->n_shards - 1; i >= 0; i--) {
        struct shard *shard = &s->shards[i];
        if (!shard->loop)
            continue;
        loop_timer_free(shard->drain);
        loop_run_posted(shard->loop);
        egress_free(shard->exchange.egress);
        exchange_world_unref(shard->exchange.world);
        if (i == 0) {
            exchange_world_unref(s->world); /* the last one: the engines end on this loop */
            loop_run_posted(shard->loop);
            gateway_engines_free(s->engines);
        }
        loop_free(shard->loop);
    }
    govern_keys_free(s->keys);
    meter_free(s->meter);
    cache_free(s->cache);
    forecast_free(s->forecast);
    graded_free(s->graded);
    access_log_free(s->access_log);
    arena_free(s->arena);
}

int serve_run(
    struct config *config, struct str file, const struct config_overrides *overrides, struct error *err)
{
    struct serving *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->file = file;
    s->overrides = *overrides;
    s->arena = arena_create(1 << 20);
    s->meter = meter_create();
    s->retention_ms = config->retention_metadata_ms;
    s->drain_ms = config->drain_ms;
    s->drain_delay_ms = config->drain_delay_ms;
    s->cache = cache_create();
    s->forecast = forecast_create();
    s->graded = graded_create();
    cache_configure(s->cache, config->cache_ttl_ms, (size_t)config->cache_bytes);
    s->listen_host = arena_copy(s->arena, config->listen_host);
    config_fixed(config, s->arena, s->fixed);
    struct str files = config_files_folder(s->arena, config->files, config->state);
    s->files = files.len > 0 ? arena_strdup(s->arena, files) : NULL;
    s->n_hosts = config->n_allowed_hosts;
    s->hosts = arena_alloc(s->arena, (s->n_hosts + 1) * sizeof *s->hosts);
    for (size_t i = 0; i < s->n_hosts; i++)
        s->hosts[i] = arena_copy(s->arena, config->allowed_hosts[i]);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    s->n_shards = config->loops > 0 ? config->loops : cores > 0 ? (int)cores : 1;
    if (s->n_shards > MAX_SHARDS)
        s->n_shards = MAX_SHARDS;
    int rc = start(s, config, err);
    if (rc == 0)
        rc = run(s, err);
    stop(s);
    free(s);
    return rc;
}
