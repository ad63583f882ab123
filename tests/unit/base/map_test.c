#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"

static void finds_what_was_added(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char texts[N][16];
    struct map m;
    struct error err;
    bool added;
    assert_int_equal(map_init(&m, 0, &err), 0);
    for (uint32_t i = 0; i < N; i++) {
        struct str key = {texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "key %u", i * 7)};
        assert_int_equal(map_add(&m, key, i, &added, &err), 0);
        assert_true(added);
    }
    assert_int_equal(m.count, N);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t *value = map_find(&m, str_from(texts[i]));
        assert_non_null(value);
        assert_int_equal(*value, i);
    }
    assert_null(map_find(&m, STR("key")));
    assert_null(map_find(&m, STR("key 00")));
    map_free(&m);
    assert_null(map_find(&m, STR("key 0")));
}

static void keeps_the_first_value(void **state)
{
    (void)state;
    struct map m;
    struct error err;
    bool added;
    assert_int_equal(map_init(&m, 4, &err), 0);
    assert_int_equal(map_add(&m, STR("a"), 1, &added, &err), 0);
    assert_int_equal(map_add(&m, STR("a"), 2, &added, &err), 0);
    assert_false(added);
    assert_int_equal(*map_find(&m, STR("a")), 1);
    /* The empty key is a key; NUL bytes and length count. */
    assert_null(map_find(&m, STR_NONE));
    assert_int_equal(map_add(&m, STR_NONE, 3, &added, &err), 0);
    assert_int_equal(map_add(&m, ((struct str){"a\0", 2}), 4, &added, &err), 0);
    assert_true(added);
    assert_int_equal(*map_find(&m, STR("")), 3);
    assert_int_equal(*map_find(&m, STR("a")), 1);
    map_free(&m);
}

static void refuses_a_size_that_overflows(void **state)
{
    (void)state;
    struct map m;
    struct error err;
    assert_int_equal(map_init(&m, SIZE_MAX, &err), ERROR_MEMORY);
    assert_null(map_find(&m, STR("a")));
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(keeps_the_first_value),
        cmocka_unit_test(refuses_a_size_that_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
