/* Reading requests: framing, what is refused, time-outs, clients that leave. */
#include "http_fixture.h"

static void keeps_a_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    int fd = client_connect(&f);
    for (int i = 0; i < 3; i++) {
        char request[128], end[64];
        snprintf(request, sizeof request, "POST /n%d HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nb%d", i, i);
        snprintf(end, sizeof end, "POST /n%d b%d", i, i);
        client_text(fd, request);
        const char *answer = client_until(fd, &in, end);
        expect_status(answer, 200);
        assert_null(strstr(answer, "Connection:"));
    }
    client_text(fd, "GET /last HTTP/1.1\r\n" HOST CLOSE "\r\n");
    const char *answer = client_rest(fd, &in);
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    expect_body(answer, "GET /last ");
    close(fd);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void answers_pipelined_requests_in_order(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in, out;
    buf_init(&in, MIB);
    buf_init(&out, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    for (int i = 0; i < 200; i++)
        buf_appendf(
            &out, "POST /%d HTTP/1.1\r\n" HOST "%sContent-Length: 1\r\n\r\n!", i, i == 199 ? CLOSE : "");
    const char *answer = ask(&f, &in, out.data);
    for (int i = 0; i < 200; i++) {
        char body[32];
        snprintf(body, sizeof body, "POST /%d !", i);
        answer = strstr(answer, body);
        assert_non_null(answer);
    }
    assert_int_equal(count_of(in.data, "HTTP/1.1 200 "), 200);
    fixture_stop(&f);
    buf_free(&in);
    buf_free(&out);
}

/* While the first is being answered the second waits, unread. */
static void holds_a_pipelined_request_back_until_the_first_is_answered(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, later);
    int fd = client_connect(&f);
    client_text(fd, "GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    wait_for(&f.handled, 1);
    usleep(20000);
    assert_int_equal(atomic_load(&f.handled), 1);
    fixture_do(&f, reply_now);
    wait_for(&f.handled, 2);
    fixture_do(&f, reply_now);
    assert_int_equal(count_of(client_rest(fd, &in), "late"), 2);
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

static const char chunked[] =
    "\r\nPOST /c?q=1 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nX-Empty:\r\n" CLOSE
    "\r\n5 ;ext=\"a\"\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";

static void reads_chunks_split_at_every_byte(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    for (size_t cut = 0; cut < sizeof chunked - 1; cut++) {
        int fd = client_connect(&f);
        client_send(fd, chunked, cut);
        usleep(500);
        client_send(fd, chunked + cut, sizeof chunked - 1 - cut);
        const char *answer = client_rest(fd, &in);
        expect_status(answer, 200);
        expect_body(answer, "POST /c hello 0123456789");
        close(fd);
    }
    int fd = client_connect(&f);
    for (size_t i = 0; i < sizeof chunked - 1; i++) {
        client_send(fd, chunked + i, 1);
        usleep(100);
    }
    expect_body(client_rest(fd, &in), "POST /c hello 0123456789");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

static int word(void *ctx, struct http_request *r, int status, struct str why, struct buf *body)
{
    (void)ctx;
    http_reply_header(r, "x-mine", STR("1"));
    buf_appendf(body, "worded %d " STR_FMT, status, STR_ARG(why));
    return status;
}

/* A refused request must never reach the handler, and what follows it must not be read as a request. */
static void refuses_what_it_must_not_answer(void **state)
{
    (void)state;
    static char long_field[64 * 1024], many_fields[200 * 8];
    static const struct {
        int status;
        const char *request;
    } bad[] = {
        {400, "\x16\x03\x01\x02 nonsense\r\n\r\n"},
        {400, "BREW / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "Host: evil\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "Host: localhost\r\n\r\n"},
        {400, "GET /%00 HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /%zz HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /% HTTP/1.1\r\n" HOST "\r\n"},
        {400, "CONNECT localhost:80 HTTP/1.1\r\n" HOST "\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\nabc"},
        /* It was taken for a plain one. */
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding:\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
        {415, "POST / HTTP/1.1\r\n" HOST
              "Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length : 3\r\n\r\nabc"},
        /* Lines that end in a LF alone, or go on behind one, were taken: what stands before us may not see
           them. */
        {400, "GET / HTTP/1.1\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: localhost\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "\n"},
        {400, "\nGET / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tContent-Length: 3\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n X: a\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3;a\nxx\r\nabc\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\rXabc\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXY0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n 2\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n"},
        {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
        {413,
            "POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n"},
        {413, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3E8\r\n"},
        {431, long_field},
        {431, many_fields},
    };
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.max_body = 1000;
    f.options.refuse = word;
    fixture_start(&f, echo);
    memset(long_field, 'a', sizeof long_field - 1);
    memcpy(long_field, "GET / HTTP/1.1\r\nX: ", 19);
    strcpy(many_fields, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 150; i++)
        strcat(many_fields, "X: 1\r\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = client_connect(&f);
        client_text(fd, bad[i].request);
        if (strstr(bad[i].request, "3E8")) { /* two chunks of 1000 bytes */
            static const char thousand[1000];
            client_send(fd, thousand, 1000);
            client_text(fd, "\r\n3E8\r\n");
            client_send(fd, thousand, 1000);
        }
        const char *answer = client_rest(fd, &in);
        if (count_of(answer, "Content-Type:") != 1)
            fail_msg("more than one answer to %s: %s", bad[i].request, answer);
        char start[16];
        snprintf(start, sizeof start, "HTTP/1.1 %d ", bad[i].status);
        if (strncmp(answer, start, strlen(start)) != 0)
            fail_msg("expected %d for '%.100s', got: %.300s", bad[i].status, bad[i].request, answer);
        assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
        assert_non_null(strstr(answer, "\r\nx-mine: 1\r\n"));
        assert_non_null(strstr(answer, "\r\n\r\nworded "));
        close(fd);
    }
    assert_int_equal(atomic_load(&f.handled), 0);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void a_blank_behind_a_chunks_size_and_what_followed_it_were_passed_over(void **state)
{
    static const char *const bodies[] = {"3 \r\nabc\r\n0\r\n\r\n", "3 3\r\nabc\r\n0\r\n\r\n",
        "3 x;y\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n1  \r\na\r\n0\r\n\r\n", "3\r\nabc\r\n0 \r\n\r\n"};
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t cut = 0; cut < strlen(bodies[i]); cut++) {
            int fd = client_connect(&f);
            client_text(fd, "\r\nPOST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
            client_send(fd, bodies[i], cut);
            usleep(500);
            client_text(fd, bodies[i] + cut);
            expect_status(client_rest(fd, &in), 400);
            close(fd);
        }
    assert_int_equal(atomic_load(&f.handled), 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void echo_trailer_fields(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    char text[64];
    struct str q = http_request_query(r, "q");
    int n = snprintf(text, sizeof text, "%d %d " STR_FMT, http_request_header_count(r, "authorization"),
        http_request_header_count(r, "host"), STR_ARG(q));
    atomic_fetch_add(&f->handled, 1);
    http_reply(r, 200, "text/plain", (struct str){text, (size_t)n});
}

/* RFC 9110, 6.5.1: trailers are no headers. They also made the header's memory move under the query. */
static void does_not_take_trailers_for_headers(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in, out;
    buf_init(&in, MIB);
    buf_init(&out, MIB);
    fixture_init(&f);
    fixture_start(&f, echo_trailer_fields);
    buf_append_text(&out, "POST /?q=query HTTP/1.1\r\n" HOST CLOSE "Transfer-Encoding: chunked\r\n\r\n"
                          "1\r\nx\r\n0\r\nAuthorization: Bearer stolen\r\nHost: evil\r\n");
    for (int i = 0; i < 50; i++)
        buf_appendf(&out, "X-Filler-%d: %0200d\r\n", i, i);
    buf_append_text(&out, "\r\n");
    expect_body(ask(&f, &in, out.data), "0 1 query");
    fixture_stop(&f);
    buf_free(&in);
    buf_free(&out);
}

static void says_continue_before_a_body_that_waits(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.max_body = 1000;
    fixture_start(&f, echo);
    int fd = client_connect(&f);
    client_text(fd, "POST / HTTP/1.1\r\n" HOST CLOSE "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_string_equal(client_until(fd, &in, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client_text(fd, "body");
    expect_body(client_rest(fd, &in), "POST / body");
    close(fd);
    expect_status(
        ask(&f, &in, "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 4000\r\n\r\n"), 413);
    fixture_stop(&f);
    buf_free(&in);
}

static void told_a_malformed_head_to_go_on_with_its_body(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    expect_status(
        ask(&f, &in,
            "POST / HTTP/1.1\r\n" HOST "X: a\r\n b\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
        400);
    fixture_stop(&f);
    buf_free(&in);
}

static void speaks_http_1_0(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    const char *answer = ask(&f, &in, "GET /old HTTP/1.0\r\n\r\n");
    expect_body(answer, "GET /old ");
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    int fd = client_connect(&f);
    client_text(fd, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(client_until(fd, &in, "GET /a "), "\r\nConnection: keep-alive\r\n"));
    client_text(fd, "GET /b HTTP/1.0\r\n\r\n");
    expect_body(client_rest(fd, &in), "GET /b ");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

/* ---- Time ---- */

static void answers_408_to_a_request_that_takes_too_long(void **state)
{
    (void)state;
    static const char *const starts[] = {
        "G", "GET / HTTP/1.1\r\n" HOST, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab"};
    struct fixture f;
    struct buf in;
    int fds[3];
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.read_timeout_s = 1;
    fixture_start(&f, echo);
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 3; i++) {
        fds[i] = client_connect(&f);
        client_text(fds[i], starts[i]);
    }
    /* Dripping does not help: the answer comes while it goes on. */
    struct pollfd answered = {fds[1], POLLIN, 0};
    int drops = 0;
    while (drops < 40 && poll(&answered, 1, 200) == 0)
        drops += send(fds[1], "X: drop\r\n", 9, MSG_NOSIGNAL) == 9;
    assert_true(drops < 40);
    for (int i = 0; i < 3; i++) {
        expect_status(client_rest(fds[i], &in), 408);
        close(fds[i]);
    }
    assert_true(clock_mono_ms() - began >= 900);
    assert_int_equal(atomic_load(&f.handled), 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void closes_idle_connections_without_a_word(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.read_timeout_s = 1;
    fixture_start(&f, echo);
    int fresh = client_connect(&f), used = client_connect(&f);
    client_text(used, "GET / HTTP/1.1\r\n" HOST "\r\n");
    client_until(used, &in, "GET / ");
    assert_string_equal(client_rest(fresh, &in), "");
    assert_string_equal(client_rest(used, &in), "");
    close(fresh);
    close(used);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

/* The handler may take as long as it wants. */
static void does_not_time_a_handler_out(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.read_timeout_s = 1;
    f.options.write_timeout_s = 1;
    fixture_start(&f, later);
    int fd = client_connect(&f);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n");
    wait_for(&f.handled, 1);
    usleep(1500000);
    fixture_do(&f, reply_now);
    expect_body(client_rest(fd, &in), "late");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

/* ---- Clients that leave ---- */

static void active(struct fixture *f)
{
    atomic_store(&f->drained, http_server_active(f->server));
}

static void tells_the_handler_that_the_client_left_before_the_first_byte(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_start(&f, later);
    int fd = client_connect(&f);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    fixture_do(&f, active);
    assert_int_equal(atomic_load(&f.drained), 1);
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    wait_for(&f.gone, 1);
    fixture_do(&f, active);
    assert_int_equal(atomic_load(&f.drained), 0);
    wait_for_connections(&f, 0);
    assert_int_equal(atomic_load(&f.gone), 1);
    fixture_stop(&f);
}

static void answers_499_to_a_client_that_closed_its_side(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, later);
    int fd = client_connect(&f);
    client_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    shutdown(fd, SHUT_WR);
    expect_status(client_rest(fd, &in), 499);
    wait_for(&f.gone, 1);
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

static void answers_400_to_half_a_request(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    int fd = client_connect(&f);
    client_text(fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    expect_status(client_rest(fd, &in), 400);
    close(fd);
    assert_int_equal(atomic_load(&f.handled), 0);
    fixture_stop(&f);
    buf_free(&in);
}

/* Whoever has closed both sides is not waited for: thousands of such clients would hold as many descriptors.
 */
static void forgets_a_client_that_left_in_the_middle_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_start(&f, echo);
    int fd = client_connect(&f);
    client_text(fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    int64_t began = clock_mono_ms();
    wait_for_connections(&f, 1);
    close(fd);
    wait_for_connections(&f, 0);
    assert_true(clock_mono_ms() - began < 5000); /* a lingering close takes 10 s */
    fixture_stop(&f);
}

/* It had sent so much ahead that nothing more was read, nor its leaving after the answer. */
static void forgets_a_client_that_had_sent_much_ahead_at_once(void **state)
{
    (void)state;
    static char ahead[200 * 1024];
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, later);
    int fd = client_connect(&f);
    client_text(fd, "GET /1 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    memset(ahead, 'x', sizeof ahead);
    client_send(fd, ahead, sizeof ahead);
    wait_for(&f.handled, 1);
    usleep(50000);
    fixture_do(&f, reply_now);
    expect_status(client_rest(fd, &in), 200);
    int64_t began = clock_mono_ms();
    close(fd);
    wait_for_connections(&f, 0);
    assert_true(clock_mono_ms() - began < 5000); /* a lingering close takes 10 s */
    fixture_stop(&f);
    buf_free(&in);
}

/* An answer that is complete but still on its way is not the half-closed client's loss. */
static void sends_a_finished_answer_to_a_client_that_closed_its_side(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    for (int i = 0; i < 50; i++) {
        int fd = client_connect(&f);
        client_text(fd, "GET /half HTTP/1.1\r\n" HOST "\r\n");
        shutdown(fd, SHUT_WR);
        const char *answer = client_rest(fd, &in);
        expect_status(answer, 200);
        expect_body(answer, "GET /half ");
        close(fd);
    }
    fixture_stop(&f);
    buf_free(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_connection),
        cmocka_unit_test(answers_pipelined_requests_in_order),
        cmocka_unit_test(holds_a_pipelined_request_back_until_the_first_is_answered),
        cmocka_unit_test(reads_chunks_split_at_every_byte),
        cmocka_unit_test(refuses_what_it_must_not_answer),
        cmocka_unit_test(a_blank_behind_a_chunks_size_and_what_followed_it_were_passed_over),
        cmocka_unit_test(does_not_take_trailers_for_headers),
        cmocka_unit_test(says_continue_before_a_body_that_waits),
        cmocka_unit_test(told_a_malformed_head_to_go_on_with_its_body),
        cmocka_unit_test(speaks_http_1_0),
        cmocka_unit_test(answers_408_to_a_request_that_takes_too_long),
        cmocka_unit_test(closes_idle_connections_without_a_word),
        cmocka_unit_test(does_not_time_a_handler_out),
        cmocka_unit_test(tells_the_handler_that_the_client_left_before_the_first_byte),
        cmocka_unit_test(answers_499_to_a_client_that_closed_its_side),
        cmocka_unit_test(answers_400_to_half_a_request),
        cmocka_unit_test(forgets_a_client_that_left_in_the_middle_at_once),
        cmocka_unit_test(forgets_a_client_that_had_sent_much_ahead_at_once),
        cmocka_unit_test(sends_a_finished_answer_to_a_client_that_closed_its_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
