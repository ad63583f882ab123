/* A call to a provider over HTTP, whatever its dialect: sends what that encoded, feeds it the answer's bytes,
 * and makes an error of a status that is none of success. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "provider/dialect.h"
#include "provider/failure.h"

enum { ERROR_BODY_MAX = 64 * 1024 };

struct remote_call {
    struct provider_call base;
    struct provider_answer answer;
    struct egress_transfer *transfer;
    const struct provider *provider;
    int status;
    int64_t retry_after_ms;
    struct buf error_body; /* of a status that is no success; cut at ERROR_BODY_MAX */
    int busy;              /* our own callbacks on the stack */
    bool closed;           /* to be freed when the last of them returns */
};

static void call_free(struct remote_call *c)
{
    provider_answer_free(&c->answer);
    buf_free(&c->error_body);
    free(c);
}

static void leave(struct remote_call *c)
{
    if (--c->busy == 0 && c->closed)
        call_free(c);
}

static bool is_success(int status)
{
    return status >= 200 && status < 300;
}

static void on_status(void *ctx, int status)
{
    struct remote_call *c = ctx;
    c->status = status;
    if (is_success(status))
        provider_answer_content_type(&c->answer, egress_header(c->transfer, "content-type"));
    else
        c->retry_after_ms = provider_retry_after(egress_header(c->transfer, "retry-after-ms"),
            egress_header(c->transfer, "retry-after"), clock_wall_ms());
}

static void on_data(void *ctx, struct str bytes)
{
    struct remote_call *c = ctx;
    if (!is_success(c->status)) {
        buf_append_str(&c->error_body, str_slice(bytes, 0, ERROR_BODY_MAX - c->error_body.len));
        return;
    }
    c->busy++;
    provider_answer_feed(&c->answer, bytes);
    leave(c);
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct remote_call *c = ctx;
    c->busy++;
    if (c->status == 0 || is_success(c->status)) {
        provider_answer_finish(&c->answer, code, err);
    } else {
        struct provider_failure f;
        provider_failure_status(&f, c->provider->name, provider_key(c->provider), c->status,
            buf_str(&c->error_body), c->retry_after_ms);
        provider_answer_fail(&c->answer, &f.failure);
    }
    leave(c);
}

/* The dialect's, then those of the configuration. */
static size_t headers_write(struct arena *a, const struct provider_dialect *d, const struct provider *p,
    const struct chat_request *r, struct egress_header *out)
{
    size_t n = d->headers(a, p, r, out);
    if (!r->stream)
        out[1].value = STR("application/json");
    for (size_t i = 0; i < p->n_headers && n < PROVIDER_HEADERS_MAX; i++)
        out[n++] = p->headers[i];
    return n;
}

/* A bare prompt as what the user says, for a dialect that continues none. */
struct prompt_as_message {
    struct chat_request request;
    struct chat_message message;
    struct chat_part part;
};

static bool is_asked_as_message(
    const struct provider_dialect *d, const struct provider_model *m, const struct chat_request *r)
{
    bool bare = r->has_prompt && !r->prompt_ids && r->suffix.len == 0 && !r->echo;
    return bare && r->shape == CHAT_SHAPE_OPENAI && !(d->continues && d->continues(m));
}

static void prompt_as_message(struct prompt_as_message *a, const struct chat_request *r)
{
    a->request = *r;
    a->part = (struct chat_part){.kind = CHAT_PART_TEXT, .text = r->prompt};
    a->message = (struct chat_message){.role = CHAT_USER, .parts = &a->part, .n_parts = 1};
    a->request.has_prompt = false;
    a->request.messages = &a->message;
    a->request.n_messages = 1;
}

/* A request takes about as much written out as it does in memory: so it need not be copied while it grows. */
static void body_reserve(struct buf *body, const struct chat_request *r)
{
    enum { MOST = 256 * KIB };
    size_t used = arena_used(r->arena);
    (void)!buf_reserve(body, used < MOST ? used : MOST); /* the dialect looks at `failed` */
}

static int send(struct remote_call *c, const struct provider_dialect *d, const struct provider_start *s,
    struct error *err)
{
    struct egress_header
        headers[PROVIDER_HEADERS_MAX + PROVIDER_SIGNATURE_MAX + sizeof s->headers / sizeof *s->headers];
    struct arena *arena = arena_create(64 * KIB);
    struct buf body;
    buf_init(&body, 2 * LIMIT_HTTP_BODY);
    body_reserve(&body, s->request);
    struct prompt_as_message asked;
    if (is_asked_as_message(d, s->model, s->request))
        prompt_as_message(&asked, s->request);
    else
        asked.request = *s->request;
    asked.request.stream = !s->whole;
    int rc = d->encode(s->model, &asked.request, &body, err);
    if (rc == 0) {
        struct egress_request request = {.method = "POST",
            .path = d->path(arena, s->model, &asked.request),
            .headers = headers,
            .n_headers = headers_write(arena, d, c->provider, &asked.request, headers),
            .body = buf_str(&body),
            .connect_timeout_ms = s->connect_timeout_ms,
            .first_byte_timeout_ms = s->whole ? c->provider->answer_timeout_ms : 0};
        for (size_t i = 0; i < s->n_headers; i++)
            headers[request.n_headers++] = s->headers[i];
        struct egress_handler handler = {on_status, on_data, on_done, c};
        if (d->sign)
            request.n_headers += d->sign(arena, c->provider, &request, headers + request.n_headers);
        rc = egress_open(s->egress, s->permit, c->provider->target, &request, &handler, &c->transfer, err);
    }
    buf_free(&body);
    arena_free(arena);
    return rc;
}

int provider_remote_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const done[CHAT_KINDS] = {"answers", "embeddings", "ranks of documents"};
    const struct provider_dialect *d = m->provider->ops->dialects[r->kind];
    if (!d)
        return error_set(err, ERROR_UNSUPPORTED,
            "a provider of kind '" STR_FMT "' gives no %s: choose another model", STR_ARG(m->provider->kind),
            done[r->kind]);
    struct prompt_as_message asked;
    if (!is_asked_as_message(d, m, r))
        return d->supports(m, r, err);
    prompt_as_message(&asked, r);
    return d->supports(m, &asked.request, err);
}

int provider_remote_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    const struct provider *p = s->model->provider;
    const struct provider_dialect *d = p->ops->dialects[s->request->kind];
    struct remote_call *c = malloc(sizeof *c); /* most of it is the answer, which is set to zero itself */
    if (!c)
        return error_set(err, ERROR_MEMORY, "out of memory");
    c->base = (struct provider_call){.ops = p->ops};
    c->transfer = NULL;
    c->provider = p;
    c->status = 0;
    c->retry_after_ms = -1;
    c->busy = 0;
    c->closed = false;
    buf_init(&c->error_body, ERROR_BODY_MAX);
    provider_answer_init(&c->answer, p->name, provider_key(p), d->event, s->sink);
    provider_answer_expect(&c->answer, s->request->n);
    c->answer.n_inputs = s->request->n_inputs;
    int rc = send(c, d, s, err);
    if (rc) {
        call_free(c);
        return rc;
    }
    *out = &c->base;
    return 0;
}

void provider_remote_pause(struct provider_call *base, bool paused)
{
    struct remote_call *c = (struct remote_call *)base;
    egress_pause(c->transfer, paused);
}

void provider_remote_close(struct provider_call *base)
{
    struct remote_call *c = (struct remote_call *)base;
    /* With the answer complete the connection is worth keeping; otherwise closing stops the provider's work.
     */
    bool complete = c->answer.ended && is_success(c->status);
    provider_answer_abandon(&c->answer);
    if (complete)
        egress_finish(c->transfer);
    else
        egress_close(c->transfer);
    c->transfer = NULL;
    c->closed = true;
    if (c->busy == 0)
        call_free(c);
}
