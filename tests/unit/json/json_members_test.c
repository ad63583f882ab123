#include "json/json_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/limits.h"

static void expect(const char *const *pieces, bool join, const char *want)
{
    struct json_members m;
    struct json_writer w;
    struct error err;
    struct buf out;
    json_members_init(&m, MIB);
    for (; *pieces; pieces++)
        if (json_members_add(&m, str_from(*pieces), join, &err))
            fail_msg("%s: %s", *pieces, err.message);
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_members_write(&w, &m);
    json_object_end(&w);
    assert_string_equal(out.data, want);
    buf_free(&out);
    json_members_free(&m);
}

static void the_last_of_a_name_counts(void **state)
{
    (void)state;
    expect((const char *const[]){"\"a\":1,\"b\":[1]", "\"b\":[2],\"c\":{\"d\":\"\\n\"}", "", NULL}, false,
        "{\"a\":1,\"b\":[2],\"c\":{\"d\":\"\\n\"}}");
    expect((const char *const[]){NULL}, false, "{}");
}

static void lists_are_put_together(void **state)
{
    (void)state;
    expect((const char *const[]){"\"a\":[1,\"x\"]", "\"a\":[]", "\"a\":[{\"b\":[2]}]", NULL}, true,
        "{\"a\":[1,\"x\",{\"b\":[2]}]}");
    expect((const char *const[]){"\"a\":[1,\"x\"]", "\"a\":[{\"b\":[2]}]", "\"a\":[3]", NULL}, true,
        "{\"a\":[1,\"x\",{\"b\":[2]},3]}");
    expect((const char *const[]){"\"a\":[1]", "\"a\":\"[\"", "\"a\":[2]", NULL}, true, "{\"a\":[2]}");
}

/* A number that neither 64 bits nor a double hold, and two members of one name, made an error of the answer.
 */
static void any_number_stays_as_it_is_written(void **state)
{
    (void)state;
    expect((const char *const[]){"\"seed\":12186083271342846000,\"x\":1e999", "\"cost\":0.10,\"cost\":0.20",
               NULL},
        true, "{\"seed\":12186083271342846000,\"x\":1e999,\"cost\":0.20}");
}

/* As trees 54 MB of members took 2.2 GB, and were then left out without a word. */
static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    for (int join = 0; join < 2; join++) {
        struct json_members m;
        struct error err;
        char piece[128];
        int rc = 0, n = 0;
        json_members_init(&m, 64 * KIB);
        for (; rc == 0 && n < 100000; n++) {
            snprintf(
                piece, sizeof piece, "\"m%d\":[\"0123456789012345678901234567890123456789\"]", join ? 0 : n);
            rc = json_members_add(&m, str_from(piece), join, &err);
        }
        assert_int_equal(rc, ERROR_LIMIT);
        assert_true(m.bytes <= 65 * KIB && m.n <= JSON_MEMBERS_MAX);
        json_members_free(&m);
    }
    struct json_members m;
    struct error err;
    json_members_init(&m, 100);
    for (int i = 0; i < 1000; i++) /* what is replaced does not count */
        assert_int_equal(json_members_add(&m, STR("\"a\":\"0123456789\""), false, &err), 0);
    json_members_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_of_a_name_counts),
        cmocka_unit_test(lists_are_put_together),
        cmocka_unit_test(any_number_stays_as_it_is_written),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
