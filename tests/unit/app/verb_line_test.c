#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/verb_state.h"

/* What it prints, and its code. */
static int print(size_t most, const char *text, char shown[64], struct error *err)
{
    struct buf line;
    FILE *file = tmpfile();
    int kept = dup(STDOUT_FILENO);
    assert_non_null(file);
    buf_init(&line, most);
    buf_append_text(&line, text);
    fflush(stdout);
    assert_int_not_equal(dup2(fileno(file), STDOUT_FILENO), -1);
    int rc = verb_print_line(&line, err);
    fflush(stdout);
    assert_int_not_equal(dup2(kept, STDOUT_FILENO), -1);
    rewind(file);
    shown[fread(shown, 1, 63, file)] = '\0';
    fclose(file);
    close(kept);
    return rc;
}

static void a_key_too_large_to_be_printed_was_an_empty_object(void **state)
{
    (void)state;
    char shown[64];
    struct error err;
    assert_int_equal(print(64, "{\"id\":1}", shown, &err), 0);
    assert_string_equal(shown, "{\"id\":1}\n");
    assert_int_equal(print(4, "{\"id\":1}", shown, &err), ERROR_LIMIT);
    assert_string_equal(shown, "");
    assert_non_null(strstr(err.message, "too much memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_key_too_large_to_be_printed_was_an_empty_object)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
