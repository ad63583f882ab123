/* One target being asked: its place, its call and its deadlines. */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "exchange/exchange_inner.h"

enum { PAYING_MS = 1000 }; /* others give back within 50 ms or so what they do not need */
static const struct router_cascade built_in = {.tokens = DOUBT_TOKENS};

static bool leg_enter(struct leg *leg);
static void on_paid(void *ctx);

static void attempt_end(struct leg *leg, const struct chat_failure *failure)
{
    struct exchange *x = leg->x;
    attempts_end(&x->attempts, x->request->arena, leg->attempt, failure, clock_mono_ms() - leg->since_ms);
    struct attempt *a = &x->attempts.list[leg->attempt];
    a->measured = leg->doubt;
    a->doubt = doubt_value(&leg->doubt, x->decision.cascade ? x->decision.cascade : &built_in);
}

/* ---- What came of it, for the target's health ---- */

static enum breaker_result result_of(const struct chat_failure *f)
{
    if (f->status > 0) /* a refusal is an answer */
        return f->retryable && f->code != ERROR_CONTEXT ? BREAKER_FAILED : BREAKER_OK;
    return f->code == ERROR_UNAVAILABLE || f->code == ERROR_TIMEOUT ? BREAKER_FAILED : BREAKER_NEUTRAL;
}

static void result(struct leg *leg, enum breaker_result r, int64_t retry_after_ms)
{
    const struct exchange_model *m = leg->model;
    double latency =
        r == BREAKER_OK && leg->first_ms > 0 && !leg->whole ? (double)(leg->first_ms - leg->since_ms) : -1;
    if (health_result(m->health, r, retry_after_ms, latency))
        observe_opened(leg);
}

void leg_heard(struct leg *leg, const struct chat_event *event)
{
    leg->heard_milli += exchange_heard_in(event);
    if (event->kind == CHAT_EVENT_START && event->start.prompt_tokens > 0) {
        leg->usage.input_tokens = event->start.prompt_tokens;
        leg->usage.cached_tokens = event->start.cached_tokens;
        leg->drawn = 0;
    } else if (leg->drawn >= 0) {
        leg->drawn += event->drawn;
    }
}

void leg_usage(const struct leg *leg, bool complete, struct chat_usage *out)
{
    *out = leg->usage;
    int64_t heard = leg->drawn >= 0 ? leg->drawn : (leg->heard_milli + 999) / 1000;
    bool input_unknown = out->input_tokens < 0;
    bool output_unknown =
        out->output_tokens < 0 || ((!complete || out->goes_on) && out->output_tokens < heard);
    if (input_unknown)
        out->input_tokens = router_tokens(leg->x->request) *
                            (leg->model ? provider_readings(&leg->model->target, leg->x->request) : 1);
    if (output_unknown)
        out->output_tokens = heard;
    out->estimated = input_unknown || (output_unknown && leg->drawn < 0);
}

void leg_given_up(struct leg *leg)
{
    struct exchange *x = leg->x;
    struct chat_usage usage;
    leg_usage(leg, false, &usage);
    int64_t cost = govern_price_cost(&leg->model->price, &usage);
    if (cost <= 0)
        return;
    x->attempts.list[leg->attempt].cost_nano_usd = cost;
    x->given_up_cost += cost;
    spend_settle(leg, cost);
}

/* ---- Deadlines ---- */

static void on_timer(void *ctx);

/* Most legs never need one. */
static void timer_start(struct leg *leg, int64_t delay_ms)
{
    if (!leg->timer)
        leg->timer = loop_timer_create(leg->x->shard->loop, on_timer, leg);
    loop_timer_start(leg->timer, delay_ms);
}

static void timer_stop(struct leg *leg)
{
    if (leg->timer)
        loop_timer_stop(leg->timer);
}

static void nearer(int64_t *at_ms, int64_t from_ms, int64_t limit_ms)
{
    if (limit_ms > 0 && from_ms + limit_ms < *at_ms)
        *at_ms = from_ms + limit_ms;
}

/* When the leg, as it is now, has waited too long; INT64_MAX: never. */
static int64_t deadline_of(const struct leg *leg, const char **what)
{
    const struct exchange_patience *p = &leg->model->patience;
    int64_t total = INT64_MAX, at = INT64_MAX;
    nearer(&total, leg->since_ms, p->total_ms);
    if (leg->x->winner != leg)
        nearer(&at, leg->since_ms, p->first_token_ms);
    else if (!leg->x->paused)
        nearer(&at, leg->heard_ms, p->idle_ms);
    *what = total < at              ? "its answer took longer than its 'timeout'"
            : leg->x->winner != leg ? "it gave no answer within its time"
                                    : "it stopped in the middle of its answer";
    return total < at ? total : at;
}

static void deadline_arm(struct leg *leg)
{
    const char *what;
    if (leg->unpaid) /* its timer cuts it off */
        return;
    int64_t at = deadline_of(leg, &what);
    if (at == INT64_MAX) {
        timer_stop(leg);
        return;
    }
    int64_t left = at - clock_mono_ms();
    timer_start(leg, left > 0 ? left : 0);
}

static void on_running_timer(struct leg *leg)
{
    const char *what;
    struct chat_event cut = {.kind = CHAT_EVENT_ERROR};
    if (!spend_covers(leg, &cut.failure)) {
        exchange_leg_event(leg, &cut);
        return;
    }
    if (leg->unpaid) { /* there is enough after all */
        leg_paid(leg);
        return;
    }
    if (deadline_of(leg, &what) > clock_mono_ms()) {
        deadline_arm(leg); /* something came meanwhile */
        return;
    }
    const struct chat_event late = {.kind = CHAT_EVENT_ERROR,
        .failure = {
            .code = ERROR_TIMEOUT, .retryable = true, .retry_after_ms = -1, .message = str_from(what)}};
    if (leg->x->winner != leg)
        leg_given_up(leg); /* it was sent, and may well be worked on */
    exchange_leg_event(leg, &late);
}

/* ---- Places ---- */

static void refused(struct leg *leg, int code, const char *message)
{
    struct exchange *x = leg->x;
    const struct chat_failure f = {.code = code,
        .retryable = true,
        .retry_after_ms = code == ERROR_BUSY ? 1000 : -1,
        .message = str_from(message)};
    leg->attempt = attempts_begin(
        &x->attempts, x->request->arena, leg->model->name, provider_name(leg->model->target.provider));
    attempts_end(&x->attempts, x->request->arena, leg->attempt, &f, clock_mono_ms() - leg->since_ms);
    result(leg, BREAKER_NEUTRAL, -1);
}

static void on_waiting_timer(struct leg *leg)
{
    health_give_up(leg->wait);
    leg->wait = NULL;
    leg->state = LEG_IDLE;
    observe_waited(leg, false);
    refused(leg, ERROR_BUSY, "it is busy and no place came free in time");
    dispatch_next(leg);
}

static void on_timer(void *ctx)
{
    struct leg *leg = ctx;
    if (leg->state == LEG_RUNNING) {
        on_running_timer(leg);
    } else if (leg->state == LEG_WAITING) {
        on_waiting_timer(leg);
    } else if (leg->state == LEG_PAYING) {
        on_paid(leg);
    } else if (leg->state == LEG_BACKOFF) {
        leg->state = LEG_IDLE;
        /* It may have become known as broken meanwhile. */
        if ((!leg->forced && !health_admit(leg->model->health)) || !leg_enter(leg))
            dispatch_next(leg);
    }
}

static void release(struct leg *leg)
{
    spend_drop(leg);
    provider_call_close(leg->call);
    leg->call = NULL;
    if (leg->wait)
        health_give_up(leg->wait);
    leg->wait = NULL;
    if (leg->has_place)
        health_leave(leg->model->health);
    leg->has_place = false;
    timer_stop(leg);
    leg->state = LEG_IDLE;
    if (leg != leg->x->counted) /* of that one SETTLE knows the cost */
        spend_settle(leg, 0);
}

/* ---- Asking ---- */

static void on_restored(void *ctx, const struct chat_event *event)
{
    exchange_leg_event(ctx, event);
}

/* A whole answer costs both sides less than a stream that is put together; but where something depends on
 * when the first token comes, or on its pieces, only a stream tells. */
static bool asks_whole(const struct leg *leg)
{
    const struct exchange *x = leg->x;
    const struct exchange_patience *p = &leg->model->patience;
    bool pieces = x->request->stream || x->decision.hedge_ms > 0 || x->by_latency || p->first_token_ms > 0 ||
                  p->idle_ms > 0;
    return !pieces && provider_answers_whole(&leg->model->target, x->request);
}

static void on_event(void *ctx, const struct chat_event *event)
{
    struct leg *leg = ctx;
    if (leg->restore)
        restore_event(leg->restore, event, (struct chat_sink){on_restored, leg});
    else
        exchange_leg_event(leg, event);
}

/* What the target is asked: outside goes what is masked, with a permit for that alone. */
static const struct router_masked *masked_for(const struct leg *leg, const struct exchange_model *model)
{
    return provider_is_inside(model->target.provider) ? NULL : leg->x->decision.masked;
}

/* The embedded engine is asked to tell how sure it is, where somebody wants to know. */
static const struct chat_request *measured(struct leg *leg, const struct chat_request *request)
{
    struct exchange *x = leg->x;
    const struct router_cascade *cascade = cascade_started(leg);
    const int32_t tokens = cascade && cascade->tokens > x->measure ? cascade->tokens : x->measure;
    if (tokens == 0)
        return request;
    struct chat_request *copy = arena_new(x->request->arena, struct chat_request);
    *copy = *request;
    copy->measure = tokens;
    copy->measure_prompt = x->measure > 0 || (cascade && router_cascade_uses(cascade, DOUBT_PROMPT));
    copy->measure_again = x->measure_again                                       ? CHAT_AGAIN_ALWAYS
                          : cascade && router_cascade_uses(cascade, DOUBT_AGAIN) ? CHAT_AGAIN_WHERE_FREE
                                                                                 : CHAT_AGAIN_NEVER;
    return copy;
}

static int call_start(struct leg *leg, struct error *err)
{
    struct exchange *x = leg->x;
    leg->whole = asks_whole(leg);
    const struct router_masked *masked = masked_for(leg, leg->model);
    restore_free(leg->restore);
    leg->restore = masked ? restore_create(masked->mask) : NULL;
    struct provider_start start = {.loop = x->shard->loop,
        .egress = x->shard->egress,
        .permit = masked ? masked->permit : x->decision.permit,
        .model = &leg->model->target,
        .request = masked ? masked->request : x->request,
        .whole = leg->whole,
        .one_call = leg->model->limits.max_in_flight > 0, /* it has one place there */
        .connect_timeout_ms = leg->model->patience.connect_ms,
        .sink = {on_event, leg}};
    start.n_headers = observe_headers(leg, start.headers);
    if (leg->model->target.engine)
        start.request = measured(leg, start.request);
    return provider_call_start(&start, &leg->call, err);
}

/* When it is worth coming again to a model of our own whose queue is full. */
static int64_t busy_ms(const struct leg *leg)
{
    enum { LEAST_MS = 1000, MOST_MS = 10 * 60 * 1000 };
    struct engine_status s = {.wait_ms = -1};
    if (leg->model->target.engine)
        engine_status(leg->model->target.engine, &s);
    return s.wait_ms < LEAST_MS ? LEAST_MS : s.wait_ms < MOST_MS ? s.wait_ms : MOST_MS;
}

/* It has a place, and is paid for. */
static bool leg_ask(struct leg *leg)
{
    struct exchange *x = leg->x;
    struct error err;
    int rc = call_start(leg, &err);
    if (rc) {
        const struct chat_failure f = {.code = rc,
            .retry_after_ms = rc == ERROR_BUSY ? busy_ms(leg) : -1,
            .message = arena_copy(x->request->arena, str_from(err.message))};
        leg_end(leg, &f);
        return false;
    }
    x->sent = true;
    leg->state = LEG_RUNNING;
    if (x->paused)
        provider_call_pause(leg->call, true);
    deadline_arm(leg);
    return true;
}

/* Other gateways gave something back, or will not; or it was waited for long enough. */
static void on_paid(void *ctx)
{
    struct leg *leg = ctx;
    struct chat_failure f;
    timer_stop(leg);
    if (spend_paid(leg, &f) == 0) {
        if (!leg_ask(leg))
            dispatch_next(leg);
        return;
    }
    leg_end(leg, &f);
    dispatch_next(leg);
}

/* It has a place. */
static bool leg_start(struct leg *leg)
{
    struct exchange *x = leg->x;
    struct chat_failure f;
    leg->since_ms = clock_mono_ms();
    leg->first_ms = 0;
    leg->usage = (struct chat_usage){.input_tokens = -1, .output_tokens = -1};
    leg->heard_milli = 0;
    leg->drawn = -1;
    leg->n_stopped = 0;
    leg->doubt = (struct doubt){0};
    leg->compared = false;
    leg->rests = leg->unpaid = false;
    leg->attempt = attempts_begin(
        &x->attempts, x->request->arena, leg->model->name, provider_name(leg->model->target.provider));
    if (spend_reserve(leg, on_paid, &f) == 0)
        return leg_ask(leg);
    if (leg->paying) {
        leg->state = LEG_PAYING;
        timer_start(leg, PAYING_MS);
        return true;
    }
    leg_end(leg, &f);
    return false;
}

static void on_granted(void *ctx)
{
    struct leg *leg = ctx;
    leg->wait = NULL;
    leg->has_place = true;
    observe_waited(leg, true);
    timer_stop(leg);
    if (!leg_start(leg))
        dispatch_next(leg);
}

static bool leg_enter(struct leg *leg)
{
    struct exchange *x = leg->x;
    leg->since_ms = clock_mono_ms();
    switch (
        health_enter(leg->model->health, x->request->asker, x->shard->loop, on_granted, leg, &leg->wait)) {
    case GATE_OPEN:
        leg->has_place = true;
        return leg_start(leg);
    case GATE_WAIT:
        leg->state = LEG_WAITING;
        timer_start(leg, leg->model->patience.queue_ms);
        return true;
    default:
        refused(leg, ERROR_BUSY, "it is busy with as many requests as it may have");
        return false;
    }
}

size_t leg_masked(const struct leg *leg)
{
    const struct router_masked *masked = masked_for(leg, leg->model);
    return masked ? masked->count : 0;
}

bool leg_take(struct leg *leg, const struct exchange_model *model, bool forced)
{
    struct exchange *x = leg->x;
    struct error err;
    assert(leg->state == LEG_IDLE);
    leg->model = model;
    leg->tried = 0;
    leg->forced = forced;
    const struct router_masked *masked = masked_for(leg, model);
    int rc = provider_supports(&model->target, masked ? masked->request : x->request, &err);
    if (rc) {
        const struct chat_failure f = {.code = rc, .retry_after_ms = -1, .message = str_from(err.message)};
        leg->attempt = attempts_begin(
            &x->attempts, x->request->arena, model->name, provider_name(model->target.provider));
        attempts_end(&x->attempts, x->request->arena, leg->attempt, &f, 0);
        return false;
    }
    if (!forced && !health_admit(model->health)) {
        attempts_pass(&x->attempts, x->request->arena, model->name, provider_name(model->target.provider));
        if (!x->passed)
            x->passed = model;
        return false;
    }
    return leg_enter(leg);
}

void leg_again(struct leg *leg, int64_t delay_ms)
{
    assert(leg->state == LEG_IDLE);
    leg->tried++;
    leg->state = LEG_BACKOFF;
    timer_start(leg, delay_ms);
}

void leg_measured(struct leg *leg, const struct chat_event *e)
{
    struct doubt *d = &leg->doubt;
    if (e->choice > 0)
        return;
    if (e->measure.of == CHAT_MEASURED_TOKEN) {
        doubt_add(d, e->measure.logprob, e->measure.entropy);
    } else if (e->measure.of == CHAT_MEASURED_PROMPT) {
        d->has_prompt = true;
        d->prompt_logprob = e->measure.logprob;
    } else {
        leg->compared = true;
        d->has_again = !isnan(e->measure.agreement);
        d->agreement = d->has_again ? e->measure.agreement : 0;
    }
}

/* Not to be asked for more: by the client's watermark, or while it is not paid for. */
static void call_pause(struct leg *leg, bool paused)
{
    provider_call_pause(leg->call, paused || leg->unpaid);
}

void leg_rest(struct leg *leg)
{
    leg->rests = true;
    leg->unpaid = false;
    provider_call_pause(leg->call, true);
    timer_stop(leg);
}

void leg_go_on(struct leg *leg)
{
    leg->rests = false;
    leg->since_ms = leg->heard_ms = clock_mono_ms();
    call_pause(leg, leg->x->paused);
    deadline_arm(leg);
}

void leg_pause(struct leg *leg, bool paused)
{
    if (!leg->call || leg->rests)
        return;
    call_pause(leg, paused);
    leg->heard_ms = clock_mono_ms(); /* what the client held up is not the target's silence */
    deadline_arm(leg);
}

/* The call cannot be closed while it tells of a piece. */
void leg_unpaid(struct leg *leg)
{
    leg->unpaid = true;
    provider_call_pause(leg->call, true);
    timer_start(leg, leg->paying ? PAYING_MS : 0);
}

void leg_paid(struct leg *leg)
{
    leg->unpaid = false;
    leg_pause(leg, leg->x->paused);
}

void leg_begun(struct leg *leg)
{
    leg->first_ms = leg->heard_ms;
    deadline_arm(leg);
}

void leg_end(struct leg *leg, const struct chat_failure *failure)
{
    attempt_end(leg, failure);
    /* Without a call nothing was asked. */
    enum breaker_result r = !failure ? BREAKER_OK : leg->call ? result_of(failure) : BREAKER_NEUTRAL;
    result(leg, r, failure ? failure->retry_after_ms : -1);
    if (failure)
        observe_failed(leg);
    release(leg);
}

void leg_cancel(struct leg *leg, const char *why)
{
    struct exchange *x = leg->x;
    if (leg->state == LEG_RUNNING || leg->state == LEG_PAYING) {
        const struct chat_failure f = {
            .code = ERROR_CANCELLED, .retry_after_ms = -1, .message = str_from(why)};
        bool running = leg->state == LEG_RUNNING;
        attempt_end(leg, &f);
        result(leg, BREAKER_NEUTRAL, -1);
        if (running && leg != x->counted)
            leg_given_up(leg);
    } else if (leg->state == LEG_WAITING) {
        observe_waited(leg, false);
        refused(leg, ERROR_CANCELLED, why);
    }
    release(leg);
}

void leg_free(struct leg *leg)
{
    release(leg);
    restore_free(leg->restore);
    loop_timer_free(leg->timer);
}
