#include "exchange/retry.h"

#include <stdlib.h>

/* Could the same target answer the same request a moment later? Not where it ran out of time: it may still
 * work on it, and has cost the client enough. Not where the gateway's key, account or address is wrong. */
static bool is_passing(const struct chat_failure *f)
{
    if (!f->retryable)
        return false;
    if (f->status == 0)
        return f->code == ERROR_UNAVAILABLE;
    return f->status == 408 || f->status == 409 || f->status == 425 || f->status == 429 || f->status >= 500;
}

int64_t retry_delay(const struct chat_failure *f, int tried, int retries, int64_t left_ms, uint64_t random)
{
    if (tried >= retries || !is_passing(f) || f->retry_after_ms > RETRY_AFTER_CAP_MS)
        return -1;
    int64_t delay = RETRY_BASE_MS;
    for (int i = 0; i < tried && delay < RETRY_CAP_MS; i++)
        delay *= 2;
    if (delay > RETRY_CAP_MS)
        delay = RETRY_CAP_MS;
    delay = delay / 2 + (int64_t)(random % (uint64_t)(delay / 2 + 1));
    if (f->retry_after_ms > delay) /* never earlier than it asks, nor all at that moment */
        delay = f->retry_after_ms + (int64_t)(random % 100);
    return delay < left_ms ? delay : -1;
}
