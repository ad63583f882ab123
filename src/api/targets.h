/* How the targets stand, for /readyz and /metrics. */
#ifndef WEIR_API_TARGETS_H
#define WEIR_API_TARGETS_H

#include "exchange/exchange.h"

/* "targets": {"gpt-4o": {"breaker": "closed", "in_flight": 3, "waiting": 0}, ...}; pools are left out. */
void api_targets_write(const struct exchange_world *world, struct json_writer *w);
void api_targets_gauges(const struct exchange_shard *shard, struct buf *out);

#endif
