#include <math.h>

#include "router/calibrate.h"
#include "unit/router/router_fixture.h"

enum { N = 400 };

static char texts[N][200];
static struct calibrate_sample samples[N];

/* Every second one asks for code; `weak` says how good the weak model is at it. */
static void samples_make(double weak_at_code)
{
    for (int i = 0; i < N; i++) {
        bool code = i % 2;
        snprintf(texts[i], sizeof texts[i],
            code ? "Implement f%d(x) = x^%d + {y} in C; return (x + %d)"
                 : "Tell me a story of %d words about the %d seas and %d ships",
            i, i % 7, i % 11);
        samples[i] =
            (struct calibrate_sample){.weak = code ? weak_at_code : 1, .strong = 1, .strong_cost = 1};
        calibrate_prompt_of(str_from(texts[i]), &samples[i].prompt);
    }
}

static void what_is_hard_here_is_learned(void **state)
{
    (void)state;
    struct router_calibration c;
    struct calibrate_report r;
    samples_make(0);
    assert_int_equal(router_calibrate(samples, N, 0.9, &c, &r, &err), 0);
    assert_true(r.fitted.apgr > 0.7 && r.fitted.apgr <= r.oracle.apgr + 1e-9);
    assert_true(r.share > 0.4 && r.share < 0.6 && r.quality > 0.94);
    assert_true(fabs(r.cost - r.share * N) < 1e-6 && r.strong_cost == N && r.weak_cost == 0);
    assert_true(router_calibrated(&c, STR("Implement g(x) = x^2 + {z} in C; return (x + 5)")) >= c.threshold);
    assert_true(
        router_calibrated(&c, STR("Tell me a story of 3 words about the 9 seas and 1 ships")) < c.threshold);
}

/* Where nothing of the text tells, the features are left alone, and nothing is promised. */
static void chance_is_not_learned(void **state)
{
    (void)state;
    struct router_calibration c;
    struct calibrate_report r;
    samples_make(0);
    for (int i = 0; i < N; i++)
        samples[i].weak = (i * 7919 % 101) < 50;
    assert_int_equal(router_calibrate(samples, N, 0.8, &c, &r, &err), 0);
    assert_true(r.fitted.apgr > 0.4 && r.fitted.apgr < 0.6);
    assert_true(r.quality >= r.fitted.weak + 0.8 * (r.fitted.strong - r.fitted.weak) - 1e-9);
}

static void what_cannot_be_fitted_is_refused(void **state)
{
    (void)state;
    struct router_calibration c;
    struct calibrate_report r;
    samples_make(0);
    assert_int_equal(router_calibrate(samples, CALIBRATE_LEAST - 1, 0.8, &c, &r, &err), ERROR_INVALID);
    assert_int_equal(router_calibrate(samples, 0, 0.8, &c, &r, &err), ERROR_INVALID);
    samples_make(1);
    assert_int_equal(router_calibrate(samples, N, 0.8, &c, &r, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "not better"));
}

static void a_file_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct router_calibration c, again;
    struct calibrate_report r;
    struct buf out;
    struct json_writer w;
    samples_make(0);
    assert_int_equal(router_calibrate(samples, N, 0.8, &c, &r, &err), 0);
    buf_init(&out, 1 << 16);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    router_calibration_members(&c, &w);
    json_object_end(&w);
    assert_int_equal(router_calibration_read(buf_str(&out), &again, &err), 0);
    assert_memory_equal(&c, &again, sizeof c);
    buf_free(&out);
    static const char *const wrong[] = {"", "[]", "{}",
        "{\"constant\":1,\"base\":1,\"threshold\":1,\"features\":[1]}",
        "{\"constant\":\"1\",\"base\":1,\"threshold\":1,\"features\":[]}",
        "{\"constant\":1,\"base\":1,\"threshold\":1,\"features\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,\"x\"]}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_not_equal(router_calibration_read(str_from(wrong[i]), &again, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_hard_here_is_learned),
        cmocka_unit_test(chance_is_not_learned),
        cmocka_unit_test(what_cannot_be_fitted_is_refused),
        cmocka_unit_test(a_file_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
