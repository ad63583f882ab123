#include "train/team.h"

#include <stdlib.h>

#include "base/clock.h"

int team_create(const struct train_kernels *kernels, int32_t count, struct team *t, struct error *err)
{
    *t = (struct team){.kernels = kernels, .count = count};
    atomic_init(&t->next, 0);
    atomic_init(&t->dense_ns, 0);
    t->scratch = calloc((size_t)count, sizeof *t->scratch);
    int rc = t->scratch ? 0 : error_set(err, ERROR_MEMORY, "no memory for %d threads", (int)count);
    for (int32_t i = 0; i < count && rc == 0; i++)
        rc = gemm_scratch_create(&t->scratch[i], err);
    if (rc == 0 && count > 1)
        rc = threads_create(count, &t->threads, err);
    if (rc)
        team_free(t);
    return rc;
}

void team_free(struct team *t)
{
    threads_free(t->threads);
    for (int32_t i = 0; t->scratch && i < t->count; i++)
        gemm_scratch_free(&t->scratch[i]);
    free(t->scratch);
    t->scratch = NULL;
    t->threads = NULL;
}

struct each {
    struct team *team;
    int64_t n;
    void (*fn)(void *ctx, int64_t item, int32_t thread);
    void *ctx;
};

static void each_run(void *ctx, int32_t thread)
{
    struct each *e = ctx;
    for (int64_t i; (i = atomic_fetch_add_explicit(&e->team->next, 1, memory_order_relaxed)) < e->n;)
        e->fn(e->ctx, i, thread);
}

void team_each(struct team *t, int64_t n, void (*fn)(void *ctx, int64_t item, int32_t thread), void *ctx)
{
    struct each e = {t, n, fn, ctx};
    if (!t->threads || n < 2) {
        for (int64_t i = 0; i < n; i++)
            fn(ctx, i, 0);
        return;
    }
    atomic_store(&t->next, 0);
    threads_run(t->threads, each_run, &e);
}

struct rows {
    int64_t n;
    void (*fn)(void *ctx, int64_t from, int64_t to);
    void *ctx;
};

static void rows_run(void *ctx, int64_t item, int32_t thread)
{
    const struct rows *r = ctx;
    const int64_t from = item * TEAM_ROWS;
    (void)thread;
    r->fn(r->ctx, from, from + TEAM_ROWS < r->n ? from + TEAM_ROWS : r->n);
}

void team_rows(struct team *t, int64_t n, void (*fn)(void *ctx, int64_t from, int64_t to), void *ctx)
{
    struct rows r = {n, fn, ctx};
    team_each(t, (n + TEAM_ROWS - 1) / TEAM_ROWS, rows_run, &r);
}

/* A product in pieces of C: of its rows, or of its columns where they are more. */
struct product {
    struct team *team;
    int64_t m, n, k, piece;
    struct matrix a, b;
    const float *packed; /* B; NULL: as `b` */
    int64_t packed_k;
    float *c;
    int64_t ldc;
    bool add, by_columns;
};

static void product_run(void *ctx, int64_t item, int32_t thread)
{
    struct product p = *(const struct product *)ctx;
    const int64_t from = item * p.piece, total = p.by_columns ? p.n : p.m;
    const int64_t count = total - from < p.piece ? total - from : p.piece;
    if (p.by_columns) {
        if (p.packed)
            p.packed += gemm_packed_size(p.team->kernels, from, p.packed_k);
        else
            p.b.data += from * p.b.column;
        p.c += from;
        p.n = count;
    } else {
        p.a.data += from * p.a.row;
        p.c += from * p.ldc;
        p.m = count;
    }
    const int64_t start = clock_cpu_ns();
    const struct gemm_scratch *scratch = &p.team->scratch[thread];
    if (p.packed)
        gemm_with_packed(
            p.team->kernels, p.m, p.n, p.k, p.a, p.packed, p.packed_k, p.c, p.ldc, p.add, scratch);
    else
        gemm(p.team->kernels, p.m, p.n, p.k, p.a, p.b, p.c, p.ldc, p.add, scratch);
    atomic_fetch_add_explicit(&p.team->dense_ns, clock_cpu_ns() - start, memory_order_relaxed);
}

static void divide(struct product *p)
{
    struct team *t = p->team;
    p->by_columns = p->n > 2 * p->m;
    const int64_t total = p->by_columns ? p->n : p->m,
                  unit = p->by_columns ? t->kernels->tile_columns : t->kernels->tile_rows;
    const int64_t pieces = t->threads ? 2 * t->count : 1;
    p->piece = ((total + pieces - 1) / pieces + unit - 1) / unit * unit;
    team_each(t, (total + p->piece - 1) / p->piece, product_run, p);
    t->dense_flops += 2 * p->m * p->n * p->k;
}

void team_gemm(struct team *t, int64_t m, int64_t n, int64_t k, struct matrix a, struct matrix b, float *c,
    int64_t ldc, bool add)
{
    divide(
        &(struct product){.team = t, .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = ldc, .add = add});
}

void team_gemm_packed(struct team *t, int64_t m, int64_t n, int64_t k, struct matrix a, const float *packed,
    int64_t packed_k, float *c, int64_t ldc, bool add)
{
    divide(&(struct product){.team = t,
        .m = m,
        .n = n,
        .k = k,
        .a = a,
        .packed = packed,
        .packed_k = packed_k,
        .c = c,
        .ldc = ldc,
        .add = add});
}
