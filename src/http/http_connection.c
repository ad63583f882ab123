/* One connection: reading requests, the states of http_internal.h, closing. */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/limits.h"
#include "http/http_internal.h"

static struct http_connection *of(struct http_parser *p)
{
    return p->data;
}

/* ---- What the parser finds ---- */

static int refuse(struct http_connection *c, int status, const char *why)
{
    c->refuse_status = status;
    c->refuse_why = why;
    return -1; /* a 1 from on_headers would only mean "no body" */
}

static const char bad_line[] = "a line of the request does not end in CRLF, or begins with white space";
static const char too_large[] =
    "the request body is too large: 'max_body' in the configuration bounds it (32 MiB at most)";

static int head_append(struct http_connection *c, struct http_span *span, const char *at, size_t len)
{
    struct http_request *r = c->request;
    if (span->len == 0)
        span->at = (uint32_t)r->head.len;
    span->len += (uint32_t)len;
    return buf_append(&r->head, at, len) ? refuse(c, 431, "the request header is too large") : 0;
}

static int on_url(struct http_parser *p, const char *at, size_t len)
{
    return head_append(of(p), &of(p)->request->target, at, len);
}

static int on_field(struct http_parser *p, const char *at, size_t len)
{
    struct http_request *r = of(p)->request;
    if (r->head_done)
        return 0; /* trailers are no headers (RFC 9110, 6.5.1) */
    if (memchr(at, ' ', len))
        return refuse(of(p), 400, "a header field's name holds a space"); /* RFC 9112, 5.1: smuggling */
    if (r->n_fields == 0 || r->in_value) {
        if (r->n_fields == HTTP_MAX_FIELDS)
            return refuse(of(p), 431, "the request has too many header fields");
        r->names[r->n_fields] = r->values[r->n_fields] = (struct http_span){0, 0};
        r->n_fields++;
        r->in_value = false;
    }
    return head_append(of(p), &r->names[r->n_fields - 1], at, len);
}

static int on_value(struct http_parser *p, const char *at, size_t len)
{
    struct http_request *r = of(p)->request;
    if (r->head_done)
        return 0;
    r->in_value = true;
    return head_append(of(p), &r->values[r->n_fields - 1], at, len);
}

static int on_headers(struct http_parser *p)
{
    struct http_connection *c = of(p);
    struct http_request *r = c->request;
    r->head_done = true;
    p->upgrade = 0; /* other protocols are not spoken here; the request is answered as it stands */
    r->method = http_method_str((enum http_method)p->method);
    r->head_only = p->method == HTTP_HEAD;
    r->chunked = p->http_major == 1 && p->http_minor >= 1;
    c->keep_alive = http_should_keep_alive(p) && c->server->listener;
    if (p->http_major != 1)
        return refuse(c, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (!http_request_resolve(r))
        return refuse(c, 400, "the request target is malformed");
    if (http_request_header_count(r, "host") > 1 ||
        (p->http_minor == 1 && http_request_header_count(r, "host") == 0))
        return refuse(c, 400, "the request must have exactly one Host header");
    if (http_request_header_count(r, "content-length") > 1)
        return refuse(c, 400, "the request has more than one Content-Length");
    if (!http_request_is_only(r, "transfer-encoding", "chunked"))
        return refuse(c, 400, "no Transfer-Encoding but chunked is read here: send the body uncompressed");
    if (!http_request_is_only(r, "content-encoding", "identity"))
        return refuse(c, 415, "a body with a Content-Encoding is not read here: send it uncompressed");
    bool sized = http_request_header_count(r, "content-length") == 1;
    if (sized && p->content_length > c->server->options.max_body)
        return refuse(c, 413, too_large);
    r->expects = p->http_minor == 1 && str_is_nocase(http_request_header(r, "expect"), "100-continue");
    return 0;
}

static int on_body(struct http_parser *p, const char *at, size_t len)
{
    struct http_connection *c = of(p);
    if (!http_lines_until(c, at))
        return refuse(c, 400, bad_line);
    c->lines_at = at + len;
    c->lines.body = true;
    int rc = buf_append(&c->request->body, at, len);
    if (rc == ERROR_LIMIT)
        return refuse(c, 413, too_large);
    return rc ? refuse(c, 503, "no memory for the request body") : 0;
}

static int on_complete(struct http_parser *p)
{
    struct http_connection *c = of(p);
    c->state = HTTP_HANDLING;
    c->served = true;
    http_parser_pause(p, 1);
    return 0;
}

static const struct http_parser_settings parser_settings = {.on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers,
    .on_body = on_body,
    .on_message_complete = on_complete};

/* ---- Closing ---- */

/* Bytes that were read and are not parsed yet. */
static size_t unread(const struct http_connection *c)
{
    return c->in_used ? evbuffer_get_length(bufferevent_get_input(c->bev)) : 0;
}

static void unread_drop(struct http_connection *c)
{
    evbuffer_drain(bufferevent_get_input(c->bev), unread(c));
}

/* A client may send so much ahead. */
static void watch(struct http_connection *c)
{
    bool reading = !c->input_ended && unread(c) < HTTP_READ_BYTES;
    if (!c->io || c->reading == reading)
        return;
    c->reading = reading;
    loop_io_change(c->io, reading ? LOOP_READ : 0);
}

static void connection_free(struct http_connection *c)
{
    c->closed = true;
    if (c->busy > 0)
        return;
    loop_timer_free(c->deadline);
    buf_free(&c->out);
    free(c);
}

void http_connection_lost(struct http_connection *c)
{
    if (c->closed)
        return;
    struct http_request *r = c->request;
    bool handling = c->state == HTTP_HANDLING;
    c->request = NULL;
    http_server_forget(c->server, c);
    list_remove(&c->owing);
    loop_timer_stop(c->deadline);
    loop_io_free(c->io);
    bufferevent_free(c->bev);
    if (r && handling) {
        c->server->n_active--;
        r->connection = NULL;
        if (r->gone)
            r->gone(r->gone_ctx);
    } else {
        http_request_recycle(c->server, r);
    }
    connection_free(c);
}

/* Everything is sent: closing now with unread input would reset the connection and could take the answer with
 * it. */
static void linger(struct http_connection *c)
{
    if (c->input_ended) { /* nothing is unread, and nothing will tell us more */
        http_connection_lost(c);
        return;
    }
    c->state = HTTP_DRAINING;
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    unread_drop(c);
    watch(c); /* what it sent ahead no longer keeps us from seeing it go */
    loop_timer_start(c->deadline, HTTP_LINGER_MS);
}

static void flush_and_close(struct http_connection *c)
{
    c->state = HTTP_FLUSHING;
    bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
    if (http_connection_unsent(c) == 0)
        linger(c);
}

void http_connection_drain(struct http_connection *c)
{
    int on_its_way = 0;
    c->keep_alive = false;
    if (c->state != HTTP_READING || c->received > 0)
        return;
    /* A request that has arrived but was not read yet is answered like those that were. */
    if (unread(c) > 0 || (ioctl(bufferevent_getfd(c->bev), FIONREAD, &on_its_way) == 0 && on_its_way > 0))
        return;
    if (http_connection_unsent(c) > 0)
        flush_and_close(c);
    else /* just made: its request is on its way; or one may be, by a client that was promised more */
        loop_timer_start(c->deadline, c->served ? HTTP_LAST_MS : HTTP_FIRST_MS);
}

/* Answers what no handler has seen, and closes. `r`: what has come of the request; NULL: the handler has it.
 */
static void answer_refusal(struct http_connection *c, struct http_request *r, int status, const char *why)
{
    http_refuser *refuser = r ? c->server->options.refuse : NULL;
    struct buf body, *head = &c->server->head;
    buf_init(&body, 16 * KIB);
    if (refuser) {
        if (r->path.len == 0 && !http_request_resolve(r))
            buf_clear(&r->path);
        status = refuser(c->server->ctx, r, status, str_from(why), &body);
    } else {
        buf_appendf(&body, "%s\n", why);
    }
    buf_clear(head);
    buf_appendf(head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n", status, http_reason(status),
        refuser ? "application/json" : "text/plain");
    if (r) {
        buf_append_str(head, buf_str(&r->reply_fields));
        r->status = status;
        r->sent = (int64_t)body.len;
    }
    buf_appendf(head, "Content-Length: %zu\r\nConnection: close\r\n\r\n", body.len);
    http_connection_add(c, buf_str(head));
    http_connection_add(c, buf_str(&body));
    buf_free(&body);
    http_connection_push(c);
    loop_timer_start(c->deadline, HTTP_LINGER_MS);
    flush_and_close(c);
}

/* ---- Reading ---- */

static void request_begin(struct http_connection *c)
{
    c->request = http_request_create(c);
    c->state = HTTP_READING;
    c->received = 0;
    c->refuse_status = 0;
    c->lines = (struct http_lines){0};
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    loop_timer_start(c->deadline, (int64_t)c->server->options.read_timeout_s * 1000);
}

/* A request may take the read time-out plus what its size needs at the slowest speed we bear. */
static void deadline_extend(struct http_connection *c, size_t bytes)
{
    int64_t now = clock_mono_ms();
    if (c->received == 0)
        c->started_ms = now;
    c->received += bytes;
    int64_t allowed =
        (int64_t)c->server->options.read_timeout_s * 1000 + (int64_t)(c->received / HTTP_LEAST_BYTES_PER_MS);
    int64_t left = c->started_ms + allowed - now;
    loop_timer_start(c->deadline, left > 0 ? left : 0);
}

static void request_handle(struct http_connection *c)
{
    loop_timer_stop(c->deadline);
    c->server->n_active++;
    c->server->handler(c->server->ctx, c->request);
}

/* Feeds the parser; how much of it was taken: what is left belongs to the next request. */
static size_t parse(struct http_connection *c, const char *data, size_t len)
{
    deadline_extend(c, len);
    c->lines_at = data;
    size_t used = http_parser_execute(&c->parser, &parser_settings, data, len);
    enum http_errno e = HTTP_PARSER_ERRNO(&c->parser);
    if (!c->refuse_status && !http_lines_until(c, data + used))
        refuse(c, 400, bad_line);
    else if (c->state == HTTP_HANDLING)
        return used;
    if (c->refuse_status)
        answer_refusal(c, c->request, c->refuse_status, c->refuse_why);
    else if (e == HPE_HEADER_OVERFLOW)
        answer_refusal(c, c->request, 431, "the request header is too large");
    else if (e != HPE_OK)
        answer_refusal(c, c->request, 400, http_errno_description(e));
    else if (c->request->expects && c->request->body.len == 0) {
        c->request->expects = false;
        http_connection_add(c, STR("HTTP/1.1 100 Continue\r\n\r\n"));
        http_connection_push(c);
    }
    return len;
}

/* One contiguous piece of what waits; false when there is none or the state has changed. */
static bool read_piece(struct http_connection *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec piece;
    if (unread(c) == 0 || evbuffer_peek(in, -1, NULL, &piece, 1) < 1 || piece.iov_len == 0)
        return false;
    evbuffer_drain(in, parse(c, piece.iov_base, piece.iov_len));
    c->in_used = c->server->tls || evbuffer_get_length(in) > 0;
    if (c->state == HTTP_HANDLING)
        request_handle(c);
    return !c->closed && c->state == HTTP_READING;
}

/* Answers that wait for the client to read them hold back its next pipelined request. */
static bool may_read(const struct http_connection *c)
{
    return c->state == HTTP_READING && http_connection_unsent(c) <= c->server->options.write_high;
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    struct http_connection *c = ctx;
    (void)bev;
    c->busy++;
    if (c->state == HTTP_FLUSHING || c->state == HTTP_DRAINING) {
        unread_drop(c);
    } else {
        while (may_read(c) && read_piece(c))
            continue;
    }
    if (!c->closed)
        watch(c);
    c->busy--;
    if (c->closed)
        connection_free(c);
}

/* Has fallen to the watermark. */
static void on_write(struct bufferevent *bev, void *ctx)
{
    struct http_connection *c = ctx;
    if (!c->server->tls && http_connection_unsent(c) == 0) {
        bufferevent_disable(bev, EV_WRITE);
        c->out_used = false;
    }
    if (c->state == HTTP_FLUSHING)
        linger(c);
    else if (c->state == HTTP_HANDLING && c->request->drain)
        c->request->drain(c->request->drain_ctx);
    else if (c->state == HTTP_READING && unread(c) > 0)
        on_read(bev, c);
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct http_connection *c = ctx;
    (void)bev;
    if (what & BEV_EVENT_CONNECTED)
        return; /* TLS is up */
    bool half_closed = (what & BEV_EVENT_EOF) && !(what & BEV_EVENT_ERROR);
    c->input_ended |= half_closed;
    if (half_closed && c->state == HTTP_HANDLING && !c->request->begun) {
        struct http_request *r = c->request;
        c->request = NULL;
        c->server->n_active--;
        r->connection = NULL;
        c->busy++;
        answer_refusal(
            c, NULL, 499, "the client closed its side of the connection before the answer was ready");
        c->busy--;
        if (r->gone)
            r->gone(r->gone_ctx);
        return;
    }
    if (half_closed && c->state == HTTP_READING && c->received > 0) {
        answer_refusal(c, c->request, 400, "the connection was closed before the request was complete");
        return;
    }
    if (half_closed && c->state == HTTP_FLUSHING)
        return; /* what is being sent may still be read */
    if (half_closed && c->state == HTTP_READING && http_connection_unsent(c) > 0) {
        flush_and_close(c);
        return;
    }
    http_connection_lost(c);
}

static void input_keep(struct http_connection *c, const char *data, size_t len)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    c->in_used = true;
    evbuffer_unfreeze(in, 0); /* else only the bufferevent adds to it */
    evbuffer_add(in, data, len);
    evbuffer_freeze(in, 0);
}

/* A request that comes in one piece is parsed where it was read. */
static void received(struct http_connection *c, const char *data, size_t len)
{
    if (c->state == HTTP_FLUSHING || c->state == HTTP_DRAINING)
        return;
    c->busy++;
    bool straight = may_read(c) && unread(c) == 0;
    size_t used = straight ? parse(c, data, len) : 0;
    if (used < len)
        input_keep(c, data + used, len - used);
    if (straight && c->state == HTTP_HANDLING)
        request_handle(c);
    if (!c->closed)
        on_read(c->bev, c);
    c->busy--;
    if (c->closed)
        connection_free(c);
}

static void on_io(int fd, int events, void *ctx)
{
    struct http_connection *c = ctx;
    (void)events;
    ssize_t n = recv(fd, c->server->bytes, sizeof c->server->bytes, 0);
    if (n > 0) {
        received(c, c->server->bytes, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->reading = false;
        loop_io_change(c->io, 0);
        on_event(c->bev, n == 0 ? BEV_EVENT_READING | BEV_EVENT_EOF : BEV_EVENT_READING | BEV_EVENT_ERROR, c);
    }
}

static void on_deadline(void *ctx)
{
    struct http_connection *c = ctx;
    if (c->state == HTTP_READING && c->received > 0)
        answer_refusal(c, c->request, 408, "the request took too long to arrive");
    else if (c->state != HTTP_DRAINING &&
             http_connection_unsent(c) > 0) /* what is being sent has the time-out of writing */
        loop_timer_start(c->deadline, (int64_t)c->server->options.read_timeout_s * 1000);
    else
        http_connection_lost(c);
}

/* ---- Writing ---- */

size_t http_connection_unsent(const struct http_connection *c)
{
    return c->out.len + (c->out_used ? evbuffer_get_length(bufferevent_get_output(c->bev)) : 0);
}

void http_connection_add(struct http_connection *c, struct str bytes)
{
    if (!c->out_used)
        (void)!buf_append_str(&c->out, bytes); /* output_send looks at `failed` */
    else if (evbuffer_add(bufferevent_get_output(c->bev), bytes.data, bytes.len) != 0)
        c->out.failed = ERROR_MEMORY;
}

void http_connection_queue(struct http_connection *c)
{
    if (!list_empty(&c->owing))
        return;
    if (list_empty(&c->server->owing)) {
        c->server->alone = loop_is_quiet(c->server->loop);
        loop_timer_soon(c->server->flush);
    }
    list_push_back(&c->server->owing, &c->owing);
}

void http_connection_push(struct http_connection *c)
{
    if (!c->server->tls && !(bufferevent_get_enabled(c->bev) & EV_WRITE))
        http_connection_queue(c);
}

/* What the socket does not take is the bufferevent's. Less than 0: the connection is broken, now and later.
 */
static int output_send(struct http_connection *c)
{
    struct buf *out = &c->out;
    if (out->len > 0 && !out->failed) {
        ssize_t n = send(bufferevent_getfd(c->bev), out->data, out->len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            out->failed = ERROR_UNAVAILABLE;
        size_t sent = n > 0 ? (size_t)n : 0;
        c->out_used = sent < out->len;
        if (c->out_used && !out->failed)
            http_connection_add(c, str_slice(buf_str(out), sent, out->len));
    }
    if (out->failed)
        return -1;
    buf_free(out);
    return 0;
}

void http_connection_hurry(struct http_connection *c)
{
    bool first = c->server->owing.next == &c->owing;
    if (first && c->server->owing.prev == &c->owing && c->server->alone)
        (void)output_send(c); /* the end of the turn finds the same, and what follows from it */
}

void http_connection_flush(struct http_connection *c)
{
    struct http_request *r = c->request;
    if (r && r->is_due) {
        r->is_due = false;
        r->due(r->due_ctx);
    }
    list_remove(&c->owing); /* now: what was just written is sent with the rest */
    bool broken = output_send(c) < 0;
    if (http_connection_unsent(c) > 0 && !broken)
        bufferevent_enable(c->bev, EV_WRITE); /* it goes on when the socket takes more */
    if (broken)
        http_connection_lost(c);
    else if (http_connection_unsent(c) <= (c->state == HTTP_FLUSHING ? 0 : c->server->options.write_low))
        on_write(c->bev, c);
}

void http_connection_finish(struct http_connection *c)
{
    c->server->n_active--;
    http_request_recycle(c->server, c->request);
    c->request = NULL;
    bool drains = !c->server->listener;
    if (drains ? !c->promised || c->input_ended : !c->keep_alive) {
        loop_timer_start(c->deadline, HTTP_LINGER_MS + (int64_t)c->server->options.write_timeout_s * 1000);
        flush_and_close(c);
        return;
    }
    request_begin(c);
    if (drains)
        loop_timer_start(c->deadline, HTTP_LAST_MS);
    /* A pipelined request may be waiting; deferred, because a handler may be on the stack. */
    if (c->busy == 0 && unread(c) > 0)
        bufferevent_trigger(c->bev, EV_READ, BEV_OPT_DEFER_CALLBACKS);
}

/* ---- Accepting ---- */

static struct bufferevent *bufferevent_open(struct http_server *s, evutil_socket_t fd)
{
    struct event_base *base = loop_event_base(s->loop);
    if (!s->tls)
        return bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = SSL_new(s->tls);
    struct bufferevent *bev =
        ssl ? bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
            : NULL;
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

void http_connection_accept(struct http_server *s, evutil_socket_t fd, const char peer[64])
{
    struct bufferevent *bev = bufferevent_open(s, fd);
    if (!bev) {
        evutil_closesocket(fd);
        return;
    }
    struct http_connection *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->server = s;
    c->bev = bev;
    memcpy(c->peer, peer, sizeof c->peer);
    c->deadline = loop_timer_create(s->loop, on_deadline, c);
    buf_init(&c->out, HTTP_OUT_BYTES);
    list_init(&c->owing);
    list_push_back(&s->connections, &c->link);
    s->n_connections++;
    request_begin(c);
    struct timeval write_timeout = {.tv_sec = s->options.write_timeout_s};
    bufferevent_set_timeouts(bev, NULL, &write_timeout);
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(bev, EV_READ, 0, HTTP_READ_BYTES);
    bufferevent_setwatermark(bev, EV_WRITE, s->options.write_low, 0);
    if (s->tls) {
        c->in_used = c->out_used = true;
        bufferevent_enable(bev, EV_READ);
    } else {
        bufferevent_disable(bev, EV_READ | EV_WRITE); /* on_io, http_connection_flush */
        c->io = loop_io_create(s->loop, fd, LOOP_READ, on_io, c);
        c->reading = true;
    }
}
