/* From the first step to the last: what weir train and weir finetune have in common. */
#ifndef WEIR_TRAIN_LOOP_H
#define WEIR_TRAIN_LOOP_H

#include "train/run.h"

struct train_loop_options {
    const char *out; /* the log, the curve and the checkpoint stand beside it */
    bool fresh;      /* whatever checkpoint there is */
    bool plan;       /* say what it takes, and stop */
    bool now;        /* write what the checkpoint holds, and train no further */
    int32_t threads;
    bool locked;     /* from train_loop_run on `lock` is a descriptor */
    int lock;
};

/* Before anything is read: from here on nothing gets out of the process but files beside `out` and `more`
 * (may be NULL), and SIGINT and SIGTERM let a step end, keep it, and make train_loop_run return
 * ERROR_CANCELLED. */
int train_loop_enter(const struct train_loop_options *o, const char *more, struct error *err) MUST_USE;
/* ERROR_INVALID where a file that a run writes (`out`, what stands beside it, `more`) is one that it reads:
 * `in`, `n` of them, NULLs are passed over, or what the configuration names; or where `more` is one of the
 * others. Before any is read. */
int train_loop_check(const struct train_loop_options *o, const char *more, const char *const *in, size_t n,
    const struct train_config *c, struct error *err) MUST_USE;
/* Says what it will take, goes on from a checkpoint or begins, and trains. With `plan` nothing is trained.
 * ERROR_IO where another run trains the same `out`, whose checkpoints it would take for its own. */
int train_loop_run(struct run *r, struct train_loop_options *o, struct error *err) MUST_USE;
/* When the result is safe: the report is written, and the checkpoint goes, unless training is to go on. */
int train_loop_finish(const struct run *r, const struct train_loop_options *o, struct error *err) MUST_USE;
/* At the end, however it went: another run may train `out`. */
void train_loop_leave(struct train_loop_options *o);

#endif
