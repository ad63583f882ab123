/* The response cache in the life of an exchange: asked after DECIDE, filled by a whole answer. */
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "exchange/exchange_inner.h"

static uint64_t hash_of(uint64_t before, const struct exchange_model *m)
{
    const uint64_t both[] = {before, m->target.engine ? engine_files_version(m->target.engine) : 0};
    return str_hash((struct str){(const char *)both, sizeof both});
}

/* A local model whose file is replaced answers otherwise from then on. */
static uint64_t files_of(const struct exchange *x)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < x->decision.n_targets; i++) {
        const struct exchange_model *m = exchange_world_find(x->world, x->decision.targets[i]);
        for (size_t k = 0; m && k < m->pool.n; k++)
            hash = hash_of(hash, exchange_world_model(x->world, m->pool.members[k]));
        hash = m && m->pool.n == 0 ? hash_of(hash, m) : hash;
    }
    return hash;
}

void recall_prepare(struct exchange *x, const struct exchange_origin *origin)
{
    struct error err;
    bool asked = x->decision.cache || (origin->cache && exchange_world_settings(x->world)->client_cache);
    if (!x->shard->cache || !asked || origin->body.len == 0 || !cache_may(x->request))
        return;
    const struct cache_question q = {.scope = str_from(x->identified ? x->identity.key_id : ""),
        .local = x->decision.boundary != EGRESS_BOUNDARY_ANY,
        .world = exchange_world_serial(x->world),
        .api = x->api,
        .targets = x->decision.targets,
        .n_targets = x->decision.n_targets,
        .files = files_of(x),
        .headers = x->request->headers,
        .n_headers = x->request->n_headers,
        .body = origin->body};
    if (cache_key(&q, x->cache_key, &err))
        log_debug("exchange", "request %s is not cached: %s", x->request_id, err.message);
    else
        x->cacheable = true;
}

const char *recall_state(const struct exchange *x)
{
    return x->kept ? "hit" : x->cacheable ? "miss" : NULL;
}

static void on_kept(void *ctx, const struct chat_event *event)
{
    struct exchange *x = ctx;
    if (event->kind == CHAT_EVENT_USAGE) {
        x->legs[0].usage = event->usage;
        return;
    }
    if (event->kind == CHAT_EVENT_STOP)
        observe_stopped(x, event->stop);
    x->client.event(x->client.ctx, event);
}

bool recall(struct exchange *x)
{
    if (!x->cacheable)
        return false;
    x->kept = cache_get(x->shard->cache, x->cache_key, clock_mono_ms());
    observe_recalled(x);
    if (!x->kept)
        return false;
    x->first_token_ms = clock_mono_ms() - x->started_ms;
    const struct exchange_about about = {.model = cache_answer_model(x->kept),
        .provider = cache_answer_provider(x->kept),
        .rule = x->decision.rule,
        .cache = recall_state(x),
        .rates = spend_rates(x)};
    x->client.begin(x->client.ctx, &about);
    cache_answer_replay(x->kept, (struct chat_sink){on_kept, x});
    exchange_settle(x, "cached");
    return true;
}

void recall_gather(struct leg *leg, const struct chat_event *event)
{
    struct exchange *x = leg->x;
    if (!x->cacheable)
        return;
    if (!x->keeping)
        x->keeping = cache_answer_create(leg->model->name, provider_name(leg->model->target.provider));
    bool last = event->kind == CHAT_EVENT_STOP;
    struct chat_event usage = {.kind = CHAT_EVENT_USAGE};
    if (last)
        leg_usage(leg, true, &usage.usage);
    bool kept = !last || cache_answer_add(x->keeping, &usage);
    if (!kept || !cache_answer_add(x->keeping, event)) {
        x->cacheable = false; /* too large, or of a kind that is not kept */
        return;
    }
    if (last) {
        cache_put(x->shard->cache, x->cache_key, x->keeping, clock_mono_ms());
        x->keeping = NULL;
    }
}

void recall_forget(struct exchange *x)
{
    cache_answer_unref(x->keeping);
    x->keeping = NULL;
}

void recall_free(struct exchange *x)
{
    recall_forget(x);
    cache_answer_unref(x->kept);
}
