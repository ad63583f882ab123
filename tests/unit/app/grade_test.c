#include "app/grade.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

static double graded(const char *sample, const char *answer)
{
    json_t *object;
    enum grade_by by;
    assert_int_equal(json_read(str_from(sample), &object, &err), 0);
    if (grade_read(object, &by, &err))
        fail_msg("%s", err.message);
    double g = grade(by, json_object_get(object, "expected"), str_from(answer));
    json_decref(object);
    return g;
}

static void exact_and_contains(void **state)
{
    (void)state;
    assert_true(graded("{\"expected\":\"42\"}", " 42\n") == 1);
    assert_true(graded("{\"expected\":42}", "42") == 1);
    assert_true(graded("{\"expected\":\"yes\"}", "Yes") == 0);
    assert_true(graded("{\"expected\":[\"no\",\"yes\"]}", "yes") == 1);
    assert_true(graded("{\"expected\":\"42\"}", "") == 0);
    assert_true(graded("{\"expected\":\"Paris\",\"grader\":\"contains\"}", "It is paris.") == 1);
    assert_true(graded("{\"expected\":\"Paris\",\"grader\":\"contains\"}", "Pari") == 0);
    assert_true(graded("{\"expected\":\"\",\"grader\":\"contains\"}", "anything") == 0);
}

static void regex(void **state)
{
    (void)state;
    assert_true(graded("{\"expected\":\"^[A-D]$\",\"grader\":\"regex\"}", "C") == 1);
    assert_true(graded("{\"expected\":\"^[A-D]$\",\"grader\":\"regex\"}", "E") == 0);
    assert_true(graded("{\"expected\":[\"x+\",\"y+\"],\"grader\":\"regex\"}", "say yy") == 1);
}

static void json_members(void **state)
{
    (void)state;
    const char *sample = "{\"expected\":{\"name\":\"Anna\",\"age\":3,\"tags\":[1,2]}}";
    assert_true(graded(sample, "{\"age\":3,\"name\":\"Anna\",\"tags\":[1,2],\"more\":0}") == 1);
    assert_true(fabs(graded(sample, "```json\n{\"age\":4,\"name\":\"Anna\",\"tags\":[1,2]}\n```\n") -
                     2.0 / 3) < 1e-9);
    assert_true(graded(sample, "name: Anna") == 0);
    assert_true(graded(sample, "[]") == 0);
}

static void verdicts(void **state)
{
    (void)state;
    assert_true(grade_verdict(STR("7")) == 0.7);
    assert_true(grade_verdict(STR("Grade: 8/10.")) == 0.8);
    assert_true(grade_verdict(STR("It has 3 faults, so I give it 6.5.")) == 0.65);
    assert_true(grade_verdict(STR("10")) == 1);
    assert_true(isnan(grade_verdict(STR("no idea"))));
    assert_true(isnan(grade_verdict(STR("250"))));
    assert_true(isnan(grade_verdict(STR_NONE)));
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const wrong[] = {"{}", "{\"grader\":\"exact\"}",
        "{\"expected\":1,\"grader\":\"like\"}", "{\"expected\":\"(\",\"grader\":\"regex\"}",
        "{\"expected\":1,\"grader\":\"regex\"}", "{\"expected\":\"x\",\"grader\":\"json\"}",
        "{\"expected\":\"x\",\"grader\":7}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *object;
        enum grade_by by;
        assert_int_equal(json_read(str_from(wrong[i]), &object, &err), 0);
        assert_int_equal(grade_read(object, &by, &err), ERROR_INVALID);
        json_decref(object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_and_contains),
        cmocka_unit_test(regex),
        cmocka_unit_test(json_members),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
