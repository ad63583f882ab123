#include "json/json.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"

/* ---- Reading ---- */

static void expect_refused(struct str text, int code, const char *why)
{
    struct error err = {0};
    json_t *root = NULL;
    if (json_read(text, &root, &err) != code)
        fail_msg("not %d: " STR_FMT, code, STR_ARG(str_slice(text, 0, 60)));
    assert_null(root);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
}

static void reads_any_value(void **state)
{
    (void)state;
    static const char *const good[] = {"{}", " [1,-2.5e3,\"x\",true,false,null] ", "\"text\"", "0", "-0.0",
        "null", "9223372036854775807", "-9223372036854775808", "{\"a\":{\"b\":[{}]}}",
        "\"\\u00e9\\ud83d\\ude00\"", "\t\r\n1\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct error err;
        json_t *root;
        if (json_read(str_from(good[i]), &root, &err))
            fail_msg("%s: %s", good[i], err.message);
        json_decref(root);
    }
    /* A span ends where it ends. */
    json_t *root;
    assert_int_equal(json_read((struct str){"12,", 2}, &root, NULL), 0);
    assert_int_equal(json_integer_value(root), 12);
    json_decref(root);
}

static void refuses_what_is_no_json(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " ", "{", "}", "[1", "[1,]", "{\"a\":1,}", "{a:1}", "{'a':1}",
        "1 2", "{} {}", "nul", "NaN", "Infinity", "-", "01", "1.", ".5", "+1", "0x10", "1e", "\"", "\"\\x\"",
        "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "\"\n\"", "\"\t\"", "[1}", "// c\n1", "\\\"[",
        "18446744073709551616", "1e999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refused(str_from(bad[i]), ERROR_INVALID, "not valid JSON at line ");
    expect_refused(STR_NONE, ERROR_INVALID, "not valid JSON");
    expect_refused(STR("{\n \"a\": x}"), ERROR_INVALID, "at line 2, column");
}

static void refuses_duplicates_nul_and_invalid_utf8(void **state)
{
    (void)state;
    expect_refused(STR("{\"a\":1,\"b\":2,\"a\":3}"), ERROR_INVALID, "duplicate");
    expect_refused(STR("[{\"x\":{\"a\":1,\"\\u0061\":1}}]"), ERROR_INVALID, "duplicate");
    expect_refused(STR("\"\\u0000\""), ERROR_INVALID, "");
    expect_refused(STR("{\"a\\u0000b\":1}"), ERROR_INVALID, "");
    expect_refused(STR("\"a\0b\""), ERROR_INVALID, "");
    expect_refused(STR("1\0"), ERROR_INVALID, "NUL byte at offset 1"); /* jansson passes over it */
    expect_refused(STR("[1\0]"), ERROR_INVALID, "NUL");
    expect_refused(STR("{\"a\":1\0}"), ERROR_INVALID, "NUL");
    expect_refused(STR("\0"), ERROR_INVALID, "NUL");
    static const char *const bad[] = {"\"\x80\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"",
        "\"\xE2\x82\"", "{\"\xFF\":1}", "\xEF\xBB\xBF{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refused(str_from(bad[i]), ERROR_INVALID, "not valid JSON");
}

static struct str nested(struct buf *b, size_t depth, const char *open, const char *close)
{
    buf_clear(b);
    for (size_t i = 0; i < depth; i++)
        buf_append_text(b, open);
    buf_append_text(b, "1");
    for (size_t i = 0; i < depth; i++)
        buf_append_text(b, close);
    return buf_str(b);
}

/* What a model writes is text of any kind. */
static void nul_is_read_where_it_may_be(void **state)
{
    (void)state;
    json_t *value;
    struct error err;
    assert_int_equal(json_read_nul(STR("{\"a\":\"x\\u0000y\"}"), &value, &err), 0);
    const struct str text = json_str(json_object_get(value, "a"));
    assert_int_equal(text.len, 3);
    assert_memory_equal(text.data, "x\0y", 3);
    json_decref(value);
    assert_int_equal(json_read(STR("{\"a\":\"x\\u0000y\"}"), &value, &err), ERROR_INVALID);
    assert_int_equal(json_read_nul(STR("{\"a\\u0000\":1}"), &value, &err), ERROR_INVALID);
}

static void reads_64_levels_and_not_65(void **state)
{
    (void)state;
    static const char *const forms[][2] = {{"[", "]"}, {"{\"a\":", "}"}, {"[\"]]]\\\"[\",", "]"}};
    struct buf b;
    buf_init(&b, 64 * MIB);
    for (size_t i = 0; i < 3; i++) {
        json_t *root;
        assert_int_equal(json_read(nested(&b, LIMIT_JSON_DEPTH, forms[i][0], forms[i][1]), &root, NULL), 0);
        json_decref(root);
        expect_refused(
            nested(&b, LIMIT_JSON_DEPTH + 1, forms[i][0], forms[i][1]), ERROR_INVALID, "more than 64 levels");
    }
    expect_refused(nested(&b, 1000000, "[", ""), ERROR_INVALID, "more than 64 levels");
    /* Side by side is not deep; brackets in strings are none. */
    buf_clear(&b);
    buf_append_char(&b, '[');
    for (int i = 0; i < 1000; i++)
        buf_append_text(&b, "[{}],\"[[[[\\\\\",");
    buf_append_text(&b, "1]");
    json_t *root;
    assert_int_equal(json_read(buf_str(&b), &root, NULL), 0);
    json_decref(root);
    buf_free(&b);
}

/* 32 MB of "{},{},..." took 2.5 GB and seconds of a loop's time. */
static void a_small_text_made_a_huge_tree(void **state)
{
    (void)state;
    static const struct {
        const char *item;
        size_t most; /* LIMIT_JSON_VALUES, less one for the root and four for its bracket, by what an item
                        counts */
    } forms[] = {{"1,", LIMIT_JSON_VALUES - 6}, {"[],", (LIMIT_JSON_VALUES - 6) / 5},
        {"{},", (LIMIT_JSON_VALUES - 6) / 9}};
    struct buf b;
    buf_init(&b, 64 * MIB);
    for (size_t i = 0; i < 3; i++) {
        for (size_t over = 0; over < 2; over++) {
            json_t *root = NULL;
            buf_clear(&b);
            buf_append_text(&b, "[\",,,[[[{{{\",");
            for (size_t k = 0; k < forms[i].most + over; k++)
                buf_append_text(&b, forms[i].item);
            buf_append_text(&b, "1]");
            if (over)
                expect_refused(buf_str(&b), ERROR_INVALID, "too many values");
            else
                assert_int_equal(json_read(buf_str(&b), &root, NULL), 0);
            json_decref(root);
        }
    }
    buf_free(&b);
}

static void a_tree_lives_as_long_as_its_arena(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    json_t *root = NULL;
    assert_int_equal(json_read_in(a, STR("{\"a\":[\"text\"]}"), &root, NULL), 0);
    json_t *kept = json_incref(json_object_get(root, "a"));
    assert_int_equal(json_read_in(a, STR("{"), &root, NULL), ERROR_INVALID);
    arena_free(a);
    assert_string_equal(json_string_value(json_array_get(kept, 0)), "text");
    assert_int_equal(kept->refcount, 1); /* ours is the only one left */
    json_decref(kept);
}

/* ---- Members ---- */

static void gets_members_by_type_and_bounds(void **state)
{
    (void)state;
    struct error err;
    json_t *o;
    struct str s;
    bool b;
    int64_t n;
    double d;
    assert_int_equal(
        json_read(
            STR("{\"s\":\"text\",\"e\":\"\",\"t\":true,\"f\":false,\"i\":5,\"r\":0.5,\"z\":null}"), &o, NULL),
        0);
    assert_true(json_get_str(o, "s", &s, &err) == 0 && str_is(s, "text"));
    assert_true(json_get_str(o, "e", &s, &err) == 0 && s.data && s.len == 0);
    assert_true(json_get_str(o, "z", &s, &err) == 0 && !s.data);
    assert_true(json_get_str(o, "missing", &s, &err) == 0 && !s.data);
    assert_true(json_get_bool(o, "t", false, &b, &err) == 0 && b);
    assert_true(json_get_bool(o, "f", true, &b, &err) == 0 && !b);
    assert_true(json_get_bool(o, "z", true, &b, &err) == 0 && b);
    assert_true(json_get_int(o, "i", -1, 5, 5, &n, &err) == 0 && n == 5);
    assert_true(json_get_int(o, "z", -1, 5, 5, &n, &err) == 0 && n == -1);
    assert_true(json_get_double(o, "r", 0, 0, 1, &d, &err) == 0 && d == 0.5);
    assert_true(json_get_double(o, "i", 0, 0, 5, &d, &err) == 0 && d == 5);
    assert_true(json_get_double(o, "missing", NAN, 0, 5, &d, &err) == 0 && isnan(d));

    assert_int_equal(json_get_str(o, "i", &s, &err), ERROR_INVALID);
    assert_string_equal(err.message, "'i' must be a string, not a number");
    assert_int_equal(json_get_bool(o, "i", false, &b, &err), ERROR_INVALID);
    assert_string_equal(err.message, "'i' must be true or false, not a number");
    assert_int_equal(json_get_int(o, "r", 0, 0, 9, &n, &err), ERROR_INVALID);
    assert_string_equal(err.message, "'r' must be an integer, not a fraction");
    assert_int_equal(json_get_int(o, "t", 0, 0, 9, &n, &err), ERROR_INVALID);
    assert_int_equal(json_get_int(o, "i", 0, 6, 9, &n, &err), ERROR_INVALID);
    assert_string_equal(err.message, "'i' must be between 6 and 9, not 5");
    assert_int_equal(json_get_int(o, "i", 0, 1, 4, &n, &err), ERROR_INVALID);
    assert_int_equal(json_get_double(o, "r", 0, 0.6, 1, &d, &err), ERROR_INVALID);
    assert_int_equal(json_get_double(o, "s", 0, 0, 1, &d, &err), ERROR_INVALID);
    assert_string_equal(err.message, "'s' must be a number, not a string");
    /* What is no object has no members. */
    assert_true(json_get_int(NULL, "i", 3, 0, 9, &n, &err) == 0 && n == 3);
    assert_null(json_str(NULL).data);
    assert_null(json_str(json_object_get(o, "i")).data);
    json_decref(o);
}

/* ---- Writing ---- */

static void puts_in_commas_and_colons(void **state)
{
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, MIB);
    json_writer_init(&w, &b);
    json_object_begin(&w);
    json_key(&w, "a");
    json_array_begin(&w);
    json_array_end(&w);
    json_key(&w, "b");
    json_object_begin(&w);
    json_object_end(&w);
    json_key_str(&w, STR("k\"\0"));
    json_array_begin(&w);
    json_write_int(&w, INT64_MIN);
    json_write_double(&w, 1);
    json_write_bool(&w, true);
    json_write_bool(&w, false);
    json_write_null(&w);
    json_write_text(&w, NULL);
    json_write_text(&w, "");
    json_write_raw(&w, STR("{\"raw\":1}"));
    json_object_begin(&w);
    json_object_end(&w);
    json_array_end(&w);
    json_object_end(&w);
    assert_string_equal(b.data, "{\"a\":[],\"b\":{},\"k\\\"\\u0000\":[-9223372036854775808,1.0,true,false,"
                                "null,null,\"\",{\"raw\":1},{}]}");
    buf_free(&b);
}

static void escapes_what_must_be(void **state)
{
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, MIB);
    char all[128];
    for (int c = 0; c < 128; c++)
        all[c] = (char)c;
    json_writer_init(&w, &b);
    json_write_str(&w, (struct str){all, 128});
    assert_memory_equal(b.data,
        "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u001"
        "0",
        83);
    assert_non_null(strstr(b.data, "\\u001f !\\\"#$%&'()*+,-./"));
    assert_non_null(strstr(b.data, "[\\\\]"));
    assert_true(str_ends(buf_str(&b), STR("}~\\u007f\"")));
    buf_clear(&b);
    json_writer_init(&w, &b);
    json_write_str(&w, STR_NONE);
    assert_string_equal(b.data, "\"\"");
    buf_free(&b);
}

static void writes_invalid_utf8_as_replacement_characters(void **state)
{
    (void)state;
#define FFFD "\xEF\xBF\xBD"
    static const char *const texts[][2] = {{"a\x80z", "a" FFFD "z"}, {"\xC3", FFFD},
        {"\xE2\x82x", FFFD FFFD "x"}, {"\xED\xA0\x80", FFFD FFFD FFFD},
        {"ok\xC3\xA9\xFFok\xF0\x9F\x98\x80", "ok\xC3\xA9" FFFD "ok\xF0\x9F\x98\x80"},
        {"\xFF\"\n", FFFD "\\\"\\n"}, {"\n\xFF", "\\n" FFFD}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf b;
        struct json_writer w;
        char want[64];
        snprintf(want, sizeof want, "\"%s\"", texts[i][1]);
        buf_init(&b, MIB);
        json_writer_init(&w, &b);
        json_write_str(&w, str_from(texts[i][0]));
        assert_string_equal(b.data, want);
        json_t *back;
        assert_int_equal(json_read(buf_str(&b), &back, NULL), 0);
        json_decref(back);
        buf_free(&b);
    }
}

static void expect_double(double value)
{
    struct buf b;
    struct json_writer w;
    json_t *back;
    buf_init(&b, 64);
    json_writer_init(&w, &b);
    json_write_double(&w, value);
    if (json_read(buf_str(&b), &back, NULL))
        fail_msg("%s is no JSON", b.data);
    if (!json_is_real(back) || memcmp(&value, &(double){json_real_value(back)}, sizeof value) != 0)
        fail_msg("%a became %s", value, b.data);
    json_decref(back);
    buf_free(&b);
}

static void doubles_come_back_exactly(void **state)
{
    (void)state;
    static const double values[] = {0, -0.0, 1, -1, 0.1, 0.2, 0.3, 1.0 / 3, 1e15, 1e16, 1e17,
        123456789012345680.0, 9007199254740993.0, 1e20, 1e21, 1e22, 1e23, 5e-324, DBL_MIN, DBL_MAX,
        DBL_EPSILON, M_PI, 2.5, 1e-7};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        expect_double(values[i]);
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)rand_pcg_u32(&r) << 32 | rand_pcg_u32(&r);
        double d;
        memcpy(&d, &bits, sizeof d);
        if (isfinite(d) && fabs(d) >= DBL_MIN)
            expect_double(d);
        d = (double)(int32_t)rand_pcg_u32(&r) / pow(10, (double)(rand_pcg_u32(&r) % 12)); /* few digits */
        expect_double(d);
        expect_double(nextafter(d, 1e9));
    }
}

/* The fewest of 15 to 17 digits that come back, as printf writes them. */
static void doubles_are_written_as_printf_does(void **state)
{
    (void)state;
    struct rand_pcg r;
    struct buf b;
    struct json_writer w;
    rand_pcg_seed(&r, 4);
    buf_init(&b, 64);
    for (int i = 0; i < 100000; i++) {
        char want[40];
        uint64_t bits = (uint64_t)rand_pcg_u32(&r) << 32 | rand_pcg_u32(&r);
        double d = (double)(bits >> 11) / 9007199254740992.0 * pow(10, (double)(i % 14) - 4);
        if (i % 3 == 0)
            d = 1 / (1 + exp(-d)); /* as scores are */
        if (i % 5 == 0)
            d = -nextafter(round(d * 1e4) / 1e4, i % 2 ? -1 : 1);
        if (i % 97 == 0)
            d = ldexp(1, i % 40 - 12);
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(want, sizeof want, "%.*g", digits, d);
            if (strtod(want, NULL) >= d && strtod(want, NULL) <= d)
                break;
        }
        if (!strpbrk(want, ".e"))
            continue; /* written with ".0" */
        b.len = 0;
        json_writer_init(&w, &b);
        json_write_double(&w, d);
        if (!str_is(buf_str(&b), want) && !(strstr(want, "e-") && fabs(d) < 1e-4))
            fail_msg("%a: %s instead of %s", d, b.data, want);
    }
    buf_free(&b);
}

static void doubles_are_written_short(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } values[] = {{0.1, "0.1"}, {1, "1.0"}, {-0.0, "-0.0"}, {0.7, "0.7"}, {1e100, "1e+100"}, {NAN, "null"},
        {INFINITY, "null"}, {-INFINITY, "null"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buf b;
        struct json_writer w;
        buf_init(&b, 64);
        json_writer_init(&w, &b);
        json_write_double(&w, values[i].value);
        assert_string_equal(b.data, values[i].text);
        buf_free(&b);
    }
}

static void expect_float(float value)
{
    struct buf b;
    struct json_writer w;
    json_t *back;
    buf_init(&b, 64);
    json_writer_init(&w, &b);
    json_write_float(&w, value);
    if (json_read(buf_str(&b), &back, NULL))
        fail_msg("%s is no JSON", b.data);
    float got = (float)json_real_value(back), parsed = strtof(b.data, NULL);
    if (memcmp(&value, &got, sizeof value) != 0 || memcmp(&value, &parsed, sizeof value) != 0)
        fail_msg("%a became %s", (double)value, b.data);
    json_decref(back);
    buf_free(&b);
}

static void floats_come_back_exactly(void **state)
{
    (void)state;
    static const float values[] = {0, 1, -1, 0.1f, -0.1f, 1e-5f, 9.9999e-6f, 9999.9f, 1e4f, 3e38f, 1e-38f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        expect_float(values[i]);
    struct rand_pcg r;
    rand_pcg_seed(&r, 4);
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = rand_pcg_u32(&r);
        if (i % 2)
            bits = (bits & 0x807fffff) | (uint32_t)(108 + rand_pcg_u32(&r) % 34) << 23; /* 2^-19 to 2^14 */
        float f;
        memcpy(&f, &bits, sizeof f);
        if (isfinite(f) && fabsf(f) >= FLT_MIN)
            expect_float(f);
    }
}

static void floats_are_written_short(void **state)
{
    (void)state;
    static const struct {
        float value;
        const char *text;
    } values[] = {{0.1f, "0.1"}, {-0.25f, "-0.25"}, {1, "1.0"}, {1234.5f, "1234.5"}, {0.00012f, "0.00012"},
        {-0.0069292834f, "-0.0069292835"}, {NAN, "null"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buf b;
        struct json_writer w;
        buf_init(&b, 64);
        json_writer_init(&w, &b);
        json_write_float(&w, values[i].value);
        assert_string_equal(b.data, values[i].text);
        buf_free(&b);
    }
}

static void a_tree_is_written_as_it_was_read(void **state)
{
    (void)state;
    static const char text[] =
        "{\"z\":[1,-2,0.5,1e+300,true,false,null,\"q\\\"\\\\\\u0001\\u007f\xC3\xA9\"],\"a\":{\"\":{},"
        "\"b\":[]},\"m\":9223372036854775807}";
    struct buf b;
    struct json_writer w;
    json_t *root;
    buf_init(&b, MIB);
    json_writer_init(&w, &b);
    assert_int_equal(json_read(str_from(text), &root, NULL), 0);
    json_write_value(&w, root);
    assert_string_equal(b.data, text);
    json_decref(root);
    buf_clear(&b);
    json_writer_init(&w, &b);
    json_write_value(&w, NULL);
    assert_string_equal(b.data, "null");
    buf_free(&b);
}

static void a_full_buffer_is_noticed_at_the_end(void **state)
{
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 10);
    json_writer_init(&w, &b);
    json_array_begin(&w);
    for (int i = 0; i < 100; i++)
        json_write_str(&w, STR("text"));
    json_array_end(&w);
    assert_int_equal(b.failed, ERROR_LIMIT);
    assert_true(b.len <= 10);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_any_value),
        cmocka_unit_test(refuses_what_is_no_json),
        cmocka_unit_test(refuses_duplicates_nul_and_invalid_utf8),
        cmocka_unit_test(nul_is_read_where_it_may_be),
        cmocka_unit_test(reads_64_levels_and_not_65),
        cmocka_unit_test(a_small_text_made_a_huge_tree),
        cmocka_unit_test(a_tree_lives_as_long_as_its_arena),
        cmocka_unit_test(gets_members_by_type_and_bounds),
        cmocka_unit_test(puts_in_commas_and_colons),
        cmocka_unit_test(escapes_what_must_be),
        cmocka_unit_test(writes_invalid_utf8_as_replacement_characters),
        cmocka_unit_test(doubles_come_back_exactly),
        cmocka_unit_test(doubles_are_written_short),
        cmocka_unit_test(doubles_are_written_as_printf_does),
        cmocka_unit_test(floats_come_back_exactly),
        cmocka_unit_test(floats_are_written_short),
        cmocka_unit_test(a_tree_is_written_as_it_was_read),
        cmocka_unit_test(a_full_buffer_is_noticed_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
