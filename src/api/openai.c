/* OpenAI's endpoints: chat completions, the older completions, models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/openai_in.h"
#include "api/openai_out.h"
#include "base/limits.h"

/* One answer on its way from an exchange to a client. */
struct openai_call {
    struct api_call api;
    struct exchange *exchange;
    struct openai_answer answer;
    bool stream;
    bool broken; /* the stream ended with an error event */
    struct buf out;
    struct error too_large; /* code set: a whole answer passed its bound */
    struct str rule, provider;
    char about[3][LIMIT_MODEL_NAME + 1];
};

static void call_free(struct openai_call *c)
{
    openai_answer_free(&c->answer);
    buf_free(&c->out);
    free(c);
}

static void about_headers(struct openai_call *c, const struct exchange_about *about)
{
    struct http_request *r = c->api.http;
    api_header(r, "x-request-id", str_from(c->api.request_id));
    api_header(r, "x-weir-model", about->model);
    api_header(r, "x-weir-provider", about->provider);
    api_header(r, "x-weir-rule", about->rule);
}

static struct str keep(char to[LIMIT_MODEL_NAME + 1], struct str s)
{
    size_t n = s.len < LIMIT_MODEL_NAME ? s.len : LIMIT_MODEL_NAME;
    if (n)
        memcpy(to, s.data, n);
    to[n] = '\0';
    return (struct str){to, n};
}

static void on_begin(void *ctx, const struct exchange_about *about)
{
    struct openai_call *c = ctx;
    c->answer.model = keep(c->about[0], about->model);
    if (c->stream) {
        about_headers(c, about);
        http_reply_header(c->api.http, "cache-control", STR("no-cache"));
        http_stream_begin(c->api.http, 200, "text/event-stream");
    } else {
        c->provider = keep(c->about[1], about->provider);
        c->rule = keep(c->about[2], about->rule);
    }
}

static void flush(struct openai_call *c)
{
    http_stream_write(c->api.http, buf_str(&c->out));
    buf_clear(&c->out);
    if (http_stream_full(c->api.http))
        exchange_pause(c->exchange, true);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct openai_call *c = ctx;
    if (c->stream) {
        c->broken |= e->kind == CHAT_EVENT_ERROR;
        openai_stream_event(&c->answer, e, &c->out);
        flush(c);
    } else if (e->kind == CHAT_EVENT_ERROR) {
        c->too_large.code = e->failure.code;
        error_set(&c->too_large, e->failure.code, STR_FMT, STR_ARG(str_slice(e->failure.message, 0, 400)));
    } else if (c->too_large.code == 0 && openai_answer_gather(&c->answer, e, &c->too_large)) {
        openai_answer_free(&c->answer);
    }
}

static void on_drain(void *ctx)
{
    struct openai_call *c = ctx;
    exchange_pause(c->exchange, false);
}

static void cost_header(struct http_request *r, int64_t nano_usd)
{
    if (nano_usd < 0)
        return;
    char text[48];
    snprintf(text, sizeof text, "%lld.%09lld", (long long)(nano_usd / 1000000000),
        (long long)(nano_usd % 1000000000));
    http_reply_header(r, "x-weir-cost-usd", str_from(text));
}

static void end_stream(struct openai_call *c, const struct chat_usage *usage)
{
    if (!c->broken)
        openai_stream_end(&c->answer, usage, &c->out);
    http_stream_write(c->api.http, buf_str(&c->out));
    http_stream_end(c->api.http);
}

static void on_end(void *ctx, const struct chat_usage *usage, int64_t cost)
{
    struct openai_call *c = ctx;
    struct http_request *r = c->api.http;
    if (c->stream) {
        end_stream(c, usage);
        call_free(c);
        return;
    }
    struct exchange_about about = {c->answer.model, c->provider, c->rule};
    about_headers(c, &about);
    cost_header(r, cost);
    if (c->too_large.code) {
        openai_error_write(502, str_from(c->too_large.message), STR_NONE, &c->out);
        http_reply(r, 502, "application/json", buf_str(&c->out));
    } else {
        openai_answer_write(&c->answer, usage, &c->out);
        http_reply(r, c->out.failed ? 500 : 200, "application/json", buf_str(&c->out));
    }
    call_free(c);
}

static void on_fail(void *ctx, const struct exchange_failure *f)
{
    struct openai_call *c = ctx;
    struct http_request *r = c->api.http;
    about_headers(c, &f->about);
    if (f->retry_after_ms >= 0) {
        char seconds[32];
        snprintf(seconds, sizeof seconds, "%lld", (long long)((f->retry_after_ms + 999) / 1000));
        http_reply_header(r, "retry-after", str_from(seconds));
    }
    openai_error_write(f->status, f->message, f->type, &c->out);
    http_reply(r, f->status, "application/json", buf_str(&c->out));
    call_free(c);
}

static void on_gone(void *ctx)
{
    struct openai_call *c = ctx;
    exchange_cancel(c->exchange);
    http_request_release(c->api.http);
    call_free(c);
}

/* ---- Requests ---- */

enum { MAX_TAGS = 64 };

/* Of all the headers of that name: a proxy may add its own to the client's. A tag too many is an error, for a
 * rule may wait for it. */
static int tags_read(struct arena *a, struct http_request *r, struct str **out, size_t *n, struct error *err)
{
    int headers = http_request_header_count(r, "x-weir-tags");
    *out = arena_alloc(a, MAX_TAGS * sizeof **out);
    *n = 0;
    for (int i = 0; i < headers; i++) {
        struct str rest = http_request_header_at(r, "x-weir-tags", i), tag;
        while (str_split(&rest, ',', &tag)) {
            tag = str_trim(tag);
            if (tag.len == 0)
                continue;
            if (*n == MAX_TAGS)
                return error_set(err, ERROR_INVALID, "x-weir-tags has more than %d tags", MAX_TAGS);
            (*out)[(*n)++] = arena_copy(a, tag);
        }
    }
    return 0;
}

/* The header can only tighten, so one 'local' of several counts; a word we do not know may have meant that.
 */
static int boundary_read(struct http_request *r, bool *local, struct error *err)
{
    int headers = http_request_header_count(r, "x-weir-boundary");
    *local = false;
    for (int i = 0; i < headers; i++) {
        struct str value = http_request_header_at(r, "x-weir-boundary", i);
        *local |= str_is_nocase(value, "local");
        if (!str_is_nocase(value, "local") && !str_is_nocase(value, "any"))
            return error_set(
                err, ERROR_INVALID, "x-weir-boundary must be 'local' (or 'any', which changes nothing)");
    }
    return 0;
}

/* What the headers ask; `tags` live in the arena. */
static int origin_read(
    struct http_request *r, struct arena *a, struct exchange_origin *out, struct error *err)
{
    struct str *tags;
    int rc = boundary_read(r, &out->boundary_local, err);
    if (rc == 0)
        rc = tags_read(a, r, &tags, &out->n_tags, err);
    if (rc == 0)
        out->tags = tags;
    return rc;
}

static void start(
    const struct api_call *api, struct chat_request *request, struct exchange_origin *origin, bool completion)
{
    struct openai_call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->api = *api;
    c->stream = request->stream;
    buf_init(&c->out, LIMIT_PROVIDER_BODY * 2);
    openai_answer_init(&c->answer, completion, request->include_usage);
    struct http_request *r = api->http;
    origin->request_id = str_from(c->api.request_id);
    origin->api = completion ? STR("openai.completions") : STR("openai.chat");
    origin->identity = api->identified ? &api->identity : NULL;
    struct exchange_client client = {on_begin, on_event, on_fail, on_end, c};
    c->exchange = exchange_start(api->shard->exchange, request, origin, &client);
    http_request_on_gone(r, on_gone, c);
    http_stream_on_drain(r, on_drain, c);
}

static void handle(const struct api_call *c, bool completion)
{
    struct error err;
    struct chat_request *request;
    struct exchange_origin origin = {0};
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct str body = STR_NONE;
    /* The body is copied: the request outlives the HTTP request when its client leaves. */
    int rc = arena_try_copy(a, http_request_body(c->http), &body);
    if (rc)
        error_set(&err, rc, "no memory for the request");
    else
        rc = origin_read(c->http, a, &origin, &err);
    if (rc == 0)
        rc = completion ? api_openai_completion_read(a, body, &request, &err)
                        : api_openai_chat_read(a, body, &request, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        arena_free(a);
        return;
    }
    start(c, request, &origin, completion);
}

void api_openai_chat(const struct api_call *c)
{
    handle(c, false);
}

void api_openai_completion(const struct api_call *c)
{
    handle(c, true);
}

/* ---- Models ---- */

static void model_write(struct json_writer *w, const struct api_call *c, struct str name, struct str owner)
{
    json_object_begin(w);
    json_key(w, "id");
    json_write_str(w, name);
    json_key(w, "object");
    json_write_text(w, "model");
    json_key(w, "created");
    json_write_int(w, c->shard->started_s);
    json_key(w, "owned_by");
    json_write_str(w, owner);
    json_object_end(w);
}

/* Routes first: they are what most clients should ask for. Calls fn for each name. */
static void each_model(
    const struct exchange_world *world, void (*fn)(void *, struct str, struct str), void *ctx)
{
    const struct router_policy *policy = exchange_world_policy(world);
    for (size_t i = 0; i < router_policy_n_routes(policy); i++)
        fn(ctx, router_policy_route_name(policy, i), STR("weir"));
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        fn(ctx, m->name, provider_name(m->target.provider));
    }
}

struct model_list {
    const struct api_call *call;
    struct json_writer *writer;
    struct str wanted; /* empty: all */
    bool found;
};

static void list_model(void *ctx, struct str name, struct str owner)
{
    struct model_list *l = ctx;
    if (l->wanted.len && (l->found || !str_eq(l->wanted, name)))
        return;
    l->found = true;
    model_write(l->writer, l->call, name, owner);
}

void api_openai_models(const struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    struct str path = http_request_path(c->http);
    struct str prefix = STR("/v1/models/");
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    struct model_list list = {c, &w, str_slice(path, prefix.len, path.len), false};
    if (list.wanted.len == 0) {
        json_object_begin(&w);
        json_key(&w, "object");
        json_write_text(&w, "list");
        json_key(&w, "data");
        json_array_begin(&w);
    }
    each_model(c->shard->exchange->world, list_model, &list);
    if (list.wanted.len == 0) {
        json_array_end(&w);
        json_object_end(&w);
    }
    if (list.wanted.len && !list.found)
        api_error(c, 404, STR("there is no such model: GET /v1/models lists those that exist"));
    else
        api_reply_json(c, 200, &body);
    buf_free(&body);
}
