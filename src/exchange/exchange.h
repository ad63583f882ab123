/* The life of one request, as one table of steps.
 *
 *   ADMIT     rates and models of who asks: all that is refused before anything is computed
 *   DECIDE    router: facts, the first rule that matches -> route_decision and its permit; long texts that it
 *             asks about are judged beside the loop first (judge.h)
 *   RECORD    the ledger row is opened (in the store's order before any record of what leaves)
 *   DISPATCH  the next target inside the boundary that can do it and for which there is money (spend.c)
 *   STREAM    its events go to the client; before the first one a failure leads back to DISPATCH
 *   SETTLE    usage, cost, latency, outcome; the client's answer ends only when the row is kept
 *
 * Who is asking is told before, by the api. An exchange lives on one shard's loop. */
#ifndef WEIR_EXCHANGE_EXCHANGE_H
#define WEIR_EXCHANGE_EXCHANGE_H

#include "exchange/cache.h"
#include "exchange/judge.h"
#include "exchange/world.h"
#include "govern/budget.h"
#include "govern/govern.h"
#include "govern/meter.h"

struct access_entry;
struct telemetry;
struct forecast;
struct graded;
struct exchange;

/* What a loop needs to run exchanges. `world` is replaced on its own loop when the configuration is reloaded.
 */
struct exchange_shard {
    struct loop *loop;
    struct egress *egress;
    struct exchange_world *world;
    struct store *store;
    struct meter *meter;
    struct telemetry *telemetry; /* where traces go; NULL: nowhere */
    struct cache *cache;         /* shared by all loops; NULL: none */
    struct forecast *forecast;   /* likewise: how long answers are; NULL: nothing is learned */
    struct graded *graded;       /* likewise: answers that may be graded; NULL: none */
    struct budget *budget;       /* likewise: what may be spent; NULL: nothing is counted */
    struct judge *judge;         /* likewise: where long texts are judged; NULL: on the spot */
    bool draining;               /* no new requests are wanted: others should be asked */
    int n_open;                  /* exchanges not yet settled */
};

struct exchange_origin {
    struct str request_id, api;
    struct str row_id;                      /* the ledger's for this request; empty: the request id */
    bool id_given;                          /* the request id is the client's own text */
    struct str traceparent;                 /* W3C's header as it came; may be empty */
    struct access_entry *entry;             /* to be filled in when the request settles; NULL: none */
    const struct govern_identity *identity; /* NULL: auth is none */
    const struct str *tags;
    size_t n_tags;
    /* The request's headers (router_context); until it is decided or left. NULL: none. */
    struct str (*header)(void *ctx, const char *name, int index);
    void *header_ctx;
    bool boundary_local, batch;
    int32_t measure;    /* tokens of which the embedded engine is to tell how sure it is, and of the prompt:
                           `doubt` of the attempt */
    bool measure_again; /* and how far a second answer agrees, which is drawn for it */
    bool cache;         /* the client asks for a kept answer, or to keep this one */
    struct str body;    /* the request as it came, for the cache; until it is decided or left */
};

/* Who answers; for the headers of the answer. */
struct exchange_about {
    struct str model, provider, rule;
    const char *cache;       /* "hit", "miss", or NULL where the cache was not asked */
    size_t masked;           /* how much of the request it did not see */
    struct chat_usage usage; /* as far as it is known when the answer begins */
    const char *cascade;     /* "kept", "escalated" or "returned" (cascade.c); NULL: there was none */
    double doubt;            /* then by which doubt of the local model's */
    const struct budget_rates *rates; /* of who asks; NULL: nothing is limited */
};

struct exchange_failure {
    int status;                  /* HTTP */
    int code;                    /* enum error_code */
    struct str message;          /* names each attempt */
    struct str type;             /* the provider's own error type, may be empty; or a limit's (budget.h) */
    int64_t retry_after_ms;      /* -1 unknown */
    struct exchange_about about; /* of the last attempt, as far as known */
};

/* The api's side. No callback comes before exchange_start has returned. `fail` or `end` is the last: the
 * exchange is gone then. A failure after `begin` comes as the event ERROR, followed by `end`; but where the
 * request is not for a stream and there is `again`, what came is void: others are asked, as if nothing had
 * begun. */
struct exchange_client {
    void (*begin)(void *ctx, const struct exchange_about *about);
    void (*event)(void *ctx, const struct chat_event *event); /* START and USAGE are left out; of a
                                                                      request to count USAGE is the answer */
    void (*fail)(void *ctx, const struct exchange_failure *failure);
    void (*end)(void *ctx, const struct chat_usage *usage, int64_t cost_nano_usd); /* -1 unknown */
    void (*again)(void *ctx);                                                      /* NULL: never */
    void *ctx;
};

/* What exchange_start would decide, with reasons, as an object (router_explain); nothing is sent or kept.
 * What would be refused is explained too. */
void exchange_explain(struct exchange_shard *shard, const struct chat_request *request,
    const struct exchange_origin *origin, struct json_writer *w);

/* The HTTP status of a request that failed with an enum error_code before any target was tried. */
int exchange_status(int code);

/* The request's arena is freed by the exchange at its end. */
struct exchange *exchange_start(struct exchange_shard *shard, struct chat_request *request,
    const struct exchange_origin *origin, const struct exchange_client *client);
/* Who is being asked at present; false: nobody yet. */
bool exchange_asked(const struct exchange *x, struct exchange_about *about);
/* Some target was asked, or it is over without. */
bool exchange_was_sent(const struct exchange *x);
void exchange_pause(struct exchange *x, bool paused); /* the client's write watermark */
void exchange_cancel(struct exchange *x);             /* the client left: no callback follows */

#endif
