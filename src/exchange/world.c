#include "exchange/world.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/must.h"
#include "engine/engine.h"

struct exchange_world {
    _Atomic int references;
    struct exchange_model *models;
    struct pace *paces;
    size_t n_models;
    struct exchange_settings settings;
    uint64_t serial;
    struct router_policy *policy;
    void (*release)(void *);
    void *ctx;
};

static _Atomic uint64_t n_worlds;

struct exchange_world *exchange_world_create(const struct exchange_model *models, size_t n_models,
    struct router_policy *policy, void (*release)(void *), void *ctx)
{
    struct exchange_world *w = must(calloc(1, sizeof *w));
    atomic_init(&w->references, 1);
    w->models = must(calloc(n_models + 1, sizeof *w->models));
    w->paces = must(calloc(n_models + 1, sizeof *w->paces));
    w->n_models = n_models;
    w->serial = atomic_fetch_add(&n_worlds, 1);
    w->policy = policy;
    w->release = release;
    w->ctx = ctx;
    for (size_t i = 0; i < n_models; i++) {
        w->models[i] = models[i];
        w->models[i].pace = &w->paces[i];
        w->models[i].health = health_create(models[i].name, models[i].identity, &models[i].limits);
        pace_init(&w->paces[i]);
    }
    return w;
}

/* The same target in another world. */
static struct exchange_model *model_again(
    const struct exchange_world *w, struct str name, struct str identity)
{
    for (size_t i = 0; w && i < w->n_models; i++)
        if (health_is(w->models[i].health, name, identity))
            return &w->models[i];
    return NULL;
}

void exchange_world_configure(
    struct exchange_world *w, const struct exchange_settings *settings, const struct exchange_world *previous)
{
    w->settings = *settings;
    for (size_t i = 0; i < w->n_models; i++) {
        struct exchange_model *m = &w->models[i];
        struct exchange_model *before = model_again(previous, m->name, m->identity);
        if (!before)
            continue;
        health_unref(m->health);
        m->health = health_ref(before->health);
        health_configure(m->health, &m->limits);
        pace_copy(m->pace, before->pace);
    }
}

const struct exchange_settings *exchange_world_settings(const struct exchange_world *w)
{
    return &w->settings;
}

uint64_t exchange_world_serial(const struct exchange_world *w)
{
    return w->serial;
}

struct exchange_world *exchange_world_ref(struct exchange_world *w)
{
    atomic_fetch_add(&w->references, 1);
    return w;
}

void exchange_world_unref(struct exchange_world *w)
{
    if (!w || atomic_fetch_sub(&w->references, 1) > 1)
        return;
    router_policy_free(w->policy);
    if (w->release)
        w->release(w->ctx);
    for (size_t i = 0; i < w->n_models; i++) {
        pace_destroy(&w->paces[i]);
        health_unref(w->models[i].health);
    }
    free(w->paces);
    free(w->models);
    free(w);
}

const struct router_policy *exchange_world_policy(const struct exchange_world *w)
{
    return w->policy;
}

size_t exchange_world_n_models(const struct exchange_world *w)
{
    return w->n_models;
}

const struct exchange_model *exchange_world_model(const struct exchange_world *w, size_t index)
{
    return &w->models[index];
}

const struct exchange_model *exchange_world_find(const struct exchange_world *w, struct str name)
{
    for (size_t i = 0; i < w->n_models; i++)
        if (str_eq(w->models[i].name, name))
            return &w->models[i];
    return NULL;
}

double exchange_world_queue(const struct exchange_world *w)
{
    double queued = 0;
    for (size_t i = 0; i < w->n_models; i++) {
        struct engine_status status;
        if (!w->models[i].target.engine)
            continue;
        engine_status(w->models[i].target.engine, &status);
        queued += status.queued;
    }
    return queued;
}
