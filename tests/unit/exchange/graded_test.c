/* Answers that are graded, and the file that it goes to. */
#include "exchange/graded.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"

static struct error err;

static struct graded_answer answer_of(struct str id, struct str key, struct str model)
{
    struct graded_answer a = {
        .request_id = id, .key_id = key, .row_id = id, .model = model, .cost_nano_usd = -1};
    calibrate_prompt_of(STR("which river is that?"), &a.prompt);
    return a;
}

static int grade(struct graded *g, const char *id, const char *key, const char *file)
{
    return graded_grade(g, str_from(id), str_from(key), 0.5, str_from(file), &err);
}

static void a_grade_is_a_line_that_calibrate_reads(void **state)
{
    (void)state;
    char file[] = "/tmp/weir-graded-XXXXXX";
    struct arena *a = arena_create(MIB);
    struct graded *g = graded_create();
    struct graded_answer answer = answer_of(STR("r1"), STR("k"), STR("big\"one"));
    struct calibrate_prompt asked;
    struct doubt doubt;
    struct str text;
    json_t *line;
    close(mkstemp(file));
    answer.local = STR("small");
    answer.cost_nano_usd = 2000;
    doubt_add(&answer.doubt, -0.5, 0.25);
    graded_add(g, &answer);
    assert_int_equal(grade(g, "r1", "k", file), 0);
    assert_int_equal(file_read(a, file, MIB, &text, &err), 0);
    assert_true(str_ends(text, STR("}\n")));
    assert_int_equal(json_read_in(a, text, &line, &err), 0);
    assert_true(json_number_value(json_object_get(json_object_get(line, "scores"), "big\"one")) == 0.5);
    assert_true(
        json_number_value(json_object_get(json_object_get(line, "cost_usd"), "big\"one")) == 2000 * 1e-9);
    assert_true(calibrate_prompt_read(json_object_get(line, "asked"), &asked));
    assert_memory_equal(&asked, &answer.prompt, sizeof asked);
    assert_true(doubt_read(json_object_get(json_object_get(line, "measured"), "small"), &doubt));
    assert_int_equal(doubt.tokens, 1);
    assert_null(json_object_get(line, "route"));
    unlink(file);
    graded_free(g);
    arena_free(a);
}

static void the_newest_answers_are_kept(void **state)
{
    (void)state;
    char id[32];
    struct graded *g = graded_create();
    for (int i = 0; i <= GRADED_MOST; i++) {
        snprintf(id, sizeof id, "r%d", i);
        const struct graded_answer answer = answer_of(str_from(id), STR("k"), STR("m"));
        graded_add(g, &answer);
    }
    assert_int_equal(grade(g, "r0", "k", "/dev/null"), ERROR_NOT_FOUND);
    assert_int_equal(grade(g, "r1", "other", "/dev/null"), ERROR_NOT_FOUND);
    assert_int_equal(grade(g, "r1", "k", "/dev/null"), 0);
    graded_free(g);
}

static void what_cannot_be_written_is_no_grade(void **state)
{
    (void)state;
    struct graded *g = graded_create();
    const struct graded_answer answer = answer_of(STR("r"), STR(""), STR("m"));
    graded_add(g, &answer);
    for (int i = 0; i < GRADED_TIMES; i++)
        assert_int_equal(grade(g, "r", "", "/nowhere/at/all"), ERROR_IO);
    for (int i = 0; i < GRADED_TIMES; i++)
        assert_int_equal(grade(g, "r", "", "/dev/null"), 0);
    assert_int_equal(grade(g, "r", "", "/dev/null"), ERROR_INVALID);
    graded_free(g);
}

static int lines_of(const char *file, const char *ids[], size_t most)
{
    struct arena *a = arena_create(MIB);
    struct str text, line;
    json_t *row;
    int n = 0;
    assert_int_equal(file_read(a, file, MIB, &text, &err), 0);
    while (str_split(&text, '\n', &line)) {
        if (line.len == 0)
            continue;
        assert_int_equal(json_read_in(a, line, &row, &err), 0);
        assert_true((size_t)n < most && str_is(json_text(row, "request_id"), ids[n]));
        n++;
    }
    arena_free(a);
    return n;
}

/* What was half written became one line with the next grade, which calibrate could not read. */
static void a_full_disk_leaves_no_half_line(void **state)
{
    (void)state;
    char file[] = "/tmp/weir-graded-XXXXXX";
    const char *ids[] = {"r1", "r2"};
    struct rlimit limit, little;
    struct graded *g = graded_create();
    for (size_t i = 0; i < 2; i++) {
        const struct graded_answer answer = answer_of(str_from(ids[i]), STR("k"), STR("m"));
        graded_add(g, &answer);
    }
    close(mkstemp(file));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    little = limit;
    little.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_int_equal(grade(g, "r1", "k", file), ERROR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(grade(g, "r1", "k", file), 0);
    assert_int_equal(grade(g, "r2", "k", file), 0);
    assert_int_equal(lines_of(file, ids, 2), 2);
    unlink(file);
    graded_free(g);
}

/* Of two clients that both count their requests from 1, calibrate took the last one's grade for both. */
static void answers_of_one_request_id_are_two(void **state)
{
    (void)state;
    char file[] = "/tmp/weir-graded-XXXXXX";
    const char *ids[] = {"1/one", "1/two"};
    struct graded *g = graded_create();
    struct graded_answer answer = answer_of(STR("1"), STR("k"), STR("m"));
    answer.row_id = STR("1/one");
    graded_add(g, &answer);
    answer.row_id = STR("1/two");
    answer.key_id = STR("other");
    graded_add(g, &answer);
    close(mkstemp(file));
    assert_int_equal(grade(g, "1", "k", file), 0);
    assert_int_equal(grade(g, "1", "other", file), 0);
    assert_int_equal(lines_of(file, ids, 2), 2);
    unlink(file);
    graded_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grade_is_a_line_that_calibrate_reads),
        cmocka_unit_test(the_newest_answers_are_kept),
        cmocka_unit_test(what_cannot_be_written_is_no_grade),
        cmocka_unit_test(a_full_disk_leaves_no_half_line),
        cmocka_unit_test(answers_of_one_request_id_are_two),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
