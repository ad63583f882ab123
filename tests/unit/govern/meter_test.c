#include "govern/meter.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static char *written(struct meter *m, struct buf *out)
{
    buf_init(out, 64 * MIB);
    meter_write(m, out);
    assert_int_equal(out->failed, 0);
    return out->data;
}

static void expect_line(const char *text, const char *line)
{
    const char *at = text;
    size_t len = strlen(line);
    for (; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return;
    fail_msg("no line '%s' in: %.3000s", line, text);
}

static void counts_by_label(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_label a[] = {{"model", STR("a")}, {"rule", STR("r")}},
                       b[] = {{"model", STR("b")}, {"rule", STR("r")}};
    meter_count(m, "t_total", "Help.", a, 2, 1);
    meter_count(m, "t_total", "Other help.", a, 2, 2.5);
    meter_count(m, "t_total", "Help.", b, 2, 1);
    meter_count(m, "u_total", "Bare.", NULL, 0, 4);
    meter_count(m, "u_total", "Bare.", a, 1, 8);
    struct buf out;
    const char *text = written(m, &out);
    assert_string_equal(text,
        "# HELP t_total Help.\n# TYPE t_total counter\n"
        "t_total{model=\"a\",rule=\"r\"} 3.5\nt_total{model=\"b\",rule=\"r\"} 1\n"
        "# HELP u_total Bare.\n# TYPE u_total counter\nu_total{} 4\nu_total{model=\"a\"} 8\n"
        "# HELP weir_meter_overflow_total Observations dropped because there were too many series.\n"
        "# TYPE weir_meter_overflow_total counter\nweir_meter_overflow_total 0\n");
    buf_free(&out);
    meter_free(m);
    meter_free(NULL);
}

/* A model's name can be any text; it must not end its quotes or its line. */
static void escapes_labels(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_label label = {"model", STR("a\"b\\c\nd{}=,\xC3\xA9")};
    meter_count(m, "t_total", "Help.", &label, 1, 1);
    struct buf out;
    expect_line(written(m, &out), "t_total{model=\"a\\\"b\\\\c\\nd{}=,\xC3\xA9\"} 1");
    buf_free(&out);
    buf_init(&out, MIB);
    meter_write_gauge(&out, "g", "Help.", &label, 1, 0.5);
    meter_write_gauge(&out, "g", NULL, NULL, 0, -2);
    assert_string_equal(
        out.data, "# HELP g Help.\n# TYPE g gauge\ng{model=\"a\\\"b\\\\c\\nd{}=,\xC3\xA9\"} 0.5\ng{} -2\n");
    buf_free(&out);
    meter_free(m);
}

/* Two label sets must not look alike because of how they are written. */
static void keeps_label_sets_apart(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_label one[] = {{"a", STR("x\",b=\"y")}}, two[] = {{"a", STR("x")}, {"b", STR("y")}};
    meter_count(m, "t_total", "Help.", one, 1, 1);
    meter_count(m, "t_total", "Help.", two, 2, 10);
    meter_count(m, "t_totala", "Help.", two, 2, 100);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "t_total{a=\"x\\\",b=\\\"y\"} 1");
    expect_line(text, "t_total{a=\"x\",b=\"y\"} 10");
    expect_line(text, "t_totala{a=\"x\",b=\"y\"} 100");
    buf_free(&out);
    meter_free(m);
}

static void observes_in_cumulative_buckets(void **state)
{
    (void)state;
    static const double seconds[] = {0, 0.001, 0.0011, 0.3, 1, 119, 120, 121, 1e6};
    struct meter *m = meter_create();
    struct meter_label label = {"model", STR("m")};
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++)
        meter_observe(m, "h_seconds", "Help.", &label, 1, seconds[i]);
    meter_observe(m, "bare_seconds", "Help.", NULL, 0, 0.5);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "# TYPE h_seconds histogram");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"0.001\"} 2");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"0.0025\"} 3");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"0.25\"} 3");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"0.5\"} 4");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"1\"} 5");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"60\"} 5");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"120\"} 7");
    expect_line(text, "h_seconds_bucket{model=\"m\",le=\"+Inf\"} 9");
    expect_line(text, "h_seconds_sum{model=\"m\"} 1000361.3021");
    expect_line(text, "h_seconds_count{model=\"m\"} 9");
    expect_line(text, "bare_seconds_bucket{le=\"0.25\"} 0");
    expect_line(text, "bare_seconds_bucket{le=\"0.5\"} 1");
    expect_line(text, "bare_seconds_sum{} 0.5");
    buf_free(&out);
    meter_free(m);
}

static void drops_and_counts_what_is_one_series_too_many(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    char name[32];
    for (int i = 0; i < METER_SERIES + 10; i++) {
        snprintf(name, sizeof name, "n%d", i);
        struct meter_label label = {"model", str_from(name)};
        meter_count(m, "t_total", "Help.", &label, 1, 1);
    }
    /* Those that are there still count; a label set that is too long never is. */
    struct meter_label first = {"model", STR("n0")};
    meter_count(m, "t_total", "Help.", &first, 1, 1);
    static char huge[5000];
    memset(huge, 'x', sizeof huge);
    struct meter_label too_long = {"model", {huge, sizeof huge}};
    meter_observe(m, "h_seconds", "Help.", &too_long, 1, 1);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "t_total{model=\"n0\"} 2");
    expect_line(text, "t_total{model=\"n4095\"} 1");
    assert_null(strstr(text, "n4096"));
    assert_null(strstr(text, "xxx"));
    expect_line(text, "weir_meter_overflow_total 11");
    buf_free(&out);
    meter_free(m);
}

enum { THREADS = 8, ROUNDS = 3000 };

static void *count_much(void *ctx)
{
    struct meter *m = ctx;
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i % 20);
        struct meter_label label = {"model", str_from(name)};
        meter_count(m, "t_total", "Help.", &label, 1, 1);
        meter_observe(m, "h_seconds", "Help.", &label, 1, 0.25);
        if (i % 500 == 0) {
            struct buf out;
            written(m, &out);
            buf_free(&out);
        }
    }
    return NULL;
}

static void loses_nothing_between_threads(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, m), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct buf out;
    const char *text = written(m, &out);
    for (int i = 0; i < 20; i++) {
        char line[96];
        snprintf(line, sizeof line, "t_total{model=\"m%d\"} %d", i, THREADS * ROUNDS / 20);
        expect_line(text, line);
        snprintf(line, sizeof line, "h_seconds_count{model=\"m%d\"} %d", i, THREADS * ROUNDS / 20);
        expect_line(text, line);
        snprintf(line, sizeof line, "h_seconds_sum{model=\"m%d\"} %d", i, THREADS * ROUNDS / 80);
        expect_line(text, line);
    }
    buf_free(&out);
    meter_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_by_label),
        cmocka_unit_test(escapes_labels),
        cmocka_unit_test(keeps_label_sets_apart),
        cmocka_unit_test(observes_in_cumulative_buckets),
        cmocka_unit_test(drops_and_counts_what_is_one_series_too_many),
        cmocka_unit_test(loses_nothing_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
