/* What this machine can do at best: how fast its threads read memory and how many products they do from
 * registers. The best of a few tries, as it is a limit and others may be using the machine. */
#include "base/clock.h"
#include "base/limits.h"
#include "engine/worker/cpu/cpu.h"

enum { TRIES = 8, READ_TRIES = 5, ROUNDS = 1000000 };
#define READ_BYTES (256 * MIB) /* far more than caches hold */

/* One try, by threads [0, threads). */
struct trial {
    int32_t threads;
    uint64_t *data; /* read where not NULL, else `peak` is run */
    int64_t (*peak)(int64_t rounds);
    atomic_int_fast64_t done; /* bytes or operations */
    atomic_uint_fast64_t sum; /* kept, so that the reading is not left out */
};

/* What a thread reads: *count words, a multiple of eight. */
static uint64_t *share_of(const struct trial *t, int32_t thread, size_t *count)
{
    *count = READ_BYTES / 8 / (size_t)t->threads / 8 * 8;
    return t->data + (size_t)thread * *count;
}

static void read_share(struct trial *t, int32_t thread)
{
    size_t count;
    const uint64_t *data = share_of(t, thread, &count);
    uint64_t sums[8] = {0}, sum = 0;
    for (size_t i = 0; i < count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += data[i + k];
    for (size_t k = 0; k < 8; k++)
        sum += sums[k];
    atomic_fetch_add(&t->sum, sum);
    atomic_fetch_add(&t->done, (int_fast64_t)(count * 8));
}

static void trial_part(void *ctx, int32_t thread)
{
    struct trial *t = ctx;
    if (thread >= t->threads)
        return;
    if (t->data)
        read_share(t, thread);
    else
        atomic_fetch_add(&t->done, t->peak(ROUNDS));
}

/* Each thread is the first to touch what it will read. */
static void touch_part(void *ctx, int32_t thread)
{
    size_t count;
    uint64_t *data = share_of(ctx, thread, &count);
    for (size_t i = 0; i < count; i++)
        data[i] = i;
}

static double best(const struct cpu *c, struct trial *t, int tries)
{
    double best = 0;
    for (int i = 0; i < tries; i++) {
        atomic_store(&t->done, 0);
        int64_t begin = clock_mono_ns();
        threads_run(c->threads, trial_part, t);
        double rate = (double)atomic_load(&t->done) * 1e9 / (double)(clock_mono_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

int cpu_limits(struct backend *b, struct backend_limits *out, struct error *err)
{
    const struct cpu *c = (const struct cpu *)(const void *)b;
    const int32_t all = threads_count(c->threads);
    struct trial t = {.threads = all};
    void *data;
    int rc = b->ops->buffer_create(b, READ_BYTES, &data, err);
    if (rc)
        return rc;
    *out = (struct backend_limits){0};
    t.data = data;
    threads_run(c->threads, touch_part, &t);
    out->read = best(c, &t, READ_TRIES);
    t.threads = 1;
    out->read_one = best(c, &t, READ_TRIES);
    b->ops->buffer_free(b, data, READ_BYTES);
    t.data = NULL;
    t.threads = all;
    t.peak = c->kernels->products ? c->kernels->products->peak : NULL;
    out->integers = t.peak ? best(c, &t, TRIES) : 0;
    const struct products_tiled *tiled = c->kernels->products ? c->kernels->products->tiled : NULL;
    t.peak = tiled ? tiled->split_peak : NULL;
    out->halves = t.peak ? best(c, &t, TRIES) : 0;
    t.peak = c->kernels->peak;
    out->floats = t.peak ? best(c, &t, TRIES) : 0;
    return 0;
}
