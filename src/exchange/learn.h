/* What the router may ask about targets and answers: learned from what was settled (pace.h, forecast.h), and
 * from the ledger's last rows when the gateway starts. */
#ifndef WEIR_EXCHANGE_LEARN_H
#define WEIR_EXCHANGE_LEARN_H

#include "exchange/exchange.h"
#include "exchange/forecast.h"

/* Who asks and for what; behind a router_context. Lives as long as the context. */
struct learn_view {
    const struct exchange_world *world;
    struct forecast *forecast; /* may be NULL */
    const struct chat_request *request;
    struct str key_id;
    const struct budget_ticket *ticket;
    bool by_latency; /* out: it was asked how soon first tokens come */
};
/* Sets the context's functions and its ctx. */
void learn_context(struct learn_view *v, struct router_context *c);

/* At SETTLE. */
void learn_settled(struct exchange *x, const struct chat_usage *usage);
/* At the start: the last hour's rows; where those are few, the last day's, the last week's. */
int learn_ledger(const struct exchange_world *w, struct forecast *f, struct store *s, int64_t now_wall_ms,
    struct error *err) MUST_USE;

#endif
