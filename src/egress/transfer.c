/* The life of one transfer: internal.h draws its states. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "egress/internal.h"

/* What may still come after egress_finish has this long. */
enum { DRAIN_MS = 1000 };
/* A connection used before that breaks without a byte of answer within this time is one the server had given
 * up, and we send again, once, with a record of its own; later the server may have worked on the request, and
 * must not do so twice. */
enum { RESEND_MS = 1000 };
/* Reads of one turn, so that a fast server leaves time to the others. */
enum { READS_MAX = 16 };

static int request_check(const struct egress_permit *p, const struct egress_request *r, struct error *err)
{
    size_t len = r->method ? strlen(r->method) : 0;
    if (len == 0 || len >= 16 || strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
        return error_set(err, ERROR_INVALID, "the request's method is not valid");
    if (p->probe && (strcmp(r->method, "GET") != 0 || r->body.len > 0))
        return error_set(err, ERROR_DENIED, "a probe carries no content: nothing was sent");
    if (r->path.len == 0 || r->path.data[0] != '/')
        return error_set(err, ERROR_INVALID, "the request's path must begin with '/'");
    for (size_t i = 0; i < r->path.len; i++)
        if ((unsigned char)r->path.data[i] <= ' ' || (unsigned char)r->path.data[i] >= 0x7f ||
            r->path.data[i] == '#')
            return error_set(
                err, ERROR_INVALID, "the request's path holds a character that URLs do not allow");
    return 0;
}

/* ---- Time ---- */

static int phase_limit(const struct egress_transfer *t)
{
    if (t->draining)
        return DRAIN_MS;
    if (t->phase == EGRESS_CONNECT)
        return t->connect_timeout_ms;
    return t->phase == EGRESS_FIRST_BYTE ? t->first_byte_timeout_ms : t->target->idle_timeout_ms;
}

int64_t egress_transfer_deadline(const struct egress_transfer *t)
{
    bool waits = (t->state == EGRESS_WAITING || t->state == EGRESS_RUNNING) && !t->paused;
    return waits ? t->since_ms + phase_limit(t) : INT64_MAX;
}

static void phase_enter(struct egress_transfer *t, enum egress_phase phase)
{
    t->phase = phase;
    t->since_ms = clock_mono_ms();
    egress_tick_by(t->egress, egress_transfer_deadline(t));
}

void egress_transfer_timeout(struct egress_transfer *t)
{
    static const char *const what[] = {"could not be connected to", "sent no answer", "stopped answering"};
    if (egress_transfer_deadline(t) > clock_mono_ms())
        return; /* something has come meanwhile */
    egress_transfer_end(t, error_set(&t->error, ERROR_TIMEOUT,
                               "'" STR_FMT "' (%s) %s within %d ms: it may be overloaded or down",
                               STR_ARG(t->target->name), t->target->host, what[t->phase], phase_limit(t)));
}

/* ---- Beginning and end ---- */

void egress_transfer_fail(struct egress_transfer *t, int code)
{
    t->code = code;
    egress_later(t, EGRESS_TODO_FAIL);
}

void egress_transfer_start(struct egress_transfer *t)
{
    t->state = EGRESS_WAITING;
    phase_enter(t, EGRESS_CONNECT);
    int rc = egress_pool_take(t, &t->error);
    if (rc)
        egress_transfer_fail(t, rc);
}

/* The request is not needed any more: it cannot be sent again. */
static void request_free(struct egress_transfer *t)
{
    if (t->request)
        explicit_bzero(t->request, t->head_len); /* it holds keys */
    free(t->request);
    t->request = NULL;
}

void egress_transfer_end(struct egress_transfer *t, int code)
{
    struct egress_handler handler = t->handler;
    list_remove(&t->later);
    t->todo = 0;
    t->state = EGRESS_ENDED;
    if (code == 0 && t->keep_alive)
        egress_pool_give(t);
    else
        egress_pool_leave(t);
    if (t->draining)
        egress_transfer_free(t);
    else if (handler.done)
        handler.done(handler.ctx, code, code ? &t->error : NULL);
}

/* libcurl's and OpenSSL's reasons name hosts and certificates, never what we sent. */
void egress_transfer_unreachable(struct egress_transfer *t, int code, const char *why)
{
    if (code == ERROR_DENIED)
        egress_transfer_end(t, egress_target_denied(t->target, &t->error));
    else
        egress_transfer_end(t, error_set(&t->error, code, "'" STR_FMT "' (%s) cannot be reached: %s",
                                   STR_ARG(t->target->name), t->target->host, why));
}

/* ---- Sending ---- */

static bool may_read(const struct egress_transfer *t)
{
    return !t->paused && t->held.len == 0;
}

static bool may_write(const struct egress_transfer *t)
{
    return t->written < t->request_len && !t->write_broken;
}

static void watch(struct egress_transfer *t)
{
    struct egress_connection *c = t->connection;
    egress_connection_watch(
        c, (may_read(t) ? LOOP_READ : 0) | (may_write(t) || c->wants_write ? LOOP_WRITE : 0));
}

static void send_some(struct egress_transfer *t)
{
    while (may_write(t)) {
        ssize_t n =
            egress_connection_write(t->connection, t->request + t->written, t->request_len - t->written);
        if (n == EGRESS_AGAIN)
            break;
        if (n < 0)
            t->write_broken = true; /* an answer may say why: reading tells how it ends */
        else
            t->written += (size_t)n;
    }
}

/* The connection stands, be it new or one used before, and nothing of this request is on it yet. */
void egress_transfer_connected(struct egress_transfer *t)
{
    if (!egress_target_allows(t->target, &t->connection->peer.any)) {
        egress_transfer_fail(t, egress_target_denied(t->target, &t->error));
        return;
    }
    t->state = EGRESS_RUNNING;
    t->written = 0;
    t->write_broken = false;
    egress_answer_begin(t);
    phase_enter(t, EGRESS_FIRST_BYTE);
    t->sent_ms = t->since_ms;
    send_some(t);
    watch(t);
}

/* ---- Receiving ---- */

static void send_again(struct egress_transfer *t)
{
    t->resent = true;
    t->state = EGRESS_WITNESS; /* first: closing the connection may start others */
    egress_pool_leave(t);
    egress_witness_ask(t);
}

/* The connection has ended (`whole`: in good order) and the answer has not. */
static void broken(struct egress_transfer *t, bool whole)
{
    if (!t->heard && t->connection->used && !t->resent && clock_mono_ms() - t->sent_ms <= RESEND_MS) {
        send_again(t);
        return;
    }
    if (t->heard && whole)
        egress_answer_read(t, NULL, 0);
    if (t->closed)
        egress_transfer_free(t);
    else if (t->complete)
        egress_transfer_end(t, 0);
    else if (t->code)
        egress_transfer_end(t, t->code);
    else
        egress_transfer_end(
            t, error_set(&t->error, ERROR_UNAVAILABLE, "'" STR_FMT "' (%s) broke the connection %s",
                   STR_ARG(t->target->name), t->target->host,
                   t->heard ? "before its answer was complete" : "without an answer"));
}

/* False when the transfer has ended and may be gone. */
static bool feed(struct egress_transfer *t, const char *data, size_t len)
{
    if (!t->heard) {
        t->heard = true;
        if (t->written == t->request_len)
            request_free(t);
    }
    size_t used = egress_answer_read(t, data, len);
    if (t->closed) {
        egress_transfer_free(t);
        return false;
    }
    if (t->complete) {
        if (str_starts((struct str){data + used, len - used}, STR("HTTP/1.")))
            egress_pool_distrust(t->connection);
        /* More than was asked for, or an answer to half a question: not a connection to go on with. */
        t->keep_alive = t->keep_alive && used == len && t->written == t->request_len &&
                        !egress_connection_holds(t->connection);
        egress_transfer_end(t, 0);
        return false;
    }
    if (t->code) {
        egress_transfer_end(t, t->code);
        return false;
    }
    if (t->phase == EGRESS_IDLE && !t->draining)
        phase_enter(t, EGRESS_IDLE);
    if (used < len && buf_append(&t->held, data + used, len - used)) { /* paused */
        egress_transfer_end(t, error_set(&t->error, ERROR_MEMORY, "out of memory"));
        return false;
    }
    return true;
}

/* What came while it was paused. */
static bool feed_held(struct egress_transfer *t)
{
    struct buf held = t->held;
    buf_init(&t->held, EGRESS_READ_BYTES);
    bool goes_on = held.len == 0 || feed(t, held.data, held.len);
    buf_free(&held);
    return goes_on;
}

static void receive(struct egress_transfer *t)
{
    struct egress *e = t->egress;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = egress_connection_read(t->connection, e->bytes, sizeof e->bytes);
        if (n == EGRESS_AGAIN)
            break;
        if (n == EGRESS_EOF || n == EGRESS_BROKEN) {
            broken(t, n == EGRESS_EOF);
            return;
        }
        if (!feed(t, e->bytes, (size_t)n))
            return;
        /* Less than there was room for: the rest, if any, has an event of its own. */
        if (t->paused || ((size_t)n < sizeof e->bytes && !egress_connection_holds(t->connection)))
            break;
    }
    if (!t->paused && egress_connection_holds(t->connection))
        egress_later(t, EGRESS_TODO_RESUME);
    watch(t);
}

void egress_transfer_io(struct egress_transfer *t, int events)
{
    if (events & LOOP_WRITE)
        send_some(t);
    if (may_read(t) && (events & LOOP_READ || t->connection->wants_write))
        receive(t);
    else
        watch(t);
}

void egress_transfer_resume(struct egress_transfer *t)
{
    if (t->state == EGRESS_RUNNING && !t->paused && feed_held(t)) {
        if (t->paused)
            watch(t);
        else
            receive(t);
    }
}

/* ---- What callers do ---- */

void egress_pause(struct egress_transfer *t, bool paused)
{
    if (t->paused == paused)
        return;
    t->paused = paused;
    if (t->state != EGRESS_WAITING && t->state != EGRESS_RUNNING)
        return;
    if (!paused) {
        phase_enter(t, t->phase);
        egress_later(t, EGRESS_TODO_RESUME);
    } else {
        t->todo &= ~(unsigned)EGRESS_TODO_RESUME;
        if (t->state == EGRESS_RUNNING && !t->inside)
            watch(t);
    }
}

static int limit_or(int64_t limit_ms, int targets_ms)
{
    return limit_ms > 0 && limit_ms < INT_MAX ? (int)limit_ms : targets_ms;
}

int egress_open(struct egress *e, const struct egress_permit *permit, const struct egress_target *target,
    const struct egress_request *request, const struct egress_handler *handler, struct egress_transfer **out,
    struct error *err)
{
    int rc = egress_permit_check(e, permit, target, err);
    if (rc == 0)
        rc = request_check(permit, request, err);
    if (rc)
        return rc;
    struct egress_transfer *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ERROR_MEMORY, "out of memory");
    list_init(&t->later);
    list_init(&t->queue);
    list_push_back(&e->transfers, &t->all);
    e->n_transfers++;
    t->egress = e;
    t->target = egress_target_hold(target);
    t->permit = *permit;
    t->handler = *handler;
    t->connect_timeout_ms = limit_or(request->connect_timeout_ms, target->connect_timeout_ms);
    t->first_byte_timeout_ms = limit_or(request->first_byte_timeout_ms, target->first_byte_timeout_ms);
    buf_init(&t->held, EGRESS_READ_BYTES);
    rc = egress_request_write(t, request, err);
    if (rc == 0)
        rc = egress_body_hash(e, request->body, t->sha256, err);
    if (rc) {
        egress_transfer_free(t);
        return rc;
    }
    *out = t;
    egress_witness_ask(t);
    return 0;
}

struct str egress_header(const struct egress_transfer *t, const char *name)
{
    struct str rest = buf_str(&t->answer_headers), line;
    while (t->status_told && str_split(&rest, '\n', &line)) {
        size_t colon = str_find_char(line, ':');
        if (colon != SIZE_MAX && str_is_nocase(str_slice(line, 0, colon), name))
            return str_trim(str_slice(line, colon + 1, line.len));
    }
    return STR_NONE;
}

void egress_transfer_detach(struct egress_transfer *t)
{
    if (!t->egress)
        return;
    list_remove(&t->later);
    list_remove(&t->all);
    t->egress->n_transfers--;
    egress_ticket_drop(t);
    t->handler = (struct egress_handler){0};
    t->todo = 0;
    t->state = EGRESS_ENDED;
    egress_pool_leave(t);
    t->egress = NULL;
}

void egress_transfer_free(struct egress_transfer *t)
{
    egress_transfer_detach(t);
    egress_target_free((struct egress_target *)(uintptr_t)t->target);
    request_free(t);
    buf_free(&t->answer_headers);
    buf_free(&t->held);
    free(t);
}

void egress_close(struct egress_transfer *t)
{
    if (!t)
        return;
    t->handler = (struct egress_handler){0};
    if (t->inside)
        t->closed = true; /* the parser is on the stack */
    else
        egress_transfer_free(t);
}

void egress_finish(struct egress_transfer *t)
{
    if (!t || t->state != EGRESS_RUNNING) {
        egress_close(t);
        return;
    }
    t->handler = (struct egress_handler){0};
    t->draining = true;
    t->received = 0;
    if (t->paused)
        egress_pause(t, false);
    phase_enter(t, EGRESS_IDLE);
}
