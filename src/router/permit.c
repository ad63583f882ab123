/* The only place where permits are made, without which egress opens no connection: of a decision, and of what
 * carries nothing. */
#include "egress/permit.h"

#include <string.h>

#include "base/rand.h"
#include "router/decide.h"

enum { PERMIT_MS = 60 * 60 * 1000, PROBE_MS = 60 * 1000 };

/* Cuts what is too long at a character. */
static void field_copy(char *to, size_t size, struct str from)
{
    size_t n = from.len < size ? from.len : str_utf8_floor(from.data, size - 1);
    if (n > 0)
        memcpy(to, from.data, n);
    to[n] = '\0';
}

const struct egress_permit *router_permit(
    struct arena *a, const struct route_decision *d, bool masked, int64_t mono_ms)
{
    struct egress_permit *p = arena_new(a, struct egress_permit);
    p->boundary = d->masked && !masked ? EGRESS_BOUNDARY_LOCAL : d->boundary;
    field_copy(p->request_id, sizeof p->request_id, d->request_id);
    field_copy(p->rule, sizeof p->rule, d->rule);
    p->expires_mono_ms = mono_ms + PERMIT_MS;
    return p;
}

/* Carries nothing that could cross a boundary: egress checks what it may. */
static struct egress_permit *permit_without_content(
    struct arena *a, const char *prefix, struct str rule, int64_t mono_ms)
{
    struct egress_permit *p = arena_new(a, struct egress_permit);
    p->boundary = EGRESS_BOUNDARY_ANY;
    rand_id(prefix, p->request_id, sizeof p->request_id);
    field_copy(p->rule, sizeof p->rule, rule);
    p->expires_mono_ms = mono_ms + PROBE_MS;
    return p;
}

const struct egress_permit *router_permit_probe(struct arena *a, int64_t mono_ms)
{
    struct egress_permit *p = permit_without_content(a, "probe_", STR("probe"), mono_ms);
    p->probe = true;
    return p;
}

const struct egress_permit *router_permit_pull(struct arena *a, int64_t mono_ms)
{
    struct egress_permit *p = permit_without_content(a, "pull_", STR("pull"), mono_ms);
    p->probe = true;
    return p;
}

const struct egress_permit *router_permit_telemetry(struct arena *a, int64_t mono_ms)
{
    struct egress_permit *p = permit_without_content(a, "telemetry_", STR("telemetry"), mono_ms);
    p->telemetry = true;
    return p;
}
