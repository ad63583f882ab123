/* Requests made by hand, and a sink that writes down what it is told:
 *
 *   start ID MODEL | text T | reasoning T | signature TEXT DATA | block JSON | delta JSON | choice MEMBERS |
 * answer MEMBERS | besides MEMBERS (of the usage) | tool INDEX ID NAME ARGUMENTS | more MEMBERS | usage IN
 * CACHED OUT REASONING | stop N | error CODE STATUS RETRYABLE RETRY_AFTER TYPE: MESSAGE       one line each
 */
#ifndef WEIR_TESTS_PROVIDER_FIXTURE_H
#define WEIR_TESTS_PROVIDER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "provider/dialect.h"

struct transcript {
    struct buf text;
    int last; /* STOP and ERROR events */
    int events;
};

static inline void transcript_event(void *ctx, const struct chat_event *e)
{
    struct transcript *t = ctx;
    struct buf *b = &t->text;
    assert_int_equal(t->last, 0); /* nothing after the last */
    if (t->events++ == 0)
        assert_true(e->kind == CHAT_EVENT_START || e->kind == CHAT_EVENT_ERROR);
    switch (e->kind) {
    case CHAT_EVENT_START:
        assert_int_equal(t->events, 1);
        buf_appendf(b, "start " STR_FMT " " STR_FMT "\n", STR_ARG(e->start.id), STR_ARG(e->start.model));
        break;
    case CHAT_EVENT_TEXT:
    case CHAT_EVENT_REASONING:
        assert_true(str_utf8_valid(e->text) && e->text.len > 0);
        buf_append_text(b, e->kind == CHAT_EVENT_TEXT ? "text " : "reasoning ");
        buf_append_str(b, e->text);
        buf_append_char(b, '\n');
        for (size_t i = 0; i < e->n_tokens; i++) {
            const struct chat_token *token = &e->tokens[i];
            buf_appendf(b, "token " STR_FMT " %g", STR_ARG(token->text), token->logprob);
            for (size_t j = 0; j < token->n_top; j++)
                buf_appendf(b, ", " STR_FMT " %g", STR_ARG(token->top[j].text), token->top[j].logprob);
            buf_append_char(b, '\n');
        }
        break;
    case CHAT_EVENT_TOOL_CALL:
        buf_appendf(b, "tool %u " STR_FMT " " STR_FMT " " STR_FMT "\n", e->tool_call.index,
            STR_ARG(e->tool_call.id), STR_ARG(e->tool_call.name), STR_ARG(e->tool_call.arguments));
        if (e->tool_call.more.len > 0)
            buf_appendf(b, "more " STR_FMT "\n", STR_ARG(e->tool_call.more));
        break;
    case CHAT_EVENT_MEASURE:
        fail_msg("only the engine measures");
        break;
    case CHAT_EVENT_SIGNATURE:
        buf_appendf(
            b, "signature " STR_FMT " " STR_FMT "\n", STR_ARG(e->signature.text), STR_ARG(e->signature.data));
        break;
    case CHAT_EVENT_NATIVE:
        static const char *const natives[] = {"block", "delta", "choice", "answer", "besides"};
        buf_appendf(b, "%s " STR_FMT "\n", natives[e->native.what], STR_ARG(e->native.json));
        break;
    case CHAT_EVENT_EMBEDDING:
        buf_appendf(b, "embedding %zu", e->embedding.index);
        for (size_t i = 0; i < e->embedding.n_values; i++)
            buf_appendf(b, " %g", (double)e->embedding.values[i]);
        buf_append_char(b, '\n');
        break;
    case CHAT_EVENT_SCORE:
        buf_appendf(b, "score %zu %g\n", e->score.index, e->score.score);
        break;
    case CHAT_EVENT_USAGE:
        buf_appendf(b, "usage %lld %lld %lld %lld\n", (long long)e->usage.input_tokens,
            (long long)e->usage.cached_tokens, (long long)e->usage.output_tokens,
            (long long)e->usage.reasoning_tokens);
        break;
    case CHAT_EVENT_STOP:
        t->last++;
        buf_appendf(b, e->stop_string.len ? "stop %d " STR_FMT "\n" : "stop %d\n", (int)e->stop,
            STR_ARG(e->stop_string));
        break;
    case CHAT_EVENT_ERROR:
        t->last++;
        assert_true(e->failure.message.len > 0 && str_utf8_valid(e->failure.message));
        buf_appendf(b, "error %s %d %d %lld " STR_FMT ": " STR_FMT "\n", error_code_name(e->failure.code),
            e->failure.status, e->failure.retryable, (long long)e->failure.retry_after_ms,
            STR_ARG(e->failure.type), STR_ARG(e->failure.message));
        break;
    }
}

static inline struct chat_sink transcript_sink(struct transcript *t)
{
    *t = (struct transcript){0};
    buf_init(&t->text, 256 * MIB);
    return (struct chat_sink){transcript_event, t};
}

/* Feeds `bytes` in pieces of `step` bytes after a first one of `first`; 0: all at once. */
static inline struct buf translate(
    provider_event *event, const char *type, struct str bytes, size_t first, size_t step, int code)
{
    struct provider_answer a;
    struct transcript t;
    struct error err;
    error_set(&err, code, "the connection broke");
    provider_answer_init(&a, STR("cloud"), STR("sk-secret"), event, transcript_sink(&t));
    provider_answer_content_type(&a, str_from(type));
    size_t at = first < bytes.len ? first : bytes.len;
    provider_answer_feed(&a, str_slice(bytes, 0, at));
    for (size_t next; at < bytes.len; at = next) {
        next = step == 0 || step > bytes.len - at ? bytes.len : at + step;
        /* A copy of its own, so that reading beyond the piece is seen. */
        char *piece = malloc(next - at);
        assert_non_null(piece);
        memcpy(piece, bytes.data + at, next - at);
        provider_answer_feed(&a, (struct str){piece, next - at});
        free(piece);
    }
    provider_answer_finish(&a, code, &err);
    assert_int_equal(t.last, 1);
    provider_answer_free(&a);
    return t.text;
}

static inline void assert_translates(
    provider_event *event, const char *type, struct str bytes, const char *expect)
{
    struct buf got = translate(event, type, bytes, 0, 0, 0);
    assert_string_equal(got.data, expect);
    buf_free(&got);
}

/* The same events, wherever the bytes are cut. */
static inline void assert_cuts_do_not_matter(provider_event *event, struct str bytes)
{
    struct buf whole = translate(event, "text/event-stream", bytes, 0, 0, 0);
    for (size_t i = 1; i < bytes.len; i++) {
        struct buf cut = translate(event, "text/event-stream", bytes, i, 0, 0);
        assert_string_equal(cut.data, whole.data);
        buf_free(&cut);
    }
    struct buf single = translate(event, "text/event-stream", bytes, 1, 1, 0);
    assert_string_equal(single.data, whole.data);
    buf_free(&single);
    buf_free(&whole);
}

/* Wherever the stream breaks off, one last event comes, and what came before it begins as the whole does. */
static inline void assert_breaks_are_told(provider_event *event, struct str bytes, size_t complete_from)
{
    struct buf whole = translate(event, "text/event-stream", bytes, 0, 0, 0);
    for (size_t i = 0; i < bytes.len; i++) {
        struct buf got =
            translate(event, "text/event-stream", str_slice(bytes, 0, i), 0, 0, ERROR_UNAVAILABLE);
        const char *error = strstr(got.data, "error unavailable 0 1 -1 : provider 'cloud': ");
        if (i < complete_from) {
            assert_non_null(error);
            assert_memory_equal(got.data, whole.data, (size_t)(error - got.data));
        } else {
            assert_null(error);
        }
        buf_free(&got);
    }
    buf_free(&whole);
}

/* ---- Requests ---- */

static inline struct chat_request *request_create(void)
{
    struct chat_request *r = chat_request_create(arena_create(16 * MIB));
    r->stream = true; /* as remote.c asks, unless it is to come whole */
    return r;
}

static inline void request_free(struct chat_request *r)
{
    arena_free(r->arena);
}

static inline json_t *request_json(struct chat_request *r, const char *text)
{
    struct error err;
    json_t *value = NULL;
    if (json_read_in(r->arena, str_from(text), &value, &err) != 0)
        fail_msg("%s in %s", err.message, text);
    return value;
}

static inline struct chat_message *request_add(struct chat_request *r, enum chat_role role, const char *text)
{
    if (!r->messages)
        r->messages = arena_alloc(r->arena, 64 * sizeof *r->messages);
    struct chat_message *m = &r->messages[r->n_messages++];
    m->role = role;
    if (text) {
        m->parts = arena_new(r->arena, struct chat_part);
        m->parts[0].text = str_from(text);
        m->n_parts = 1;
    }
    return m;
}

static inline void message_call(
    struct chat_request *r, struct chat_message *m, const char *id, const char *name, const char *arguments)
{
    if (!m->tool_calls)
        m->tool_calls = arena_alloc(r->arena, 8 * sizeof *m->tool_calls);
    m->tool_calls[m->n_tool_calls++] =
        (struct chat_tool_call){.id = str_from(id), .name = str_from(name), .arguments = str_from(arguments)};
}

static inline struct chat_part *message_part(
    struct chat_request *r, struct chat_message *m, enum chat_part_kind kind, const char *raw)
{
    if (m->n_parts == 0)
        m->parts = arena_alloc(r->arena, 8 * sizeof *m->parts);
    struct chat_part *p = &m->parts[m->n_parts++];
    p->kind = kind;
    p->raw = raw ? request_json(r, raw) : NULL;
    if (kind == CHAT_PART_TEXT)
        p->text = json_text(p->raw, "text");
    if (kind == CHAT_PART_IMAGE)
        p->url = json_text(json_object_get(p->raw, "image_url"), "url");
    return p;
}

/* `raw` as clients send tools. */
static inline void request_tool(struct chat_request *r, const char *raw)
{
    if (!r->tools)
        r->tools = arena_alloc(r->arena, 8 * sizeof *r->tools);
    struct chat_tool *t = &r->tools[r->n_tools++];
    t->raw = request_json(r, raw);
    const json_t *function = json_object_get(t->raw, "function");
    t->name = json_text(function, "name");
    t->description = json_text(function, "description");
    t->parameters = json_object_get(function, "parameters");
}

static inline void assert_encodes(
    const struct provider_dialect *d, const char *model, struct chat_request *r, const char *expect)
{
    struct provider_model m = {.model = str_from(model)};
    struct buf body;
    struct error err;
    buf_init(&body, 64 * MIB);
    if (d->encode(&m, r, &body, &err) != 0)
        fail_msg("%s", err.message);
    json_t *got = request_json(r, body.data), *want = request_json(r, expect);
    if (!json_equal(got, want))
        fail_msg("got  %s\nwant %s", body.data, expect);
    buf_free(&body);
}

static inline void assert_refuses(const struct provider_dialect *d, struct chat_request *r, const char *what)
{
    struct provider_model m = {.model = STR("m")};
    struct error err = {0};
    struct buf body;
    buf_init(&body, 64 * MIB);
    assert_int_equal(d->supports(&m, r, &err), ERROR_UNSUPPORTED);
    if (!strstr(err.message, what))
        fail_msg("'%s' does not name %s", err.message, what);
    assert_int_equal(d->encode(&m, r, &body, &err), ERROR_UNSUPPORTED);
    buf_free(&body);
}

/* `bytes` end in an error whose line begins with `begins` and says `why`. */
static inline void assert_breaks(
    provider_event *event, const char *type, struct str bytes, const char *begins, const char *why)
{
    struct buf got = translate(event, type, bytes, 0, 0, 0);
    const char *error = strstr(got.data, begins);
    assert_non_null(error);
    if (!strstr(error, why))
        fail_msg("'%s' does not say '%s'", error, why);
    buf_free(&got);
}

#endif
