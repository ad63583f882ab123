/* How the targets stand, for /readyz and /metrics. */
#ifndef WEIR_API_TARGETS_H
#define WEIR_API_TARGETS_H

#include "exchange/exchange.h"

/* "targets": {"gpt-4o": {"breaker": "closed", "in_flight": 3, "waiting": 0}, ...}; pools are left out. */
void api_targets_write(const struct exchange_world *world, struct json_writer *w);

/* Gauges of one model: fills `out`, gives how many; always as many, or none for a model that has none. */
enum { API_GAUGES_MAX = 16 };
struct api_gauge {
    const char *family, *help;
    double value;
};
typedef size_t api_gauges_of(const struct exchange_model *m, struct api_gauge out[API_GAUGES_MAX]);
void api_model_gauges(const struct exchange_world *world, api_gauges_of *of, struct buf *out);
void api_targets_gauges(const struct exchange_shard *shard, struct buf *out);

#endif
