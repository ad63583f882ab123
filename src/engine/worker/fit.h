/* Whether a model fits into memory and how fast it is likely to be: figures, before anything is tried. */
#ifndef WEIR_ENGINE_WORKER_FIT_H
#define WEIR_ENGINE_WORKER_FIT_H

#include "engine/worker/gguf.h"
#include "engine/worker/model.h"

enum { FIT_BATCH = 256 }; /* tokens of a step, unless it is said otherwise */

/* Bytes. Weights and adapters are the files' own, mapped. */
struct fit {
    struct model_room room;
    uint64_t weights, adapters, state, compute;
};

struct fit fit_of(const struct model *m, int32_t n_slots, int32_t n_context, int32_t n_batch);
struct fit fit_within(const struct model *m, const struct model_room *room, int32_t n_batch);
uint64_t fit_total(const struct fit *f); /* UINT64_MAX if that overflows */
/* The largest context up to f's, of f's slots, that `available` bytes allow; 0: none. */
int32_t fit_context(const struct model *m, const struct fit *f, uint64_t available);
/* ERROR_MEMORY, with the figures and what would fit. */
int fit_check(const struct model *m, const struct fit *f, uint64_t available, struct error *err) MUST_USE;

/* What a token costs at a short context: bytes of weights read, multiply-adds; of mixtures the experts that
 * it uses. And this machine's own figures, measured for a moment on the model's weights by the products that
 * run it. */
struct fit_speed {
    double bytes_per_token, products_per_token;
    double read_per_second, products_per_second;
    double decode_tps, prefill_tps;
};
int fit_speed(const struct gguf *g, struct backend *b, struct fit_speed *out, struct error *err) MUST_USE;

#endif
