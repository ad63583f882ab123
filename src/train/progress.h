/* What a person sees of a run, on standard error: a bar on a terminal, else a line now and then. */
#ifndef WEIR_TRAIN_PROGRESS_H
#define WEIR_TRAIN_PROGRESS_H

#include "train/run.h"

struct progress {
    bool terminal;
    int64_t shown_ns; /* when the last line was */
    int64_t first;    /* the step that this process began with */
};
void progress_init(struct progress *p, const struct run *r);
/* After a step; `always`: even if the last line was a moment ago. */
void progress_show(struct progress *p, const struct run *r, bool always);
void progress_end(const struct progress *p);
/* What the run will take, before it begins. */
void progress_plan(const struct run *r);

/* What else takes a while: the same bar, with the time left. */
struct progress_bar {
    bool terminal;
    int64_t shown_ns, began_ns;
};
void progress_bar_init(struct progress_bar *b);
/* `text`: what there is to say so far. */
void progress_bar_show(struct progress_bar *b, int64_t done, int64_t all, const char *text);
void progress_bar_end(const struct progress_bar *b);

void progress_size(double bytes, char out[32]);   /* "12.3 MiB" */
void progress_time(double seconds, char out[32]); /* "1 h 05 min" */

#endif
