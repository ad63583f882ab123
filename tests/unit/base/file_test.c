#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_of_a_file_and_no_more_than_is_allowed),
        cmocka_unit_test(a_fifo_given_as_a_file_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
