/* The targets tried for one request, what came of each, and what the client is told when none answered. */
#ifndef WEIR_EXCHANGE_ATTEMPTS_H
#define WEIR_EXCHANGE_ATTEMPTS_H

#include "base/limits.h"
#include "chat/chat.h"
#include "exchange/exchange.h"
#include "router/doubt.h"

struct attempt {
    struct str target, provider;
    bool over, ok, passed;       /* passed: nothing was sent, its breaker was open */
    bool unaffordable;           /* no budget had so much left: nothing was sent, or its answer was cut off */
    struct chat_failure failure; /* its strings live in the request's arena */
    int64_t ms, ended_ns;        /* ended_ns: by the monotonic clock */
    uint64_t span;               /* its id in a trace, where the target was told of it; 0: not */
    struct doubt measured;       /* how sure the model was of its first tokens; none where it did not tell */
    double doubt;                /* what that comes to */
    bool doubted;                /* a cascade asked others for it */
    int64_t cost_nano_usd;       /* of one that was given up for another; 0: none */
};

enum { ATTEMPTS_MOST = 128 }; /* targets times tries */

struct attempts {
    struct attempt *list; /* in the request's arena */
    size_t count, capacity;
};

/* Its index. */
size_t attempts_begin(struct attempts *a, struct arena *arena, struct str target, struct str provider);
/* `failure` NULL: it answered. */
void attempts_end(
    struct attempts *a, struct arena *arena, size_t index, const struct chat_failure *failure, int64_t ms);
/* A target that was passed over: its breaker is open. */
void attempts_pass(struct attempts *a, struct arena *arena, struct str target, struct str provider);
/* [{"target","provider","outcome","status"?,"ms","cost_nano_usd"?,"doubt"?,"measured"?}...] for the ledger:
 * no message, it may quote content. `outcome` is "ok", "open", "passed", "budget", "doubted" or an error
 * code's name.
 */
struct str attempts_json(const struct attempts *a, struct arena *arena);
bool attempt_is_doubted(const struct attempt *t); /* given up for that: no failure */
const char *attempt_outcome(const struct attempt *t);
/* How sure a target was, by what attempts_json wrote; STR_NONE: the first that was measured. False: none was.
 */
bool attempts_measured(struct str json, struct str target, struct doubt *out);
/* One clear error that names each attempt. */
struct exchange_failure attempts_failure(const struct attempts *a, struct arena *arena);

#endif
