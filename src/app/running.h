/* Asking a gateway that runs, for verbs that can do without an answer. */
#ifndef WEIR_APP_RUNNING_H
#define WEIR_APP_RUNNING_H

#include "app/config.h"

/* The JSON object that the gateway at `url` (NULL: where the configuration listens) gives for GET `path`,
 * whatever the status, in the arena; waits at most a few seconds. ERROR_UNAVAILABLE: there is none. */
int running_ask(const struct config *c, const char *url, const char *path, struct arena *a, json_t **out,
    struct error *err) MUST_USE;

#endif
