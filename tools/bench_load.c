/* Load for benchmarks: many requests to one address of loopback, their latencies as JSON.
 *
 *   bench_load PORT PATH BODY-FILE [--connections 64] [--rate 0] [--seconds 5] [--header "name: value"]
 *              [--idle 0]
 *
 * Rate 0: each connection asks again as soon as it is answered (throughput). Otherwise so many requests a
 * second start at even distances, each on a free connection (latency; one that finds none free counts as
 * late). Where the body has runs of '#' each request says something else there: of eight a word of as many
 * letters, of more a text of that length whose words come by chance, so that no two are alike, not even those
 * of two runs of this program. `first` is the first byte of the answer's body, `total` its end; microseconds,
 * from when the request was due.
 *
 * With --idle 1 every connection asks once; when each has the first byte of its answer a line is printed, and
 * they are kept open, unread, for so many seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "bench_prose.h"

enum { BATCH = 256, SAMPLES_MAX = 1 << 22, MARKS_MAX = 64 };

struct client {
    int fd;
    bool busy;
    int64_t due_ns, first_ns;
    struct buf in;
};

static struct options {
    int port, connections, rate, idle;
    double seconds;
    struct buf request;
    struct mark {
        size_t at, len;
    } marks[MARKS_MAX]; /* the runs of '#' in it, of eight and more */
    size_t n_marks;
} options = {.connections = 64, .seconds = 5};

static uint64_t chance;         /* of what requests say anew */
static uint32_t *first, *total; /* microseconds */
static size_t n_samples, n_errors, n_late;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void marks_find(struct str in)
{
    for (size_t at = 0, len; at < in.len && options.n_marks < MARKS_MAX; at += len) {
        size_t next = str_find(str_slice(in, at, in.len), STR("########"));
        if (next == SIZE_MAX)
            return;
        at += next;
        for (len = 8; at + len < in.len && in.data[at + len] == '#';)
            len++;
        options.marks[options.n_marks++] = (struct mark){at, len};
    }
}

static void options_read(int argc, char **argv)
{
    struct buf body, headers;
    buf_init(&body, 64 * MIB);
    buf_init(&headers, MIB);
    buf_init(&options.request, 64 * MIB);
    if (argc < 4) {
        fputs(
            "usage: bench_load PORT PATH BODY-FILE [--connections N] [--rate N] [--seconds S] [--header H]\n",
            stderr);
        exit(2);
    }
    for (int i = 4; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--connections"))
            options.connections = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--rate"))
            options.rate = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seconds"))
            options.seconds = atof(argv[i + 1]);
        else if (!strcmp(argv[i], "--idle"))
            options.idle = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--header"))
            buf_appendf(&headers, "%s\r\n", argv[i + 1]);
    }
    options.port = atoi(argv[1]);
    FILE *f = fopen(argv[3], "re");
    char bytes[4096];
    if (!f)
        fail(argv[3]);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;)
        buf_append(&body, bytes, n);
    fclose(f);
    buf_appendf(&options.request,
        "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\ncontent-length: "
        "%zu\r\n" STR_FMT "\r\n" STR_FMT,
        argv[2], options.port, body.len, STR_ARG(buf_str(&headers)), STR_ARG(buf_str(&body)));
    marks_find(buf_str(&options.request));
}

static void client_open(struct client *c, int epoll)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)options.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at))
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
    if (!c->in.max)
        buf_init(&c->in, 64 * MIB);
    buf_clear(&c->in);
}

static void request_vary(void)
{
    for (size_t i = 0; i < options.n_marks; i++) {
        char *at = options.request.data + options.marks[i].at;
        if (options.marks[i].len == 8)
            prose_word(&chance, at, 8);
        else
            prose_fill(&chance, at, options.marks[i].len);
    }
}

static void client_ask(struct client *c, int64_t due_ns)
{
    c->busy = true;
    c->due_ns = due_ns;
    c->first_ns = 0;
    buf_clear(&c->in);
    request_vary();
    if (send(c->fd, options.request.data, options.request.len, MSG_NOSIGNAL) != (ssize_t)options.request.len)
        fail("send");
}

/* Is the answer complete? */
static bool answer_ended(const struct client *c, size_t head)
{
    struct str in = buf_str(&c->in), headers = str_slice(in, 0, head);
    for (size_t i = 0; i + 15 < headers.len; i++)
        if (strncasecmp(headers.data + i, "content-length:", 15) == 0)
            return in.len >= head + 4 + strtoul(headers.data + i + 15, NULL, 10);
    return str_ends(in, STR("\r\n0\r\n\r\n"));
}

/* 1: answered, 0: not yet, -1: the connection is gone. */
static int client_read(struct client *c)
{
    static char bytes[256 * 1024];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? 0 : -1;
    int64_t now = clock_mono_ns();
    buf_append(&c->in, bytes, (size_t)n);
    size_t head = str_find(buf_str(&c->in), STR("\r\n\r\n"));
    if (head == SIZE_MAX)
        return 0;
    if (!c->first_ns && c->in.len > head + 4)
        c->first_ns = now;
    if (!answer_ended(c, head))
        return 0;
    if (!str_starts(buf_str(&c->in), STR("HTTP/1.1 200")))
        n_errors++;
    if (n_samples < SAMPLES_MAX) {
        first[n_samples] = (uint32_t)((c->first_ns - c->due_ns) / 1000);
        total[n_samples++] = (uint32_t)((now - c->due_ns) / 1000);
    }
    c->busy = false;
    return 1;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(uint32_t *list, double q)
{
    return n_samples ? list[(size_t)((double)(n_samples - 1) * q)] : 0;
}

static void report(double seconds)
{
    qsort(first, n_samples, sizeof *first, compare);
    qsort(total, n_samples, sizeof *total, compare);
    printf("{\"requests\":%zu,\"errors\":%zu,\"late\":%zu,\"per_s\":%.0f,\"first_us\":[%u,%u],\"total_us\":[%"
           "u,%u]}\n",
        n_samples, n_errors, n_late, (double)n_samples / seconds, quantile(first, 0.5), quantile(first, 0.99),
        quantile(total, 0.5), quantile(total, 0.99));
}

/* Starts what is due; how long until the next is, in milliseconds. */
static int rate_turn(struct client *clients, int64_t start_ns, int64_t *started)
{
    int64_t distance = 1000000000 / options.rate, now = clock_mono_ns();
    while (start_ns + *started * distance <= now) {
        struct client *idle = NULL;
        for (int i = 0; i < options.connections && !idle; i++)
            idle = clients[i].busy ? NULL : &clients[i];
        if (idle)
            client_ask(idle, start_ns + *started * distance);
        else
            n_late++;
        (*started)++;
    }
    return 0;
}

/* The first byte of a body on each connection, then nothing. */
static int hold(struct client *clients)
{
    int good = 0;
    for (int i = 0; i < options.connections; i++)
        client_ask(&clients[i], 0);
    for (int i = 0; i < options.connections; i++) {
        struct pollfd p = {clients[i].fd, POLLIN, 0};
        while (!clients[i].first_ns && poll(&p, 1, 30000) == 1 && client_read(&clients[i]) == 0)
            continue;
        good += clients[i].first_ns && str_starts(buf_str(&clients[i].in), STR("HTTP/1.1 200"));
        buf_free(&clients[i].in);
    }
    printf("{\"connections\":%d,\"streaming\":%d}\n", options.connections, good);
    fflush(stdout);
    usleep((useconds_t)(options.seconds * 1e6));
    return good != options.connections;
}

int main(int argc, char **argv)
{
    struct epoll_event events[BATCH];
    struct rlimit files;
    options_read(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    chance = (uint64_t)clock_mono_ns() | 1;
    first = must(malloc(SAMPLES_MAX * sizeof *first));
    total = must(malloc(SAMPLES_MAX * sizeof *total));
    struct client *clients = must(calloc((size_t)options.connections, sizeof *clients));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.connections; i++)
        client_open(&clients[i], epoll);
    if (options.idle)
        return hold(clients);
    int64_t start = clock_mono_ns(), end = start + (int64_t)(options.seconds * 1e9), started = 0;
    for (int i = 0; i < options.connections && options.rate == 0; i++)
        client_ask(&clients[i], start);
    while (clock_mono_ns() < end) {
        struct timespec wait = {.tv_nsec = 50000000};
        if (options.rate > 0) {
            rate_turn(clients, start, &started);
            int64_t left = start + started * (1000000000 / options.rate) - clock_mono_ns();
            wait.tv_nsec = left > 0 ? left : 0;
        }
        int n = epoll_pwait2(epoll, events, BATCH, &wait, NULL);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            int done = client_read(c);
            if (done < 0) {
                n_errors++;
                close(c->fd);
                client_open(c, epoll);
                c->busy = false;
            }
            if (done && options.rate == 0)
                client_ask(c, clock_mono_ns());
        }
    }
    report(options.seconds);
    return n_errors > 0;
}
