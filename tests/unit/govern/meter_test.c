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

static struct meter_labels one(struct str a)
{
    return meter_labels(&a, 1);
}

static struct meter_labels four(const char *model, const char *rule)
{
    return meter_labels((struct str[]){str_from(model), STR("r"), str_from(rule), STR("ok")}, 4);
}

static void counts_by_label(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_labels a = one(STR("a")), b = one(STR("b")), empty = one(STR_NONE);
    meter_count(m, METER_RETRIES, &a, 1);
    meter_count(m, METER_RETRIES, &a, 2);
    meter_count(m, METER_RETRIES, &b, 1);
    meter_count(m, METER_IN_FLIGHT, &a, 2);
    meter_count(m, METER_IN_FLIGHT, &a, -1);
    meter_count(m, METER_CACHE, &empty, 1);
    struct buf out;
    const char *text = written(m, &out);
    assert_string_equal(text,
        "# HELP weir_requests_in_flight Requests that are being answered.\n"
        "# TYPE weir_requests_in_flight gauge\nweir_requests_in_flight{api=\"a\"} 1\n"
        "# HELP weir_cache_total Requests that asked the response cache.\n"
        "# TYPE weir_cache_total counter\nweir_cache_total{result=\"\"} 1\n"
        "# HELP weir_retries_total Times a target was asked again after a passing failure.\n"
        "# TYPE weir_retries_total counter\n"
        "weir_retries_total{model=\"a\"} 3\nweir_retries_total{model=\"b\"} 1\n"
        "# HELP weir_meter_overflow_total Observations dropped because there were too many series.\n"
        "# TYPE weir_meter_overflow_total counter\nweir_meter_overflow_total 0\n");
    buf_free(&out);
    meter_free(m);
    meter_free(NULL);
}

/* Counted in whole units, told in base units. */
static void converts_units(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_labels l = four("m", "r"), engine = one(STR("m"));
    meter_count(m, METER_COST, &l, 2500000); /* nano-dollars */
    meter_count(m, METER_PREFILL_SECONDS, &engine, 1500000000);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "weir_cost_usd_total{model=\"m\",route=\"r\",rule=\"r\",outcome=\"ok\"} 0.0025");
    expect_line(text, "weir_engine_prefill_seconds_total{model=\"m\"} 1.5");
    buf_free(&out);
    meter_free(m);
}

/* A model's name can be any text; it must not end its quotes or its line. */
static void escapes_labels(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_labels odd = one(STR("a\"b\\c\nd{}=,\xC3\xA9"));
    meter_count(m, METER_RETRIES, &odd, 1);
    struct buf out;
    expect_line(written(m, &out), "weir_retries_total{model=\"a\\\"b\\\\c\\nd{}=,\xC3\xA9\"} 1");
    buf_free(&out);
    buf_init(&out, MIB);
    const struct meter_label label = {"model", STR("a\"b")};
    meter_write_value(&out, "g", "gauge", "Help.", &label, 1, 0.5);
    meter_write_value(&out, "g", "gauge", NULL, NULL, 0, -2);
    assert_string_equal(out.data, "# HELP g Help.\n# TYPE g gauge\ng{model=\"a\\\"b\"} 0.5\ng -2\n");
    buf_free(&out);
    meter_free(m);
}

/* Two label sets must not look alike because of how they are put together. */
static void keeps_label_sets_apart(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_labels sets[] = {meter_labels((struct str[]){STR("ab"), STR("c")}, 2),
        meter_labels((struct str[]){STR("a"), STR("bc")}, 2),
        meter_labels((struct str[]){STR("c"), STR("ab")}, 2)};
    for (int i = 0; i < 3; i++)
        meter_count(m, METER_FAILURES, &sets[i], i + 1);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "weir_target_failures_total{model=\"ab\",reason=\"c\"} 1");
    expect_line(text, "weir_target_failures_total{model=\"a\",reason=\"bc\"} 2");
    expect_line(text, "weir_target_failures_total{model=\"c\",reason=\"ab\"} 3");
    buf_free(&out);
    meter_free(m);
}

static void observes_in_cumulative_buckets(void **state)
{
    (void)state;
    static const int64_t us[] = {0, 1000, 1001, 300000, 1000000, 119000000, 120000000, 700000000};
    struct meter *m = meter_create();
    struct meter_labels l = meter_labels((struct str[]){STR("m"), STR("placed")}, 2);
    for (size_t i = 0; i < sizeof us / sizeof *us; i++)
        meter_observe(m, METER_QUEUE_SECONDS, &l, us[i]);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "# TYPE weir_queue_seconds histogram");
#define LINE(suffix, le) "weir_queue_seconds" suffix "{model=\"m\",outcome=\"placed\"" le "} "
    expect_line(text, LINE("_bucket", ",le=\"0.001\"") "2");
    expect_line(text, LINE("_bucket", ",le=\"0.0025\"") "3");
    expect_line(text, LINE("_bucket", ",le=\"0.25\"") "3");
    expect_line(text, LINE("_bucket", ",le=\"0.5\"") "4");
    expect_line(text, LINE("_bucket", ",le=\"1\"") "5");
    expect_line(text, LINE("_bucket", ",le=\"120\"") "7");
    expect_line(text, LINE("_bucket", ",le=\"600\"") "7");
    expect_line(text, LINE("_bucket", ",le=\"+Inf\"") "8");
    expect_line(text, LINE("_sum", "") "940.302001");
    expect_line(text, LINE("_count", "") "8");
#undef LINE
    buf_free(&out);
    meter_free(m);
}

/* What one request gathers on its own counts as if each piece had been observed. */
static void adds_up_what_was_gathered(void **state)
{
    (void)state;
    struct meter *m = meter_create();
    struct meter_histogram gathered = {0};
    struct meter_labels l = four("m", "r");
    for (int i = 0; i < 30; i++)
        meter_histogram_add(&gathered, METER_INTER_TOKEN, 12000);
    meter_histogram_add(&gathered, METER_INTER_TOKEN, 99000000);
    meter_observe_all(m, METER_INTER_TOKEN, &l, &gathered);
    meter_observe(m, METER_INTER_TOKEN, &l, 12000);
    struct buf out;
    const char *text = written(m, &out);
#define LINE(suffix, le)                                                                                     \
    "weir_inter_token_seconds" suffix "{model=\"m\",route=\"r\",rule=\"r\",outcome=\"ok\"" le "} "
    expect_line(text, LINE("_bucket", ",le=\"0.01\"") "0");
    expect_line(text, LINE("_bucket", ",le=\"0.015\"") "31");
    expect_line(text, LINE("_bucket", ",le=\"10\"") "31");
    expect_line(text, LINE("_count", "") "32");
    expect_line(text, LINE("_sum", "") "99.372");
#undef LINE
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
        struct meter_labels label = one(str_from(name));
        meter_count(m, METER_RETRIES, &label, 1);
    }
    /* Those that are there still count; a label set that is too long never is. */
    struct meter_labels first = one(STR("n0"));
    meter_count(m, METER_RETRIES, &first, 1);
    static char huge[5000];
    memset(huge, 'x', sizeof huge);
    struct meter_labels too_long = meter_labels((struct str[]){{huge, sizeof huge}, STR("placed")}, 2);
    meter_observe(m, METER_QUEUE_SECONDS, &too_long, 1);
    struct buf out;
    const char *text = written(m, &out);
    expect_line(text, "weir_retries_total{model=\"n0\"} 2");
    expect_line(text, "weir_retries_total{model=\"n4095\"} 1");
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
        struct meter_labels l = four(name, "r");
        meter_count(m, METER_REQUESTS, &l, 1);
        meter_observe(m, METER_FIRST_TOKEN, &l, 250000);
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
        char line[160], labels[96];
        snprintf(labels, sizeof labels, "{model=\"m%d\",route=\"r\",rule=\"r\",outcome=\"ok\"}", i);
        snprintf(line, sizeof line, "weir_requests_total%s %d", labels, THREADS * ROUNDS / 20);
        expect_line(text, line);
        snprintf(line, sizeof line, "weir_first_token_seconds_count%s %d", labels, THREADS * ROUNDS / 20);
        expect_line(text, line);
        snprintf(line, sizeof line, "weir_first_token_seconds_sum%s %d", labels, THREADS * ROUNDS / 80);
        expect_line(text, line);
    }
    buf_free(&out);
    meter_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_by_label),
        cmocka_unit_test(converts_units),
        cmocka_unit_test(escapes_labels),
        cmocka_unit_test(keeps_label_sets_apart),
        cmocka_unit_test(observes_in_cumulative_buckets),
        cmocka_unit_test(adds_up_what_was_gathered),
        cmocka_unit_test(drops_and_counts_what_is_one_series_too_many),
        cmocka_unit_test(loses_nothing_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
