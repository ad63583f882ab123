/* What a model_state is to the files that work on it: model.c and model_state.c. */
#ifndef WEIR_ENGINE_WORKER_MODEL_STATE_H
#define WEIR_ENGINE_WORKER_MODEL_STATE_H

#include "engine/worker/model.h"
#include "engine/worker/program.h"

struct model_state {
    const struct model *model;
    int32_t n_slots, n_context;
    int32_t *lengths; /* of each slot: positions held */
    int32_t *next;    /* of each slot while a batch runs */
    float *scales;    /* [slot][adapter] */
    void **layers;
    struct program program;
    int32_t *positions, *outputs; /* of the tokens of one program, step_max of them */
};

#endif
