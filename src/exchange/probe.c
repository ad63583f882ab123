#include "exchange/probe.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/must.h"

/* One probe under way. */
struct probing {
    struct list link;
    struct exchange_health *health; /* held */
    struct exchange_world *world;   /* held: the provider is its */
    struct provider_probe *probe;
};

struct exchange_prober {
    const struct exchange_shard *shard;
    struct list open;
};

struct exchange_prober *prober_create(const struct exchange_shard *shard)
{
    struct exchange_prober *p = must(calloc(1, sizeof *p));
    p->shard = shard;
    list_init(&p->open);
    return p;
}

static void probing_free(struct probing *g)
{
    list_remove(&g->link);
    provider_probe_close(g->probe);
    health_unref(g->health);
    exchange_world_unref(g->world);
    free(g);
}

void prober_free(struct exchange_prober *p)
{
    if (!p)
        return;
    list_each(node, after, &p->open)
        probing_free(list_item(node, struct probing, link));
    free(p);
}

static void on_probed(void *ctx, bool there)
{
    struct probing *g = ctx;
    health_probed(g->health, there);
    probing_free(g);
}

static void probe(struct exchange_prober *p, const struct exchange_model *m)
{
    struct error err;
    struct arena *arena = arena_create(4 * KIB);
    struct probing *g = must(calloc(1, sizeof *g));
    g->health = health_ref(m->health);
    g->world = exchange_world_ref(p->shard->world);
    list_push_back(&p->open, &g->link);
    if (provider_probe_start(m->target.provider, p->shard->egress,
            router_permit_probe(arena, clock_mono_ms()), m->probe_path, on_probed, g, &g->probe, &err)) {
        log_warn("exchange", "%s", err.message);
        probing_free(g);
    }
    arena_free(arena);
}

void prober_look(struct exchange_prober *p)
{
    const struct exchange_world *w = p->shard->world;
    for (size_t i = 0; i < exchange_world_n_models(w); i++) {
        const struct exchange_model *m = exchange_world_model(w, i);
        if (m->probe_path.len > 0 && health_probe_due(m->health, m->probe_every_ms, m->probe_always))
            probe(p, m);
    }
}
