#include "base/sort.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void numbers_ascend(void **state)
{
    (void)state;
    double d[] = {2, -INFINITY, 0.5, 2, -3, INFINITY};
    const double sorted[] = {-INFINITY, -3, 0.5, 2, 2, INFINITY};
    sort_doubles(d, 6);
    assert_memory_equal(d, sorted, sizeof d);
    sort_doubles(d, 0);
    assert_memory_equal(d, sorted, sizeof d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
