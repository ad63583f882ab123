/* The running gateway: one shard per loop, one thread per shard, the first of them the home loop. */
#ifndef WEIR_APP_SERVE_H
#define WEIR_APP_SERVE_H

#include "app/config.h"

/* Serves until SIGTERM or SIGINT (drains, at most 30 s; a second one stops at once). SIGHUP reads the
 * configuration again. Takes `config`. */
int serve_run(struct config *config, struct str file, const struct config_overrides *overrides,
    struct error *err) MUST_USE;

/* Where spans of all loops go, through the home loop; NULL: nowhere. */
int serve_collector(const struct config *config, struct egress_target **out, struct error *err) MUST_USE;
/* What config_load does not see: the collector's address, and whether files can be written. */
int serve_check(const struct config *config, struct error *err) MUST_USE;

#endif
