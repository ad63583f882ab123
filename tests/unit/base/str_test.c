#include "base/str.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void slices_within_the_span(void **state)
{
    (void)state;
    struct str s = STR("hello");
    assert_true(str_is(str_slice(s, 1, 3), "el"));
    assert_true(str_is(str_slice(s, 1, SIZE_MAX), "ello"));
    assert_int_equal(str_slice(s, 4, 2).len, 0);
    assert_int_equal(str_slice(s, SIZE_MAX, SIZE_MAX).len, 0);
    assert_null(str_slice(STR_NONE, 0, 9).data);
    assert_int_equal(str_slice(STR_NONE, 0, 9).len, 0);
    assert_int_equal(str_from(NULL).len, 0);
    assert_null(str_from(NULL).data);
}

static void trims(void **state)
{
    (void)state;
    assert_true(str_is(str_trim(STR(" \t\r\n\v\f a b \n")), "a b"));
    assert_int_equal(str_trim(STR(" \n ")).len, 0);
    assert_int_equal(str_trim(STR_NONE).len, 0);
    assert_true(str_is(str_trim(STR("\xC2\xA0x")), "\xC2\xA0x")); /* ASCII only */
}

static void compares(void **state)
{
    (void)state;
    assert_true(str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_eq(STR_NONE, STR("")));
    assert_false(str_is(STR("abc"), "ab"));
    assert_false(str_is(STR("a\0"), "a"));
    assert_true(str_is_nocase(STR("CoNtEnT-Length"), "content-length"));
    assert_false(str_is_nocase(STR("content-lengt"), "content-length"));
    assert_true(str_is_nocase(STR_NONE, ""));
    assert_true(str_starts(STR("prefix"), STR("pre")));
    assert_false(str_starts(STR("pr"), STR("pre")));
    assert_true(str_starts(STR_NONE, STR("")));
    assert_true(str_ends(STR("file.gguf"), STR(".gguf")));
    assert_false(str_ends(STR("gguf"), STR(".gguf")));
    const char *const words[] = {"one", "two", NULL}, *const none[] = {NULL};
    assert_true(str_among(STR("two"), words));
    assert_false(str_among(STR("tw"), words));
    assert_false(str_among(STR_NONE, words));
    assert_false(str_among(STR("one"), none));
    assert_false(str_among(STR("one"), NULL));
    assert_true(str_hash(STR("a")) != str_hash(STR("b")));
    assert_true(str_hash(STR("")) == 0xcbf29ce484222325u && str_hash(STR("a")) == 0xaf63dc4c8601ec8cu);
}

static void finds_and_splits(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("hello"), STR("lo")), 3);
    assert_true(str_find(STR("hello"), STR("loo")) == SIZE_MAX);
    assert_int_equal(str_find(STR_NONE, STR("")), 0);
    assert_true(str_find(STR_NONE, STR("x")) == SIZE_MAX);
    assert_int_equal(str_find_char(STR("a:b:c"), ':'), 1);
    assert_true(str_find_char(STR_NONE, 'x') == SIZE_MAX);
    struct str rest = STR("a,,b"), head;
    assert_true(str_split(&rest, ',', &head) && str_is(head, "a"));
    assert_true(str_split(&rest, ',', &head) && head.len == 0);
    assert_true(str_split(&rest, ',', &head) && str_is(head, "b"));
    assert_false(str_split(&rest, ',', &head));
    rest = STR_NONE;
    assert_false(str_split(&rest, ',', &head));
}

static void reads_whole_integers_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0}, {"-1", -1}, {"+7", 7}, {"007", 7}, {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"", " 1", "1 ", "1.0", "0x10", "a", "-", "9223372036854775808",
        "-9223372036854775809", "0000000000000000000000000000000000000000000000000000000000000001"};
    int64_t value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(str_to_int64(str_from(good[i].text), &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (str_to_int64(str_from(bad[i]), &value))
            fail_msg("taken: '%s'", bad[i]);
    assert_false(str_to_int64(STR("1\0"), &value));
    assert_false(str_to_int64(STR_NONE, &value));
    /* A span that is not terminated ends where it ends. */
    assert_true(str_to_int64((struct str){"12345", 3}, &value) && value == 123);
}

static void reads_whole_numbers_only(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " 1", "1 ", "nan", "inf", "Infinity", "0x1p3", "1e999", "1,5", ".", "e5", "--1"};
    double value;
    assert_true(str_to_double(STR("0.1"), &value) && value == 0.1);
    assert_true(str_to_double(STR("-2.5e-3"), &value) && value == -2.5e-3);
    assert_true(str_to_double(STR(".5"), &value) && value == 0.5);
    assert_true(str_to_double((struct str){"1.25", 3}, &value) && value == 1.2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (str_to_double(str_from(bad[i]), &value))
            fail_msg("taken: '%s'", bad[i]);
}

/* ---- UTF-8 ---- */

static void encodes_and_decodes_every_code_point(void **state)
{
    (void)state;
    char bytes[4];
    for (uint32_t c = 0; c <= 0x110010; c++) {
        size_t n = str_utf8_encode(c, bytes);
        if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
            assert_int_equal(n, 0);
            continue;
        }
        uint32_t back = 0;
        assert_int_equal(n, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(str_utf8_decode((struct str){bytes, n}, &back), n);
        assert_int_equal(back, c);
        assert_int_equal(str_utf8_decode((struct str){bytes, n - 1}, &back), 0);
    }
}

/* RFC 3629: overlong forms, surrogates, values over U+10FFFF, stray and missing bytes. */
/* Texts that are no literals are compared without being measured. */
static void compares_texts_of_unknown_length(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a", "A", "ab", "aB", "abc", "Host", "hosT", "[", "{", "@", "`"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            struct str s = {texts[i], strlen(texts[i])};
            assert_int_equal(str_is(s, texts[k]), strcmp(texts[i], texts[k]) == 0);
            assert_int_equal(str_is_nocase(s, texts[k]), strcasecmp(texts[i], texts[k]) == 0);
        }
    const char *volatile none = NULL, *volatile a = "a";
    assert_true(str_is(STR_NONE, none) && str_is(STR(""), none) && !str_is(STR("a"), none));
    assert_false(str_is(STR("a\0"), a) || str_is_nocase(STR("a\0"), a));
}

static void refuses_malformed_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF", "\xFE", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3x", "\xE2\x82x",
        "a\xFF z"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(str_utf8_valid(str_from(bad[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) { /* among letters of two and three bytes */
        char text[32];
        int n = snprintf(text, sizeof text, "\xC3\xA9\xE6\xBC\xA2%s\xC3\xA9\xE6\xBC\xA2", bad[i]);
        assert_false(str_utf8_valid((struct str){text, (size_t)n}));
        assert_true(str_utf8_valid((struct str){text, 5}));
    }
    assert_true(str_utf8_valid(STR("")));
    assert_true(str_utf8_valid(STR_NONE));
    assert_true(str_utf8_valid(STR("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\0z")));
}

static void finds_the_last_whole_character(void **state)
{
    (void)state;
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
    static const size_t floors[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    for (size_t len = 0; len <= sizeof text - 1; len++)
        assert_int_equal(str_utf8_floor(text, len), floors[len]);
    /* What is malformed anyway is not cut further. */
    assert_int_equal(str_utf8_floor("\x80\x80\x80\x80\x80", 5), 5);
    assert_int_equal(str_utf8_floor("\x80\x80", 2), 2);
    assert_int_equal(str_utf8_count(STR("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z")), 5);
    assert_int_equal(str_utf8_count(STR_NONE), 0);
}

/* Characters are counted eight bytes at a time: at every length and place as one by one. */
static void characters_are_counted_at_every_place(void **state)
{
    (void)state;
    static const char text[] = "a\xC3\xA9\xE6\xBC\xA2"
                               "bcd\xF0\x9F\x97\xBC"
                               "efghijk\xC3\x9F\xE2\x82\xAClmn";
    for (size_t from = 0; from < sizeof text; from++)
        for (size_t to = from; to < sizeof text; to++) {
            size_t count = 0;
            for (size_t i = from; i < to; i++)
                count += ((unsigned char)text[i] & 0xC0) != 0x80;
            assert_int_equal(str_utf8_count((struct str){text + from, to - from}), count);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_counted_at_every_place),
        cmocka_unit_test(slices_within_the_span),
        cmocka_unit_test(trims),
        cmocka_unit_test(compares),
        cmocka_unit_test(compares_texts_of_unknown_length),
        cmocka_unit_test(finds_and_splits),
        cmocka_unit_test(reads_whole_integers_only),
        cmocka_unit_test(reads_whole_numbers_only),
        cmocka_unit_test(encodes_and_decodes_every_code_point),
        cmocka_unit_test(refuses_malformed_utf8),
        cmocka_unit_test(finds_the_last_whole_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
