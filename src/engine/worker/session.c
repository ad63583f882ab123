#include "engine/worker/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/worker/session_inner.h"

enum { READ_SIZE = 64 * 1024 };

/* ---- Frames out ---- */

static size_t queued(const struct session *s)
{
    return s->out.len - s->sent;
}

void session_send(struct session *s, uint32_t id, enum wire_type type, struct str payload)
{
    session_send_drawn(s, id, type, 0, payload);
}

void session_send_drawn(
    struct session *s, uint32_t id, enum wire_type type, int32_t drawn, struct str payload)
{
    if (s->broken)
        return;
    if (payload.len > LIMIT_WIRE_FRAME) {
        struct error err;
        session_send_error(s, id,
            error_set(
                &err, ERROR_LIMIT, "the answer of %zu bytes does not fit a frame: ask for less", payload.len),
            &err);
        return;
    }
    uint16_t count = (uint16_t)(drawn < UINT16_MAX ? drawn : UINT16_MAX);
    if (wire_append_drawn(&s->out, id, type, count, payload) != 0) {
        log_error("session", "no memory for an answer of %zu bytes: the worker ends", payload.len);
        s->broken = true;
    }
}

void session_send_error(struct session *s, uint32_t id, int code, const struct error *err)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, 8 * KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "code", code);
    json_member_text(&w, "message", err->message);
    json_object_end(&w);
    session_send(s, id, WIRE_ERROR, buf_str(&json));
    buf_free(&json);
}

void session_send_result(struct session *s, uint32_t id, const struct buf *json)
{
    struct error err;
    if (json->failed)
        session_send_error(
            s, id, error_set(&err, json->failed, "the answer is too large to be sent: ask for less"), &err);
    else
        session_send(s, id, WIRE_RESULT, buf_str(json));
}

/* ---- Calls ---- */

static struct call *call_find(const struct session *s, uint32_t id)
{
    for (struct list *node = s->calls.next; node != &s->calls; node = node->next) {
        struct call *call = list_item(node, struct call, node);
        if (call->id == id)
            return call;
    }
    return NULL;
}

int call_create(struct session *s, uint32_t id, struct call **out, struct error *err)
{
    if (s->n_calls == CALLS_MAX)
        return error_set(err, ERROR_BUSY, "%d calls are open already: try again later", CALLS_MAX);
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    call->session = s;
    call->id = id;
    list_push_back(&s->calls, &call->node);
    s->n_calls++;
    *out = call;
    return 0;
}

void call_free(struct call *call)
{
    if (call->sequence)
        scheduler_cancel(call->session->scheduler, call->sequence);
    if (call->free_data)
        call->free_data(call);
    free(call->scales);
    list_remove(&call->node);
    call->session->n_calls--;
    free(call);
}

/* PAUSE, RESUME, CANCEL. A call that has just ended is no fault of the gateway's. */
static void call_control(struct session *s, const struct wire_frame *frame)
{
    struct error err;
    struct call *call = call_find(s, frame->call);
    if (!call)
        return;
    if (frame->type == WIRE_CANCEL) {
        call_free(call);
        session_send_error(s, frame->call, error_set(&err, ERROR_CANCELLED, "cancelled"), &err);
        return;
    }
    call->paused = frame->type == WIRE_PAUSE;
    if (call->sequence)
        scheduler_pause(call->sequence, call->paused);
}

/* ---- Frames in ---- */

/* Who may be asked what: requests by type, and the least stage they need; with SESSION_UP, the kind of model.
 */
static const struct {
    enum session_stage stage;
    int (*handle)(struct session *s, uint32_t id, struct str payload, struct error *err);
    bool encoder;
} requests[WIRE_BENCH + 1] = {
    [WIRE_CHAT] = {SESSION_UP, session_chat, false},
    [WIRE_TOKENIZE] = {SESSION_INSPECT, session_tokenize, false},
    [WIRE_DETOKENIZE] = {SESSION_INSPECT, session_detokenize, false},
    [WIRE_RENDER] = {SESSION_TEMPLATE, session_render, false},
    [WIRE_LOGITS] = {SESSION_UP, session_logits, false},
    [WIRE_SHOW] = {SESSION_INSPECT, session_show, false},
    [WIRE_TENSOR] = {SESSION_INSPECT, session_tensor, false},
    [WIRE_EMBED] = {SESSION_UP, session_embed, true},
    [WIRE_RERANK] = {SESSION_UP, session_rerank, true},
    [WIRE_BENCH] = {SESSION_UP, session_bench, false},
};

static int stage_check(const struct session *s, enum wire_type type, struct error *err)
{
    bool encoder = s->stage == SESSION_UP && model_info(s->model)->encoder;
    if (requests[type].stage == SESSION_UP && s->stage == SESSION_UP && encoder != requests[type].encoder)
        return error_set(err, ERROR_UNSUPPORTED,
            encoder ? "the model embeds text, it does not write any: ask it for embeddings"
                    : "the model writes text, it neither embeds nor ranks any: use a model made for that");
    if (s->stage >= requests[type].stage)
        return 0;
    if (s->stage == SESSION_TEMPLATE)
        return error_set(err, ERROR_UNSUPPORTED, "there is no model file: name one");
    if (s->stage == SESSION_INSPECT)
        return error_set(
            err, ERROR_UNSUPPORTED, "the model was opened for inspection only: load it to run it");
    return error_set(err, ERROR_UNAVAILABLE, "no model is loaded");
}

static void request(struct session *s, const struct wire_frame *frame)
{
    struct error err = {0};
    int rc = stage_check(s, frame->type, &err);
    if (rc == 0)
        rc = requests[frame->type].handle(s, frame->call, frame->payload, &err);
    if (rc)
        session_send_error(s, frame->call, rc, &err);
}

static void load(struct session *s, const struct wire_frame *frame)
{
    struct error err = {0};
    int rc = session_load(s, frame->payload, &err);
    if (rc == 0)
        return;
    log_info("session", "the model cannot be loaded: %s", err.message);
    session_unload(s);
    s->stage = SESSION_FAILED;
    session_send_error(s, 0, rc, &err);
}

static int dispatch(struct session *s, const struct wire_frame *frame, struct error *err)
{
    enum wire_type type = frame->type;
    if (type == WIRE_LOAD) {
        if (frame->call != 0 || s->stage != SESSION_NEW)
            return error_set(err, ERROR_INVALID, "LOAD came twice or as a call");
        load(s, frame);
        return 0;
    }
    if (type > WIRE_CANCEL || frame->call == 0)
        return error_set(err, ERROR_INVALID, "a frame of type %d came for call %u", (int)type, frame->call);
    if (type >= WIRE_PAUSE) {
        if (frame->payload.len > 0)
            return error_set(err, ERROR_INVALID, "a frame of type %d came with a payload", (int)type);
        call_control(s, frame);
        return 0;
    }
    if (call_find(s, frame->call))
        return error_set(err, ERROR_INVALID, "call %u was opened twice", frame->call);
    request(s, frame);
    return 0;
}

/* Takes frames while their answers have room. */
static int frames_take(struct session *s, struct error *err)
{
    size_t offset = 0;
    struct wire_frame frame;
    int rc = 0;
    while (queued(s) < QUEUE_HIGH && !s->broken) {
        rc = wire_take(&s->in, &offset, &frame, err);
        if (rc == 1)
            rc = dispatch(s, &frame, err);
        else
            break;
        if (rc)
            break;
    }
    if (s->broken)
        return ERROR_MEMORY;
    buf_consume(&s->in, offset);
    /* A frame of megabytes does not keep its memory. */
    if (s->in.len == 0 && s->in.capacity > MIB)
        buf_free(&s->in);
    return rc;
}

/* ---- The wheel ---- */

/* 1: the gateway has closed the socket. */
static int input_read(struct session *s, struct error *err)
{
    char *to = buf_reserve(&s->in, READ_SIZE);
    if (!to)
        return error_set(err, s->in.failed, "no memory for what the gateway sends");
    ssize_t n = read(s->setup.fd, to, READ_SIZE);
    if (n > 0)
        buf_commit(&s->in, (size_t)n);
    else if (n == 0 || errno == ECONNRESET || errno == EPIPE)
        return 1;
    else if (errno != EAGAIN && errno != EINTR)
        return error_set(err, ERROR_IO, "the socket cannot be read: %s", strerror(errno));
    return 0;
}

static int output_write(struct session *s, struct error *err)
{
    while (queued(s) > 0) {
        ssize_t n = write(s->setup.fd, s->out.data + s->sent, queued(s));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 1;
        if (n < 0)
            return error_set(err, ERROR_IO, "the socket cannot be written: %s", strerror(errno));
        s->sent += (size_t)n;
    }
    if (s->sent == s->out.len) {
        buf_clear(&s->out);
        s->sent = 0;
        if (s->out.capacity > 4 * MIB)
            buf_free(&s->out);
    } else if (s->sent > s->out.len / 2) {
        buf_consume(&s->out, s->sent);
        s->sent = 0;
    }
    return 0;
}

static bool work_waits(const struct session *s)
{
    if (queued(s) >= QUEUE_HIGH)
        return false;
    if (s->scheduler && scheduler_ready(s->scheduler))
        return true;
    for (struct list *node = s->calls.next; node != &s->calls; node = node->next) {
        const struct call *call = list_item(node, struct call, node);
        if (call->turn && !call->paused)
            return true;
    }
    return false;
}

static void work(struct session *s)
{
    list_each(node, after, &s->calls) {
        struct call *call = list_item(node, struct call, node);
        if (call->turn && !call->paused && queued(s) < QUEUE_HIGH && call->turn(call) == 0)
            call_free(call);
    }
    if (s->scheduler && queued(s) < QUEUE_HIGH)
        scheduler_step(s->scheduler);
}

/* One turn: 0 go on, 1 the gateway has gone. */
static int turn(struct session *s, struct error *err)
{
    int rc = frames_take(s, err);
    if (rc)
        return rc;
    bool busy = work_waits(s), full = queued(s) >= QUEUE_HIGH;
    const bool resting = !busy && s->state && model_state_spill_ahead(s->state);
    struct pollfd p = {.fd = s->setup.fd};
    p.events = (short)((full ? 0 : POLLIN) | (queued(s) > 0 ? POLLOUT : 0));
    if (poll(&p, 1, busy || resting ? 0 : -1) < 0 && errno != EINTR)
        return error_set(err, ERROR_IO, "the socket cannot be watched: %s", strerror(errno));
    if (full && (p.revents & (POLLHUP | POLLERR)))
        return 1;
    if (!full && (p.revents & (POLLIN | POLLHUP | POLLERR)))
        rc = input_read(s, err);
    if (rc == 0 && busy)
        work(s);
    return rc ? rc : output_write(s, err);
}

int session_run(const struct session_setup *setup)
{
    struct session s = {.setup = *setup};
    struct error err = {0};
    int rc;
    buf_init(&s.in, LIMIT_WIRE_FRAME + WIRE_HEADER_BYTES + READ_SIZE);
    buf_init(&s.out, QUEUE_MAX);
    list_init(&s.calls);
    do
        rc = turn(&s, &err);
    while (rc == 0);
    if (rc < 0 && !s.broken)
        log_error("session", "the worker ends: %s", err.message);
    list_each(node, after, &s.calls)
        call_free(list_item(node, struct call, node));
    session_unload(&s);
    buf_free(&s.in);
    buf_free(&s.out);
    return rc < 0 ? rc : 0;
}
