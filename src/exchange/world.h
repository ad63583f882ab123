/* What requests are decided and dispatched with: models and policy, as one configuration gave them. Immutable
 * but for the latency samples, shared by all loops, kept until the last exchange that uses it is over. */
#ifndef WEIR_EXCHANGE_WORLD_H
#define WEIR_EXCHANGE_WORLD_H

#include "govern/govern.h"
#include "provider/provider.h"
#include "router/router.h"

struct exchange_latency;

struct exchange_model {
    struct str name;
    struct provider_model target;
    struct govern_price price;
    int64_t first_event_timeout_ms;   /* 0: none besides the provider's own */
    struct exchange_latency *latency; /* the world's */
};

struct exchange_world;

/* Takes the policy and, through `release`, whatever the models point at: release(ctx) is called, on any
 * thread, when the last reference goes. The models are copied; their strings must live until release. */
struct exchange_world *exchange_world_create(const struct exchange_model *models, size_t n_models,
    struct router_policy *policy, void (*release)(void *ctx), void *ctx);
struct exchange_world *exchange_world_ref(struct exchange_world *w);
void exchange_world_unref(struct exchange_world *w); /* NULL is allowed */

const struct router_policy *exchange_world_policy(const struct exchange_world *w);
size_t exchange_world_n_models(const struct exchange_world *w);
const struct exchange_model *exchange_world_model(const struct exchange_world *w, size_t index);
const struct exchange_model *exchange_world_find(
    const struct exchange_world *w, struct str name); /* or NULL */
/* Requests that wait for an embedded engine. */
double exchange_world_queue(const struct exchange_world *w);

void exchange_latency_add(struct exchange_latency *l, double ms);
double exchange_latency_median(struct exchange_latency *l); /* of the last 33; negative: none yet */

#endif
