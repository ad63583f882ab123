#include "app/advise.h"

#include <math.h>
#include <string.h>

static const double DAYS = 365.25 / 12, HOURS = 24 * 365.25 / 12; /* of a month */

static double energy_usd(const struct advise_assumptions *a, double watts, double seconds)
{
    return watts / 1000 * seconds / 3600 * a->kwh_usd;
}

static bool is_worse(const struct advise_assumptions *a)
{
    return a->quality_local < a->quality_cloud * (1 - a->tolerance); /* false where one is not known */
}

static void say(struct advise_group *g, enum advise_where where, const char *why)
{
    g->where = where;
    g->why = why;
}

/* Given a machine: where these are better answered. A machine that works draws more than one that does not;
 * only that is a request's. */
static void group_judge(const struct advise_assumptions *a, struct advise_group *g)
{
    int64_t leave = g->requests - g->must_stay;
    g->cloud_each = leave > 0 ? g->cloud_usd / (double)leave : NAN;
    g->local_each = energy_usd(a, a->watts - a->idle_watts, g->busy_s) / (double)g->requests;
    const enum advise_where outside = g->must_stay > 0 ? ADVISE_HYBRID : ADVISE_CLOUD;
    if (leave == 0)
        say(g, ADVISE_LOCAL, "all of them must stay inside");
    else if (g->requests < a->least)
        say(g, ADVISE_UNKNOWN, "too few requests to say");
    else if (isnan(g->cloud_each))
        say(g, ADVISE_UNKNOWN, "no price is known for them outside: --cloud or --price");
    else if (isnan(g->local_each))
        say(g, ADVISE_UNKNOWN,
            "how fast they are here is not known: --decode and --prefill, as weir bench says");
    else if (is_worse(a))
        say(g, outside, "the local model's answers are not as good");
    else if (g->local_each < g->cloud_each)
        say(g, ADVISE_LOCAL, "energy is cheaper than the provider");
    else
        say(g, outside, "the provider is cheaper than energy");
}

static void costs_sum(const struct advise_assumptions *a, const struct advise_group *groups, size_t n,
    double scale, struct advice *out)
{
    double busy_s = 0;
    out->cloud_usd = out->local_usd = out->mix_usd = 0;
    for (size_t i = 0; i < n; i++) {
        const struct advise_group *g = &groups[i];
        double work = energy_usd(a, a->watts - a->idle_watts, g->busy_s) * scale;
        double leave_work = energy_usd(a, a->watts - a->idle_watts, g->leave_busy) * scale;
        bool outside = g->where == ADVISE_CLOUD || g->where == ADVISE_HYBRID;
        out->requests += (double)g->requests * scale;
        out->spent_usd += g->spent_usd * scale;
        out->cloud_usd += g->cloud_usd * scale;
        out->local_usd += work;
        out->mix_usd += g->where == ADVISE_UNKNOWN ? g->spent_usd * scale
                        : outside                  ? g->cloud_usd * scale + work - leave_work
                                                   : work;
        if (g->where == ADVISE_LOCAL && g->requests > g->must_stay)
            out->saved_usd += g->cloud_usd * scale - leave_work;
        busy_s += g->busy_s * scale;
    }
    out->machines = fmax(1, ceil(busy_s / 3600 / (HOURS * a->load)));
    out->fixed_usd =
        out->machines * (a->hardware_usd / a->months + energy_usd(a, a->idle_watts, HOURS * 3600));
    out->local_usd += out->fixed_usd;
    out->mix_usd += out->fixed_usd;
}

/* How many groups are where; what must stay needs a machine, whatever it costs. */
static void verdict_find(const struct advise_group *groups, size_t n, struct advice *out)
{
    int64_t must = 0, local = 0, outside = 0, unknown = 0;
    for (size_t i = 0; i < n; i++) {
        must += groups[i].must_stay;
        local += groups[i].where == ADVISE_LOCAL;
        outside += groups[i].where == ADVISE_CLOUD || groups[i].where == ADVISE_HYBRID;
        unknown += groups[i].where == ADVISE_UNKNOWN;
    }
    out->where = ADVISE_HYBRID;
    if (local + outside == 0) {
        out->where = ADVISE_UNKNOWN;
        out->why = unknown > 0 ? groups[0].why : "the ledger has no answered requests of that time";
    } else if (must > 0 && local == 0) {
        out->why = "what must stay inside needs a machine; the rest is better off outside";
    } else if (local == 0) {
        out->where = ADVISE_CLOUD;
        out->why = "nothing is better answered here";
    } else if (must == 0 && !(out->saved_usd > out->fixed_usd)) {
        out->where = ADVISE_CLOUD;
        out->why = "what it would save does not pay for a machine";
    } else if (outside == 0) {
        out->where = ADVISE_LOCAL;
        out->why = must > 0 && out->saved_usd <= out->fixed_usd
                       ? "what must stay inside needs a machine, and the rest costs it only energy"
                       : "what it saves pays for the machine";
    } else {
        out->why = "some kinds are better answered here, some outside";
    }
}

void advise(const struct advise_assumptions *a, struct advise_group *groups, size_t n, double days,
    struct advice *out)
{
    double all = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        group_judge(a, &groups[i]);
        all += (double)groups[i].requests;
    }
    double scale = isnan(a->volume) ? DAYS / days : all > 0 ? a->volume / all : 0;
    costs_sum(a, groups, n, scale, out);
    verdict_find(groups, n, out);
    for (size_t i = 0; i < n && out->where == ADVISE_CLOUD; i++)
        if (groups[i].where == ADVISE_LOCAL)
            say(&groups[i], ADVISE_CLOUD, "cheaper here, but not by as much as a machine costs");
    if (out->where == ADVISE_CLOUD)
        out->mix_usd = out->cloud_usd;
    if (out->where == ADVISE_UNKNOWN)
        out->mix_usd = NAN;
    double idle = out->machines * energy_usd(a, a->idle_watts, HOURS * 3600);
    out->break_even = out->saved_usd > 0 ? out->requests * out->fixed_usd / out->saved_usd : INFINITY;
    out->pays_months =
        out->saved_usd > idle ? out->machines * a->hardware_usd / (out->saved_usd - idle) : INFINITY;
}
