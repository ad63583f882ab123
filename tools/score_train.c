/* Fits the complexity score to outcomes of pairs of models, and says what it is worth.
 *
 *   score_train OUT DATA.jsonl...      rows {"id", "bench", "prompt", "weak": quality, "strong": quality}
 *
 * The features' weights below are an earlier ridge regression on the same outcomes, with features chosen by
 * hand, and stay as they are. The grams are fitted to what they leave of the gain (strong - weak; centred and
 * scaled within its benchmark) by stochastic gradient descent (AdaGrad, Duchi et al. 2011), with an intercept
 * for each benchmark that is thrown away. A benchmark counts by its size to the power 0.7. All rows make OUT;
 * before that the fit is judged
 *
 *   in domain       five folds: each row by grams that were fitted to the other four
 *   other grams     each benchmark by grams that were fitted to the others
 *   nothing of it   the same, and the features' weights fitted anew to the others, too (ridge, centred within
 * benchmarks)
 *
 * beside the prompt's length, chance (0.5, 50%, 80%) and an oracle, as RouteLLM does (Ong et al. 2024): APGR,
 * and the share of strong calls that recovers 50% and 80% of the gap (CPT). Deterministic. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "json/json.h"
#include "router/calibrate.h"
#include "router/gap.h"
#include "router/score.h"

enum { BENCHES = 16, FOLDS = 5, EPOCHS = 3, WIDE = SCORE_FEATURES + 1 };
#define RIDGE 300.0
#define STEP 0.01
#define GRAM_SHARE 0.75 /* of the grams' part that is kept: what they learn carries less far */
#define BENCH_POWER 0.7

struct row {
    struct gap_row outcome; /* weak, strong, score */
    int bench, fold;
    double feature[SCORE_FEATURES], y, weight, left, length;
    double unseen; /* its sum by a fit that had not seen it */
    uint16_t *gram;
    size_t n_grams;
};

static struct row *rows;
static size_t n_rows, n_benches;
static char bench_names[BENCHES][32];
#define KEPT_SCALE 1.3 /* to the unit of the grams' targets */
static double feature_weight[SCORE_FEATURES];
static float gram_weight[SCORE_GRAMS], gram_square[SCORE_GRAMS];

/* ---- Reading ---- */
static int bench_of(struct str name)
{
    for (size_t i = 0; i < n_benches; i++)
        if (str_is(name, bench_names[i]))
            return (int)i;
    if (n_benches == BENCHES || name.len >= sizeof bench_names[0]) {
        fprintf(stderr, "score_train: more than %d benchmarks, or a long name\n", BENCHES);
        exit(1);
    }
    memcpy(bench_names[n_benches], name.data, name.len);
    return (int)n_benches++;
}

static void row_read(const json_t *object)
{
    static uint16_t places[SCORE_GRAMS_MOST];
    struct score_grams grams = {.places = places};
    struct str prompt = json_str(json_object_get(object, "prompt"));
    rows = must(realloc(rows, (n_rows + 1) * sizeof *rows));
    struct row *r = &rows[n_rows++];
    *r = (struct row){.bench = bench_of(json_str(json_object_get(object, "bench"))),
        .fold = (int)((str_hash(json_str(json_object_get(object, "id"))) >> 20) % FOLDS),
        .length = (double)prompt.len};
    r->outcome.weak = json_number_value(json_object_get(object, "weak"));
    r->outcome.strong = json_number_value(json_object_get(object, "strong"));
    score_features(prompt, r->feature);
    score_read(prompt, NULL, &grams);
    r->n_grams = grams.n;
    r->gram = must(malloc((r->n_grams + 1) * sizeof *places));
    memcpy(r->gram, places, r->n_grams * sizeof *places);
}

static void file_read(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    struct error err;
    json_t *object;
    while (f && (n = getline(&line, &room, f)) > 0) {
        if (json_read((struct str){line, (size_t)n}, &object, &err)) {
            fprintf(stderr, "score_train: %s: %s\n", path, err.message);
            exit(1);
        }
        row_read(object);
        json_decref(object);
    }
    free(line);
    if (!f) {
        perror(path);
        exit(1);
    }
    fclose(f);
}

/* ---- Fitting: to the rows that `left_out` does not name ---- */
struct choice {
    int fold, bench; /* left out; -1: none */
};

static bool used(const struct row *r, struct choice c)
{
    return r->fold != c.fold && r->bench != c.bench;
}

static void targets_make(struct choice c)
{
    double n[BENCHES] = {0}, sum[BENCHES] = {0}, square[BENCHES] = {0}, all = 0;
    for (size_t i = 0; i < n_rows; i++)
        if (used(&rows[i], c)) {
            double gain = rows[i].outcome.strong - rows[i].outcome.weak;
            n[rows[i].bench]++;
            sum[rows[i].bench] += gain;
            square[rows[i].bench] += gain * gain;
            all++;
        }
    for (size_t i = 0; i < n_rows; i++) {
        struct row *r = &rows[i];
        double count = n[r->bench], mean = count > 0 ? sum[r->bench] / count : 0;
        double spread = count > 0 ? sqrt(square[r->bench] / count - mean * mean) : 1;
        r->y = (r->outcome.strong - r->outcome.weak - mean) / (spread + 1e-9);
        r->weight = count > 0 ? fmin(4, 0.5 * pow(all / count, 1 - BENCH_POWER)) : 0;
    }
}

static void features_fit(struct choice c)
{
    static double a[SCORE_FEATURES][WIDE];
    double mean[BENCHES][SCORE_FEATURES] = {{0}}, n[BENCHES] = {0};
    memset(a, 0, sizeof a);
    for (size_t i = 0; i < n_rows; i++)
        if (used(&rows[i], c)) {
            n[rows[i].bench]++;
            for (int k = 0; k < SCORE_FEATURES; k++)
                mean[rows[i].bench][k] += rows[i].feature[k];
        }
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        double x[WIDE];
        for (int k = 0; k < SCORE_FEATURES; k++)
            x[k] = n[r->bench] > 0 ? r->feature[k] - mean[r->bench][k] / n[r->bench] : 0;
        x[SCORE_FEATURES] = r->y;
        for (int k = 0; k < SCORE_FEATURES && used(r, c); k++)
            for (int j = 0; j < WIDE; j++)
                a[k][j] += r->weight * x[k] * x[j];
    }
    for (int k = 0; k < SCORE_FEATURES; k++)
        a[k][k] += RIDGE;
    calibrate_solve(SCORE_FEATURES, a, feature_weight);
}

static double features_sum(const struct row *r)
{
    double sum = 0;
    for (int k = 0; k < SCORE_FEATURES; k++)
        sum += feature_weight[k] * r->feature[k];
    return sum;
}

static double grams_sum(const struct row *r)
{
    double sum = 0;
    for (size_t i = 0; i < r->n_grams; i++)
        sum += (double)gram_weight[r->gram[i]];
    return sum / sqrt((double)r->n_grams + 1);
}

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void gram_step(struct row *r, double *intercept)
{
    double error = (grams_sum(r) + r->left + *intercept - r->y) * r->weight;
    double slope = error / sqrt((double)r->n_grams + 1);
    *intercept -= 0.01 * error;
    for (size_t i = 0; i < r->n_grams; i++) {
        uint16_t at = r->gram[i];
        double g = slope + 1e-4 * (double)gram_weight[at];
        gram_square[at] += (float)(g * g);
        gram_weight[at] -= (float)(STEP * g / sqrt((double)gram_square[at] + 1e-8));
    }
}

static void grams_fit(struct choice c)
{
    double intercept[BENCHES] = {0}, n[BENCHES] = {0};
    uint32_t random = 1;
    size_t *order = must(malloc(n_rows * sizeof *order)), count = 0;
    memset(gram_weight, 0, sizeof gram_weight);
    memset(gram_square, 0, sizeof gram_square);
    for (size_t i = 0; i < n_rows; i++) {
        rows[i].left = features_sum(&rows[i]);
        if (used(&rows[i], c)) {
            order[count++] = i;
            n[rows[i].bench]++;
            intercept[rows[i].bench] -= rows[i].left;
        }
    }
    for (size_t b = 0; b < n_benches; b++)
        intercept[b] /= n[b] > 0 ? n[b] : 1;
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (size_t i = count; i-- > 0;) {
            size_t k = random_next(&random) % (i + 1), t = order[i];
            order[i] = order[k];
            order[k] = t;
            gram_step(&rows[order[i]], &intercept[rows[order[i]].bench]);
        }
    free(order);
}

static void fit(struct choice c, bool features)
{
    targets_make(c);
    for (int k = 0; k < SCORE_FEATURES; k++)
        feature_weight[k] = KEPT_SCALE * score_feature_weight[k];
    if (features)
        features_fit(c);
    grams_fit(c);
}

static double sum_of(const struct row *r)
{
    return features_sum(r) + GRAM_SHARE * grams_sum(r);
}

/* ---- Judging ---- */
enum judge { JUDGE_KEPT, JUDGE_LENGTH, JUDGE_ORACLE };

static void judge(const char *name, enum judge by)
{
    struct gap_row *v = must(malloc((n_rows + 1) * sizeof *v));
    printf("%-14s", name);
    for (size_t b = 0; b < n_benches; b++) {
        size_t n = 0;
        struct gap_report report;
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].bench == (int)b) {
                v[n] = rows[i].outcome;
                v[n].score = by == JUDGE_LENGTH   ? rows[i].length
                             : by == JUDGE_ORACLE ? rows[i].outcome.strong - rows[i].outcome.weak
                                                  : rows[i].outcome.score;
                n++;
            }
        gap_judge(v, n, &report);
        printf("   %5.3f %3.0f%% %3.0f%%", report.apgr, 100 * report.cpt50, 100 * report.cpt80);
    }
    printf("\n");
    free(v);
}

static void judge_apart(const char *name, bool features)
{
    for (size_t b = 0; b < n_benches; b++) {
        fit((struct choice){-1, (int)b}, features);
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].bench == (int)b)
                rows[i].outcome.score = sum_of(&rows[i]);
    }
    judge(name, JUDGE_KEPT);
}

static void judge_all(void)
{
    printf("%-14s", "");
    for (size_t b = 0; b < n_benches; b++)
        printf("   %-15s", bench_names[b]);
    printf("\n%-14s", "");
    for (size_t b = 0; b < n_benches; b++)
        printf("   %-15s", "APGR CPT50 CPT80");
    printf("\n");
    judge("length", JUDGE_LENGTH);
    for (int fold = 0; fold < FOLDS; fold++) {
        fit((struct choice){fold, -1}, false);
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].fold == fold)
                rows[i].unseen = rows[i].outcome.score = sum_of(&rows[i]);
    }
    judge("in domain", JUDGE_KEPT);
    judge_apart("other grams", false);
    judge_apart("nothing of it", true);
    judge("oracle", JUDGE_ORACLE);
}

/* ---- Writing ---- */

/* Of rows the fit had not seen the grams' sums are zero in the mean: what rules compare with keeps its
 * meaning. */
static void write_all(const char *path)
{
    static struct score_gram_weights w;
    double mean = 0;
    float most = 1e-9f;
    fit((struct choice){-1, -1}, false);
    for (size_t i = 0; i < n_rows; i++)
        mean += (rows[i].unseen - features_sum(&rows[i])) / (double)n_rows;
    for (size_t i = 0; i < SCORE_GRAMS; i++)
        most = fmaxf(most, fabsf(gram_weight[i]));
    for (size_t i = 0; i < SCORE_GRAMS; i++)
        w.gram[i] = (int8_t)lrintf(gram_weight[i] / most * 127);
    w.unit = (float)(GRAM_SHARE / KEPT_SCALE * (double)most / 127);
    w.offset = (float)(-mean / KEPT_SCALE);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(&w, sizeof w, 1, f) != 1 || fclose(f)) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: score_train OUT DATA.jsonl...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        file_read(argv[i]);
    printf("%zu prompts\n", n_rows);
    judge_all();
    write_all(argv[1]);
    return 0;
}
