#include "provider/provider.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "provider/dialect.h"

static const struct provider_ops *const kinds[] = {&provider_local_ops, &provider_openai_ops,
    &provider_anthropic_ops, &provider_gemini_ops, &provider_ollama_ops, &provider_bedrock_ops};

enum { N_KINDS = sizeof kinds / sizeof *kinds };

static const struct provider_ops *kind_find(struct str kind)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (str_is(kind, kinds[i]->kind))
            return kinds[i];
    return provider_server_named(kind) ? &provider_openai_ops : NULL;
}

bool provider_kind_exists(struct str kind)
{
    return kind_find(kind) != NULL;
}

static char kind_names[640];

static void kind_names_write(void)
{
    snprintf(kind_names, sizeof kind_names, "openai, anthropic, gemini, ollama, bedrock, %s",
        provider_server_kinds());
}

const char *provider_kinds(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, kind_names_write);
    return kind_names;
}

struct str provider_kind_url(struct str kind)
{
    static const char *const urls[][2] = {{"anthropic", "https://api.anthropic.com"},
        {"gemini", "https://generativelanguage.googleapis.com"}, {"ollama", "http://127.0.0.1:11434"}};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (str_is(kind, urls[i][0]))
            return str_from(urls[i][1]);
    const struct provider_server *server = provider_server_named(kind);
    return server ? str_from(server->base_url) : STR_NONE;
}

bool provider_quirks_exist(struct str quirks)
{
    return provider_server_named(quirks) != NULL;
}

bool provider_header_allowed(struct str name)
{
    static const char *const ours[] = {"host", "connection", "content-length", "content-type", "accept",
        "accept-encoding", "transfer-encoding", "expect", "te", "upgrade", "authorization", "x-api-key",
        "x-goog-api-key", "api-key"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (str_is_nocase(name, ours[i]))
            return false;
    return name.len > 0;
}

static int options_check(const struct provider_options *o, const struct provider_ops *ops, struct error *err)
{
    if (!ops)
        return error_set(err, ERROR_INVALID,
            "provider '" STR_FMT "' is of kind '" STR_FMT "': the kinds are %s", STR_ARG(o->name),
            STR_ARG(str_slice(o->kind, 0, 64)), provider_kinds());
    if (ops != &provider_local_ops && !o->target)
        return error_set(err, ERROR_INVALID, "provider '" STR_FMT "' has no base_url", STR_ARG(o->name));
    if (o->n_headers > PROVIDER_OWN_HEADERS_MAX)
        return error_set(err, ERROR_LIMIT, "provider '" STR_FMT "' has more than %d headers",
            STR_ARG(o->name), PROVIDER_OWN_HEADERS_MAX);
    if (o->name.len > LIMIT_MODEL_NAME || o->api_key.len > 16 * KIB)
        return error_set(err, ERROR_LIMIT, "a provider's name or api_key is too long");
    return 0;
}

static const struct provider_server *server_find(const struct provider_options *o)
{
    const struct provider_server *named =
        provider_server_named(str_is(o->kind, "openai") ? o->quirks : o->kind);
    return named ? named : provider_server_at(egress_target_host(o->target));
}

static void headers_copy(struct provider *p, const struct provider_options *o)
{
    p->headers = arena_alloc(p->arena, (o->n_headers + 1) * sizeof *p->headers);
    for (size_t i = 0; i < o->n_headers; i++)
        p->headers[i] = (struct egress_header){
            arena_copy(p->arena, o->headers[i].name), arena_copy(p->arena, o->headers[i].value)};
    p->n_headers = o->n_headers;
}

int provider_create(const struct provider_options *o, struct provider **out, struct error *err)
{
    const struct provider_ops *ops = kind_find(o->kind);
    int rc = options_check(o, ops, err);
    if (rc) {
        egress_target_free(o->target);
        return rc;
    }
    struct str key = str_trim(o->api_key); /* a key from a file often ends with a line end */
    struct arena *arena = arena_create(64 * KIB);
    struct provider *p = arena_new(arena, struct provider);
    p->arena = arena;
    p->ops = ops;
    p->name = arena_copy(arena, o->name);
    p->kind = arena_copy(arena, o->kind);
    p->target = o->target;
    p->api_key = arena_strdup(arena, key);
    p->api_key_len = key.len;
    p->server = ops == &provider_openai_ops ? server_find(o) : NULL;
    p->answer_timeout_ms = o->answer_timeout_ms;
    p->api_version = arena_copy(arena, o->api_version);
    p->region = arena_copy(arena, o->region);
    p->credentials = (struct aws_credentials){arena_copy(arena, str_trim(o->access_key_id)),
        arena_copy(arena, str_trim(o->secret_access_key)), arena_copy(arena, str_trim(o->session_token))};
    headers_copy(p, o);
    *out = p;
    return 0;
}

void provider_free(struct provider *p)
{
    if (!p)
        return;
    egress_target_free(p->target);
    explicit_bzero(p->api_key, p->api_key_len);
    if (p->credentials.secret_key.len > 0)
        explicit_bzero((char *)(uintptr_t)p->credentials.secret_key.data, p->credentials.secret_key.len);
    for (size_t i = 0; i < p->n_headers; i++) /* a value may be a secret */
        explicit_bzero((char *)(uintptr_t)p->headers[i].value.data, p->headers[i].value.len);
    arena_free(p->arena);
}

struct str provider_key(const struct provider *p)
{
    return (struct str){p->api_key, p->api_key_len};
}

struct str provider_name(const struct provider *p)
{
    return p->name;
}

struct str provider_host(const struct provider *p)
{
    return p->target ? egress_target_host(p->target) : STR_NONE;
}

struct str provider_kind(const struct provider *p)
{
    return p->kind;
}

bool provider_is_inside(const struct provider *p)
{
    return !p->target || egress_target_zone(p->target) == EGRESS_ZONE_LOCAL;
}

enum { WHOLE_TOKENS_MAX = 8192 };

bool provider_answers_whole(const struct provider_model *m, const struct chat_request *r)
{
    const struct provider *p = m->provider;
    const struct provider_dialect *d = p->ops->dialects[r->kind];
    int64_t most = r->max_tokens >= 0 ? r->max_tokens : m->max_output;
    return d && d->whole && p->answer_timeout_ms > 0 && most <= WHOLE_TOKENS_MAX;
}

void provider_call_pause(struct provider_call *c, bool paused)
{
    c->ops->pause(c, paused);
}

void provider_call_close(struct provider_call *c)
{
    if (c)
        c->ops->close(c);
}
