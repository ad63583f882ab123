/* weir advise, in words or as an object. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/advise_inner.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "base/sort.h"
#include "json/json.h"

double advise_median(const struct advise_samples *s)
{
    struct advise_samples sorted = *s;
    size_t n = s->n < ADVISE_SAMPLES ? s->n : ADVISE_SAMPLES;
    if (n == 0)
        return NAN;
    sort_doubles(sorted.at, n);
    return sorted.at[n / 2];
}

/* ---- Printing ---- */

struct shown {
    const struct advising *x;
    const struct advise_group *groups;
    const struct advice *advice;
    char settings[32][320]; /* what to change, a line each */
    size_t n_settings;
};

static const char *const wheres[] = {"unknown", "local", "cloud", "hybrid"};

static void number_cell(double value, int width, int places)
{
    if (isfinite(value))
        printf(" %*.*f", width, places, value);
    else
        printf(" %*s", width, "-");
}

static void table_print(const struct shown *s)
{
    const struct advising *x = s->x;
    printf("%-16s %-10s %8s %7s %7s %12s %12s %9s %9s  %-7s %s\n", "ASKED FOR", "TASK", "REQUESTS", "INSIDE",
        "STAY", "USD OUTSIDE", "USD HERE", "MS HERE", "MS THERE", "BETTER", "WHY");
    for (size_t i = 0; i < x->n_kinds; i++) {
        const struct advise_group *g = &s->groups[i];
        verb_print_cell(g->route, 16);
        putchar(' ');
        verb_print_cell(g->task, 10);
        printf(" %8" PRId64 " %7" PRId64 " %7" PRId64, g->requests, g->inside, g->must_stay);
        number_cell(g->cloud_each, 12, 6);
        number_cell(g->local_each, 12, 6);
        number_cell(advise_median(&x->kinds[i]->here), 9, 0);
        number_cell(advise_median(&x->kinds[i]->there), 9, 0);
        printf("  %-7s %s\n", wheres[g->where], g->why);
    }
}

static void assumed_print(const struct shown *s)
{
    const struct advising *x = s->x;
    const struct advise_assumptions *a = &x->assumed;
    printf("here: " STR_FMT, STR_ARG(x->local ? x->local->name : STR("no model has answered here")));
    if (!isnan(x->decode))
        printf(", %.1f tokens/s", x->decode);
    if (!isnan(x->prefill))
        printf(" (prompts %.0f/s)", x->prefill);
    printf("; outside: " STR_FMT, STR_ARG(x->cloud ? x->cloud->name : STR("no model")));
    if (x->price.known)
        printf(", %.2f/%.2f USD per million tokens in/out", (double)x->price.input / 1000,
            (double)x->price.output / 1000);
    if (!isnan(a->quality_local) && !isnan(a->quality_cloud))
        printf("; quality %.3f here, %.3f outside", a->quality_local, a->quality_cloud);
    else
        printf("; quality not compared (--quality)");
    printf("\nassumed: a machine for %.0f USD over %.0f months, %.0f W at work, %.0f W idle, %.2f USD/kWh, "
           "at work "
           "%.0f%% of its hours at most\n\n",
        a->hardware_usd, a->months, a->watts, a->idle_watts, a->kwh_usd, 100 * a->load);
}

static void advice_print(const struct shown *s)
{
    const struct advice *d = s->advice;
    char when[32];
    if (s->x->days < 1 && isnan(s->x->assumed.volume))
        printf("\nall of it within %.1f hours, taken for a day's: --volume says how many requests a month "
               "there are\n",
            24 * s->x->days);
    printf("\nUSD a month, at %.0f requests:", d->requests);
    printf("  as it is (without machines)");
    number_cell(d->spent_usd, 0, 2);
    printf("; all outside that may");
    number_cell(d->cloud_usd, 0, 2);
    printf("; all here");
    number_cell(d->local_usd, 0, 2);
    printf(" (%.0f machine%s)", d->machines, d->machines > 1 ? "s" : "");
    printf("; as advised");
    number_cell(d->mix_usd, 0, 2);
    printf("\n%s: %s\n", wheres[d->where], d->why);
    if (d->where == ADVISE_UNKNOWN)
        return;
    if (isinf(d->break_even))
        printf("a machine does not pay at any volume: nothing is cheaper here\n");
    else
        printf("a machine pays from %.0f requests a month on\n", ceil(d->break_even));
    if (isinf(d->pays_months) || d->pays_months > s->x->assumed.months) {
        printf("its price does not come back within %.0f months at this volume\n", s->x->assumed.months);
    } else {
        clock_format(clock_wall_ms() + (int64_t)(d->pays_months * 365.25 / 12 * 86400e3), when);
        printf("bought today, its price is back by %.10s (%.1f months)\n", when, d->pays_months);
    }
    for (size_t i = 0; i < s->n_settings; i++)
        printf("%s%s\n", i == 0 ? "to change:\n  " : "  ", s->settings[i]);
}

static void group_write(struct json_writer *w, const struct advise_group *g, const struct advise_kind *k)
{
    json_object_begin(w);
    json_member_str(w, "asked_for", g->route);
    json_member_str(w, "task", g->task);
    json_member_int(w, "requests", g->requests);
    json_member_int(w, "inside", g->inside);
    json_member_int(w, "must_stay", g->must_stay);
    json_member_double(w, "outside_usd_each", g->cloud_each);
    json_member_double(w, "here_usd_each", g->local_each);
    json_member_double(w, "here_median_ms", advise_median(&k->here));
    json_member_double(w, "outside_median_ms", advise_median(&k->there));
    json_member_str(w, "better", str_from(wheres[g->where]));
    json_member_str(w, "why", str_from(g->why));
    json_object_end(w);
}

static void assumed_write(struct json_writer *w, const struct advising *x)
{
    const struct advise_assumptions *a = &x->assumed;
    json_key(w, "assumed");
    json_object_begin(w);
    json_member_double(w, "hardware_usd", a->hardware_usd);
    json_member_double(w, "months", a->months);
    json_member_double(w, "watts", a->watts);
    json_member_double(w, "idle_watts", a->idle_watts);
    json_member_double(w, "kwh_usd", a->kwh_usd);
    json_member_double(w, "load", a->load);
    json_member_double(w, "tolerance", a->tolerance);
    json_member_int(w, "least", a->least);
    json_object_end(w);
    json_key(w, "measured");
    json_object_begin(w);
    json_member_str(w, "local", x->local ? x->local->name : STR_NONE);
    json_member_str(w, "cloud", x->cloud ? x->cloud->name : STR_NONE);
    json_member_double(w, "decode_tps", x->decode);
    json_member_double(w, "prefill_tps", x->prefill);
    json_member_double(w, "input_usd_per_million", x->price.known ? (double)x->price.input / 1000 : NAN);
    json_member_double(w, "output_usd_per_million", x->price.known ? (double)x->price.output / 1000 : NAN);
    json_member_double(w, "quality_local", a->quality_local);
    json_member_double(w, "quality_cloud", a->quality_cloud);
    json_object_end(w);
}

static void advice_write(struct json_writer *w, const struct advice *d)
{
    char when[32];
    bool pays = isfinite(d->pays_months) && d->pays_months < 1200;
    json_member_str(w, "advice", str_from(wheres[d->where]));
    json_member_str(w, "why", str_from(d->why));
    json_key(w, "usd_a_month");
    json_object_begin(w);
    json_member_double(w, "as_it_is", d->spent_usd);
    json_member_double(w, "cloud", d->cloud_usd);
    json_member_double(w, "local", d->local_usd);
    json_member_double(w, "as_advised", d->mix_usd);
    json_member_int(w, "machines", (int64_t)d->machines);
    json_object_end(w);
    json_key(w, "break_even");
    json_object_begin(w);
    json_member_double(w, "requests_a_month", isfinite(d->break_even) ? ceil(d->break_even) : NAN);
    json_member_double(w, "months", d->pays_months);
    if (pays)
        clock_format(clock_wall_ms() + (int64_t)(d->pays_months * 365.25 / 12 * 86400e3), when);
    json_key(w, "date");
    if (pays)
        json_write_str(w, (struct str){when, 10});
    else
        json_write_null(w);
    json_object_end(w);
}

static int json_print(const struct shown *s)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 16 * MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_double(&w, "days", s->x->days);
    json_member_double(&w, "requests_a_month", s->advice->requests);
    assumed_write(&w, s->x);
    json_key(&w, "kinds");
    json_array_begin(&w);
    for (size_t i = 0; i < s->x->n_kinds; i++)
        group_write(&w, &s->groups[i], s->x->kinds[i]);
    json_array_end(&w);
    advice_write(&w, s->advice);
    json_key(&w, "to_change");
    json_array_begin(&w);
    for (size_t i = 0; i < s->n_settings; i++)
        json_write_text(&w, s->settings[i]);
    json_array_end(&w);
    json_object_end(&w);
    int rc = out.failed;
    if (rc == 0)
        printf("%s\n", out.data);
    buf_free(&out);
    return rc;
}

/* ---- What to change ---- */

static bool setting_is_due(const struct advise_group *g)
{
    int64_t may_leave_inside = g->inside - g->must_stay;
    return (g->where == ADVISE_LOCAL && g->inside < g->requests) ||
           ((g->where == ADVISE_CLOUD || g->where == ADVISE_HYBRID) && may_leave_inside > 0);
}

static void settings_make(struct shown *s)
{
    const struct advising *x = s->x;
    struct str here = x->local ? x->local->name : STR("LOCAL"),
               there = x->cloud ? x->cloud->name : STR("CLOUD");
    enum { MOST = sizeof s->settings / sizeof *s->settings };
    for (size_t i = 0; i < x->n_kinds && s->n_settings + 1 < MOST; i++) {
        const struct advise_group *g = &s->groups[i];
        bool local = g->where == ADVISE_LOCAL;
        char *line = s->settings[s->n_settings];
        char when[96] = "";
        if (!setting_is_due(g))
            continue;
        s->n_settings++;
        if (!str_is(g->task, "?"))
            snprintf(when, sizeof when, "when: {task: " STR_FMT "}, ", STR_ARG(g->task));
        if (x->kinds[i]->is_route)
            snprintf(line, sizeof *s->settings,
                "route " STR_FMT ", behind what keeps things inside: {name: " STR_FMT "-%s, %suse: [" STR_FMT
                "%s" STR_FMT "]}",
                STR_ARG(g->route), STR_ARG(str_is(g->task, "?") ? STR("rest") : g->task),
                local ? "stays" : "goes-out", when, STR_ARG(local ? here : there), ", ",
                STR_ARG(local ? there : here));
        else
            snprintf(line, sizeof *s->settings,
                "clients ask for " STR_FMT " by name: let them ask for a route that has {%suse: [" STR_FMT
                "]}",
                STR_ARG(g->route), when, STR_ARG(local ? here : there));
    }
    if (s->n_settings > 0)
        snprintf(s->settings[s->n_settings++], sizeof *s->settings,
            "weir replay --policy NEW.yaml shows what that changes before it does");
}

int advise_print(const struct advising *x, const struct advise_group *groups, const struct advice *advice)
{
    struct shown *s = must(calloc(1, sizeof *s));
    int rc = 0;
    *s = (struct shown){.x = x, .groups = groups, .advice = advice};
    settings_make(s);
    if (x->json) {
        rc = json_print(s);
    } else {
        assumed_print(s);
        table_print(s);
        advice_print(s);
    }
    free(s);
    if (rc || fflush(stdout) != 0)
        return verb_failf(EXIT_FAILED, "cannot write to standard output");
    return EXIT_DONE;
}
