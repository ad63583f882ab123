#include "app/bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static struct error err;

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-9 * (fabs(a) + fabs(b));
}

/* 100 GB/s, 10 TOPS, 2 TFLOPS of bfloat16, 1 TFLOPS; a model of 1 G operations a token in 0.5 GB. */
static struct bench example(void)
{
    struct bench b = {.file = "a & b.gguf", .isa = "avx2", .threads = 2, .load_s = 0.5, .n = 3};
    b.limits = (struct bench_limits){100e9, 60e9, 10e12, 2e12, 1e12};
    const struct bench_work work = {.layers = {1e9}, .head = {1e8}, .bytes = 0.5e9};
    b.points[0] = (struct bench_point){.streams = 1,
        .prompt = 100,
        .generate = 10,
        .work = work,
        .prefill = {5000, 4000, 6000, 3},
        .decode = {100, 90, 110, 3}};
    b.points[1] =
        (struct bench_point){.streams = 1000, .generate = 10, .work = work, .decode = {5000, 5000, 5000, 1}};
    b.points[2] =
        (struct bench_point){.depth = 4096, .streams = 1, .prompt = 100, .generate = 10, .skipped = true};
    return b;
}

static void speeds_are_medians(void **state)
{
    (void)state;
    json_t *seconds;
    struct bench_speed s;
    assert_int_equal(json_read(STR("[4, 1, 2, 0, -1]"), &seconds, &err), 0);
    bench_speed_of(seconds, 8, &s);
    assert_true(s.n == 5 && s.median == 2 && s.min == 0 && s.max == 8);
    json_decref(seconds);
    /* Of two it was the faster one. */
    assert_int_equal(json_read(STR("[4, 1]"), &seconds, &err), 0);
    bench_speed_of(seconds, 8, &s);
    assert_true(s.n == 2 && s.median == 5 && s.min == 2 && s.max == 8);
    json_decref(seconds);
    bench_speed_of(NULL, 8, &s);
    assert_true(s.n == 0);
}

/* Few streams are bound by what they read, many by what they compute. */
static void shares_are_of_what_binds(void **state)
{
    (void)state;
    struct bench b = example();
    struct bench_share s = bench_prefill_share(&b, &b.points[0]);
    assert_true(near(s.share, (100 * 1e9 + 1e8) / 10e12 * 5000 / 100) && near(s.limit, 10));
    assert_string_equal(s.unit, "int8 TOPS");
    s = bench_decode_share(&b, &b.points[0]);
    assert_true(near(s.share, 0.5e9 / 100e9 * 100) && near(s.limit, 100));
    assert_string_equal(s.unit, "GB/s");
    s = bench_decode_share(&b, &b.points[1]);
    assert_true(near(s.share, 1.1e9 / 10e12 * 5000));
    assert_string_equal(s.unit, "int8 TOPS");
    assert_null(bench_decode_share(&b, &b.points[2]).unit);
    b.limits.integers = 0; /* an instruction set without such units */
    assert_null(bench_prefill_share(&b, &b.points[0]).unit);
    b.points[0].work = (struct bench_work){.layers = {[BENCH_FLOATS] = 1e9}, .bytes = 2e9};
    s = bench_prefill_share(&b, &b.points[0]);
    assert_true(near(s.share, 1e9 / 1e12 * 5000) && near(s.limit, 1));
    b.points[0].work = (struct bench_work){
        .layers = {[BENCH_HALVES] = 1e9, [BENCH_FLOATS] = 1e8}, .head = {[BENCH_HALVES] = 1e7}, .bytes = 2e9};
    s = bench_prefill_share(&b, &b.points[0]);
    assert_true(near(s.share, (1e9 / 2e12 + 1e8 / 1e12 + 1e7 / 2e12 / 100) * 5000) && near(s.limit, 2));
    assert_string_equal(s.unit, "bf16 TFLOPS");
}

static void the_text_says_shares_and_what_was_skipped(void **state)
{
    (void)state;
    struct bench b = example();
    struct buf out;
    buf_init(&out, MIB);
    b.copy = (struct bench_copy){
        .tokens = 10, .copy = {50, 50, 50, 1}, .plain = {25, 25, 25, 1}, .drafted = 8, .drawn = 6};
    bench_text(&b, &out);
    buf_append_char(&out, '\0');
    assert_false(out.failed);
    assert_non_null(strstr(out.data, "5000.0 t/s (50% of 10.000 int8 TOPS)"));
    assert_non_null(strstr(out.data, "100.0 t/s (50% of 100.0 GB/s)"));
    assert_non_null(strstr(out.data, "depth 4096       skipped"));
    assert_non_null(strstr(out.data, "50.0 t/s (2.00 times 25.0 t/s without drafts; 75% of them drawn)"));
    buf_free(&out);
}

static void the_json_has_the_contracts_members(void **state)
{
    (void)state;
    struct bench b = example();
    struct buf out;
    json_t *root;
    buf_init(&out, MIB);
    bench_json(&b, &out);
    assert_int_equal(json_read(buf_str(&out), &root, &err), 0);
    static const char *const members[] = {"prefill_tps", "decode_tps", "load_s", "first_token_s",
        "peak_bytes", "isa", "threads", "limits", "points"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (!json_object_get(root, members[i]))
            fail_msg("no %s", members[i]);
    const json_t *limits = json_object_get(root, "limits"), *points = json_object_get(root, "points");
    assert_true(near(json_real_value(json_object_get(limits, "decode_share")), 0.5));
    assert_true(json_number_value(json_object_get(limits, "read_gbps")) == 100);
    assert_int_equal(json_array_size(points), 3);
    assert_true(json_is_true(json_object_get(json_array_get(points, 2), "skipped")));
    assert_true(json_is_null(json_object_get(json_array_get(points, 2), "decode_tps")));
    json_decref(root);
    buf_free(&out);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

/* What was not measured has no dot; a single one still has its picture. */
static void the_picture_has_a_dot_for_each_speed(void **state)
{
    (void)state;
    struct bench b = example();
    struct buf out;
    buf_init(&out, MIB);
    bench_svg(&b, &out);
    buf_append_char(&out, '\0');
    assert_int_equal(count(out.data, "<circle "), 4); /* by depth: prefill, decode; by streams: two */
    assert_int_equal(count(out.data, "<polyline "), 3);
    assert_int_equal(count(out.data, "<g "), count(out.data, "</g>"));
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speeds_are_medians),
        cmocka_unit_test(shares_are_of_what_binds),
        cmocka_unit_test(the_text_says_shares_and_what_was_skipped),
        cmocka_unit_test(the_json_has_the_contracts_members),
        cmocka_unit_test(the_picture_has_a_dot_for_each_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
