/* One call: its life, and the way of its events from the home loop to the caller's. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "chat/chat_tokens.h"
#include "engine/engine_inner.h"
#include "json/json.h"

/* An event in a call's buffer, followed by `len` bytes. */
struct record {
    uint32_t type;
    uint32_t len;
    int64_t numbers[CALL_NUMBERS];
};

struct engine_call *call_create(struct engine *e, struct loop *caller, enum wire_type type)
{
    struct engine_call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    atomic_init(&c->refs, 1);
    c->engine = engine_ref(e);
    c->caller = caller;
    c->type = type;
    list_init(&c->node);
    pthread_mutex_init(&c->mutex, NULL);
    buf_init(&c->payload, LIMIT_WIRE_FRAME);
    buf_init(&c->events, 4 * LIMIT_WIRE_FRAME);
    buf_init(&c->taken, 4 * LIMIT_WIRE_FRAME);
    return c;
}

struct engine_call *call_ref(struct engine_call *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void call_unref(struct engine_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&c->mutex);
    buf_free(&c->payload);
    buf_free(&c->events);
    buf_free(&c->taken);
    engine_unref(c->engine);
    free(c);
}

/* ---- Home loop ---- */

static bool record_append(struct buf *events, const struct call_event *event)
{
    struct record r = {.type = event->type, .len = (uint32_t)event->bytes.len};
    memcpy(r.numbers, event->numbers, sizeof r.numbers);
    char *to = buf_reserve(events, sizeof r + event->bytes.len);
    if (!to)
        return false;
    memcpy(to, &r, sizeof r);
    if (event->bytes.len > 0)
        memcpy(to + sizeof r, event->bytes.data, event->bytes.len);
    buf_commit(events, sizeof r + event->bytes.len);
    return true;
}

bool call_push(struct engine_call *c, const struct call_event *event)
{
    size_t size = sizeof(struct record) + event->bytes.len;
    engine_pending_add(c->engine, size);
    pthread_mutex_lock(&c->mutex);
    bool closed = c->closed, ok = !closed && record_append(&c->events, event);
    /* Posted under the lock: once the call is closed, the caller's loop may be gone. */
    if (!closed && !c->posted) {
        c->posted = true;
        loop_post(c->caller, call_deliver, call_ref(c));
    }
    pthread_mutex_unlock(&c->mutex);
    if (!ok)
        engine_pending_drop(c->engine, size);
    return ok || closed;
}

/* Under the mutex. */
static void chat_ended(struct engine_call *c)
{
    enum { NEWEST = 5 }; /* one in so many */
    struct engine *e = c->engine;
    const double took = (double)(clock_mono_ms() - c->sent_ms);
    e->status.active--;
    e->answer_ms += e->answer_ms > 0 ? (took - e->answer_ms) / NEWEST : took;
}

/* Takes the call off the engine's lists and counts. */
static void call_end(struct engine_call *c)
{
    struct engine *e = c->engine;
    bool chat = c->type == WIRE_CHAT, waited = c->phase == CALL_WAITING;
    list_remove(&c->node);
    c->phase = CALL_ENDED;
    if (chat && !waited)
        e->sent_chats--;
    pthread_mutex_lock(&e->mutex);
    if (!chat)
        e->asks--;
    else if (waited)
        e->status.queued--;
    else
        chat_ended(c);
    if (waited)
        e->waiting_bytes -= c->payload_bytes;
    e->rested_ms = clock_mono_ms();
    pthread_mutex_unlock(&e->mutex);
    atomic_fetch_sub(&e->kv_tokens, c->kv_tokens);
    pool_poke(e);
    buf_free(&c->payload);
}

void call_finish(struct engine_call *c, const struct call_event *event)
{
    /* Counted first: who has seen the end of a call may start the next. */
    call_end(c);
    /* Without memory for it, call_deliver says that instead. */
    if (event)
        (void)call_push(c, event);
    call_unref(c);
}

void call_fail(struct engine_call *c, int64_t retry_after_ms, const char *message)
{
    struct call_event event = {
        .type = WIRE_ERROR, .numbers = {ERROR_UNAVAILABLE, retry_after_ms}, .bytes = str_from(message)};
    call_finish(c, &event);
}

/* Behind the last chat of the same asker by one turn, so that one who sends a hundred waits behind himself;
 * then in the order of turns, equal ones as they came. */
static void waiting_add(struct engine *e, struct engine_call *c)
{
    struct list *at = e->waiting.prev;
    c->ticket = c->type == WIRE_CHAT ? e->turn + 1 : 0;
    for (struct list *n = at; n != &e->waiting && c->ticket > 0; n = n->prev) {
        const struct engine_call *other = list_item(n, struct engine_call, node);
        if (other->type == WIRE_CHAT && other->asker == c->asker) {
            c->ticket = other->ticket + 1;
            break;
        }
    }
    while (at != &e->waiting && list_item(at, struct engine_call, node)->ticket > c->ticket)
        at = at->prev;
    list_push_back(at->next, &c->node);
}

void call_opened(void *call)
{
    struct engine_call *c = call;
    struct engine *e = c->engine;
    waiting_add(e, c);
    c->opened_ms = clock_mono_ms();
    /* It may have gone down since the call was admitted. */
    if (e->status.state == ENGINE_DOWN)
        call_fail(c, -1, "the engine went down: send the request again");
    else {
        supervisor_look(e);
        client_dispatch(e);
    }
    pool_poke(e);
}

static void call_held(void *call)
{
    struct engine_call *c = call;
    c->held = true;
    if (c->phase != CALL_WAITING && c->phase != CALL_ENDED)
        client_control(c, WIRE_PAUSE);
    call_unref(c);
}

static void call_resumed(void *call)
{
    struct engine_call *c = call;
    c->held = false;
    if (c->phase != CALL_WAITING && c->phase != CALL_ENDED) {
        supervisor_heard(c->engine);
        client_control(c, WIRE_RESUME);
    }
    call_unref(c);
}

static void call_closed(void *call)
{
    struct engine_call *c = call;
    if (c->phase == CALL_WAITING) {
        call_finish(c, NULL);
    } else if (c->phase != CALL_ENDED && !c->cancelled) {
        /* The worker still holds its slot: the call stays open until it answers the cancellation. */
        c->cancelled = true;
        client_control(c, WIRE_CANCEL);
    }
    call_unref(c); /* NOLINT(clang-analyzer-unix.Malloc): each holder has a reference of its own */
}

/* ---- The caller's loop ---- */

/* Takes over what has come since; false when there is nothing. */
static bool records_take(struct engine_call *c)
{
    size_t size;
    buf_clear(&c->taken);
    c->taken_at = 0;
    pthread_mutex_lock(&c->mutex);
    struct buf swap = c->taken;
    c->taken = c->events;
    c->events = swap;
    size = c->taken.len;
    pthread_mutex_unlock(&c->mutex);
    engine_pending_drop(c->engine, size);
    return size > 0 || c->taken.failed;
}

static bool event_next(struct engine_call *c, struct call_event *event)
{
    struct record r;
    if (c->closed || c->paused || c->finished)
        return false;
    if (c->taken_at == c->taken.len && !c->taken.failed && !records_take(c))
        return false;
    if (c->taken_at == c->taken.len) {
        *event = (struct call_event){.type = WIRE_ERROR,
            .numbers = {ERROR_MEMORY, -1},
            .bytes = STR("no memory for the answer: ask for less at once")};
        return true;
    }
    memcpy(&r, c->taken.data + c->taken_at, sizeof r);
    *event = (struct call_event){.type = (enum wire_type)r.type};
    memcpy(event->numbers, r.numbers, sizeof r.numbers);
    event->bytes = (struct str){c->taken.data + c->taken_at + sizeof r, r.len};
    c->taken_at += sizeof r + r.len;
    return true;
}

/* The frame was checked when it came: reading it again can fail only for want of memory. */
static void memory_deliver(struct engine_call *c, const struct error *err)
{
    struct chat_event out = {.kind = CHAT_EVENT_ERROR};
    out.failure =
        (struct chat_failure){.code = err->code, .retry_after_ms = -1, .message = str_from(err->message)};
    c->finished = true;
    c->sink.event(c->sink.ctx, &out);
}

static void tool_call_deliver(struct engine_call *c, const struct call_event *event)
{
    struct chat_event out = {.kind = CHAT_EVENT_TOOL_CALL, .drawn = (uint32_t)event->numbers[CALL_DRAWN]};
    struct error err;
    json_t *o;
    if (json_read_nul(event->bytes, &o, &err)) {
        memory_deliver(c, &err);
        return;
    }
    out.tool_call.index = (uint32_t)event->numbers[0];
    out.tool_call.id = json_text(o, "id");
    out.tool_call.name = json_text(o, "name");
    out.tool_call.arguments = json_text(o, "arguments");
    c->sink.event(c->sink.ctx, &out);
    json_decref(o);
}

static void tokens_deliver(struct engine_call *c, const struct call_event *event)
{
    struct chat_event out = {.kind = CHAT_EVENT_TEXT, .drawn = (uint32_t)event->numbers[CALL_DRAWN]};
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct error err;
    json_t *o;
    int rc = json_read_nul(event->bytes, &o, &err);
    if (rc == 0)
        json_keep(a, o);
    if (rc == 0)
        rc = chat_tokens_read(a, json_object_get(o, "tokens"), &out.tokens, &out.n_tokens, &err);
    if (rc) {
        memory_deliver(c, &err);
    } else {
        out.text = json_text(o, "text");
        c->sink.event(c->sink.ctx, &out);
    }
    arena_free(a);
}

static void chat_deliver(struct engine_call *c, const struct call_event *event)
{
    struct chat_event out = {.kind = CHAT_EVENT_START};
    switch (event->type) {
    case WIRE_START:
        out.start.prompt_tokens = event->numbers[0];
        out.start.cached_tokens = event->numbers[1];
        break;
    case WIRE_TEXT:
    case WIRE_REASONING:
        out.kind = event->type == WIRE_TEXT ? CHAT_EVENT_TEXT : CHAT_EVENT_REASONING;
        out.text = event->bytes;
        out.drawn = (uint32_t)event->numbers[CALL_DRAWN];
        break;
    case WIRE_TOOL_CALL:
        tool_call_deliver(c, event);
        return;
    case WIRE_TOKENS:
        tokens_deliver(c, event);
        return;
    case WIRE_MEASURE:
        out.kind = CHAT_EVENT_MEASURE;
        out.measure.of = event->numbers[2] ? CHAT_MEASURED_PROMPT : CHAT_MEASURED_TOKEN;
        out.measure.logprob = (double)event->numbers[0] * 1e-6;
        out.measure.entropy = (double)event->numbers[1] * 1e-6;
        break;
    case WIRE_USAGE:
        out.kind = CHAT_EVENT_USAGE;
        out.usage = (struct chat_usage){.input_tokens = event->numbers[0],
            .cached_tokens = event->numbers[1],
            .output_tokens = event->numbers[2],
            .reasoning_tokens = event->numbers[3],
            .prefill_ns = event->numbers[4],
            .decode_ns = event->numbers[5],
            .load_ns = event->numbers[6],
            .drafted_tokens = event->numbers[7],
            .drawn_tokens = event->numbers[8],
            .accepted_prediction_tokens = event->numbers[9],
            .rejected_prediction_tokens = event->numbers[10]};
        break;
    case WIRE_STOP:
        out.kind = CHAT_EVENT_STOP;
        out.stop = (enum chat_stop)event->numbers[0];
        out.stop_string = event->bytes;
        break;
    case WIRE_ERROR:
        out.kind = CHAT_EVENT_ERROR;
        out.failure = chat_failure_of((int)event->numbers[0], event->bytes);
        out.failure.retry_after_ms = event->numbers[1];
        break;
    default:
        break;
    }
    c->finished = out.kind == CHAT_EVENT_STOP || out.kind == CHAT_EVENT_ERROR;
    c->sink.event(c->sink.ctx, &out);
}

static void reply_deliver(struct engine_call *c, const struct call_event *event)
{
    struct error err;
    c->finished = event->type != WIRE_DATA;
    if (event->type != WIRE_ERROR) {
        c->reply.frame(c->reply.ctx, event->type, event->bytes, NULL);
        return;
    }
    error_set(&err, (int)event->numbers[0], STR_FMT, STR_ARG(event->bytes));
    c->reply.frame(c->reply.ctx, WIRE_ERROR, STR_NONE, &err);
}

void call_deliver(void *call)
{
    struct engine_call *c = call;
    struct call_event event;
    pthread_mutex_lock(&c->mutex);
    c->posted = false;
    pthread_mutex_unlock(&c->mutex);
    while (event_next(c, &event)) {
        if (c->type == WIRE_CHAT)
            chat_deliver(c, &event);
        else
            reply_deliver(c, &event);
    }
    call_unref(c);
}

void engine_call_pause(struct engine_call *c, bool paused)
{
    if (c->paused == paused || c->finished)
        return;
    c->paused = paused;
    engine_post(c, paused ? call_held : call_resumed);
    if (paused)
        return;
    pthread_mutex_lock(&c->mutex);
    if (!c->posted) {
        c->posted = true;
        loop_post(c->caller, call_deliver, call_ref(c));
    }
    pthread_mutex_unlock(&c->mutex);
}

void engine_call_close(struct engine_call *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->closed = true;
    size_t left = c->events.len;
    buf_free(&c->events);
    pthread_mutex_unlock(&c->mutex);
    engine_pending_drop(c->engine, left);
    if (!c->finished)
        engine_post(c, call_closed);
    call_unref(c);
}
