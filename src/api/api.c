#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/ollama.h"
#include "api/openai_out.h"
#include "base/ascii.h"
#include "base/limits.h"
#include "base/rand.h"

/* ---- Answers ---- */

void api_id_headers(const struct api_call *c)
{
    http_reply_header(c->http, "x-request-id", str_from(c->request_id));
    if (c->shape->id_header)
        http_reply_header(c->http, c->shape->id_header, str_from(c->request_id));
}

void api_on_gone(void *ctx)
{
    struct api_call *c = ctx;
    c->gone = true;
    http_request_release(c->http);
}

void api_reply_json(const struct api_call *c, int status, const struct buf *body)
{
    api_id_headers(c);
    if (body->failed)
        http_reply(c->http, 500, "text/plain", STR("the answer was too large\n"));
    else
        http_reply(c->http, status, "application/json", buf_str(body));
}

/* Header values come from the configuration, which may hold any text. */
void api_header(struct http_request *r, const char *name, struct str value)
{
    char safe[LIMIT_MODEL_NAME + 1];
    size_t n = 0;
    for (size_t i = 0; i < value.len && n < sizeof safe - 1; i++)
        safe[n++] = (unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f ? '?' : value.data[i];
    http_reply_header(r, name, (struct str){safe, n});
}

struct str api_key_id(const struct api_call *c)
{
    return str_from(c->identified ? c->identity.key_id : "");
}

bool api_model_allowed(const struct api_call *c, struct str model)
{
    struct budget *b = c->shard->exchange->budget;
    return !b || budget_allows(b, api_key_id(c), str_from(c->identified ? c->identity.team : ""), model);
}

int64_t api_content_ms(const struct api_call *c)
{
    return exchange_world_settings(c->shard->exchange->world)->content_ms;
}

static void error_reply(const struct api_call *c, int status, struct str message, struct str type)
{
    struct buf body;
    buf_init(&body, 64 * KIB);
    status = c->shape->error(status, message, type, str_from(c->request_id), &body);
    api_reply_json(c, status, &body);
    buf_free(&body);
}

void api_error(const struct api_call *c, int status, struct str message)
{
    error_reply(c, status, message, status == 404 ? STR(OPENAI_NOT_FOUND) : STR_NONE);
}

void api_no_model(const struct api_call *c, struct str message)
{
    error_reply(c, 404, message, STR_NONE);
}

/* ---- The guard ---- */

/* "host:port", "[v6]:port" or "host" without its port. */
static struct str host_of(struct str authority)
{
    if (authority.len && authority.data[0] == '[') {
        size_t close = str_find_char(authority, ']');
        return close == SIZE_MAX ? STR_NONE : str_slice(authority, 0, close + 1);
    }
    size_t colon = str_find_char(authority, ':');
    return colon == SIZE_MAX ? authority : str_slice(authority, 0, colon);
}

static bool host_is_ours(const struct api_shard *s, struct str authority)
{
    struct str host = host_of(authority);
    if (egress_host_is_loopback(host))
        return true;
    for (size_t i = 0; i < s->n_hosts; i++)
        if (host.len == s->hosts[i].len && strncasecmp(host.data, s->hosts[i].data, host.len) == 0)
            return true;
    return false;
}

/* On loopback any program of this machine may ask, but a web page must not: neither by a name that was
 * rebound to 127.0.0.1 (Host) nor by a request across origins (Origin). */
static bool origin_is_ours(const struct api_shard *s, struct str origin)
{
    size_t scheme = str_find(origin, STR("://"));
    return scheme != SIZE_MAX && host_is_ours(s, str_slice(origin, scheme + 3, origin.len));
}

static int guard_loopback(const struct api_call *c, struct error *err)
{
    const struct api_shard *s = c->shard;
    if (!s->loopback)
        return 0;
    struct str host = http_request_host(c->http), origin = http_request_header(c->http, "origin");
    if (host.len && !host_is_ours(s, host))
        return error_set(err, ERROR_DENIED,
            "the Host '" STR_FMT "' is not served here: use localhost, or list it under 'hosts'",
            STR_ARG(str_slice(host, 0, 100)));
    if (http_request_header_count(c->http, "origin") > 0 && !origin_is_ours(s, origin))
        return error_set(err, ERROR_DENIED, "requests from the web origin '" STR_FMT "' are not allowed",
            STR_ARG(str_slice(origin, 0, 100)));
    return 0;
}

static int guard_key(struct api_call *c, struct error *err)
{
    if (!c->shard->keys)
        return 0;
    struct str header = http_request_header(c->http, "authorization");
    struct str secret = http_request_header(c->http, "x-api-key");
    if (header.len > 7 && strncasecmp(header.data, "Bearer ", 7) == 0)
        secret = str_trim(str_slice(header, 7, header.len));
    int rc = govern_keys_check(c->shard->keys, secret, &c->identity, err);
    c->identified = rc == 0;
    if (c->identified && c->entry)
        api_access_key(c->entry, str_from(c->identity.key_id));
    return rc;
}

bool api_admin_required(const struct api_call *c)
{
    if (!c->identified || c->identity.admin)
        return true;
    api_error(c, 403, STR("this needs a key with the admin role: weir keys create --admin"));
    return false;
}

/* ---- The table of paths ---- */

static void api_health(const struct api_call *c)
{
    http_reply_header(c->http, "x-request-id", str_from(c->request_id));
    http_reply(c->http, 200, "text/plain", STR("ok\n"));
}

enum { PREFIX = 1, OPEN = 2 /* needs no key */ };

static const struct endpoint {
    const char *method, *path;
    int flags;
    void (*handle)(const struct api_call *c);
    const struct api_shape *shape; /* NULL: OpenAI's */
} endpoints[] = {
    {"POST", "/v1/chat/completions", 0, api_chat, &api_openai_chat_shape},
    {"POST", "/v1/completions", 0, api_chat, &api_openai_completion_shape},
    {"POST", "/v1/responses", 0, api_chat, &api_responses_shape},
    {"GET", "/v1/responses/", PREFIX, api_responses_kept, NULL},
    {"DELETE", "/v1/responses/", PREFIX, api_responses_delete, NULL},
    {"POST", "/v1/responses/", PREFIX, api_responses_act, NULL},
    {"POST", "/v1/files", 0, api_files_create, NULL},
    {"GET", "/v1/files", 0, api_files_list, NULL},
    {"GET", "/v1/files/", PREFIX, api_files_get, NULL},
    {"DELETE", "/v1/files/", PREFIX, api_files_delete, NULL},
    {"POST", "/v1/batches", 0, api_batches_create, NULL},
    {"GET", "/v1/batches", 0, api_batches_list, NULL},
    {"GET", "/v1/batches/", PREFIX, api_batches_get, NULL},
    {"POST", "/v1/batches/", PREFIX, api_batches_cancel, NULL},
    {"POST", "/v1/messages", 0, api_chat, &api_anthropic_shape},
    {"POST", "/v1/messages/count_tokens", 0, api_chat, &api_anthropic_count_shape},
    {"POST", "/v1/embeddings", 0, api_chat, &api_embeddings_shape},
    {"POST", "/v1/rerank", 0, api_chat, &api_rerank_shape},
    {"POST", "/rerank", 0, api_chat, &api_rerank_shape},
    {"POST", "/v1/feedback", 0, api_feedback, NULL},
    {"GET", "/v1/feedback", 0, api_feedback_kept, NULL},
    {"GET", "/v1/models", 0, api_openai_models, NULL},
    {"GET", "/v1/models/", PREFIX, api_openai_models, NULL},
    {"POST", "/api/chat", 0, api_ollama_chat, &api_ollama_chat_shape},
    {"POST", "/api/generate", 0, api_ollama_chat, &api_ollama_generate_shape},
    {"GET", "/api/tags", 0, api_ollama_tags, &api_ollama_chat_shape},
    {"POST", "/api/embed", 0, api_chat, &api_ollama_embed_shape},
    {"POST", "/api/embeddings", 0, api_chat, &api_ollama_embeddings_shape},
    {"POST", "/api/show", 0, api_ollama_show, &api_ollama_chat_shape},
    {"GET", "/api/ps", 0, api_ollama_ps, &api_ollama_chat_shape},
    {"GET", "/api/version", OPEN, api_ollama_version, &api_ollama_chat_shape},
    {"POST", "/api/pull", 0, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"POST", "/api/push", 0, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"POST", "/api/create", 0, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"POST", "/api/copy", 0, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"DELETE", "/api/delete", 0, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"POST", "/api/blobs/", PREFIX, api_ollama_elsewhere, &api_ollama_chat_shape},
    {"POST", "/weir/explain", 0, api_explain, NULL},
    {"POST", "/weir/explain/", PREFIX, api_explain, NULL},
    {"GET", "/weir/keys", 0, api_keys_get, NULL},
    {"POST", "/weir/keys", 0, api_keys_post, NULL},
    {"GET", "/weir/keys/", PREFIX, api_keys_get, NULL},
    {"POST", "/weir/keys/", PREFIX, api_keys_post, NULL},
    {"DELETE", "/weir/keys/", PREFIX, api_keys_delete, NULL},
    {"GET", "/weir/teams", 0, api_teams_get, NULL},
    {"POST", "/weir/teams", 0, api_teams_post, NULL},
    {"GET", "/weir/teams/", PREFIX, api_teams_get, NULL},
    {"POST", "/weir/teams/", PREFIX, api_teams_post, NULL},
    {"DELETE", "/weir/teams/", PREFIX, api_teams_delete, NULL},
    {"GET", "/healthz", OPEN, api_health, NULL},
    {"GET", "/readyz", OPEN, api_ready, NULL},
    {"GET", "/metrics", 0, api_metrics, NULL},
    {"GET", "/", OPEN, api_web_index, NULL},
    {"GET", "/style.css", OPEN, api_web_style, NULL},
    {"GET", "/app.js", OPEN, api_web_script, NULL},
    {"GET", "/icon.svg", OPEN, api_web_icon, NULL},
};

const struct api_shape *api_shape_of(struct str path)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        if (endpoints[i].shape && endpoints[i].shape->read && str_is(path, endpoints[i].path))
            return endpoints[i].shape;
    return NULL;
}

/* `fits`: its method is the request's too. */
static const struct endpoint *endpoint_find(struct str method, struct str path, bool *fits)
{
    const struct endpoint *other = NULL;
    *fits = false;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        const struct endpoint *e = &endpoints[i];
        if (!(e->flags & PREFIX ? str_starts(path, str_from(e->path)) : str_is(path, e->path)))
            continue;
        other = e;
        *fits = str_is(method, e->method) || (str_is(method, "HEAD") && strcmp(e->method, "GET") == 0);
        if (*fits)
            break;
    }
    return other;
}

/* Most who miss have a base URL without its /v1, with it twice, or a slash at the end. */
static void nothing_here(const struct api_call *c)
{
    struct str path = http_request_path(c->http), method = http_request_method(c->http);
    char v1[64];
    bool fits = false;
    if (path.len > 1 && path.data[path.len - 1] == '/')
        path = str_slice(path, 0, path.len - 1);
    while (str_starts(path, STR("/v1/v1/")))
        path = str_slice(path, 3, path.len);
    snprintf(v1, sizeof v1, "%s" STR_FMT, str_starts(path, STR("/v1/")) ? "" : "/v1",
        STR_ARG(str_slice(path, 0, 50)));
    endpoint_find(method, str_from(v1), &fits);
    struct buf text;
    buf_init(&text, 256);
    if (str_starts(path, STR("/v1/messages/batches")))
        buf_append_text(&text,
            "message batches are not served: send the requests one by one, or as a batch of "
            "OpenAI's to /v1/files and /v1/batches");
    else
        buf_appendf(&text, "there is nothing at this path: %s%s",
            fits ? "did you mean " : "the README lists the endpoints", fits ? v1 : "");
    api_error(c, 404, buf_str(&text));
    buf_free(&text);
}

/* Paths that two APIs have in common, and paths that none has: where they begin as another's, or what the
 * client says of itself. */
static const struct api_shape *shape_spoken(const struct http_request *r)
{
    if (str_starts(http_request_path(r), STR("/api/")))
        return &api_ollama_chat_shape;
    bool anthropic = str_starts(http_request_path(r), STR("/v1/messages")) ||
                     http_request_header_count(r, "anthropic-version") > 0;
    return anthropic ? &api_anthropic_shape : &api_openai_chat_shape;
}

/* A client's own id, so that its logs and ours meet: 1 to 64 characters of a token (RFC 9110). */
static bool id_is_good(struct str id)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < id.len; i++) {
        char ch = id.data[i];
        if (!ascii_is_alnum(ch) && (ch == '\0' || !strchr(others, ch)))
            return false;
    }
    return id.len > 0 && id.len <= 64;
}

/* What clients call the same are still two requests: the ledger's id goes on after a '/' then (store.h). */
static void id_take(struct api_call *c)
{
    struct str given = http_request_header(c->http, "x-request-id");
    c->id_given = http_request_header_count(c->http, "x-request-id") == 1 && id_is_good(given);
    if (c->id_given) {
        memcpy(c->request_id, given.data, given.len);
        c->request_id[given.len] = '\0';
        memcpy(c->row_id, given.data, given.len);
        rand_id("/", c->row_id + given.len, sizeof c->row_id - given.len);
    } else {
        rand_id("req_", c->request_id, sizeof c->request_id);
        memcpy(c->row_id, c->request_id, sizeof c->request_id);
    }
}

/* Its id, its shape and its line of the access log. */
static const struct endpoint *call_begin(struct api_call *c, bool *fits)
{
    id_take(c);
    const struct endpoint *e = endpoint_find(http_request_method(c->http), http_request_path(c->http), fits);
    c->shape = e && e->shape ? e->shape : shape_spoken(c->http);
    c->entry = api_access_begin(c, e ? e->path : "", e && e->shape ? c->shape->name : "");
    return e;
}

int api_refuse(void *shard, struct http_request *r, int status, struct str why, struct buf *body)
{
    struct api_call c = {.shard = shard, .http = r};
    bool fits;
    call_begin(&c, &fits);
    api_id_headers(&c);
    return c.shape->error(status, why, STR_NONE, str_from(c.request_id), body);
}

void api_handle(void *shard, struct http_request *r)
{
    struct api_call c = {.shard = shard, .http = r};
    struct error err;
    bool fits;
    const struct endpoint *e = call_begin(&c, &fits);
    if (guard_loopback(&c, &err)) {
        api_error(&c, 403, str_from(err.message));
    } else if (fits && e->flags & OPEN) {
        e->handle(&c);
    } else if (guard_key(&c, &err)) {
        http_reply_header(r, "www-authenticate", STR("Bearer"));
        api_error(&c, 401, str_from(err.message));
    } else if (fits) {
        e->handle(&c);
    } else if (e) {
        http_reply_header(r, "allow", str_from(e->method));
        api_error(&c, 405, STR("this path does not take that method"));
    } else {
        nothing_here(&c);
    }
}
