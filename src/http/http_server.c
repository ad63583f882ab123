/* The listener: sockets, TLS, the number of connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "http/http_internal.h"

void http_options_init(struct http_options *o)
{
    *o = (struct http_options){.address = "127.0.0.1",
        .port = 8080,
        .max_header = LIMIT_HTTP_HEADER,
        .max_body = LIMIT_HTTP_BODY,
        .max_connections = LIMIT_CONNECTIONS,
        .read_timeout_s = 30,
        .write_timeout_s = 60,
        .write_high = 256 * KIB,
        .write_low = 64 * KIB};
}

static void peer_name(const struct sockaddr *address, char out[64])
{
    const void *ip = address->sa_family == AF_INET6
                         ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                         : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (!inet_ntop(address->sa_family, ip, out, 64))
        out[0] = '\0';
}

static void on_accept(
    struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *ctx)
{
    struct http_server *s = ctx;
    (void)listener;
    (void)len;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char peer[64];
    peer_name(address, peer);
    http_connection_accept(s, fd, peer);
    if (s->n_connections >= s->options.max_connections && s->listener) {
        s->paused = true;
        evconnlistener_disable(s->listener);
    }
}

static void accept_resume(void *ctx)
{
    struct http_server *s = ctx;
    if (s->listener && !s->paused)
        evconnlistener_enable(s->listener);
}

static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    struct http_server *s = ctx;
    /* Most likely out of descriptors: the backlog waits while others finish. */
    log_warn("http", "cannot accept a connection: %s; trying again in 100 ms", strerror(errno));
    evconnlistener_disable(listener);
    loop_timer_start(s->accept_again, 100);
}

void http_server_forget(struct http_server *s, struct http_connection *c)
{
    list_remove(&c->link);
    s->n_connections--;
    if (s->paused && s->n_connections < s->options.max_connections) {
        s->paused = false;
        accept_resume(s);
    }
}

/* The end of the loop's turn. */
static void on_flush(void *ctx)
{
    struct http_server *s = ctx;
    struct list now;
    list_init(&now);
    while (!list_empty(&s->owing)) {
        struct list *first = s->owing.next;
        list_remove(first);
        list_push_back(&now, first);
    }
    while (!list_empty(&now))
        http_connection_flush(list_item(now.next, struct http_connection, owing));
}

static int tls_fail(struct error *err, const char *what, const char *file)
{
    char why[256];
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    return error_set(err, ERROR_INVALID, "cannot use the TLS %s '%s': %s", what, file, why);
}

static int tls_files(SSL_CTX *tls, const struct http_options *o, struct error *err)
{
    if (SSL_CTX_use_certificate_chain_file(tls, o->certificate) != 1)
        return tls_fail(err, "certificate", o->certificate);
    if (SSL_CTX_use_PrivateKey_file(tls, o->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        return tls_fail(err, "key", o->key);
    return 0;
}

/* Connections that are open hold the context that they began with. */
int http_server_tls_read(struct http_server *s, struct error *err)
{
    if (!s->options.certificate)
        return 0;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls)
        return error_set(err, ERROR_MEMORY, "cannot set up TLS");
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    int rc = tls_files(tls, &s->options, err);
    if (rc) {
        SSL_CTX_free(tls);
        return rc;
    }
    SSL_CTX_free(s->tls);
    s->tls = tls;
    return 0;
}

static int socket_open(const struct http_options *o, int *out, struct error *err)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    struct addrinfo *info = NULL;
    char port[16];
    evutil_snprintf(port, sizeof port, "%d", o->port);
    if (getaddrinfo(o->address, port, &hints, &info) != 0)
        return error_set(err, ERROR_INVALID, "'%s' is not an IP address to listen on", o->address);
    int one = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
                       bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, 4096) != 0)) {
        int saved = errno;
        close(fd);
        fd = -1;
        errno = saved;
    }
    freeaddrinfo(info);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot listen on %s port %d: %s%s", o->address, o->port,
            strerror(errno),
            errno == EADDRINUSE ? ": stop the program that uses it, or choose another with --listen" : "");
    *out = fd;
    return 0;
}

static int listener_open(struct http_server *s, struct error *err)
{
    int fd = -1;
    if (s->options.share) {
        fd = dup(evconnlistener_get_fd(s->options.share->listener));
        if (fd < 0)
            return error_set(err, ERROR_IO, "cannot share the listening socket: %s", strerror(errno));
    } else {
        int rc = socket_open(&s->options, &fd, err);
        if (rc)
            return rc;
    }
    s->listener = evconnlistener_new(
        loop_event_base(s->loop), on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!s->listener) {
        close(fd);
        return error_set(err, ERROR_IO, "cannot listen on %s", s->options.address);
    }
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    return 0;
}

int http_server_create(struct loop *loop, const struct http_options *options, http_handler *handler,
    void *ctx, struct http_server **out, struct error *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->loop = loop;
    s->options = *options;
    if (s->options.max_connections <= 0)
        s->options.max_connections = LIMIT_CONNECTIONS;
    s->handler = handler;
    s->ctx = ctx;
    list_init(&s->connections);
    list_init(&s->owing);
    buf_init(&s->head, 128 * KIB); /* its fields are half of that at most */
    s->flush = loop_timer_create(loop, on_flush, s);
    s->accept_again = loop_timer_create(loop, accept_resume, s);
    int rc = http_server_tls_read(s, err);
    if (rc == 0)
        rc = listener_open(s, err);
    if (rc) {
        http_server_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int http_server_port(const struct http_server *s)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (!s->listener ||
        getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&address, &len) != 0)
        return -1;
    in_port_t port = address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                   : ((struct sockaddr_in *)&address)->sin_port;
    return ntohs(port);
}

/* Connections that the kernel has made already are answered too: closing the listener would reset them. */
static void accept_pending(struct http_server *s)
{
    int fd;
    while (
        s->n_connections < s->options.max_connections &&
        (fd = accept4(evconnlistener_get_fd(s->listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        if (getpeername(fd, (struct sockaddr *)&address, &len) == 0)
            on_accept(s->listener, fd, (struct sockaddr *)&address, (int)len, s);
        else
            close(fd);
    }
}

void http_server_stop_accepting(struct http_server *s)
{
    if (!s->listener)
        return;
    accept_pending(s);
    evconnlistener_free(s->listener);
    s->listener = NULL;
    list_each(node, after, &s->connections)
        http_connection_drain(list_item(node, struct http_connection, link));
}

int http_server_active(const struct http_server *s)
{
    return s->n_active;
}

int http_server_connections(const struct http_server *s)
{
    return s->n_connections;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    if (s->listener)
        evconnlistener_free(s->listener);
    s->listener = NULL;
    list_each(node, after, &s->connections)
        http_connection_lost(list_item(node, struct http_connection, link));
    loop_timer_free(s->accept_again);
    loop_timer_free(s->flush);
    http_request_spares_free(s);
    buf_free(&s->head);
    SSL_CTX_free(s->tls);
    free(s);
}
