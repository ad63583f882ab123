/* What operators and their tools ask: readiness and metrics. */
#include <string.h>

#include "api/api.h"
#include "api/targets.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "govern/access_log.h"

static const char *state_name(enum engine_state state)
{
    static const char *const names[] = {"starting", "up", "down", "unloaded"};
    return names[state];
}

/* Could `m` answer a request? A provider is believed to be there until it is tried, a model that is not
 * loaded too. */
static bool model_ready(const struct exchange_model *m, struct engine_status *status)
{
    *status = (struct engine_status){.state = ENGINE_UP};
    if (m->target.engine)
        engine_status(m->target.engine, status);
    return status->state == ENGINE_UP || status->state == ENGINE_UNLOADED;
}

/* 200 when something can answer, the ledger can be written and it does not drain, else 503; either way the
 * reasons. */
void api_ready(const struct api_call *c)
{
    const struct exchange_world *world = c->shard->exchange->world;
    struct store_stats store;
    struct buf body;
    struct json_writer w;
    size_t ready = 0;
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    store_stats(c->shard->exchange->store, &store);
    json_object_begin(&w);
    json_key(&w, "models");
    json_object_begin(&w);
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        struct engine_status status;
        ready += model_ready(m, &status);
        json_key_str(&w, m->name);
        json_write_text(&w, m->target.engine ? state_name(status.state) : "configured");
    }
    json_object_end(&w);
    json_member_text(&w, "ledger", store.healthy ? "ok" : "failing");
    api_targets_write(world, &w);
    bool draining = c->shard->exchange->draining;
    bool ok = ready > 0 && store.healthy && !draining;
    json_member_bool(&w, "draining", draining);
    json_member_bool(&w, "ready", ok);
    json_object_end(&w);
    api_reply_json(c, ok ? 200 : 503, &body);
    buf_free(&body);
}

static void gauge(struct buf *out, const char *family, const char *help, double value)
{
    meter_write_value(out, family, "gauge", help, NULL, 0, value);
}

static size_t engine_gauges(const struct exchange_model *m, struct api_gauge out[API_GAUGES_MAX])
{
    struct engine_status s;
    if (!m->target.engine)
        return 0;
    engine_status(m->target.engine, &s);
    const bool up = s.state == ENGINE_UP;
    const struct api_gauge gauges[] = {{"weir_engine_up", "Is the embedded engine of this model up?", up},
        {"weir_engine_restarts", "Times it was started again.", s.restarts},
        {"weir_engine_active", "Requests it works on.", s.active},
        {"weir_engine_queued", "Requests that wait for it.", s.queued},
        {"weir_engine_loads", "Times its model was loaded.", (double)s.loads},
        {"weir_engine_unloads", "Times its model was unloaded.", (double)s.unloads},
        {"weir_engine_bytes", "Memory of the loaded model: weights and state.", up ? (double)s.bytes : 0},
        {"weir_engine_slots", "Requests it can work on at once.", s.slots},
        {"weir_engine_load_seconds", "How long the last load took.", (double)s.load_ms / 1000},
        {"weir_engine_kv_tokens", "Tokens in the KV cache of the requests it works on.", (double)s.kv_tokens},
        {"weir_engine_kv_capacity_tokens",
            "Tokens that the KV cache of all slots holds; 0 until it is loaded.",
            up ? (double)s.slots * (double)s.context : 0}};
    _Static_assert(sizeof gauges / sizeof *gauges <= API_GAUGES_MAX, "room");
    memcpy(out, gauges, sizeof gauges);
    return sizeof gauges / sizeof *gauges;
}

void api_metrics(const struct api_call *c)
{
    struct buf body;
    struct store_stats store;
    buf_init(&body, 16 * MIB);
    meter_write(c->shard->exchange->meter, &body);
    api_model_gauges(c->shard->exchange->world, engine_gauges, &body);
    api_targets_gauges(c->shard->exchange, &body);
    api_budget_gauges(c->shard->exchange, &body);
    store_stats(c->shard->exchange->store, &store);
    if (c->shard->log)
        meter_write_value(&body, "weir_access_log_dropped_total", "counter",
            "Lines of the access log that could not be written.", NULL, 0,
            (double)access_log_dropped(c->shard->log));
    gauge(&body, "weir_ledger_healthy", "Was the last group of rows committed?", store.healthy);
    gauge(&body, "weir_ledger_queued", "Rows that wait to be written.", (double)store.queued);
    gauge(&body, "weir_ledger_written", "Rows written since start.", (double)store.written);
    gauge(&body, "weir_ledger_failed", "Rows that could not be written since start.", (double)store.failed);
    http_reply_header(c->http, "x-request-id", str_from(c->request_id));
    http_reply(c->http, body.failed ? 500 : 200, "text/plain; version=0.0.4", buf_str(&body));
    buf_free(&body);
}
