/* A connection: libcurl dials it, OpenSSL may encrypt it, its bytes are read and written here. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "egress/internal.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0"
#endif

/* ---- What libcurl asks ---- */

/* The address that a connection goes to, before a packet does. */
static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct egress_connection *c = ctx;
    (void)purpose;
    if (!egress_target_allows(c->transfer->target, &address->addr)) {
        c->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* The one that is connected is ours and stays open. */
static int on_close(void *ctx, curl_socket_t fd)
{
    const struct egress_connection *c = ctx;
    return fd == c->fd ? 0 : close(fd);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *ctx)
{
    (void)data;
    (void)ctx;
    return size * count; /* a proxy's words about a tunnel */
}

#define SET(option, value)                                                                                   \
    if (curl_easy_setopt(easy, option, value) != CURLE_OK)                                                   \
    return false

/* No way round the target: no proxy of the environment, no other protocol, and nothing but a connection. */
static bool set_destination(CURL *easy, const struct egress_target *target)
{
    SET(CURLOPT_URL, target->dial);
    SET(CURLOPT_PROTOCOLS_STR, "http");
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_FRESH_CONNECT, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROXY, target->proxy ? target->proxy : "");
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_HTTPPROXYTUNNEL, target->proxy ? 1L : 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
    return true;
}

static bool set_transport(CURL *easy, struct egress_connection *c, int timeout_ms)
{
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name server that hangs must not hold up the loop on a cancel */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_BUFFERSIZE, 1024L);
    SET(CURLOPT_ERRORBUFFER, c->problem);
    SET(CURLOPT_PRIVATE, c);
    SET(CURLOPT_WRITEFUNCTION, on_bytes);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(CURLOPT_OPENSOCKETDATA, c);
    SET(CURLOPT_CLOSESOCKETFUNCTION, on_close);
    SET(CURLOPT_CLOSESOCKETDATA, c);
    return true;
}

/* ---- Making it ---- */

int egress_connection_dial(struct egress_line *line, struct egress_transfer *t, struct error *err)
{
    struct egress_connection *c = must(calloc(1, sizeof *c));
    list_init(&c->pooled);
    list_init(&c->aged);
    c->egress = t->egress;
    c->line = line;
    c->fd = -1;
    c->transfer = t;
    t->connection = c;
    line->connections++;
    c->easy = curl_easy_init();
    if (!c->easy)
        return error_set(err, ERROR_MEMORY, "out of memory");
    line->dialling++;
    if (!set_destination(c->easy, t->target) || !set_transport(c->easy, c, t->connect_timeout_ms))
        return error_set(err, ERROR_INTERNAL, "libcurl refused an option: check that it is 7.87 or newer");
    if (curl_multi_add_handle(c->egress->multi, c->easy) != CURLM_OK)
        return error_set(err, ERROR_INTERNAL, "libcurl refused a connection");
    return 0;
}

/* The handle goes; where it has connected, the socket stays (on_close). */
static void easy_drop(struct egress_connection *c)
{
    if (!c->easy)
        return;
    curl_multi_remove_handle(c->egress->multi, c->easy);
    curl_easy_cleanup(c->easy);
    c->easy = NULL;
    c->line->dialling--;
}

static void ready(struct egress_connection *c)
{
    c->stage = EGRESS_READY;
    egress_transfer_connected(c->transfer);
}

static void shake(struct egress_connection *c)
{
    char space[256];
    ERR_clear_error();
    int rc = SSL_connect(c->ssl);
    if (rc == 1) {
        ready(c);
        return;
    }
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        egress_connection_watch(c, LOOP_READ);
        break;
    case SSL_ERROR_WANT_WRITE:
        egress_connection_watch(c, LOOP_WRITE);
        break;
    default:
        egress_tls_forget(c->line);
        egress_transfer_unreachable(c->transfer, ERROR_UNAVAILABLE, egress_tls_problem(c->ssl, rc, space));
    }
}

static void idle_io(struct egress_connection *c)
{
    if (!egress_connection_quiet(c))
        egress_pool_close(c);
}

static void on_io(int fd, int events, void *ctx)
{
    struct egress_connection *c = ctx;
    struct egress *e = c->egress;
    (void)fd;
    e->busy = true;
    if (c->stage == EGRESS_SHAKING)
        shake(c);
    else if (c->transfer)
        egress_transfer_io(c->transfer, events);
    else
        idle_io(c);
    e->busy = false;
}

/* The handle that dialled is not needed to use the socket, and 10,000 of them would be. */
static bool socket_take(struct egress_connection *c)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    socklen_t len = sizeof c->peer;
    if (curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD ||
        getpeername(fd, &c->peer.any, &len) != 0)
        return false;
    c->fd = fd;
    easy_drop(c);
    c->io = loop_io_create(c->egress->loop, fd, 0, on_io, c);
    egress_pool_next(c->line);
    return true;
}

void egress_connection_dialled(struct egress_connection *c, CURLcode result)
{
    struct egress_transfer *t = c->transfer;
    int code = c->address_refused                   ? ERROR_DENIED
               : result == CURLE_OPERATION_TIMEDOUT ? ERROR_TIMEOUT
               : result == CURLE_OUT_OF_MEMORY      ? ERROR_MEMORY
                                                    : ERROR_UNAVAILABLE;
    if (result != CURLE_OK) {
        egress_transfer_unreachable(t, code, c->problem[0] ? c->problem : curl_easy_strerror(result));
    } else if (!socket_take(c)) {
        egress_transfer_unreachable(t, ERROR_UNAVAILABLE, "the connection broke at once");
    } else if (!t->target->tls_name) {
        ready(c);
    } else if ((c->ssl = egress_tls_open(c->line, t->target->tls, c->fd, t->target->tls_name)) != NULL) {
        c->stage = EGRESS_SHAKING;
        shake(c);
    } else {
        egress_transfer_unreachable(t, ERROR_MEMORY, "out of memory");
    }
}

/* ---- Using it ---- */

void egress_connection_watch(struct egress_connection *c, int events)
{
    if (c->watched != events)
        loop_io_change(c->io, events);
    c->watched = events;
}

/* What a call of OpenSSL that did nothing means. */
static ssize_t tls_result(struct egress_connection *c, int rc, bool reading)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_WRITE:
        c->wants_write = reading;
        return EGRESS_AGAIN;
    case SSL_ERROR_WANT_READ:
        return EGRESS_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return EGRESS_EOF;
    default:
        return EGRESS_BROKEN; /* also an end that TLS did not announce: what came may have been cut */
    }
}

ssize_t egress_connection_read(struct egress_connection *c, char *to, size_t size)
{
    if (!c->ssl) {
        ssize_t n = recv(c->fd, to, size, 0);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? EGRESS_AGAIN : EGRESS_BROKEN;
    }
    size_t got = 0;
    c->wants_write = false;
    ERR_clear_error();
    int rc = SSL_read_ex(c->ssl, to, size, &got);
    return rc == 1 ? (ssize_t)got : tls_result(c, rc, true);
}

bool egress_connection_holds(const struct egress_connection *c)
{
    return c->ssl && SSL_has_pending(c->ssl);
}

/* A byte read is lost: such a connection is closed. */
bool egress_connection_quiet(struct egress_connection *c)
{
    char byte;
    return egress_connection_read(c, &byte, 1) == EGRESS_AGAIN;
}

ssize_t egress_connection_write(struct egress_connection *c, const char *from, size_t size)
{
    if (!c->ssl) {
        ssize_t n = send(c->fd, from, size, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? EGRESS_AGAIN : EGRESS_BROKEN;
    }
    size_t put = 0;
    ERR_clear_error();
    int rc = SSL_write_ex(c->ssl, from, size, &put);
    return rc == 1 ? (ssize_t)put : tls_result(c, rc, false);
}

void egress_connection_free(struct egress_connection *c)
{
    easy_drop(c);
    loop_io_free(c->io);
    if (c->ssl && c->stage == EGRESS_READY)
        SSL_shutdown(c->ssl); /* tells the peer; its answer is not waited for */
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}
