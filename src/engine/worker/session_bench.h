/* What the two files of BENCH share. */
#ifndef WEIR_ENGINE_WORKER_SESSION_BENCH_H
#define WEIR_ENGINE_WORKER_SESSION_BENCH_H

#include "engine/worker/session_inner.h"

/* A question with "copy" (session_bench_copy.c). */
int session_bench_copy(struct session *s, uint32_t id, const json_t *root, struct error *err) MUST_USE;
void session_bench_seconds(struct json_writer *w, const char *key, const double *seconds, int64_t n);

#endif
