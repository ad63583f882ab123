#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"

struct task {
    struct task *next;
    void (*fn)(void *);
    void *ctx;
};

struct loop {
    struct event_base *base;
    struct event *wake;
    int wake_fd;
    _Atomic(pthread_t) thread; /* that runs it; read by any */
    _Atomic bool stop;
    pthread_mutex_t mutex; /* guards first and last */
    struct task *first, *last;
    _Atomic int n_timers;
};

static _Thread_local struct loop *running;

/* Most timers guard something that comes in time: they are stopped, or started anew for later. So the event
 * of one may come early, or for nothing: it never moves but nearer, and a look at `due_ns` says what is so.
 */
struct loop_timer {
    struct loop *loop;
    struct event *event;
    void (*fn)(void *);
    void *ctx;
    int64_t due_ns;   /* INT64_MAX: stopped */
    int64_t alarm_ns; /* when the event comes, never after `due_ns`; INT64_MAX: not */
    bool soon;
};

struct loop_io {
    struct loop *loop;
    struct event *event;
    int fd;
    void (*fn)(int, int, void *);
    void *ctx;
};

struct loop_signal {
    struct event *event;
    void (*fn)(int, void *);
    void *ctx;
};

/* False when there were none. */
static bool run_tasks(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    struct task *t = loop->first;
    loop->first = loop->last = NULL;
    pthread_mutex_unlock(&loop->mutex);
    bool any = t != NULL;
    while (t) {
        struct task *next = t->next;
        t->fn(t->ctx);
        free(t);
        t = next;
    }
    return any;
}

void loop_run_posted(struct loop *loop)
{
    while (run_tasks(loop))
        continue;
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct loop *loop = ctx;
    uint64_t count;
    /* EV_TIMEOUT: the loop woke itself (loop_post), nothing was written. */
    if ((what & EV_READ) && read(fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
        abort();
    run_tasks(loop);
    if (atomic_load(&loop->stop))
        event_base_loopbreak(loop->base);
}

static void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    /* EAGAIN means the counter is full: the loop is awake anyway. */
    if (write(loop->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN && errno != EINTR)
        abort();
}

/* Changes of what is watched reach the kernel together, before it is waited in: a connection to a provider
 * comes and goes within one turn. (libevent forbids it for descriptors made with dup; we make none.) */
static struct event_base *base_create(void)
{
    struct event_config *config = must(event_config_new());
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int loop_create(struct loop **out, struct error *err)
{
    struct loop *loop = must(calloc(1, sizeof *loop));
    pthread_mutex_init(&loop->mutex, NULL);
    loop->thread = pthread_self();
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->base = base_create();
    if (loop->wake_fd < 0 || !loop->base) {
        loop_free(loop);
        return error_set(
            err, ERROR_IO, "cannot create an event loop: raise the limit of open files (ulimit -n)");
    }
    loop->wake = must(event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop));
    event_add(loop->wake, NULL);
    *out = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    loop_run_posted(loop);
    if (loop->n_timers > 0)
        log_error("base", "a loop ends before %d of its timers", loop->n_timers);
    if (loop->wake)
        event_free(loop->wake);
    if (loop->base)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

/* sched_setattr(2), which glibc 2.36 does not have. */
struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns; /* `runtime`, for the usual policy since Linux 6.12 */
    uint64_t deadline_ns, period_ns;
};

/* Linux lets a thread finish its slice (1.4 to 2.8 ms), even if another has just got something to do: whoever
 * asks the gateway would wait for the state's writer that long. Asking for shorter slices puts this thread
 * first then (EEVDF, since 6.12) and gives it no more of the processor than before; older kernels take no
 * notice, and nothing depends on it. Threads and processes that it starts have slices as usual. */
static void slices_shorten(void)
{
    enum { SLICE_NS = 100000, RESET_ON_FORK = 1 };
    struct sched_attributes attr = {0};
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) || attr.policy != SCHED_OTHER)
        return;
    attr.slice_ns = SLICE_NS;
    if (attr.nice >= 0) /* a better place than that would be reset, too */
        attr.flags |= RESET_ON_FORK;
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

int loop_run(struct loop *loop, struct error *err)
{
    loop->thread = pthread_self();
    struct loop *outer = running;
    if (!outer)
        slices_shorten();
    running = loop;
    int rc = 0;
    while (!atomic_load(&loop->stop) && rc == 0)
        rc = event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    running = outer;
    atomic_store(&loop->stop, false);
    return rc < 0 ? error_set(err, ERROR_IO, "the event loop failed: %s", strerror(errno)) : 0;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    loop_wake(loop);
}

void loop_post(struct loop *loop, void (*fn)(void *), void *ctx)
{
    struct task *t = must(malloc(sizeof *t));
    *t = (struct task){NULL, fn, ctx};
    pthread_mutex_lock(&loop->mutex);
    bool first = loop->first == NULL;
    if (first)
        loop->first = t;
    else
        loop->last->next = t;
    loop->last = t;
    pthread_mutex_unlock(&loop->mutex);
    if (first && loop_is_current(loop) && loop->wake)
        event_active(loop->wake, EV_TIMEOUT, 0);
    else if (first)
        loop_wake(loop);
}

bool loop_is_quiet(const struct loop *loop)
{
    return event_base_get_num_events(loop->base, EVENT_BASE_COUNT_ACTIVE) == 0;
}

bool loop_is_current(const struct loop *loop)
{
    return pthread_equal(atomic_load(&((struct loop *)(uintptr_t)loop)->thread), pthread_self()) != 0;
}

struct loop *loop_running(void)
{
    return running;
}

struct event_base *loop_event_base(struct loop *loop)
{
    return loop->base;
}

static void timer_arm(struct loop_timer *timer, int64_t delay_ns)
{
    int64_t us = (delay_ns + 999) / 1000; /* never early */
    struct timeval tv = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    timer->alarm_ns = timer->due_ns;
    event_add(timer->event, &tv);
}

/* Its time is up; else it is armed for when that is, if ever. An event that comes for `due_ns` itself is
 * never early, whatever the clock says: the loop's is coarser. One that came `soon` took the other's place.
 */
static bool timer_is_due(struct loop_timer *timer)
{
    bool meant = timer->alarm_ns == timer->due_ns && !timer->soon;
    timer->alarm_ns = INT64_MAX;
    if (timer->due_ns == INT64_MAX)
        return false;
    int64_t left = timer->due_ns - clock_mono_ns();
    if (!meant && left > 0) {
        timer_arm(timer, left);
        return false;
    }
    timer->due_ns = INT64_MAX;
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_timer *timer = ctx;
    (void)fd;
    (void)what;
    bool due = timer_is_due(timer);
    due = due || timer->soon;
    timer->soon = false;
    if (due)
        timer->fn(timer->ctx);
}

struct loop_timer *loop_timer_create(struct loop *loop, void (*fn)(void *), void *ctx)
{
    struct loop_timer *timer = must(malloc(sizeof *timer));
    *timer =
        (struct loop_timer){.loop = loop, .fn = fn, .ctx = ctx, .due_ns = INT64_MAX, .alarm_ns = INT64_MAX};
    loop->n_timers++;
    timer->event = must(event_new(loop->base, -1, 0, on_timer, timer));
    return timer;
}

void loop_timer_start(struct loop_timer *timer, int64_t delay_ms)
{
    const int64_t most_ms = INT64_C(1000000000000); /* 31 years */
    int64_t delay_ns = (delay_ms < most_ms ? delay_ms : most_ms) * 1000000;
    timer->due_ns = clock_mono_ns() + delay_ns;
    if (timer->due_ns < timer->alarm_ns)
        timer_arm(timer, delay_ns);
}

void loop_timer_soon(struct loop_timer *timer)
{
    timer->soon = true;
    event_active(timer->event, EV_TIMEOUT, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->due_ns = INT64_MAX;
    timer->soon = false;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (!timer)
        return;
    event_free(timer->event);
    timer->loop->n_timers--;
    free(timer);
}

static void on_io(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_io *io = ctx;
    int events = (what & EV_READ ? LOOP_READ : 0) | (what & EV_WRITE ? LOOP_WRITE : 0);
    io->fn(fd, events, io->ctx);
}

static short io_flags(int events)
{
    int flags = EV_PERSIST | (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0);
    return (short)flags;
}

struct loop_io *loop_io_create(struct loop *loop, int fd, int events, void (*fn)(int, int, void *), void *ctx)
{
    struct loop_io *io = must(malloc(sizeof *io));
    *io = (struct loop_io){loop, NULL, fd, fn, ctx};
    io->event = must(event_new(loop->base, fd, io_flags(events), on_io, io));
    if (events)
        event_add(io->event, NULL);
    return io;
}

void loop_io_change(struct loop_io *io, int events)
{
    event_del(io->event);
    event_assign(io->event, io->loop->base, io->fd, io_flags(events), on_io, io);
    if (events)
        event_add(io->event, NULL);
}

void loop_io_free(struct loop_io *io)
{
    if (!io)
        return;
    event_free(io->event);
    free(io);
}

static void on_signal(evutil_socket_t signal, short what, void *ctx)
{
    struct loop_signal *s = ctx;
    (void)what;
    s->fn((int)signal, s->ctx);
}

struct loop_signal *loop_signal_create(struct loop *loop, int signal, void (*fn)(int, void *), void *ctx)
{
    struct loop_signal *s = must(malloc(sizeof *s));
    *s = (struct loop_signal){NULL, fn, ctx};
    s->event = must(evsignal_new(loop->base, signal, on_signal, s));
    event_add(s->event, NULL);
    return s;
}

void loop_signal_free(struct loop_signal *s)
{
    if (!s)
        return;
    event_free(s->event);
    free(s);
}
