/* What was found in a text that was looked at before: chats send their system prompt and earlier turns again
 * with every request. */
#ifndef WEIR_ROUTER_DETECT_MEMO_H
#define WEIR_ROUTER_DETECT_MEMO_H

#include "router/router.h"

/* As router_detect_own, and adds the same. `who`: the caller; what one has sent makes nothing quicker for
 * another, so that nobody can try out what others wrote. Thread-safe. */
int detect_memo_look(const struct detect_own *own, struct arena *a, struct str who, struct str where,
    struct str text, struct router_findings *f, struct error *err) MUST_USE;

#endif
