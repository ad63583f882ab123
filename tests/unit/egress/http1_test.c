/* Answers as bytes, whole and cut at every place; requests as bytes. */
#include "fixture.h"

#include "egress/internal.h"

struct answer {
    struct egress_transfer *t;
    int status, n_data;
    struct buf body;
    bool pause;
};

static struct egress_target *target;

static void on_status(void *ctx, int status)
{
    struct answer *a = ctx;
    assert_int_equal(a->status, 0);
    a->status = status;
    a->t->paused = a->pause;
}

static void on_data(void *ctx, struct str bytes)
{
    struct answer *a = ctx;
    assert_true(bytes.len > 0 && a->status >= 200);
    assert_false(a->t->paused);
    a->n_data++;
    buf_append_str(&a->body, bytes);
    a->t->paused = a->pause;
}

/* Feeds `bytes` in pieces: the first of `first` bytes, the others of `step`; then the end of the connection.
 */
static void answer_run(struct answer *a, struct str bytes, size_t first, size_t step, const char *method)
{
    struct egress_transfer *t = a->t = calloc(1, sizeof *t);
    bool done = false;
    t->target = target;
    t->handler = (struct egress_handler){on_status, on_data, NULL, a};
    t->head_only = strcmp(method, "HEAD") == 0;
    a->status = a->n_data = 0;
    buf_init(&a->body, 128 * MIB);
    egress_answer_begin(t);
    for (size_t at = 0; at < bytes.len && !done;) {
        size_t len = at == 0 && first ? first : step;
        len = len < bytes.len - at ? len : bytes.len - at;
        for (size_t used = 0; used < len && !done;) {
            t->paused = false;
            used += egress_answer_read(t, bytes.data + at + used, len - used);
            assert_true(used <= len);
            done = t->complete || t->code;
        }
        at += len;
    }
    t->paused = false;
    if (!done)
        egress_answer_read(t, NULL, 0);
}

static void answer_free(struct answer *a)
{
    buf_free(&a->body);
    buf_free(&a->t->answer_headers);
    free(a->t);
}

struct expectation {
    const char *method, *bytes;
    int status;
    const char *body;
    bool complete, keep_alive;
    int code;
};

#define OK "HTTP/1.1 200 OK\r\n"
static const struct expectation expectations[] = {
    {"GET", OK "Content-Length: 5\r\n\r\nhello", 200, "hello", true, true, 0},
    {"GET", OK "Content-Length: 0\r\n\r\n", 200, "", true, true, 0},
    {"GET", OK "Content-Length: 5\r\nConnection: close\r\n\r\nhello", 200, "hello", true, false, 0},
    {"GET", OK "content-length:5\r\nCONNECTION:\tClose \r\n\r\nhello", 200, "hello", true, false, 0},
    {"GET", OK "X-Empty:\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true, 0},
    {"GET", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;name=\"v\"\r\nllo\r\n0\r\n\r\n", 200, "hello",
        true, true, 0},
    {"GET", OK "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", 200,
        "ok", true, true, 0},
    {"GET", OK "Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok",
        true, false, 0},
    {"GET", OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true,
        false, 0},
    /* Until the connection ends. */
    {"GET", OK "\r\nhello", 200, "hello", true, false, 0},
    {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, false, 0},
    {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true,
        0},
    {"GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true, 0},
    /* No body, whatever the headers say. */
    {"HEAD", OK "Content-Length: 5\r\n\r\n", 200, "", true, true, 0},
    {"HEAD", OK "Transfer-Encoding: chunked\r\n\r\n", 200, "", true, true, 0},
    {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, true, 0},
    {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, "", true, false, 0},
    {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 300\r\n\r\n", 304, "", true, false, 0},
    /* Informational ones first. */
    {"GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n" OK
        "Content-Length: 2\r\n\r\nok",
        200, "ok", true, true, 0},
    {"GET", "HTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\n" OK "Content-Length: 2\r\n\r\nok", 200,
        "ok", true, true, 0},
    {"POST", "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nX: y\r\n\r\nbig", 413, "big", true, true, 0},
    /* Compressed. */
    {"POST", OK "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", 200, "", false, false,
        ERROR_UNAVAILABLE},
    {"POST", OK "content-encoding:  Identity\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true, 0},
    /* What names no compression was one. */
    {"POST", OK "Content-Encoding: utf-8\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true, true, 0},
    {"POST", OK "Content-Encoding: UTF-8, identity\r\nContent-Length: 6\r\n\r\ndata: ", 200, "data: ", true,
        true, 0},
    {"POST", OK "Content-Encoding: none\r\nContent-Length: 2\r\n\r\n[]", 200, "[]", true, true, 0},
    {"POST", OK "Content-Encoding:\r\nContent-Length: 2\r\n\r\n\x01z", 200, "\x01z", true, true, 0},
    {"POST", OK "Content-Encoding: utf-8\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 200, "", false, false,
        ERROR_UNAVAILABLE},
    {"POST", OK "Content-Encoding: utf-8, GZIP\r\nContent-Length: 2\r\n\r\n{}", 200, "", false, false,
        ERROR_UNAVAILABLE},
    /* The rest of a coded text is no plain one. */
    {"POST",
        "HTTP/1.1 429 Slow\r\nContent-Encoding: odd\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\n\1\2\3\r\n4\r\n{\"a\"\r\n0\r\n\r\n",
        429, "", true, true, 0},
    {"POST", "HTTP/1.1 429 Slow\r\nContent-Encoding: none\r\nContent-Length: 2\r\n\r\n{}", 429, "{}", true,
        true, 0},
    {"POST", OK "Content-Encoding: br\r\nContent-Length: 0\r\n\r\n", 200, "", true, true, 0},
    {"POST", "HTTP/1.1 429 Slow\r\nContent-Encoding: deflate\r\nContent-Length: 2\r\n\r\n\x78\x9c", 429, "",
        true, true, 0},
    /* An offer to speak otherwise is none that was asked for. */
    {"GET", OK "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true,
        0},
    {"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 0, "", false,
        false, ERROR_UNAVAILABLE},
    /* Less than was promised. */
    {"GET", OK "Content-Length: 10\r\n\r\nhal", 200, "hal", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, "hel", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n", 200, "he", false, false,
        ERROR_UNAVAILABLE},
    {"GET", OK "Content-Le", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", "HTTP/1.1 100 Continue\r\n\r\n", 0, "", false, false, 0},
    /* What is no answer. */
    {"GET", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", "HTTP/1.1 abc OK\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Content-Length: -5\r\n\r\nhello", 0, "", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Transfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nokay", 0, "", false, false,
        ERROR_UNAVAILABLE},
    {"GET", OK "Content-Length: 99999999999999999999999\r\n\r\nhello", 0, "", false, false,
        ERROR_UNAVAILABLE},
    {"GET", OK "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 200, "", false, false, ERROR_UNAVAILABLE},
    {"GET", OK "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 200, "", false, false,
        ERROR_UNAVAILABLE},
    {"GET", OK "No colon here\r\n\r\n", 0, "", false, false, ERROR_UNAVAILABLE},
};

static void expect(const struct expectation *x, size_t first, size_t step, bool pause)
{
    struct answer a = {.pause = pause};
    answer_run(&a, str_from(x->bytes), first, step, x->method);
    if (a.status != x->status || !str_is(buf_str(&a.body), x->body) || a.t->complete != x->complete ||
        a.t->code != x->code || (x->complete && a.t->keep_alive != x->keep_alive))
        fail_msg("pieces of %zu, %zu%s of\n%s\ngave %d '" STR_FMT
                 "', complete %d, keep_alive %d, code %d: %s",
            first, step, pause ? ", pausing," : "", x->bytes, a.status, STR_ARG(buf_str(&a.body)),
            a.t->complete, a.t->keep_alive, a.t->code, a.t->error.message);
    answer_free(&a);
}

static void test_answers_cut_at_every_place_are_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof expectations / sizeof *expectations; i++) {
        const struct expectation *x = &expectations[i];
        for (int pause = 0; pause < 2; pause++) {
            expect(x, 0, SIZE_MAX / 2, pause);
            expect(x, 0, 1, pause); /* every byte alone */
            for (size_t cut = 1; cut < strlen(x->bytes); cut++)
                expect(x, cut, SIZE_MAX / 2, pause);
        }
    }
}

static void test_headers_are_kept_and_trailers_are_not(void **state)
{
    struct answer a = {0};
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        answer_run(&a,
            STR("HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-One:  some value "
                "\r\nX-None:\r\n"
                "x-two: a: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Late: 1\r\nX-One: no\r\n\r\n"),
            0, step, "GET");
        assert_true(a.t->complete);
        assert_true(str_is(egress_header(a.t, "x-one"), "some value"));
        assert_true(str_is(egress_header(a.t, "X-Two"), "a: b"));
        assert_int_equal(egress_header(a.t, "x-none").len, 0);
        assert_null(egress_header(a.t, "x-early").data);
        assert_null(egress_header(a.t, "x-late").data);
        answer_free(&a);
    }
}

static void a_compressed_answer_was_only_said_to_be_incomplete(void **state)
{
    struct answer a = {0};
    (void)state;
    answer_run(&a, STR(OK "Content-Encoding: x-gzip, br\r\n\r\n\x1f\x8b"), 0, 1, "POST");
    assert_int_equal(a.t->code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(a.t->error.message, "(Content-Encoding: x-gzip, br)"));
    assert_int_equal(a.n_data, 0);
    answer_free(&a);
}

/* A few bytes again and again: `head`, then `again` a million times. */
static void run_bomb(const char *head, const char *again, int code)
{
    struct buf bytes;
    struct answer a = {0};
    buf_init(&bytes, 64 * MIB);
    buf_append_text(&bytes, head);
    for (int i = 0; i < 1000000; i++)
        buf_append_text(&bytes, again);
    answer_run(&a, buf_str(&bytes), 0, 4096, "GET");
    assert_int_equal(a.t->code, code);
    assert_true(a.t->answer_headers.capacity <= 2 * LIMIT_HTTP_HEADER);
    answer_free(&a);
    buf_free(&bytes);
}

static void test_bombs_of_headers_are_cut_off(void **state)
{
    (void)state;
    run_bomb(OK, "X-Header: value\r\n", ERROR_LIMIT);
    run_bomb(OK "X: ", "a", ERROR_LIMIT);
    run_bomb(OK, "x", ERROR_LIMIT);
    run_bomb("", "HTTP/1.1 103 Early\r\nA: b\r\n\r\n", ERROR_LIMIT);
    run_bomb("HTTP/1.1 200 ", "OK", ERROR_LIMIT);
    run_bomb(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n", ERROR_LIMIT);
    run_bomb(OK "Transfer-Encoding: chunked\r\n\r\n1;", "ext", ERROR_LIMIT);
}

/* ---- Requests ---- */

static struct str write_request(struct egress_transfer *t, const struct egress_request *r, int code)
{
    struct error err;
    memset(t, 0, sizeof *t);
    t->target = target;
    assert_int_equal(egress_request_write(t, r, &err), code);
    return (struct str){t->request, t->request_len};
}

static void test_requests_are_written_as_the_grammar_has_them(void **state)
{
    struct egress_transfer t;
    struct egress_header agent = {STR("user-agent"), STR("mine/1")};
    struct egress_request post = {.method = "POST", .path = STR("/a?b=c"), .body = STR("body")};
    struct egress_request get = {.method = "GET", .path = STR("/"), .headers = &agent, .n_headers = 1};
    struct egress_request empty = {.method = "POST", .path = STR("/")};
    (void)state;
    struct str s = write_request(&t, &post, 0);
    assert_true(str_starts(s, STR("POST /v1/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: weir/")));
    assert_true(str_ends(s, STR("\r\nContent-Length: 4\r\n\r\nbody")));
    assert_int_equal(t.request_len - t.head_len, 4);
    free(t.request);
    s = write_request(&t, &get, 0);
    assert_true(str_ends(s, STR("\r\nuser-agent: mine/1\r\n\r\n")));
    assert_true(str_find(s, STR("User-Agent")) == SIZE_MAX && str_find(s, STR("Content-Length")) == SIZE_MAX);
    free(t.request);
    assert_true(str_ends(write_request(&t, &empty, 0), STR("\r\nContent-Length: 0\r\n\r\n")));
    free(t.request);
}

static void test_headers_that_frame_are_not_for_callers(void **state)
{
    static const char *const names[] = {
        "Content-Length", "transfer-encoding", "CONNECTION", "Expect", "upgrade", "TE", "Trailer"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct egress_transfer t;
        struct egress_header h = {str_from(names[i]), STR("5")};
        struct egress_request r = {.method = "POST", .path = STR("/"), .headers = &h, .n_headers = 1};
        write_request(&t, &r, ERROR_INVALID);
        assert_null(t.request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_cut_at_every_place_are_the_same),
        cmocka_unit_test(test_headers_are_kept_and_trailers_are_not),
        cmocka_unit_test(a_compressed_answer_was_only_said_to_be_incomplete),
        cmocka_unit_test(test_bombs_of_headers_are_cut_off),
        cmocka_unit_test(test_requests_are_written_as_the_grammar_has_them),
        cmocka_unit_test(test_headers_that_frame_are_not_for_callers),
    };
    target = fixture_target("http://127.0.0.1:1/v1", EGRESS_ZONE_CLOUD, NULL);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    egress_target_free(target);
    return rc;
}
