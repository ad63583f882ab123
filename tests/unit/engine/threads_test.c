#include "engine/worker/cpu/threads.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

enum { MAX = 32, ROUNDS = 40 };

struct work {
    struct threads *threads;
    int32_t cells[MAX]; /* plain: the barrier alone orders them */
    atomic_int calls, wrong;
};

static struct threads *pool(int32_t count)
{
    struct threads *t;
    struct error err = {0};
    if (threads_create(count, &t, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(threads_count(t), count);
    return t;
}

static void count_call(void *ctx, int32_t index)
{
    struct work *w = ctx;
    w->cells[index]++;
    atomic_fetch_add(&w->calls, 1);
}

static void everyone_is_called_once(void **state)
{
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 8, MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct work w = {.threads = pool(counts[i])};
        for (int32_t round = 1; round <= ROUNDS; round++) {
            threads_run(w.threads, count_call, &w);
            for (int32_t j = 0; j < counts[i]; j++)
                assert_int_equal(w.cells[j], round);
        }
        assert_int_equal(w.calls, ROUNDS * counts[i]);
        threads_free(w.threads);
    }
}

/* Each reads what its neighbour wrote in the step before. */
static void pass_round(void *ctx, int32_t index)
{
    struct work *w = ctx;
    int32_t count = threads_count(w->threads), neighbour = (index + 1) % count;
    for (int32_t step = 0; step < ROUNDS; step++) {
        w->cells[index] = step * count + index;
        threads_barrier(w->threads);
        if (w->cells[neighbour] != step * count + neighbour)
            atomic_fetch_add(&w->wrong, 1);
        threads_barrier(w->threads);
    }
}

static void barriers_order_memory(void **state)
{
    (void)state;
    static const int32_t counts[] = {1, 2, 5, MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct work w = {.threads = pool(counts[i])};
        threads_run(w.threads, pass_round, &w);
        threads_run(w.threads, pass_round, &w);
        assert_int_equal(w.wrong, 0);
        threads_free(w.threads);
    }
}

/* Nobody may wait by spinning then: the others would not come on. */
static void more_threads_than_cores_come_to_an_end(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(threads_cores(), 1);
    struct work w = {.threads = pool(MAX)};
    for (int round = 0; round < ROUNDS; round++)
        threads_run(w.threads, pass_round, &w);
    assert_int_equal(w.wrong, 0);
    threads_free(w.threads);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void an_idle_pool_takes_no_time(void **state)
{
    (void)state;
    struct work w = {.threads = pool(2)};
    threads_run(w.threads, count_call, &w);
    struct timespec pause = {.tv_nsec = 50000000};
    nanosleep(&pause, NULL); /* the spinning ends */
    double before = cpu_seconds();
    pause.tv_nsec = 300000000;
    nanosleep(&pause, NULL);
    assert_true(cpu_seconds() - before < 0.03);
    threads_run(w.threads, count_call, &w);
    assert_int_equal(w.calls, 4);
    threads_free(w.threads);
}

static void impossible_counts_are_refused(void **state)
{
    (void)state;
    struct threads *t;
    struct error err = {0};
    assert_int_equal(threads_create(0, &t, &err), ERROR_INVALID);
    assert_int_equal(threads_create(-3, &t, &err), ERROR_INVALID);
    assert_int_equal(threads_create(THREADS_MAX + 1, &t, &err), ERROR_INVALID);
    assert_in_range(threads_cores(), 1, THREADS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everyone_is_called_once),
        cmocka_unit_test(barriers_order_memory),
        cmocka_unit_test(more_threads_than_cores_come_to_an_end),
        cmocka_unit_test(an_idle_pool_takes_no_time),
        cmocka_unit_test(impossible_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
