#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    assert_null(b.data);
    assert_int_equal(buf_str(&b).len, 0);
    for (size_t i = 0; i < 30000; i++) {
        assert_int_equal(buf_append_char(&b, (char)('a' + i % 26)), 0);
        assert_int_equal(b.len, i + 1);
        assert_int_equal(b.data[b.len], 0);
    }
    for (size_t i = 0; i < 30000; i++)
        assert_int_equal(b.data[i], 'a' + (char)(i % 26));
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(buf_append_str(&b, STR_NONE), 0);
    assert_int_equal(b.len, 30000);
    buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.max, 100000);
}

static void keeps_its_maximum_exactly(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_append_text(&b, "12345"), 0);
    assert_int_equal(buf_append_str(&b, STR_NONE), 0);
    assert_int_equal(buf_append_char(&b, '6'), ERROR_LIMIT);
    assert_string_equal(b.data, "12345");
    /* The failure stays, so that a run of appends can be checked once. */
    assert_int_equal(buf_append_str(&b, STR_NONE), ERROR_LIMIT);
    buf_consume(&b, 3);
    assert_int_equal(buf_append_char(&b, '6'), ERROR_LIMIT);
    buf_clear(&b);
    assert_int_equal(buf_append_text(&b, "abcde"), 0);
    assert_int_equal(buf_append(&b, "x", SIZE_MAX), ERROR_LIMIT);
    buf_free(&b);
    buf_init(&b, 0);
    assert_int_equal(buf_append_text(&b, ""), 0);
    assert_string_equal(b.data, "");
    assert_int_equal(buf_append_char(&b, 'x'), ERROR_LIMIT);
    buf_free(&b);
}

static void formats(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 200);
    assert_int_equal(buf_appendf(&b, "%s-%d", "x", 42), 0);
    assert_int_equal(buf_appendf(&b, "%0100d", 7), 0);
    assert_int_equal(b.len, 104);
    assert_int_equal(buf_appendf(&b, "%0100d", 7), ERROR_LIMIT);
    assert_int_equal(b.len, 104);
    assert_memory_equal(b.data, "x-4200000", 9);
    buf_free(&b);
}

static void writes_decimal_numbers(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        int places;
        const char *text;
    } table[] = {{0, 0, "0"}, {7, 0, "7"}, {-7, 0, "-7"}, {INT64_MAX, 0, "9223372036854775807"},
        {INT64_MIN, 0, "-9223372036854775808"}, {25, 2, "0.25"}, {5, 2, "0.05"}, {-5, 2, "-0.05"},
        {0, 9, "0.000000000"}, {1234567890123, 9, "1234.567890123"},
        {INT64_MIN, 19, "-0.9223372036854775808"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct buf b;
        buf_init(&b, 100);
        assert_int_equal(buf_append_decimal(&b, table[i].value, table[i].places), 0);
        assert_string_equal(b.data, table[i].text);
        buf_free(&b);
    }
}

static void a_character_past_the_limit_is_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 70);
    for (int i = 0; i < 70; i++)
        assert_int_equal(buf_append_char(&b, 'a'), 0);
    assert_int_equal(buf_append_char(&b, 'a'), ERROR_LIMIT);
    assert_int_equal(b.len, 70);
    assert_int_equal(strlen(b.data), 70);
    buf_free(&b);
}

/* A text that cannot be formatted was left out without a word. */
static void a_text_that_cannot_be_formatted_is_a_failure(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_appendf(&b, "%lc", (wint_t)0x7FFFFFFF), ERROR_INVALID);
    assert_int_equal(b.failed, ERROR_INVALID);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void reserves_commits_and_consumes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    char *to = buf_reserve(&b, 10);
    assert_non_null(to);
    assert_string_equal(b.data, ""); /* terminated before anything is written */
    memcpy(to, "0123456789", 10);
    buf_commit(&b, 6);
    assert_string_equal(b.data, "012345");
    to = buf_reserve(&b, 0);
    assert_ptr_equal(to, b.data + 6);
    buf_consume(&b, 2);
    assert_string_equal(b.data, "2345");
    buf_consume(&b, 0);
    buf_consume(&b, 4);
    assert_string_equal(b.data, "");
    assert_null(buf_reserve(&b, 1001));
    assert_int_equal(b.failed, ERROR_LIMIT);
    buf_free(&b);
    buf_consume(&b, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(keeps_its_maximum_exactly),
        cmocka_unit_test(formats),
        cmocka_unit_test(writes_decimal_numbers),
        cmocka_unit_test(a_character_past_the_limit_is_refused),
        cmocka_unit_test(a_text_that_cannot_be_formatted_is_a_failure),
        cmocka_unit_test(reserves_commits_and_consumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
