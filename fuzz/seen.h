/* For the targets of request readers: what the detectors were shown, to hold it against what is sent. */
#ifndef WEIR_FUZZ_SEEN_H
#define WEIR_FUZZ_SEEN_H

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"

static inline void must(bool good, const char *what, struct str detail)
{
    if (good)
        return;
    fprintf(stderr, "broken: %s: " STR_FMT "\n", what, STR_ARG(detail));
    abort();
}

struct seen {
    struct map texts;
    struct arena *arena;
};

/* A visitor for chat_request_visit; ctx is a struct seen. */
static inline int see(void *ctx, struct str where, struct str text)
{
    struct seen *seen = ctx;
    struct error err;
    bool added;
    must(where.len > 0 && text.len > 0, "a visit of nothing", where);
    if (arena_try_copy(seen->arena, text, &text) || map_add(&seen->texts, text, 0, &added, &err))
        abort();
    return 0;
}

#endif
