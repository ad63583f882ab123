/* Whether a target that failed before its first event is asked again, and when. Pure.
 *
 *   failure --> its own fault for now (connection, 408 409 425 429 5xx)? --> tries left? --> delay
 *                        |                                            |
 *                        +-------- no: the next target at once <------+
 *
 * The delay doubles and is jittered between half of it and all of it, so that those who failed together do
 * not come back together (Brooker, "Exponential Backoff And Jitter", 2015). A provider's retry-after is
 * waited for where it is short; where it is long, the next target is quicker. */
#ifndef WEIR_EXCHANGE_RETRY_H
#define WEIR_EXCHANGE_RETRY_H

#include "chat/chat.h"

enum {
    RETRY_DEFAULT = 2,
    RETRY_MOST = 10,
    RETRY_BASE_MS = 200,
    RETRY_CAP_MS = 5000,
    RETRY_AFTER_CAP_MS = 3000
};

/* Milliseconds to wait before the next try at the same target, or -1: do not. `tried`: how often it was asked
 * again already; `left_ms`: of the request's time, INT64_MAX where it has no end; `random`: any bits. */
int64_t retry_delay(const struct chat_failure *f, int tried, int retries, int64_t left_ms, uint64_t random);

#endif
