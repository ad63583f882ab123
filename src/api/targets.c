#include "api/targets.h"

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

void api_targets_gauges(const struct exchange_shard *shard, struct buf *out)
{
    static const struct {
        const char *family, *help;
    } gauges[] = {{"weir_target_breaker", "A target's breaker: 0 closed, 1 half-open, 2 open."},
        {"weir_target_in_flight", "Requests that a target has."},
        {"weir_target_waiting", "Requests that wait for a place at a target."},
        {"weir_target_latency_ms", "A target's recent peak of the time to its first event."}};
    const struct exchange_world *world = shard->world;
    size_t bytes, answers;
    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        const char *help = gauges[g].help;
        for (size_t i = 0; i < exchange_world_n_models(world); i++) {
            const struct exchange_model *m = exchange_world_model(world, i);
            struct exchange_health_status s;
            if (m->pool.n > 0)
                continue;
            health_status(m->health, &s);
            double values[] = {(double)s.breaker, s.in_flight, s.waiting, s.latency_ms};
            struct meter_label label = {"model", m->name};
            meter_write_value(out, gauges[g].family, "gauge", help, &label, 1, values[g]);
            help = NULL;
        }
    }
    if (!shard->cache)
        return;
    cache_size(shard->cache, &bytes, &answers);
    meter_write_value(
        out, "weir_cache_bytes", "gauge", "Bytes of answers that are kept.", NULL, 0, (double)bytes);
    meter_write_value(out, "weir_cache_answers", "gauge", "Answers that are kept.", NULL, 0, (double)answers);
}
