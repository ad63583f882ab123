/* Adds up what a model's matrices are given while it reads (program.h's watch). */
#ifndef WEIR_TRAIN_IMATRIX_COLLECT_H
#define WEIR_TRAIN_IMATRIX_COLLECT_H

#include "engine/worker/gguf.h"
#include "engine/worker/program.h"
#include "train/imatrix.h"

struct collector {
    struct imatrix *into;
    struct collector_matrix *matrices; /* of the file, by where their bytes lie */
    size_t n_matrices;
    struct program_watch watch; /* give it to model_state_watch */
    int failed;                 /* the first failure stays */
    struct error err;
};

/* Collects into `into` for the matrices of `g`'s layers, and with `output` for output.weight. */
int collector_create(const struct gguf *g, bool output, struct imatrix *into, struct collector *out,
    struct error *err) MUST_USE;
void collector_free(struct collector *c); /* zeroed is allowed */

#endif
