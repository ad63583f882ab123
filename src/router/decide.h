/* Private to the router: a decision's permit and its words. */
#ifndef WEIR_ROUTER_DECIDE_H
#define WEIR_ROUTER_DECIDE_H

#include "router/facts.h"

/* permit.c, the only place where a permit is made: what the decision allows, for an hour. `masked`: for the
 * masked request, which may leave; where there is one, the request as it came may not. */
const struct egress_permit *router_permit(
    struct arena *a, const struct route_decision *d, bool masked, int64_t mono_ms);

/* The decision, with facts that the caller has made and may look at afterwards. */
int router_decide_facts(
    const struct router_policy *p, struct facts *f, struct route_decision *out, struct error *err) MUST_USE;
void facts_compute(struct facts *f); /* all that the contract's decision tells */

/* explain.c: the members of the contract's object, without its braces. */
void route_decision_members(const struct route_decision *d, struct json_writer *w);
/* The sentence for people. `stays`: why it stays inside, or NULL. */
struct str router_reason(
    struct arena *a, const struct route_decision *d, const struct facts *f, const char *stays);

#endif
