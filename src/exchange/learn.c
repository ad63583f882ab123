#include "exchange/learn.h"

#include "base/clock.h"
#include "engine/engine.h"
#include "exchange/exchange_inner.h"
#include "exchange/graded.h"

/* ---- What the router asks ---- */

static double ask_queue(void *ctx)
{
    return exchange_world_queue(((const struct learn_view *)ctx)->world);
}

static double ask_budget_left(void *ctx)
{
    return budget_left(((const struct learn_view *)ctx)->ticket);
}

static double ask_budget_share(void *ctx)
{
    return budget_share(((const struct learn_view *)ctx)->ticket);
}

static struct forecast_guess guess_of(const struct learn_view *v)
{
    return forecast_guess(v->forecast, v->key_id, v->request->model);
}

static double latency_of(const struct learn_view *v, const struct exchange_model *m, int64_t tokens)
{
    struct engine_status s;
    if (!m->target.engine)
        return pace_predict(m->pace, tokens, 0, NULL);
    engine_status(m->target.engine, &s);
    const struct pace_engine engine = {.loaded = s.state == ENGINE_UP,
        .load_ms = s.load_ms,
        .slots = s.slots,
        .active = s.active,
        .queued = s.queued};
    return pace_predict(m->pace, tokens, guess_of(v).cached, &engine);
}

static double ask_latency(void *ctx, struct str model, int64_t tokens)
{
    struct learn_view *v = ctx;
    const struct exchange_model *m = exchange_world_find(v->world, model);
    v->by_latency = true;
    if (!m || m->pool.n == 0)
        return m ? latency_of(v, m, tokens) : -1;
    double least = -1;
    for (size_t i = 0; i < m->pool.n; i++) { /* of a pool: its quickest member's */
        double one = latency_of(v, exchange_world_model(v->world, m->pool.members[i]), tokens);
        least = one >= 0 && (least < 0 || one < least) ? one : least;
    }
    return least;
}

static double ask_cost(void *ctx, struct str model, int64_t tokens)
{
    const struct learn_view *v = ctx;
    const struct exchange_model *m = exchange_world_find(v->world, model);
    if (!m)
        return -1;
    const struct chat_request *r = v->request;
    struct forecast_guess guess = guess_of(v);
    double output = r->kind == CHAT_KIND_ANSWER ? guess.output_tokens : 0;
    if (r->max_tokens >= 0 && output > (double)r->max_tokens)
        output = (double)r->max_tokens;
    double input = pace_tokens(m->pace, tokens);
    const struct chat_usage usage = {.input_tokens = (int64_t)input,
        .cached_tokens = (int64_t)(input * guess.cached),
        .output_tokens = (int64_t)(output * r->n)};
    int64_t nano = govern_price_cost(&m->price, &usage);
    return nano < 0 ? -1 : (double)nano * 1e-9;
}

void learn_context(struct learn_view *v, struct router_context *c)
{
    c->budget_left = ask_budget_left;
    c->budget_share = ask_budget_share;
    c->local_queue = ask_queue;
    c->latency_ms = ask_latency;
    c->cost_usd = ask_cost;
    c->ctx = v;
}

/* ---- What is learned ---- */

/* Kept for a while, so that its client may say how good it was. */
static void answer_keep(const struct exchange *x)
{
    if (!x->shard->graded || exchange_world_settings(x->world)->feedback.len == 0)
        return;
    struct graded_answer a = {.request_id = str_from(x->request_id),
        .key_id = str_from(x->identified ? x->identity.key_id : ""),
        .row_id = x->row_id,
        .route = x->decision.route,
        .model = x->winner->model->name,
        .cost_nano_usd = x->cost};
    for (size_t i = 0; i < x->attempts.count && a.local.len == 0; i++)
        if (x->attempts.list[i].measured.tokens > 0) {
            a.local = x->attempts.list[i].target;
            a.doubt = x->attempts.list[i].measured;
        }
    calibrate_prompt_of(router_question(x->request), &a.prompt);
    graded_add(x->shard->graded, &a);
}

void learn_settled(struct exchange *x, const struct chat_usage *usage)
{
    const struct leg *leg = x->winner;
    if (!leg || !x->complete || x->request->count_only || x->request->kind != CHAT_KIND_ANSWER)
        return;
    const bool estimated = x->prompt_tokens >= 0 || pace_wants_estimate(leg->model->pace);
    const int64_t readings = provider_readings(&leg->model->target, x->request);
    const struct pace_answer answer = {.estimated_tokens = estimated ? readings * spend_prompt_tokens(x) : -1,
        .input_tokens = usage->input_tokens,
        .cached_tokens = usage->cached_tokens,
        .prefill_ns = usage->prefill_ns,
        .total_ms = clock_mono_ms() - leg->since_ms};
    pace_answer_add(leg->model->pace, &answer);
    answer_keep(x);
    if (!x->shard->forecast)
        return;
    const struct forecast_answer length = {.key_id = str_from(x->identified ? x->identity.key_id : ""),
        .route = x->request->model,
        .input_tokens = usage->input_tokens,
        .cached_tokens = usage->cached_tokens,
        .output_tokens = usage->output_tokens < 0 ? -1 : usage->output_tokens / x->request->n};
    forecast_add(x->shard->forecast, &length);
}

enum { ROWS_ENOUGH = 200, ROWS_MOST = 50000 };

struct ledger_lesson {
    const struct exchange_world *world;
    struct forecast *forecast;
    int64_t rows;
};

static int row_learn(void *ctx, const struct store_ledger_row *row)
{
    struct ledger_lesson *l = ctx;
    const struct store_settled *s = &row->settled;
    const struct exchange_model *m = exchange_world_find(l->world, s->model);
    if (!m || !str_is(s->outcome, "ok"))
        return 0;
    if (++l->rows > ROWS_MOST)
        return 1;
    if (s->first_token_ms >= 0)
        pace_first_add(m->pace, (double)s->first_token_ms);
    else
        pace_answer_add(m->pace, &(struct pace_answer){.total_ms = s->total_ms});
    const struct forecast_answer length = {.key_id = row->opened.key_id,
        .route = row->opened.model,
        .input_tokens = s->input_tokens,
        .cached_tokens = s->cached_tokens,
        .output_tokens = s->output_tokens};
    forecast_add(l->forecast, &length);
    return 0;
}

int learn_ledger(const struct exchange_world *w, struct forecast *f, struct store *s, int64_t now_wall_ms,
    struct error *err)
{
    static const int64_t hours[] = {1, 24, 7 * 24};
    struct ledger_lesson l = {w, f, 0};
    int rc = 0;
    for (size_t i = 0; i < sizeof hours / sizeof *hours && rc == 0 && l.rows < ROWS_ENOUGH; i++)
        rc = store_ledger_list(s, now_wall_ms - hours[i] * 3600 * 1000, row_learn, &l, err);
    return rc > 0 ? 0 : rc;
}
