/* SETTLE: what an exchange used and cost goes into the meter and the ledger; then the client gets its end. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "exchange/exchange_inner.h"
#include "exchange/learn.h"

static void exchange_free(struct exchange *x)
{
    x->shard->n_open--;
    for (int i = 0; i < LEGS; i++)
        leg_free(&x->legs[i]);
    loop_timer_free(x->hedge);
    loop_timer_free(x->deadline);
    loop_timer_free(x->turn);
    recall_free(x);
    router_ahead_free(x->ahead);
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

static void usage_count(const struct exchange *x, struct chat_usage *out)
{
    *out = (struct chat_usage){.input_tokens = -1, .output_tokens = -1};
    if (x->counted)
        leg_usage(x->counted, x->complete, out);
    else if (x->kept)
        *out = x->legs[0].usage; /* what it took when it was made; it costs nothing now */
}

/* Nothing of it runs or waits any more. */
static void work_stop(struct exchange *x)
{
    struct loop_timer *const timers[] = {x->hedge, x->deadline, x->turn};
    for (int i = 0; i < LEGS; i++)
        leg_cancel(&x->legs[i], x->client_gone ? "the client left" : "the request is over");
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++)
        if (timers[i])
            loop_timer_stop(timers[i]);
    if (x->judging) {
        judge_leave(x->shard->judge, x->judging);
        x->judging = NULL;
        x->ahead = NULL;
    }
}

static void cost_settle(struct exchange *x)
{
    x->cost = x->counted ? govern_price_cost(&x->counted->model->price, &x->usage) : 0;
    if (x->counted)
        spend_settle(x->counted, x->cost);
    spend_end(x, &x->usage);
    if (x->cost >= 0)
        x->cost += x->given_up_cost;
    else if (x->given_up_cost > 0)
        x->cost = x->given_up_cost; /* what is known of it, and what the budgets have counted */
}

static struct store_settled row_of(const struct exchange *x)
{
    const struct exchange_model *by = x->winner ? x->winner->model : NULL;
    struct store_settled row = {.request_id = x->row_id,
        .opened_ms = x->wall_ms,
        .attempts = attempts_json(&x->attempts, x->request->arena),
        .input_tokens = x->usage.input_tokens,
        .cached_tokens = x->usage.cached_tokens,
        .output_tokens = x->usage.output_tokens,
        .usage_estimated = x->usage.estimated || x->given_up_cost > 0,
        .cost_nano_usd = x->cost,
        .first_token_ms = x->first_token_ms,
        .total_ms = clock_mono_ms() - x->started_ms,
        .outcome = str_from(x->outcome),
        .status = x->client_gone ? 499
                  : x->failed    ? x->failure.status
                                 : 200};
    if (by) {
        row.provider = provider_name(by->target.provider);
        row.model = by->name;
    } else if (x->kept) {
        row.provider = cache_answer_provider(x->kept);
        row.model = cache_answer_model(x->kept);
    }
    return row;
}

void exchange_settle(struct exchange *x, const char *outcome)
{
    struct error err;
    work_stop(x);
    x->outcome = outcome;
    usage_count(x, &x->usage);
    cost_settle(x);
    observe_settled(x, &x->usage);
    learn_settled(x, &x->usage);
    const struct store_settled row = row_of(x);
    struct store_done done = {x->shard->loop, on_settled, x};
    if (store_ledger_settle(x->shard->store, &row, done, &err)) {
        log_error("exchange", "%s", err.message);
        loop_post(x->shard->loop, on_unsettled, x);
    }
}

void exchange_fail(struct exchange *x, const struct exchange_failure *failure, const char *outcome)
{
    x->failed = true;
    x->failure = *failure;
    x->failure.about.rule = x->decision.rule;
    x->failure.about.rates = spend_rates(x);
    exchange_settle(x, outcome);
}
