#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "exchange/exchange_inner.h"
#include "exchange/learn.h"

/* ---- STREAM ---- */

/* What the tokens of a piece come to, should nobody tell. */
int64_t exchange_heard_in(const struct chat_event *e)
{
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING)
        return router_text_millitokens(e->text);
    if (e->kind == CHAT_EVENT_TOOL_CALL)
        return router_text_millitokens(e->tool_call.name) + router_text_millitokens(e->tool_call.arguments);
    return 0;
}

/* The leg's first event: it answers, and nobody else. */
static void begin(struct leg *leg)
{
    struct exchange *x = leg->x;
    if (x->winner)
        return;
    x->winner = x->counted = leg;
    cascade_answered(leg);
    for (int i = 0; i < LEGS; i++)
        if (&x->legs[i] != leg)
            dispatch_beaten(&x->legs[i]);
    leg_begun(leg);
    if (!leg->whole) {
        x->first_token_ms = leg->first_ms - x->started_ms;
        pace_first_add(leg->model->pace, (double)(leg->first_ms - leg->since_ms));
    }
    struct exchange_about about = {leg->model->name, provider_name(leg->model->target.provider),
        x->decision.rule, recall_state(x), leg_masked(leg), leg->usage, x->cascade.result, x->cascade.doubt,
        spend_rates(x)};
    x->client.begin(x->client.ctx, &about);
}

/* It breaks off after its first event; but a client that wants the whole answer has seen nothing of it. */
static bool begin_again(struct leg *leg, const struct chat_failure *failure)
{
    struct exchange *x = leg->x;
    if (x->request->stream || !x->client.again || x->cascade.state != CASCADE_OFF)
        return false;
    x->winner = x->counted = NULL;
    x->first_token_ms = -1;
    x->seen.piece_ns = 0;
    x->seen.n_stops = 0;
    leg_given_up(leg);
    recall_forget(x);
    x->client.again(x->client.ctx);
    dispatch_failed(leg, failure);
    return true;
}

static void on_error(struct leg *leg, const struct chat_event *event)
{
    struct exchange *x = leg->x;
    if (x->winner != leg) {
        dispatch_failed(leg, &event->failure);
        return;
    }
    if (begin_again(leg, &event->failure))
        return;
    /* Part of the answer is with the client: what is left is to say so. */
    x->client.event(x->client.ctx, event);
    leg_end(leg, &event->failure);
    exchange_settle(x, "failed");
}

void exchange_leg_event(struct leg *leg, const struct chat_event *event)
{
    struct exchange *x = leg->x;
    if (!event->at_once) {
        leg->heard_ns = clock_mono_ns();
        leg->heard_ms = leg->heard_ns / 1000000;
    }
    if (cascade_takes(leg, event))
        return;
    switch (event->kind) {
    case CHAT_EVENT_START:
        leg_heard(leg, event);
        return;
    case CHAT_EVENT_MEASURE:
        leg_measured(leg, event);
        return;
    case CHAT_EVENT_USAGE:
        leg->usage = event->usage;
        if (x->request->count_only) { /* it is the answer, and nothing was used */
            leg->usage = (struct chat_usage){0};
            begin(leg);
            x->client.event(x->client.ctx, event);
        }
        return;
    case CHAT_EVENT_ERROR:
        on_error(leg, event);
        return;
    case CHAT_EVENT_STOP:
        begin(leg);
        observe_stopped(x, event->stop);
        if (++leg->n_stopped < x->request->n) {
            x->client.event(x->client.ctx, event);
            return;
        }
        x->complete = true;
        recall_gather(leg, event);
        x->client.event(x->client.ctx, event);
        leg_end(leg, NULL);
        exchange_settle(x, "ok");
        return;
    default:
        leg_heard(leg, event);
        begin(leg);
        if (!leg->whole)
            observe_piece(x, leg->heard_ns);
        if (!spend_covers(leg, NULL))
            leg_unpaid(leg);
        recall_gather(leg, event);
        x->client.event(x->client.ctx, event);
    }
}

void exchange_fail_attempts(struct exchange *x)
{
    struct exchange_failure failure = attempts_failure(&x->attempts, x->request->arena);
    exchange_fail(
        x, &failure, failure.status < 500 && failure.status != 429 && !x->sent ? "refused" : "failed");
}

static void on_deadline(void *ctx)
{
    struct exchange *x = ctx;
    const struct chat_event late = {.kind = CHAT_EVENT_ERROR,
        .failure = {.code = ERROR_TIMEOUT,
            .retry_after_ms = -1,
            .message = STR("the request took longer than 'request_timeout' allows")}};
    if (x->winner) {
        on_error(x->winner, &late);
        return;
    }
    if (cascade_is_whole(x) && cascade_returns(x))
        return;
    const struct exchange_failure failure = {
        .status = 504, .code = ERROR_TIMEOUT, .message = late.failure.message, .retry_after_ms = -1};
    exchange_fail(x, &failure, "failed");
}

static void deadline_set(struct exchange *x)
{
    int64_t limit = exchange_world_settings(x->world)->request_timeout_ms;
    x->deadline_ms = INT64_MAX;
    if (limit == 0)
        return;
    x->deadline_ms = x->started_ms + limit;
    x->deadline = loop_timer_create(x->shard->loop, on_deadline, x);
    loop_timer_start(x->deadline, limit);
}

static void on_dispatch(void *ctx)
{
    struct exchange *x = ctx;
    if (x->outcome) /* the client left meanwhile */
        return;
    deadline_set(x);
    if (!recall(x))
        dispatch_begin(x);
}

/* ---- DECIDE and RECORD ---- */

static void context_fill(const struct exchange_shard *shard, const struct chat_request *request,
    const struct exchange_origin *origin, const struct budget_ticket *ticket, struct learn_view *view,
    struct router_context *c)
{
    const struct govern_identity *who = origin->identity;
    *view = (struct learn_view){
        shard->world, shard->forecast, request, str_from(who ? who->key_id : ""), ticket, false};
    *c = (struct router_context){.request_id = origin->request_id,
        .key = str_from(who ? who->name : ""),
        .caller = str_from(who ? who->key_id : ""),
        .team = str_from(who ? who->team : ""),
        .tags = origin->tags,
        .n_tags = origin->n_tags,
        .header = origin->header,
        .header_ctx = origin->header_ctx,
        .batch = origin->batch,
        .boundary_local = origin->boundary_local,
        .wall_ms = clock_wall_rough_ms(),
        .mono_ms = clock_mono_rough_ms()};
    learn_context(view, c);
}

static int decide(struct exchange *x, const struct exchange_origin *origin, struct error *err)
{
    struct learn_view view;
    struct router_context context;
    context_fill(x->shard, x->request, origin, &x->ticket, &view, &context);
    context.request_id = str_from(x->request_id);
    context.ahead = x->shard->judge ? &x->ahead : NULL;
    int rc = router_decide(exchange_world_policy(x->world), x->request, &context, &x->decision, err);
    x->by_latency = view.by_latency;
    return rc;
}

void exchange_explain(struct exchange_shard *shard, const struct chat_request *request,
    const struct exchange_origin *origin, struct json_writer *w)
{
    struct error err;
    struct learn_view view;
    struct router_context context;
    struct route_decision decision;
    struct budget_ticket ticket;
    const struct govern_identity *who = origin->identity;
    budget_open(shard->budget, str_from(who ? who->key_id : ""), str_from(who ? who->team : ""),
        clock_wall_ms(), &ticket);
    context_fill(shard, request, origin, &ticket, &view, &context);
    /* Its error is written with the rest. */
    if (router_explain(exchange_world_policy(shard->world), request, &context, false, &decision, w, &err))
        return;
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
    struct store_opened row = {.request_id = x->row_id,
        .wall_ms = x->wall_ms,
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
    case ERROR_CONTEXT:
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
    exchange_fail(x, &failure, "refused");
}

/* Whose turn it takes where it waits for a model of our own, and with whom it shares what such a model has
 * computed of prompts: its team, or, of none, itself. */
static void owner_set(struct exchange *x)
{
    const struct govern_identity *who = &x->identity;
    x->request->asker = x->identified ? str_hash(str_from(who->key_id)) : 0;
    x->request->scope = who->team[0] ? str_hash(str_from(who->team)) : x->request->asker;
}

/* ---- ADMIT ---- */

/* What was not admitted is recorded like any other request, and nothing is computed for it. */
static void record_undecided(struct exchange *x, struct str reason)
{
    struct error err;
    x->decision = (struct route_decision){.request_id = str_from(x->request_id),
        .boundary = EGRESS_BOUNDARY_LOCAL,
        .complexity = NAN,
        .tokens = -1,
        .reason = reason};
    if (record(x, &err))
        log_warn("exchange", "a request that was refused is not in the ledger: %s", err.message);
}

static void set_out(struct exchange *x, const struct exchange_origin *origin);

static void on_turn(void *ctx)
{
    struct exchange *x = ctx;
    const struct exchange_origin *origin = x->waits;
    x->waits = NULL;
    set_out(x, origin);
}

/* What an exchange that waits goes on with; all else that it points to lives until it is decided or left. */
static const struct exchange_origin *origin_keep(struct exchange *x, const struct exchange_origin *origin)
{
    struct exchange_origin *copy = arena_new(x->request->arena, struct exchange_origin);
    *copy = *origin;
    copy->request_id = str_from(x->request_id);
    copy->row_id = x->row_id;
    copy->api = x->api;
    copy->identity = x->identified ? &x->identity : NULL;
    return copy;
}

/* A batch has time: its line waits until its key may ask again, as often as it takes: only the first time
 * takes memory. */
static void wait_for_turn(struct exchange *x, const struct exchange_origin *origin, int64_t wait_ms)
{
    if (!x->turn) {
        origin = origin_keep(x, origin);
        x->turn = loop_timer_create(x->shard->loop, on_turn, x);
    }
    x->waits = origin;
    loop_timer_start(x->turn, wait_ms);
}

static void turn_away(struct exchange *x, struct exchange_failure *limited)
{
    limited->message = arena_copy(x->request->arena, limited->message);
    spend_refused(x, limited);
    record_undecided(x, limited->message);
    exchange_fail(x, limited, "refused");
}

static void decide_and_go(struct exchange *x, const struct exchange_origin *origin);

static void on_judged(void *ctx)
{
    struct exchange *x = ctx;
    const struct exchange_origin *origin = x->waits;
    x->waits = NULL;
    x->judging = NULL;
    decide_and_go(x, origin);
    x->ahead = NULL; /* the job's, and over */
}

static void decide_and_go(struct exchange *x, const struct exchange_origin *origin)
{
    struct error decided, recorded;
    int decide_rc = decide(x, origin, &decided);
    if (router_ahead_waits(x->ahead)) {
        x->waits = origin_keep(x, origin);
        x->judging = judge_begin(x->shard->judge, x->ahead, x->world, x->shard->loop, on_judged, x);
        return;
    }
    observe_decided(x);
    int record_rc = record(x, &recorded);
    if (decide_rc == 0)
        recall_prepare(x, origin);
    if (decide_rc)
        refuse(x, decide_rc, str_from(decided.message));
    else if (record_rc)
        refuse(x, record_rc, str_from(recorded.message));
    else
        loop_post(x->shard->loop, on_dispatch, x);
}

static void set_out(struct exchange *x, const struct exchange_origin *origin)
{
    struct exchange_failure limited;
    struct error refused;
    if (!spend_admit(x, &limited, &refused)) {
        if (origin->batch && limited.code == ERROR_BUSY)
            wait_for_turn(x, origin, limited.retry_after_ms);
        else
            turn_away(x, &limited);
        return;
    }
    decide_and_go(x, origin);
}

struct exchange *exchange_start(struct exchange_shard *shard, struct chat_request *request,
    const struct exchange_origin *origin, const struct exchange_client *client)
{
    /* First: an atomic step waits for all that was written before it, and so not for the exchange's zeros. */
    struct exchange_world *world = exchange_world_ref(shard->world);
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        abort();
    x->shard = shard;
    shard->n_open++;
    x->world = world;
    x->request = request;
    x->client = *client;
    x->api = arena_copy(request->arena, origin->api);
    memcpy(x->request_id, origin->request_id.data,
        origin->request_id.len < sizeof x->request_id ? origin->request_id.len : sizeof x->request_id - 1);
    x->identified = origin->identity != NULL;
    x->measure = origin->measure;
    x->measure_again = origin->measure_again;
    if (origin->identity)
        x->identity = *origin->identity;
    owner_set(x);
    x->row_id = arena_copy(request->arena, origin->row_id.len ? origin->row_id : origin->request_id);
    observe_begin(x, origin);
    x->started_ms = x->seen.started_ns / 1000000;
    x->first_token_ms = -1;
    x->deadline_ms = INT64_MAX;
    for (int i = 0; i < LEGS; i++)
        x->legs[i].x = x;
    spend_begin(x);
    set_out(x, origin);
    return x;
}

bool exchange_asked(const struct exchange *x, struct exchange_about *about)
{
    const struct leg *leg = &x->legs[0];
    if (x->outcome || !leg->model)
        return false;
    *about = (struct exchange_about){.model = leg->model->name,
        .provider = provider_name(leg->model->target.provider),
        .rule = x->decision.rule,
        .cache = recall_state(x),
        .masked = leg_masked(leg),
        .rates = spend_rates(x)};
    return true;
}

bool exchange_was_sent(const struct exchange *x)
{
    return x->sent || x->outcome;
}

void exchange_pause(struct exchange *x, bool paused)
{
    if (x->paused == paused)
        return;
    x->paused = paused;
    for (int i = 0; i < LEGS; i++)
        leg_pause(&x->legs[i], paused);
}

void exchange_cancel(struct exchange *x)
{
    x->client_gone = true;
    if (x->outcome)
        return; /* already settling */
    if (x->waits)
        record_undecided(x, x->judging ? STR("it waited to be judged") : STR("it waited for its turn"));
    for (int i = 0; i < LEGS && !x->counted; i++)
        if (x->legs[i].state == LEG_RUNNING)
            x->counted = &x->legs[i];
    exchange_settle(x, "client_gone");
}
