#include "api/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TYPE STR("multipart/form-data; boundary=xyz")
#define FILE_PART                                                                                            \
    "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b.jsonl\"\r\n"                     \
    "Content-Type: application/octet-stream\r\n\r\n{\"a\":1}\n--xy\r\n--not\r\n"

static void a_form_with_a_file(void **state)
{
    struct multipart_part parts[MULTIPART_PARTS_MOST];
    struct error err;
    size_t n;
    (void)state;
    struct str body =
        STR("--xyz\r\ncontent-disposition: form-data; name=purpose\r\n\r\nbatch\r\n" FILE_PART "--xyz--\r\n");
    assert_int_equal(multipart_read(TYPE, body, parts, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_true(str_is(multipart_find(parts, n, "purpose")->content, "batch"));
    const struct multipart_part *file = multipart_find(parts, n, "file");
    assert_true(str_is(file->filename, "a;b.jsonl"));
    assert_true(
        str_is(file->content, "{\"a\":1}\n--xy\r\n--not")); /* what only resembles a delimiter stays */
    assert_null(multipart_find(parts, n, "other"));
    assert_int_equal(
        multipart_read(STR("multipart/form-data; charset=u; boundary=\"xyz\""), body, parts, &n, &err), 0);
}

static void malformed_forms_are_refused(void **state)
{
    static const struct str bodies[] = {{"", 0}, {"--xyz--", 7}, {"--xyz", 5}, {"--xyz\r\n\r\n", 9}};
    struct multipart_part parts[MULTIPART_PARTS_MOST];
    struct error err;
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_int_equal(multipart_read(TYPE, bodies[i], parts, &n, &err), ERROR_INVALID);
    struct str whole = STR(FILE_PART "--xyz--");
    for (size_t i = 0; i < whole.len; i++) /* every way of being cut off */
        assert_int_equal(multipart_read(TYPE, str_slice(whole, 0, i), parts, &n, &err), ERROR_INVALID);
    assert_int_equal(multipart_read(STR("application/json"), whole, parts, &n, &err), ERROR_INVALID);
    assert_int_equal(multipart_read(STR("multipart/form-data"), whole, parts, &n, &err), ERROR_INVALID);
    assert_int_equal(
        multipart_read(TYPE, STR("--xyz\r\nA: b\r\n\r\nx\r\n--xyz--"), parts, &n, &err), ERROR_INVALID);
}

static void a_form_has_so_many_parts(void **state)
{
    struct multipart_part parts[MULTIPART_PARTS_MOST];
    char body[4096] = "";
    struct error err;
    size_t n;
    (void)state;
    for (int i = 0; i <= MULTIPART_PARTS_MOST; i++)
        strcat(body, "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n");
    strcat(body, "--xyz--");
    assert_int_equal(multipart_read(TYPE, str_from(body), parts, &n, &err), ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_with_a_file),
        cmocka_unit_test(malformed_forms_are_refused),
        cmocka_unit_test(a_form_has_so_many_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
