#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What fn writes to standard error. */
static char *caught(void (*fn)(void))
{
    static char text[1 << 20];
    char path[] = "/tmp/weir-test-log-XXXXXX";
    int file = mkstemp(path), old = dup(STDERR_FILENO);
    assert_true(file >= 0 && old >= 0);
    unlink(path);
    assert_true(fcntl(file, F_SETFL, O_APPEND) == 0 && dup2(file, STDERR_FILENO) >= 0);
    fn();
    dup2(old, STDERR_FILENO);
    close(old);
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    close(file);
    return text;
}

static void some_lines(void)
{
    log_set_level(LOG_INFO);
    log_debug("room", "hidden");
    log_info("room", "one %d", 1);
    log_warn("http", "two");
    log_set_level_name("error");
    log_warn("room", "hidden");
    log_error("room", "three");
    log_set_level_name("debug");
    log_debug("room", "four");
    log_set_level_name("nonsense");
    log_set_level_name(NULL);
    log_debug("room", "five");
    log_set_level(LOG_INFO);
}

static void writes_a_line_each_by_level(void **state)
{
    (void)state;
    static const char *const want[] = {
        "info room: one 1", "warn http: two", "error room: three", "debug room: four", "debug room: five"};
    char *line = caught(some_lines), *rest;
    for (size_t i = 0; i < 5; i++) {
        line = strtok_r(i ? NULL : line, "\n", &rest);
        assert_non_null(line);
        assert_true(strlen(line) > 25 && line[10] == 'T' && line[23] == 'Z' && line[24] == ' ');
        assert_string_equal(line + 25, want[i]);
    }
    assert_null(strtok_r(NULL, "\n", &rest));
}

/* Line ends would forge lines; escapes, also the one-character kind of ISO 6429, would run in a terminal. */
static void hostile_text(void)
{
    log_info("room", "a\nb\r\tc\x1b[31m d\x7f e\xC2\x9B"
                     "31m \xC2\xA9 \xC3\xA9");
}

static void hides_control_characters(void **state)
{
    (void)state;
    assert_string_equal(caught(hostile_text) + 25, "info room: a?b??c?[31m d? e??31m \xC2\xA9 \xC3\xA9\n");
}

static void a_long_line(void)
{
    log_info("room", "%05000d", 1);
}

static void cuts_long_lines(void **state)
{
    (void)state;
    const char *line = caught(a_long_line);
    size_t len = strlen(line);
    assert_in_range(len, 900, 1024);
    assert_int_equal(line[len - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
}

static void *log_much(void *name)
{
    for (int i = 0; i < 500; i++)
        log_info("thread", "%s %s", (char *)name, "................................................");
    return NULL;
}

static void from_threads(void)
{
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void keeps_lines_of_threads_apart(void **state)
{
    (void)state;
    char *rest, *line = strtok_r(caught(from_threads), "\n", &rest);
    int lines = 0;
    for (; line; line = strtok_r(NULL, "\n", &rest), lines++)
        assert_int_equal(strlen(line), strlen("2026-11-20T12:00:00.123Z info thread: a ") + 48);
    assert_int_equal(lines, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_line_each_by_level),
        cmocka_unit_test(hides_control_characters),
        cmocka_unit_test(cuts_long_lines),
        cmocka_unit_test(keeps_lines_of_threads_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
