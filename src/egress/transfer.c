#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "egress/internal.h"

/* What may still come after egress_finish before the connection is given up. */
enum { DRAIN_MS = 1000, DRAIN_BYTES = 64 * 1024 };
/* libcurl would send again when a connection used before breaks without a byte of answer. Within this time
 * that is a connection the server had given up, and we send again, once, with a record of its own; later the
 * server may have worked on the request, and must not do so twice. */
enum { RESEND_MS = 1000 };

/* Links a transfer to the witness that still has to answer; outlives whichever of the two goes first. */
struct egress_ticket {
    struct egress_transfer *transfer; /* NULL: closed meanwhile */
};

/* ---- May it? ---- */

static int permit_check(
    const struct egress *e, const struct egress_permit *p, const struct egress_target *t, struct error *err)
{
    const char *why = NULL;
    if (e->offline)
        why = "this gateway runs offline: nothing leaves (set offline: false to change that)";
    else if (!p)
        why = "there is no permit for it";
    else if (clock_mono_ms() > p->expires_mono_ms)
        why = "its permit has expired";
    else if (p->telemetry != t->collector)
        why = t->collector ? "a collector is sent spans and nothing else"
                           : "spans are sent to a collector and to nobody else";
    else if (p->boundary != EGRESS_BOUNDARY_ANY && t->zone != EGRESS_ZONE_LOCAL)
        why = "the request must stay inside the local boundary";
    if (!why)
        return 0;
    log_warn("egress", "refused a transfer to '" STR_FMT "' (request %.64s, rule %.128s): %s",
        STR_ARG(t->name), p ? p->request_id : "?", p ? p->rule : "?", why);
    return error_set(err, ERROR_DENIED, "nothing was sent to '" STR_FMT "': %s", STR_ARG(t->name), why);
}

static int request_check(const struct egress_permit *p, const struct egress_request *r, struct error *err)
{
    size_t len = r->method ? strlen(r->method) : 0;
    if (len == 0 || len >= sizeof((struct egress_transfer *)NULL)->method ||
        strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
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

/* ---- The record ---- */

static int body_hash(struct str body, char hex[65], struct error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(body.len ? body.data : "", body.len, hash, &len, EVP_sha256(), NULL) || len != 32)
        return error_set(err, ERROR_INTERNAL, "SHA-256 failed: check the OpenSSL installation");
    for (unsigned i = 0; i < len; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[64] = '\0';
    return 0;
}

static void start_soon(struct egress_transfer *t)
{
    if (t->egress->inside)
        egress_later(t, EGRESS_TODO_START);
    else
        egress_transfer_start(t);
}

static void on_witnessed(void *ctx, int code)
{
    struct egress_ticket *ticket = ctx;
    struct egress_transfer *t = ticket->transfer;
    free(ticket);
    if (!t)
        return;
    t->ticket = NULL;
    if (code == 0) {
        start_soon(t);
        return;
    }
    t->code = error_set(&t->error, ERROR_IO,
        "nothing was sent to '" STR_FMT "': the record of it could not be kept: check the state database",
        STR_ARG(t->target->name));
    egress_later(t, EGRESS_TODO_FAIL);
}

static void ask_witness(struct egress_transfer *t)
{
    struct egress *e = t->egress;
    const struct egress_permit *p = &t->permit;
    t->state = EGRESS_WITNESS;
    struct egress_record record = {.wall_ms = clock_wall_ms(),
        .request_id = {p->request_id, strnlen(p->request_id, sizeof p->request_id)},
        .rule = {p->rule, strnlen(p->rule, sizeof p->rule)},
        .boundary = p->boundary == EGRESS_BOUNDARY_ANY ? EGRESS_BOUNDARY_ANY : EGRESS_BOUNDARY_LOCAL,
        .zone = t->target->zone,
        .target = t->target->name,
        .host = str_from(t->target->host),
        .path = str_from(t->url + strlen(t->target->url) - strlen(t->target->path)),
        .bytes = (int64_t)t->body_len};
    memcpy(record.sha256, t->sha256, sizeof record.sha256);
    t->ticket = malloc(sizeof *t->ticket);
    if (!t->ticket)
        abort();
    t->ticket->transfer = t;
    e->witness(e->witness_ctx, e->loop, &record, on_witnessed, t->ticket);
}

/* ---- Time ---- */

static int phase_limit(const struct egress_transfer *t)
{
    if (t->draining)
        return DRAIN_MS;
    if (t->phase == EGRESS_CONNECT)
        return t->connect_timeout_ms;
    return t->phase == EGRESS_FIRST_BYTE ? t->target->first_byte_timeout_ms : t->target->idle_timeout_ms;
}

static void phase_enter(struct egress_transfer *t, enum egress_phase phase)
{
    t->phase = phase;
    t->since_ms = clock_mono_ms();
    if (!t->paused)
        loop_timer_start(t->timer, phase_limit(t));
}

static void on_timeout(void *ctx)
{
    struct egress_transfer *t = ctx;
    static const char *const what[] = {"could not be connected to", "sent no answer", "stopped answering"};
    int limit = phase_limit(t);
    int64_t left = t->since_ms + limit - clock_mono_ms();
    if (left > 0 && !t->draining) {
        loop_timer_start(t->timer, left);
        return;
    }
    bool was_busy = t->egress->busy;
    struct egress *e = t->egress;
    e->busy = true;
    egress_transfer_end(t, error_set(&t->error, ERROR_TIMEOUT,
                               "'" STR_FMT "' (%s) %s within %d ms: it may be overloaded or down",
                               STR_ARG(t->target->name), t->target->host, what[t->phase], limit));
    e->busy = was_busy;
}

/* ---- libcurl's callbacks ---- */

curl_socket_t egress_on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct egress_transfer *t = ctx;
    (void)purpose;
    if (t->target->zone == EGRESS_ZONE_LOCAL &&
        !egress_address_inside(&address->addr, t->target->networks, t->target->n_networks)) {
        t->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* The connection stands, be it new or one used before, and nothing of this request is on it yet. */
int egress_on_ready(void *ctx, char *peer, char *local, int peer_port, int local_port)
{
    struct egress_transfer *t = ctx;
    (void)local;
    (void)peer_port;
    (void)local_port;
    if (t->target->zone == EGRESS_ZONE_LOCAL &&
        !egress_address_text_inside(peer, t->target->networks, t->target->n_networks)) {
        t->address_refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (t->sent_ms && !t->resent && clock_mono_ms() - t->sent_ms <= RESEND_MS) {
        t->resend = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (t->sent_ms) {
        t->code = error_set(&t->error, ERROR_UNAVAILABLE,
            "'" STR_FMT "' (%s) broke the connection without an answer", STR_ARG(t->target->name),
            t->target->host);
        return CURL_PREREQFUNC_ABORT;
    }
    t->sent_ms = clock_mono_ms();
    phase_enter(t, EGRESS_FIRST_BYTE);
    return CURL_PREREQFUNC_OK;
}

static size_t refuse_answer(struct egress_transfer *t, const char *what)
{
    t->code = error_set(&t->error, ERROR_LIMIT, "the answer of '" STR_FMT "' has %s: it was cut off",
        STR_ARG(t->target->name), what);
    return 0; /* makes libcurl give up */
}

static bool is_ownerless(const struct egress_transfer *t)
{
    return (t->todo & EGRESS_TODO_FREE) != 0;
}

static int status_of(struct str line)
{
    int64_t status;
    size_t space = str_find_char(line, ' ');
    struct str rest = str_slice(line, space == SIZE_MAX ? line.len : space + 1, line.len);
    return str_to_int64(str_slice(rest, 0, 3), &status) ? (int)status : 0;
}

size_t egress_on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct egress_transfer *t = ctx;
    struct str line = str_trim((struct str){data, size * count});
    if (is_ownerless(t))
        return 0;
    if (t->status_told) /* a trailer */
        return size * count;
    if (str_starts(line, STR("HTTP/"))) {
        buf_clear(&t->answer_headers);
        t->status = status_of(line);
    } else if (line.len > 0) {
        buf_append_str(&t->answer_headers, line);
        buf_append_char(&t->answer_headers, '\n');
        if (t->answer_headers.failed)
            return refuse_answer(t, "too many headers");
    } else if (t->status >= 200) {
        t->status_told = true;
        if (t->handler.status)
            t->handler.status(t->handler.ctx, t->status);
        if (is_ownerless(t))
            return 0;
    }
    return size * count;
}

size_t egress_on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct egress_transfer *t = ctx;
    size_t len = size * count;
    if (is_ownerless(t))
        return 0;
    t->received += len;
    if (t->draining)
        return t->received > DRAIN_BYTES ? 0 : len;
    if (t->received > LIMIT_PROVIDER_BODY)
        return refuse_answer(t, "more than 64 MiB");
    if (t->phase != EGRESS_IDLE)
        phase_enter(t, EGRESS_IDLE);
    t->since_ms = clock_mono_ms();
    if (t->handler.data)
        t->handler.data(t->handler.ctx, (struct str){data, len});
    return is_ownerless(t) ? 0 : len;
}

/* ---- Life ---- */

static void curl_release(struct egress_transfer *t)
{
    if (t->easy) {
        assert(!t->egress->inside);
        curl_multi_remove_handle(t->egress->multi, t->easy);
        curl_easy_cleanup(t->easy);
        t->easy = NULL;
    }
    loop_timer_free(t->timer);
    t->timer = NULL;
}

void egress_transfer_start(struct egress_transfer *t)
{
    int rc = egress_easy_create(t, &t->error);
    if (rc == 0 && curl_multi_add_handle(t->egress->multi, t->easy) != CURLM_OK)
        rc = error_set(&t->error, ERROR_INTERNAL, "libcurl refused a transfer");
    if (rc) {
        t->code = rc;
        egress_later(t, EGRESS_TODO_FAIL);
        return;
    }
    t->state = EGRESS_RUNNING;
    t->timer = loop_timer_create(t->egress->loop, on_timeout, t);
    phase_enter(t, EGRESS_CONNECT);
    if (t->paused)
        curl_easy_pause(t->easy, CURLPAUSE_RECV);
}

void egress_transfer_end(struct egress_transfer *t, int code)
{
    struct egress_handler handler = t->handler;
    curl_release(t);
    list_remove(&t->later);
    t->todo = 0;
    t->state = EGRESS_ENDED;
    if (t->draining)
        egress_transfer_free(t);
    else if (handler.done)
        handler.done(handler.ctx, code, code ? &t->error : NULL);
}

/* libcurl's reason as one of ours. Its text names hosts and certificates, never what we sent. */
static int code_from_curl(struct egress_transfer *t, CURLcode result)
{
    const char *detail = t->curl_error[0] ? t->curl_error : curl_easy_strerror(result);
    if (t->code)
        return t->code;
    if (t->address_refused)
        return error_set(&t->error, ERROR_DENIED,
            "'" STR_FMT
            "' (%s) is of zone local but has an address outside: correct base_url, or add its network to "
            "'networks'",
            STR_ARG(t->target->name), t->target->host);
    int code = result == CURLE_OPERATION_TIMEDOUT ? ERROR_TIMEOUT
               : result == CURLE_OUT_OF_MEMORY    ? ERROR_MEMORY
                                                  : ERROR_UNAVAILABLE;
    return error_set(&t->error, code, "'" STR_FMT "' (%s) cannot be reached: %s", STR_ARG(t->target->name),
        t->target->host, detail);
}

void egress_transfer_finished(struct egress_transfer *t, CURLcode result)
{
    if (t->resend) {
        t->resend = false;
        t->resent = true;
        t->sent_ms = 0;
        curl_release(t);
        ask_witness(t);
        return;
    }
    egress_transfer_end(t, result == CURLE_OK ? 0 : code_from_curl(t, result));
}

void egress_transfer_resume(struct egress_transfer *t)
{
    if (t->state != EGRESS_RUNNING || t->paused)
        return;
    struct egress *e = t->egress;
    phase_enter(t, t->phase);
    e->inside++; /* what was held back is delivered from within */
    CURLcode result = curl_easy_pause(t->easy, CURLPAUSE_CONT);
    e->inside--;
    if (result != CURLE_OK && !is_ownerless(t))
        egress_transfer_finished(t, result);
}

void egress_pause(struct egress_transfer *t, bool paused)
{
    if (t->paused == paused)
        return;
    t->paused = paused;
    if (t->state != EGRESS_RUNNING)
        return;
    if (!paused) {
        egress_later(t, EGRESS_TODO_RESUME);
        return;
    }
    t->todo &= ~(unsigned)EGRESS_TODO_RESUME;
    loop_timer_stop(t->timer);
    curl_easy_pause(t->easy, CURLPAUSE_RECV);
}

static int transfer_fill(struct egress_transfer *t, const struct egress_request *r, struct error *err)
{
    size_t base = strlen(t->target->url);
    strcpy(t->method, r->method);
    t->connect_timeout_ms = r->connect_timeout_ms > 0 && r->connect_timeout_ms < INT_MAX
                                ? (int)r->connect_timeout_ms
                                : t->target->connect_timeout_ms;
    t->url = malloc(base + r->path.len + 1);
    t->body = malloc(r->body.len + 1);
    if (!t->url || !t->body)
        return error_set(err, ERROR_MEMORY, "out of memory");
    memcpy(t->url, t->target->url, base);
    memcpy(t->url + base, r->path.data, r->path.len);
    t->url[base + r->path.len] = '\0';
    if (r->body.len > 0)
        memcpy(t->body, r->body.data, r->body.len);
    t->body[r->body.len] = '\0';
    t->body_len = r->body.len;
    return egress_headers_build(r, &t->headers, err);
}

int egress_open(struct egress *e, const struct egress_permit *permit, const struct egress_target *target,
    const struct egress_request *request, const struct egress_handler *handler, struct egress_transfer **out,
    struct error *err)
{
    int rc = permit_check(e, permit, target, err);
    if (rc == 0)
        rc = request_check(permit, request, err);
    if (rc)
        return rc;
    struct egress_transfer *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ERROR_MEMORY, "out of memory");
    list_init(&t->later);
    list_push_back(&e->transfers, &t->all);
    t->egress = e;
    t->target = egress_target_hold(target);
    t->permit = *permit;
    t->handler = *handler;
    buf_init(&t->answer_headers, LIMIT_HTTP_HEADER);
    rc = transfer_fill(t, request, err);
    if (rc == 0)
        rc = body_hash(request->body, t->sha256, err);
    if (rc) {
        egress_transfer_free(t);
        return rc;
    }
    *out = t;
    ask_witness(t);
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
    curl_release(t);
    list_remove(&t->later);
    list_remove(&t->all);
    if (t->ticket)
        t->ticket->transfer = NULL;
    t->ticket = NULL;
    t->handler = (struct egress_handler){0};
    t->todo = 0;
    t->state = EGRESS_ENDED;
    t->egress = NULL;
}

void egress_transfer_free(struct egress_transfer *t)
{
    egress_transfer_detach(t);
    egress_target_free((struct egress_target *)(uintptr_t)t->target);
    for (struct curl_slist *h = t->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(t->headers);
    buf_free(&t->answer_headers);
    free(t->url);
    free(t->body);
    free(t);
}

void egress_close(struct egress_transfer *t)
{
    if (!t)
        return;
    t->handler = (struct egress_handler){0};
    if (t->egress && t->egress->inside && t->easy)
        egress_later(t, EGRESS_TODO_FREE); /* libcurl does not let go of a handle in its own callbacks */
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
