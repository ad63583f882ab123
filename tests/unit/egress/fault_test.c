/* Servers that are slow, silent, wrong or gone, and callers that pause, leave and come back. */
#include "fixture.h"

enum { BIG = 6 * 1024 * 1024 };

static const char *url_of(const struct loopback *s)
{
    static char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", s->port);
    return url;
}

static struct egress_target *quick_target(const char *url, int connect_ms, int first_ms, int idle_ms)
{
    struct error err;
    struct egress_target *t;
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = str_from(url),
        .zone = EGRESS_ZONE_LOCAL,
        .connect_timeout_ms = connect_ms,
        .first_byte_timeout_ms = first_ms,
        .idle_timeout_ms = idle_ms};
    if (egress_target_create(&o, &t, &err) != 0)
        fail_msg("%s", err.message);
    return t;
}

/* One request to a server that runs `serve`; what was seen is left to the caller to free. */
static void run_against(void (*serve)(struct loopback_conn *), int first_ms, int idle_ms, struct seen *seen)
{
    struct loopback server = {0};
    struct fixture f;
    loopback_start(&server, serve, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, first_ms, idle_ms);
    seen_run(&f, seen, t, "x");
    egress_close(seen->transfer);
    seen->transfer = NULL;
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void serve_silence(struct loopback_conn *c)
{
    if (loopback_read(c))
        loopback_wait(c);
}

static void serve_headers_then_silence(struct loopback_conn *c)
{
    if (loopback_read(c) && loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
        loopback_wait(c);
}

static void serve_half_then_silence(struct loopback_conn *c)
{
    if (loopback_read(c) && loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"))
        loopback_wait(c);
}

static void test_time_outs_say_what_was_waited_for(void **state)
{
    struct seen silent = {0}, headers = {0}, half = {0};
    (void)state;
    run_against(serve_silence, 100, 5000, &silent);
    assert_int_equal(silent.code, ERROR_TIMEOUT);
    assert_non_null(strstr(silent.error.message, "sent no answer"));
    assert_int_equal(silent.status, 0);
    /* Headers alone are no answer. */
    run_against(serve_headers_then_silence, 100, 5000, &headers);
    assert_int_equal(headers.code, ERROR_TIMEOUT);
    assert_int_equal(headers.status, 200);
    run_against(serve_half_then_silence, 5000, 100, &half);
    assert_int_equal(half.code, ERROR_TIMEOUT);
    assert_non_null(strstr(half.error.message, "stopped answering"));
    assert_string_equal(half.body.data, "he");
    seen_free(&silent);
    seen_free(&headers);
    seen_free(&half);
}

static void test_connect_time_out(void **state)
{
    /* A listener whose queue is full takes no more connections: they wait. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[8];
    char url[64];
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    for (int i = 0; i < 8; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fill[i], (struct sockaddr *)&address, len);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    struct fixture f;
    struct seen seen = {0};
    fixture_start(&f);
    struct egress_target *t = quick_target(url, 150, 5000, 5000);
    int64_t before = clock_mono_ms();
    seen_run(&f, &seen, t, "x");
    assert_int_equal(seen.code, ERROR_TIMEOUT);
    assert_in_range(clock_mono_ms() - before, 100, 3000);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    for (int i = 0; i < 8; i++)
        close(fill[i]);
    close(listener);
}

static void serve_drip(struct loopback_conn *c)
{
    if (!loopback_read(c) || !loopback_text(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
        return;
    for (int i = 0; i < 10; i++) {
        loopback_sleep(c, 60);
        if (!loopback_chunk(c, "x", 1))
            return;
    }
    loopback_text(c, "0\r\n\r\n");
}

static void test_a_slow_drip_is_no_silence(void **state)
{
    struct seen seen = {0};
    (void)state;
    run_against(serve_drip, 400, 400, &seen);
    assert_int_equal(seen.code, 0);
    assert_string_equal(seen.body.data, "xxxxxxxxxx");
    assert_true(seen.n_data > 1);
    seen_free(&seen);
}

static void serve_reset(struct loopback_conn *c)
{
    struct linger now = {1, 0};
    loopback_read(c);
    loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
    loopback_sleep(c, 30);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void serve_short(struct loopback_conn *c)
{
    loopback_read(c);
    loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
}

static void serve_cut_chunk(struct loopback_conn *c)
{
    loopback_read(c);
    loopback_text(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
}

static void serve_nothing(struct loopback_conn *c)
{
    loopback_read(c);
}

static void serve_garbage(struct loopback_conn *c)
{
    loopback_read(c);
    loopback_text(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n\x01\x02");
}

static void test_broken_answers_are_unavailable(void **state)
{
    void (*const broken[])(struct loopback_conn *) = {
        serve_reset, serve_short, serve_cut_chunk, serve_nothing, serve_garbage};
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct seen seen = {0};
        run_against(broken[i], 2000, 2000, &seen);
        assert_int_equal(seen.code, ERROR_UNAVAILABLE);
        assert_int_equal(seen.n_done, 1);
        assert_null(strstr(seen.error.message, "sk-secret"));
        seen_free(&seen);
    }
}

static void test_nobody_listens(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {0};
    (void)state;
    loopback_start(&server, serve_nothing, NULL);
    loopback_stop(&server); /* its port is free now */
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
    seen_run(&f, &seen, t, "x");
    assert_int_equal(seen.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(seen.error.message, "cannot be reached"));
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
}

static void serve_many_headers(struct loopback_conn *c)
{
    char line[1100] = "X-Filler: ";
    loopback_read(c);
    memset(line + 10, 'a', 1000);
    strcpy(line + 1010, "\r\n");
    loopback_text(c, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 64; i++)
        loopback_text(c, line);
    loopback_text(c, "Content-Length: 0\r\n\r\n");
    loopback_wait(c);
}

static void serve_endless(struct loopback_conn *c)
{
    static const char piece[65536];
    loopback_read(c);
    loopback_text(c, "HTTP/1.1 200 OK\r\n\r\n");
    while (loopback_write(c, piece, sizeof piece))
        ;
}

static void serve_endless_informational(struct loopback_conn *c)
{
    loopback_read(c);
    while (loopback_text(c, "HTTP/1.1 100 Continue\r\n\r\n"))
        continue;
}

static void test_informational_answers_without_end_are_cut_off(void **state)
{
    struct seen seen = {0};
    (void)state;
    run_against(serve_endless_informational, 9000, 9000, &seen);
    assert_int_equal(seen.code, ERROR_LIMIT);
    seen_free(&seen);
}

static void test_answers_without_end_are_cut_off(void **state)
{
    struct seen headers = {0}, body = {0};
    (void)state;
    run_against(serve_many_headers, 2000, 2000, &headers);
    assert_int_equal(headers.code, ERROR_LIMIT);
    run_against(serve_endless, 5000, 5000, &body);
    assert_int_equal(body.code, ERROR_LIMIT);
    assert_true(body.body.len <= LIMIT_PROVIDER_BODY);
    seen_free(&headers);
    seen_free(&body);
}

static void serve_informational(struct loopback_conn *c)
{
    loopback_read(c);
    loopback_text(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nX-B: 1\r\n"
                     "Transfer-Encoding: chunked\r\nTrailer: X-C\r\n\r\n2\r\nok\r\n0\r\nX-C: 2\r\n\r\n");
    loopback_wait(c);
}

static void test_informational_answers_and_trailers_are_skipped(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {0};
    (void)state;
    loopback_start(&server, serve_informational, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
    seen_run(&f, &seen, t, "x");
    assert_int_equal(seen.code, 0);
    assert_int_equal(seen.status, 201);
    assert_true(str_is(egress_header(seen.transfer, "X-B"), "1"));
    assert_null(egress_header(seen.transfer, "Link").data);
    assert_null(egress_header(seen.transfer, "X-C").data);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* ---- A connection used before that turns out to be dead ---- */

static _Atomic int second_answer_delay_ms;

/* Answers the first request of the first connection and breaks off at the second; later connections work. */
static void serve_once(struct loopback_conn *c)
{
    bool first = atomic_load(&c->server->connections) == 1;
    if (!loopback_read(c) || !loopback_answer(c, "200 OK", "", "hello") || !first || !loopback_read(c))
        return;
    loopback_sleep(c, atomic_load(&second_answer_delay_ms));
}

static void run_twice(int delay_ms, struct seen *second, int *requests)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen first = {0};
    atomic_store(&second_answer_delay_ms, delay_ms);
    loopback_start(&server, serve_once, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 5000, 5000, 5000);
    seen_run(&f, &first, t, "x");
    assert_int_equal(first.code, 0);
    seen_run(&f, second, t, "x");
    *requests = atomic_load(&server.requests);
    seen_free(&first);
    seen_free(second);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_a_stale_connection_is_replaced_but_work_is_not_asked_for_twice(void **state)
{
    struct seen stale = {0}, working = {0};
    int requests;
    (void)state;
    run_twice(0, &stale, &requests);
    assert_int_equal(stale.code, 0);
    assert_int_equal(requests, 3);
    run_twice(1200, &working, &requests);
    assert_int_equal(working.code, ERROR_UNAVAILABLE);
    assert_int_equal(requests, 2);
}

/* Says more than it was asked, once its first answer has been read. */
static void serve_twice(struct loopback_conn *c)
{
    bool first = atomic_load(&c->server->connections) == 1;
    if (!loopback_read(c) || !loopback_answer(c, "200 OK", "", first ? "hello" : "asked for"))
        return;
    loopback_sleep(c, first ? 50 : 0);
    if (first)
        loopback_answer(c, "200 OK", "", "unasked");
    loopback_wait(c);
}

/* The unasked answer is in the socket, and the loop has not turned since. */
static void test_an_answer_nobody_asked_for_is_not_given_to_the_next_request(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen first = {0}, second = {0};
    (void)state;
    loopback_start(&server, serve_twice, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 5000, 5000, 5000);
    seen_run(&f, &first, t, "x");
    assert_int_equal(first.code, 0);
    usleep(300 * 1000);
    seen_run(&f, &second, t, "x");
    assert_int_equal(second.code, 0);
    assert_true(str_is(buf_str(&second.body), "asked for"));
    assert_int_equal(atomic_load(&server.connections), 2);
    seen_free(&first);
    seen_free(&second);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* Only its first connection answers twice. */
static void serve_out_of_step(struct loopback_conn *c)
{
    bool first = atomic_load(&c->server->connections) == 1;
    while (loopback_read(c))
        if (!loopback_text(c, first ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n"
                                    : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
            return;
}

static void test_a_server_out_of_step_gets_one_request_a_connection(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    (void)state;
    loopback_start(&server, serve_out_of_step, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 5000, 5000, 5000);
    for (int i = 0; i < 3; i++) {
        struct seen seen = {0};
        seen_run(&f, &seen, t, "x");
        assert_int_equal(seen.code, 0);
        seen_free(&seen);
    }
    assert_int_equal(atomic_load(&server.connections), 3);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* ---- Leaving ---- */

static void serve_stream(struct loopback_conn *c)
{
    if (!loopback_read(c) || !loopback_text(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
        return;
    while (!atomic_load(&c->server->stop) && loopback_chunk(c, "piece", 5))
        loopback_sleep(c, 5);
}

static void test_closing_inside_callbacks_ends_the_transfer(void **state)
{
    (void)state;
    for (int when = 0; when < 2; when++) {
        struct loopback server = {0};
        struct fixture f;
        struct seen seen = {.close_at_status = when == 0, .close_at_data = when == 1};
        loopback_start(&server, serve_stream, NULL);
        fixture_start(&f);
        struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
        seen_run(&f, &seen, t, "x");
        assert_int_equal(seen.n_done, 0);
        assert_int_equal(seen.n_data, when);
        /* The server notices: its connection is closed. */
        for (int i = 0; i < 400 && atomic_load(&server.alive) > 0; i++)
            fixture_run(&f, 5);
        assert_int_equal(atomic_load(&server.alive), 0);
        seen_free(&seen);
        egress_target_free(t);
        fixture_stop(&f);
        loopback_stop(&server);
    }
}

static void test_freeing_the_egress_with_transfers_open(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen[4] = {0};
    (void)state;
    loopback_start(&server, serve_stream, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
    for (int i = 0; i < 3; i++)
        seen_open(&f, &seen[i], t, "x");
    fixture_run(&f, 50);
    seen_open(&f, &seen[3], t, "x");
    egress_target_free(t); /* the transfers hold it */
    fixture_stop(&f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(seen[i].n_done, 0);
        seen_free(&seen[i]);
    }
    loopback_stop(&server);
}

static void serve_done_then_end(struct loopback_conn *c)
{
    while (loopback_read(c)) {
        loopback_text(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[DONE]\r\n");
        loopback_sleep(c, 20);
        if (!loopback_text(c, "0\r\n\r\n"))
            return;
    }
}

static void test_a_finished_transfer_keeps_its_connection(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    (void)state;
    loopback_start(&server, serve_done_then_end, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
    for (int i = 0; i < 3; i++) {
        struct seen seen = {.finish_at_data = true};
        seen_run(&f, &seen, t, "x");
        assert_int_equal(seen.n_done, 0);
        fixture_run(&f, 100);
        seen_free(&seen);
    }
    assert_int_equal(atomic_load(&server.connections), 1);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_a_finished_transfer_does_not_stay_for_ever(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {.finish_at_data = true};
    (void)state;
    loopback_start(&server, serve_stream, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 60000);
    seen_run(&f, &seen, t, "x");
    assert_int_equal(atomic_load(&server.alive), 1);
    for (int i = 0; i < 300 && atomic_load(&server.alive) > 0; i++)
        fixture_run(&f, 10);
    assert_int_equal(atomic_load(&server.alive), 0);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* ---- Back-pressure ---- */

static _Atomic size_t sent;

static void serve_big(struct loopback_conn *c)
{
    static char piece[16384];
    memset(piece, 'b', sizeof piece);
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
    if (!loopback_read(c) || !loopback_text(c, head))
        return;
    atomic_store(&sent, 0);
    for (size_t n = 0; n < BIG; n += sizeof piece) {
        if (!loopback_write(c, piece, sizeof piece))
            return;
        atomic_fetch_add(&sent, sizeof piece);
    }
    loopback_wait(c);
}

static void test_pausing_stops_the_server_and_rests_the_time_outs(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {.pause_at_data = true};
    (void)state;
    loopback_start(&server, serve_big, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 100);
    seen_open(&f, &seen, t, "x");
    fixture_run(&f, 400); /* four times the idle time-out */
    assert_true(f.timed_out);
    assert_int_equal(seen.n_done, 0);
    size_t at_pause = seen.body.len;
    assert_true(at_pause > 0 && at_pause < 256 * 1024);
    fixture_run(&f, 100);
    assert_int_equal(seen.body.len, at_pause);
    assert_true(atomic_load(&sent) < BIG); /* the sockets' buffers are full, the server waits */
    /* Resuming and pausing again in one turn changes nothing. */
    egress_pause(seen.transfer, false);
    egress_pause(seen.transfer, true);
    fixture_run(&f, 50);
    assert_int_equal(seen.body.len, at_pause);
    seen.pause_at_data = false;
    egress_pause(seen.transfer, false);
    assert_int_equal(seen.body.len, at_pause); /* nothing is delivered from within */
    fixture_run(&f, 10000);
    assert_false(f.timed_out);
    assert_int_equal(seen.code, 0);
    assert_int_equal(seen.body.len, BIG);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_closing_while_paused(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {.pause_at_data = true};
    (void)state;
    loopback_start(&server, serve_big, NULL);
    fixture_start(&f);
    struct egress_target *t = quick_target(url_of(&server), 2000, 2000, 2000);
    seen_open(&f, &seen, t, "x");
    fixture_run(&f, 50);
    egress_pause(seen.transfer, false);
    seen_free(&seen); /* with the resumption still to come */
    fixture_run(&f, 20);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_outs_say_what_was_waited_for),
        cmocka_unit_test(test_connect_time_out),
        cmocka_unit_test(test_a_slow_drip_is_no_silence),
        cmocka_unit_test(test_broken_answers_are_unavailable),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_answers_without_end_are_cut_off),
        cmocka_unit_test(test_informational_answers_without_end_are_cut_off),
        cmocka_unit_test(test_informational_answers_and_trailers_are_skipped),
        cmocka_unit_test(test_a_stale_connection_is_replaced_but_work_is_not_asked_for_twice),
        cmocka_unit_test(test_an_answer_nobody_asked_for_is_not_given_to_the_next_request),
        cmocka_unit_test(test_a_server_out_of_step_gets_one_request_a_connection),
        cmocka_unit_test(test_closing_inside_callbacks_ends_the_transfer),
        cmocka_unit_test(test_freeing_the_egress_with_transfers_open),
        cmocka_unit_test(test_a_finished_transfer_keeps_its_connection),
        cmocka_unit_test(test_a_finished_transfer_does_not_stay_for_ever),
        cmocka_unit_test(test_pausing_stops_the_server_and_rests_the_time_outs),
        cmocka_unit_test(test_closing_while_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
