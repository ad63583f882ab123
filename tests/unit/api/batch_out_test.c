/* A batch's results where the disk takes a part of them. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/batch_out.h"
#include "base/file.h"

static char path[] = "/tmp/weir-out-XXXXXX";

/* What a file may hold; -1: everything. */
static void room(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == (rlim_t)-1 ? limit.rlim_max : bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void what_a_full_disk_does_not_take_waits_and_comes_once(void **state)
{
    (void)state;
    struct arena *a = arena_create(1 << 20);
    struct batch_out o;
    struct error err;
    struct str text;
    batch_out_init(&o, path, true);
    o.fd = mkstemp(path);
    assert_true(o.fd >= 0);
    room(10);
    assert_int_equal(batch_out_write(&o, STR("first\n"), &err), 0);
    assert_true(batch_out_saved(&o));
    assert_int_equal(batch_out_write(&o, STR("second\n"), &err), 0);
    assert_int_equal(batch_out_write(&o, STR("third\n"), &err), 0);
    assert_false(batch_out_saved(&o));
    assert_false(batch_out_saved(&o));
    room((rlim_t)-1);
    assert_true(batch_out_saved(&o));
    batch_out_close(&o);
    assert_int_equal(file_read(a, path, 100, &text, &err), 0);
    assert_true(str_eq(text, STR("first\nsecond\nthird\n")));
    unlink(path);
    arena_free(a);
}

static void one_that_does_not_wait_says_why(void **state)
{
    (void)state;
    struct batch_out o;
    struct error err;
    char name[] = "/tmp/weir-out-XXXXXX";
    batch_out_init(&o, name, false);
    o.fd = mkstemp(name);
    assert_true(o.fd >= 0);
    room(3);
    assert_int_equal(batch_out_write(&o, STR("first\n"), &err), ERROR_IO);
    assert_non_null(strstr(err.message, strerror(EFBIG)));
    assert_true(batch_out_saved(&o)); /* else it would never end */
    room((rlim_t)-1);
    assert_int_equal(batch_out_write(&o, STR("second\n"), &err), 0); /* no line is lost in the middle */
    batch_out_close(&o);
    struct arena *a = arena_create(1 << 20);
    struct str text;
    assert_int_equal(file_read(a, name, 100, &text, &err), 0);
    assert_true(str_eq(text, STR("first\nsecond\n")));
    arena_free(a);
    unlink(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_full_disk_does_not_take_waits_and_comes_once),
        cmocka_unit_test(one_that_does_not_wait_says_why),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
