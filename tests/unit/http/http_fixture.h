/* A real server on a loop of its own thread, and clients that are bare sockets. */
#ifndef WEIR_TESTS_HTTP_FIXTURE_H
#define WEIR_TESTS_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/loop.h"
#include "http/http.h"

enum { WAIT_MS = 10000 }; /* nothing here should take that long */

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_options options;
    pthread_t thread;
    int port;
    struct http_request *pending; /* loop's thread: what a handler left for later */
    _Atomic int handled, gone, drained;
};

/* ---- Running something on the loop's thread ---- */

struct fixture_call {
    void (*fn)(struct fixture *f);
    struct fixture *f;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};

static inline void fixture_call_run(void *ctx)
{
    struct fixture_call *c = ctx;
    c->fn(c->f);
    pthread_mutex_lock(&c->mutex);
    c->is_done = true;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->mutex);
}

static inline void fixture_do(struct fixture *f, void (*fn)(struct fixture *f))
{
    struct fixture_call c = {fn, f, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    loop_post(f->loop, fixture_call_run, &c);
    pthread_mutex_lock(&c.mutex);
    while (!c.is_done)
        pthread_cond_wait(&c.done, &c.mutex);
    pthread_mutex_unlock(&c.mutex);
    pthread_mutex_destroy(&c.mutex);
    pthread_cond_destroy(&c.done);
}

static inline void *fixture_run(void *ctx)
{
    struct fixture *f = ctx;
    struct error err;
    if (loop_run(f->loop, &err))
        abort();
    return NULL;
}

/* Options may be set before fixture_start. */
static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    http_options_init(&f->options);
    f->options.port = 0;
    signal(SIGPIPE, SIG_IGN); /* as main does */
}

static inline void fixture_start(struct fixture *f, http_handler *handler)
{
    struct error err = {0};
    assert_int_equal(loop_create(&f->loop, &err), 0);
    if (http_server_create(f->loop, &f->options, handler, f, &f->server, &err))
        fail_msg("%s", err.message);
    f->port = http_server_port(f->server);
    assert_true(f->port > 0);
    assert_int_equal(pthread_create(&f->thread, NULL, fixture_run, f), 0);
}

static inline void fixture_free_server(struct fixture *f)
{
    http_server_free(f->server);
    f->server = NULL;
}

static inline void fixture_stop(struct fixture *f)
{
    if (f->server)
        fixture_do(f, fixture_free_server);
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    loop_free(f->loop);
}

static inline void wait_for(_Atomic int *counter, int value)
{
    for (int64_t end = clock_mono_ms() + WAIT_MS; atomic_load(counter) < value; usleep(1000))
        if (clock_mono_ms() > end)
            fail_msg("waited for %d, it is %d", value, atomic_load(counter));
}

static inline void count_connections(struct fixture *f)
{
    atomic_store(&f->drained, http_server_connections(f->server));
}

static inline void wait_for_connections(struct fixture *f, int count)
{
    int64_t end = clock_mono_ms() + WAIT_MS;
    for (fixture_do(f, count_connections); atomic_load(&f->drained) != count; usleep(2000)) {
        fixture_do(f, count_connections);
        if (clock_mono_ms() > end)
            fail_msg("waited for %d connections, there are %d", count, atomic_load(&f->drained));
    }
}

/* ---- Clients ---- */

static inline int client_open(int port, int receive_buffer)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((in_port_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    assert_true(fd >= 0);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static inline int client_connect(const struct fixture *f)
{
    return client_open(f->port, 0);
}

static inline void client_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            fail_msg("send: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

static inline void client_text(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

/* Appends what arrives; false at the end of the stream or when it breaks. Fails when nothing comes. */
static inline bool client_more(int fd, struct buf *in)
{
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, WAIT_MS) != 1)
        fail_msg("nothing came in %d ms; so far: %s", (int)WAIT_MS, in->data ? in->data : "");
    char *to = buf_reserve(in, 65536);
    assert_non_null(to);
    ssize_t n = recv(fd, to, 65536, 0);
    if (n <= 0)
        return false;
    buf_commit(in, (size_t)n);
    return true;
}

/* Everything until the server closes; the text is NUL-terminated. */
static inline const char *client_rest(int fd, struct buf *in)
{
    buf_clear(in);
    while (client_more(fd, in))
        continue;
    return in->data ? in->data : "";
}

/* Until what came ends with `end`. */
static inline const char *client_until(int fd, struct buf *in, const char *end)
{
    buf_clear(in);
    while (!str_ends(buf_str(in), str_from(end)))
        if (!client_more(fd, in))
            fail_msg("closed before '%s': %s", end, in->data ? in->data : "");
    return in->data;
}

/* Sends `request`, returns all that comes until the server closes. */
static inline const char *ask(const struct fixture *f, struct buf *in, const char *request)
{
    int fd = client_connect(f);
    client_text(fd, request);
    client_rest(fd, in);
    close(fd);
    return in->data ? in->data : "";
}

static inline void expect_status(const char *answer, int status)
{
    char start[32];
    snprintf(start, sizeof start, "HTTP/1.1 %d ", status);
    if (strncmp(answer, start, strlen(start)) != 0)
        fail_msg("expected %d, got: %.200s", status, answer);
}

static inline void expect_body(const char *answer, const char *body)
{
    const char *at = strstr(answer, "\r\n\r\n");
    assert_non_null(at);
    assert_string_equal(at + 4, body);
}

static inline int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* ---- Handlers ---- */

/* "METHOD path body" */
static inline void echo(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    struct buf out;
    struct str method = http_request_method(r), path = http_request_path(r), body = http_request_body(r);
    buf_init(&out, 64 * MIB);
    buf_append_str(&out, method);
    buf_append_char(&out, ' ');
    buf_append_str(&out, path);
    buf_append_char(&out, ' ');
    buf_append_str(&out, body);
    atomic_fetch_add(&f->handled, 1);
    http_reply(r, 200, "text/plain", buf_str(&out));
    buf_free(&out);
}

static inline void on_gone(void *ctx)
{
    struct fixture *f = ctx;
    http_request_release(f->pending);
    f->pending = NULL;
    atomic_fetch_add(&f->gone, 1);
}

/* Leaves the answer to the test. */
static inline void later(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->pending = r;
    http_request_on_gone(r, on_gone, f);
    atomic_fetch_add(&f->handled, 1);
}

static inline void reply_now(struct fixture *f)
{
    http_reply(f->pending, 200, "text/plain", STR("late"));
    f->pending = NULL;
}

#define HOST "Host: localhost\r\n"
#define CLOSE "Connection: close\r\n"

#endif
