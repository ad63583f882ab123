/* Counters and histograms for /metrics (Prometheus text format 0.0.4).
 *
 *   family (one of the table below) x label values --> series: a counter, or buckets and a sum
 *
 * Thread-safe and without a lock once a series exists: a request costs some ten look-ups and atomic adds. At
 * most METER_SERIES series are kept in all; what is over is counted in weir_meter_overflow_total. Label
 * values are names of the configuration and words of the program, never a client's text: that would grow
 * without bound. */
#ifndef WEIR_GOVERN_METER_H
#define WEIR_GOVERN_METER_H

#include "base/buf.h"
#include "base/str.h"

enum { METER_SERIES = 4096, METER_LABELS = 4, METER_LABEL_BYTES = 1024, METER_BUCKETS = 18 };

/* COUNTER only grows, GAUGE also falls, LATENCY and PIECES are histograms (bounds in meter.c). Amounts are
 * whole numbers in units of `unit` of what the family counts: microseconds of seconds, nano-dollars of
 * dollars. name, type, unit, family, its labels' names, help */
#define METER_FAMILIES(X)                                                                                    \
    X(REQUESTS, COUNTER, 1, "weir_requests_total", "model,route,rule,outcome",                               \
        "Requests, by who answered, route, rule and outcome.")                                               \
    X(IN_FLIGHT, GAUGE, 1, "weir_requests_in_flight", "api", "Requests that are being answered.")            \
    X(REQUEST_SECONDS, LATENCY, 1e-6, "weir_request_seconds", "model,route,rule,outcome",                    \
        "From request to the end of the answer.")                                                            \
    X(FIRST_TOKEN, LATENCY, 1e-6, "weir_first_token_seconds", "model,route,rule,outcome",                    \
        "From request to the first piece of the answer.")                                                    \
    X(INTER_TOKEN, PIECES, 1e-6, "weir_inter_token_seconds", "model,route,rule,outcome",                     \
        "Between two pieces of an answer as the target sent them.")                                          \
    X(INPUT_TOKENS, COUNTER, 1, "weir_input_tokens_total", "model,route,rule,outcome",                       \
        "Prompt tokens, cached ones included.")                                                              \
    X(CACHED_TOKENS, COUNTER, 1, "weir_cached_tokens_total", "model,route,rule,outcome",                     \
        "Prompt tokens that were read from a prompt cache.")                                                 \
    X(OUTPUT_TOKENS, COUNTER, 1, "weir_output_tokens_total", "model,route,rule,outcome",                     \
        "Answer tokens, reasoning included.")                                                                \
    X(REASONING_TOKENS, COUNTER, 1, "weir_reasoning_tokens_total", "model,route,rule,outcome",               \
        "Answer tokens that were reasoning.")                                                                \
    X(COST, COUNTER, 1e-9, "weir_cost_usd_total", "model,route,rule,outcome", "Cost by the price table.")    \
    X(CACHE, COUNTER, 1, "weir_cache_total", "result", "Requests that asked the response cache.")            \
    X(RETRIES, COUNTER, 1, "weir_retries_total", "model",                                                    \
        "Times a target was asked again after a passing failure.")                                           \
    X(SHADOW, COUNTER, 1, "weir_shadow_rule_matches_total", "route,rule",                                    \
        "Requests that a shadow rule would have decided.")                                                   \
    X(CASCADE, COUNTER, 1, "weir_cascade_total", "route,rule,result",                                        \
        "Requests that a local model answered first: kept, escalated, or returned to its answer.")           \
    X(HEDGES, COUNTER, 1, "weir_hedges_total", "model",                                                      \
        "Requests also sent to a second target because the first was slow.")                                 \
    X(FAILURES, COUNTER, 1, "weir_target_failures_total", "model,reason",                                    \
        "Attempts at a target that failed.")                                                                 \
    X(BREAKER_OPENED, COUNTER, 1, "weir_breaker_opened_total", "model", "Times a target's breaker opened.")  \
    X(QUEUE_SECONDS, LATENCY, 1e-6, "weir_queue_seconds", "model,outcome",                                   \
        "How long requests waited for a place at a target, by what they got: placed or gave_up.")            \
    X(PREFILL_TOKENS, COUNTER, 1, "weir_engine_prefill_tokens_total", "model",                               \
        "Prompt tokens that the embedded engine computed.")                                                  \
    X(PREFILL_SECONDS, COUNTER, 1e-9, "weir_engine_prefill_seconds_total", "model",                          \
        "Time the embedded engine took to read prompts.")                                                    \
    X(DECODE_TOKENS, COUNTER, 1, "weir_engine_decode_tokens_total", "model",                                 \
        "Tokens that the embedded engine wrote.")                                                            \
    X(DECODE_SECONDS, COUNTER, 1e-9, "weir_engine_decode_seconds_total", "model",                            \
        "Time the embedded engine took to write answers.")                                                   \
    X(DRAFT_TOKENS, COUNTER, 1, "weir_engine_draft_tokens_total", "model",                                   \
        "Tokens that the embedded engine drafted, to be read beside the newest one.")                        \
    X(DRAFT_DRAWN, COUNTER, 1, "weir_engine_draft_drawn_tokens_total", "model",                              \
        "Drafted tokens that the answers then had.")                                                         \
    X(EGRESS_REQUESTS, COUNTER, 1, "weir_egress_requests_total", "provider,zone,rule",                       \
        "Outbound transfers, as the egress log has them.")                                                   \
    X(EGRESS_BYTES, COUNTER, 1, "weir_egress_bytes_total", "provider,zone,rule",                             \
        "Bytes of the bodies that were sent.")                                                               \
    X(LIMIT_REFUSALS, COUNTER, 1, "weir_limit_refusals_total", "limit",                                      \
        "Requests refused for a limit of a key, a team or everyone: requests, tokens, models; and targets "  \
        "passed over for want of money: budget.")                                                            \
    X(SPANS, COUNTER, 1, "weir_telemetry_spans_total", "outcome",                                            \
        "Spans of traces: sent to the collector, or dropped because it was slow or down.")

enum meter_family {
#define METER_NAME(name, type, unit, family, labels, help) METER_##name,
    METER_FAMILIES(METER_NAME)
#undef METER_NAME
        METER_N_FAMILIES
};

struct meter;

/* Values for a family's labels, in its order; made once where several families take the same. */
struct meter_labels {
    int n;
    size_t lengths[METER_LABELS], len; /* len: of the text; over METER_LABEL_BYTES there is none */
    uint64_t hash;
    char text[METER_LABEL_BYTES]; /* the values, one after the other */
};
struct meter_labels meter_labels(const struct str *values, int n);

/* A histogram that one thread gathers on its own. */
struct meter_histogram {
    uint32_t buckets[METER_BUCKETS + 1];
    int64_t sum;
};
void meter_histogram_add(struct meter_histogram *h, enum meter_family family, int64_t amount);

struct meter *meter_create(void);
void meter_free(struct meter *m);
/* Adds to a counter or a gauge. */
void meter_count(
    struct meter *m, enum meter_family family, const struct meter_labels *labels, int64_t amount);
/* Observes one amount, or all that was gathered, in a histogram. */
void meter_observe(
    struct meter *m, enum meter_family family, const struct meter_labels *labels, int64_t amount);
void meter_observe_all(struct meter *m, enum meter_family family, const struct meter_labels *labels,
    const struct meter_histogram *gathered);
/* Appends everything that was counted. */
void meter_write(struct meter *m, struct buf *out);

/* A value that is known only when asked, written the same way. `type` is "gauge" or "counter"; `help` NULL:
 * the family's head stands already. */
struct meter_label {
    const char *name;
    struct str value;
};
void meter_write_value(struct buf *out, const char *family, const char *type, const char *help,
    const struct meter_label *labels, size_t n_labels, double value);

#endif
