/* A fixed provider for benchmarks: answers every POST in OpenAI's shape, as fast as one thread can.
 *
 *   bench_upstream EVENTS        listens on a free port of loopback and prints it
 *
 * A request whose body asks for a stream gets EVENTS server-sent events in one piece, any other a whole
 * answer; a stream whose body holds "idle-1" gets the first event and then nothing more. It ends when
 * standard input is closed, so that a benchmark that dies leaves nothing behind. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"

enum { READ_MAX = 256 * 1024, BATCH = 256 };

struct peer {
    int fd;
    struct buf in, out;
};

static struct buf whole, stream, idle;

static void answers_make(int events)
{
    struct buf body;
    buf_init(&body, MIB);
    buf_append_text(&body, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":"
                           "\"sim-1\",\"choices\":[{"
                           "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (int i = 0; i < events; i++)
        buf_appendf(&body, "word%d ", i);
    buf_append_text(&body, "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,"
                           "\"completion_tokens\":30,\"total_tokens\":230}}");
    buf_init(&whole, MIB);
    buf_appendf(&whole,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n" STR_FMT, body.len,
        STR_ARG(buf_str(&body)));
    buf_clear(&body);
    for (int i = 0; i < events; i++)
        buf_appendf(&body,
            "data: "
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-1\","
            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word%d \"},\"finish_reason\":%s}]}\n\n",
            i, i + 1 == events ? "\"stop\"" : "null");
    buf_append_text(&body,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-1\","
        "\"choices\":[],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":30,\"total_tokens\":230}}\n\n"
        "data: [DONE]\n\n");
    buf_init(&stream, MIB);
    buf_appendf(&stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: "
        "chunked\r\n\r\n%zx\r\n" STR_FMT "\r\n0\r\n\r\n",
        body.len, STR_ARG(buf_str(&body)));
    size_t first = str_find(buf_str(&body), STR("\n\n")) + 2;
    buf_init(&idle, MIB);
    buf_appendf(&idle,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: "
        "chunked\r\n\r\n%zx\r\n" STR_FMT "\r\n",
        first, STR_ARG(str_slice(buf_str(&body), 0, first)));
    buf_free(&body);
}

/* Bytes of the request that `in` begins with, 0: more are needed. */
static size_t request_bytes(struct str in)
{
    size_t head = str_find(in, STR("\r\n\r\n")), length = 0;
    if (head == SIZE_MAX)
        return 0;
    for (size_t i = 0; i + 15 < head; i++)
        if (strncasecmp(in.data + i, "content-length:", 15) == 0)
            length = strtoul(in.data + i + 15, NULL, 10);
    return in.len < head + 4 + length ? 0 : head + 4 + length;
}

static bool peer_write(struct peer *p)
{
    while (p->out.len > 0) {
        ssize_t n = send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        buf_consume(&p->out, (size_t)n);
    }
    return true;
}

static bool peer_serve(struct peer *p)
{
    static char bytes[READ_MAX];
    ssize_t n;
    while ((n = read(p->fd, bytes, sizeof bytes)) > 0)
        buf_append(&p->in, bytes, (size_t)n);
    if (n == 0 || errno != EAGAIN)
        return false;
    for (size_t taken; (taken = request_bytes(buf_str(&p->in))) > 0; buf_consume(&p->in, taken)) {
        struct str request = str_slice(buf_str(&p->in), 0, taken);
        bool streamed = str_find(request, STR("\"stream\":true")) != SIZE_MAX;
        bool waits = streamed && str_find(request, STR("idle-1")) != SIZE_MAX;
        buf_append_str(&p->out, buf_str(waits ? &idle : streamed ? &stream : &whole));
    }
    return peer_write(p);
}

static void peer_add(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct peer *p = must(calloc(1, sizeof *p));
    p->fd = fd;
    buf_init(&p->in, 64 * MIB);
    buf_init(&p->out, 64 * MIB);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void peer_free(struct peer *p)
{
    close(p->fd);
    buf_free(&p->in);
    buf_free(&p->out);
    free(p);
}

static int listener_open(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&at, &length)) {
        perror("bench_upstream");
        exit(1);
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static struct peer input, door; /* only their addresses count */
    struct epoll_event events[BATCH];
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    answers_make(argc > 1 ? atoi(argv[1]) : 30);
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listener_open();
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &door};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &input;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e);
    for (;;) {
        int n = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            char byte;
            if (p == &input) {
                if (read(STDIN_FILENO, &byte, 1) <= 0)
                    return 0;
            } else if (p == &door) {
                peer_add(epoll, listener);
            } else if (!(events[i].events & EPOLLIN ? peer_serve(p) : peer_write(p))) {
                peer_free(p);
            }
        }
    }
}
