#include "govern/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"

/* The cases of W3C Trace Context, section 3.2. */
static void reads_traceparent(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good, sampled;
    } cases[] = {
        {"00-" ID "-00f067aa0ba902b7-01", true, true},
        {"00-" ID "-00f067aa0ba902b7-00", true, false},
        {"00-" ID "-00f067aa0ba902b7-03", true, true},
        {"cc-" ID "-00f067aa0ba902b7-01", true, true},
        {"cc-" ID "-00f067aa0ba902b7-01-what-the-future-holds", true, true},
        {"00-" ID "-00f067aa0ba902b7-01-more", false, false},
        {"00-" ID "-00f067aa0ba902b7-01-", false, false},
        {"ff-" ID "-00f067aa0ba902b7-01", false, false},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false, false},
        {"00-" ID "-0000000000000000-01", false, false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false, false},
        {"00-" ID "-00f067aa0ba902b-01", false, false},
        {"00-" ID "-00f067aa0ba902b7-0g", false, false},
        {"00-" ID "-00f067aa0ba902b7", false, false},
        {"0-" ID "-00f067aa0ba902b7-01", false, false},
        {"", false, false},
        {"----", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trace_context c = {0};
        if (trace_parent_read(str_from(cases[i].text), &c) != cases[i].good)
            fail_msg("'%s'", cases[i].text);
        if (cases[i].good)
            assert_int_equal(c.sampled, cases[i].sampled);
    }
    struct trace_context c;
    char text[TRACE_PARENT];
    assert_true(trace_parent_read(STR("00-" ID "-00f067aa0ba902b7-01"), &c));
    assert_true(c.span == 0x00f067aa0ba902b7u);
    trace_parent_write(&c, text);
    assert_string_equal(text, "00-" ID "-00f067aa0ba902b7-01");
}

static void writes_a_span(void **state)
{
    (void)state;
    struct trace_context c;
    struct buf spans, out;
    struct json_writer w;
    assert_true(trace_parent_read(STR("00-" ID "-00f067aa0ba902b7-01"), &c));
    const struct trace_span span = {.trace_id = c.id,
        .id = 1,
        .parent = c.span,
        .name = STR("chat \"m\""),
        .kind = TRACE_CLIENT,
        .start_ns = 1795840180123000000,
        .end_ns = 1795840180000000000, /* clocks that go back do not make a negative span */
        .error = STR("timeout")};
    buf_init(&spans, 64 * KIB);
    buf_init(&out, 64 * KIB);
    json_writer_init(&w, &spans);
    trace_span_begin(&w, &span);
    trace_text(&w, "a", STR("x"));
    trace_text(&w, "left.out", STR_NONE);
    trace_int(&w, "b", 1LL << 60);
    trace_count(&w, "left.out", -1);
    trace_double(&w, "c", -0.5);
    trace_int(&w, "d", -7);
    trace_span_end(&w, &span);
    trace_export_write(buf_str(&spans), "1.2", &out);
    assert_string_equal(out.data,
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{"
        "\"stringValue\":\"weir\"}},{\"key\":\"service.version\",\"value\":{\"stringValue\":\"1.2\"}}]},"
        "\"scopeSpans\":[{\"scope\":{\"name\":\"weir\"},\"spans\":[{\"traceId\":\"" ID
        "\",\"spanId\":\"0000000000000001\",\"parentSpanId\":\"00f067aa0ba902b7\",\"name\":\"chat "
        "\\\"m\\\"\",\"kind\":3,\"startTimeUnixNano\":\"1795840180123000000\",\"endTimeUnixNano\":"
        "\"1795840180123000000\",\"attributes\":[{\"key\":\"error.type\",\"value\":{\"stringValue\":"
        "\"timeout\"}},{\"key\":\"a\",\"value\":{\"stringValue\":\"x\"}},{\"key\":\"b\",\"value\":{"
        "\"intValue\":\"1152921504606846976\"}},{\"key\":\"c\",\"value\":{\"doubleValue\":-0.5}},{"
        "\"key\":\"d\",\"value\":{\"intValue\":\"-7\"}}],\"status\":{"
        "\"code\":2}}]}]}]}");
    buf_free(&spans);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_traceparent), cmocka_unit_test(writes_a_span)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
