#include "exchange/exchange.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "exchange/attempts.h"

/*        DECIDE -> RECORD -> DISPATCH <-> STREAM -> SETTLE
 *          |          |          |                    ^
 *          +----------+----------+--------------------+      each may go straight to SETTLE
 */
struct exchange {
    struct exchange_shard *shard;
    struct exchange_world *world;
    struct chat_request *request;
    struct exchange_client client;
    bool client_gone;
    char request_id[64];
    struct str api;
    bool identified;
    struct govern_identity identity;
    struct route_decision decision;
    struct attempts attempts;
    const struct exchange_model *model; /* of the current attempt */
    struct provider_call *call;
    struct loop_timer *first_event;
    bool begun;  /* the client has been told who answers */
    bool paused; /* by the client's watermark */
    int64_t started_ms, attempt_ms, first_token_ms;
    struct chat_usage usage;
    int64_t cost;
    const char *outcome;
    struct exchange_failure failure; /* when status is not 200 */
    bool failed;                     /* `fail` is still to be called */
};

static void dispatch(struct exchange *x);
static void settle(struct exchange *x, const char *outcome);

/* ---- SETTLE ---- */

static void count_outcome(struct exchange *x)
{
    struct str model = x->model ? x->model->name : STR_NONE;
    struct meter_label labels[] = {
        {"model", model}, {"rule", x->decision.rule}, {"outcome", str_from(x->outcome)}};
    meter_count(
        x->shard->meter, "weir_requests_total", "Requests, by who answered, rule and outcome.", labels, 3, 1);
    meter_observe(x->shard->meter, "weir_request_seconds", "From request to the end of the answer.", labels,
        1, (double)(clock_mono_ms() - x->started_ms) / 1000);
    if (x->first_token_ms >= 0)
        meter_observe(x->shard->meter, "weir_first_token_seconds",
            "From request to the first piece of the answer.", labels, 1, (double)x->first_token_ms / 1000);
    if (x->usage.input_tokens > 0)
        meter_count(x->shard->meter, "weir_input_tokens_total", "Prompt tokens.", labels, 1,
            (double)x->usage.input_tokens);
    if (x->usage.output_tokens > 0)
        meter_count(x->shard->meter, "weir_output_tokens_total", "Answer tokens.", labels, 1,
            (double)x->usage.output_tokens);
    if (x->cost > 0)
        meter_count(x->shard->meter, "weir_cost_usd_total", "Cost by the price table.", labels, 1,
            (double)x->cost / 1e9);
}

static void exchange_free(struct exchange *x)
{
    x->shard->n_open--;
    provider_call_close(x->call);
    loop_timer_free(x->first_event);
    exchange_world_unref(x->world);
    arena_free(x->request->arena);
    free(x);
}

/* The row is kept, or cannot be: either way the client gets the end of its answer. */
static void on_settled(void *ctx, int code)
{
    struct exchange *x = ctx;
    if (code)
        log_error("exchange", "request %s could not be settled in the ledger: %s", x->request_id,
            error_code_name(code));
    if (!x->client_gone && x->failed)
        x->client.fail(x->client.ctx, &x->failure);
    else if (!x->client_gone)
        x->client.end(x->client.ctx, &x->usage, x->cost);
    exchange_free(x);
}

static void on_unsettled(void *ctx)
{
    on_settled(ctx, ERROR_BUSY);
}

static void settle(struct exchange *x, const char *outcome)
{
    struct error err;
    provider_call_close(x->call);
    x->call = NULL;
    if (x->first_event)
        loop_timer_stop(x->first_event);
    x->outcome = outcome;
    x->cost = x->model ? govern_price_cost(&x->model->price, &x->usage) : 0;
    count_outcome(x);
    bool answered = x->begun && x->model;
    struct store_settled row = {.request_id = str_from(x->request_id),
        .provider = answered ? provider_name(x->model->target.provider) : STR_NONE,
        .model = answered ? x->model->name : STR_NONE,
        .attempts = attempts_json(&x->attempts, x->request->arena),
        .input_tokens = x->usage.input_tokens,
        .cached_tokens = x->usage.cached_tokens,
        .output_tokens = x->usage.output_tokens,
        .cost_nano_usd = x->cost,
        .first_token_ms = x->first_token_ms,
        .total_ms = clock_mono_ms() - x->started_ms,
        .outcome = str_from(outcome),
        .status = x->client_gone ? 499
                  : x->failed    ? x->failure.status
                                 : 200};
    struct store_done done = {x->shard->loop, on_settled, x};
    if (store_ledger_settle(x->shard->store, &row, done, &err)) {
        log_error("exchange", "%s", err.message);
        loop_post(x->shard->loop, on_unsettled, x);
    }
}

static void fail(struct exchange *x, const struct exchange_failure *failure, const char *outcome)
{
    x->failed = true;
    x->failure = *failure;
    x->failure.about.rule = x->decision.rule;
    settle(x, outcome);
}

/* ---- STREAM ---- */

static void attempt_failed(struct exchange *x, const struct chat_failure *failure)
{
    provider_call_close(x->call);
    x->call = NULL;
    if (x->first_event)
        loop_timer_stop(x->first_event);
    attempts_end(&x->attempts, x->request->arena, failure, clock_mono_ms() - x->attempt_ms);
    struct meter_label labels[] = {
        {"model", x->model->name}, {"reason", str_from(error_code_name(failure->code))}};
    meter_count(
        x->shard->meter, "weir_target_failures_total", "Attempts at a target that failed.", labels, 2, 1);
    if (failure->retryable) {
        dispatch(x);
        return;
    }
    struct exchange_failure out = attempts_failure(&x->attempts, x->request->arena);
    fail(x, &out, "failed");
}

static void begin(struct exchange *x)
{
    if (x->begun)
        return;
    x->begun = true;
    x->first_token_ms = clock_mono_ms() - x->started_ms;
    if (x->first_event)
        loop_timer_stop(x->first_event);
    exchange_latency_add(x->model->latency, (double)(clock_mono_ms() - x->attempt_ms));
    struct exchange_about about = {
        x->model->name, provider_name(x->model->target.provider), x->decision.rule, x->usage};
    x->client.begin(x->client.ctx, &about);
}

static void on_event(void *ctx, const struct chat_event *event)
{
    struct exchange *x = ctx;
    switch (event->kind) {
    case CHAT_EVENT_START:
        return;
    case CHAT_EVENT_USAGE:
        x->usage = event->usage;
        return;
    case CHAT_EVENT_ERROR:
        if (!x->begun) {
            attempt_failed(x, &event->failure);
            return;
        }
        attempts_end(&x->attempts, x->request->arena, &event->failure, clock_mono_ms() - x->attempt_ms);
        x->client.event(x->client.ctx, event);
        settle(x, "failed");
        return;
    case CHAT_EVENT_STOP:
        begin(x);
        attempts_end(&x->attempts, x->request->arena, NULL, clock_mono_ms() - x->attempt_ms);
        x->client.event(x->client.ctx, event);
        settle(x, "ok");
        return;
    default:
        begin(x);
        x->client.event(x->client.ctx, event);
    }
}

static void on_first_event_late(void *ctx)
{
    struct exchange *x = ctx;
    struct chat_failure failure = {.code = ERROR_TIMEOUT,
        .retryable = true,
        .retry_after_ms = -1,
        .message = STR("it gave no answer within its time")};
    attempt_failed(x, &failure);
}

/* ---- DISPATCH ---- */

static int attempt_start(struct exchange *x, struct error *err)
{
    int rc = provider_supports(&x->model->target, x->request, err);
    if (rc)
        return rc;
    struct provider_start start = {.loop = x->shard->loop,
        .egress = x->shard->egress,
        .permit = x->decision.permit,
        .model = &x->model->target,
        .request = x->request,
        .sink = {on_event, x}};
    rc = provider_call_start(&start, &x->call, err);
    if (rc == 0 && x->model->first_event_timeout_ms > 0) {
        if (!x->first_event)
            x->first_event = loop_timer_create(x->shard->loop, on_first_event_late, x);
        loop_timer_start(x->first_event, x->model->first_event_timeout_ms);
    }
    return rc;
}

/* Starts the next target that can be started; where none is left, fails naming each attempt. */
static void dispatch(struct exchange *x)
{
    while (x->attempts.count < x->decision.n_targets) {
        struct error err;
        struct str name = x->decision.targets[x->attempts.count];
        x->model = exchange_world_find(x->world, name);
        assert(x->model); /* the policy was compiled against this world's models */
        x->attempt_ms = clock_mono_ms();
        attempts_begin(&x->attempts, name, provider_name(x->model->target.provider));
        int rc = attempt_start(x, &err);
        if (rc == 0) {
            if (x->paused)
                provider_call_pause(x->call, true);
            return;
        }
        struct chat_failure failure = {.code = rc, .retry_after_ms = -1, .message = str_from(err.message)};
        attempts_end(&x->attempts, x->request->arena, &failure, clock_mono_ms() - x->attempt_ms);
    }
    struct exchange_failure failure = attempts_failure(&x->attempts, x->request->arena);
    fail(x, &failure, failure.status < 500 && failure.status != 429 ? "refused" : "failed");
}

static void on_dispatch(void *ctx)
{
    struct exchange *x = ctx;
    if (!x->client_gone)
        dispatch(x);
}

/* ---- DECIDE and RECORD ---- */

static double fact_queue(void *ctx)
{
    return exchange_world_queue(((struct exchange *)ctx)->world);
}

static double fact_latency(void *ctx, struct str model)
{
    const struct exchange_model *m = exchange_world_find(((struct exchange *)ctx)->world, model);
    return m ? exchange_latency_median(m->latency) : -1;
}

static int decide(struct exchange *x, const struct exchange_origin *origin, struct error *err)
{
    struct router_context context = {.request_id = str_from(x->request_id),
        .key = str_from(x->identified ? x->identity.name : ""),
        .team = str_from(x->identified ? x->identity.team : ""),
        .tags = origin->tags,
        .n_tags = origin->n_tags,
        .batch = origin->batch,
        .boundary_local = origin->boundary_local,
        .wall_ms = clock_wall_ms(),
        .mono_ms = clock_mono_ms(),
        .local_queue = fact_queue,
        .latency_ms = fact_latency,
        .ctx = x};
    return router_decide(exchange_world_policy(x->world), x->request, &context, &x->decision, err);
}

static struct str decision_json(struct exchange *x)
{
    struct buf text;
    struct json_writer w;
    struct str kept = STR_NONE;
    buf_init(&text, 4 * MIB);
    json_writer_init(&w, &text);
    route_decision_write(&x->decision, &w);
    if (text.failed || arena_try_copy(x->request->arena, buf_str(&text), &kept))
        kept = STR("{}");
    buf_free(&text);
    return kept;
}

static int record(struct exchange *x, struct error *err)
{
    struct store_opened row = {.request_id = str_from(x->request_id),
        .wall_ms = clock_wall_ms(),
        .key_id = str_from(x->identified ? x->identity.key_id : ""),
        .team = str_from(x->identified ? x->identity.team : ""),
        .api = x->api,
        .model = x->request->model,
        .route = x->decision.route,
        .rule = x->decision.rule,
        .boundary = x->decision.boundary == EGRESS_BOUNDARY_ANY ? STR("any") : STR("local"),
        .sensitive = x->decision.findings.sensitive,
        .decision = decision_json(x)};
    return store_ledger_open(x->shard->store, &row, (struct store_done){NULL, NULL, NULL}, err);
}

int exchange_status(int code)
{
    switch (code) {
    case ERROR_NOT_FOUND:
        return 404;
    case ERROR_DENIED:
        return 403;
    case ERROR_LIMIT:
        return 413;
    case ERROR_BUSY:
    case ERROR_UNAVAILABLE:
    case ERROR_MEMORY:
        return 503;
    case ERROR_INVALID:
    case ERROR_UNSUPPORTED:
        return 400;
    default:
        return 500;
    }
}

/* A failure before any attempt. */
static void refuse(struct exchange *x, int code, struct str message)
{
    struct exchange_failure failure = {.status = exchange_status(code),
        .code = code,
        .message = arena_copy(x->request->arena, message),
        .retry_after_ms = code == ERROR_BUSY ? 1000 : -1,
        .about = {.rule = x->decision.rule}};
    fail(x, &failure, "refused");
}

struct exchange *exchange_start(struct exchange_shard *shard, struct chat_request *request,
    const struct exchange_origin *origin, const struct exchange_client *client)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        abort();
    x->shard = shard;
    shard->n_open++;
    x->world = exchange_world_ref(shard->world);
    x->request = request;
    x->client = *client;
    x->api = arena_copy(request->arena, origin->api);
    memcpy(x->request_id, origin->request_id.data,
        origin->request_id.len < sizeof x->request_id ? origin->request_id.len : sizeof x->request_id - 1);
    x->identified = origin->identity != NULL;
    if (origin->identity)
        x->identity = *origin->identity;
    x->started_ms = clock_mono_ms();
    x->first_token_ms = -1;
    x->usage = (struct chat_usage){.input_tokens = -1, .output_tokens = -1};
    struct error decided, recorded;
    int decide_rc = decide(x, origin, &decided);
    int record_rc = record(x, &recorded);
    if (decide_rc)
        refuse(x, decide_rc, str_from(decided.message));
    else if (record_rc)
        refuse(x, record_rc, str_from(recorded.message));
    else
        loop_post(shard->loop, on_dispatch, x);
    return x;
}

void exchange_pause(struct exchange *x, bool paused)
{
    x->paused = paused;
    if (x->call)
        provider_call_pause(x->call, paused);
}

void exchange_cancel(struct exchange *x)
{
    x->client_gone = true;
    if (x->outcome)
        return; /* already settling */
    struct chat_failure gone = {
        .code = ERROR_CANCELLED, .retry_after_ms = -1, .message = STR("the client left")};
    if (x->call)
        attempts_end(&x->attempts, x->request->arena, &gone, clock_mono_ms() - x->attempt_ms);
    settle(x, "client_gone");
}
