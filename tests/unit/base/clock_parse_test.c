/* Dates and durations people write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"

static int64_t at(const char *text)
{
    int64_t ms = 0;
    return clock_parse(str_from(text), &ms) ? ms : INT64_MIN;
}

static int64_t lasts(const char *text)
{
    int64_t ms = 0;
    return clock_parse_duration(str_from(text), &ms) ? ms : INT64_MIN;
}

static void test_dates(void **state)
{
    (void)state;
    assert_int_equal(at("1970-01-01"), 0);
    assert_int_equal(at("2026-11-20"), 1795132800000);
    assert_int_equal(at("2026-11-20T12:00:00Z"), 1795176000000);
    assert_int_equal(at("2026-11-20 12:00:00"), 1795176000000);
    assert_int_equal(at("2026-11-20T12:00:00.5Z"), 1795176000500);
    assert_int_equal(at("2026-11-20T12:00:00.1239999Z"), 1795176000123);
    assert_int_equal(at("2026-11-20T12:00:00+01:30"), 1795176000000 - 5400000);
    assert_int_equal(at("2026-11-20T12:00:00-01:00"), 1795176000000 + 3600000);
    assert_int_equal(at("2024-02-29"), 1709164800000);
}

static void test_not_dates(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "now", "2026", "2026-11", "2026-13-01", "2026-00-10", "2026-02-30",
        "2023-02-29", "2026-11-20T", "2026-11-20T12:00", "2026-11-20T25:00:00", "2026-11-20T12:61:00",
        "2026-11-20T12:00:00.", "2026-11-20T12:00:00X", "2026-11-20T12:00:00+1:00",
        "2026-11-20T12:00:00+24:00", "2026-11-20T12:00:00Zx", "2026-11-20x", "+026-11-20", "2026-1-20",
        " 2026-11-20"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(at(bad[i]), INT64_MIN);
}

/* What the program writes, it reads. */
static void test_round_trip(void **state)
{
    (void)state;
    for (int64_t ms = 0; ms < 4102444800000; ms += 86400000 * 13 + 12345677) {
        char text[32];
        clock_format(ms, text);
        assert_int_equal(at(text), ms);
    }
}

static void test_durations(void **state)
{
    (void)state;
    assert_int_equal(lasts("250ms"), 250);
    assert_int_equal(lasts("5s"), 5000);
    assert_int_equal(lasts("10m"), 600000);
    assert_int_equal(lasts("24h"), 86400000);
    assert_int_equal(lasts("90d"), 7776000000);
    assert_int_equal(lasts("2w"), 1209600000);
    static const char *const bad[] = {"", "5", "s", "-5s", "5 s", "1.5h", "5y", "5S", "99999999999999999999s",
        "9223372036854775807s", "5sm"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(lasts(bad[i]), INT64_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_not_dates),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
