/* Models made one (weir merge): adapters folded into a base, or several models of one shape.
 *
 *   lora     W + sum of scale * alpha / rank * B A           Hu et al. 2021, arxiv.org/abs/2106.09685
 *   linear   sum of weight * W                               Wortsman et al. 2022, arxiv.org/abs/2203.05482
 *   slerp    along the arc between two, a tensor an angle    Shoemake 1985
 *   ties     base + weight * merged differences to it        Yadav et al. 2023, arxiv.org/abs/2306.01708
 *
 * A tensor at a time, each input mapped; memory is a batch's, with an adapter a tensor's two halves. */
#ifndef WEIR_TRAIN_MERGE_H
#define WEIR_TRAIN_MERGE_H

#include "train/pour.h"

enum merge_kind { MERGE_LORA, MERGE_LINEAR, MERGE_SLERP, MERGE_TIES };
enum { MERGE_INPUTS_MAX = 32 };

struct merge_input {
    const char *path;
    double weight;
    struct gguf *gguf;
};

struct merge_job {
    enum merge_kind kind;
    /* The first is what the result is like: of lora and ties the base. */
    struct merge_input inputs[MERGE_INPUTS_MAX];
    int n;
    double t;       /* slerp: 0 is the first, 1 the second */
    double density; /* ties: share of a difference's values that is kept, the largest */
    double weight;  /* ties: of the merged difference */
    const char *to;
    const struct quantize_mix
        *mix; /* NULL: each tensor has the first one's type, F16 where it cannot be written */
    struct pour pour;
    size_t tensors; /* that were written, when it is done */
    uint64_t bytes;
};

int merge_run(struct merge_job *job, struct error *err) MUST_USE;

/* ---- Inside ---- */

/* Rows of a tensor as floats. */
int merge_rows(const struct tensor *t, int64_t first, int64_t n, float *to, struct error *err) MUST_USE;

/* merge_ties.c: the least size of the k largest values of a - b, exactly, in two passes. */
int merge_threshold(const struct tensor *a, const struct tensor *b, double density, const char *path,
    float *out, struct error *err) MUST_USE;

#endif
