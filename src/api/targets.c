#include "api/targets.h"

#include <string.h>

void api_targets_write(const struct exchange_world *world, struct json_writer *w)
{
    json_key(w, "targets");
    json_object_begin(w);
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        struct exchange_health_status s;
        if (m->pool.n > 0)
            continue;
        health_status(m->health, &s);
        json_key_str(w, m->name);
        json_object_begin(w);
        json_member_text(w, "breaker", breaker_name(s.breaker));
        json_member_int(w, "in_flight", s.in_flight);
        json_member_int(w, "waiting", s.waiting);
        json_object_end(w);
    }
    json_object_end(w);
}

void api_model_gauges(const struct exchange_world *world, api_gauges_of *of, struct buf *out)
{
    struct api_gauge gauges[API_GAUGES_MAX];
    /* Values of one family stand together. */
    for (size_t g = 0, n = 1; g < n; g++) {
        bool first = true;
        for (size_t i = 0; i < exchange_world_n_models(world); i++) {
            const struct exchange_model *m = exchange_world_model(world, i);
            size_t have = of(m, gauges);
            if (have == 0)
                continue;
            n = have;
            struct meter_label label = {"model", m->name};
            meter_write_value(
                out, gauges[g].family, "gauge", first ? gauges[g].help : NULL, &label, 1, gauges[g].value);
            first = false;
        }
    }
}

static size_t target_gauges(const struct exchange_model *m, struct api_gauge out[API_GAUGES_MAX])
{
    struct exchange_health_status s;
    if (m->pool.n > 0)
        return 0;
    health_status(m->health, &s);
    const struct api_gauge gauges[] = {
        {"weir_target_breaker", "A target's breaker: 0 closed, 1 half-open, 2 open.", (double)s.breaker},
        {"weir_target_in_flight", "Requests that a target has.", s.in_flight},
        {"weir_target_waiting", "Requests that wait for a place at a target.", s.waiting},
        {"weir_target_latency_ms", "A target's recent peak of the time to its first event.", s.latency_ms}};
    memcpy(out, gauges, sizeof gauges);
    return sizeof gauges / sizeof *gauges;
}

void api_targets_gauges(const struct exchange_shard *shard, struct buf *out)
{
    size_t bytes, answers;
    api_model_gauges(shard->world, target_gauges, out);
    if (!shard->cache)
        return;
    cache_size(shard->cache, &bytes, &answers);
    meter_write_value(
        out, "weir_cache_bytes", "gauge", "Bytes of answers that are kept.", NULL, 0, (double)bytes);
    meter_write_value(out, "weir_cache_answers", "gauge", "Answers that are kept.", NULL, 0, (double)answers);
}
