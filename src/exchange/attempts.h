/* The targets tried for one request, what came of each, and what the client is told when none answered. */
#ifndef WEIR_EXCHANGE_ATTEMPTS_H
#define WEIR_EXCHANGE_ATTEMPTS_H

#include "base/limits.h"
#include "chat/chat.h"
#include "exchange/exchange.h"

struct attempt {
    struct str target, provider;
    bool over, ok;
    struct chat_failure failure; /* its strings live in the request's arena */
    int64_t ms;
};

struct attempts {
    struct attempt list[LIMIT_TARGETS];
    size_t count;
};

void attempts_begin(struct attempts *a, struct str target, struct str provider);
/* `failure` NULL: it answered. */
void attempts_end(struct attempts *a, struct arena *arena, const struct chat_failure *failure, int64_t ms);
/* [{"target","provider","outcome","status"?,"ms"}...] for the ledger: no message, it may quote content. */
struct str attempts_json(const struct attempts *a, struct arena *arena);
/* One clear error that names each attempt. */
struct exchange_failure attempts_failure(const struct attempts *a, struct arena *arena);

#endif
