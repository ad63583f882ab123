/* A pool of threads that run one function together, with a barrier inside it.
 *
 *   caller = thread 0:   threads_run ---> fn(0) --- barrier --- fn(0) ---> returns
 *   pool thread i:       (parked)    ---> fn(i) --- barrier --- fn(i) ---> (spins a moment, parks)
 *
 * Waiting spins briefly, because the next operation is usually microseconds away, and then sleeps: an idle
 * pool takes no CPU time. With more threads than cores nobody spins. */
#ifndef WEIR_ENGINE_WORKER_CPU_THREADS_H
#define WEIR_ENGINE_WORKER_CPU_THREADS_H

#include <stdint.h>

#include "base/error.h"

struct threads;

enum { THREADS_MAX = 512 };

int threads_create(int32_t count, struct threads **out, struct error *err) MUST_USE; /* 1 .. THREADS_MAX */
void threads_free(struct threads *t);                                                /* NULL is allowed */
int32_t threads_count(const struct threads *t);
int32_t threads_cores(void); /* that this process may run on */
/* Calls fn(ctx, index) once on each thread, index 0 on the caller's; returns when all are done. One caller.
 */
void threads_run(struct threads *t, void (*fn)(void *ctx, int32_t index), void *ctx);
/* Only inside fn, by every thread: returns when all have come. What they wrote before is seen after. */
void threads_barrier(struct threads *t);

#endif
