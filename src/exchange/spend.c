/* What an exchange may do and spend: its way through the budgets (govern/budget.h).
 *
 *   begin --> admit --> (reserve (--> paid) --> settle, for each leg that costs) --> end */
#include "exchange/forecast.h"
#include "exchange/exchange_inner.h"

#include "base/clock.h"

#define WORST 2.0 /* an answer is taken to be at most so much longer than those before it */
#define DOUBT 1.5 /* so much more than the client allows may come: pieces are counted by estimate */

enum { FINEST = 64 }; /* of what is paid for: in steps of less than such a part no more is reserved */

void spend_begin(struct exchange *x)
{
    x->wall_ms = clock_wall_ms();
    x->prompt_tokens = -1;
    budget_open(x->shard->budget, str_from(x->identified ? x->identity.key_id : ""),
        str_from(x->identified ? x->identity.team : ""), x->wall_ms, &x->ticket);
}

int64_t spend_prompt_tokens(struct exchange *x)
{
    if (x->prompt_tokens < 0)
        x->prompt_tokens = x->decision.tokens > 0 ? x->decision.tokens : router_tokens(x->request);
    return x->prompt_tokens;
}

/* Tokens of all choices: what the client allows, else somewhat more than answers were. */
static int64_t output_of(const struct exchange *x)
{
    const struct chat_request *r = x->request;
    if (r->kind != CHAT_KIND_ANSWER)
        return 0;
    if (r->max_tokens >= 0)
        return r->max_tokens * r->n;
    struct str key_id = str_from(x->identified ? x->identity.key_id : "");
    struct forecast_guess guess = forecast_guess(x->shard->forecast, key_id, r->model);
    return (int64_t)(WORST * guess.output_tokens) * r->n;
}

const struct budget_rates *spend_rates(const struct exchange *x)
{
    const struct budget_rates *r = &x->ticket.rates;
    return r->requests.limit >= 0 || r->tokens.limit >= 0 ? r : NULL;
}

static void count_refusal(const struct exchange *x, const char *limit)
{
    const struct str name = str_from(limit);
    const struct meter_labels labels = meter_labels(&name, 1);
    meter_count(x->shard->meter, METER_LIMIT_REFUSALS, &labels, 1);
}

void spend_refused(const struct exchange *x, const struct exchange_failure *f)
{
    count_refusal(x, f->code == ERROR_DENIED ? "models" : f->type.data);
}

bool spend_admit(struct exchange *x, struct exchange_failure *out, struct error *err)
{
    struct budget_refusal why;
    if (!x->ticket.rated)
        return true;
    int64_t tokens =
        x->ticket.token_rated && !x->request->count_only ? spend_prompt_tokens(x) + output_of(x) : 0;
    int rc = budget_admit(&x->ticket, x->request->model, tokens, clock_mono_ns(), &why, err);
    if (rc == 0)
        return true;
    bool denied = rc == ERROR_DENIED;
    *out = (struct exchange_failure){.status = denied ? 403 : 429,
        .code = rc,
        .type = denied ? STR_NONE : str_from(why.type),
        .message = str_from(err->message),
        .retry_after_ms = why.retry_after_ms,
        .about = {.rates = spend_rates(x)}};
    return false;
}

/* What a leg may cost, at most as far as can be told; -1: its price is unknown. */
static int64_t cost_of(const struct leg *leg)
{
    struct exchange *x = leg->x;
    const struct govern_price *price = &leg->model->price;
    struct govern_price worst = *price;
    int64_t estimated = spend_prompt_tokens(x);
    double counted = pace_tokens(leg->model->pace, estimated);
    const struct chat_usage usage = {
        .input_tokens = (counted > (double)estimated ? (int64_t)counted : estimated) *
                        provider_readings(&leg->model->target, x->request),
        .output_tokens = output_of(x)};
    if (worst.cache_write > worst.input)
        worst.input = worst.cache_write; /* a prompt may be written to the provider's cache */
    return govern_price_cost(&worst, &usage);
}

/* The leg cannot be paid. */
static int refuse(
    struct leg *leg, const struct budget_refusal *why, const struct error *err, struct chat_failure *f)
{
    struct exchange *x = leg->x;
    count_refusal(x, "budget");
    x->attempts.list[leg->attempt].unaffordable = true;
    *f = (struct chat_failure){.code = ERROR_BUSY,
        .retryable = true,
        .retry_after_ms = why->retry_after_ms,
        .type = str_from(why->type),
        .message = arena_copy(x->request->arena, str_from(err->message))};
    return ERROR_BUSY;
}

static void reserved(struct leg *leg)
{
    const struct exchange *x = leg->x;
    int64_t milli = 1000 * output_of(x);
    leg->reserved = leg->price;
    leg->covered_milli = x->request->max_tokens >= 0 ? (int64_t)(DOUBT * (double)milli) : milli;
    if (leg->covered_milli < 1000)
        leg->covered_milli = 1000;
}

int spend_reserve(struct leg *leg, void (*told)(void *ctx), struct chat_failure *f)
{
    struct exchange *x = leg->x;
    const struct govern_price *price = &leg->model->price;
    struct budget_refusal why = {-1, "insufficient_quota", false};
    struct error err;
    leg->covered_milli = 0;
    bool free_of_charge = price->known ? price->input <= 0 && price->output <= 0
                                       : provider_is_inside(leg->model->target.provider);
    if (!x->ticket.money || x->request->count_only || free_of_charge)
        return 0;
    leg->price = cost_of(leg);
    int rc = leg->price < 0
                 ? error_set(&err, ERROR_BUSY,
                       "what it costs is not known, so that no budget can hold it: say its 'price'")
                 : budget_reserve(&x->ticket, leg->price, &why, &err);
    if (rc == 0)
        reserved(leg);
    else if (why.held)
        leg->paying = budget_wait_begin(&x->ticket, leg->price, x->shard->loop, told, leg);
    else
        return refuse(leg, &why, &err, f);
    return rc;
}

int spend_paid(struct leg *leg, struct chat_failure *f)
{
    struct budget_refusal why;
    struct error err;
    int rc = budget_wait_end(leg->paying, &why, &err);
    leg->paying = NULL;
    if (rc)
        return refuse(leg, &why, &err, f);
    reserved(leg);
    return 0;
}

/* ---- An answer that outgrows what was reserved for it ---- */

static bool all_came(const struct leg *leg)
{
    return leg->heard_milli > leg->covered_milli;
}

static void on_more(void *ctx);

static void more_reserved(struct leg *leg)
{
    leg->reserved += leg->price;
    leg->covered_milli += leg->more_milli;
}

/* For so much more of the answer; where that is too much for a budget, for a half of it, and so on. */
static int more_reserve(struct leg *leg, int64_t milli, struct budget_refusal *why, struct error *err)
{
    struct exchange *x = leg->x;
    int64_t least = leg->covered_milli / FINEST;
    int rc = ERROR_BUSY;
    for (; rc && milli >= 1000 && milli >= least; milli /= 2) {
        const struct chat_usage as_much = {.output_tokens = (milli + 999) / 1000};
        leg->more_milli = milli;
        leg->price = govern_price_cost(&leg->model->price, &as_much);
        rc = budget_reserve(&x->ticket, leg->price, why, err);
        if (rc == 0)
            more_reserved(leg);
        else if (why->held) {
            leg->paying = budget_wait_begin(&x->ticket, leg->price, x->shard->loop, on_more, leg);
            return rc;
        }
    }
    return rc;
}

static void on_more(void *ctx)
{
    struct leg *leg = ctx;
    struct budget_refusal why;
    struct error err;
    int rc = budget_wait_end(leg->paying, &why, &err);
    leg->paying = NULL;
    if (rc == 0)
        more_reserved(leg);
    else
        rc = more_reserve(leg, leg->more_milli / 2, &why, &err);
    if (rc == 0 && spend_covers(leg, NULL))
        leg_paid(leg); /* it may have been held up for that */
    else if (all_came(leg) && !leg->paying)
        leg_unpaid(leg);
}

/* Asked for when half of what is paid for has come: other gateways have time to give back what they hold. */
bool spend_covers(struct leg *leg, struct chat_failure *f)
{
    if (leg->covered_milli == 0 || leg->whole || (!f && leg->heard_milli < leg->covered_milli / 2))
        return true; /* nearly always; of the rest nothing is set up for that */
    struct budget_refusal why = {-1, "insufficient_quota", false};
    struct error err = {0};
    if (f)
        spend_drop(leg); /* it was waited for long enough */
    while (!leg->paying && leg->heard_milli >= leg->covered_milli / 2)
        if (more_reserve(leg, leg->covered_milli, &why, &err))
            break;
    if (!all_came(leg))
        return true;
    if (f) {
        (void)refuse(leg, &why, &err, f);
        f->message = arena_printf(leg->x->request->arena, "its answer is cut off: %s", err.message);
    }
    return false;
}

void spend_drop(struct leg *leg)
{
    struct budget_refusal why;
    struct error err;
    if (leg->paying && budget_wait_end(leg->paying, &why, &err) == 0)
        budget_settle(&leg->x->ticket, leg->price, 0);
    leg->paying = NULL;
}

void spend_settle(struct leg *leg, int64_t nano_usd)
{
    budget_settle(&leg->x->ticket, leg->reserved, nano_usd);
    leg->reserved = 0;
}

void spend_end(struct exchange *x, const struct chat_usage *usage)
{
    int64_t input = usage->input_tokens > 0 ? usage->input_tokens : 0;
    int64_t output = usage->output_tokens > 0 ? usage->output_tokens : 0;
    budget_close(&x->ticket, x->counted ? input + output : 0);
}
