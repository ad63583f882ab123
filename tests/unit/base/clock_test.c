#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void goes_forward(void **state)
{
    (void)state;
    int64_t ns = clock_mono_ns(), ms = clock_mono_ms(), wall = clock_wall_ms();
    usleep(20000);
    int64_t passed = clock_mono_ns() - ns;
    assert_true(passed >= 20000000 && passed < 5000000000);
    assert_true(clock_mono_ms() - ms >= 19);
    assert_true(clock_wall_ms() - wall >= 19);
    assert_true(wall > 1700000000000); /* a date after 2023 */
}

static void writes_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } dates[] = {{0, "1970-01-01T00:00:00.000Z"}, {1, "1970-01-01T00:00:00.001Z"},
        {1709164799999, "2024-02-28T23:59:59.999Z"}, {1709164800000, "2024-02-29T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"}};
    char text[32];
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t back;
        clock_format(dates[i].ms, text);
        assert_string_equal(text, dates[i].text);
        assert_true(clock_parse(str_from(text), &back) && back == dates[i].ms);
    }
}

/* A year of five digits left the text unwritten; a date before 1970 gave "-01Z". */
static void writes_dates_outside_its_range_as_the_nearest(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } dates[] = {{253402300800000, "9999-12-31T23:59:59.999Z"},
        {60000000000000000, "9999-12-31T23:59:59.999Z"}, {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"}, {INT64_MIN, "1970-01-01T00:00:00.000Z"}};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        char text[32];
        memset(text, 'x', sizeof text);
        clock_format(dates[i].ms, text);
        assert_string_equal(text, dates[i].text);
    }
    char text[32];
    clock_format_ns(1795176000012345678, text);
    assert_string_equal(text, "2026-11-20T12:00:00.012345678Z");
    clock_format_ns(INT64_MAX, text);
    assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
    clock_format_ns(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
}

static void rough_readings_are_a_tick_behind(void **state)
{
    (void)state;
    int64_t least = INT64_MAX;
    for (int i = 0; i < 1000; i++) {
        int64_t mono = clock_mono_rough_ms(), wall = clock_wall_rough_ms(), now = clock_mono_ms();
        assert_true(mono <= now && wall <= clock_wall_ms());
        least = now - mono < least ? now - mono : least;
    }
    assert_true(least <= 10);
}

static void a_clock_that_was_ahead_for_a_while_makes_nothing_old(void **state)
{
    (void)state;
    const int64_t hour = 3600 * 1000, day = 24 * hour, at = 1000 * day;
    struct clock_looked last = {0};
    assert_int_equal(clock_wall_settled(&last, at, hour), at); /* the first look believes it */
    assert_int_equal(clock_wall_settled(&last, at + hour, 2 * hour), at + hour);
    assert_int_equal(clock_wall_settled(&last, at + 400 * day, 3 * hour), at + 2 * hour);
    assert_int_equal(clock_wall_settled(&last, at + 3 * hour, 4 * hour), at + 3 * hour); /* it came back */
    assert_int_equal(clock_wall_settled(&last, at + 400 * day, 5 * hour), at + 4 * hour);
    assert_int_equal(
        clock_wall_settled(&last, at + 400 * day + hour, 6 * hour), at + 400 * day + hour); /* it did not */
    assert_int_equal(
        clock_wall_settled(&last, at + 401 * day, 7 * hour), at + 401 * day); /* by less than a day */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_forward),
        cmocka_unit_test(rough_readings_are_a_tick_behind),
        cmocka_unit_test(a_clock_that_was_ahead_for_a_while_makes_nothing_old),
        cmocka_unit_test(writes_dates),
        cmocka_unit_test(writes_dates_outside_its_range_as_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
