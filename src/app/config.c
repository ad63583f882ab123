#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config_inner.h"
#include "base/file.h"
#include "base/limits.h"
#include "egress/egress.h"
#include "router/calibrate.h"

static const char built_in[] = "(built in)";
static const char default_file[] = "weir.yaml";

enum { CONFIG_MEMORY = 64 << 20 };

/* ---- listen ---- */
/* "127.0.0.1:8080", "[::1]:8080" */
static bool listen_split(struct str text, struct str *host, int *port)
{
    int64_t number;
    size_t colon = SIZE_MAX;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == ':')
            colon = i;
    if (colon == SIZE_MAX || colon == 0 || !str_to_int64(str_slice(text, colon + 1, text.len), &number) ||
        number < 0 || number > 65535)
        return false;
    *port = (int)number;
    *host = str_slice(text, 0, colon);
    bool bracketed = host->data[0] == '[' && host->data[host->len - 1] == ']';
    if (bracketed)
        *host = str_slice(*host, 1, host->len - 1);
    else if (str_find_char(*host, ':') != SIZE_MAX)
        return false;
    return host->len > 0;
}

static int listen_read(
    struct config *c, const struct yaml_node *root, const struct config_overrides *o, struct error *err)
{
    struct str text;
    int rc = yaml_get_str(root, "listen", STR("127.0.0.1:8080"), &text, err);
    if (rc)
        return rc;
    if (o->listen.len > 0) {
        if (!listen_split(arena_copy(c->arena, o->listen), &c->listen_host, &c->listen_port))
            return error_set(err, ERROR_INVALID,
                "--listen wants HOST:PORT like 127.0.0.1:8080, not '" STR_FMT "'", STR_ARG(o->listen));
    } else if (!listen_split(text, &c->listen_host, &c->listen_port)) {
        return yaml_error(yaml_get(root, "listen"), err, ERROR_INVALID,
            "'listen' wants HOST:PORT like 127.0.0.1:8080, not '" STR_FMT "'", STR_ARG(text));
    }
    if (!c->auth_keys && !egress_host_is_loopback(c->listen_host))
        return error_set(err, ERROR_DENIED,
            STR_FMT ": listening on " STR_FMT
                    " without keys would let anyone in: write `auth: keys` (and make one with "
                    "`weir keys create`), or listen on 127.0.0.1",
            STR_ARG(c->file), STR_ARG(c->listen_host));
    return 0;
}

/* ---- The other top-level members. ---- */
static int tls_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"certificate", "key", NULL};
    const struct yaml_node *tls = yaml_get(root, "tls");
    if (!tls)
        return 0;
    int rc = yaml_check_keys(tls, keys, "tls", err);
    if (rc == 0)
        rc = config_get_file(c, tls, "certificate", &c->tls_certificate, err);
    if (rc == 0)
        rc = config_get_file(c, tls, "key", &c->tls_key, err);
    if (rc == 0 && (c->tls_certificate.len == 0 || c->tls_key.len == 0))
        rc = yaml_error(tls, err, ERROR_INVALID, "'tls' wants both a 'certificate' and a 'key'");
    return rc;
}

static int retention_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"content", "metadata", NULL};
    const struct yaml_node *retention = yaml_get(root, "retention");
    const int64_t most = (int64_t)36500 * 86400000;
    const struct yaml_node *content = yaml_get(retention, "content");
    int rc = retention ? yaml_check_keys(retention, keys, "retention", err) : 0;
    if (rc == 0 && content && !(content->kind == YAML_SCALAR && str_is(content->value, "none")))
        rc = config_get_duration(retention, "content", 0, most, &c->exchange.content_ms, err);
    const struct yaml_node *metadata = yaml_get(retention, "metadata");
    if (rc || (metadata && metadata->kind == YAML_SCALAR && str_is(metadata->value, "forever")))
        return rc;
    return config_get_duration(
        retention, "metadata", (int64_t)90 * 86400000, most, &c->retention_metadata_ms, err);
}

static int limits_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    int64_t loops, connections = LIMIT_CONNECTIONS;
    int rc = yaml_get_int(root, "threads", 0, 1, 256, &loops, err);
    if (rc == 0)
        rc =
            yaml_get_int(root, "max_connections", LIMIT_CONNECTIONS, 1, LIMIT_CONNECTIONS, &connections, err);
    if (rc == 0)
        rc = config_get_size(
            root, "max_body", (int64_t)LIMIT_HTTP_BODY, (int64_t)LIMIT_HTTP_BODY, &c->max_body, err);
    c->loops = (int)loops;
    c->max_connections = (int)connections;
    return rc;
}

/* sqlite:FILE or postgresql://user@host/db; a password is not written here. */
static int state_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    int rc = yaml_get_str(root, "state", STR("sqlite:weir.db"), &c->state, err);
    if (rc == 0)
        rc = yaml_get_str(root, "journal", STR_NONE, &c->journal, err);
    if (rc == 0)
        rc = yaml_get_str(root, "files", STR_NONE, &c->files, err);
    if (rc == 0)
        rc = yaml_get_str(root, "kv_folder", STR_NONE, &c->kv_folder, err);
    if (rc)
        return rc;
    c->kv_folder = config_kv_folder(c->arena, c->kv_folder, c->state);
    const struct yaml_node *at = yaml_get(root, "state");
    if (str_starts(c->state, STR("postgresql://"))) {
        struct str rest = str_slice(c->state, 13, c->state.len), user;
        bool password = str_find_char(rest, '@') != SIZE_MAX && str_split(&rest, '@', &user) &&
                        str_find_char(user, ':') != SIZE_MAX;
        return password ? yaml_error(at, err, ERROR_INVALID,
                              "'state' holds a password: put it into PGPASSWORD or ~/.pgpass")
                        : 0;
    }
    if (!str_starts(c->state, STR("sqlite:")) || c->state.len < 8)
        return yaml_error(at, err, ERROR_INVALID,
            "'state' is sqlite:FILE, like sqlite:weir.db (a relative FILE is in the working directory), or "
            "postgresql://user@host/db");
    return 0;
}

/* What holds for all embedded models. */
static int local_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    int64_t loaded = 0;
    int rc = config_get_keep_alive(root, (int64_t)5 * 60 * 1000, &c->keep_alive_ms, err);
    if (rc == 0)
        rc = config_get_size(root, "model_memory", 0, (int64_t)1 << 50, &c->model_memory, err);
    if (rc == 0)
        rc = yaml_get_int(root, "max_loaded", 0, 1, 1024, &loaded, err);
    if (rc == 0)
        rc = config_get_folder(c, root, "models_dir", &c->models_dir, err);
    c->max_loaded = (int)loaded;
    return rc;
}

/* redact: {key: "${WEIR_REDACT_KEY}", never: [SECRET, PHI]} */
static int redact_read(struct config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"key", "never", NULL};
    const struct yaml_node *map = yaml_get(root, "redact");
    if (!map)
        return 0;
    int rc = yaml_check_keys(map, keys, "'redact'", err);
    if (rc == 0)
        rc = config_get_secret(c, map, "key", &c->redact_key, err);
    const struct yaml_node *never = yaml_get(map, "never");
    if (rc == 0 && never && never->kind != YAML_LIST)
        rc = yaml_error(never, err, ERROR_INVALID, "'never' wants categories: [SECRET, PHI]");
    for (const struct yaml_node *n = never ? never->first : NULL; n && rc == 0; n = n->next) {
        unsigned category = n->kind == YAML_SCALAR ? router_category_from(n->value) : 0;
        if (category == 0)
            rc = yaml_error(n, err, ERROR_INVALID,
                "'never' knows PII, PHI, FINANCIAL, SECRET, LEGAL, PROPRIETARY and PERSONAL");
        c->redact_never |= category;
    }
    return rc;
}

static int root_read(
    struct config *c, const struct yaml_node *root, const struct config_overrides *o, struct error *err)
{
    static const char *const keys[] = {"listen", "tls", "state", "journal", "files", "offline", "auth",
        "kv_folder", "providers", "models", "routes", "owner", "on_sensitive", "redact", "retention", "hosts",
        "threads", "max_connections", "max_body", "request_timeout", "drain_timeout", "drain_delay",
        "stream_keep_alive", "cache", "keep_alive", "model_memory", "max_loaded", "models_dir", "access_log",
        "telemetry", "feedback", NULL};
    static const char *const auths[] = {"none", "keys", NULL};
    static const char *const on_sensitive[] = {"local", "redact", "block", "allow", NULL};
    int auth = 0, sensitive = ROUTER_SENSITIVE_LOCAL;
    int rc = yaml_check_keys(root, keys, "the configuration", err);
    if (rc == 0)
        rc = config_get_choice(root, "auth", auths, 0, &auth, err);
    c->auth_keys = auth == 1;
    if (rc == 0)
        rc = listen_read(c, root, o, err);
    if (rc == 0)
        rc = state_read(c, root, err);
    if (rc || o->state_only)
        return rc;
    rc = tls_read(c, root, err);
    if (rc == 0)
        rc = yaml_get_bool(root, "offline", false, &c->offline, err);
    c->offline = c->offline || o->offline;
    c->asks_nobody = o->asks_nobody;
    if (rc == 0)
        rc = config_get_choice(root, "on_sensitive", on_sensitive, ROUTER_SENSITIVE_LOCAL, &sensitive, err);
    c->on_sensitive = (enum router_on_sensitive)sensitive;
    if (rc == 0)
        rc = redact_read(c, root, err);
    if (rc == 0)
        rc = retention_read(c, root, err);
    if (rc == 0)
        rc = limits_read(c, root, err);
    if (rc == 0)
        rc = config_read_exchange(c, root, err);
    if (rc == 0)
        rc = config_read_observe(c, root, err);
    if (rc == 0)
        rc = config_get_strings(c, root, "hosts", &c->allowed_hosts, &c->n_allowed_hosts, err);
    if (rc == 0)
        rc = config_read_providers(c, root, err);
    if (rc == 0)
        rc = local_read(c, root, err);
    if (rc == 0)
        rc = config_read_models(c, root, err);
    c->routes = yaml_get(root, "routes");
    c->owner = yaml_get(root, "owner");
    return rc;
}

/* ---- Without a file: what the environment and --model give. ---- */
static const struct {
    const char *variable, *provider, *kind, *model;
} clouds[] = {{"OPENAI_API_KEY", "openai", "openai", "gpt-4o"},
    {"ANTHROPIC_API_KEY", "anthropic", "anthropic", "claude-sonnet-4-5"},
    {"GEMINI_API_KEY", "google", "gemini", "gemini-2.5-flash"}};
enum { N_CLOUDS = sizeof clouds / sizeof *clouds };

static bool cloud_is_there(size_t i)
{
    const char *key = getenv(clouds[i].variable);
    return key && *key;
}

static void built_in_routes(struct buf *b, bool local, const char *outside)
{
    if (!local && !*outside)
        return;
    buf_append_text(b, "routes:\n  - name: auto\n    rules:\n");
    buf_appendf(b,
        "      - {name: sensitive-stays-home, when: {sensitive: true}, use: [%s], boundary: local}\n",
        local ? "local" : "");
    if (local && *outside)
        buf_appendf(
            b, "      - {name: hard-goes-out, when: {complexity: \">= 0.6\"}, use: [%s, local]}\n", outside);
    buf_appendf(b, "      - {name: otherwise, use: [%s%s%s]}\n", local ? "local" : "",
        local && *outside ? ", " : "", outside);
}

/* The same as a file with these lines; so there is one way in. */
static struct str built_in_text(struct arena *a, struct str model_file)
{
    struct buf b;
    struct json_writer w;
    char outside[200] = "";
    buf_init(&b, LIMIT_CONFIG);
    buf_append_text(&b, "providers:\n");
    for (size_t i = 0; i < N_CLOUDS; i++)
        if (cloud_is_there(i)) {
            size_t used = strlen(outside);
            snprintf(outside + used, sizeof outside - used, "%s%s", used ? ", " : "", clouds[i].model);
            buf_appendf(&b, "  %s: {kind: %s, api_key: \"${%s}\"}\n", clouds[i].provider, clouds[i].kind,
                clouds[i].variable);
        }
    if (!*outside)
        buf_clear(&b);
    if (model_file.len > 0 || *outside)
        buf_append_text(&b, "models:\n");
    if (model_file.len > 0) {
        buf_append_text(&b, "  - {name: local, file: ");
        json_writer_init(&w, &b); /* a JSON string is a YAML string */
        json_write_str(&w, model_file);
        buf_append_text(&b, ", preload: true, keep_alive: -1}\n");
    }
    for (size_t i = 0; i < N_CLOUDS; i++)
        if (cloud_is_there(i))
            buf_appendf(&b, "  - {name: %s, provider: %s}\n", clouds[i].model, clouds[i].provider);
    built_in_routes(&b, model_file.len > 0, outside);
    struct str text = arena_copy(a, buf_str(&b));
    buf_free(&b);
    return text;
}

/* --model beside a file: instead of the first model that runs here, else as one more, named local. */
static int model_override(struct config *c, struct str file, struct error *err)
{
    struct config_model *m = NULL;
    for (size_t i = 0; i < c->n_models && !m; i++)
        if (c->models[i].file.len > 0)
            m = &c->models[i];
    if (!m) {
        for (size_t i = 0; i < c->n_models; i++)
            if (str_is(c->models[i].name, "local"))
                return error_set(err, ERROR_INVALID,
                    STR_FMT ": --model would be named local, but line %d has a model of that name",
                    STR_ARG(c->file), c->models[i].line);
        m = &c->models[c->n_models++];
        *m = (struct config_model){.name = STR("local"),
            .provider = -1,
            .price = {.known = true},
            .keep_alive_ms = c->keep_alive_ms};
        config_patience_init(&m->patience, &m->limits.breaker);
    }
    m->preload = true;
    m->file = arena_copy(c->arena, file);
    if (access(m->file.data, R_OK) != 0)
        return error_set(err, ERROR_NOT_FOUND, "--model " STR_FMT ": no such file, or it cannot be read",
            STR_ARG(m->file));
    return 0;
}

static int text_find(
    struct config *c, struct str file, const struct config_overrides *o, struct str *text, struct error *err)
{
    if (file.len == 0 && access(default_file, F_OK) == 0)
        file = str_from(default_file);
    if (file.len > 0) {
        c->file = arena_copy(c->arena, file);
        return file_read(c->arena, c->file.data, LIMIT_CONFIG, text, err);
    }
    c->file = str_from(built_in);
    if (o->model_file.len > 0 && access(arena_strdup(c->arena, o->model_file), R_OK) != 0)
        return error_set(err, ERROR_NOT_FOUND, "--model " STR_FMT ": no such file, or it cannot be read",
            STR_ARG(o->model_file));
    *text = built_in_text(c->arena, o->model_file);
    return 0;
}

struct str config_origin(const struct config *c)
{
    return str_is(c->file, built_in) ? STR_NONE : c->file;
}

/* An editor or a full disk may leave it empty for a moment: that is not the wish to have no rules. */
static int empty_check(const struct config *c, const struct yaml_node *root, struct error *err)
{
    return root->count > 0 || config_origin(c).len == 0
               ? 0
               : error_set(err, ERROR_INVALID,
                     STR_FMT ": it is empty: name at least a model or a provider in it", STR_ARG(c->file));
}

int config_load(struct str file, const struct config_overrides *o, struct config **out, struct error *err)
{
    struct arena *a = arena_create(CONFIG_MEMORY);
    struct config *c = arena_new(a, struct config);
    struct yaml_node *root;
    struct str text;
    c->arena = a;
    int rc = text_find(c, file, o, &text, err);
    if (rc == 0)
        rc = yaml_read(a, text, c->file.data, &root, err);
    if (rc == 0)
        rc = empty_check(c, root, err);
    if (rc == 0)
        rc = root_read(c, root, o, err);
    if (rc == 0 && o->model_file.len > 0 && !str_is(c->file, built_in))
        rc = model_override(c, o->model_file, err);
    for (size_t i = 0; i < c->n_models && o->memory_unchecked; i++)
        c->models[i].memory_unchecked = c->models[i].file.len > 0;
    if (rc)
        config_free(c);
    else
        *out = c;
    return rc;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    if (c->redact_key.len > 0)
        explicit_bzero((char *)(uintptr_t)c->redact_key.data, c->redact_key.len);
    for (size_t i = 0; i < c->n_providers; i++) {
        const struct str secrets[] = {c->providers[i].api_key, c->providers[i].secret_access_key};
        for (size_t k = 0; k < 2; k++)
            if (secrets[k].len > 0)
                explicit_bzero((char *)(uintptr_t)secrets[k].data, secrets[k].len);
    }
    arena_free(c->arena);
}

static int calibration_read(struct arena *a, struct str file, struct str *text, struct error *err)
{
    enum { MOST = 64 * 1024 };
    FILE *f = fopen(arena_strdup(a, file), "r");
    char *to = arena_alloc(a, MOST);
    size_t n = f ? fread(to, 1, MOST, f) : 0;
    bool read = f && !ferror(f);
    if (f)
        fclose(f);
    *text = (struct str){to, n};
    return read ? 0 : error_set(err, ERROR_IO, "cannot be read: write it with weir calibrate --out");
}

static int owner_file(void *ctx, struct str path, size_t most, struct buf *out, struct error *err)
{
    return config_read_beside(ctx, path, most, out, err);
}

int config_policy(const struct config *c, struct router_policy **out, struct error *err)
{
    struct router_model *models = calloc(c->n_models + 1, sizeof *models);
    if (!models)
        return error_set(err, ERROR_MEMORY, "no memory for the rules");
    for (size_t i = 0; i < c->n_models; i++) {
        const struct config_model *m = &c->models[i];
        models[i].name = m->name;
        models[i].inside = config_model_is_inside(c, m);
        models[i].quality = m->quality;
        models[i].embedded = m->file.len > 0;
    }
    struct router_policy_options o = {.routes = c->routes,
        .models = models,
        .n_models = c->n_models,
        .on_sensitive = c->on_sensitive,
        .redact_key = c->redact_key,
        .redact_never = c->redact_never,
        .owner = c->owner,
        .owner_file = owner_file,
        .owner_ctx = (void *)(uintptr_t)c,
        .calibration = calibration_read};
    int rc = router_policy_compile(&o, out, err);
    free(models);
    return rc;
}

int config_policy_load(struct str file, const struct config_overrides *o, struct config **config,
    struct router_policy **policy, struct error *err)
{
    int rc = config_load(file, o, config, err);
    if (rc)
        return rc;
    rc = config_policy(*config, policy, err);
    if (rc)
        config_free(*config);
    return rc;
}

static struct str folder_beside(struct arena *a, struct str given, struct str state, const char *ending)
{
    struct str sqlite = STR("sqlite:");
    if (given.len > 0)
        return arena_copy(a, given);
    return str_starts(state, sqlite)
               ? arena_printf(a, STR_FMT "%s", STR_ARG(str_slice(state, sqlite.len, state.len)), ending)
               : STR_NONE;
}

struct str config_files_folder(struct arena *a, struct str files, struct str state)
{
    return folder_beside(a, files, state, ".files");
}

struct str config_kv_folder(struct arena *a, struct str folder, struct str state)
{
    return folder_beside(a, folder, state, ".kv");
}
