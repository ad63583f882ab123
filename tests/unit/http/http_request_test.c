/* What a handler sees, and how its answers reach the client. */
#include "http_fixture.h"

/* ---- Reading ---- */

static void show(struct buf *out, const char *name, struct str s)
{
    buf_appendf(out, "%s=%s" STR_FMT "\n", name, s.data ? "" : "none ", STR_ARG(s));
}

static void describe(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    struct buf out;
    buf_init(&out, MIB);
    show(&out, "path", http_request_path(r));
    show(&out, "a", http_request_query(r, "a"));
    show(&out, "b", http_request_query(r, "b"));
    show(&out, "empty", http_request_query(r, "empty"));
    show(&out, "bare", http_request_query(r, "bare"));
    show(&out, "bad", http_request_query(r, "bad"));
    show(&out, "missing", http_request_query(r, "missing"));
    show(&out, "x", http_request_header(r, "x-thing"));
    buf_appendf(&out, "count=%d\n", http_request_header_count(r, "X-THING"));
    show(&out, "none", http_request_header(r, "x-none"));
    show(&out, "peer", http_request_peer(r));
    atomic_fetch_add(&f->handled, 1);
    http_reply_header(r, "x-mine", STR("v1"));
    http_reply_header(r, "x-mine-too", STR(""));
    http_reply(r, 200, NULL, buf_str(&out));
    buf_free(&out);
}

static void shows_paths_queries_and_headers_decoded(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, describe);
    const char *answer = ask(&f, &in,
        "GET /a%2Fb%20c+d?a=1%262+3&b=&empty=&bare&bad=%zz&a=second HTTP/1.1\r\n" HOST CLOSE
        "X-Thing: \t first value \t\r\nx-thing: second\r\nX-Other:no space\r\n\r\n");
    expect_body(answer,
        "path=/a/b c+d\na=1&2 3\nb=\nempty=\nbare=\nbad=\nmissing=none \nx=first value\ncount=2\nnone=none \n"
        "peer=127.0.0.1\n");
    assert_non_null(strstr(answer, "\r\nx-mine: v1\r\nx-mine-too: \r\n"));
    assert_null(strstr(answer, "Content-Type"));
    /* The absolute form, and a path that ends in an escape. */
    answer = ask(&f, &in, "GET http://localhost/x%41?a=b#frag HTTP/1.1\r\n" HOST CLOSE "\r\n");
    assert_non_null(strstr(answer, "path=/xA\na=b\n"));
    fixture_stop(&f);
    buf_free(&in);
}

static void tell_host(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    struct buf out;
    buf_init(&out, KIB);
    buf_appendf(&out, STR_FMT " " STR_FMT, STR_ARG(http_request_host(r)), STR_ARG(http_request_path(r)));
    atomic_fetch_add(&f->handled, 1);
    http_reply(r, 200, NULL, buf_str(&out));
    buf_free(&out);
}

/* RFC 9112, 3.2.2. */
static void a_target_that_names_another_host_than_the_header_was_let_in_by_the_header(void **state)
{
    static const struct {
        const char *target, *body; /* NULL: 400 */
    } rows[] = {
        {"/p", "localhost /p"},
        {"http://other.example/p", "other.example /p"},
        {"HTTPS://other.example:81/p?q#f", "other.example:81 /p"},
        {"http://[::1]:8/p", "[::1]:8 /p"},
        {"http://other.example", "other.example /"}, /* RFC 9110, 4.2.3 */
        {"http://other.example?q", "other.example /"},
        {"http://localhost@other.example/p", NULL},
        {"http://other.example@localhost/p", NULL},
        {"ftp://localhost/p", NULL},
        {"http:///p", NULL},
        {"http://", NULL},
    };
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, tell_host);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char request[128];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST CLOSE "\r\n", rows[i].target);
        const char *answer = ask(&f, &in, request);
        if (rows[i].body)
            expect_body(answer, rows[i].body);
        else
            expect_status(answer, 400);
    }
    fixture_stop(&f);
    buf_free(&in);
}

/* ---- Whole answers ---- */

static void answers_head_without_a_body(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    int fd = client_connect(&f);
    client_text(fd, "HEAD /h HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(client_until(fd, &in, "\r\n\r\n"), "\r\nContent-Length: 8\r\n"));
    client_text(fd, "GET /h HTTP/1.1\r\n" HOST CLOSE "\r\n");
    expect_body(client_rest(fd, &in), "GET /h ");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

enum { BIG = 24 * 1024 * 1024 };

static void reply_big(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    char *body = calloc(1, BIG);
    atomic_fetch_add(&f->handled, 1);
    http_reply(r, 200, "text/plain", (struct str){body, BIG});
    free(body);
}

/* Reads the big answer, slowly at first; the bytes of its body. */
static size_t read_slowly(int fd, int ms)
{
    struct buf in;
    size_t got = 0;
    buf_init(&in, 64 * MIB);
    for (int i = 0; i < ms / 10; i++) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 0) == 1) {
            char *to = buf_reserve(&in, 4096);
            ssize_t n = recv(fd, to, 4096, 0);
            if (n <= 0)
                break;
            buf_commit(&in, (size_t)n);
        }
        usleep(10000);
    }
    while (in.len < BIG && client_more(fd, &in))
        continue;
    const char *head = memmem(in.data, in.len, "\r\n\r\n", 4);
    got = head ? in.len - (size_t)(head + 4 - in.data) : 0;
    while (got < BIG && client_more(fd, &in))
        got = in.len - (size_t)(head + 4 - in.data);
    buf_free(&in);
    return got;
}

static void an_answer_that_takes_longer_than_the_read_timeout_was_cut(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.options.read_timeout_s = 1;
    f.options.write_timeout_s = 5;
    fixture_start(&f, reply_big);
    int fd = client_open(f.port, 4096);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(read_slowly(fd, 2500), BIG);
    close(fd);
    fixture_stop(&f);
}

static void an_answer_still_on_its_way_was_lost_when_the_client_closed_its_side(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_start(&f, reply_big);
    int fd = client_open(f.port, 4096);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_slowly(fd, 100), BIG);
    close(fd);
    fixture_stop(&f);
}

static void stop(struct fixture *f)
{
    http_server_stop_accepting(f->server);
}

static void an_answer_still_on_its_way_was_lost_when_the_server_drained(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, reply_big);
    int fd = client_open(f.port, 4096);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    fixture_do(&f, stop);
    assert_int_equal(read_slowly(fd, 100), BIG);
    assert_string_equal(client_rest(fd, &in), "");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

static void gives_up_on_a_client_that_takes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.options.write_timeout_s = 1;
    fixture_start(&f, reply_big);
    int fd = client_open(f.port, 4096);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    wait_for_connections(&f, 0);
    close(fd);
    fixture_stop(&f);
}

/* ---- Streams ---- */

static void stream_three(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    http_reply_header(r, "x-mine", STR("v"));
    http_stream_begin(r, 200, "text/event-stream");
    http_stream_write(r, STR("one"));
    http_stream_write(r, STR(""));
    http_stream_write(r, STR("two, longer than 15"));
    http_stream_end(r);
    atomic_fetch_add(&f->handled, 1);
}

static void streams_in_chunks(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, stream_three);
    int fd = client_connect(&f);
    for (int i = 0; i < 2; i++) {
        client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
        assert_string_equal(client_until(fd, &in, "0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-mine: v\r\nTransfer-Encoding: "
            "chunked\r\n\r\n"
            "3\r\none\r\n13\r\ntwo, longer than 15\r\n0\r\n\r\n");
    }
    client_text(fd, "HEAD / HTTP/1.1\r\n" HOST CLOSE "\r\n");
    expect_body(client_rest(fd, &in), "");
    close(fd);
    /* HTTP/1.0 knows no chunks: the end of the connection ends the answer. */
    const char *answer = ask(&f, &in, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_null(strstr(answer, "chunked"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    expect_body(answer, "onetwo, longer than 15");
    fixture_stop(&f);
    buf_free(&in);
}

/* A stream that writes until it is full, goes on when it is drained, and ends after `total` bytes. */
enum { PIECE = 10000, PIECES = 3000 };

struct pump {
    struct fixture f; /* first */
    int written;      /* loop's thread */
    _Atomic int full;
};

static void pump_go(void *ctx)
{
    struct pump *p = ctx;
    static const char piece[PIECE];
    struct http_request *r = p->f.pending;
    while (p->written < PIECES && !http_stream_full(r)) {
        http_stream_write(r, (struct str){piece, PIECE});
        p->written++;
    }
    if (p->written == PIECES) {
        p->f.pending = NULL;
        p->written++;
        http_stream_end(r);
    } else if (p->written < PIECES) {
        atomic_fetch_add(&p->full, 1);
    }
}

static void pump_start(void *ctx, struct http_request *r)
{
    struct pump *p = ctx;
    p->f.pending = r;
    http_request_on_gone(r, on_gone, &p->f);
    http_stream_on_drain(r, pump_go, p);
    http_stream_begin(r, 200, "text/plain");
    atomic_fetch_add(&p->f.handled, 1);
    pump_go(p);
}

static void holds_back_a_stream_at_the_watermark(void **state)
{
    (void)state;
    struct pump p = {0};
    struct buf in;
    buf_init(&in, 64 * MIB);
    fixture_init(&p.f);
    fixture_start(&p.f, pump_start);
    int fd = client_open(p.f.port, 4096);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n");
    wait_for(&p.full, 1);
    usleep(50000);
    /* What the system buffers varies; the server itself holds no more than the mark and one piece. */
    assert_true(atomic_load(&p.full) < PIECES / 10);
    client_rest(fd, &in);
    size_t chunk = strlen("2710\r\n\r\n") + PIECE;
    const char *body = (const char *)memmem(in.data, in.len, "\r\n\r\n", 4) + 4;
    assert_int_equal(in.len - (size_t)(body - in.data), PIECES * chunk + 5);
    assert_true(atomic_load(&p.full) > 5);
    close(fd);
    fixture_stop(&p.f);
    buf_free(&in);
}

static void tells_a_stream_that_its_client_left(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct pump p = {0};
        fixture_init(&p.f);
        p.f.options.write_timeout_s = how == 2 ? 1 : 60;
        fixture_start(&p.f, pump_start);
        int fd = client_open(p.f.port, 4096);
        client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
        wait_for(&p.full, 1);
        if (how == 0)
            shutdown(fd, SHUT_WR);
        else if (how == 1)
            close(fd);
        wait_for(&p.f.gone, 1);
        wait_for_connections(&p.f, 0);
        assert_null(p.f.pending);
        if (how != 1)
            close(fd);
        fixture_stop(&p.f);
    }
}

/* What comes in pieces within a turn of the loop is written as one, however often it is said to be due. */
struct late {
    struct fixture f; /* first */
    int called;       /* loop's thread */
};

static void late_end(void *ctx)
{
    struct late *l = ctx;
    http_stream_end(l->f.pending);
    l->f.pending = NULL;
}

static void late_write(void *ctx)
{
    struct late *l = ctx;
    http_stream_write(l->f.pending, l->called++ ? STR("again") : STR("rest"));
    loop_post(l->f.loop, late_end, l);
}

static void late_start(void *ctx, struct http_request *r)
{
    struct late *l = ctx;
    l->f.pending = r;
    http_request_on_gone(r, on_gone, &l->f);
    http_stream_on_due(r, late_write, l);
    http_stream_begin(r, 200, "text/plain");
    http_stream_soon(r);
    http_stream_write(r, STR("first"));
    http_stream_soon(r);
    atomic_fetch_add(&l->f.handled, 1);
}

static void what_is_due_is_written_once_at_the_end_of_the_turn(void **state)
{
    (void)state;
    struct late l = {0};
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&l.f);
    fixture_start(&l.f, late_start);
    const char *answer = ask(&l.f, &in, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n");
    assert_non_null(strstr(answer, "\r\n\r\n5\r\nfirst\r\n4\r\nrest\r\n0\r\n\r\n"));
    fixture_stop(&l.f);
    assert_int_equal(l.called, 1);
    buf_free(&in);
}

/* A handler that did not ask to be told of a client that left may answer all the same. */
static void leave_silently(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->pending = r;
    atomic_fetch_add(&f->handled, 1);
}

static void count_active(struct fixture *f)
{
    atomic_store(&f->drained, http_server_active(f->server));
}

static void answer_all_the_same(struct fixture *f)
{
    struct http_request *r = f->pending;
    f->pending = NULL;
    assert_int_equal(http_request_peer(r).len, 0);
    http_stream_begin(r, 200, "text/plain");
    http_stream_write(r, STR("to nobody"));
    assert_false(http_stream_full(r));
    http_stream_end(r);
}

static void answers_to_nobody_are_harmless(void **state)
{
    (void)state;
    struct fixture f;
    for (int how = 0; how < 2; how++) {
        fixture_init(&f);
        fixture_start(&f, leave_silently);
        int fd = client_connect(&f);
        client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
        wait_for(&f.handled, 1);
        close(fd);
        do
            fixture_do(&f, count_active);
        while (atomic_load(&f.drained) > 0);
        fixture_do(&f, how ? reply_now : answer_all_the_same);
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_paths_queries_and_headers_decoded),
        cmocka_unit_test(a_target_that_names_another_host_than_the_header_was_let_in_by_the_header),
        cmocka_unit_test(answers_head_without_a_body),
        cmocka_unit_test(an_answer_that_takes_longer_than_the_read_timeout_was_cut),
        cmocka_unit_test(an_answer_still_on_its_way_was_lost_when_the_client_closed_its_side),
        cmocka_unit_test(an_answer_still_on_its_way_was_lost_when_the_server_drained),
        cmocka_unit_test(gives_up_on_a_client_that_takes_nothing),
        cmocka_unit_test(streams_in_chunks),
        cmocka_unit_test(holds_back_a_stream_at_the_watermark),
        cmocka_unit_test(tells_a_stream_that_its_client_left),
        cmocka_unit_test(what_is_due_is_written_once_at_the_end_of_the_turn),
        cmocka_unit_test(answers_to_nobody_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
