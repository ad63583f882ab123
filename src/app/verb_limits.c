#include "app/verb_limits.h"

#include <stdio.h>

#include "app/verb_state.h"

bool verb_limits_given(const struct verb_limits *o)
{
    return o->budget || o->requests || o->tokens || o->parallel || o->models;
}

int verb_limits_read(const struct verb_limits *o, struct store_limits *l, struct error *err)
{
    int rc = o->budget ? limits_budget_read(str_from(o->budget), l, err) : 0;
    if (rc == 0 && o->requests)
        rc = limits_count_read("requests", str_from(o->requests), &l->requests, err);
    if (rc == 0 && o->tokens)
        rc = limits_count_read("tokens", str_from(o->tokens), &l->tokens, err);
    if (rc == 0 && o->parallel)
        rc = limits_count_read("parallel", str_from(o->parallel), &l->parallel, err);
    return rc || !o->models ? rc : limits_models_read(str_from(o->models), l, err);
}

/* Rounded up, to the cent, below a dollar to its hundredth: nothing that was spent is shown as nothing, and a
 * tenth of a cent not as a budget of one. */
static void usd_append(struct buf *out, int64_t nano_usd)
{
    if (nano_usd <= 0 || nano_usd >= 1000000000)
        buf_append_decimal(out, (nano_usd + 9999999) / 10000000, 2);
    else
        buf_append_decimal(out, (nano_usd + 99999) / 100000, 4);
}

/* "0.42 of 10.00/day, 3.10 of 100.00/month"; without a budget what was spent in all. */
static void spent_write(const struct budget_view *v, struct buf *out)
{
    static const enum period order[] = {PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_TOTAL};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        enum period p = order[i];
        struct store_limits one = limits_none(STR_NONE, STR_NONE);
        one.usd[p] = v->limits.usd[p];
        if (one.usd[p] < 0)
            continue;
        buf_append_text(out, out->len ? ", " : "");
        usd_append(out, v->used[p]);
        buf_append_text(out, " of ");
        limits_budget_write(&one, out);
    }
    if (out->len == 0)
        usd_append(out, v->used[PERIOD_TOTAL]);
}

static void limits_write(const struct store_limits *l, struct buf *out)
{
    const struct {
        int64_t n;
        const char *what;
    } limits[] = {{l->requests, "requests/min"}, {l->tokens, "tokens/min"}, {l->parallel, "at a time"}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].n >= 0)
            buf_appendf(out, "%s%lld %s", out->len ? ", " : "", (long long)limits[i].n, limits[i].what);
    if (l->models.len > 0)
        buf_appendf(out, "%sonly " STR_FMT, out->len ? ", " : "", STR_ARG(l->models));
    if (out->len == 0)
        buf_append_char(out, '-');
}

void verb_limits_print(const struct budget_view *v)
{
    struct buf text;
    buf_init(&text, 2 * LIMITS_MODELS_MOST);
    spent_write(v, &text);
    verb_print_cell(buf_str(&text), 40);
    putchar(' ');
    buf_clear(&text);
    limits_write(&v->limits, &text);
    verb_print_cell(buf_str(&text), 0);
    putchar('\n');
    buf_free(&text);
}
