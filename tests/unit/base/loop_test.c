#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static struct loop *create(void)
{
    struct loop *loop = NULL;
    struct error err = {0};
    if (loop_create(&loop, &err))
        fail_msg("%s", err.message);
    return loop;
}

static void run(struct loop *loop)
{
    struct error err = {0};
    if (loop_run(loop, &err))
        fail_msg("%s", err.message);
}

static void stop(void *loop)
{
    loop_stop(loop);
}

/* ---- Tasks ---- */

enum { THREADS = 4, TASKS = 20000 };

struct poster {
    struct loop *loop;
    int number, last; /* of its tasks; the loop's thread writes last */
    bool in_order, on_loop;
    _Atomic int *left; /* posters whose tasks have not all run */
};

struct posted {
    struct poster *poster;
    int index;
};

static void on_posted(void *ctx)
{
    struct posted *t = ctx;
    struct poster *p = t->poster;
    p->in_order &= t->index == p->last + 1;
    p->on_loop &= loop_is_current(p->loop);
    p->last = t->index;
    if (t->index == TASKS - 1 && atomic_fetch_sub(p->left, 1) == 1)
        loop_stop(p->loop);
    free(t);
}

static void *post_all(void *ctx)
{
    struct poster *p = ctx;
    for (int i = 0; i < TASKS; i++) {
        struct posted *t = malloc(sizeof *t);
        *t = (struct posted){p, i};
        loop_post(p->loop, on_posted, t);
    }
    return NULL;
}

static void runs_what_other_threads_post_in_order(void **state)
{
    (void)state;
    struct loop *loop = create();
    pthread_t threads[THREADS];
    struct poster posters[THREADS];
    _Atomic int left = THREADS;
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){loop, i, -1, true, true, &left};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    run(loop);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(posters[i].last, TASKS - 1);
        assert_true(posters[i].in_order && posters[i].on_loop);
    }
    loop_free(loop);
}

/* The queue was looked at without its lock. */
static void runs_posted_tasks_while_another_thread_posts(void **state)
{
    (void)state;
    struct loop *loop = create();
    _Atomic int left = 1;
    struct poster poster = {loop, 0, -1, true, true, &left};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_all, &poster), 0);
    while (atomic_load(&left) > 0)
        loop_run_posted(loop);
    pthread_join(thread, NULL);
    assert_int_equal(poster.last, TASKS - 1);
    assert_true(poster.in_order);
    loop_free(loop);
}

struct chain {
    struct loop *loop;
    int left, ran;
};

static void post_next(void *ctx)
{
    struct chain *c = ctx;
    c->ran++;
    if (c->left-- > 0)
        loop_post(c->loop, post_next, c);
}

/* At shutdown nothing that was posted is lost, nor what that posts. */
static void runs_what_is_left_when_it_is_freed(void **state)
{
    (void)state;
    struct chain c = {create(), 10, 0};
    loop_post(c.loop, post_next, &c);
    assert_int_equal(c.ran, 0);
    loop_run_posted(c.loop);
    assert_int_equal(c.ran, 11);
    c.left = 4;
    loop_post(c.loop, post_next, &c);
    loop_free(c.loop);
    assert_int_equal(c.ran, 16);
    loop_free(NULL);
}

static void *stop_later(void *loop)
{
    usleep(20000);
    loop_stop(loop);
    return NULL;
}

static void stops_from_another_thread_and_runs_again(void **state)
{
    (void)state;
    struct loop *loop = create();
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_later, loop), 0);
        int64_t began = clock_mono_ms();
        run(loop);
        assert_true(clock_mono_ms() - began >= 15);
        pthread_join(thread, NULL);
    }
    /* A stop that comes before the run counts. */
    loop_stop(loop);
    run(loop);
    loop_post(loop, stop, loop);
    run(loop);
    loop_free(loop);
}

static void *is_current_elsewhere(void *loop)
{
    return loop_is_current(loop) ? loop : NULL;
}

static void knows_its_own_thread(void **state)
{
    (void)state;
    struct loop *loop = create();
    pthread_t thread;
    void *current = loop;
    assert_true(loop_is_current(loop));
    assert_non_null(loop_event_base(loop));
    assert_int_equal(pthread_create(&thread, NULL, is_current_elsewhere, loop), 0);
    pthread_join(thread, &current);
    assert_null(current);
    loop_free(loop);
}

/* ---- The thread ---- */

static uint64_t slice_ns(void)
{
    uint64_t attr[6] = {0}; /* struct sched_attr: the fourth is sched_runtime */
    assert_int_equal(syscall(SYS_sched_getattr, 0, attr, sizeof attr, 0), 0);
    return attr[3];
}

static void *slice_elsewhere(void *before)
{
    *(uint64_t *)before = slice_ns();
    return NULL;
}

static void *shorten(void *slices)
{
    struct loop *loop = create();
    uint64_t *s = slices;
    pthread_t thread;
    s[0] = slice_ns();
    loop_post(loop, stop, loop);
    run(loop);
    s[1] = slice_ns();
    assert_int_equal(pthread_create(&thread, NULL, slice_elsewhere, &s[2]), 0);
    pthread_join(thread, NULL);
    loop_free(loop);
    return NULL;
}

/* A request waited up to two milliseconds for the state's writer to end its slice. */
static void a_loop_is_not_kept_waiting_for_a_slice_to_end(void **state)
{
    uint64_t slices[3] = {0};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, shorten, slices), 0);
    pthread_join(thread, NULL);
    if (slices[0] == 0) {
        print_message("skipped: slices (this kernel tells none)\n");
        return;
    }
    assert_true(slices[1] < slices[0]);
    assert_int_equal(slices[2], slices[0]); /* what it starts has slices as usual */
}

/* ---- Timers ---- */

struct ticks {
    struct loop *loop;
    struct loop_timer *timer, *other;
    int count, most;
    int64_t began, took;
};

static void tick(void *ctx)
{
    struct ticks *t = ctx;
    t->took = clock_mono_ms() - t->began;
    if (++t->count < t->most)
        loop_timer_start(t->timer, 10);
    else
        loop_stop(t->loop);
}

static void fires_once_per_start(void **state)
{
    (void)state;
    struct ticks t = {.loop = create(), .most = 3};
    t.timer = loop_timer_create(t.loop, tick, &t);
    t.began = clock_mono_ms();
    loop_timer_start(t.timer, 5000);
    loop_timer_start(t.timer, 30); /* starts anew */
    run(t.loop);
    assert_int_equal(t.count, 3);
    assert_true(t.took >= 45 && t.took < 3000);
    loop_timer_free(t.timer);
    loop_timer_free(NULL);
    loop_free(t.loop);
}

/* Its event is not moved: it comes when it was first to come, and again. */
static void a_timer_put_off_fires_when_it_is_due(void **state)
{
    (void)state;
    struct ticks t = {.loop = create(), .most = 1};
    t.timer = loop_timer_create(t.loop, tick, &t);
    t.began = clock_mono_ms();
    loop_timer_start(t.timer, 10);
    loop_timer_start(t.timer, 100);
    run(t.loop);
    assert_true(t.took >= 90 && t.took < 3000);
    loop_timer_free(t.timer);
    loop_free(t.loop);
}

static void on_count(void *ctx)
{
    struct ticks *t = ctx;
    if (++t->count == t->most)
        loop_stop(t->loop);
}

static void a_timer_that_runs_soon_still_fires(void **state)
{
    (void)state;
    struct ticks t = {.loop = create(), .most = 2};
    t.timer = loop_timer_create(t.loop, on_count, &t);
    loop_timer_start(t.timer, 20);
    loop_timer_soon(t.timer);
    run(t.loop);
    assert_int_equal(t.count, 2);
    loop_timer_start(t.timer, 1);
    loop_timer_soon(t.timer);
    loop_timer_stop(t.timer); /* both */
    loop_post(t.loop, stop, t.loop);
    run(t.loop);
    assert_int_equal(t.count, 2);
    loop_timer_free(t.timer);
    loop_free(t.loop);
}

static void must_not_fire(void *ctx)
{
    *(int *)ctx += 1;
}

static void free_both(void *ctx)
{
    struct ticks *t = ctx;
    loop_timer_free(t->other);
    loop_timer_free(t->timer); /* its own */
    loop_stop(t->loop);
}

struct soon {
    struct loop *loop;
    struct loop_timer *timer;
    int ran, turns;
};

static void on_soon(void *ctx)
{
    struct soon *s = ctx;
    s->ran++;
    assert_int_equal(s->turns, 1); /* nothing else had its turn before */
}

static void next_turn(void *ctx)
{
    struct soon *s = ctx;
    if (++s->turns == 1) {
        loop_timer_soon(s->timer);
        loop_timer_soon(s->timer);
        loop_post(s->loop, next_turn, s);
    } else {
        loop_stop(s->loop);
    }
}

static void soon_is_still_in_this_turn_and_once(void **state)
{
    struct soon s = {.loop = create()};
    (void)state;
    s.timer = loop_timer_create(s.loop, on_soon, &s);
    loop_post(s.loop, next_turn, &s);
    run(s.loop);
    assert_int_equal(s.ran, 1);
    assert_int_equal(s.turns, 2);
    loop_timer_soon(s.timer);
    loop_timer_free(s.timer); /* what is gone does not run */
    loop_post(s.loop, stop, s.loop);
    run(s.loop);
    assert_int_equal(s.ran, 1);
    loop_free(s.loop);
}

static void stopped_and_freed_timers_are_silent(void **state)
{
    (void)state;
    struct ticks t = {.loop = create()};
    int fired = 0;
    struct loop_timer *stopped = loop_timer_create(t.loop, must_not_fire, &fired);
    loop_timer_start(stopped, 1);
    loop_timer_stop(stopped);
    loop_timer_stop(stopped);
    t.timer = loop_timer_create(t.loop, free_both, &t);
    t.other = loop_timer_create(t.loop, must_not_fire, &fired);
    loop_timer_start(t.timer, 20);
    loop_timer_start(t.other, 21);
    run(t.loop);
    assert_int_equal(fired, 0);
    loop_timer_start(stopped, INT64_MAX); /* far, but no overflow */
    loop_post(t.loop, stop, t.loop);
    run(t.loop);
    loop_timer_start(stopped, 0);
    usleep(1000);
    struct loop_timer *last = loop_timer_create(t.loop, stop, t.loop);
    loop_timer_start(last, 5);
    run(t.loop);
    assert_int_equal(fired, 1);
    loop_timer_free(last);
    loop_timer_free(stopped);
    loop_free(t.loop);
}

/* ---- Descriptors ---- */

struct watch {
    struct loop *loop;
    struct loop_io *io;
    int seen[8]; /* by mask */
    int calls, change_to;
};

static void on_io(int fd, int events, void *ctx)
{
    struct watch *w = ctx;
    char byte;
    w->calls++;
    w->seen[events & 7]++;
    if (events & LOOP_READ && read(fd, &byte, 1) != 1)
        w->change_to = 0;
    loop_io_change(w->io, w->change_to);
    loop_stop(w->loop);
}

static void must_stop(void *ctx)
{
    struct watch *w = ctx;
    w->seen[0]++;
    loop_stop(w->loop);
}

/* A stop lets what is ready in the same turn run first. */
static void run_until(struct watch *w, int calls)
{
    while (w->calls < calls)
        run(w->loop);
    assert_int_equal(w->calls, calls);
}

static void watches_what_it_is_told_to(void **state)
{
    (void)state;
    int fds[2];
    struct watch w = {.loop = create(), .change_to = LOOP_READ};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct loop_timer *timer = loop_timer_create(w.loop, must_stop, &w);
    w.io = loop_io_create(w.loop, fds[0], 0, on_io, &w);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    loop_timer_start(timer, 20);
    run(w.loop); /* paused: only the timer */
    assert_int_equal(w.calls, 0);
    loop_io_change(w.io, LOOP_READ);
    run_until(&w, 2); /* level-triggered: the second byte is still there */
    assert_int_equal(w.seen[LOOP_READ], 2);
    loop_io_change(w.io, LOOP_WRITE);
    w.change_to = 0;
    run_until(&w, 3);
    assert_int_equal(w.seen[LOOP_WRITE], 1);
    loop_io_free(w.io);
    loop_io_free(NULL);
    loop_timer_free(timer);
    loop_free(w.loop);
    close(fds[0]);
    close(fds[1]);
}

static void free_inside(int fd, int events, void *ctx)
{
    struct watch *w = ctx;
    (void)fd;
    (void)events;
    w->calls++;
    loop_io_free(w->io);
    w->io = NULL;
    loop_stop(w->loop);
}

static void a_watch_may_be_freed_inside_itself(void **state)
{
    (void)state;
    int fds[2];
    struct watch w = {.loop = create()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    w.io = loop_io_create(w.loop, fds[0], LOOP_READ | LOOP_WRITE, free_inside, &w);
    run(w.loop);
    assert_int_equal(w.calls, 1);
    loop_free(w.loop);
    close(fds[0]);
    close(fds[1]);
}

static void on_signal(int signal, void *ctx)
{
    struct watch *w = ctx;
    w->calls = signal;
    loop_stop(w->loop);
}

static void hears_signals(void **state)
{
    (void)state;
    struct watch w = {.loop = create()};
    struct loop_signal *s = loop_signal_create(w.loop, SIGUSR1, on_signal, &w);
    kill(getpid(), SIGUSR1);
    run(w.loop);
    assert_int_equal(w.calls, SIGUSR1);
    loop_signal_free(s);
    loop_signal_free(NULL);
    loop_free(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_what_other_threads_post_in_order),
        cmocka_unit_test(runs_posted_tasks_while_another_thread_posts),
        cmocka_unit_test(runs_what_is_left_when_it_is_freed),
        cmocka_unit_test(stops_from_another_thread_and_runs_again),
        cmocka_unit_test(knows_its_own_thread),
        cmocka_unit_test(a_loop_is_not_kept_waiting_for_a_slice_to_end),
        cmocka_unit_test(fires_once_per_start),
        cmocka_unit_test(a_timer_put_off_fires_when_it_is_due),
        cmocka_unit_test(a_timer_that_runs_soon_still_fires),
        cmocka_unit_test(soon_is_still_in_this_turn_and_once),
        cmocka_unit_test(stopped_and_freed_timers_are_silent),
        cmocka_unit_test(watches_what_it_is_told_to),
        cmocka_unit_test(a_watch_may_be_freed_inside_itself),
        cmocka_unit_test(hears_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
