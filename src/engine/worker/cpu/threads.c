#include "engine/worker/cpu/threads.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 2000 }; /* some 50 to 100 microseconds */

/* A door that opens again and again: waiters name the opening that they have already seen. */
struct gate {
    atomic_uint openings;
    atomic_int parked;
    pthread_mutex_t lock;
    pthread_cond_t opened;
};

struct member {
    struct threads *pool;
    int32_t index;
    pthread_t thread;
};

struct threads {
    int32_t count, started, spins;
    struct gate start, barrier;
    atomic_int arrived; /* at the barrier */
    bool stop;
    void (*fn)(void *ctx, int32_t index);
    void *ctx;
    struct member members[];
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_init(struct gate *g)
{
    atomic_init(&g->openings, 0);
    atomic_init(&g->parked, 0);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->opened, NULL);
}

static void gate_destroy(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->opened);
}

/* A waiter counts itself as parked before it looks again, the opener opens before it looks at the count: one
 * of the two sees the other. */
static void gate_wait(struct gate *g, unsigned seen, int32_t spins)
{
    for (int32_t i = 0; i < spins; i++) {
        if (atomic_load(&g->openings) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->parked, 1);
    while (atomic_load(&g->openings) == seen)
        pthread_cond_wait(&g->opened, &g->lock);
    atomic_fetch_sub(&g->parked, 1);
    pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g)
{
    atomic_fetch_add(&g->openings, 1);
    if (atomic_load(&g->parked) == 0)
        return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->opened);
    pthread_mutex_unlock(&g->lock);
}

void threads_barrier(struct threads *t)
{
    unsigned seen = atomic_load(&t->barrier.openings);
    if (atomic_fetch_add(&t->arrived, 1) + 1 < t->count) {
        gate_wait(&t->barrier, seen, t->spins);
        return;
    }
    atomic_store(&t->arrived, 0);
    gate_open(&t->barrier);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct threads *t = m->pool;
    for (unsigned seen = 0;; seen++) {
        gate_wait(&t->start, seen, t->spins);
        if (t->stop)
            return NULL;
        t->fn(t->ctx, m->index);
        threads_barrier(t);
    }
}

int32_t threads_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return CPU_COUNT(&set) < THREADS_MAX ? CPU_COUNT(&set) : THREADS_MAX;
}

int threads_create(int32_t count, struct threads **out, struct error *err)
{
    if (count < 1 || count > THREADS_MAX)
        return error_set(err, ERROR_INVALID, "%d threads: use 1 to %d", (int)count, THREADS_MAX);
    struct threads *t = calloc(1, sizeof *t + (size_t)count * sizeof t->members[0]);
    if (!t)
        return error_set(err, ERROR_MEMORY, "no memory for %d threads", (int)count);
    t->count = count;
    t->started = 1;
    t->spins = count <= threads_cores() ? SPINS : 0;
    gate_init(&t->start);
    gate_init(&t->barrier);
    atomic_init(&t->arrived, 0);
    for (int32_t i = 1; i < count; i++) {
        t->members[i] = (struct member){.pool = t, .index = i};
        int rc = pthread_create(&t->members[i].thread, NULL, member_main, &t->members[i]);
        if (rc != 0) {
            threads_free(t);
            return error_set(err, ERROR_MEMORY, "only %d of %d threads could be started (%s): use fewer",
                (int)i, (int)count, strerror(rc));
        }
        t->started++;
    }
    *out = t;
    return 0;
}

void threads_free(struct threads *t)
{
    if (!t)
        return;
    t->stop = true;
    gate_open(&t->start);
    for (int32_t i = 1; i < t->started; i++)
        pthread_join(t->members[i].thread, NULL);
    gate_destroy(&t->start);
    gate_destroy(&t->barrier);
    free(t);
}

int32_t threads_count(const struct threads *t)
{
    return t->count;
}

void threads_run(struct threads *t, void (*fn)(void *ctx, int32_t index), void *ctx)
{
    t->fn = fn;
    t->ctx = ctx;
    gate_open(&t->start);
    fn(ctx, 0);
    threads_barrier(t);
}
