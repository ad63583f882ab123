#include "exchange/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct chat_failure failure(int code, int status)
{
    return (struct chat_failure){.code = code, .status = status, .retryable = true, .retry_after_ms = -1};
}

static bool is_retried(struct chat_failure f)
{
    return retry_delay(&f, 0, 2, INT64_MAX, 0) >= 0;
}

static void passing_failures_are_tried_again(void **state)
{
    (void)state;
    static const int passing[] = {408, 409, 425, 429, 500, 502, 503, 504, 529};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        assert_true(is_retried(failure(ERROR_UNAVAILABLE, passing[i])));
    assert_true(is_retried(failure(ERROR_UNAVAILABLE, 0))); /* refused, reset */
}

static void others_are_not(void **state)
{
    (void)state;
    static const int lasting[] = {301, 401, 402, 403, 404};
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++)
        assert_false(is_retried(failure(ERROR_UNAVAILABLE, lasting[i])));
    assert_false(is_retried(failure(ERROR_TIMEOUT, 0))); /* it may still be working on it */
    assert_false(is_retried(failure(ERROR_DENIED, 0)));
    assert_false(is_retried(failure(ERROR_IO, 0)));
    assert_false(is_retried(failure(ERROR_CONTEXT, 400))); /* the next target may have a larger one */
    assert_false(is_retried(failure(ERROR_CONTEXT, 0)));
    assert_false(is_retried(failure(ERROR_UNSUPPORTED, 0)));
    struct chat_failure final = failure(ERROR_UNAVAILABLE, 503);
    final.retryable = false;
    assert_false(is_retried(final));
}

static void delays_double_with_jitter_and_end(void **state)
{
    (void)state;
    struct chat_failure f = failure(ERROR_UNAVAILABLE, 503);
    int64_t full = RETRY_BASE_MS;
    for (int tried = 0; tried < 10; tried++) {
        int64_t least = INT64_MAX, most = 0;
        for (uint64_t random = 0; random < 6000; random++) {
            int64_t delay = retry_delay(&f, tried, 10, INT64_MAX, random);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_int_equal(least, full / 2);
        assert_int_equal(most, full);
        full = full * 2 > RETRY_CAP_MS ? RETRY_CAP_MS : full * 2;
    }
    assert_int_equal(retry_delay(&f, 10, 10, INT64_MAX, 0), -1);
    assert_int_equal(retry_delay(&f, 0, 0, INT64_MAX, 0), -1);
}

static void retry_after_is_waited_for_where_it_is_short(void **state)
{
    (void)state;
    struct chat_failure f = failure(ERROR_BUSY, 429);
    f.retry_after_ms = 1500;
    for (uint64_t random = 0; random < 300; random++)
        assert_in_range(retry_delay(&f, 0, 2, INT64_MAX, random), 1500, 1599);
    f.retry_after_ms = 0;
    assert_in_range(retry_delay(&f, 0, 2, INT64_MAX, 50), 100, 200);
    f.retry_after_ms = RETRY_AFTER_CAP_MS + 1;
    assert_int_equal(retry_delay(&f, 0, 2, INT64_MAX, 0), -1);
}

static void no_retry_that_the_deadline_would_cut_off(void **state)
{
    (void)state;
    struct chat_failure f = failure(ERROR_UNAVAILABLE, 503);
    assert_int_equal(retry_delay(&f, 0, 2, 100, 0), -1);
    assert_int_equal(retry_delay(&f, 0, 2, 101, 0), 100);
    assert_int_equal(retry_delay(&f, 0, 2, -5, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passing_failures_are_tried_again),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(delays_double_with_jitter_and_end),
        cmocka_unit_test(retry_after_is_waited_for_where_it_is_short),
        cmocka_unit_test(no_retry_that_the_deadline_would_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
