#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "provider/sse.h"

static int write_down(void *ctx, struct str name, struct str data, struct error *err)
{
    (void)err;
    return buf_appendf(ctx, "[" STR_FMT "|" STR_FMT "]", STR_ARG(name), STR_ARG(data));
}

static int run(struct str bytes, size_t cut, size_t max, bool end, struct buf *out)
{
    struct sse s;
    struct error err;
    buf_init(out, 1 << 20);
    sse_init(&s, max, write_down, out);
    int rc = sse_feed(&s, str_slice(bytes, 0, cut), &err);
    if (rc == 0)
        rc = sse_feed(&s, str_slice(bytes, cut, bytes.len), &err);
    if (rc == 0 && end)
        rc = sse_end(&s, &err);
    sse_free(&s);
    return rc;
}

static void assert_reads(struct str bytes, const char *expect)
{
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        struct buf got;
        assert_int_equal(run(bytes, cut, 1000, false, &got), 0);
        assert_string_equal(got.data ? got.data : "", expect);
        buf_free(&got);
    }
}

static void test_events_are_read_wherever_they_are_cut(void **state)
{
    (void)state;
    assert_reads(STR("data: a\n\ndata: b\n\n"), "[|a][|b]");
    assert_reads(STR("data: a\r\n\r\ndata: b\r\n\r\n"), "[|a][|b]");
    assert_reads(STR("data: a\r\rdata: b\r\r"), "[|a][|b]");
    assert_reads(STR("data: a\r\n\ndata: b\n\r\n"), "[|a][|b]");
    assert_reads(STR("\xEF\xBB\xBF"
                     "data: a\n\n"),
        "[|a]");
    assert_reads(STR("event: ping\ndata: {}\n\n"), "[ping|{}]");
    assert_reads(STR("event: ping\n\ndata: x\n\n"), "[|x]"); /* a name without data is no event */
    assert_reads(STR(": comment\n\n:\n\ndata: x\nid: 7\nretry: 10\nother: y\n\n"), "[|x]");
    assert_reads(STR("data: a\ndata: b\ndata\ndata:\ndata:  c\n\n"), "[|a\nb\n\n\n c]");
    assert_reads(STR("data\n\n"), "[|]");
    assert_reads(STR("data:\xC3\xA4\n\n"), "[|\xC3\xA4]");
    assert_reads(STR("data: cut"), "");
    assert_reads(STR("data: cut\n"), "");
    assert_reads(STR("\n\n\r\n\r"), "");
    assert_reads(STR(""), "");
}

static void test_the_end_delivers_what_lacks_only_line_ends(void **state)
{
    static const struct {
        struct str bytes;
        const char *expect;
    } cases[] = {{STR("data: x"), "[|x]"}, {STR("data: x\n"), "[|x]"}, {STR("data: x\r"), "[|x]"},
        {STR("data: x\n\n"), "[|x]"}, {STR(": x"), ""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf got;
        assert_int_equal(run(cases[i].bytes, 0, 100, true, &got), 0);
        assert_string_equal(got.data ? got.data : "", cases[i].expect);
        buf_free(&got);
    }
}

static void test_too_much_is_an_error(void **state)
{
    struct buf got;
    (void)state;
    assert_int_equal(run(STR("data: 0123456789\n\n"), 3, 16, false, &got), 0);
    buf_free(&got);
    assert_int_equal(run(STR("data: 01234567890\n\n"), 3, 16, false, &got), ERROR_LIMIT);
    buf_free(&got);
    assert_int_equal(run(STR("data: 0123456789\ndata: 0123456789\n\n"), 0, 16, false, &got), ERROR_LIMIT);
    buf_free(&got);
    assert_int_equal(run(STR("data: 0123456789012345678901234567890"), 20, 16, false, &got), ERROR_LIMIT);
    buf_free(&got);
}

static int give_up(void *ctx, struct str name, struct str data, struct error *err)
{
    (void)name;
    (void)data;
    ++*(int *)ctx;
    return error_set(err, ERROR_CANCELLED, "enough");
}

static void test_an_event_can_stop_the_feed(void **state)
{
    struct sse s;
    struct error err;
    int events = 0;
    (void)state;
    sse_init(&s, 100, give_up, &events);
    assert_int_equal(sse_feed(&s, STR("data: a\n\ndata: b\n\n"), &err), ERROR_CANCELLED);
    assert_int_equal(events, 1);
    sse_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_are_read_wherever_they_are_cut),
        cmocka_unit_test(test_the_end_delivers_what_lacks_only_line_ends),
        cmocka_unit_test(test_too_much_is_an_error),
        cmocka_unit_test(test_an_event_can_stop_the_feed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
