/* What a model_state is to the files that work on it: model.c, model_slots.c and model_spill.c. */
#ifndef WEIR_ENGINE_WORKER_MODEL_STATE_H
#define WEIR_ENGINE_WORKER_MODEL_STATE_H

#include "engine/worker/model_arch.h"
#include "engine/worker/pages.h"
#include "engine/worker/program.h"

struct model_spill;
struct foretell;

struct model_state {
    const struct model *model;
    int32_t n_slots, n_context;
    int32_t *lengths; /* of each slot: positions held */
    int32_t *next;    /* of each slot while a batch runs */
    float *scales;    /* [slot][adapter] */
    void **layers;
    struct pages *pages;       /* of the layers that keep all positions; NULL: there are none */
    bool shares;               /* all are such layers */
    struct model_spill *spill; /* what goes to disk; NULL: nothing */
    struct foretell *foretell; /* of a model that foretells; NULL: it does not */
    struct program program;
    int32_t *positions, *outputs; /* of the tokens of one program, step_max of them */
};

static inline float *model_slot_scales(const struct model_state *s, int32_t slot)
{
    return s->scales + (size_t)slot * (size_t)s->model->info.n_adapters;
}

/* The slot is about to be written up to `length` positions. ERROR_BUSY: there are not enough pages. */
int model_slot_reserve(struct model_state *s, int32_t slot, int32_t length, struct error *err) MUST_USE;

/* The program is one of this batch, with the scales of its slots; and, once it is written, it runs. */
void model_program_begin(struct model_state *s, const struct program_batch *batch);
int model_program_run(struct model_state *s, struct error *err) MUST_USE;

void model_spill_free(struct model_state *s);

#endif
