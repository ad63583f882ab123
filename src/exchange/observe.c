#include "exchange/observe.h"

#include <assert.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "exchange/exchange_inner.h"
#include "govern/access_log.h"

static void count(const struct exchange *x, enum meter_family family, struct str a, struct str b)
{
    const struct meter_labels labels = meter_labels((struct str[]){a, b}, b.data ? 2 : 1);
    meter_count(x->shard->meter, family, &labels, 1);
}

static void in_flight(const struct exchange *x, int64_t change)
{
    const struct meter_labels labels = meter_labels(&x->api, 1);
    meter_count(x->shard->meter, METER_IN_FLIGHT, &labels, change);
}

void observe_begin(struct exchange *x, const struct exchange_origin *origin)
{
    x->seen.entry = origin->entry;
    x->seen.id_given = origin->id_given;
    x->seen.started_ns = clock_mono_ns();
    in_flight(x, 1);
    observe_trace_begin(x, origin);
}

void observe_decided(struct exchange *x)
{
    for (size_t i = 0; i < x->decision.n_shadows; i++)
        count(x, METER_SHADOW, x->decision.route, x->decision.shadows[i]);
    x->seen.decided_ns = clock_mono_ns();
}

void observe_stopped(struct exchange *x, enum chat_stop stop)
{
    if (x->seen.n_stops < CHAT_ANSWERS_MAX)
        x->seen.stops[x->seen.n_stops++] = (unsigned char)stop;
}

void observe_piece(struct exchange *x, int64_t now_ns)
{
    if (x->seen.piece_ns > 0)
        meter_histogram_add(&x->seen.pieces, METER_INTER_TOKEN, (now_ns - x->seen.piece_ns) / 1000);
    else
        x->seen.first_ns = now_ns;
    x->seen.piece_ns = now_ns;
}

bool observe_id_may_leave(const struct exchange *x)
{
    struct router_findings found = {0};
    struct error err;
    if (!x->seen.id_given)
        return true;
    const struct detect_own *own = router_policy_own(exchange_world_policy(x->world));
    return router_detect_own(own, x->request->arena, STR_NONE, str_from(x->request_id), &found, &err) == 0 &&
           found.n_entities == 0;
}

size_t observe_headers(const struct leg *leg, struct egress_header out[2])
{
    size_t n = 0;
    const struct exchange_model *m = leg->model;
    if (m->target.engine)
        return 0;
    if (provider_is_inside(m->target.provider) || observe_id_may_leave(leg->x))
        out[n++] = (struct egress_header){STR("x-request-id"), str_from(leg->x->request_id)};
    struct str parent =
        provider_is_inside(m->target.provider) || m->traceparent ? observe_trace_parent(leg) : STR_NONE;
    if (parent.len)
        out[n++] = (struct egress_header){STR("traceparent"), parent};
    return n;
}

void observe_waited(const struct leg *leg, bool placed)
{
    const struct meter_labels labels =
        meter_labels((struct str[]){leg->model->name, placed ? STR("placed") : STR("gave_up")}, 2);
    meter_observe(
        leg->x->shard->meter, METER_QUEUE_SECONDS, &labels, (clock_mono_ms() - leg->since_ms) * 1000);
}

void observe_failed(const struct leg *leg)
{
    const char *reason = attempt_outcome(&leg->x->attempts.list[leg->attempt]);
    count(leg->x, METER_FAILURES, leg->model->name, str_from(reason));
}

void observe_opened(const struct leg *leg)
{
    count(leg->x, METER_BREAKER_OPENED, leg->model->name, STR_NONE);
}

void observe_retried(const struct leg *leg)
{
    count(leg->x, METER_RETRIES, leg->model->name, STR_NONE);
}

void observe_hedged(const struct leg *leg)
{
    count(leg->x, METER_HEDGES, leg->model->name, STR_NONE);
}

void observe_recalled(const struct exchange *x)
{
    count(x, METER_CACHE, str_from(recall_state(x)), STR_NONE);
}

/* ---- The end ---- */

static void add(
    const struct exchange *x, enum meter_family family, const struct meter_labels *labels, int64_t amount)
{
    if (amount > 0)
        meter_count(x->shard->meter, family, labels, amount);
}

/* Their quotients are the engine's speeds. */
static void count_engine(const struct exchange *x)
{
    const struct leg *leg = x->counted;
    assert(!leg || leg->model);
    if (!leg || !leg->model->target.engine || leg->usage.decode_ns <= 0)
        return;
    const struct chat_usage *u = &leg->usage;
    const struct meter_labels labels = meter_labels(&leg->model->name, 1);
    add(x, METER_PREFILL_TOKENS, &labels, u->input_tokens - u->cached_tokens);
    add(x, METER_PREFILL_SECONDS, &labels, u->prefill_ns);
    add(x, METER_DECODE_TOKENS, &labels, u->output_tokens);
    add(x, METER_DECODE_SECONDS, &labels, u->decode_ns);
    add(x, METER_DRAFT_TOKENS, &labels, u->drafted_tokens);
    add(x, METER_DRAFT_DRAWN, &labels, u->drawn_tokens);
}

static void count_cascade(const struct exchange *x)
{
    if (!x->cascade.result)
        return;
    const struct meter_labels labels =
        meter_labels((struct str[]){x->decision.route, x->decision.rule, str_from(x->cascade.result)}, 3);
    meter_count(x->shard->meter, METER_CASCADE, &labels, 1);
}

static void entry_fill(const struct exchange *x, struct str model, const struct chat_usage *usage)
{
    struct access_entry *e = x->seen.entry;
    const struct leg *by = x->winner;
    e->api = x->api;
    e->route = x->decision.route;
    e->rule = x->decision.rule;
    e->model = model;
    e->provider = by        ? provider_name(by->model->target.provider)
                  : x->kept ? cache_answer_provider(x->kept)
                            : STR_NONE;
    e->outcome = str_from(x->outcome);
    e->cascade = str_from(x->cascade.result ? x->cascade.result : "");
    e->input_tokens = usage->input_tokens;
    e->output_tokens = usage->output_tokens;
    e->cached_tokens = usage->input_tokens < 0 ? -1 : usage->cached_tokens;
    e->reasoning_tokens = usage->output_tokens < 0 ? -1 : usage->reasoning_tokens;
    e->cost_nano_usd = x->cost;
    e->first_token_ms = x->first_token_ms;
}

void observe_settled(const struct exchange *x, const struct chat_usage *usage)
{
    struct meter *m = x->shard->meter;
    const struct leg *last = x->counted ? x->counted : &x->legs[0];
    struct str model = x->kept ? cache_answer_model(x->kept) : last->model ? last->model->name : STR_NONE;
    const struct meter_labels labels = meter_labels(
        (struct str[]){model, x->decision.route, x->decision.rule, str_from(x->outcome)}, METER_LABELS);
    meter_count(m, METER_REQUESTS, &labels, 1);
    meter_observe(m, METER_REQUEST_SECONDS, &labels, (clock_mono_ns() - x->seen.started_ns) / 1000);
    if (x->first_token_ms >= 0)
        meter_observe(m, METER_FIRST_TOKEN, &labels,
            x->seen.first_ns > 0 ? (x->seen.first_ns - x->seen.started_ns) / 1000 : x->first_token_ms * 1000);
    if (x->seen.piece_ns > x->seen.first_ns)
        meter_observe_all(m, METER_INTER_TOKEN, &labels, &x->seen.pieces);
    add(x, METER_INPUT_TOKENS, &labels, usage->input_tokens);
    add(x, METER_CACHED_TOKENS, &labels, usage->cached_tokens);
    add(x, METER_OUTPUT_TOKENS, &labels, usage->output_tokens);
    add(x, METER_REASONING_TOKENS, &labels, usage->reasoning_tokens);
    add(x, METER_COST, &labels, x->cost);
    count_engine(x);
    count_cascade(x);
    if (x->seen.entry)
        entry_fill(x, model, usage);
    observe_trace_settled(x, usage);
    in_flight(x, -1);
}
