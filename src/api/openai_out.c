#include "api/openai_out.h"

#include <stdlib.h>

#include "api/openai_logprobs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "base/rand.h"

void openai_answer_init(struct openai_answer *a, bool completion, const struct chat_request *r)
{
    *a = (struct openai_answer){.completion = completion,
        .include_usage = r->include_usage,
        .obfuscation = r->obfuscation,
        .with_logprobs = r->logprobs,
        .reasoning_too =
            json_object_get(r->vendor, "reasoning") || json_object_get(r->vendor, "include_reasoning"),
        .n_choices = (uint32_t)r->n};
    rand_id(completion ? "cmpl-" : "chatcmpl-", a->id, sizeof a->id);
    a->created_s = clock_wall_rough_ms() / 1000;
    buf_init(&a->head, 4 * KIB);
    buf_init(&a->text_head, 4 * KIB);
    buf_init(&a->more, LIMIT_PROVIDER_BODY);
    buf_init(&a->usage_more, LIMIT_PROVIDER_BODY);
    a->choices = must(calloc(a->n_choices, sizeof *a->choices));
    for (uint32_t i = 0; i < a->n_choices; i++) {
        buf_init(&a->choices[i].text, LIMIT_PROVIDER_BODY);
        json_members_init(&a->choices[i].more, LIMIT_PROVIDER_BODY);
        buf_init(&a->choices[i].reasoning, LIMIT_PROVIDER_BODY);
        openai_logprobs_init(&a->choices[i].logprobs);
    }
}

void openai_answer_free(struct openai_answer *a)
{
    buf_free(&a->head);
    buf_free(&a->text_head);
    buf_free(&a->more);
    buf_free(&a->usage_more);
    for (struct openai_choice *c = a->choices; c < a->choices + a->n_choices; c++) {
        buf_free(&c->text);
        buf_free(&c->reasoning);
        openai_logprobs_free(&c->logprobs);
        tool_calls_free(&c->tool_calls);
        json_members_free(&c->more);
    }
    free(a->choices);
    a->choices = NULL;
    a->n_choices = 0;
}

/* ---- What only this shape has ---- */

/* Of the answer and of its usage; other events are not for this. */
static int members_keep(struct openai_answer *a, const struct chat_event *e, struct error *err)
{
    struct buf *kept = e->native.what == CHAT_NATIVE_USAGE ? &a->usage_more : &a->more;
    buf_clear(kept);
    return buf_append_str(kept, e->native.json) ? error_set(err, ERROR_LIMIT, "the answer is too large") : 0;
}

static int native_gather(
    struct openai_answer *a, struct openai_choice *c, const struct chat_event *e, struct error *err)
{
    if (e->native.shape != CHAT_SHAPE_OPENAI)
        return 0;
    /* Lists that come in pieces are put together, of anything else the last piece counts. */
    return e->native.what == CHAT_NATIVE_CHOICE ? json_members_add(&c->more, e->native.json, true, err)
                                                : members_keep(a, e, err);
}

/* ---- Whole answers ---- */

/* Of all choices: more would fit into no reply. */
static int room_take(struct openai_answer *a, const struct chat_event *e)
{
    const size_t most = 2 * LIMIT_PROVIDER_BODY;
    const bool text = e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING;
    const struct str piece = text                              ? e->text
                             : e->kind == CHAT_EVENT_TOOL_CALL ? e->tool_call.arguments
                                                               : STR_NONE;
    if (piece.len > most - a->gathered)
        return ERROR_LIMIT;
    a->gathered += piece.len;
    return 0;
}

int openai_answer_gather(struct openai_answer *a, const struct chat_event *e, struct error *err)
{
    struct openai_choice *c = &a->choices[e->choice < a->n_choices ? e->choice : 0];
    if (e->choice >= a->n_choices)
        return 0;
    int rc = room_take(a, e);
    if (rc)
        return error_set(err, rc, "the answer is too large");
    if (e->kind == CHAT_EVENT_TEXT) {
        rc = buf_append_str(&c->text, e->text);
        c->refused = c->refused || e->refusal;
        if (rc == 0 && a->with_logprobs)
            rc = openai_logprobs_append(&c->logprobs, a->completion, e, &c->characters);
    } else if (e->kind == CHAT_EVENT_REASONING) {
        rc = buf_append_str(&c->reasoning, e->text);
    } else if (e->kind == CHAT_EVENT_TOOL_CALL) {
        return tool_calls_gather(&c->tool_calls, e, err);
    } else if (e->kind == CHAT_EVENT_NATIVE) {
        return native_gather(a, c, e, err);
    } else if (e->kind == CHAT_EVENT_STOP) {
        c->stop = e->stop;
    }
    return rc ? error_set(err, rc, "the answer is too large") : 0;
}

static const char *finish_reason(enum chat_stop stop)
{
    static const char *const names[] = {"stop", "length", "tool_calls", "content_filter", "stop", "stop"};
    return names[stop];
}

void openai_prompt_usage_write(struct json_writer *w, const struct chat_usage *u)
{
    int64_t input = u->input_tokens > 0 ? u->input_tokens : 0;
    json_key(w, "usage");
    json_object_begin(w);
    json_member_int(w, "prompt_tokens", input);
    json_member_int(w, "total_tokens", input);
    json_object_end(w);
}

static void usage_write(struct json_writer *w, const struct openai_answer *a, const struct chat_usage *u)
{
    int64_t input = u->input_tokens > 0 ? u->input_tokens : 0,
            output = u->output_tokens > 0 ? u->output_tokens : 0;
    json_object_begin(w);
    json_member_int(w, "prompt_tokens", input);
    json_member_int(w, "completion_tokens", output);
    json_member_int(w, "total_tokens", input + output);
    json_key(w, "prompt_tokens_details");
    json_object_begin(w);
    json_member_int(w, "cached_tokens", u->cached_tokens);
    if (u->audio_input_tokens > 0)
        json_member_int(w, "audio_tokens", u->audio_input_tokens);
    json_object_end(w);
    json_key(w, "completion_tokens_details");
    json_object_begin(w);
    json_member_int(w, "reasoning_tokens", u->reasoning_tokens);
    if (u->audio_output_tokens > 0)
        json_member_int(w, "audio_tokens", u->audio_output_tokens);
    if (u->accepted_prediction_tokens > 0 || u->rejected_prediction_tokens > 0) {
        json_member_int(w, "accepted_prediction_tokens", u->accepted_prediction_tokens);
        json_member_int(w, "rejected_prediction_tokens", u->rejected_prediction_tokens);
    }
    json_object_end(w);
    json_write_raw_members(w, buf_str(&a->usage_more));
    json_object_end(w);
}

static void head_write(const struct openai_answer *a, struct json_writer *w, const char *object)
{
    json_object_begin(w);
    json_member_text(w, "id", a->id);
    json_member_text(w, "object", object);
    json_member_int(w, "created", a->created_s);
    json_member_str(w, "model", a->model);
    json_key(w, "choices");
    json_array_begin(w);
}

static void tool_call_write(
    struct json_writer *w, struct str id, struct str name, struct str arguments, struct str more)
{
    if (id.len) {
        json_member_str(w, "id", id);
        json_member_text(w, "type", "function");
    }
    json_write_raw_members(w, more);
    json_key(w, "function");
    json_object_begin(w);
    if (name.len)
        json_member_str(w, "name", name);
    json_member_str(w, "arguments", arguments);
    json_object_end(w);
}

static void message_write(const struct openai_choice *a, bool reasoning_too, struct json_writer *w)
{
    json_key(w, "message");
    json_object_begin(w);
    json_member_text(w, "role", "assistant");
    json_key(w, "content");
    if (a->refused || (a->text.len == 0 && a->tool_calls.n > 0))
        json_write_null(w);
    else
        json_write_str(w, buf_str(&a->text));
    json_key(w, "refusal");
    if (a->refused)
        json_write_str(w, buf_str(&a->text));
    else
        json_write_null(w);
    if (a->reasoning.len)
        json_member_str(w, "reasoning_content", buf_str(&a->reasoning));
    if (a->reasoning.len && reasoning_too)
        json_member_str(w, "reasoning", buf_str(&a->reasoning));
    if (a->tool_calls.n) {
        json_key(w, "tool_calls");
        json_array_begin(w);
        for (size_t i = 0; i < a->tool_calls.n; i++) {
            const struct tool_call *c = &a->tool_calls.list[i];
            json_object_begin(w);
            tool_call_write(w, buf_str(&c->id), buf_str(&c->name), buf_str(&c->arguments), buf_str(&c->more));
            json_object_end(w);
        }
        json_array_end(w);
    }
    json_members_write(w, &a->more);
    json_object_end(w);
}

static void choice_write(const struct openai_answer *a, uint32_t index, struct json_writer *w)
{
    const struct openai_choice *c = &a->choices[index];
    json_object_begin(w);
    json_member_int(w, "index", index);
    if (a->completion) {
        json_member_str(w, "text", buf_str(&c->text));
    } else {
        message_write(c, a->reasoning_too, w);
    }
    json_key(w, "logprobs");
    if (a->with_logprobs)
        openai_logprobs_write(&c->logprobs, a->completion, w);
    else
        json_write_null(w);
    json_member_text(w, "finish_reason", finish_reason(c->stop));
    json_object_end(w);
}

void openai_answer_write(const struct openai_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    head_write(a, &w, a->completion ? "text_completion" : "chat.completion");
    for (uint32_t i = 0; i < a->n_choices; i++)
        choice_write(a, i, &w);
    json_array_end(&w);
    json_key(&w, "usage");
    usage_write(&w, a, usage);
    json_write_raw_members(&w, buf_str(&a->more));
    json_object_end(&w);
}

/* ---- Streams ---- */

void openai_obfuscation_write(struct json_writer *w)
{
    enum { STEP = 64, REST = sizeof ",\"obfuscation\":\"\"}" - 1 };
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    unsigned char random[STEP];
    char text[STEP];
    size_t from = w->buf->len;
    while (from > 0 && w->buf->data[from - 1] != '\n') /* there is none in JSON */
        from--;
    const size_t n = STEP - (w->buf->len - from + REST) % STEP;
    rand_bytes(random, n);
    for (size_t i = 0; i < n; i++)
        text[i] = letters[random[i] % (sizeof letters - 1)];
    json_member_str(w, "obfuscation", (struct str){text, n});
}

static void chunk_head(struct openai_answer *a)
{
    struct json_writer w;
    buf_append_str(&a->head, STR("data: "));
    json_writer_init(&w, &a->head);
    head_write(a, &w, a->completion ? "text_completion" : "chat.completion.chunk");
    json_object_begin(&w);
    json_key(&w, "index");
}

static void chunk_begin(struct openai_answer *a, uint32_t choice, struct json_writer *w, struct buf *out)
{
    if (a->head.len == 0)
        chunk_head(a);
    buf_append_str(out, buf_str(&a->head));
    json_writer_init(w, out);
    json_write_int(w, choice);
    if (!a->completion) {
        json_key(w, "delta");
        json_object_begin(w);
    }
}

/* Of one chunk; the offsets of the older API go on from chunk to chunk. */
static void chunk_logprobs(struct openai_answer *a, const struct chat_event *e, struct json_writer *w)
{
    struct openai_logprobs l;
    openai_logprobs_init(&l);
    if (openai_logprobs_append(&l, a->completion, e, &a->choices[e->choice].characters) == 0)
        openai_logprobs_write(&l, a->completion, w);
    else
        json_write_null(w);
    openai_logprobs_free(&l);
}

/* `e`: what came with the text, or NULL. */
static void chunk_end(
    struct openai_answer *a, const struct chat_event *e, struct json_writer *w, const char *finish)
{
    bool tokens = e && e->n_tokens > 0 && a->with_logprobs;
    if (!tokens && !finish && !a->include_usage && !a->obfuscation) { /* nearly all of them */
        if (!a->completion)
            buf_append_char(w->buf, '}');
        buf_append_str(w->buf, STR(",\"logprobs\":null,\"finish_reason\":null}]}\n\n"));
        return;
    }
    if (!a->completion)
        json_object_end(w);
    json_key(w, "logprobs");
    if (tokens)
        chunk_logprobs(a, e, w);
    else
        json_write_null(w);
    json_member_text(w, "finish_reason", finish);
    json_object_end(w);
    json_array_end(w);
    if (a->include_usage) {
        json_key(w, "usage");
        json_write_null(w);
    }
    if (finish)
        json_write_raw_members(w, buf_str(&a->more));
    if (a->obfuscation)
        openai_obfuscation_write(w);
    json_object_end(w);
    buf_append_text(w->buf, "\n\n");
}

static void open_stream(struct openai_answer *a, uint32_t choice, struct buf *out)
{
    struct json_writer w;
    if (a->choices[choice].opened)
        return;
    a->choices[choice].opened = true;
    if (a->completion)
        return;
    chunk_begin(a, choice, &w, out);
    json_member_text(&w, "role", "assistant");
    json_member_text(&w, "content", "");
    chunk_end(a, NULL, &w, NULL);
}

static void text_chunk(struct openai_answer *a, const char *key, const struct chat_event *e, struct buf *out)
{
    struct json_writer w;
    if (a->text_head.len == 0 || a->text_kind != e->kind || a->text_choice != e->choice ||
        a->text_refused != e->refusal) {
        buf_clear(&a->text_head);
        chunk_begin(a, e->choice, &w, &a->text_head);
        json_key(&w, a->completion ? "text" : key);
        a->text_kind = e->kind;
        a->text_choice = e->choice;
        a->text_refused = e->refusal;
    }
    buf_append_str(out, buf_str(&a->text_head));
    json_writer_init(&w, out);
    json_write_str(&w, e->text);
    if (e->kind == CHAT_EVENT_REASONING && a->reasoning_too)
        json_member_str(&w, "reasoning", e->text);
    chunk_end(a, e, &w, NULL);
}

static void stop_chunk(struct openai_answer *a, const struct chat_event *e, struct buf *out)
{
    struct json_writer w;
    chunk_begin(a, e->choice, &w, out);
    if (a->completion)
        json_member_text(&w, "text", "");
    chunk_end(a, NULL, &w, finish_reason(e->stop));
}

static void tool_call_chunk(struct openai_answer *a, const struct chat_event *e, struct buf *out)
{
    struct json_writer w;
    chunk_begin(a, e->choice, &w, out);
    json_key(&w, "tool_calls");
    json_array_begin(&w);
    json_object_begin(&w);
    json_member_int(&w, "index", e->tool_call.index);
    struct str more = e->tool_call.more_of == CHAT_SHAPE_OPENAI ? e->tool_call.more : STR_NONE;
    tool_call_write(&w, e->tool_call.id, e->tool_call.name, e->tool_call.arguments, more);
    json_object_end(&w);
    json_array_end(&w);
    chunk_end(a, NULL, &w, NULL);
}

/* Members of the answer wait for its end, those of a choice are a chunk of their own. */
static void native_chunk(struct openai_answer *a, const struct chat_event *e, struct buf *out)
{
    struct json_writer w;
    struct error err;
    if (e->native.shape != CHAT_SHAPE_OPENAI || a->completion)
        return;
    if (e->native.what != CHAT_NATIVE_CHOICE) {
        if (members_keep(a, e, &err))
            log_error("api", "%s", err.message);
        return;
    }
    chunk_begin(a, e->choice, &w, out);
    json_write_raw(&w, e->native.json);
    chunk_end(a, NULL, &w, NULL);
}

void openai_stream_event(struct openai_answer *a, const struct chat_event *e, struct buf *out)
{
    if (e->choice >= a->n_choices)
        return;
    open_stream(a, e->choice, out);
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
        text_chunk(a, e->refusal ? "refusal" : "content", e, out);
        break;
    case CHAT_EVENT_REASONING:
        if (!a->completion)
            text_chunk(a, "reasoning_content", e, out);
        break;
    case CHAT_EVENT_TOOL_CALL:
        if (!a->completion)
            tool_call_chunk(a, e, out);
        break;
    case CHAT_EVENT_NATIVE:
        native_chunk(a, e, out);
        break;
    case CHAT_EVENT_STOP:
        stop_chunk(a, e, out);
        break;
    case CHAT_EVENT_ERROR:
        buf_append_text(out, "data: ");
        openai_error_write(
            e->failure.status ? e->failure.status : 502, e->failure.message, e->failure.type, out);
        buf_append_text(out, "\n\n");
        break;
    default:
        break;
    }
}

void openai_stream_end(struct openai_answer *a, const struct chat_usage *usage, struct buf *out)
{
    if (a->include_usage) {
        struct json_writer w;
        buf_append_text(out, "data: ");
        json_writer_init(&w, out);
        head_write(a, &w, a->completion ? "text_completion" : "chat.completion.chunk");
        json_array_end(&w);
        json_key(&w, "usage");
        usage_write(&w, a, usage);
        json_write_raw_members(&w, buf_str(&a->more));
        json_object_end(&w);
        buf_append_text(out, "\n\n");
    }
    buf_append_text(out, "data: [DONE]\n\n");
}

/* ---- Errors ---- */

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

/* One of OpenAI's own, which its clients look for; NULL: there is none. */
static const char *error_code(int status, struct str type)
{
    static const char *const told[] = {"context_length_exceeded", "insufficient_quota"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (str_is(type, told[i]))
            return told[i];
    if (str_is(type, OPENAI_NOT_FOUND))
        return NULL;
    switch (status) {
    case 401:
        return "invalid_api_key";
    case 404:
        return "model_not_found";
    case 429:
        return "rate_limit_exceeded";
    case 503:
        return "service_unavailable";
    case 504:
        return "timeout";
    default:
        return NULL;
    }
}

void openai_error_write(int status, struct str message, struct str type, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_key(&w, "error");
    json_object_begin(&w);
    json_member_str(&w, "message", message);
    json_key(&w, "type");
    bool by_status =
        type.len == 0 || str_is(type, "context_length_exceeded") || str_is(type, OPENAI_NOT_FOUND);
    json_write_str(&w, by_status ? str_from(error_type(status)) : type);
    json_key(&w, "param");
    json_write_null(&w);
    json_member_text(&w, "code", error_code(status, type));
    json_object_end(&w);
    json_object_end(&w);
}

int openai_error(int status, struct str message, struct str type, struct str request_id, struct buf *out)
{
    (void)request_id;
    openai_error_write(status, message, type, out);
    return status;
}
