/* The configuration's providers and models. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/config_inner.h"
#include "base/limits.h"
#include "engine/engine.h"

enum { MAX_PROVIDERS = 256, MAX_MODELS = 1024, HOUR_MS = 3600 * 1000, ANSWER_MS = 600 * 1000 };

/* ---- Providers: a map of name to settings. ---- */
static int timeouts_read(const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    const struct {
        const char *key;
        int *out;
    } timeouts[] = {{"connect_timeout", &p->connect_timeout_ms},
        {"first_byte_timeout", &p->first_byte_timeout_ms}, {"idle_timeout", &p->idle_timeout_ms}};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        int64_t ms;
        int rc = config_get_duration(n, timeouts[i].key, 0, HOUR_MS, &ms, err);
        if (rc)
            return rc;
        *timeouts[i].out = (int)ms;
    }
    /* Who says how soon the first byte is to come wants to know, and only a stream tells. */
    int64_t answer_ms = p->first_byte_timeout_ms > 0 ? 0 : ANSWER_MS;
    return config_get_duration(n, "answer_timeout", answer_ms, HOUR_MS, &p->answer_timeout_ms, err);
}

static int kind_read(const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    int rc = yaml_get_str(n, "kind", STR_NONE, &p->kind, err);
    if (rc)
        return rc;
    if (p->kind.len == 0)
        return yaml_error(n, err, ERROR_INVALID, "provider '" STR_FMT "' has no 'kind': it is one of %s",
            STR_ARG(p->name), provider_kinds());
    if (!provider_kind_exists(p->kind) || str_is(p->kind, "local"))
        return yaml_error(yaml_get(n, "kind"), err, ERROR_INVALID, "no kind '" STR_FMT "': there are %s",
            STR_ARG(p->kind), provider_kinds());
    rc = yaml_get_str(n, "quirks", STR_NONE, &p->quirks, err);
    if (rc == 0 && p->quirks.len > 0 && (!str_is(p->kind, "openai") || !provider_quirks_exist(p->quirks)))
        return yaml_error(yaml_get(n, "quirks"), err, ERROR_INVALID,
            "'quirks' belongs to a provider of kind openai and is one of openai, %s", provider_kinds());
    rc = rc ? rc : yaml_get_str(n, "api_version", STR_NONE, &p->api_version, err);
    if (rc == 0 && p->api_version.len > 0 && !str_is(p->kind, "azure") && !str_is(p->quirks, "azure"))
        return yaml_error(yaml_get(n, "api_version"), err, ERROR_INVALID,
            "'api_version' belongs to a provider of kind azure");
    return rc ? rc : yaml_get_str(n, "base_url", provider_kind_url(p->kind), &p->base_url, err);
}

/* One of Amazon's settings: of the configuration, else of the variable that its own tools go by. */
static int aws_secret(struct config *c, const struct yaml_node *n, const char *key, const char *variable,
    struct str *out, struct error *err)
{
    int rc = config_get_secret(c, n, key, out, err);
    if (rc == 0 && out->len == 0 && !c->asks_nobody && getenv(variable))
        *out = arena_copy(c->arena, str_from(getenv(variable)));
    return rc;
}

/* Bedrock: where it is, and with what its requests are signed; or `api_key`, a key of Bedrock's own. */
static int bedrock_read(
    struct config *c, const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    static const char *const keys[] = {"region", "access_key_id", "secret_access_key", "session_token"};
    bool bedrock = str_is(p->kind, "bedrock");
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !bedrock; i++)
        if (yaml_get(n, keys[i]))
            return yaml_error(yaml_get(n, keys[i]), err, ERROR_INVALID,
                "'%s' belongs to a provider of kind bedrock", keys[i]);
    if (!bedrock)
        return 0;
    int rc = yaml_get_str(n, "region", str_from(getenv("AWS_REGION")), &p->region, err);
    if (rc == 0)
        rc = aws_secret(c, n, "access_key_id", "AWS_ACCESS_KEY_ID", &p->access_key_id, err);
    if (rc == 0)
        rc = aws_secret(c, n, "secret_access_key", "AWS_SECRET_ACCESS_KEY", &p->secret_access_key, err);
    if (rc == 0)
        rc = aws_secret(c, n, "session_token", "AWS_SESSION_TOKEN", &p->session_token, err);
    for (size_t i = 0; i < p->region.len && rc == 0; i++) {
        char ch = p->region.data[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-'))
            return yaml_error(
                yaml_get(n, "region"), err, ERROR_INVALID, "'region' is a name like eu-central-1");
    }
    if (rc == 0 && p->region.len == 0 && !c->asks_nobody)
        rc = yaml_error(
            n, err, ERROR_INVALID, "a provider of kind bedrock wants a 'region', like eu-central-1");
    if (rc == 0 && !c->asks_nobody && p->api_key.len == 0 &&
        (p->access_key_id.len == 0 || p->secret_access_key.len == 0))
        rc = yaml_error(n, err, ERROR_INVALID,
            "a provider of kind bedrock wants 'access_key_id' and 'secret_access_key', or an 'api_key'");
    if (rc == 0 && p->base_url.len == 0)
        p->base_url =
            arena_printf(c->arena, "https://bedrock-runtime." STR_FMT ".amazonaws.com", STR_ARG(p->region));
    return rc;
}

int config_header_check(const struct yaml_node *at, struct egress_header *h, struct error *err)
{
    struct error why;
    h->value = str_trim(h->value); /* a file often ends with a line end */
    return egress_header_check(h, &why) ? yaml_error(at, err, ERROR_INVALID, "%s", why.message) : 0;
}

/* headers: {X-Title: "Weir", X-Team: "${TEAM}"}: what goes with every request. */
static int headers_read(
    struct config *c, const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    const struct yaml_node *map = yaml_get(n, "headers");
    if (!map)
        return 0;
    if (map->kind != YAML_MAP || map->count > PROVIDER_OWN_HEADERS_MAX)
        return yaml_error(
            map, err, ERROR_INVALID, "'headers' must be a map of at most %d names", PROVIDER_OWN_HEADERS_MAX);
    p->headers = arena_alloc(c->arena, (map->count + 1) * sizeof *p->headers);
    for (const struct yaml_node *h = map->first; h; h = h->next) {
        struct egress_header *header = &p->headers[p->n_headers++];
        header->name = h->key;
        if (!provider_header_allowed(h->key))
            return yaml_error(h, err, ERROR_INVALID,
                "'headers' cannot set '" STR_FMT "': it is the gateway's own ('api_key' is for keys)",
                STR_ARG(str_slice(h->key, 0, 80)));
        int rc = yaml_get_str(map, h->key.data, STR_NONE, &header->value, err);
        bool secret = str_starts(header->value, STR("${")) || str_starts(header->value, STR("file:"));
        if (rc == 0 && secret)
            rc = config_get_secret(c, map, h->key.data, &header->value, err);
        if (rc == 0)
            rc = config_header_check(h, header, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int provider_read(
    struct config *c, const struct yaml_node *n, struct config_provider *p, struct error *err)
{
    static const char *const keys[] = {"kind", "base_url", "base_urls", "balance", "api_key", "zone",
        "ca_file", "proxy", "networks", "connect_timeout", "first_byte_timeout", "answer_timeout",
        "idle_timeout", "first_token_timeout", "timeout", "retries", "breaker", "probe", "quirks",
        "api_version", "headers", "region", "access_key_id", "secret_access_key", "session_token",
        "traceparent", NULL};
    static const char *const zones[] = {"local", "cloud", NULL};
    int zone = EGRESS_ZONE_CLOUD, rc = yaml_check_keys(n, keys, "a provider", err);
    p->name = n->key;
    p->line = n->line;
    if (rc == 0 && (str_is(p->name, "local") || p->name.len > LIMIT_MODEL_NAME))
        rc = yaml_error(
            n, err, ERROR_INVALID, "'local' is the embedded engine: give the provider another name");
    if (rc == 0)
        rc = kind_read(n, p, err);
    if (rc == 0)
        rc = config_get_choice(n, "zone", zones, EGRESS_ZONE_CLOUD, &zone, err);
    p->zone = (enum egress_zone)zone;
    if (rc == 0)
        rc = config_get_secret(c, n, "api_key", &p->api_key, err);
    if (rc == 0)
        rc = bedrock_read(c, n, p, err);
    if (rc == 0)
        rc = headers_read(c, n, p, err);
    if (rc == 0)
        rc = config_get_file(c, n, "ca_file", &p->ca_file, err);
    if (rc == 0)
        rc = yaml_get_str(n, "proxy", STR_NONE, &p->proxy, err);
    if (rc == 0)
        rc = config_get_strings(c, n, "networks", &p->networks, &p->n_networks, err);
    if (rc == 0)
        rc = timeouts_read(n, p, err);
    config_patience_init(&p->patience, &p->breaker);
    if (rc == 0)
        rc = config_patience_read(n, &p->patience, &p->breaker, err);
    if (rc == 0)
        rc = config_probe_read(n, p, err);
    if (rc == 0)
        rc = yaml_get_bool(n, "traceparent", false, &p->traceparent, err);
    if (rc == 0)
        rc = config_servers_read(c, n, p, err);
    if (rc == 0 && !str_starts(p->base_url, STR("https://")) && !str_starts(p->base_url, STR("http://")))
        rc = yaml_error(n, err, ERROR_INVALID,
            "provider '" STR_FMT "' wants a 'base_url' that begins with https://", STR_ARG(p->name));
    if (rc == 0 && p->n_networks > 0 && p->zone != EGRESS_ZONE_LOCAL)
        rc = yaml_error(
            yaml_get(n, "networks"), err, ERROR_INVALID, "'networks' belongs to a provider with zone: local");
    return rc;
}

int config_read_providers(struct config *c, const struct yaml_node *root, struct error *err)
{
    const struct yaml_node *map = yaml_get(root, "providers");
    if (!map)
        return 0;
    if (map->kind != YAML_MAP || map->count > MAX_PROVIDERS)
        return yaml_error(
            map, err, ERROR_INVALID, "'providers' must be a map of at most %d names", MAX_PROVIDERS);
    c->providers = arena_alloc(c->arena, (MAX_PROVIDERS + BALANCE_MOST) * sizeof *c->providers);
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        struct config_provider *p = &c->providers[c->n_providers];
        int rc = c->n_providers < MAX_PROVIDERS
                     ? provider_read(c, n, p, err)
                     : yaml_error(map, err, ERROR_INVALID, "there are more than %d providers", MAX_PROVIDERS);
        if (rc)
            return rc;
        c->n_providers++;
        config_servers_add(c, p);
    }
    return 0;
}

/* ---- Models: a list. ---- */

/* US dollars per million tokens to nano-dollars per token: times a thousand. */
static int price_member(
    const struct yaml_node *n, const char *key, int64_t fallback, int64_t *out, struct error *err)
{
    double usd;
    int rc = yaml_get_double(n, key, (double)fallback / 1000, 0, 1e6, &usd, err);
    *out = llround(usd * 1000);
    return rc;
}

static int price_read(const struct yaml_node *n, struct govern_price *price, struct error *err)
{
    static const char *const keys[] = {
        "input", "cached_input", "cache_write", "cache_write_1h", "output", NULL};
    int rc = yaml_check_keys(n, keys, "a price", err);
    if (rc == 0 && (!yaml_get(n, "input") || !yaml_get(n, "output")))
        rc = yaml_error(
            n, err, ERROR_INVALID, "a price wants 'input' and 'output', in US dollars per million tokens");
    if (rc == 0)
        rc = price_member(n, "input", 0, &price->input, err);
    if (rc == 0)
        rc = price_member(n, "output", 0, &price->output, err);
    if (rc == 0)
        rc = price_member(n, "cached_input", price->input, &price->cached_input, err);
    if (rc == 0)
        rc = price_member(n, "cache_write", price->input, &price->cache_write, err);
    if (rc == 0)
        rc = price_member(n, "cache_write_1h", price->cache_write, &price->cache_write_long, err);
    price->known = true;
    return rc;
}

static int sizes_read(const struct yaml_node *n, struct config_model *m, struct error *err)
{
    const struct {
        const char *key;
        int most;
        int *out;
    } sizes[] = {{"context", 1 << 24, &m->context}, {"slots", 1024, &m->slots},
        {"threads", 1024, &m->threads}, {"queue", 1 << 20, &m->queue}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value;
        const struct yaml_node *given = yaml_get(n, sizes[i].key);
        if (given && given->kind == YAML_MAP && sizes[i].out == &m->queue)
            continue; /* the other kind of queue */
        int rc = yaml_get_int(n, sizes[i].key, 0, 1, sizes[i].most, &value, err);
        if (rc)
            return rc;
        *sizes[i].out = (int)value;
        if (value > 0 && m->provider >= 0)
            return yaml_error(yaml_get(n, sizes[i].key), err, ERROR_INVALID,
                "'%s' belongs to a model that runs here (with 'file')", sizes[i].key);
    }
    return 0;
}

/* What the engine keeps of sequences: how much memory, and how small. */
static int kv_read(struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    static const char *const types[] = {"", "f32", "f16", "bf16", "q8_0", "q4_0"};
    struct str type;
    bool known = false;
    int rc = config_get_size(n, "kv_cache", 0, (int64_t)1 << 50, &m->kv_bytes, err);
    if (rc == 0)
        rc = yaml_get_str(n, "kv_type", STR(""), &type, err);
    for (size_t i = 0; i < sizeof types / sizeof *types && rc == 0; i++)
        known = known || str_is(type, types[i]);
    if (rc == 0 && !known)
        rc = yaml_error(
            yaml_get(n, "kv_type"), err, ERROR_INVALID, "'kv_type' must be f32, f16, bf16, q8_0 or q4_0");
    if (rc == 0)
        rc = config_get_size(n, "kv_disk", 0, (int64_t)1 << 50, &m->kv_disk, err);
    if (rc == 0 && m->provider >= 0 && (m->kv_bytes > 0 || type.len > 0 || m->kv_disk > 0))
        rc = yaml_error(n, err, ERROR_INVALID,
            "'kv_cache', 'kv_type' and 'kv_disk' belong to a model that runs here (with 'file')");
    if (rc == 0 && m->kv_disk > 0 && c->kv_folder.len == 0)
        rc = yaml_error(yaml_get(n, "kv_disk"), err, ERROR_INVALID,
            "'kv_disk' wants a folder of this gateway's own: name one as 'kv_folder'");
    m->kv_type = rc == 0 ? arena_copy(c->arena, type) : STR_NONE;
    return rc;
}

/* The name of a model that stands before, or a file. */
static int draft_read(struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    struct str name;
    int rc = yaml_get_str(n, "draft", STR_NONE, &name, err);
    if (rc || name.len == 0)
        return rc;
    for (size_t i = 0; i < c->n_models; i++)
        if (str_eq(c->models[i].name, name) && c->models[i].file.len > 0)
            m->draft = c->models[i].file;
    if (m->draft.len == 0)
        rc = config_get_model_file(c, n, "draft", &m->draft, err);
    if (rc == 0 && m->drafts_off)
        rc = yaml_error(
            yaml_get(n, "draft"), err, ERROR_INVALID, "'draft' beside 'speculate: off': leave one out");
    return rc;
}

static int speculate_read(const struct yaml_node *n, struct config_model *m, struct error *err)
{
    struct str how;
    int rc = yaml_get_str(n, "speculate", STR("auto"), &how, err);
    m->drafts_off = rc == 0 && str_is(how, "off");
    if (rc == 0 && !m->drafts_off && !str_is(how, "auto"))
        rc = yaml_error(yaml_get(n, "speculate"), err, ERROR_INVALID, "'speculate' is auto or off");
    return rc;
}

static int memory_read(const struct yaml_node *n, struct config_model *m, struct error *err)
{
    struct str how;
    int rc = yaml_get_str(n, "memory", STR("checked"), &how, err);
    m->memory_unchecked = rc == 0 && str_is(how, "unchecked");
    if (rc == 0 && !m->memory_unchecked && !str_is(how, "checked"))
        rc = yaml_error(yaml_get(n, "memory"), err, ERROR_INVALID, "'memory' is checked or unchecked");
    return rc;
}

/* When a model of our own is loaded, and for how long. */
static int loading_read(
    struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    static const char *const keys[] = {
        "keep_alive", "load_timeout", "silence_timeout", "preload", "memory", "speculate", "draft"};
    for (size_t i = 0; m->provider >= 0 && i < sizeof keys / sizeof *keys; i++)
        if (yaml_get(n, keys[i]))
            return yaml_error(yaml_get(n, keys[i]), err, ERROR_INVALID,
                "'%s' belongs to a model that runs here (with 'file')", keys[i]);
    int rc = config_get_keep_alive(n, c->keep_alive_ms, &m->keep_alive_ms, err);
    if (rc == 0)
        rc = config_get_duration(n, "load_timeout", 0, HOUR_MS, &m->load_timeout_ms, err);
    if (rc == 0)
        rc = config_get_duration(n, "silence_timeout", 0, 24 * HOUR_MS, &m->silence_ms, err);
    if (rc == 0)
        rc = yaml_get_bool(n, "preload", false, &m->preload, err);
    if (rc == 0)
        rc = speculate_read(n, m, err);
    if (rc == 0)
        rc = draft_read(c, n, m, err);
    return rc ? rc : memory_read(n, m, err);
}

static int model_provider_read(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    struct str name;
    m->provider = -1;
    int rc = yaml_get_str(n, "provider", STR_NONE, &name, err);
    if (rc || !name.data)
        return rc;
    const char *names[MAX_PROVIDERS + BALANCE_MOST + 1] = {NULL};
    for (size_t i = 0; i < c->n_providers; i++) {
        if (str_eq(c->providers[i].name, name))
            m->provider = (int)i;
        names[i] = c->providers[i].name.data; /* keys end with a NUL */
    }
    if (m->provider >= 0)
        return yaml_get_str(n, "model", m->name, &m->model, err);
    const char *near = yaml_nearest(name, names);
    return yaml_error(yaml_get(n, "provider"), err, ERROR_INVALID, "no provider '" STR_FMT "'%s%s%s",
        STR_ARG(name), near ? ": did you mean '" : ": add it under 'providers'", near ? near : "",
        near ? "'?" : "");
}

/* What a model costs: as configured, as the built-in table knows, or nothing where it runs on our own
 * machines. */
static int model_price_read(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    const struct yaml_node *price = yaml_get(n, "price");
    if (price)
        return price_read(price, &m->price, err);
    const struct config_provider *p = m->provider >= 0 ? &c->providers[m->provider] : NULL;
    if (p && p->zone == EGRESS_ZONE_CLOUD)
        m->price = govern_price_find(p->kind, m->model);
    else
        m->price.known = true;
    return 0;
}

static int model_name_read(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    int rc = yaml_get_str(n, "name", STR_NONE, &m->name, err);
    if (rc)
        return rc;
    if (m->name.len == 0 || m->name.len > LIMIT_MODEL_NAME)
        return yaml_error(n, err, ERROR_INVALID, "the model has no name: clients ask for it by its name");
    for (size_t i = 0; i < m->name.len; i++)
        if ((unsigned char)m->name.data[i] <= ' ' || m->name.data[i] == '\x7f')
            return yaml_error(n, err, ERROR_INVALID, "a model's name has no spaces or control characters");
    for (size_t i = 0; i < c->n_models; i++)
        if (str_eq(c->models[i].name, m->name))
            return yaml_error(n, err, ERROR_INVALID, "a model named '" STR_FMT "' is on line %d already",
                STR_ARG(m->name), c->models[i].line);
    return 0;
}

static int adapter_read(
    struct config *c, const struct yaml_node *n, struct config_adapter *a, struct error *err)
{
    static const char *const keys[] = {"file", "name", "scale", NULL};
    int rc = yaml_check_keys(n, keys, "an adapter", err);
    if (rc == 0)
        rc = config_get_file(c, n, "file", &a->file, err);
    if (rc == 0 && a->file.len == 0)
        rc = yaml_error(n, err, ERROR_INVALID, "an adapter wants a 'file'");
    if (rc == 0)
        rc = yaml_get_str(n, "name", engine_adapter_name(a->file), &a->name, err);
    return rc ? rc : yaml_get_double(n, "scale", 1, -1000, 1000, &a->scale, err);
}

static int adapters_read(
    struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    const struct yaml_node *list = yaml_get(n, "lora");
    if (!list)
        return 0;
    if (list->kind != YAML_LIST || list->count > ENGINE_ADAPTERS_MAX)
        return yaml_error(
            list, err, ERROR_INVALID, "'lora' must be a list of at most %d adapters", ENGINE_ADAPTERS_MAX);
    if (m->provider >= 0)
        return yaml_error(list, err, ERROR_INVALID, "'lora' belongs to a model that runs here (with 'file')");
    m->adapters = arena_alloc(c->arena, (list->count + 1) * sizeof *m->adapters);
    for (const struct yaml_node *a = list->first; a; a = a->next) {
        int rc = adapter_read(c, a, &m->adapters[m->n_adapters], err);
        if (rc)
            return rc;
        m->n_adapters++;
    }
    return 0;
}

static int model_read(struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err)
{
    static const char *const keys[] = {"name", "file", "context", "slots", "threads", "queue", "provider",
        "model", "price", "max_output", "connect_timeout", "first_token_timeout", "idle_timeout", "timeout",
        "retries", "breaker", "max_in_flight", "balance", "keep_alive", "load_timeout", "silence_timeout",
        "preload", "memory", "lora", "quality", "kv_cache", "kv_type", "kv_disk", "speculate", "draft", NULL};
    int rc = yaml_check_keys(n, keys, "a model", err);
    m->line = n->line;
    if (rc == 0)
        rc = model_name_read(c, n, m, err);
    if (rc == 0)
        rc = yaml_get_double(n, "quality", 0, 0, 1e6, &m->quality, err);
    if (rc == 0 && yaml_get(n, "balance"))
        return config_pool_read(c, n, m, err);
    if (rc == 0)
        rc = model_provider_read(c, n, m, err);
    if (rc == 0)
        rc = config_get_model_file(c, n, "file", &m->file, err);
    if (rc == 0 && (m->file.len > 0) == (m->provider >= 0))
        rc = yaml_error(n, err, ERROR_INVALID,
            "model '" STR_FMT "' wants a 'file' (it runs here), a 'provider' or 'balance', and one only",
            STR_ARG(m->name));
    if (rc == 0 && m->provider < 0 && yaml_get(n, "model"))
        rc = yaml_error(
            yaml_get(n, "model"), err, ERROR_INVALID, "'model' belongs to a model with a 'provider'");
    if (rc == 0)
        rc = sizes_read(n, m, err);
    if (rc == 0)
        rc = kv_read(c, n, m, err);
    if (rc == 0)
        rc = loading_read(c, n, m, err);
    if (rc == 0)
        rc = adapters_read(c, n, m, err);
    if (rc == 0)
        rc = model_price_read(c, n, m, err);
    if (rc == 0)
        rc = yaml_get_int(n, "max_output", 0, 1, 1 << 24, &m->max_output, err);
    if (rc == 0)
        rc = config_model_patience(c, n, m, err);
    return rc;
}

int config_read_models(struct config *c, const struct yaml_node *root, struct error *err)
{
    const struct yaml_node *list = yaml_get(root, "models");
    size_t count = list ? list->count : 0;
    if (list && (list->kind != YAML_LIST || count > MAX_MODELS))
        return yaml_error(
            list, err, ERROR_INVALID, "'models' must be a list of at most %d models", MAX_MODELS);
    size_t most = 1; /* that come of one: itself, or its members and their pool */
    for (size_t i = 0; i < c->n_providers; i++)
        if (c->providers[i].n_more + 2 > most)
            most = c->providers[i].n_more + 2;
    c->models = arena_alloc(
        c->arena, (count * most + CONFIG_FOUND_MAX + 2) * sizeof *c->models); /* one more for --model */
    for (const struct yaml_node *n = list ? list->first : NULL; n; n = n->next) {
        int rc = model_read(c, n, &c->models[c->n_models], err);
        if (rc)
            return rc;
        c->n_models++;
        config_members_add(c);
    }
    return c->models_dir.len > 0 ? config_read_found(c, err) : 0;
}
