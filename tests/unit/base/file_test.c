#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static void reads_all_of_a_file_and_no_more_than_is_allowed(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-file-XXXXXX";
    struct arena *a = arena_create(1 << 20);
    struct str text;
    struct error err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\0bc", 4), 4);
    close(fd);
    assert_int_equal(file_read(a, path, 4, &text, &err), 0);
    assert_true(str_eq(text, STR("a\0bc")));
    assert_int_equal(file_read(a, path, 3, &text, &err), ERROR_LIMIT);
    unlink(path);
    assert_int_equal(file_read(a, path, 4, &text, &err), ERROR_IO);
    assert_int_equal(file_read(a, "/tmp", 1 << 20, &text, &err), ERROR_IO);
    arena_free(a);
}

static void a_fifo_given_as_a_file_holds_nobody_up(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-file-XXXXXX", path[64];
    struct arena *a = arena_create(1 << 20);
    struct str text;
    struct error err;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(60);
    assert_int_equal(file_read(a, path, 4, &text, &err), ERROR_IO);
    alarm(0);
    assert_non_null(strstr(err.message, "is not a file"));
    unlink(path);
    rmdir(folder);
    arena_free(a);
}

static void a_file_takes_its_name_when_all_of_it_is_there(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-file-XXXXXX", path[64], part[80], link_path[64];
    struct arena *a = arena_create(1 << 20);
    struct str text;
    struct error err;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    assert_int_equal(file_check_place(path, &err), 0);
    assert_int_equal(file_replace(path, STR("one"), 0600, &err), 0);
    /* What stands where it is made, a link, too, is not written through. */
    assert_int_equal(symlink(path, part), 0);
    assert_int_equal(file_replace(path, STR("two"), 0600, &err), 0);
    assert_int_equal(file_read(a, path, 100, &text, &err), 0);
    assert_true(str_eq(text, STR("two")));
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(symlink(path, link_path), 0);
    assert_true(file_is_same(path, link_path));
    assert_false(file_is_same(path, part));
    assert_int_equal(file_replace(folder, STR("x"), 0600, &err), ERROR_INVALID);
    snprintf(part, sizeof part, "%s/none/f", folder);
    assert_int_equal(file_check_place(part, &err), ERROR_IO);
    assert_int_equal(file_replace(part, STR("x"), 0600, &err), ERROR_IO);
    unlink(link_path);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left */
    arena_free(a);
}

/* The second took the first one's away, and the first put the second's half in place. */
static void two_writers_of_one_name_left_half_of_a_file_under_it(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-file-XXXXXX", path[64], part[80];
    struct arena *a = arena_create(1 << 20);
    struct str text;
    struct error err;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
    snprintf(part, sizeof part, "%s.part", path);
    const int first = file_part_open(part, 0600);
    assert_true(first >= 0);
    assert_int_equal(file_part_open(part, 0600), -1);
    assert_non_null(strstr(file_part_why(), "another run"));
    assert_int_equal(file_replace(path, STR("other"), 0600, &err), ERROR_IO);
    assert_int_equal(file_write_fd(first, STR("one")), 3);
    assert_int_equal(rename(part, path), 0);
    /* While it is still open a new one is its own file. */
    const int second = file_part_open(part, 0600);
    assert_true(second >= 0);
    close(first);
    assert_int_equal(file_read(a, path, 100, &text, &err), 0);
    assert_true(str_eq(text, STR("one")));
    /* One that a killed run left is nobody's. */
    assert_int_equal(file_write_fd(second, STR("half")), 4);
    close(second);
    assert_int_equal(file_replace(path, STR("whole"), 0600, &err), 0);
    assert_int_equal(file_read(a, path, 100, &text, &err), 0);
    assert_true(str_eq(text, STR("whole")));
    /* What cannot be taken away is no other run. */
    assert_int_equal(mkdir(part, 0700), 0);
    assert_int_equal(file_part_open(part, 0600), -1);
    assert_null(strstr(file_part_why(), "another run"));
    rmdir(part);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
    arena_free(a);
}

static int writes_fail(const char *path, char letter)
{
    enum { TIMES = 100 };
    static char content[4096];
    struct error err;
    int failed = 0;
    memset(content, letter, sizeof content);
    for (int i = 0; i < TIMES; i++)
        failed += file_replace(path, (struct str){content, sizeof content}, 0600, &err) != 0 &&
                  !strstr(err.message, "another run"); /* that is said under load */
    return failed;
}

/* One that found nothing left, or what was renamed since, took away what another had just begun. */
static void many_writers_of_one_name_take_nothing_away_from_each_other(void **state)
{
    (void)state;
    enum { WRITERS = 4 };
    char folder[] = "/tmp/file_test.XXXXXX", path[64];
    pid_t writers[WRITERS];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model", folder);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = fork();
        assert_true(writers[i] >= 0);
        if (writers[i] == 0)
            _exit(writes_fail(path, (char)('a' + i)) > 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(writers[i], &status, 0), writers[i]);
        assert_int_equal(status, 0);
    }
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_of_a_file_and_no_more_than_is_allowed),
        cmocka_unit_test(a_fifo_given_as_a_file_holds_nobody_up),
        cmocka_unit_test(a_file_takes_its_name_when_all_of_it_is_there),
        cmocka_unit_test(two_writers_of_one_name_left_half_of_a_file_under_it),
        cmocka_unit_test(many_writers_of_one_name_take_nothing_away_from_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
