#include "base/sort.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void numbers_ascend(void **state)
{
    (void)state;
    double d[] = {2, -INFINITY, 0.5, 2, -3, INFINITY};
    const double sorted[] = {-INFINITY, -3, 0.5, 2, 2, INFINITY};
    int64_t i[] = {7, INT64_MIN, 0, INT64_MAX, 7, -1};
    const int64_t whole[] = {INT64_MIN, -1, 0, 7, 7, INT64_MAX};
    sort_doubles(d, 6);
    sort_int64s(i, 6);
    assert_memory_equal(d, sorted, sizeof d);
    assert_memory_equal(i, whole, sizeof i);
    sort_doubles(d, 0);
    sort_int64s(i, 1);
    assert_memory_equal(i, whole, sizeof i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
