/* The configuration file: read, checked whole, immutable. Unknown keys are errors that name the line; secrets
 * come only from the environment ("${NAME}") or a file ("file:/path"). */
#ifndef WEIR_APP_CONFIG_H
#define WEIR_APP_CONFIG_H

#include "exchange/world.h"
#include "govern/govern.h"
#include "provider/provider.h"
#include "router/router.h"

struct config_provider {
    struct str name, kind, base_url, api_key, ca_file, proxy;
    struct str *more_urls; /* base_urls but the first: equal servers, which come after it as NAME/2, NAME/3, ... */
    size_t n_more;
    enum balance_by balance; /* how requests are spread over them */
    struct str quirks;       /* of kind openai: whose form of the shape it speaks */
    struct str api_version;  /* of kind azure */
    struct str region, access_key_id, secret_access_key, session_token; /* of kind bedrock */
    struct egress_header *headers; /* that go with every request (key: headers) */
    size_t n_headers;
    enum egress_zone zone;
    struct str *networks;
    size_t n_networks;
    int connect_timeout_ms, first_byte_timeout_ms,
        idle_timeout_ms;               /* keys: connect_timeout, first_byte_timeout,
                                          idle_timeout, like "5s" or "250ms" */
    int64_t answer_timeout_ms;         /* of an answer that comes whole; 0: only streams are asked for */
    struct exchange_patience patience; /* for its models: first_token_timeout, timeout, retries */
    struct breaker_policy breaker;
    struct str probe_path; /* probe: {path, interval, always} */
    int64_t probe_every_ms;
    bool probe_always;
    bool traceparent; /* is told of traces though it is outside */
    int line;
};

struct config_adapter {
    struct str name, file;
    double scale;
};

struct config_model {
    struct str name;
    struct str file; /* the embedded engine; else empty */
    int context, slots, threads, queue;
    int64_t kv_bytes; /* embedded: for what is kept of sequences (key: kv_cache); 0: slots x context */
    int64_t kv_disk; /* embedded: and on disk, of what memory has no room for; 0: nothing */
    struct str kv_type; /* embedded: f32, f16, bf16, q8_0, q4_0; empty: as the engine chooses */
    struct str draft; /* embedded: the file of a smaller model that drafts; empty: none */
    bool drafts_off; /* embedded: no tokens are drafted (key: speculate) */
    struct config_adapter *adapters; /* key lora: [{file, name, scale}] */
    size_t n_adapters;
    int provider;              /* index into providers; -1: embedded */
    struct str model;          /* the provider's name for it */
    struct govern_price price; /* configured, else the built-in one */
    int64_t keep_alive_ms; /* embedded: unloaded when idle for so long; negative: never (key: keep_alive) */
    int64_t silence_ms; /* embedded: a worker that owes an answer and says nothing for so long is replaced; 0: 10 minutes */
    int64_t load_timeout_ms; /* embedded: how long a request waits for the model to be loaded; 0: 5 minutes */
    bool preload;            /* embedded: loaded at the start */
    bool memory_unchecked;   /* embedded: loaded though it does not seem to fit (key: memory) */
    int64_t max_output;
    double quality; /* how good it is, in any unit, for `best`; 0: not said */
    struct exchange_patience
        patience; /* connect_timeout, first_token_timeout, idle_timeout, timeout, retries */
    struct exchange_health_options limits; /* breaker, max_in_flight, queue: {length, timeout} */
    enum balance_by balance;               /* balance: {over, by}: equal models behind this name */
    const size_t *members;                 /* indexes of models */
    const int *weights;
    size_t n_members; /* 0: it is a target itself */
    bool unlisted;    /* a member that nobody wrote down: clients are not told of it */
    int line;
};

struct config_telemetry {
    struct str otlp; /* the collector's address, before /v1/traces; empty: none */
    struct str ca_file;
    enum egress_zone zone;
    double sample;                 /* of requests that come without a trace: 0 to 1 */
    struct egress_header *headers; /* values are secrets */
    size_t n_headers;
};

struct config {
    struct arena *arena;
    struct str file; /* where it came from; "(built in)" */
    struct str listen_host;
    int listen_port;
    struct str tls_certificate, tls_key;
    struct str state;   /* "sqlite:weir.db" */
    struct str journal; /* its files' path; empty: beside the state; "off" */
    struct str files;   /* the folder of clients' files; empty: beside an SQLite state, else none:
                           config_files_folder */
    struct str kv_folder; /* of kv_disk; by default beside an SQLite state; empty: none */
    bool offline;
    bool asks_nobody; /* secrets are not read */
    bool auth_keys;   /* auth: keys */
    struct config_provider *providers;
    size_t n_providers;
    struct config_model *models;
    size_t n_models;
    struct str models_dir;   /* each .gguf in it is a model by its file name; empty: none (key: models_dir) */
    int64_t models_dir_mark; /* when it last changed, before it was read */
    int64_t keep_alive_ms;   /* of models that do not say (key: keep_alive) */
    int64_t model_memory;    /* bytes the loaded models may take; 0: what there is (key: model_memory) */
    int max_loaded;          /* models loaded at once; 0: as many as fit (key: max_loaded) */
    const struct yaml_node *routes;
    const struct yaml_node *owner; /* what is sensitive to the owner, and what is not (router/detect_own.h) */
    enum router_on_sensitive on_sensitive;
    struct str redact_key;     /* empty: random */
    unsigned redact_never;     /* categories */
    struct str *allowed_hosts; /* further Host names accepted on loopback (key: hosts) */
    size_t n_allowed_hosts;
    int loops;                         /* event loops; 0: one per core (key: threads) */
    int max_connections;               /* key: max_connections */
    int64_t max_body;                  /* key: max_body, bytes or "32MiB" */
    struct exchange_settings exchange; /* keys: request_timeout, stream_keep_alive, cache */
    int64_t cache_ttl_ms, cache_bytes; /* cache: {ttl, max_bytes} */
    int64_t drain_ms, drain_delay_ms;  /* keys: drain_timeout, drain_delay */
    int64_t retention_metadata_ms;     /* retention.metadata; 0: for ever */
    struct config_telemetry telemetry; /* telemetry: {otlp, headers, sample, zone, ca_file} */
    struct str access_log;             /* "stdout" or a file; empty: none */
};

/* Overrides from the command line; empty or false: none. */
struct config_overrides {
    struct str listen, model_file;
    bool offline, memory_unchecked; /* the latter of every model that runs here */
    bool state_only; /* no more than where the state is: who revokes a key needs no provider's secret */
    bool asks_nobody; /* rules, models and prices are wanted, and secrets stay as they are written */
};
/* `file` empty: weir.yaml in the working directory if it is there, else built-in defaults: no providers but
 * those whose key is in the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY) with one model
 * name each, the
 * --model file as model `local`, and a route `auto` that keeps what is sensitive inside. Also checks: a
 * listen address that is not loopback needs `auth: keys`; files named exist. */
int config_load(
    struct str file, const struct config_overrides *o, struct config **out, struct error *err) MUST_USE;
void config_free(struct config *c);
/* The file it was read from; empty: built in. */
struct str config_origin(const struct config *c);
/* The settings that hold until a restart: their keys, and their values as text in `a`. */
enum { CONFIG_FIXED = 12 };
extern const char *const config_fixed_keys[CONFIG_FIXED];
void config_fixed(const struct config *c, struct arena *a, struct str values[CONFIG_FIXED]);
/* Where weir pull puts models and weir rm removes them: models_dir, else "models". */
struct str config_models_folder(const struct config *c);
/* Models in that folder where no models_dir serves it and no model is configured of them: what weir pull fetched. */
struct config_kept {
    struct str name, path;
};
int config_kept_list(const struct config *c, struct arena *a, struct config_kept **out, size_t *n,
    struct error *err) MUST_USE;
/* Has a file come to models_dir, or gone? `mark` is then what models_dir_mark will be. */
bool config_models_changed(const struct config *c, int64_t *mark);
/* The policy of this configuration. */
int config_policy(const struct config *c, struct router_policy **out, struct error *err) MUST_USE;
/* Both, as the command line wants them. */
int config_policy_load(struct str file, const struct config_overrides *o, struct config **config,
    struct router_policy **policy, struct error *err) MUST_USE;

/* Where clients' files are kept, with a NUL at its end; empty: nowhere. */
struct str config_files_folder(struct arena *a, struct str files, struct str state);
/* Likewise of what kv_disk keeps. */
struct str config_kv_folder(struct arena *a, struct str folder, struct str state);

#endif
