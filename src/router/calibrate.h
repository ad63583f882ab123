/* The complexity score fitted to one's own traffic: graded prompts of a weak and a strong model.
 *
 *   expected gain = constant + base x ln(s / (1 - s)) + sum of weight x feature        s: the built-in score
 *
 * by ridge regression; how strongly the features are held back (up to: not used at all) is chosen by
 * cross-validation, and so is what is reported: each prompt by a fit that has not seen it. Pure. */
#ifndef WEIR_ROUTER_CALIBRATE_H
#define WEIR_ROUTER_CALIBRATE_H

#include "router/doubt.h"
#include "router/gap.h"
#include "router/router.h"
#include "router/score.h"

struct router_calibration {
    double constant, base, feature[SCORE_FEATURES];
    double threshold; /* of the calibrated score: from here on the strong model */
};

/* The expected gain of asking the strong model, cut to 0..1: the complexity of a route that is calibrated. */
double router_calibrated(const struct router_calibration *c, struct str prompt);

/* What a fit reads of a prompt; no text can be made of it. */
enum { CALIBRATE_INPUTS = 1 + SCORE_FEATURES };
struct calibrate_prompt {
    double input[CALIBRATE_INPUTS]; /* the built-in score's logit, then the features */
    int64_t bytes;
};
void calibrate_prompt_of(struct str prompt, struct calibrate_prompt *out);
/* {"bytes", "inputs": [23]}; false: it is not that. */
void calibrate_prompt_write(const struct calibrate_prompt *p, struct json_writer *w);
bool calibrate_prompt_read(const json_t *object, struct calibrate_prompt *out);

enum { CALIBRATE_LEAST = 20 };
struct calibrate_sample {
    struct calibrate_prompt prompt;
    double weak, strong;           /* qualities, 0 to 1 */
    double weak_cost, strong_cost; /* USD; NaN: unknown */
    struct doubt doubt;            /* of the weak model's answer; for a cascade */
};
struct calibrate_report {
    struct gap_report fitted, built_in, length, oracle; /* `fitted` by cross-validation */
    struct gap_report complexity;                       /* of a cascade, beside it: the text's score */
    bool features;                 /* they are used: they were better than the built-in score alone */
    double share;                  /* of strong calls at the threshold */
    double quality;                /* there, */
    double cost;                   /* there; NaN: a price is unknown */
    double weak_cost, strong_cost; /* of all by one model */
};
/* `recover`: the share of the gap between the two models to be recovered, 0 to 1. ERROR_INVALID: fewer than
 * CALIBRATE_LEAST samples, or the strong model is not better. */
int router_calibrate(const struct calibrate_sample *samples, size_t n, double recover,
    struct router_calibration *out, struct calibrate_report *report, struct error *err) MUST_USE;

/* ---- doubt_fit.c ---- */
/* A cascade likewise: by the weak model's own measures, and where their weights are no better on unseen
 * prompts than the built-in doubt, by that. Whoever goes on pays for both. `tokens`: as many as were measured
 * at most. */
int router_cascade_fit(const struct calibrate_sample *samples, size_t n, double recover, int32_t tokens,
    struct router_cascade *out, struct calibrate_report *report, struct error *err) MUST_USE;

/* The file: {"constant", "base", "features": [22], "threshold", ...}; members that are not named here are for
 * people. */
int router_calibration_read(struct str json, struct router_calibration *out, struct error *err) MUST_USE;
void router_calibration_members(const struct router_calibration *c, struct json_writer *w);

/* a x = b by Gauss-Jordan with pivots; column n of `a`, which is changed, is b. For what a ridge makes
 * positive definite. `out`: n values. */
void calibrate_solve(int n, double a[n][n + 1], double *out);

#endif
