#include "api/ollama_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"

void ollama_answer_init(struct ollama_answer *a, bool chat, struct str model)
{
    a->chat = chat;
    a->started_ns = clock_mono_ns();
    snprintf(a->model, sizeof a->model, STR_FMT, STR_ARG(model));
    buf_init(&a->text, LIMIT_PROVIDER_BODY);
    buf_init(&a->thinking, LIMIT_PROVIDER_BODY);
    buf_init(&a->logprobs, LIMIT_PROVIDER_BODY);
}

void ollama_answer_free(struct ollama_answer *a)
{
    buf_free(&a->text);
    buf_free(&a->thinking);
    buf_free(&a->logprobs);
    tool_calls_free(&a->calls);
}

/* ---- Pieces ---- */

int64_t ollama_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void ollama_time_write(struct json_writer *w, const char *key, int64_t wall_ns)
{
    char text[32];
    clock_format_ns(wall_ns, text);
    json_member_text(w, key, text);
}

static void head_write(const struct ollama_answer *a, struct json_writer *w, struct buf *out)
{
    json_writer_init(w, out);
    json_object_begin(w);
    json_member_text(w, "model", a->model);
    ollama_time_write(w, "created_at", ollama_now_ns());
}

/* Arguments are an object here; the provider's text of them is checked and written anew, on one line. */
static int arguments_read(const struct tool_call *c, json_t **out, struct error *err)
{
    struct str text = str_trim(buf_str(&c->arguments));
    int rc = json_read(text.len > 0 ? text : STR("{}"), out, err);
    if (rc == 0 && !json_is_object(*out)) {
        json_decref(*out);
        rc = error_set(err, ERROR_INVALID, "they are no JSON object");
    }
    return rc ? error_wrap(err, "the arguments of the tool call '" STR_FMT "'", STR_ARG(buf_str(&c->name)))
              : 0;
}

static int call_write(struct json_writer *w, const struct tool_call *c, size_t index, struct error *err)
{
    json_t *arguments;
    int rc = arguments_read(c, &arguments, err);
    if (rc)
        return rc;
    json_object_begin(w);
    if (c->id.len > 0)
        json_member_str(w, "id", buf_str(&c->id));
    json_key(w, "function");
    json_object_begin(w);
    json_member_int(w, "index", (int64_t)index);
    json_member_str(w, "name", buf_str(&c->name));
    json_key(w, "arguments");
    json_write_value(w, arguments);
    json_object_end(w);
    json_object_end(w);
    json_decref(arguments);
    return 0;
}

/* Of a whole answer, while it can still be an error. */
static int calls_check(const struct ollama_answer *a, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < a->calls.n && a->chat && rc == 0; i++) {
        json_t *arguments = NULL;
        rc = arguments_read(&a->calls.list[i], &arguments, err);
        if (rc == 0)
            json_decref(arguments);
    }
    return rc;
}

static int calls_write(struct ollama_answer *a, struct json_writer *w, size_t until, struct error *err)
{
    int rc = 0;
    json_key(w, "tool_calls");
    json_array_begin(w);
    for (; a->n_told < until && rc == 0; a->n_told++)
        rc = call_write(w, &a->calls.list[a->n_told], a->n_told, err);
    json_array_end(w);
    return rc;
}

/* The model's words, in the place this endpoint has for them. */
static void words_begin(
    const struct ollama_answer *a, struct json_writer *w, struct str text, struct str thinking)
{
    if (a->chat) {
        json_key(w, "message");
        json_object_begin(w);
        json_member_text(w, "role", "assistant");
    }
    json_member_str(w, a->chat ? "content" : "response", text);
    json_maybe_str(w, "thinking", thinking);
}

static void words_end(const struct ollama_answer *a, struct json_writer *w)
{
    if (a->chat)
        json_object_end(w);
}

/* ---- Log probabilities ---- */

static void token_write(struct json_writer *w, const struct chat_token *t)
{
    json_member_str(w, "token", t->text);
    json_member_double(w, "logprob", t->logprob);
    if (!t->bytes.data)
        return;
    json_key(w, "bytes");
    json_array_begin(w);
    for (size_t i = 0; i < t->bytes.len; i++)
        json_write_int(w, (unsigned char)t->bytes.data[i]);
    json_array_end(w);
}

static void logprobs_gather(struct ollama_answer *a, const struct chat_event *e)
{
    for (size_t i = 0; i < e->n_tokens; i++) {
        const struct chat_token *t = &e->tokens[i];
        struct json_writer w;
        if (a->logprobs.len > 0)
            buf_append_char(&a->logprobs, ',');
        json_writer_init(&w, &a->logprobs);
        json_object_begin(&w);
        token_write(&w, t);
        if (t->n_top > 0) {
            json_key(&w, "top_logprobs");
            json_array_begin(&w);
            for (size_t n = 0; n < t->n_top; n++) {
                json_object_begin(&w);
                token_write(&w, &t->top[n]);
                json_object_end(&w);
            }
            json_array_end(&w);
        }
        json_object_end(&w);
    }
}

static void logprobs_write(struct ollama_answer *a, struct json_writer *w)
{
    if (a->logprobs.len == 0)
        return;
    json_key(w, "logprobs");
    json_write_raw(w, STR("["));
    buf_append_str(w->buf, buf_str(&a->logprobs));
    buf_append_char(w->buf, ']');
    buf_clear(&a->logprobs);
}

/* ---- The end ---- */

static const char *reason_name(enum chat_stop stop)
{
    return stop == CHAT_STOP_LENGTH ? "length" : stop == CHAT_STOP_FILTER ? "content_filter" : "stop";
}

static void done_write(struct ollama_answer *a, struct json_writer *w, const struct chat_usage *usage)
{
    bool told = usage->prefill_ns + usage->decode_ns > 0;
    int64_t now = clock_mono_ns(), first = a->first_ns ? a->first_ns : now;
    json_member_bool(w, "done", true);
    json_member_text(w, "done_reason", reason_name(a->stop));
    json_maybe_int(w, "total_duration", now - a->started_ns);
    json_maybe_int(w, "load_duration", usage->load_ns);
    json_maybe_int(w, "prompt_eval_count", usage->input_tokens);
    json_maybe_int(w, "prompt_eval_duration", told ? usage->prefill_ns : first - a->started_ns);
    json_maybe_int(w, "eval_count", usage->output_tokens);
    json_maybe_int(w, "eval_duration", told ? usage->decode_ns : now - first);
    json_object_end(w);
    buf_append_char(w->buf, '\n');
}

/* ---- Whole answers ---- */

int ollama_answer_gather(struct ollama_answer *a, const struct chat_event *e, struct error *err)
{
    if (a->first_ns == 0)
        a->first_ns = clock_mono_ns();
    if (e->kind == CHAT_EVENT_STOP) {
        a->stop = e->stop;
        return calls_check(a, err);
    }
    if (e->kind == CHAT_EVENT_TOOL_CALL)
        return tool_calls_gather(&a->calls, e, err);
    if (e->kind == CHAT_EVENT_REASONING) {
        buf_append_str(&a->thinking, e->text);
    } else if (e->kind == CHAT_EVENT_TEXT) {
        buf_append_str(&a->text, e->text);
        logprobs_gather(a, e);
    }
    if (a->text.failed || a->thinking.failed || a->logprobs.failed)
        return error_set(err, ERROR_LIMIT, "the answer is longer than %zu bytes", a->text.max);
    return 0;
}

static void error_write(struct str message, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "error", message);
    json_object_end(&w);
}

void ollama_answer_write(struct ollama_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    struct error err;
    int rc = 0;
    head_write(a, &w, out);
    words_begin(a, &w, buf_str(&a->text), buf_str(&a->thinking));
    if (a->calls.n > 0 && a->chat)
        rc = calls_write(a, &w, a->calls.n, &err);
    words_end(a, &w);
    logprobs_write(a, &w);
    done_write(a, &w, usage);
    if (rc) {
        buf_clear(out);
        error_write(str_from(err.message), out);
    }
}

/* ---- Streams ---- */

static void chunk_end(struct ollama_answer *a, struct json_writer *w)
{
    words_end(a, w);
    logprobs_write(a, w);
    json_member_bool(w, "done", false);
    json_object_end(w);
    buf_append_char(w->buf, '\n');
}

static void words_chunk(struct ollama_answer *a, struct str text, struct str thinking, struct buf *out)
{
    struct json_writer w;
    head_write(a, &w, out);
    words_begin(a, &w, text, thinking);
    chunk_end(a, &w);
}

/* How many calls can be told, in their order, while pieces of others may still come. */
static size_t calls_ready(const struct ollama_answer *a)
{
    size_t n = a->n_told;
    while (n < a->calls.n && json_is_whole(buf_str(&a->calls.list[n].arguments)))
        n++;
    return n;
}

/* Tells the calls before `until` that have not been told. */
static void calls_chunk(struct ollama_answer *a, size_t until, struct buf *out)
{
    struct json_writer w;
    struct error err;
    size_t before = out->len;
    if (a->n_told >= until || !a->chat)
        return;
    head_write(a, &w, out);
    words_begin(a, &w, STR(""), STR_NONE);
    int rc = calls_write(a, &w, until, &err);
    chunk_end(a, &w);
    if (rc) {
        out->len = before;
        error_write(str_from(err.message), out);
        buf_append_char(out, '\n');
    }
}

void ollama_stream_event(struct ollama_answer *a, const struct chat_event *e, struct buf *out)
{
    struct error err;
    if (a->first_ns == 0)
        a->first_ns = clock_mono_ns();
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
        logprobs_gather(a, e);
        words_chunk(a, e->text, STR_NONE, out);
        break;
    case CHAT_EVENT_REASONING:
        words_chunk(a, STR(""), e->text, out);
        break;
    case CHAT_EVENT_TOOL_CALL:
        if (e->tool_call.index >= a->calls.n) /* a new one: the others may be complete */
            calls_chunk(a, calls_ready(a), out);
        if (tool_calls_gather(&a->calls, e, &err)) {
            error_write(str_from(err.message), out);
            buf_append_char(out, '\n');
        }
        break;
    case CHAT_EVENT_STOP:
        a->stop = e->stop;
        calls_chunk(a, a->calls.n, out);
        break;
    case CHAT_EVENT_ERROR:
        error_write(e->failure.message, out);
        buf_append_char(out, '\n');
        break;
    default:
        break;
    }
}

void ollama_stream_end(struct ollama_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    head_write(a, &w, out);
    words_begin(a, &w, STR(""), STR_NONE);
    words_end(a, &w);
    done_write(a, &w, usage);
}

/* ---- The rest ---- */

void ollama_load_write(struct ollama_answer *a, const char *reason, struct buf *out)
{
    struct json_writer w;
    head_write(a, &w, out);
    words_begin(a, &w, STR(""), STR_NONE);
    words_end(a, &w);
    json_member_text(&w, "done_reason", reason);
    json_member_bool(&w, "done", true);
    json_object_end(&w);
    buf_append_char(out, '\n');
}

int ollama_error(int status, struct str message, struct str type, struct str request_id, struct buf *out)
{
    (void)type;
    (void)request_id;
    error_write(message, out);
    return status;
}
