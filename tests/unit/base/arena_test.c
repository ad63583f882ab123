#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"

static void gives_zeroed_aligned_memory_of_its_own(void **state)
{
    (void)state;
    enum { N = 3000 };
    static unsigned char *parts[N];
    static size_t sizes[N];
    struct arena *a = arena_create(64 * MIB);
    size_t sum = 0;
    for (size_t i = 0; i < N; i++) {
        sizes[i] = i % 50 == 0 ? 10000 + i : i % 10 == 0 ? 2000 + i % 200 : i % 97;
        parts[i] = arena_alloc(a, sizes[i]);
        assert_int_equal((uintptr_t)parts[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(parts[i][k], 0);
        memset(parts[i], (int)(i % 251) + 1, sizes[i]);
        sum += sizes[i];
    }
    assert_int_equal(arena_used(a), sum);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(parts[i][k], i % 251 + 1);
    arena_free(a);
    arena_free(NULL);
}

static void refuses_what_passes_the_maximum(void **state)
{
    (void)state;
    struct arena *a = arena_create(1000);
    struct str copy;
    assert_null(arena_try_alloc(a, 1001, 1));
    assert_null(arena_try_alloc(a, SIZE_MAX, 1));
    assert_null(arena_try_alloc(a, SIZE_MAX / 2 + 1, 2)); /* the product overflows to 0 */
    assert_null(arena_try_alloc(a, SIZE_MAX / 8, 16));
    assert_null(arena_try_alloc(a, 1, SIZE_MAX - 8));
    assert_int_equal(arena_try_copy(a, (struct str){"x", SIZE_MAX}, &copy), ERROR_MEMORY);
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_try_alloc(a, 999, 1));
    assert_int_equal(arena_try_copy(a, STR("a"), &copy), ERROR_MEMORY);
    assert_int_equal(arena_try_copy(a, STR(""), &copy), 0);
    assert_null(arena_try_alloc(a, 1, 1));
    arena_free(a);
    a = arena_create(SIZE_MAX);
    assert_null(arena_try_alloc(a, 1, SIZE_MAX));
    assert_null(arena_try_alloc(a, 1, SIZE_MAX - 20));
    assert_null(arena_try_alloc(a, 1, SIZE_MAX - 40));
    arena_free(a);
}

/* Small allocations past the maximum are bugs: the program stops. */
static void aborts_where_it_must_not_fail(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        arena_alloc(arena_create(100), 101);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void copies_text(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct str s = arena_copy(a, (struct str){"hello there", 5});
    assert_int_equal(s.len, 5);
    assert_string_equal(s.data, "hello");
    assert_string_equal(arena_strdup(a, STR_NONE), "");
    s = arena_copy(a, STR_NONE);
    assert_non_null(s.data);
    s = arena_printf(a, "%s=%d", "n", 12);
    assert_int_equal(s.len, 4);
    assert_string_equal(s.data, "n=12");
    assert_int_equal(arena_try_copy(a, STR("a\0b"), &s), 0);
    assert_memory_equal(s.data, "a\0b", 4);
    arena_free(a);
}

/* Blocks serve again with what stood there: copies end all the same, and the rest is zero. */
static void memory_that_served_before_shows_nothing_of_it(void **state)
{
    (void)state;
    struct str s;
    for (int round = 0; round < 2; round++) {
        struct arena *a = arena_create(MIB);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(arena_try_copy(a, STR("seven b"), &s), 0);
            assert_string_equal(s.data, "seven b");
            memset((char *)s.data, 'x', 8);
            char *p = arena_alloc(a, 37);
            for (int k = 0; k < 37; k++)
                assert_int_equal(p[k], 0);
            memset(p, 'x', 37);
        }
        arena_free(a);
    }
}

static char order[8];
static void note(void *ptr)
{
    strcat(order, ptr);
}

static void runs_clean_ups_newest_first(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    order[0] = '\0';
    arena_defer(a, note, arena_strdup(a, STR("1")));
    arena_defer(a, note, arena_strdup(a, STR("2")));
    arena_defer(a, note, arena_strdup(a, STR("3")));
    arena_free(a); /* the texts are still there when the clean-ups run */
    assert_string_equal(order, "321");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_zeroed_aligned_memory_of_its_own),
        cmocka_unit_test(refuses_what_passes_the_maximum),
        cmocka_unit_test(aborts_where_it_must_not_fail),
        cmocka_unit_test(copies_text),
        cmocka_unit_test(memory_that_served_before_shows_nothing_of_it),
        cmocka_unit_test(runs_clean_ups_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
