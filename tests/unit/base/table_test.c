#include "base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Sizes of all kinds, from a byte to more than a huge page. */
static void tables_are_zero_aligned_and_apart(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 65, 100000, 2 << 20, (2 << 20) + 1, 3 << 20, 4096, 7};
    enum { TABLES = sizeof sizes / sizeof *sizes };
    unsigned char *tables[TABLES];
    for (size_t i = 0; i < TABLES; i++) {
        tables[i] = table_alloc(sizes[i]);
        assert_non_null(tables[i]);
        assert_int_equal((uintptr_t)tables[i] % 64, 0);
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(tables[i][at], 0);
        memset(tables[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < TABLES; i++)
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(tables[i][at], i + 1);
}

static void a_table_that_no_memory_holds_is_none(void **state)
{
    (void)state;
    assert_null(table_alloc(SIZE_MAX));
    assert_null(table_alloc(SIZE_MAX / 2));
    assert_non_null(table_alloc(64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables_are_zero_aligned_and_apart),
        cmocka_unit_test(a_table_that_no_memory_holds_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
