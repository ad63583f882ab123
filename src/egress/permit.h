/* The permit to open an outbound transfer. Only the router makes one (`router_permit` in router/), and only
 * the router and egress include this file: the tidy test enforces it. */
#ifndef WEIR_EGRESS_PERMIT_H
#define WEIR_EGRESS_PERMIT_H

#include "egress/egress.h"

struct egress_permit {
    enum egress_boundary boundary; /* zero is LOCAL: a permit nobody filled lets nothing out */
    char request_id[72];
    char rule[128];
    int64_t expires_mono_ms; /* a permit is for one request, not for later */
    bool probe; /* a probe or a pull: a GET without a body, nothing of a request */
    bool telemetry; /* spans, which hold no content: to a collector, and nowhere else */
};

#endif
