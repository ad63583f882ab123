/* Fits the complexity score to outcomes of pairs of models, and says what it is worth.
 *
 *   score_train [--choose] OUT DATA.jsonl...    rows {"id", "bench", "prompt", "weak": quality, "strong":
 * quality}
 *
 * The gain (strong - weak; centred and scaled within its benchmark) is
 *
 *   PRIOR x signs of more  +  features x weights  +  grams x weights  +  a constant for each benchmark
 *
 * where the signs of more (`signs` below: length, words, repetitions, conditions...) count alike, each by how
 * much it varies within benchmarks: an "improper linear model" (Dawes 1979), which knows no outcome and so
 * carries as far as anything does. The weights are held to zero (ridge); a benchmark counts by its size to a
 * power; the constants are thrown away. All rows make OUT; before that the fit is judged
 *
 *   in domain       ten folds: each row by a fit to the other nine; the mean of eight ways to part the rows,
 *                   since one alone moves a benchmark of 700 rows by a hundredth, and how far these differ
 *   nothing of it   each benchmark by a fit to the others
 *
 * beside the prompt's length, the signs alone and an oracle, as RouteLLM does (Ong et al. 2024): APGR (chance
 * 0.5), its standard error over 200 bootstrap samples, and the share of strong calls that recovers 80% of the
 * gap (CPT). The settings were chosen by --choose, which also judges the choice itself: for each fold and
 * each benchmark the settings are chosen anew, in the same way, by the other rows alone. A prompt that two
 * benchmarks ask is in one fold. Deterministic. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/sort.h"
#include "json/json.h"
#include "router/gap.h"
#include "router/score.h"

enum { BENCHES = 16, FOLDS = 10, PARTINGS = 8, STEPS = 60, SAMPLES = 200, FEW = 100 };
enum { COLUMNS = SCORE_FEATURES + SCORE_GRAMS };

struct settings {
    double prior, ridge, features, power; /* features: how much freer than grams */
};
static const struct settings chosen = {2, 5, 0.1, 0.6};
static const struct settings choices[] = {
    {0, 5, 0.1, 0.6}, {1.2, 5, 0.1, 0.6}, {2, 5, 0.1, 0.6}, {3, 5, 0.1, 0.6}, {2, 8, 0.1, 0.6}};
enum { CHOICES = sizeof choices / sizeof *choices };

struct row {
    struct gap_row outcome; /* weak, strong, score */
    int bench, fold;
    uint64_t hash; /* of the prompt: its fold in each parting */
    double feature[SCORE_FEATURES], signs, length;
    double y, weight, kept; /* of a fit: target, weight; a score that is kept */
    uint16_t *gram;
    size_t n_grams;
};

static struct row *rows;
static size_t n_rows, n_benches;
static char bench_names[BENCHES][32];

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
    struct str prompt = json_text(object, "prompt");
    rows = must(realloc(rows, (n_rows + 1) * sizeof *rows));
    struct row *r = &rows[n_rows++];
    *r = (struct row){.bench = bench_of(json_text(object, "bench")),
        .hash = str_hash(prompt),
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

/* ---- Features in units of their own ---- */

/* How often each counts; what is not named does not. Their order is score.c's. */
static const double signs[SCORE_FEATURES] = {
    1,       /* bytes */
    2,       /* words */
    1,       /* numbers */
    0, 0, 1, /* "if" */
    0, 0, 1, /* words of hard work */
    2,       /* commas */
    2,       /* full stops */
    1,       /* brackets */
    0, 1,    /* words of several steps */
    1,       /* "not" */
    0, 2,    /* capitals */
    2,       /* repeated words */
    2,       /* their share */
    1,       /* "more" */
    1,       /* "write" */
    -1       /* letters a word */
};
static double feature_mean[SCORE_FEATURES], feature_spread[SCORE_FEATURES];
static double sign_weight[SCORE_FEATURES], signs_mean; /* signs = sum of weight x feature - mean */

/* How much a feature varies within a benchmark, in the mean of those that have rows enough. */
static double spread_within(int feature)
{
    double sum = 0, count = 0;
    for (size_t b = 0; b < n_benches; b++) {
        double n = 0, total = 0, square = 0;
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].bench == (int)b) {
                n++;
                total += rows[i].feature[feature];
                square += rows[i].feature[feature] * rows[i].feature[feature];
            }
        if (n < FEW)
            continue;
        sum += sqrt(fmax(square / n - total * total / n / n, 0));
        count++;
    }
    return count > 0 && sum > 0 ? sum / count : 1;
}

static void mean_and_spread(double (*value)(const struct row *, int), int which, double *mean, double *spread)
{
    double total = 0, square = 0, n = (double)n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        const double x = value(&rows[i], which);
        total += x;
        square += x * x;
    }
    *mean = total / n;
    *spread = sqrt(fmax(square / n - *mean * *mean, 0)) + 1e-9;
}

static double feature_of(const struct row *r, int which)
{
    return r->feature[which];
}

static double signs_of(const struct row *r, int unused)
{
    double sum = 0;
    (void)unused;
    for (int k = 0; k < SCORE_FEATURES; k++)
        sum += sign_weight[k] * r->feature[k];
    return sum;
}

static void features_scale(void)
{
    double spread;
    for (int k = 0; k < SCORE_FEATURES; k++) {
        mean_and_spread(feature_of, k, &feature_mean[k], &feature_spread[k]);
        sign_weight[k] = signs[k] / spread_within(k);
    }
    mean_and_spread(signs_of, 0, &signs_mean, &spread);
    signs_mean /= spread;
    for (int k = 0; k < SCORE_FEATURES; k++)
        sign_weight[k] /= spread;
    for (size_t i = 0; i < n_rows; i++)
        rows[i].signs = signs_of(&rows[i], 0) - signs_mean;
}

/* ---- Fitting: to the rows that are used ---- */
struct left_out {
    int fold, fold_too, bench, bench_too; /* -1: none */
};
static const struct left_out nothing = {-1, -1, -1, -1};

static bool is_used(const struct row *r, struct left_out o)
{
    return r->fold != o.fold && r->fold != o.fold_too && r->bench != o.bench && r->bench != o.bench_too;
}

static void targets_make(struct left_out o, const struct settings *s)
{
    double n[BENCHES] = {0}, sum[BENCHES] = {0}, square[BENCHES] = {0}, all = 0;
    for (size_t i = 0; i < n_rows; i++)
        if (is_used(&rows[i], o)) {
            double gain = rows[i].outcome.strong - rows[i].outcome.weak;
            n[rows[i].bench]++;
            sum[rows[i].bench] += gain;
            square[rows[i].bench] += gain * gain;
            all++;
        }
    for (size_t i = 0; i < n_rows; i++) {
        struct row *r = &rows[i];
        r->weight = 0;
        if (!is_used(r, o))
            continue;
        double mean = sum[r->bench] / n[r->bench],
               spread = sqrt(square[r->bench] / n[r->bench] - mean * mean);
        r->y = (r->outcome.strong - r->outcome.weak - mean) / (spread + 1e-9) - s->prior * r->signs;
        r->weight = fmin(4, 0.5 * pow(all / n[r->bench], 1 - s->power));
    }
}

/* A row's columns: grams over the root of how many, features scaled and as free as the settings have it. */
static double feature_at(const struct row *r, int k, const struct settings *s)
{
    return s->features * (r->feature[k] - feature_mean[k]) / feature_spread[k];
}

static double product(const struct row *r, const double *w, const struct settings *s)
{
    double sum = 0, grams = 0;
    for (int k = 0; k < SCORE_FEATURES; k++)
        sum += w[k] * feature_at(r, k, s);
    for (size_t i = 0; i < r->n_grams; i++)
        grams += w[SCORE_FEATURES + r->gram[i]];
    return sum + grams / sqrt((double)r->n_grams + 1);
}

/* out = X' C v, where C takes the benchmarks' weighted means away and weighs; v is changed. */
static void gather(double *v, double *out, const struct settings *s)
{
    double sum[BENCHES] = {0}, weight[BENCHES] = {0};
    for (size_t i = 0; i < n_rows; i++) {
        sum[rows[i].bench] += rows[i].weight * v[i];
        weight[rows[i].bench] += rows[i].weight;
    }
    memset(out, 0, COLUMNS * sizeof *out);
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        if (r->weight == 0)
            continue;
        const double x = r->weight * (v[i] - sum[r->bench] / weight[r->bench]);
        const double each = x / sqrt((double)r->n_grams + 1);
        for (int k = 0; k < SCORE_FEATURES; k++)
            out[k] += x * feature_at(r, k, s);
        for (size_t g = 0; g < r->n_grams; g++)
            out[SCORE_FEATURES + r->gram[g]] += each;
    }
}

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        sum += a[i] * b[i];
    return sum;
}

/* (X' C X + ridge) w = X' C y by conjugate gradients (Hestenes and Stiefel 1952). */
static void fit(struct left_out o, const struct settings *s, double *w)
{
    static double rest[COLUMNS], way[COLUMNS], image[COLUMNS];
    double *v = must(calloc(n_rows, sizeof *v));
    targets_make(o, s);
    for (size_t i = 0; i < n_rows; i++)
        v[i] = rows[i].y;
    gather(v, rest, s);
    memcpy(way, rest, sizeof way);
    memset(w, 0, COLUMNS * sizeof *w);
    double left = dot(rest, rest), enough = 1e-8 * left;
    for (int step = 0; step < STEPS && left > enough; step++) {
        for (size_t i = 0; i < n_rows; i++)
            v[i] = rows[i].weight > 0 ? product(&rows[i], way, s) : 0;
        gather(v, image, s);
        for (size_t i = 0; i < COLUMNS; i++)
            image[i] += s->ridge * way[i];
        const double far = left / dot(way, image), before = left;
        for (size_t i = 0; i < COLUMNS; i++) {
            w[i] += far * way[i];
            rest[i] -= far * image[i];
        }
        left = dot(rest, rest);
        for (size_t i = 0; i < COLUMNS; i++)
            way[i] = rest[i] + left / before * way[i];
    }
    free(v);
}

static double sum_of(const struct row *r, const double *w, const struct settings *s)
{
    return s->prior * r->signs + product(r, w, s);
}

/* ---- Judging ---- */
static struct gap_row *judged;

static size_t rows_of(size_t bench, struct left_out o)
{
    size_t n = 0;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].bench == (int)bench && is_used(&rows[i], o))
            judged[n++] = rows[i].outcome;
    return n;
}

/* Half of what two thirds of the bootstrap samples lie in. */
static double standard_error(size_t n)
{
    struct gap_row *all = must(malloc((n + 1) * sizeof *all));
    double values[SAMPLES];
    uint32_t random = 1;
    int count = 0;
    memcpy(all, judged, n * sizeof *all);
    for (int k = 0; k < SAMPLES; k++) {
        struct gap_report report;
        for (size_t i = 0; i < n; i++) {
            random = random * 1664525u + 1013904223u;
            judged[i] = all[(uint64_t)random * n >> 32];
        }
        gap_judge(judged, n, &report);
        values[count] = report.apgr;
        count += !isnan(report.apgr); /* else the strong model was not better */
    }
    sort_doubles(values, (size_t)count);
    free(all);
    return (values[count * 84 / 100] - values[count * 16 / 100]) / 2;
}

/* By outcome.score. */
static void judge(const char *name)
{
    printf("%-26s", name);
    for (size_t b = 0; b < n_benches; b++) {
        struct gap_report report;
        size_t n = rows_of(b, nothing);
        gap_judge(judged, n, &report);
        printf("   %5.3f %4.3f %3.0f%%", report.apgr, standard_error(n), 100 * report.cpt80);
    }
    printf("\n");
    fflush(stdout);
}

/* Mean APGR of the benchmarks that are used and have rows enough. */
static double worth(struct left_out o)
{
    double sum = 0, count = 0;
    for (size_t b = 0; b < n_benches; b++) {
        struct gap_report report;
        size_t n = rows_of(b, o);
        if (n < FEW)
            continue;
        gap_judge(judged, n, &report);
        sum += report.apgr;
        count++;
    }
    return sum / count;
}

static void fold_rows(uint64_t parting)
{
    for (size_t i = 0; i < n_rows; i++)
        rows[i].fold = (int)(((rows[i].hash ^ parting) * 0x9e3779b97f4a7c15u >> 40) % FOLDS);
}

/* Scores each row that is used by a fit without its fold, or without its benchmark. */
static void cross(struct left_out o, bool by_bench, const struct settings *s, double *w)
{
    const int n = by_bench ? (int)n_benches : FOLDS;
    for (int part = 0; part < n; part++) {
        struct left_out inner = o;
        if (part == (by_bench ? o.bench : o.fold))
            continue;
        *(by_bench ? &inner.bench_too : &inner.fold_too) = part;
        fit(inner, s, w);
        for (size_t i = 0; i < n_rows; i++)
            if ((by_bench ? rows[i].bench : rows[i].fold) == part && is_used(&rows[i], o))
                rows[i].outcome.score = sum_of(&rows[i], w, s);
    }
}

/* The settings whose fits are best on rows they have not seen, in and out of their domain alike. */
static struct settings choose(struct left_out o, double *w)
{
    struct settings best = chosen;
    double most = 0;
    for (size_t c = 0; c < CHOICES; c++) {
        cross(o, false, &choices[c], w);
        double inside = worth(o);
        cross(o, true, &choices[c], w);
        if (inside + worth(o) <= most)
            continue;
        most = inside + worth(o);
        best = choices[c];
    }
    fprintf(stderr, "prior %g ridge %g features %g power %g: %.4f\n", best.prior, best.ridge, best.features,
        best.power, most / 2);
    return best;
}

/* Each part by settings that were chosen without it. */
static void judge_choice(const char *name, bool by_bench, double *w)
{
    const int n = by_bench ? (int)n_benches : FOLDS;
    for (int part = 0; part < n; part++) {
        struct left_out o = nothing;
        *(by_bench ? &o.bench : &o.fold) = part;
        const struct settings s = choose(o, w);
        fit(o, &s, w);
        for (size_t i = 0; i < n_rows; i++)
            if ((by_bench ? rows[i].bench : rows[i].fold) == part)
                rows[i].kept = sum_of(&rows[i], w, &s);
    }
    for (size_t i = 0; i < n_rows; i++)
        rows[i].outcome.score = rows[i].kept;
    judge(name);
}

/* By several partings into folds: the mean, and how far one parting lies from it. */
static void judge_in_domain(const struct settings *s, double *w)
{
    double sum[BENCHES] = {0}, square[BENCHES] = {0};
    for (uint64_t parting = PARTINGS; parting-- > 0;) { /* the first is the last: it stays */
        fold_rows(parting);
        cross(nothing, false, s, w);
        for (size_t b = 0; b < n_benches; b++) {
            struct gap_report report;
            gap_judge(judged, rows_of(b, nothing), &report);
            sum[b] += report.apgr / PARTINGS;
            square[b] += report.apgr * report.apgr / PARTINGS;
        }
    }
    for (size_t i = 0; i < n_rows; i++)
        rows[i].kept = rows[i].outcome.score;
    judge("in domain, one parting");
    printf("in domain, mean of %-7d", PARTINGS);
    for (size_t b = 0; b < n_benches; b++)
        printf("   %5.3f %4.3f     ", sum[b], sqrt(fmax(square[b] - sum[b] * sum[b], 0)));
    printf("\n");
}

static void judge_all(const struct settings *s, bool chooses, double *w)
{
    printf("%-26s", "");
    for (size_t b = 0; b < n_benches; b++)
        printf("   %-15s", bench_names[b]);
    printf("\n%-26s", "");
    for (size_t b = 0; b < n_benches; b++)
        printf("   %-15s", "APGR  s.e. CPT80");
    printf("\n");
    for (size_t i = 0; i < n_rows; i++)
        rows[i].outcome.score = rows[i].length;
    judge("length");
    for (size_t i = 0; i < n_rows; i++)
        rows[i].outcome.score = rows[i].signs;
    judge("signs of more");
    cross(nothing, true, s, w);
    judge("nothing of it");
    if (chooses)
        judge_choice("nothing of it, chosen so", true, w);
    judge_in_domain(s, w);
    if (chooses)
        judge_choice("in domain, chosen so", false, w);
    for (size_t i = 0; i < n_rows; i++)
        rows[i].outcome.score = rows[i].outcome.strong - rows[i].outcome.weak;
    judge("oracle");
}

/* ---- Writing ---- */

/* What rules compare with keeps its meaning: over rows that a fit has not seen, the scores' logits have the
 * mean and the spread that they always had. */
#define LOGIT_MEAN (-0.93)
#define LOGIT_SPREAD 1.65

static double kept_of(const struct row *r, int unused)
{
    (void)unused;
    return r->kept;
}

static void write_all(const char *path, const struct settings *s, double *w)
{
    static struct score_gram_weights out;
    double mean, spread, most = 1e-9, constant;
    mean_and_spread(kept_of, 0, &mean, &spread);
    const double scale = LOGIT_SPREAD / spread;
    fit(nothing, s, w);
    constant = s->prior * signs_mean;
    for (int k = 0; k < SCORE_FEATURES; k++) {
        const double weight = w[k] * s->features / feature_spread[k];
        constant += weight * feature_mean[k];
        out.feature[k] = (float)(scale * (s->prior * sign_weight[k] + weight));
    }
    for (size_t i = SCORE_FEATURES; i < COLUMNS; i++)
        most = fmax(most, fabs(w[i]));
    for (size_t i = 0; i < SCORE_GRAMS; i++)
        out.gram[i] = (int8_t)lrint(w[SCORE_FEATURES + i] / most * 127);
    out.unit = (float)(scale * most / 127);
    out.offset = (float)(LOGIT_MEAN - scale * (mean + constant));
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(&out, sizeof out, 1, f) != 1 || fclose(f)) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const bool chooses = argc > 1 && strcmp(argv[1], "--choose") == 0;
    if (argc < 3 + chooses) {
        fprintf(stderr, "usage: score_train [--choose] OUT DATA.jsonl...\n");
        return 2;
    }
    for (int i = 2 + chooses; i < argc; i++)
        file_read(argv[i]);
    printf("%zu prompts\n", n_rows);
    double *w = must(malloc(COLUMNS * sizeof *w));
    judged = must(malloc((n_rows + 1) * sizeof *judged));
    features_scale();
    fold_rows(0);
    const struct settings s = chooses ? choose(nothing, w) : chosen;
    judge_all(&s, chooses, w);
    write_all(argv[1 + chooses], &s, w);
    return 0;
}
