/* Rates: what a minute lets through, by a clock that the test brings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "govern/rate.h"

#define SECOND INT64_C(1000000000)

static int take_all(struct rate *r, int64_t limit, int64_t now_ns)
{
    int n = 0;
    for (; rate_wait_ns(r, limit, 1, now_ns) == 0; n++)
        rate_take(r, limit, 1, now_ns);
    return n;
}

static void test_a_full_bucket_then_an_even_flow(void **state)
{
    (void)state;
    for (int64_t limit = 1; limit <= 1000; limit += limit < 20 ? 1 : 97) {
        struct rate r = {0};
        int64_t now = 5 * SECOND;
        assert_int_equal(rate_room(&r, limit, now), limit);
        assert_int_equal(take_all(&r, limit, now), limit);
        assert_int_equal(rate_room(&r, limit, now), 0);
        int64_t wait = rate_wait_ns(&r, limit, 1, now);
        assert_in_range(wait, 1, 60 * SECOND / limit + 1);
        assert_int_equal(take_all(&r, limit, now + wait), 1);
        assert_int_equal(take_all(&r, limit, now + 120 * SECOND), limit);
    }
}

static void test_the_room_that_is_told_is_there(void **state)
{
    (void)state;
    for (int64_t limit = 1; limit < 60; limit++) {
        struct rate r = {0};
        for (int64_t i = 0; i < limit; i++) {
            assert_int_equal(rate_room(&r, limit, SECOND), limit - i);
            rate_take(&r, limit, 1, SECOND);
        }
    }
}

static void test_more_than_the_limit_needs_a_full_bucket(void **state)
{
    (void)state;
    struct rate r = {0};
    assert_int_equal(rate_wait_ns(&r, 1000, 3000, SECOND), 0);
    rate_take(&r, 1000, 3000, SECOND);
    assert_int_equal(rate_full_ns(&r, SECOND), 180 * SECOND);
    assert_int_equal(rate_room(&r, 1000, SECOND), 0);
    assert_int_equal(rate_wait_ns(&r, 1000, 1, SECOND), 120 * SECOND + 60 * SECOND / 1000);
    assert_int_equal(rate_wait_ns(&r, 1000, 3000, SECOND + 180 * SECOND), 0);
}

static void test_what_was_not_used_comes_back(void **state)
{
    (void)state;
    struct rate r = {0};
    rate_take(&r, 600, 600, SECOND);
    assert_true(rate_wait_ns(&r, 600, 100, SECOND) > 0);
    rate_correct(&r, 600, 600, 200);
    assert_int_equal(rate_room(&r, 600, SECOND), 400);
    rate_correct(&r, 600, 200, 700); /* it was more */
    assert_int_equal(rate_room(&r, 600, SECOND), 0);
    rate_correct(&r, 600, 700, 0); /* never more than full */
    assert_int_equal(rate_room(&r, 600, 100 * SECOND), 600);
    assert_int_equal(take_all(&r, 600, 100 * SECOND), 600);
}

static void test_huge_numbers_do_not_overflow(void **state)
{
    (void)state;
    struct rate r = {0};
    rate_take(&r, 1, INT64_MAX, SECOND);
    assert_true(rate_full_ns(&r, SECOND) > 0);
    assert_int_equal(rate_room(&(struct rate){0}, RATE_MOST, SECOND), RATE_MOST);
    assert_int_equal(rate_wait_ns(&r, RATE_MOST, INT64_MIN, INT64_MAX), 0);
}

static void test_what_was_taken_is_the_same_of_another_limit(void **state)
{
    struct rate r = {0};
    int64_t now = 5 * SECOND;
    (void)state;
    assert_int_equal(take_all(&r, 10, now), 10);
    rate_rescale(&r, 10, 20, now); /* twice as much, of which half is taken */
    assert_int_equal(take_all(&r, 20, now), 10);
    rate_rescale(&r, 20, 10, now); /* 20 taken of 10: nothing for a minute */
    assert_int_equal(rate_room(&r, 10, now + 59 * SECOND), 0);
    assert_int_equal(take_all(&r, 10, now + 90 * SECOND), 5);
    r.full_ns = INT64_MAX / 2;
    rate_rescale(&r, 1 << 20, 1, now);
    assert_true(r.full_ns > now && r.full_ns <= INT64_MAX / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_bucket_then_an_even_flow),
        cmocka_unit_test(test_the_room_that_is_told_is_there),
        cmocka_unit_test(test_more_than_the_limit_needs_a_full_bucket),
        cmocka_unit_test(test_what_was_not_used_comes_back),
        cmocka_unit_test(test_huge_numbers_do_not_overflow),
        cmocka_unit_test(test_what_was_taken_is_the_same_of_another_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
