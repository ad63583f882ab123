/* Private to the router: a decision's permit and its words. */
#ifndef WEIR_ROUTER_DECIDE_H
#define WEIR_ROUTER_DECIDE_H

#include "router/facts.h"

/* permit.c, the only place where a permit is made: what the decision allows, for an hour. */
const struct egress_permit *router_permit(struct arena *a, const struct route_decision *d, int64_t mono_ms);

/* explain.c: the sentence for people. `stays`: why it stays inside, or NULL. */
struct str router_reason(
    struct arena *a, const struct route_decision *d, const struct facts *f, const char *stays);

#endif
