/* The clock is a number here. */
#include "exchange/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct breaker_policy policy = {3, 0.5, 1000};
enum { START = 1000000 };

static void fail_times(struct breaker *b, int n, int64_t now)
{
    for (int i = 0; i < n; i++)
        breaker_result(b, &policy, BREAKER_FAILED, -1, now);
}

static void opens_after_failures_in_a_row(void **state)
{
    (void)state;
    struct breaker b = {0};
    fail_times(&b, 2, START);
    breaker_result(&b, &policy, BREAKER_OK, -1, START);
    fail_times(&b, 2, START);
    assert_true(breaker_admit(&b, &policy, START));
    assert_true(breaker_result(&b, &policy, BREAKER_FAILED, -1, START));
    assert_false(breaker_admit(&b, &policy, START));
    assert_false(breaker_admit(&b, &policy, START + 999));
    assert_int_equal(b.state, BREAKER_OPEN);
}

static void half_open_lets_one_through(void **state)
{
    (void)state;
    struct breaker b = {0};
    fail_times(&b, 3, START);
    assert_true(breaker_admit(&b, &policy, START + 1000));
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_false(breaker_admit(&b, &policy, START + 1000));
    /* The client of the one left: the next may find out. */
    breaker_result(&b, &policy, BREAKER_NEUTRAL, -1, START + 1100);
    assert_true(breaker_admit(&b, &policy, START + 1200));
    breaker_result(&b, &policy, BREAKER_OK, -1, START + 1300);
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_true(breaker_admit(&b, &policy, START + 1300));
    fail_times(&b, 2, START + 1300); /* what was before is forgotten */
    assert_true(breaker_admit(&b, &policy, START + 1300));
}

static void opens_longer_each_time(void **state)
{
    (void)state;
    struct breaker b = {0};
    int64_t now = START, expect = 1000;
    fail_times(&b, 3, now);
    for (int i = 0; i < 10; i++) {
        assert_false(breaker_admit(&b, &policy, now + expect - 1));
        assert_true(breaker_admit(&b, &policy, now + expect));
        now += expect;
        assert_true(breaker_result(&b, &policy, BREAKER_FAILED, -1, now));
        expect = expect * 2 > BREAKER_OPEN_MOST_MS ? BREAKER_OPEN_MOST_MS : expect * 2;
    }
    assert_true(breaker_admit(&b, &policy, now + expect));
    breaker_result(&b, &policy, BREAKER_OK, -1, now + expect);
    fail_times(&b, 3, now + expect);
    assert_true(breaker_admit(&b, &policy, now + expect + 1000)); /* short again */
    assert_int_equal(b.opened, 12);
}

static void a_ratio_opens_it_and_the_window_forgets(void **state)
{
    (void)state;
    struct breaker b = {0};
    const int64_t window = (int64_t)BREAKER_SPANS * BREAKER_SPAN_MS;
    for (int i = 0; i < BREAKER_LEAST / 2 - 1; i++) { /* every second one fails */
        breaker_result(&b, &policy, BREAKER_FAILED, -1, START);
        breaker_result(&b, &policy, BREAKER_OK, -1, START);
    }
    assert_false(breaker_result(&b, &policy, BREAKER_FAILED, -1, START)); /* one short of enough */
    struct breaker later = b;
    breaker_result(&b, &policy, BREAKER_OK, -1, START);
    assert_true(breaker_result(&b, &policy, BREAKER_FAILED, -1, START));
    assert_false(breaker_admit(&b, &policy, START));
    breaker_result(&later, &policy, BREAKER_OK, -1, START + window);
    assert_false(breaker_result(&later, &policy, BREAKER_FAILED, -1, START + window));
}

static void holds_as_long_as_it_is_asked_to(void **state)
{
    (void)state;
    struct breaker b = {0};
    fail_times(&b, 2, START);
    assert_true(breaker_result(&b, &policy, BREAKER_FAILED, 7000, START));
    assert_false(breaker_admit(&b, &policy, START + 6999));
    assert_true(breaker_admit(&b, &policy, START + 7000));
    struct breaker greedy = {0};
    fail_times(&greedy, 2, START);
    breaker_result(&greedy, &policy, BREAKER_FAILED, 24 * 3600 * 1000, START);
    assert_true(breaker_admit(&greedy, &policy, START + BREAKER_OPEN_MOST_MS));
}

static void a_probe_answered_brings_the_trial_forward(void **state)
{
    (void)state;
    struct breaker b = {0};
    breaker_answered(&b);
    assert_int_equal(b.state, BREAKER_CLOSED);
    fail_times(&b, 3, START);
    breaker_answered(&b);
    assert_true(breaker_admit(&b, &policy, START + 1));
    assert_false(breaker_admit(&b, &policy, START + 1));
}

static void a_target_that_probes_do_not_reach_is_not_tried_by_a_client(void **state)
{
    (void)state;
    struct breaker b = {0};
    breaker_missed(&b, 3000, START);
    assert_true(breaker_admit(&b, &policy, START)); /* closed: requests tell more than a probe */
    fail_times(&b, 3, START);
    for (int64_t at = START + 900; at < START + 60000; at += 2000) {
        breaker_missed(&b, 3000, at);
        assert_false(breaker_admit(&b, &policy, at + 2000));
    }
    breaker_answered(&b);
    assert_true(breaker_admit(&b, &policy, START + 60000));
    struct breaker longer = {0};
    fail_times(&longer, 2, START);
    breaker_result(&longer, &policy, BREAKER_FAILED, 30000, START);
    breaker_missed(&longer, 3000, START); /* never sooner than without it */
    assert_false(breaker_admit(&longer, &policy, START + 29999));
}

static void a_probe_that_was_missed_once_an_hour_kept_it_open_for_an_hour(void **state)
{
    (void)state;
    struct breaker b = {0};
    const int64_t hour = 3600 * 1000;
    assert_int_equal(breaker_probe_every(&b, hour), hour);
    fail_times(&b, 3, START);
    assert_int_equal(breaker_probe_every(&b, hour), BREAKER_OPEN_MOST_MS);
    assert_int_equal(breaker_probe_every(&b, 5000), 5000);
}

static void late_failures_do_not_hold_it_open(void **state)
{
    (void)state;
    struct breaker b = {0};
    fail_times(&b, 3, START);
    fail_times(&b, 50, START + 900); /* requests that began before it opened */
    assert_true(breaker_admit(&b, &policy, START + 1000));
    /* One that was sent although it was open may show that it is well. */
    fail_times(&b, 1, START + 1000);
    breaker_result(&b, &policy, BREAKER_OK, -1, START + 1001);
    assert_int_equal(b.state, BREAKER_CLOSED);
}

static void off_is_off(void **state)
{
    (void)state;
    const struct breaker_policy off = {0};
    struct breaker b = {0};
    for (int i = 0; i < 100; i++)
        assert_false(breaker_result(&b, &off, BREAKER_FAILED, -1, START));
    assert_true(breaker_admit(&b, &off, START));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_failures_in_a_row),
        cmocka_unit_test(half_open_lets_one_through),
        cmocka_unit_test(opens_longer_each_time),
        cmocka_unit_test(a_ratio_opens_it_and_the_window_forgets),
        cmocka_unit_test(holds_as_long_as_it_is_asked_to),
        cmocka_unit_test(a_probe_answered_brings_the_trial_forward),
        cmocka_unit_test(a_target_that_probes_do_not_reach_is_not_tried_by_a_client),
        cmocka_unit_test(a_probe_that_was_missed_once_an_hour_kept_it_open_for_an_hour),
        cmocka_unit_test(late_failures_do_not_hold_it_open),
        cmocka_unit_test(off_is_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
