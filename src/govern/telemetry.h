/* Sends spans to a collector, in batches, through egress and with a permit of their own kind.
 *
 *   any loop: telemetry_add --> waiting (bounded) --> home loop, each second: one batch --> POST /v1/traces
 *                                  | full: dropped           | 429, 5xx, no answer: again later, five times
 *
 * Nothing waits for the collector; what it cannot take is dropped and counted. */
#ifndef WEIR_GOVERN_TELEMETRY_H
#define WEIR_GOVERN_TELEMETRY_H

#include "egress/egress.h"
#include "govern/meter.h"

struct telemetry_options {
    struct egress_target *target;        /* NULL: no spans; owned from now on; made with `collector` */
    const struct egress_header *headers; /* copied; may hold secrets */
    size_t n_headers;
    double sample; /* of requests that no caller's trace holds: 0 to 1 */
};
struct telemetry;
/* Sends nothing until it is configured; both live longer than it does, the egress is the home loop's. */
struct telemetry *telemetry_create(struct egress *egress, struct meter *meter);
/* Home loop, at any time: what waits goes to the new target, or is dropped where there is none. */
void telemetry_configure(struct telemetry *t, const struct telemetry_options *o);
void telemetry_free(struct telemetry *t); /* on the home loop, before its egress; NULL is allowed */
/* Any thread. Are spans wanted at all? */
bool telemetry_is_on(const struct telemetry *t);
/* Any thread. Is a request that begins a trace of its own to be recorded? */
bool telemetry_sample(const struct telemetry *t);
/* Any thread. `n` spans as JSON, commas between them. */
void telemetry_add(struct telemetry *t, struct str spans, int n);
/* Home loop; call about once a second. */
void telemetry_look(struct telemetry *t);
/* Home loop, while draining: sends what is left; true once there is none, or after two seconds. NULL: true.
 */
bool telemetry_finish(struct telemetry *t);

#endif
