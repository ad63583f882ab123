/* A model held in memory, run on a fixed sequence of tokens; for the tests of architectures on tiny models.
 */
#ifndef WEIR_TESTS_UNIT_ENGINE_TINY_RUN_H
#define WEIR_TESTS_UNIT_ENGINE_TINY_RUN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "unit/engine/tiny_dense.h"

enum { LONG = 1200, CONTEXT = 1300 };

struct loaded {
    char *bytes;
    struct gguf *gguf;
    struct backend *backend;
    struct model *model;
    struct model_state *state;
};

/* Takes the bytes of a file, also on failure: unload frees them. */
static inline int load_bytes_threads(
    struct loaded *x, char *bytes, size_t size, int32_t n_threads, struct error *err)
{
    *x = (struct loaded){.bytes = bytes};
    int rc = gguf_open_memory(x->bytes, size, &x->gguf, err);
    if (rc == 0)
        rc = backend_cpu_create(n_threads, &x->backend, err);
    if (rc == 0)
        rc = model_load_with(x->gguf, &(struct model_options){.foretells = true}, x->backend, &x->model, err);
    return rc;
}

static inline int load_bytes(struct loaded *x, char *bytes, size_t size, struct error *err)
{
    return load_bytes_threads(x, bytes, size, 2, err);
}

static inline void unload(struct loaded *x)
{
    model_state_free(x->state);
    model_free(x->model);
    backend_free(x->backend);
    gguf_close(x->gguf);
    free(x->bytes);
}

static inline int32_t feed_token(int32_t i)
{
    return (i * 31 + i * i * 7 + 5) % DENSE_VOCAB;
}

/* Feeds tokens [from, to) of a fixed sequence to a slot; the logits of the last one. */
static inline void feed(struct loaded *x, int32_t slot, int32_t from, int32_t to, float *logits)
{
    static int32_t tokens[LONG], slots[LONG];
    static uint8_t wants[LONG];
    struct error err = {0};
    for (int32_t i = from; i < to; i++) {
        tokens[i - from] = feed_token(i);
        slots[i - from] = slot;
        wants[i - from] = i == to - 1;
    }
    struct model_batch batch = {to - from, tokens, slots, wants};
    if (model_decode(x->state, &batch, logits, &err) != 0)
        fail_msg("%s", err.message);
}

static inline void check_same(const char *name, const char *what, const float *a, const float *b)
{
    float most = 0;
    for (int32_t i = 0; i < DENSE_VOCAB; i++) {
        assert_true(isfinite(a[i]));
        most = fabsf(a[i]) > most ? fabsf(a[i]) : most;
    }
    assert_true(most > 0);
    if (memcmp(a, b, DENSE_VOCAB * sizeof *a) != 0)
        fail_msg("%s: %s", name, what);
}

#endif
