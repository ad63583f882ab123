#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/verbs.h"

/* The name of an architecture, of a template's member ... is the model file's own. */
static void a_message_cannot_command_the_terminal(void **state)
{
    (void)state;
    char shown[256] = "";
    struct error err;
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    error_set(&err, ERROR_INVALID,
        "the architecture 'a\x1b[2J\x07\xc2\x9b"
        "1m\xc3\xa9' does not run here");
    fflush(stderr);
    assert_int_not_equal(dup2(fileno(file), STDERR_FILENO), -1);
    int code = verb_fail(1, &err);
    fflush(stderr);
    assert_int_not_equal(dup2(kept, STDERR_FILENO), -1);
    rewind(file);
    assert_true(fread(shown, 1, sizeof shown - 1, file) > 0);
    assert_int_equal(code, 1);
    assert_string_equal(shown, "weir: the architecture 'a?[2J???1m\xc3\xa9' does not run here\n");
    fclose(file);
    close(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_message_cannot_command_the_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
