#include "router/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "router/ridge.h"

enum { INPUTS = CALIBRATE_INPUTS, FOLDS = 10 };
_Static_assert((int)INPUTS <= (int)RIDGE_INPUTS, "a fit takes so many inputs");
static const double ridges[] = {INFINITY, 1000, 100, 10}; /* of the features; the first that is best */
enum { RIDGES = sizeof ridges / sizeof *ridges };

static void inputs_of(struct str prompt, double x[INPUTS])
{
    double s = router_score(prompt);
    s = fmin(fmax(s, 1e-9), 1 - 1e-9);
    x[0] = log(s / (1 - s));
    score_features(prompt, x + 1);
}

static double value_at(const struct router_calibration *c, const double x[INPUTS])
{
    double sum = c->constant + c->base * x[0];
    for (int i = 0; i < SCORE_FEATURES; i++)
        sum += c->feature[i] * x[i + 1];
    return sum;
}

double router_calibrated(const struct router_calibration *c, struct str prompt)
{
    double x[INPUTS];
    inputs_of(prompt, x);
    return fmin(fmax(value_at(c, x), 0), 1);
}

void calibrate_prompt_of(struct str prompt, struct calibrate_prompt *out)
{
    inputs_of(prompt, out->input);
    out->bytes = (int64_t)prompt.len;
}

static void numbers_write(struct json_writer *w, const char *key, const double *values, size_t n)
{
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < n; i++)
        json_write_double(w, values[i]);
    json_array_end(w);
}

void calibrate_prompt_write(const struct calibrate_prompt *p, struct json_writer *w)
{
    json_object_begin(w);
    json_member_int(w, "bytes", p->bytes);
    numbers_write(w, "inputs", p->input, INPUTS);
    json_object_end(w);
}

bool calibrate_prompt_read(const json_t *object, struct calibrate_prompt *out)
{
    const json_t *inputs = json_object_get(object, "inputs"), *bytes = json_object_get(object, "bytes");
    bool good = json_is_integer(bytes) && json_array_size(inputs) == INPUTS;
    for (size_t i = 0; i < INPUTS && good; i++) {
        good = json_is_number(json_array_get(inputs, i));
        out->input[i] = json_number_value(json_array_get(inputs, i));
    }
    out->bytes = json_integer_value(bytes);
    return good;
}

/* ---- The fit ---- */

void calibrate_solve(int n, double a[n][n + 1], double *out)
{
    for (int i = 0; i < n; i++) {
        int pivot = i;
        for (int k = i + 1; k < n; k++)
            pivot = fabs(a[k][i]) > fabs(a[pivot][i]) ? k : pivot;
        for (int j = 0; j <= n; j++) {
            double t = a[i][j];
            a[i][j] = a[pivot][j];
            a[pivot][j] = t;
        }
        for (int k = 0; k < n; k++) {
            double factor = k == i ? 0 : a[k][i] / a[i][i];
            for (int j = i; j <= n && factor != 0; j++)
                a[k][j] -= factor * a[i][j];
        }
    }
    for (int i = 0; i < n; i++)
        out[i] = a[i][n] / a[i][i];
}

/* To the points outside a fold. */
static struct router_calibration fit(const struct ridge_point *p, size_t n, size_t fold, double hold)
{
    double holds[INPUTS] = {1};
    struct ridge r;
    struct router_calibration c = {0};
    for (int k = 1; k < INPUTS; k++)
        holds[k] = hold;
    ridge_fit(p, n, fold, holds, INPUTS, &r);
    c.constant = r.constant;
    c.base = r.weight[0];
    memcpy(c.feature, r.weight + 1, sizeof c.feature);
    return c;
}

/* Each point by a fit to the other folds. */
static void cross(const struct ridge_point *p, size_t n, double ridge, double *values)
{
    for (size_t fold = 0; fold < FOLDS; fold++) {
        const struct router_calibration c = fit(p, n, fold, ridge);
        for (size_t i = 0; i < n; i++)
            if (p[i].fold == fold)
                values[i] = value_at(&c, p[i].x);
    }
}

static void judge(const struct calibrate_sample *s, const double *values, size_t n, struct gap_row *rows,
    struct gap_report *out)
{
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct gap_row){values[i], s[i].weak, s[i].strong};
    gap_judge(rows, n, out);
}

/* ---- Where the strong model begins ---- */

/* Sets threshold, share and quality from rows sorted by their value: the fewest strong calls that recover
 * enough. */
static void threshold_find(const struct gap_row *rows, size_t n, double recover, struct router_calibration *c,
    struct calibrate_report *r)
{
    double aim = r->fitted.weak + recover * (r->fitted.strong - r->fitted.weak);
    size_t k;
    c->threshold = fmin(fmax(gap_threshold(rows, n, aim, 0, &k), 0), 1.000001);
    r->share = n > 0 ? (double)k / (double)n : 0;
    r->quality = gap_quality(rows, n, k);
}

static void costs_sum(const struct calibrate_sample *s, const double *values, size_t n,
    const struct router_calibration *c, struct calibrate_report *r)
{
    for (size_t i = 0; i < n; i++) {
        bool strong = fmin(fmax(values[i], 0), 1) >= c->threshold;
        r->cost += strong ? s[i].strong_cost : s[i].weak_cost;
        r->weak_cost += s[i].weak_cost;
        r->strong_cost += s[i].strong_cost;
    }
}

static size_t ridge_choose(const struct calibrate_sample *s, const struct ridge_point *p, size_t n,
    double *values, struct gap_row *rows, struct calibrate_report *r)
{
    size_t best = 0;
    for (size_t i = 0; i < RIDGES; i++) {
        struct gap_report report;
        cross(p, n, ridges[i], values);
        judge(s, values, n, rows, &report);
        if (i == 0 || report.apgr > r->fitted.apgr + 1e-9) {
            best = i;
            r->fitted = report;
        }
    }
    r->features = best > 0;
    return best;
}

static void baselines(const struct calibrate_sample *s, const struct ridge_point *p, size_t n, double *values,
    struct gap_row *rows, struct calibrate_report *r)
{
    for (size_t i = 0; i < n; i++)
        values[i] = p[i].x[0];
    judge(s, values, n, rows, &r->built_in);
    for (size_t i = 0; i < n; i++)
        values[i] = (double)s[i].prompt.bytes;
    judge(s, values, n, rows, &r->length);
    for (size_t i = 0; i < n; i++)
        values[i] = p[i].y;
    judge(s, values, n, rows, &r->oracle);
}

int router_calibrate(const struct calibrate_sample *samples, size_t n, double recover,
    struct router_calibration *out, struct calibrate_report *report, struct error *err)
{
    *report = (struct calibrate_report){.features = false};
    if (n < CALIBRATE_LEAST)
        return error_set(
            err, ERROR_INVALID, "%zu graded prompts are too few: %d are the least", n, CALIBRATE_LEAST);
    struct ridge_point *p = must(calloc(n, sizeof *p));
    struct gap_row *rows = must(calloc(n, sizeof *rows));
    double *values = must(calloc(n, sizeof *values));
    for (size_t i = 0; i < n; i++) {
        memcpy(p[i].x, samples[i].prompt.input, sizeof samples[i].prompt.input);
        p[i].y = samples[i].strong - samples[i].weak;
        p[i].fold = i % FOLDS;
    }
    baselines(samples, p, n, values, rows, report);
    size_t best = ridge_choose(samples, p, n, values, rows, report);
    int rc = 0;
    if (isnan(report->fitted.apgr)) {
        rc = error_set(err, ERROR_INVALID,
            "the strong model (%.3f) is not better than the weak one (%.3f) on these prompts: nothing to "
            "route for",
            report->built_in.strong, report->built_in.weak);
    } else {
        *out = fit(p, n, FOLDS, ridges[best]);
        cross(p, n, ridges[best], values);
        judge(samples, values, n, rows, &report->fitted);
        threshold_find(rows, n, recover, out, report);
        costs_sum(samples, values, n, out, report);
    }
    free(values);
    free(rows);
    free(p);
    return rc;
}

/* ---- The file ---- */

int router_calibration_read(struct str json, struct router_calibration *out, struct error *err)
{
    json_t *root;
    int rc = json_read(json, &root, err);
    if (rc)
        return rc;
    const json_t *features = json_object_get(root, "features");
    if (json_object_get(root, "cascade"))
        rc = error_set(
            err, ERROR_INVALID, "it is a cascade's, which a rule names: cascade: {calibration: FILE}");
    *out = (struct router_calibration){.constant = 0};
    if (rc == 0)
        rc = json_get_double(root, "constant", NAN, -1e6, 1e6, &out->constant, err);
    if (rc == 0)
        rc = json_get_double(root, "base", NAN, -1e6, 1e6, &out->base, err);
    if (rc == 0)
        rc = json_get_double(root, "threshold", NAN, -1e6, 1e6, &out->threshold, err);
    if (rc == 0 && (isnan(out->constant) || isnan(out->base) || isnan(out->threshold) ||
                       json_array_size(features) != SCORE_FEATURES))
        rc = error_set(
            err, ERROR_INVALID, "it is no calibration of this version: make it anew with weir calibrate");
    for (size_t i = 0; rc == 0 && i < SCORE_FEATURES; i++) {
        const json_t *weight = json_array_get(features, i);
        if (!json_is_number(weight))
            rc = error_set(err, ERROR_INVALID, "features[%zu] is no number", i);
        else
            out->feature[i] = json_number_value(weight);
    }
    json_decref(root);
    return rc;
}

void router_calibration_members(const struct router_calibration *c, struct json_writer *w)
{
    json_member_double(w, "threshold", c->threshold);
    json_member_double(w, "constant", c->constant);
    json_member_double(w, "base", c->base);
    numbers_write(w, "features", c->feature, SCORE_FEATURES);
}
