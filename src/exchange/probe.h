/* Asks targets whose breaker is open whether they are there again, so that no client's request has to find
 * out. One per process, on the home loop. */
#ifndef WEIR_EXCHANGE_PROBE_H
#define WEIR_EXCHANGE_PROBE_H

#include "exchange/exchange.h"

struct exchange_prober;
struct exchange_prober *prober_create(const struct exchange_shard *shard);
void prober_free(struct exchange_prober *p); /* NULL is allowed */
/* Looks at every target; call about once a second. */
void prober_look(struct exchange_prober *p);

#endif
