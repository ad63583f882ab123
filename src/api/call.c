/* The one path from a request to its exchange and from its events back to the client, whatever the shape.
 *
 *   api_chat: shape->read -> exchange_start      on_begin on_event* on_end  or  on_fail  or  on_gone */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/shape.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"

enum { WRITE_AT_ONCE = 64 * 1024 };

/* One answer on its way from an exchange to a client. */
struct chat_call {
    struct api_call api;
    const struct api_shape *shape;
    struct exchange *exchange;
    const struct chat_request *request; /* lives as long as the exchange */
    void *answer;                       /* the shape's */
    bool stream;
    bool begun;               /* its head was sent */
    bool flushed;             /* some of it is on its way */
    bool broken;              /* the stream ended with an error event */
    struct loop_timer *quiet; /* streams: nothing has been sent for a while */
    int64_t sent_ms;
    struct buf out;
    bool keeping; /* the answer is to be kept before it ends */
    bool ending;  /* the exchange is over: what is left is to keep the answer and to send its end */
    bool gone;    /* meanwhile the client left */
    struct chat_usage usage;
    int64_t cost;
    struct error broke; /* code set: a whole answer failed after it had begun, or passed its bound */
    struct exchange_about about;
    struct budget_rates rates;
    char names[3][LIMIT_MODEL_NAME + 1]; /* what `about` points to */
};

static void call_free(struct chat_call *c)
{
    loop_timer_free(c->quiet);
    c->shape->free(c->answer);
    free(c->answer);
    buf_free(&c->out);
    free(c);
}

static void about_headers(struct chat_call *c, const struct exchange_about *about)
{
    struct http_request *r = c->api.http;
    api_id_headers(&c->api);
    api_header(r, "x-weir-model", about->model);
    api_header(r, "x-weir-provider", about->provider);
    api_header(r, "x-weir-rule", about->rule);
    if (about->rates)
        api_rates_headers(&c->api, about->rates);
    if (about->cache)
        http_reply_header(r, "x-weir-cache", str_from(about->cache));
    if (about->cascade) {
        char doubt[24];
        snprintf(doubt, sizeof doubt, "%.3f", about->doubt);
        http_reply_header(r, "x-weir-cascade", str_from(about->cascade));
        http_reply_header(r, "x-weir-doubt", str_from(doubt));
    }
    if (about->masked > 0) {
        char count[24];
        snprintf(count, sizeof count, "%zu", about->masked);
        http_reply_header(r, "x-weir-redacted", str_from(count));
    }
}

static struct str keep(char to[LIMIT_MODEL_NAME + 1], struct str s)
{
    size_t n = s.len < LIMIT_MODEL_NAME ? s.len : LIMIT_MODEL_NAME;
    if (n)
        memcpy(to, s.data, n);
    to[n] = '\0';
    return (struct str){to, n};
}

static void head_send(struct chat_call *c, const struct exchange_about *about)
{
    if (c->begun)
        return;
    c->begun = true;
    about_headers(c, about);
    http_reply_header(c->api.http, "cache-control", STR("no-cache"));
    http_stream_begin(c->api.http, 200, c->shape->stream_type);
}

/* ---- Keep-alive: while a long prompt is read nothing else comes, and what is in between would hang up. The
 * stream begins with it, so the headers name the target that is being asked; a failure is then an event. ----
 */

static int64_t quiet_limit(const struct chat_call *c)
{
    return exchange_world_settings(c->api.shard->exchange->world)->keep_alive_ms;
}

static void quiet_arm(struct chat_call *c)
{
    int64_t limit = quiet_limit(c), left = c->sent_ms + limit - clock_mono_ms();
    if (limit > 0)
        loop_timer_start(c->quiet, left > 0 ? left : 0);
}

static void on_quiet(void *ctx)
{
    struct chat_call *c = ctx;
    struct exchange_about about;
    bool due = clock_mono_ms() - c->sent_ms >= quiet_limit(c);
    if (due && !http_stream_full(c->api.http) && (c->begun || exchange_asked(c->exchange, &about))) {
        if (!c->begun)
            head_send(c, &about);
        http_stream_write(c->api.http, str_from(c->shape->keep_alive));
    }
    if (due)
        c->sent_ms = clock_mono_ms();
    quiet_arm(c);
}

/* ---- Streams ---- */

static void flush(struct chat_call *c)
{
    if (c->out.len == 0)
        return;
    http_stream_write(c->api.http, buf_str(&c->out));
    buf_clear(&c->out);
    c->flushed = true;
    c->sent_ms = clock_mono_ms();
    if (!c->ending && http_stream_full(c->api.http))
        exchange_pause(c->exchange, true);
}

/* What came in this turn of the loop goes out in one piece. */
static void on_due(void *ctx)
{
    flush(ctx);
}

static void on_begin(void *ctx, const struct exchange_about *about)
{
    struct chat_call *c = ctx;
    c->about = *about;
    c->about.model = keep(c->names[0], about->model);
    c->about.provider = keep(c->names[1], about->provider);
    c->about.rule = keep(c->names[2], about->rule);
    if (about->rates) {
        c->rates = *about->rates;
        c->about.rates = &c->rates;
    }
    c->shape->begin(c->answer, &c->about);
    if (c->stream)
        head_send(c, about);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct chat_call *c = ctx;
    if (c->stream) {
        bool first = c->out.len == 0;
        c->broken |= e->kind == CHAT_EVENT_ERROR;
        c->shape->event(c->answer, e, &c->out);
        if (c->out.len >= WRITE_AT_ONCE || !c->flushed) /* the first is not kept for others */
            flush(c);
        else if (first)
            http_stream_soon(c->api.http);
    } else if (e->kind == CHAT_EVENT_ERROR) {
        error_set(&c->broke, e->failure.code, STR_FMT, STR_ARG(str_slice(e->failure.message, 0, 400)));
    } else if (c->broke.code == 0) {
        (void)!c->shape->gather(c->answer, e, &c->broke); /* `broke` holds what it says */
    }
}

/* For an answer that has not begun. */
static void answer_init(struct chat_call *c)
{
    const struct exchange_origin ids = {
        .request_id = str_from(c->api.request_id), .row_id = str_from(c->api.row_id)};
    c->shape->init(c->answer, c->request, &ids);
    c->keeping = c->shape->keep && api_content_ms(&c->api) > 0 && c->shape->keep(c->answer, c->request);
}

static void on_again(void *ctx)
{
    struct chat_call *c = ctx;
    c->shape->free(c->answer);
    memset(c->answer, 0, c->shape->answer_size);
    c->broke = (struct error){0};
    answer_init(c);
}

static void on_drain(void *ctx)
{
    struct chat_call *c = ctx;
    if (!c->ending)
        exchange_pause(c->exchange, false);
}

static void cost_header(struct http_request *r, int64_t nano_usd)
{
    if (nano_usd < 0)
        return;
    struct buf text;
    buf_init(&text, 64);
    buf_append_decimal(&text, nano_usd, 9);
    http_reply_header(r, "x-weir-cost-usd", buf_str(&text));
    buf_free(&text);
}

static void end_stream(struct chat_call *c, const struct chat_usage *usage)
{
    if (!c->broken)
        c->shape->end(c->answer, usage, &c->out);
    http_stream_write(c->api.http, buf_str(&c->out));
    http_stream_end(c->api.http);
}

static void reply_error(struct chat_call *c, int status, struct str message, struct str type)
{
    status = c->shape->error(status, message, type, str_from(c->api.request_id), &c->out);
    http_reply(c->api.http, status, "application/json", buf_str(&c->out));
}

static void end(struct chat_call *c)
{
    struct http_request *r = c->api.http;
    if (c->stream) {
        end_stream(c, &c->usage);
        call_free(c);
        return;
    }
    about_headers(c, &c->about);
    cost_header(r, c->cost);
    if (c->broke.code) {
        reply_error(c, 502, str_from(c->broke.message), STR_NONE);
    } else {
        c->shape->whole(c->answer, &c->usage, &c->out);
        http_reply(r, c->out.failed ? 500 : 200, "application/json", buf_str(&c->out));
    }
    call_free(c);
}

/* ---- Answers that are kept are so before their end is sent: the client may go on from them at once. ---- */

static void on_kept(void *ctx, int code)
{
    struct chat_call *c = ctx;
    if (code) {
        log_error("api", "the response %s was not kept: %s", c->api.request_id, error_code_name(code));
        c->shape->keep(c->answer, NULL);
    }
    if (c->gone)
        call_free(c);
    else
        end(c);
}

/* False: it cannot be kept, and its end says so. */
static bool kept(struct chat_call *c)
{
    struct store_done done = {c->api.shard->exchange->loop, on_kept, c};
    struct error err;
    if (!c->keeping || c->broken || c->broke.code)
        return false;
    struct store_response row = {.wall_ms = clock_wall_ms()};
    c->shape->kept(c->answer, &c->usage, &row);
    row.key_id = api_key_id(&c->api);
    int rc = store_response_add(c->api.shard->exchange->store, &row, done, &err);
    if (rc) {
        log_error("api", "the response of %s was not kept: %s", c->api.request_id, err.message);
        c->shape->keep(c->answer, NULL);
    }
    return rc == 0;
}

static void on_end(void *ctx, const struct chat_usage *usage, int64_t cost)
{
    struct chat_call *c = ctx;
    c->ending = true;
    c->usage = *usage;
    c->cost = cost;
    if (c->quiet)
        loop_timer_stop(c->quiet);
    if (!kept(c))
        end(c);
}

/* No target can count: the router's estimate, said to be one. */
static void reply_estimate(struct chat_call *c)
{
    http_reply_header(c->api.http, "x-weir-estimate", STR("true"));
    c->shape->estimate(c->answer, router_tokens(c->request));
    c->shape->whole(c->answer, &(struct chat_usage){0}, &c->out);
    http_reply(c->api.http, 200, "application/json", buf_str(&c->out));
}

static void on_fail(void *ctx, const struct exchange_failure *f)
{
    struct chat_call *c = ctx;
    struct http_request *r = c->api.http;
    if (c->begun) { /* by a keep-alive: the status is spent, the error is the stream's only event */
        const struct chat_event failed = {.kind = CHAT_EVENT_ERROR,
            .failure = {.code = f->code,
                .status = f->status,
                .retry_after_ms = f->retry_after_ms,
                .message = f->message,
                .type = f->type}};
        c->about = (struct exchange_about){0};
        c->shape->begin(c->answer, &c->about);
        on_event(c, &failed);
        end_stream(c, NULL);
        call_free(c);
        return;
    }
    about_headers(c, &f->about);
    if (c->shape->estimate && f->code == ERROR_UNSUPPORTED) {
        reply_estimate(c);
        call_free(c);
        return;
    }
    if (f->retry_after_ms >= 0) {
        char seconds[32];
        snprintf(seconds, sizeof seconds, "%lld", (long long)((f->retry_after_ms + 999) / 1000));
        http_reply_header(r, "retry-after", str_from(seconds));
    }
    if (str_is(f->type, "insufficient_quota")) /* official clients would come again at once */
        http_reply_header(r, "x-should-retry", STR("false"));
    reply_error(c, f->status, f->message, f->type);
    call_free(c);
}

static void on_gone(void *ctx)
{
    struct chat_call *c = ctx;
    struct http_request *r = c->api.http;
    if (c->ending) {
        c->gone = true;
    } else {
        exchange_cancel(c->exchange); /* fills the line of the access log, which ends with `r` */
        call_free(c);
    }
    http_request_release(r);
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
int api_boundary_read(struct http_request *r, bool *local, struct error *err)
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

/* x-weir-cache: true */
static int cache_read(struct http_request *r, bool *cache, struct error *err)
{
    struct str value = http_request_header(r, "x-weir-cache");
    *cache = str_is_nocase(value, "true");
    return value.len == 0 || *cache || str_is_nocase(value, "false")
               ? 0
               : error_set(
                     err, ERROR_INVALID, "x-weir-cache must be 'true' (or 'false', which changes nothing)");
}

struct str api_header_give(void *ctx, const char *name, int index)
{
    return http_request_header_at(ctx, name, index);
}

/* What the headers ask; `tags` live in the arena. */
static int origin_read(
    struct http_request *r, struct arena *a, struct exchange_origin *out, struct error *err)
{
    struct str *tags;
    int rc = api_boundary_read(r, &out->boundary_local, err);
    if (rc == 0)
        rc = cache_read(r, &out->cache, err);
    if (rc == 0)
        rc = tags_read(a, r, &tags, &out->n_tags, err);
    if (rc == 0)
        out->tags = tags;
    out->header = api_header_give;
    out->header_ctx = r;
    return rc;
}

/* The headers that a target of the same shape is to get; they live in the arena. */
static int headers_read(
    struct http_request *h, const struct api_shape *shape, struct chat_request *r, struct error *err)
{
    enum { MAX_HEADERS = 8 };
    if (!shape->passed)
        return 0;
    r->headers = arena_alloc(r->arena, MAX_HEADERS * sizeof *r->headers);
    for (const char *const *name = shape->passed; *name; name++) {
        for (int i = 0; i < http_request_header_count(h, *name); i++) {
            if (r->n_headers == MAX_HEADERS)
                return error_set(err, ERROR_INVALID, "the header %s comes too often: send it once", *name);
            r->headers[r->n_headers++] = (struct chat_header){
                str_from(*name), arena_copy(r->arena, http_request_header_at(h, *name, i))};
        }
    }
    return 0;
}

static void start(const struct api_call *api, struct chat_request *request, struct exchange_origin *origin)
{
    const struct api_shape *shape = api->shape;
    struct chat_call *c = calloc(1, sizeof *c);
    void *answer = calloc(1, shape->answer_size);
    if (!c || !answer)
        abort();
    c->api = *api;
    c->shape = shape;
    c->request = request;
    c->answer = answer;
    c->stream = request->stream;
    buf_init(&c->out, LIMIT_PROVIDER_BODY * 2);
    answer_init(c);
    struct http_request *r = api->http;
    origin->request_id = str_from(c->api.request_id);
    origin->row_id = str_from(c->api.row_id);
    origin->id_given = c->api.id_given;
    origin->entry = c->api.entry;
    if (http_request_header_count(r, "traceparent") == 1)
        origin->traceparent = http_request_header(r, "traceparent");
    origin->api = str_from(shape->name);
    struct exchange_client client = {on_begin, on_event, on_fail, on_end, on_again, c};
    c->exchange = exchange_start(api->shard->exchange, request, origin, &client);
    http_request_on_gone(r, on_gone, c);
    http_stream_on_drain(r, on_drain, c);
    http_stream_on_due(r, on_due, c);
    if (c->stream && shape->keep_alive) {
        c->quiet = loop_timer_create(api->shard->exchange->loop, on_quiet, c);
        c->sent_ms = clock_mono_ms();
        quiet_arm(c);
    }
}

int api_request_read(const struct api_call *c, const struct api_shape *shape, struct arena *a,
    struct chat_request **out, struct exchange_origin *origin, struct error *err)
{
    struct str body = STR_NONE;
    /* The body is copied: the request outlives the HTTP request when its client leaves. */
    int rc = arena_try_copy(a, http_request_body(c->http), &body);
    if (rc)
        return error_set(err, rc, "no memory for the request");
    rc = origin_read(c->http, a, origin, err);
    if (rc == 0 && shape->join)
        rc = shape->join(c, a, &body, err);
    if (rc == 0)
        rc = shape->read(a, body, out, err);
    if (rc == 0 && shape->resolve)
        rc = shape->resolve(c->shard->exchange->world, *out, err);
    origin->body = http_request_body(c->http);
    origin->identity = c->identified ? &c->identity : NULL;
    return rc ? rc : headers_read(c->http, shape, *out, err);
}

static void go(const struct api_call *c, struct arena *a)
{
    struct error err;
    struct chat_request *request;
    struct exchange_origin origin = {0};
    int rc = api_request_read(c, c->shape, a, &request, &origin, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        arena_free(a);
        return;
    }
    start(c, request, &origin);
}

/* A call for which something is read from the state first. */
struct fetching {
    struct api_call api;
    struct arena *arena;
};

static void on_fetched(void *ctx)
{
    struct fetching *f = ctx;
    if (f->api.gone)
        arena_free(f->arena);
    else
        go(&f->api, f->arena);
    free(f);
}

void api_chat(const struct api_call *c)
{
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    if (!c->shape->fetch) {
        go(c, a);
        return;
    }
    struct fetching *f = must(calloc(1, sizeof *f));
    f->api = *c;
    f->arena = a;
    http_request_on_gone(c->http, api_on_gone, &f->api);
    if (!c->shape->fetch(&f->api, a, http_request_body(c->http), on_fetched, f))
        on_fetched(f);
}
