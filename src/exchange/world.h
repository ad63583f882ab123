/* What requests are decided and dispatched with: models and policy, as one configuration gave them. Immutable
 * but for what is known of the targets, shared by all loops, kept until the last exchange that uses it is
 * over. */
#ifndef WEIR_EXCHANGE_WORLD_H
#define WEIR_EXCHANGE_WORLD_H

#include "exchange/health.h"
#include "exchange/pace.h"
#include "govern/govern.h"
#include "provider/provider.h"
#include "router/router.h"

/* How long a target is waited for, and how often it is asked again. Times are in ms; 0: no limit besides the
 * provider's own.
 *
 *   queue | connect | first_token | idle | idle | ... |
 *         |------------------ total ------------------|      of one attempt */
struct exchange_patience {
    int64_t queue_ms, connect_ms, first_token_ms, idle_ms, total_ms;
    int retries;
};

/* Equal targets behind one name. */
struct exchange_pool {
    enum balance_by by;
    const size_t *members; /* indexes of models; kept by whoever made the world */
    const int *weights;
    size_t n; /* 0: not a pool */
};

struct exchange_model {
    struct str name;
    struct provider_model target; /* of a pool: its first member's */
    struct govern_price price;
    struct exchange_patience patience;
    struct exchange_health_options limits;
    struct str identity;   /* where it is: health is kept over a reload while this stays the same */
    struct str probe_path; /* asked for to find out whether it is there; empty: not */
    int64_t probe_every_ms;
    bool probe_always; /* also while the breaker is closed */
    bool unlisted;     /* clients are not told of it, though they may name it */
    bool traceparent;  /* told of the trace also where it is outside */
    struct exchange_pool pool;
    struct exchange_health *health; /* the world's */
    struct pace *pace;              /* the world's */
};

struct exchange_settings {
    int64_t request_timeout_ms; /* of a whole request; 0: none */
    bool client_cache;          /* answers may be kept where a client asks for it, not only where a rule does */
    int64_t content_ms;         /* how long what is said may be kept; 0: not at all */
    struct str feedback;        /* the file that grades of answers go to (graded.h); empty: none */
    int64_t keep_alive_ms;      /* a stream is told of so often that it lives while nothing comes; 0: never */
};

struct exchange_world;

/* Takes the policy and, through `release`, whatever the models point at: release(ctx) is called, on any
 * thread, when the last reference goes. The models are copied; their strings must live until release. */
struct exchange_world *exchange_world_create(const struct exchange_model *models, size_t n_models,
    struct router_policy *policy, void (*release)(void *ctx), void *ctx);
/* Before the world is shared: what applies to all, and the health of targets that `previous` (may be NULL)
 * had too. */
void exchange_world_configure(struct exchange_world *w, const struct exchange_settings *settings,
    const struct exchange_world *previous);
const struct exchange_settings *exchange_world_settings(const struct exchange_world *w);
uint64_t exchange_world_serial(const struct exchange_world *w); /* no two of a process are the same */
struct exchange_world *exchange_world_ref(struct exchange_world *w);
void exchange_world_unref(struct exchange_world *w); /* NULL is allowed */

const struct router_policy *exchange_world_policy(const struct exchange_world *w);
size_t exchange_world_n_models(const struct exchange_world *w);
const struct exchange_model *exchange_world_model(const struct exchange_world *w, size_t index);
const struct exchange_model *exchange_world_find(
    const struct exchange_world *w, struct str name); /* or NULL */
/* Requests that wait for an embedded engine. */
double exchange_world_queue(const struct exchange_world *w);

#endif
