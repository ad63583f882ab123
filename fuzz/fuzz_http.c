/* libFuzzer: what a client sends, as bytes, to a real server over a socket pair. The first byte picks how the
 * handler answers and how the bytes are cut.
 * Held for every input: the answers are the same however the bytes are cut, each is a whole HTTP answer, and
 * when the client leaves nothing of it stays. */
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "http/http_internal.h"

static struct loop *loop;
static struct http_server *server;
static int how; /* 0: whole, 1: stream, 2: later */
static struct http_request *later;

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* ---- The handler ---- */

static void answer(struct http_request *r)
{
    struct str body = http_request_body(r), q = http_request_query(r, "q");
    must(http_request_path(r).len > 0 &&
             memchr(http_request_path(r).data, 0, http_request_path(r).len) == NULL,
        "a path without text or with NUL");
    must(http_request_header_count(r, "host") <= 1, "two hosts");
    must(body.len <= server->options.max_body, "a body over the limit");
    http_reply_header(r, "x-fields", q.len ? STR("q") : STR("none"));
    if (how == 1) {
        http_stream_begin(r, 200, "text/plain");
        http_stream_write(r, http_request_path(r));
        http_stream_write(r, body);
        http_stream_end(r);
    } else {
        http_reply(r, 200, "text/plain", body);
    }
}

static void on_gone(void *r)
{
    must(later == r, "a request is gone that does not wait");
    http_request_release(r);
    later = NULL;
}

static void handle(void *ctx, struct http_request *r)
{
    (void)ctx;
    if (how != 2) {
        answer(r);
        return;
    }
    must(!later, "two requests of one connection at once");
    later = r;
    http_request_on_gone(r, on_gone, r);
}

/* ---- The client ---- */

/* Lets the server do what it can, and takes what it says. */
static void turn(int fd, struct buf *out)
{
    for (int quiet = 0; quiet < 2;) {
        event_base_loop(loop_event_base(loop), EVLOOP_NONBLOCK);
        if (later) {
            struct http_request *r = later;
            later = NULL;
            answer(r);
        }
        char *to = buf_reserve(out, 65536);
        must(to != NULL, "the answer is too large");
        ssize_t n = fd < 0 ? 0 : recv(fd, to, 65536, MSG_DONTWAIT);
        buf_commit(out, n > 0 ? (size_t)n : 0);
        quiet = n > 0 ? 0 : quiet + 1;
    }
}

static void talk(struct str bytes, size_t step, struct buf *out)
{
    static const char peer[64] = "127.0.0.1";
    int pair[2];
    buf_init(out, 64 * MIB);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    http_connection_accept(server, pair[1], peer);
    for (size_t at = 0; at < bytes.len; at += step) {
        struct str piece = str_slice(bytes, at, at + step);
        if (send(pair[0], piece.data, piece.len, MSG_NOSIGNAL) != (ssize_t)piece.len)
            break; /* the server has closed */
        turn(pair[0], out);
    }
    turn(pair[0], out);
    close(pair[0]);
    struct buf nothing;
    buf_init(&nothing, 64 * MIB);
    turn(-1, &nothing);
    buf_free(&nothing);
    must(
        http_server_connections(server) == 0 && http_server_active(server) == 0 && !later, "something stays");
}

/* Every answer has a length or chunks; ours are all well-formed. */
static int on_answer(struct http_parser *p)
{
    must(p->status_code >= 100 && p->status_code < 600, "a status");
    return 0;
}

static void expect_answers(const struct buf *out, bool heads)
{
    static const struct http_parser_settings settings = {.on_headers_complete = on_answer};
    struct http_parser p;
    if (heads)
        return; /* to HEAD: a reader of answers alone cannot tell where one ends */
    http_parser_init(&p, HTTP_RESPONSE);
    size_t used = out->len ? http_parser_execute(&p, &settings, out->data, out->len) : 0;
    must(used == out->len && HTTP_PARSER_ERRNO(&p) == HPE_OK, "a malformed answer");
}

/* The answers up to a refusal, whose words and status depend on what is wrong first. */
static struct str answered(const struct buf *out)
{
    size_t client = str_find(buf_str(out), STR("HTTP/1.1 4")),
           server_side = str_find(buf_str(out), STR("HTTP/1.1 5"));
    size_t end = client < server_side ? client : server_side;
    return end == SIZE_MAX ? buf_str(out) : str_slice(buf_str(out), 0, end + strlen("HTTP/1.1"));
}

/* Whether a client is told to go on depends on what of its body has come. */
static void interim_drop(struct buf *out)
{
    const struct str interim = STR("HTTP/1.1 100 Continue\r\n\r\n");
    for (size_t at; (at = str_find(buf_str(out), interim)) != SIZE_MAX;) {
        out->len -= interim.len;
        memmove(out->data + at, out->data + at + interim.len, out->len - at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!server) {
        struct http_options o;
        http_options_init(&o);
        o.port = 0;
        o.max_header = 2 * KIB;
        o.max_body = 4 * KIB;
        signal(SIGPIPE, SIG_IGN);
        if (loop_create(&loop, NULL) || http_server_create(loop, &o, handle, NULL, &server, NULL))
            abort();
    }
    if (size == 0 || size > 65536)
        return 0;
    struct buf whole, cut;
    struct str bytes = {(const char *)data + 1, size - 1};
    how = data[0] % 3;
    talk(bytes, bytes.len + 1, &whole);
    talk(bytes, size > 2000 ? 97 : (size_t)(data[0] >> 4) + 1, &cut);
    expect_answers(&whole, str_find(bytes, STR("HEAD")) != SIZE_MAX);
    interim_drop(&whole);
    interim_drop(&cut);
    must(str_eq(answered(&whole), answered(&cut)), "a cut changes the answers");
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
