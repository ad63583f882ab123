/* Builds what serves from a configuration, and replaces it when the configuration is read again.
 *
 *   config -> providers, engines -> exchange_world (shared by all shards, reference-counted)
 *
 * An engine whose file and settings did not change survives a reload. Engines live on the home loop. */
#ifndef WEIR_APP_GATEWAY_H
#define WEIR_APP_GATEWAY_H

#include "app/config.h"
#include "exchange/world.h"

struct gateway_engines; /* the engines that run, on the home loop */
struct gateway_engines *gateway_engines_create(struct loop *home);
/* On the home loop; every world must have been released. */
void gateway_engines_free(struct gateway_engines *e);

/* Whether all its providers can be opened: addresses, certificates, proxies. */
int gateway_check(const struct config *config, struct error *err) MUST_USE;
/* The world of a configuration, which it takes (also on failure). On the home loop. `previous`, NULL at the
 * start, hands on what is known of the targets. */
int gateway_world(struct gateway_engines *engines, struct config *config,
    const struct exchange_world *previous, struct exchange_world **out, struct error *err) MUST_USE;

#endif
