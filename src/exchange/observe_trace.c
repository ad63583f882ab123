/* The spans of one request (OpenTelemetry's semantic conventions for generative AI, 1.3x):
 *
 *   chat MODEL (server) --> decide
 *                       --> chat TARGET (client, one each attempt) --> load, prefill, decode (the embedded
 * engine's)
 *
 * Names are the configuration's, never the client's text; there is no content in them. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rand.h"
#include "exchange/exchange_inner.h"
#include "govern/telemetry.h"
#include "govern/trace.h"

enum { SPANS_BYTES = 256 * 1024 };

static uint64_t id_new(void)
{
    uint64_t id;
    while ((id = rand_u64()) == 0)
        ;
    return id;
}

void observe_trace_begin(struct exchange *x, const struct exchange_origin *origin)
{
    struct exchange_seen *s = &x->seen;
    struct telemetry *t = x->shard->telemetry;
    s->has_parent = origin->traceparent.len > 0 && trace_parent_read(origin->traceparent, &s->trace);
    if (!t || !telemetry_is_on(t))
        return;
    if (!s->has_parent) {
        rand_bytes(s->trace.id, sizeof s->trace.id);
        s->trace.sampled = telemetry_sample(t);
    }
    s->recorded = s->trace.sampled;
    s->root = s->recorded ? id_new() : 0;
    s->wall_ns = clock_wall_ms() * 1000000 - clock_mono_ns();
}

/* What the target gets; empty where there is no trace. The attempt's own span is the parent there, or where
 * none is recorded the client's. */
struct str observe_trace_parent(const struct leg *leg)
{
    struct exchange *x = leg->x;
    const struct exchange_seen *s = &x->seen;
    struct trace_context c = s->trace;
    if (!s->has_parent && !s->recorded)
        return STR_NONE;
    if (s->recorded)
        c.span = x->attempts.list[leg->attempt].span = id_new();
    char text[TRACE_PARENT];
    trace_parent_write(&c, text);
    return arena_copy(x->request->arena, str_from(text));
}

/* ---- The end ---- */

static struct str joined(struct arena *a, const char *operation, struct str name)
{
    return name.len ? arena_printf(a, "%s " STR_FMT, operation, STR_ARG(name)) : str_from(operation);
}

static const char *operation_of(const struct exchange *x)
{
    if (x->request->kind != CHAT_KIND_ANSWER)
        return x->request->kind == CHAT_KIND_EMBED ? "embeddings" : "rerank";
    return str_is(x->api, "openai.completions") || str_is(x->api, "ollama.generate") ? "text_completion"
                                                                                     : "chat";
}

/* The conventions' names for those they know. */
static struct str provider_of(const struct exchange_model *m)
{
    static const char *const known[][2] = {{"local", "weir"}, {"gemini", "gcp.gemini"},
        {"gemini-openai", "gcp.gemini"}, {"bedrock", "aws.bedrock"}, {"azure", "azure.ai.openai"},
        {"mistral", "mistral_ai"}, {"xai", "x_ai"}};
    struct str kind = provider_kind(m->target.provider);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_is(kind, known[i][0]))
            return str_from(known[i][1]);
    return kind;
}

/* Numbers alone: a stop string is the client's text. */
static void request_write(struct json_writer *w, const struct chat_request *r)
{
    const struct chat_sampling *s = &r->sampling;
    const struct {
        const char *key;
        double value;
    } settings[] = {{"gen_ai.request.temperature", s->temperature}, {"gen_ai.request.top_p", s->top_p},
        {"gen_ai.request.presence_penalty", s->presence_penalty},
        {"gen_ai.request.frequency_penalty", s->frequency_penalty}};
    trace_count(w, "gen_ai.request.max_tokens", r->max_tokens);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!isnan(settings[i].value))
            trace_double(w, settings[i].key, settings[i].value);
    trace_count(w, "gen_ai.request.top_k", s->top_k);
    if (s->has_seed)
        trace_int(w, "gen_ai.request.seed", s->seed);
    if (r->n > 1)
        trace_count(w, "gen_ai.request.choice.count", r->n);
}

static void stops_write(struct json_writer *w, const struct exchange *x)
{
    static const char *const names[] = {[CHAT_STOP_END] = "stop",
        [CHAT_STOP_LENGTH] = "length",
        [CHAT_STOP_TOOLS] = "tool_calls",
        [CHAT_STOP_FILTER] = "content_filter",
        [CHAT_STOP_STRING] = "stop",
        [CHAT_STOP_PAUSE] = "pause"};
    struct str reasons[CHAT_ANSWERS_MAX];
    for (size_t i = 0; i < x->seen.n_stops; i++)
        reasons[i] = str_from(names[x->seen.stops[i]]);
    trace_texts(w, "gen_ai.response.finish_reasons", reasons, x->seen.n_stops);
}

/* "host:port", as a Host header has it; an address of IPv6 stands in brackets there. */
static void server_write(struct json_writer *w, struct str host)
{
    size_t colon = str_find_last_char(host, ':');
    int64_t port;
    bool told = colon != SIZE_MAX && str_to_int64(str_slice(host, colon + 1, host.len), &port);
    struct str address = told ? str_slice(host, 0, colon) : host;
    if (str_starts(address, STR("[")) && str_ends(address, STR("]")))
        address = str_slice(address, 1, address.len - 1);
    trace_text(w, "server.address", address);
    if (told)
        trace_count(w, "server.port", port);
}

static void usage_write(struct json_writer *w, const struct chat_usage *u)
{
    trace_count(w, "gen_ai.usage.input_tokens", u->input_tokens);
    trace_count(w, "gen_ai.usage.output_tokens", u->output_tokens);
    if (u->cached_tokens > 0)
        trace_count(w, "gen_ai.usage.cache_read.input_tokens", u->cached_tokens);
    if (u->written_tokens > 0)
        trace_count(w, "gen_ai.usage.cache_creation.input_tokens", u->written_tokens);
}

static void span_decide(const struct exchange *x, struct json_writer *w)
{
    const struct exchange_seen *s = &x->seen;
    struct trace_span span = {.trace_id = s->trace.id,
        .id = id_new(),
        .parent = s->root,
        .name = STR("decide"),
        .kind = TRACE_INTERNAL,
        .start_ns = s->started_ns + s->wall_ns,
        .end_ns = (s->decided_ns ? s->decided_ns : s->started_ns) + s->wall_ns};
    trace_span_begin(w, &span);
    trace_text(w, "weir.route", x->decision.route);
    trace_text(w, "weir.rule", x->decision.rule);
    trace_text(w, "weir.boundary", x->decision.boundary == EGRESS_BOUNDARY_ANY ? STR("any") : STR("local"));
    trace_count(w, "weir.targets", (int64_t)x->decision.n_targets);
    trace_span_end(w, &span);
}

/* The engine tells how long it took; the end of its work is the attempt's. */
static int spans_engine(const struct exchange *x, uint64_t parent, int64_t end_ns, const struct chat_usage *u,
    struct json_writer *w)
{
    const struct {
        const char *name;
        int64_t ns, tokens;
    } parts[] = {{"decode", u->decode_ns, u->output_tokens},
        {"prefill", u->prefill_ns, u->input_tokens - u->cached_tokens}, {"load", u->load_ns, -1}};
    int n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].ns <= 0)
            continue;
        struct trace_span span = {.trace_id = x->seen.trace.id,
            .id = id_new(),
            .parent = parent,
            .name = str_from(parts[i].name),
            .kind = TRACE_INTERNAL,
            .start_ns = end_ns - parts[i].ns,
            .end_ns = end_ns};
        trace_span_begin(w, &span);
        trace_count(w, "weir.tokens", parts[i].tokens);
        trace_span_end(w, &span);
        end_ns -= parts[i].ns;
        n++;
    }
    return n;
}

static int span_attempt(const struct exchange *x, const struct attempt *a, struct json_writer *w)
{
    const struct exchange_model *m = exchange_world_find(x->world, a->target);
    const struct leg *by = x->counted;
    bool answered = a->ok && by && by->attempt == (size_t)(a - x->attempts.list);
    int64_t end_ns = (a->over ? a->ended_ns : clock_mono_ns()) + x->seen.wall_ns;
    int64_t start_ns = end_ns - a->ms * 1000000, least = x->seen.started_ns + x->seen.wall_ns;
    struct trace_span span = {.trace_id = x->seen.trace.id,
        .id = a->span ? a->span : id_new(),
        .parent = x->seen.root,
        .name = joined(x->request->arena, operation_of(x), m ? m->target.model : a->target),
        .kind = m && m->target.engine ? TRACE_INTERNAL : TRACE_CLIENT,
        .start_ns = start_ns > least ? start_ns : least,
        .end_ns = end_ns,
        .error = a->over && !a->ok && !attempt_is_doubted(a)
                     ? str_from(a->passed ? "passed" : error_code_name(a->failure.code))
                     : STR_NONE};
    trace_span_begin(w, &span);
    trace_text(w, "gen_ai.operation.name", str_from(operation_of(x)));
    if (m) {
        trace_text(w, "gen_ai.provider.name", provider_of(m));
        trace_text(w, "gen_ai.request.model", m->target.model);
        server_write(w, provider_host(m->target.provider));
    }
    request_write(w, x->request);
    trace_text(w, "weir.target", a->target);
    if (a->measured.tokens > 0)
        trace_double(w, "weir.doubt", a->doubt);
    if (a->failure.status > 0)
        trace_count(w, "http.response.status_code", a->failure.status);
    if (answered) {
        if (m)
            trace_text(w, "gen_ai.response.model", m->target.model);
        stops_write(w, x);
        usage_write(w, &by->usage);
    }
    trace_span_end(w, &span);
    return 1 + (answered && m && m->target.engine ? spans_engine(x, span.id, end_ns, &by->usage, w) : 0);
}

static void span_root(const struct exchange *x, const struct chat_usage *usage, struct json_writer *w)
{
    const struct exchange_seen *s = &x->seen;
    const struct leg *by = x->winner;
    /* A name that is nobody's is the client's text. */
    struct str asked = x->decision.n_targets > 0 ? x->request->model : STR_NONE;
    struct trace_span span = {.trace_id = s->trace.id,
        .id = s->root,
        .parent = s->has_parent ? s->trace.span : 0,
        .name = joined(x->request->arena, operation_of(x), asked),
        .kind = TRACE_SERVER,
        .start_ns = s->started_ns + s->wall_ns,
        .end_ns = clock_mono_ns() + s->wall_ns,
        .error = x->failed                                       ? str_from(error_code_name(x->failure.code))
                 : str_is(str_from(x->outcome), "ok") || x->kept ? STR_NONE
                                                                 : str_from(x->outcome)};
    trace_span_begin(w, &span);
    trace_text(w, "gen_ai.operation.name", str_from(operation_of(x)));
    trace_text(w, "gen_ai.request.model", asked);
    if (by) {
        trace_text(w, "gen_ai.provider.name", provider_of(by->model));
        trace_text(w, "gen_ai.response.model", by->model->target.model);
    }
    request_write(w, x->request);
    stops_write(w, x);
    usage_write(w, usage);
    trace_count(w, "http.response.status_code", x->client_gone ? 499 : x->failed ? x->failure.status : 200);
    if (observe_id_may_leave(x)) /* a collector may be outside */
        trace_text(w, "weir.request_id", str_from(x->request_id));
    trace_text(w, "weir.api", x->api);
    trace_text(w, "weir.route", x->decision.route);
    trace_text(w, "weir.rule", x->decision.rule);
    trace_text(w, "weir.outcome", str_from(x->outcome));
    if (x->cascade.result)
        trace_text(w, "weir.cascade", str_from(x->cascade.result));
    if (x->cost >= 0)
        trace_double(w, "weir.cost_usd", (double)x->cost / 1e9);
    if (s->first_ns > 0)
        trace_double(w, "weir.first_token_seconds", (double)(s->first_ns - s->started_ns) / 1e9);
    trace_span_end(w, &span);
}

void observe_trace_settled(const struct exchange *x, const struct chat_usage *usage)
{
    struct buf text;
    struct json_writer w;
    int n = 2;
    if (!x->seen.recorded)
        return;
    buf_init(&text, SPANS_BYTES);
    json_writer_init(&w, &text);
    span_root(x, usage, &w);
    span_decide(x, &w);
    for (size_t i = 0; i < x->attempts.count; i++)
        n += span_attempt(x, &x->attempts.list[i], &w);
    if (!text.failed)
        telemetry_add(x->shard->telemetry, buf_str(&text), n);
    buf_free(&text);
}
