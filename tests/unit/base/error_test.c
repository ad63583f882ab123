#include "base/error.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static void sets_code_and_message(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, ERROR_IO, "%s %d: try again", "disk", 7), ERROR_IO);
    assert_int_equal(e.code, ERROR_IO);
    assert_string_equal(e.message, "disk 7: try again");
    assert_int_equal(error_set(NULL, ERROR_BUSY, "nobody listens %d", 1), ERROR_BUSY);
}

static void cuts_a_long_message_between_characters(void **state)
{
    (void)state;
    char text[1200];
    /* "a" and two-byte characters: the last byte that fits would be half of one. */
    for (size_t shift = 0; shift < 4; shift++) {
        struct error e;
        memset(text, 'a', sizeof text);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        text[sizeof text - 1] = '\0';
        error_set(&e, ERROR_INVALID, "%s", text);
        size_t len = strlen(e.message);
        assert_true(len <= sizeof e.message - 1 && len >= sizeof e.message - 4);
        assert_true(str_utf8_valid(str_from(e.message)));
        assert_memory_equal(e.message, text, len);
    }
}

static void wraps(void **state)
{
    (void)state;
    struct error e;
    error_set(&e, ERROR_LIMIT, "too many parts");
    assert_int_equal(error_wrap(&e, "messages[%d]", 3), ERROR_LIMIT);
    assert_string_equal(e.message, "messages[3]: too many parts");
    assert_int_equal(e.code, ERROR_LIMIT);
    assert_int_equal(error_wrap(NULL, "x"), ERROR_INTERNAL);
}

/* Every length of prefix and message around the size of the buffer. */
static void wraps_within_its_bounds(void **state)
{
    (void)state;
    static char prefix[700], inner[700];
    for (size_t p = 0; p < 600; p += p < 500 ? 37 : 1) {
        for (size_t n = 0; n < 600; n += n < 490 ? 61 : 1) {
            struct {
                struct error e;
                char guard[8];
            } box = {.guard = "guard"};
            memset(prefix, 'p', p);
            prefix[p] = '\0';
            memset(inner, 'i', n);
            inner[n] = '\0';
            error_set(&box.e, ERROR_IO, "%s", inner);
            assert_int_equal(error_wrap(&box.e, "%s", prefix), ERROR_IO);
            assert_true(strlen(box.e.message) < sizeof box.e.message);
            assert_string_equal(box.guard, "guard");
            if (p + 2 + n < sizeof box.e.message) {
                char whole[1500];
                strcpy(whole, prefix);
                strcat(whole, ": ");
                strcat(whole, inner);
                assert_string_equal(box.e.message, whole);
            }
        }
    }
}

static void names_every_code(void **state)
{
    (void)state;
    assert_string_equal(error_code_name(ERROR_NONE), "none");
    assert_string_equal(error_code_name(ERROR_INVALID), "invalid");
    assert_string_equal(error_code_name(ERROR_NOT_FOUND), "not_found");
    assert_string_equal(error_code_name(ERROR_UNAVAILABLE), "unavailable");
    assert_string_equal(error_code_name(ERROR_INTERNAL), "internal");
    assert_string_equal(error_code_name(ERROR_CONTEXT), "context");
    for (int code = ERROR_CONTEXT; code <= 0; code++)
        assert_string_not_equal(error_code_name(code), "unknown");
    assert_string_equal(error_code_name(1), "unknown");
    assert_string_equal(error_code_name(ERROR_CONTEXT - 1), "unknown");
    assert_string_equal(error_code_name(INT_MAX), "unknown");
    assert_string_equal(error_code_name(INT_MIN), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_code_and_message),
        cmocka_unit_test(cuts_a_long_message_between_characters),
        cmocka_unit_test(wraps),
        cmocka_unit_test(wraps_within_its_bounds),
        cmocka_unit_test(names_every_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
