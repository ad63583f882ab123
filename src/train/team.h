/* Threads at two levels: teams work on sequences of their own, the threads of a team share a sequence's
 * operations. With one thread a team is a plain loop. */
#ifndef WEIR_TRAIN_TEAM_H
#define WEIR_TRAIN_TEAM_H

#include <stdatomic.h>

#include "engine/worker/cpu/threads.h"
#include "train/gemm.h"

struct team {
    const struct train_kernels *kernels;
    int32_t count;
    struct threads *threads;      /* NULL: one */
    struct gemm_scratch *scratch; /* one for each thread */
    atomic_llong next;
    atomic_llong dense_ns; /* that all threads together spent in team_gemm, by their own clocks */
    int64_t dense_flops;
};

int team_create(
    const struct train_kernels *kernels, int32_t count, struct team *t, struct error *err) MUST_USE;
void team_free(struct team *t); /* a zeroed team is allowed */

/* fn(ctx, item, thread) for each item of [0, n), in any order, each once. */
void team_each(struct team *t, int64_t n, void (*fn)(void *ctx, int64_t item, int32_t thread), void *ctx);

/* fn(ctx, from, to) over runs of TEAM_ROWS rows; where a run ends does not depend on the threads. */
enum { TEAM_ROWS = 64 };
void team_rows(struct team *t, int64_t n, void (*fn)(void *ctx, int64_t from, int64_t to), void *ctx);

/* gemm.h's product, divided among the threads; and with a B that gemm_pack wrote with `packed_k`. */
void team_gemm(struct team *t, int64_t m, int64_t n, int64_t k, struct matrix a, struct matrix b, float *c,
    int64_t ldc, bool add);
void team_gemm_packed(struct team *t, int64_t m, int64_t n, int64_t k, struct matrix a, const float *packed,
    int64_t packed_k, float *c, int64_t ldc, bool add);

#endif
