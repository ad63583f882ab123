/* What verbs share: SIGINT and SIGTERM, and of those that write tensors how far they are and where the result
 * is named. */
#ifndef WEIR_TRAIN_WATCH_H
#define WEIR_TRAIN_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "train/quantize.h"

/* From now on a signal asks for an end, which the work comes to by itself; a second one ends it at once. */
void watch_signals(void);
bool watch_stopped(void);

struct watch {
    bool terminal;
    int64_t shown_ns;
};
/* With watch_signals. */
void watch_begin(struct watch *w);
/* pour.h's go_on. */
bool watch_go_on(void *watch, const char *name, uint64_t done, uint64_t total);
void watch_end(const struct watch *w);

/* The mix of --type; NULL in *out where it is not given. False after having said what is wrong. */
bool watch_type(const char *text, const struct quantize_mix **out);
/* "FILE: 12.3 MiB, 200 tensors" on standard output. */
void watch_done(const char *path, uint64_t bytes, size_t tensors);

#endif
