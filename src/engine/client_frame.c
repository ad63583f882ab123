/* What a worker may say, and when: every length, number and order is checked before anything is passed on. An
 * error from here means that the worker is broken or hostile. */
#include <string.h>

#include "chat/chat_tokens.h"
#include "engine/engine_inner.h"
#include "json/json.h"

enum { TOKENS_MOST = 1 << 30 };
#define STATE_BYTES_MOST ((int64_t)1 << 50)

static int misplaced(const struct wire_frame *f, struct error *err)
{
    return error_set(
        err, ERROR_INVALID, "a frame of type %d for call %u came out of turn", (int)f->type, f->call);
}

/* The payload as an object; the caller owns it. */
static int object_read(const struct wire_frame *f, json_t **out, struct error *err)
{
    int rc = json_read_nul(f->payload, out, err);
    if (rc)
        return error_wrap(err, "a frame of type %d", (int)f->type);
    if (json_is_object(*out))
        return 0;
    json_decref(*out);
    return error_set(err, ERROR_INVALID, "a frame of type %d is no JSON object", (int)f->type);
}

/* A member that must be there, 0..most. */
static int number_read(const json_t *o, const char *key, int64_t most, int64_t *out, struct error *err)
{
    if (!json_is_integer(json_object_get(o, key)))
        return error_set(err, ERROR_INVALID, "'%s' is missing or no whole number", key);
    return json_get_int(o, key, 0, 0, most, out, err);
}

/* ---- Call 0 ---- */

static int ready_take(struct engine *e, const struct wire_frame *f, struct error *err)
{
    json_t *o;
    int64_t slots, state, context = 0;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = json_get_int(o, "slots", e->slots, 1, ENGINE_SLOTS_MOST, &slots, err);
    if (rc == 0)
        rc = json_get_int(o, "state_bytes", -1, 0, STATE_BYTES_MOST, &state, err);
    if (rc == 0)
        rc = json_get_int(o, "context", 0, 0, TOKENS_MOST, &context, err);
    if (rc == 0 && state >= 0) {
        e->state_bytes = state;
        e->state_known = true;
    }
    json_decref(o);
    if (rc == 0)
        supervisor_ready(e, f->payload, (int)slots, context);
    return rc;
}

static int progress_take(struct engine *e, const struct wire_frame *f, struct error *err)
{
    json_t *o;
    int64_t done, total;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = number_read(o, "total", INT64_MAX, &total, err);
    if (rc == 0)
        rc = number_read(o, "done", total, &done, err);
    json_decref(o);
    if (rc)
        return rc;
    pthread_mutex_lock(&e->mutex);
    e->status.load_done = (uint64_t)done;
    e->status.load_total = (uint64_t)total;
    pthread_mutex_unlock(&e->mutex);
    return 0;
}

struct wire_failure {
    json_t *tree;
    int64_t code;
    struct str message; /* in the tree */
};

static int failure_read(const struct wire_frame *f, struct wire_failure *out, struct error *err)
{
    int rc = object_read(f, &out->tree, err);
    if (rc)
        return rc;
    rc = json_get_int(out->tree, "code", ERROR_INTERNAL, ERROR_CONTEXT, ERROR_INVALID, &out->code, err);
    if (rc == 0)
        rc = json_get_str(out->tree, "message", &out->message, err);
    if (rc)
        json_decref(out->tree);
    return rc;
}

static int connection_frame(struct engine *e, const struct wire_frame *f, struct error *err)
{
    struct wire_failure failure;
    if (e->status.state != ENGINE_STARTING)
        return misplaced(f, err);
    switch (f->type) {
    case WIRE_READY:
        return ready_take(e, f, err);
    case WIRE_PROGRESS:
        return progress_take(e, f, err);
    case WIRE_ERROR: {
        int rc = failure_read(f, &failure, err);
        if (rc)
            return rc;
        supervisor_refused(e, (int)failure.code, failure.message);
        json_decref(failure.tree);
        return 0;
    }
    default:
        return misplaced(f, err);
    }
}

/* ---- Calls ---- */

/* Passes an event on; where there is no memory for it the call has failed and the worker is told to leave it.
 */
static void event_pass(struct engine_call *c, const struct call_event *event)
{
    if (call_push(c, event) || c->cancelled)
        return;
    c->cancelled = true;
    client_control(c, WIRE_CANCEL);
}

static void kv_grow(struct engine_call *c, int64_t tokens)
{
    c->kv_tokens += tokens;
    atomic_fetch_add(&c->engine->kv_tokens, tokens);
}

static int error_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct wire_failure failure;
    int rc = failure_read(f, &failure, err);
    if (rc)
        return rc;
    /* Longer than a struct error holds is no message. */
    struct str text = str_slice(failure.message, 0,
        str_utf8_floor(failure.message.data, failure.message.len < 511 ? failure.message.len : 511));
    struct call_event event = {.type = WIRE_ERROR, .numbers = {failure.code, -1}, .bytes = text};
    call_finish(c, &event);
    json_decref(failure.tree);
    return 0;
}

static int start_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {.type = WIRE_START};
    json_t *o;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = number_read(o, "prompt_tokens", TOKENS_MOST, &event.numbers[0], err);
    if (rc == 0)
        rc = number_read(o, "cached_tokens", event.numbers[0], &event.numbers[1], err);
    json_decref(o);
    if (rc)
        return rc;
    c->phase = CALL_STARTED;
    c->prompt_tokens = event.numbers[0];
    kv_grow(c, c->prompt_tokens);
    event_pass(c, &event);
    return 0;
}

static int usage_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {.type = WIRE_USAGE};
    json_t *o;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = number_read(o, "input_tokens", TOKENS_MOST, &event.numbers[0], err);
    if (rc == 0)
        rc = number_read(o, "cached_tokens", event.numbers[0], &event.numbers[1], err);
    if (rc == 0)
        rc = number_read(o, "output_tokens", TOKENS_MOST, &event.numbers[2], err);
    if (rc == 0 && json_object_get(o, "reasoning_tokens"))
        rc = number_read(o, "reasoning_tokens", event.numbers[2], &event.numbers[3], err);
    if (rc == 0)
        rc = json_get_int(o, "prefill_ns", 0, 0, INT64_MAX, &event.numbers[4], err);
    if (rc == 0)
        rc = json_get_int(o, "decode_ns", 0, 0, INT64_MAX, &event.numbers[5], err);
    static const char *const drafts[] = {
        "drafted_tokens", "drawn_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"};
    for (int i = 0; i < 4 && rc == 0; i++)
        rc = json_get_int(o, drafts[i], 0, 0, INT32_MAX, &event.numbers[7 + i], err);
    json_decref(o);
    event.numbers[6] = c->loading_ms * 1000000;
    if (rc == 0 && event.numbers[0] != c->prompt_tokens)
        rc = error_set(err, ERROR_INVALID, "the usage counts another prompt than the one that was started");
    if (rc)
        return rc;
    c->phase = CALL_COUNTED;
    event_pass(c, &event);
    return 0;
}

static int stop_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    json_t *o;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    struct str reason = json_text(o, "reason");
    struct call_event event = {.type = WIRE_STOP, .numbers = {CHAT_STOP_END}};
    if (str_is(reason, "length"))
        event.numbers[0] = CHAT_STOP_LENGTH;
    else if (str_is(reason, "tools"))
        event.numbers[0] = CHAT_STOP_TOOLS;
    else if (!str_is(reason, "stop"))
        rc = error_set(err, ERROR_INVALID, "a reason to stop that does not exist");
    else
        event.bytes = json_text(o, "string");
    if (event.bytes.len > 0)
        event.numbers[0] = CHAT_STOP_STRING;
    if (rc == 0)
        call_finish(c, &event);
    json_decref(o);
    return rc;
}

static int text_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    if (!str_utf8_valid(f->payload))
        return error_set(err, ERROR_INVALID, "text that is not UTF-8");
    struct call_event event = {.type = f->type, .numbers = {[CALL_DRAWN] = f->drawn}, .bytes = f->payload};
    if (f->payload.len > 0) {
        kv_grow(c, 1);
        event_pass(c, &event);
    }
    return 0;
}

static int tokens_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {
        .type = WIRE_TOKENS, .numbers = {[CALL_DRAWN] = f->drawn}, .bytes = f->payload};
    const struct chat_token *tokens;
    struct arena *a;
    json_t *o;
    size_t n;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    a = arena_create(LIMIT_REQUEST_MEMORY);
    rc = chat_tokens_read(a, json_object_get(o, "tokens"), &tokens, &n, err);
    if (rc == 0 && !json_is_string(json_object_get(o, "text")))
        rc = error_set(err, ERROR_INVALID, "'text' of tokens is missing or no text");
    arena_free(a);
    json_decref(o);
    if (rc == 0)
        event_pass(c, &event);
    return rc;
}

/* The first piece of a call, or more of the last one's arguments. */
static int tool_call_check(struct engine_call *c, const json_t *o, int64_t index, struct error *err)
{
    static const char *const texts[] = {"id", "name", "arguments"};
    bool first = index == c->tool_calls;
    if (!first && index + 1 != c->tool_calls)
        return error_set(err, ERROR_INVALID, "arguments for a tool call that is over");
    for (size_t i = 0; i < 3; i++) {
        const json_t *text = json_object_get(o, texts[i]);
        if (i < 2 && !first && text)
            return error_set(err, ERROR_INVALID, "a tool call came twice");
        if ((i == 2 || first) && !json_is_string(text))
            return error_set(err, ERROR_INVALID, "'%s' of a tool call is missing or no text", texts[i]);
    }
    return 0;
}

static int tool_call_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {
        .type = WIRE_TOOL_CALL, .numbers = {[CALL_DRAWN] = f->drawn}, .bytes = f->payload};
    json_t *o;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = number_read(o, "index", c->tool_calls, &event.numbers[0], err);
    if (rc == 0)
        rc = tool_call_check(c, o, event.numbers[0], err);
    json_decref(o);
    if (rc)
        return rc;
    kv_grow(c, 1);
    c->tool_calls += event.numbers[0] == c->tool_calls;
    event_pass(c, &event);
    return 0;
}

enum { MICRO_NATS_MOST = 1000000000 };

static int logprob_read(const json_t *o, const char *key, int64_t *out, struct error *err)
{
    int rc = json_get_int(o, key, 1, -MICRO_NATS_MOST, 0, out, err);
    return rc == 0 && *out > 0 ? error_set(err, ERROR_INVALID, "'%s' is missing", key) : rc;
}

/* Of the prompt, once and before all others. */
static int measure_prompt_take(
    struct engine_call *c, const json_t *o, struct call_event *event, struct error *err)
{
    if (!c->measures_prompt)
        return error_set(err, ERROR_INVALID, "a prompt measured out of turn");
    event->numbers[2] = 1;
    return logprob_read(o, "prompt", &event->numbers[0], err);
}

static int measure_token_take(
    struct engine_call *c, const json_t *o, struct call_event *event, struct error *err)
{
    if (c->measures-- <= 0)
        return error_set(err, ERROR_INVALID, "a token measured that nobody asked for");
    int rc = logprob_read(o, "logprob", &event->numbers[0], err);
    return rc ? rc : number_read(o, "entropy", MICRO_NATS_MOST, &event->numbers[1], err);
}

static int measure_take(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {.type = WIRE_MEASURE};
    json_t *o;
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    rc = json_object_get(o, "prompt") ? measure_prompt_take(c, o, &event, err)
                                      : measure_token_take(c, o, &event, err);
    c->measures_prompt = false;
    json_decref(o);
    if (rc == 0)
        event_pass(c, &event);
    return rc;
}

static int chat_frame(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    if (f->type == WIRE_ERROR)
        return error_take(c, f, err);
    if (f->type == WIRE_START && c->phase == CALL_SENT)
        return start_take(c, f, err);
    if ((f->type == WIRE_TEXT || f->type == WIRE_REASONING) && c->phase == CALL_STARTED)
        return text_take(c, f, err);
    if (f->type == WIRE_TOKENS && c->phase == CALL_STARTED)
        return tokens_take(c, f, err);
    if (f->type == WIRE_MEASURE && c->phase == CALL_STARTED)
        return measure_take(c, f, err);
    if (f->type == WIRE_TOOL_CALL && c->phase == CALL_STARTED)
        return tool_call_take(c, f, err);
    if (f->type == WIRE_USAGE && c->phase == CALL_STARTED)
        return usage_take(c, f, err);
    if (f->type == WIRE_STOP && c->phase == CALL_COUNTED)
        return stop_take(c, f, err);
    return misplaced(f, err);
}

static int ask_frame(struct engine_call *c, const struct wire_frame *f, struct error *err)
{
    struct call_event event = {.type = f->type, .bytes = f->payload};
    json_t *o;
    if (f->type == WIRE_ERROR)
        return error_take(c, f, err);
    if (f->type == WIRE_DATA && c->type == WIRE_TENSOR) {
        if (f->payload.len % sizeof(float) != 0)
            return error_set(err, ERROR_INVALID, "a tensor's data that cuts a number");
        event_pass(c, &event);
        return 0;
    }
    if (f->type != WIRE_RESULT)
        return misplaced(f, err);
    int rc = object_read(f, &o, err);
    if (rc)
        return rc;
    json_decref(o);
    call_finish(c, &event);
    return 0;
}

static struct engine_call *call_find(struct engine *e, uint32_t id)
{
    list_each(node, after, &e->open) {
        struct engine_call *c = list_item(node, struct engine_call, node);
        if (c->id == id)
            return c;
    }
    return NULL;
}

int client_frame(struct engine *e, const struct wire_frame *f, struct error *err)
{
    if (f->call == 0)
        return connection_frame(e, f, err);
    struct engine_call *c = call_find(e, f->call);
    if (!c)
        return error_set(err, ERROR_INVALID, "a frame for call %u, which is not open", f->call);
    return c->type == WIRE_CHAT ? chat_frame(c, f, err) : ask_frame(c, f, err);
}
