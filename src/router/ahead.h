/* Long texts are judged on a thread beside the loop that decides, which others need meanwhile:
 *
 *   decide   with a place for it in the context: long texts that were asked about and are not known are noted
 *   waits?   then that decision is void (it counts as one whose detector failed, so nothing leaves by it):
 *            router_ahead_judge, on any thread, and to decide anew, where what was found is taken
 *
 * What is noted is copied, so that a request may end meanwhile; a text that there is no memory for, or that
 * only the second decision asks about, is judged on the spot. */
#ifndef WEIR_ROUTER_AHEAD_H
#define WEIR_ROUTER_AHEAD_H

#include "router/detect_memo.h"

enum { ROUTER_AHEAD_BYTES = 32 * 1024 }; /* less is judged on the spot: some two milliseconds */

struct router_ahead;

/* Something is noted and not judged. NULL: nothing was. */
bool router_ahead_waits(const struct router_ahead *a);
/* The policy must live as long. */
void router_ahead_judge(struct router_ahead *a);
void router_ahead_free(struct router_ahead *a); /* NULL is allowed */

/* For the facts: what was found in `text`, which is long and not in the memory, or nothing yet: it is noted.
 * DETECT_MEMO_NONE: neither. */
int router_ahead_take(struct router_ahead **ahead, const struct detect_own *own,
    const struct detect_memo_place *place, struct arena *a, struct str where, struct str text,
    struct router_findings *f, struct error *err) MUST_USE;

#endif
