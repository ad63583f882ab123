/* A training run: what it holds in memory, its steps, its checkpoints and what it reports.
 *
 *   run_create -> [checkpoint_read] -> run_step ... -> run_validate, checkpoint_write now and then ->
 * model_write
 *
 * The same configuration, data and instruction set give the same losses to the bit, with any number of
 * threads and however often the run was killed and went on. */
#ifndef WEIR_TRAIN_RUN_H
#define WEIR_TRAIN_RUN_H

#include "train/data.h"
#include "train/text.h"

struct run_point { /* of one step */
    float loss, norm, rate;
};
struct run_check { /* of one validation */
    int64_t step;
    double loss, accuracy;
};

/* What a checkpoint keeps beside the weights. */
struct run_state {
    int64_t step; /* done */
    int64_t epoch;
    uint64_t next; /* example in the epoch's order */
    int64_t tokens;
    double best;   /* validation loss */
    int64_t worse; /* validations since */
    int64_t n_checks;
};

/* One team with the memory of its pass. */
struct run_team {
    struct team team;
    struct train_pass pass;
};

/* How threads and memory are divided. */
struct run_plan {
    int32_t teams, threads_each;
    bool narrow; /* passes keep bfloat16 */
    /* Matrices are packed once, in what passes take: frozen ones, the others for each batch. */
    bool packed, packed_trained;
    size_t weights, optimizer, passes, data; /* bytes */
};

struct run {
    const struct train_config *config;
    const struct train_kernels *kernels, *products; /* what passes are made by: they may round */
    struct train_model *model;
    struct train_data data, validation;
    struct batch validation_batch; /* all of it */
    struct data_order order;
    int64_t steps, n_values;
    int32_t sequence;            /* tokens */
    float *total, *m, *v, *best; /* gradient, moments; the best weights, where patience asks for them */
    float *work;                 /* Muon's, work_each for each thread; NULL where nothing takes it */
    int64_t work_each;
    struct run_plan plan;
    struct run_team *teams;
    int32_t n_teams;
    struct team outer; /* a thread for each team */
    struct run_state state;
    struct run_point *points;     /* steps */
    struct run_check *checks;     /* steps / validate_every + 2 */
    uint64_t identity;            /* of all that decides the losses */
    int64_t step_ns, step_tokens; /* spent in this process */
};

/* The model's trained values get gradients and moments; data and validation are taken over. ERROR_MEMORY,
 * with the figures, where it would take more than there is. */
int run_create(const struct train_config *c, struct train_model *m, struct train_data *data,
    struct train_data *validation, int32_t threads, struct run *r, struct error *err) MUST_USE;
void run_free(struct run *r); /* a zeroed run is allowed */
int run_step(struct run *r, struct error *err) MUST_USE;
void run_validate(struct run *r);
/* Has validation not become better for as long as the configuration's patience? */
bool run_is_stale(const struct run *r);
/* Puts the best weights in place, where they were kept. */
void run_take_best(struct run *r);

/* checkpoint.c. Reading: ERROR_NOT_FOUND where there is none, ERROR_INVALID where it is corrupt or another
 * run's. */
int checkpoint_write(const struct run *r, const char *path, struct error *err) MUST_USE;
int checkpoint_read(struct run *r, const char *path, struct error *err) MUST_USE;
/* FNV-1a over words of 64 bits, the last padded with zeros; begin with 0. */
uint64_t checkpoint_sum(uint64_t sum, const void *data, size_t len);

/* report.c: OUT.log.json and OUT.svg. */
int report_write(const struct run *r, const char *out, struct error *err) MUST_USE;

/* save.c: what was trained as a GGUF file; all of it or nothing.
 * A model of its own; the adapters alone; `base` (which the model was loaded from) with what was trained in
 * it. */
int adapter_write(
    const struct train_model *m, const struct train_config *c, const char *path, struct error *err) MUST_USE;
int folded_write(const struct train_model *m, const struct gguf *base, const struct train_config *c,
    const char *path, struct error *err) MUST_USE;
int model_write(const struct train_model *m, const struct train_text *t, const struct train_config *c,
    const char *path, struct error *err) MUST_USE;

#endif
