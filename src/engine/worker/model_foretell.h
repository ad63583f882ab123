/* Inside a model_state: of a model that foretells, what its layer for that is given (model_foretell.c). The
 * others have none: NULL is allowed everywhere, and nothing is done. */
#ifndef WEIR_ENGINE_WORKER_MODEL_FORETELL_H
#define WEIR_ENGINE_WORKER_MODEL_FORETELL_H

#include "engine/worker/model_state.h"

struct foretell;

uint64_t foretell_bytes(const struct model *m, int32_t n_slots);
/* *out is NULL for a model that does not foretell. */
int foretell_create(
    const struct model *m, int32_t n_slots, struct foretell **out, struct error *err) MUST_USE;
void foretell_free(struct foretell *f);

/* Where a step's program leaves what the last norm gives. */
float *foretell_rows(const struct foretell *f);
/* After the step's program: these rows are kept, and keys and values of the layer. */
int foretell_keep(struct model_state *s, struct error *err) MUST_USE;

/* Of the slot only rows of positions < length are its sequence's, whatever else of it can be taken back. */
void foretell_truncate(struct foretell *f, int32_t slot, int32_t length);
void foretell_fork(struct foretell *f, int32_t from, int32_t to, int32_t length);

#endif
