/* A cascade fitted to graded samples (calibrate.h). */
#include "router/doubt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "router/calibrate.h"
#include "router/ridge.h"

enum { FOLDS = 10 };
static const double holds[] = {100, 10, 1, 0.1};
enum { HOLDS = sizeof holds / sizeof *holds };

/* Which signals a fit may use. Those that have to be asked for must be worth it: what a fit without them
 * would have is less by WORTH. */
struct choice {
    bool prompt, again;
    double hold;
};
static const struct {
    bool prompt, again;
} sets[] = {{false, false}, {true, false}, {false, true}, {true, true}};
enum { SETS = sizeof sets / sizeof *sets };
#define WORTH 0.005 /* of APGR */
/* A quality is promised: on other prompts, too, it is to be reached, in five of six samples of this size. */
#define MARGIN 1.0

struct work {
    const struct calibrate_sample *samples;
    size_t n;
    double usual[DOUBT_SIGNALS];
    struct ridge_point *points;
    double *values;
    struct gap_row *rows;
};

static void judge(struct work *w, struct gap_report *out)
{
    for (size_t i = 0; i < w->n; i++)
        w->rows[i] = (struct gap_row){w->values[i], w->samples[i].weak, w->samples[i].strong};
    gap_judge(w->rows, w->n, out);
}

/* More of a signal is never less doubt: one that would be weighed so (few samples, and signals that are much
 * alike) is left out, the worst first. */
static void fit(const struct work *w, size_t but, const struct choice *c, struct ridge *out)
{
    double each[DOUBT_SIGNALS];
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        each[i] = (i == DOUBT_PROMPT && !c->prompt) || (i == DOUBT_AGAIN && !c->again) ? INFINITY : c->hold;
    for (int worst = -1;; worst = -1) {
        ridge_fit(w->points, w->n, but, each, DOUBT_SIGNALS, out);
        for (int i = 0; i < DOUBT_SIGNALS; i++)
            if (out->weight[i] < (worst < 0 ? 0 : out->weight[worst]))
                worst = i;
        if (worst < 0)
            return;
        each[worst] = INFINITY;
    }
}

/* Each point by a fit to the other folds. */
static void cross(struct work *w, const struct choice *c)
{
    for (size_t fold = 0; fold < FOLDS; fold++) {
        struct ridge r;
        fit(w, fold, c, &r);
        for (size_t i = 0; i < w->n; i++)
            if (w->points[i].fold == fold)
                w->values[i] = ridge_value(&r, w->points[i].x, DOUBT_SIGNALS);
    }
}

static void plain(struct work *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->values[i] = w->points[i].x[DOUBT_MEAN];
}

static void baselines(struct work *w, struct calibrate_report *r)
{
    for (size_t i = 0; i < w->n; i++)
        w->values[i] = w->samples[i].prompt.input[0]; /* the score's logit */
    judge(w, &r->complexity);
    for (size_t i = 0; i < w->n; i++)
        w->values[i] = (double)w->samples[i].prompt.bytes;
    judge(w, &r->length);
    for (size_t i = 0; i < w->n; i++)
        w->values[i] = w->points[i].y;
    judge(w, &r->oracle);
    plain(w);
    judge(w, &r->built_in);
}

/* Of one set of signals. True: better than what there was, by `worth`. */
static bool set_try(struct work *w, size_t set, double worth, struct choice *best, struct calibrate_report *r)
{
    const double before = r->fitted.apgr;
    bool better = false;
    for (size_t i = 0; i < HOLDS; i++) {
        const struct choice c = {sets[set].prompt, sets[set].again, holds[i]};
        struct gap_report report;
        cross(w, &c);
        judge(w, &report);
        if (report.apgr <= fmax(before + worth, better ? r->fitted.apgr : 0) + 1e-9)
            continue;
        *best = c;
        r->fitted = report;
        better = true;
    }
    return better;
}

/* Sets the weights; `values` are then those that the threshold is found by. */
static void weights_choose(struct work *w, struct router_cascade *out, struct calibrate_report *r)
{
    struct choice best = {.hold = 0};
    struct ridge whole;
    r->fitted = r->built_in;
    for (size_t set = 0; set < SETS; set++)
        if (set_try(w, set, set == 0 ? 0 : WORTH, &best, r))
            r->features = true;
    if (!r->features) {
        out->weight[DOUBT_MEAN] = 1;
        plain(w);
        return;
    }
    fit(w, FOLDS, &best, &whole);
    out->constant = whole.constant;
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        out->weight[i] = whole.weight[i];
    cross(w, &best);
}

/* The signals of all samples; one that was not told is the mean of the others. */
static void points_make(struct work *w)
{
    double told[DOUBT_SIGNALS] = {0};
    for (size_t i = 0; i < w->n; i++) {
        double *x = w->points[i].x;
        doubt_signals(&w->samples[i].doubt, x);
        w->points[i].y = w->samples[i].strong - w->samples[i].weak;
        w->points[i].fold = i % FOLDS;
        for (int k = 0; k < DOUBT_SIGNALS; k++) {
            told[k] += !isnan(x[k]);
            w->usual[k] += isnan(x[k]) ? 0 : x[k];
        }
    }
    for (int k = 0; k < DOUBT_SIGNALS; k++)
        w->usual[k] /= fmax(told[k], 1);
    for (size_t i = 0; i < w->n; i++)
        for (int k = 0; k < DOUBT_SIGNALS; k++)
            if (isnan(w->points[i].x[k]))
                w->points[i].x[k] = w->usual[k];
}

/* By what would be decided, cut to 0..1 as it is there. */
static void totals(const struct work *w, const struct router_cascade *c, struct calibrate_report *r)
{
    double count = (double)w->n;
    for (size_t i = 0; i < w->n; i++) {
        const struct calibrate_sample *s = &w->samples[i];
        bool strong = fmin(fmax(w->values[i], 0), 1) >= c->threshold;
        r->share += strong / count;
        r->quality += (strong ? s->strong : s->weak) / count;
        r->cost += s->weak_cost + (strong ? s->strong_cost : 0);
        r->weak_cost += s->weak_cost;
        r->strong_cost += s->strong_cost;
    }
}

int router_cascade_fit(const struct calibrate_sample *samples, size_t n, double recover, int32_t tokens,
    struct router_cascade *out, struct calibrate_report *report, struct error *err)
{
    *report = (struct calibrate_report){.features = false};
    *out = (struct router_cascade){.tokens = tokens, .fitted = true};
    if (n < CALIBRATE_LEAST)
        return error_set(
            err, ERROR_INVALID, "%zu graded prompts are too few: %d are the least", n, CALIBRATE_LEAST);
    struct work w = {.samples = samples,
        .n = n,
        .points = must(calloc(n, sizeof *w.points)),
        .values = must(calloc(n, sizeof *w.values)),
        .rows = must(calloc(n, sizeof *w.rows))};
    points_make(&w);
    memcpy(out->usual, w.usual, sizeof w.usual);
    baselines(&w, report);
    int rc = 0;
    if (isnan(report->built_in.apgr)) {
        rc = error_set(err, ERROR_INVALID,
            "the strong model (%.3f) is not better than the weak one (%.3f) on these prompts: nothing to go "
            "on to",
            report->built_in.strong, report->built_in.weak);
    } else {
        size_t n_strong;
        weights_choose(&w, out, report);
        judge(&w, &report->fitted); /* sorts the rows by what was chosen */
        double aim = report->fitted.weak + recover * (report->fitted.strong - report->fitted.weak);
        out->threshold = fmin(fmax(gap_threshold(w.rows, n, aim, MARGIN, &n_strong), 0), 1.000001);
        totals(&w, out, report);
    }
    free(w.rows);
    free(w.values);
    free(w.points);
    return rc;
}
