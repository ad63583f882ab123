/* The calendar of budgets, held against the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "base/clock.h"
#include "govern/period.h"

static int64_t day_of(const char *date)
{
    int64_t ms;
    assert_true(clock_parse(str_from(date), &ms));
    return period_day(ms);
}

static void assert_period(enum period p, const char *date, const char *start, const char *end)
{
    char said[32];
    assert_int_equal(period_start(p, day_of(date)), day_of(start));
    clock_format(period_end_ms(p, day_of(date)), said);
    said[10] = '\0';
    assert_string_equal(said, end);
}

static void test_months_end_as_the_calendar_has_it(void **state)
{
    (void)state;
    assert_period(PERIOD_MONTH, "2026-01-31", "2026-01-01", "2026-02-01");
    assert_period(PERIOD_MONTH, "2026-02-28", "2026-02-01", "2026-03-01");
    assert_period(PERIOD_MONTH, "2028-02-29", "2028-02-01", "2028-03-01"); /* a leap day */
    assert_period(PERIOD_MONTH, "2028-03-01", "2028-03-01", "2028-04-01");
    assert_period(PERIOD_MONTH, "2100-02-28", "2100-02-01", "2100-03-01"); /* no leap year */
    assert_period(PERIOD_MONTH, "2000-02-29", "2000-02-01", "2000-03-01"); /* one */
    assert_period(PERIOD_MONTH, "2026-04-30", "2026-04-01", "2026-05-01");
    assert_period(PERIOD_MONTH, "2026-12-31", "2026-12-01", "2027-01-01");
    assert_period(PERIOD_MONTH, "1970-01-01", "1970-01-01", "1970-02-01");
}

static void test_weeks_begin_on_monday(void **state)
{
    (void)state;
    assert_period(PERIOD_WEEK, "2026-11-28", "2026-11-23", "2026-11-30"); /* a Saturday */
    assert_period(PERIOD_WEEK, "2026-11-29", "2026-11-23", "2026-11-30"); /* a Sunday */
    assert_period(PERIOD_WEEK, "2026-11-30", "2026-11-30", "2026-12-07"); /* a Monday */
    assert_period(PERIOD_WEEK, "2027-01-01", "2026-12-28", "2027-01-04"); /* over the year's end */
}

static void test_days_and_the_total(void **state)
{
    (void)state;
    assert_period(PERIOD_DAY, "2028-02-29", "2028-02-29", "2028-03-01");
    assert_int_equal(period_day(-1), -1);
    assert_int_equal(period_day(86399999), 0);
    assert_int_equal(period_day(86400000), 1);
    assert_int_equal(period_start(PERIOD_TOTAL, 5), INT64_MIN);
    assert_int_equal(period_end_ms(PERIOD_TOTAL, 5), -1);
}

/* 400 years: every day is in the month and week that the library says. */
static void test_every_day_of_the_calendar(void **state)
{
    (void)state;
    for (int64_t day = day_of("1970-01-01"); day < day_of("2370-01-01"); day++) {
        time_t seconds = (time_t)(day * 86400), end;
        struct tm tm;
        gmtime_r(&seconds, &tm);
        if (period_start(PERIOD_MONTH, day) != day - (tm.tm_mday - 1) ||
            period_start(PERIOD_WEEK, day) != day - (tm.tm_wday + 6) % 7)
            fail_msg("day %lld begins another period", (long long)day);
        end = (time_t)(period_end_ms(PERIOD_MONTH, day) / 1000);
        gmtime_r(&end, &tm);
        if (tm.tm_mday != 1 || tm.tm_hour != 0 || period_end_ms(PERIOD_MONTH, day) <= day * 86400000 ||
            period_start(PERIOD_MONTH, (int64_t)end / 86400 - 1) != period_start(PERIOD_MONTH, day))
            fail_msg("the month of day %lld ends elsewhere", (long long)day);
    }
}

static void test_names(void **state)
{
    (void)state;
    enum period p;
    for (int i = 0; i < PERIODS; i++) {
        assert_true(period_from(str_from(period_name((enum period)i)), &p));
        assert_int_equal(p, i);
    }
    assert_false(period_from(STR("year"), &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_months_end_as_the_calendar_has_it),
        cmocka_unit_test(test_weeks_begin_on_monday),
        cmocka_unit_test(test_days_and_the_total),
        cmocka_unit_test(test_every_day_of_the_calendar),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
