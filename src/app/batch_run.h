/* A batch (api/batch.h) run without a server: what weir batch and weir eval share. */
#ifndef WEIR_APP_BATCH_RUN_H
#define WEIR_APP_BATCH_RUN_H

#include "api/batch.h"
#include "app/config.h"

struct batch_run_options {
    const char *in, *out;
    const char *model; /* in place of the one that a line names; NULL: that one */
    int parallel;
    int measure; /* as batch_options has it */
    bool measure_again;
};
/* Takes the configuration. Lines that fail have results, too, and are counted. A bar on standard error where
 * that is a terminal; SIGINT and SIGTERM end it when the lines that run are over. */
int batch_run(struct config *config, const struct batch_run_options *o, struct batch_counts *counts,
    struct error *err) MUST_USE;

#endif
