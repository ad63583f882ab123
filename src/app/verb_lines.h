/* Verbs that ask a worker one question a line: JSON lines in, JSON lines out, in order, in bounded memory. */
#ifndef WEIR_APP_VERB_LINES_H
#define WEIR_APP_VERB_LINES_H

#include "app/verbs.h"
#include "engine/wire.h"
#include "json/json.h"

struct verb_lines {
    const char *model, *config;
    enum wire_type type;
    /* Writes the question for a line. */
    int (*question)(void *ctx, const json_t *line, struct json_writer *w, struct error *err);
    void *ctx;
    const char *member; /* of the answer: what is written; NULL: all of it */
    bool run;           /* the model must be loaded; else its file is only read */
};
/* Returns the exit code. A line that cannot be answered ends the run and is named. */
int verb_lines_run(const struct verb_lines *lines);

#endif
