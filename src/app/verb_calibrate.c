/* weir calibrate: the complexity score fitted to one's own graded prompts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/verbs.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/must.h"
#include "json/json.h"
#include "router/calibrate.h"

static const char help[] =
    "usage: weir calibrate --weak MODEL --strong MODEL --out FILE [--cascade] [--recover 0.8 | --quality 0.95]\n"
    "                      [--json] < graded.jsonl\n"
    "\n"
    "Reads what weir eval --out wrote, {\"prompt\", \"scores\": {MODEL: 0 to 1}, \"cost_usd\": {MODEL: USD}} (or\n"
    "{\"prompt\", \"weak\", \"strong\"}), fits the complexity score to it, and says what the fit is worth on prompts it\n"
    "has not seen: APGR (chance 0.5) and the share of strong calls that recovers 50% and 80% of the gap between the\n"
    "two models (CPT), beside the built-in score, the prompt's length, chance and an oracle. Where the features of the\n"
    "text do not help, the built-in score stays, with a threshold of its own.\n"
    "Thumbs do, too: the lines that a gateway with 'feedback: FILE' writes for POST /v1/feedback. Each grades only the\n"
    "one who answered, and for the other its mean stands in: so both must get requests of all kinds for a while.\n"
    "A route refers to FILE: {name: auto, calibration: FILE, rules: [{when: {complexity: \">= threshold\"}, ...}]}.\n"
    "\n"
    "With --cascade the weak one is an embedded model that answers first: what is fitted is the doubt of it, by what it gave\n"
    "its own first tokens as probabilities (\"measured\" in the lines), and the threshold from which on the strong one is asked\n"
    "as well. How likely it found the prompt, and how far a second answer agrees (eval --again), are taken in only where\n"
    "that is better on unseen prompts: only then does a request pay for them. A rule refers to FILE: {use: [weak, strong], cascade: {calibration: FILE}}.\n"
    "\n"
    "  --cascade        fit a cascade instead of the complexity\n"
    "  --tokens N       of a cascade: as many as eval was to --measure; default 16\n"
    "  --recover SHARE  of the gap that the threshold is to recover; default 0.8\n"
    "  --quality SHARE  instead: of the strong model's quality that is to be reached\n"
    "  --json           the report as an object\n";

struct calibrate {
    struct str weak, strong;
    struct arena *arena;
    bool cascade;
    double recover;
    struct calibrate_sample *samples;
    size_t n, capacity, left_out;
    size_t one_sided; /* of them: thumbs, which grade the one who answered; the other's grade is its mean */
    struct map by_id; /* the samples that have a request id: its last grade counts */
};

/* A number of a map by model; NaN where there is none. */
static double number_of(const json_t *row, const char *map, struct str model, const char *bare)
{
    const json_t *value = json_object_getn(json_object_get(row, map), model.data, model.len);
    if (!json_is_number(value) && bare)
        value = json_object_get(row, bare);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void sample_keep(struct calibrate *c, const struct calibrate_sample *s, struct str request_id)
{
    struct error err;
    bool added = true;
    if (request_id.len > 0 && map_add(&c->by_id, request_id, (uint32_t)c->n, &added, &err))
        abort();
    if (!added) {
        c->samples[*map_find(&c->by_id, request_id)] = *s;
        return;
    }
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 256;
        c->samples = must(realloc(c->samples, c->capacity * sizeof *c->samples));
    }
    c->samples[c->n++] = *s;
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct calibrate *c = ctx;
    struct error err;
    json_t *row;
    if (json_read_in(c->arena, line, &row, &err))
        return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
    const struct str prompt = json_text(row, "prompt");
    struct calibrate_sample s = {.weak = number_of(row, "scores", c->weak, "weak"),
        .strong = number_of(row, "scores", c->strong, "strong"),
        .weak_cost = number_of(row, "cost_usd", c->weak, NULL),
        .strong_cost = number_of(row, "cost_usd", c->strong, NULL)};
    bool thumb = !prompt.data && calibrate_prompt_read(json_object_get(row, "asked"), &s.prompt);
    if (!prompt.data && !thumb)
        return verb_failf(EXIT_FAILED, "line %lld: no \"prompt\" that is a string, and no \"asked\"", number);
    if (prompt.data)
        calibrate_prompt_of(prompt, &s.prompt);
    const json_t *measured = json_object_get(row, "measured");
    bool told = doubt_read(json_object_getn(measured, c->weak.data, c->weak.len), &s.doubt);
    bool graded = thumb ? !isnan(s.weak) || !isnan(s.strong) : !isnan(s.weak) && !isnan(s.strong);
    if (!graded || (c->cascade && !told && !isnan(s.weak))) /* one of them did not answer */
        c->left_out++;
    else
        sample_keep(c, &s, json_text(row, "request_id"));
    return 0;
}

/* ---- Thumbs ---- */

static double mean_of(const struct calibrate *c, size_t at)
{
    double sum = 0, n = 0;
    for (size_t i = 0; i < c->n; i++) {
        double value = *(const double *)(const void *)((const char *)&c->samples[i] + at);
        sum += isnan(value) ? 0 : value;
        n += !isnan(value);
    }
    return sum / n;
}

/* A thumb grades one of the two: the other would have done as well as it does on the whole. Of a cascade only
 * what the local model answered tells how far to doubt it. */
static void thumbs_fill(struct calibrate *c)
{
    static const size_t fields[] = {offsetof(struct calibrate_sample, weak),
        offsetof(struct calibrate_sample, strong), offsetof(struct calibrate_sample, weak_cost),
        offsetof(struct calibrate_sample, strong_cost)};
    double means[4];
    size_t kept = 0;
    for (size_t k = 0; k < 4; k++)
        means[k] = mean_of(c, fields[k]);
    for (size_t i = 0; i < c->n; i++) {
        struct calibrate_sample *s = &c->samples[i];
        c->left_out += c->cascade && isnan(s->weak);
        if (c->cascade && isnan(s->weak))
            continue;
        c->one_sided += isnan(s->weak) || isnan(s->strong);
        for (size_t k = 0; k < 4; k++) {
            double *value = (double *)(void *)((char *)s + fields[k]);
            *value = isnan(*value) ? means[k] : *value;
        }
        c->samples[kept++] = *s;
    }
    c->n = kept;
}

/* What a fit would only call too few. */
static int samples_check(const struct calibrate *c, long long tokens)
{
    for (size_t i = 0; i < c->n; i++)
        if (isnan(c->samples[i].weak) || isnan(c->samples[i].strong))
            return verb_failf(EXIT_FAILED, "no line grades " STR_FMT ": is that the name of the model there?",
                STR_ARG(isnan(c->samples[i].weak) ? c->weak : c->strong));
        else if (c->cascade && c->samples[i].doubt.tokens > tokens)
            return verb_failf(EXIT_USAGE,
                "the lines tell of %d tokens, not of %lld: say --tokens %d, or ask weir eval for fewer",
                c->samples[i].doubt.tokens, tokens, c->samples[i].doubt.tokens);
    if (c->n < CALIBRATE_LEAST)
        return verb_failf(EXIT_FAILED,
            "%zu graded prompts are too few: %d are the least; %zu more are not graded for both " STR_FMT
            " and " STR_FMT,
            c->n, CALIBRATE_LEAST, c->left_out, STR_ARG(c->weak), STR_ARG(c->strong));
    return 0;
}

static const struct {
    const char *name;
    size_t at;
} lines[] = {{"fitted", offsetof(struct calibrate_report, fitted)},
    {"built_in", offsetof(struct calibrate_report, built_in)},
    {"length", offsetof(struct calibrate_report, length)},
    {"oracle", offsetof(struct calibrate_report, oracle)},
    {"complexity", offsetof(struct calibrate_report, complexity)}};

/* What a fit to the complexity calls `built_in` is `complexity` beside a cascade. */
static size_t lines_of(const struct calibrate *c)
{
    return sizeof lines / sizeof *lines - !c->cascade;
}

static const struct gap_report *line_of(const struct calibrate_report *r, size_t i)
{
    return (const struct gap_report *)(const void *)((const char *)r + lines[i].at);
}

static const char *verdict(const struct calibrate *c, const struct calibrate_report *r)
{
    if (c->cascade)
        return r->features
                   ? "the signals have weights of their own"
                   : "the built-in doubt stays: weights of the signals did not help on unseen prompts";
    return r->features ? "the text's features are used beside the built-in score"
                       : "the built-in score stays: the text's features did not help on unseen prompts";
}

static void report_print(const struct calibrate *c, double threshold, const struct calibrate_report *r)
{
    printf("%zu prompts, %zu left out (not graded for both)\n", c->n, c->left_out);
    if (c->one_sided > 0)
        printf("%zu of them graded for one model only: the other's mean stands in\n", c->one_sided);
    printf(
        "%-16s %8.3f\n%-16s %8.3f\n\n", "weak, quality", r->fitted.weak, "strong, quality", r->fitted.strong);
    printf("%-16s %8s %8s %8s\n", "", "APGR", "CPT(50)", "CPT(80)");
    for (size_t i = 0; i < lines_of(c); i++) {
        const struct gap_report *g = line_of(r, i);
        printf("%-16s %8.3f %7.1f%% %7.1f%%\n", lines[i].name, g->apgr, 100 * g->cpt50, 100 * g->cpt80);
    }
    printf("%-16s %8.3f %7.1f%% %7.1f%%\n\n", "random", 0.5, 50.0, 80.0);
    printf("threshold %.4f: %.1f%% strong calls, quality %.3f", threshold, 100 * r->share, r->quality);
    if (!isnan(r->cost))
        printf(", %.6f USD (all weak %.6f, all strong %.6f)", r->cost, r->weak_cost, r->strong_cost);
    printf("\n%s\n", verdict(c, r));
    if (r->fitted.apgr <= r->length.apgr)
        printf("this does not beat the prompt's length\n");
}

static void report_write(const struct calibrate *c, const struct calibrate_report *r, struct json_writer *w)
{
    json_member_str(w, "weak", c->weak);
    json_member_str(w, "strong", c->strong);
    json_member_int(w, "prompts", (int64_t)c->n);
    json_member_int(w, "one_sided", (int64_t)c->one_sided);
    json_member_bool(w, "uses_features", r->features);
    json_member_double(w, "recover", c->recover);
    json_member_double(w, "strong_share", r->share);
    json_member_double(w, "quality", r->quality);
    json_member_double(w, "weak_quality", r->fitted.weak);
    json_member_double(w, "strong_quality", r->fitted.strong);
    json_member_double(w, "cost_usd", r->cost);
    json_member_double(w, "weak_cost_usd", r->weak_cost);
    json_member_double(w, "strong_cost_usd", r->strong_cost);
    for (size_t i = 0; i < lines_of(c); i++) {
        const struct gap_report *g = line_of(r, i);
        json_key(w, lines[i].name);
        json_object_begin(w);
        json_member_double(w, "apgr", g->apgr);
        json_member_double(w, "cpt50", g->cpt50);
        json_member_double(w, "cpt80", g->cpt80);
        json_object_end(w);
    }
}

/* The file, and with --json the same on standard output. */
static int file_write(const struct buf *out, const char *path, bool shown)
{
    if (out->failed)
        return verb_failf(EXIT_FAILED, "the calibration takes too much memory");
    struct error err;
    int rc = file_replace(path, buf_str(out), 0644, &err);
    if (shown)
        fwrite(out->data, 1, out->len, stdout);
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}

/* Of the strong model's quality a share, as a share of the gap. */
static double recover_of(const struct calibrate *c, double quality)
{
    double weak = 0, strong = 0;
    for (size_t i = 0; i < c->n; i++) {
        weak += c->samples[i].weak;
        strong += c->samples[i].strong;
    }
    double recover = strong > weak ? (quality * strong - weak) / (strong - weak) : 0;
    return recover < 0 ? 0 : recover;
}

static int calibrate(const struct calibrate *c, int32_t tokens, const char *path, bool json)
{
    struct router_calibration complexity;
    struct router_cascade cascade;
    struct calibrate_report report;
    struct error err;
    struct buf out;
    struct json_writer w;
    if (c->cascade ? router_cascade_fit(c->samples, c->n, c->recover, tokens, &cascade, &report, &err)
                   : router_calibrate(c->samples, c->n, c->recover, &complexity, &report, &err))
        return verb_fail(EXIT_FAILED, &err);
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    if (c->cascade)
        router_cascade_members(&cascade, &w);
    else
        router_calibration_members(&complexity, &w);
    report_write(c, &report, &w);
    json_object_end(&w);
    buf_append_char(&out, '\n');
    int rc = file_write(&out, path, json);
    buf_free(&out);
    if (rc == 0 && !json)
        report_print(c, c->cascade ? cascade.threshold : complexity.threshold, &report);
    return rc;
}

int verb_calibrate(int argc, char **argv)
{
    const char *weak = NULL, *strong = NULL, *path = NULL, *recover = NULL, *quality = NULL, *tokens = NULL;
    struct calibrate c = {.recover = 0.8};
    bool json = false;
    long long measured = DOUBT_TOKENS;
    double reach = 1;
    const struct verb_option options[] = {{"weak", &weak, NULL}, {"strong", &strong, NULL},
        {"out", &path, NULL}, {"recover", &recover, NULL}, {"quality", &quality, NULL},
        {"tokens", &tokens, NULL}, {"cascade", NULL, &c.cascade}, {"json", NULL, &json}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !weak || !strong || !path || (recover && quality))
        return verb_failf(EXIT_USAGE,
            "calibrate wants --weak, --strong and --out, one of --recover and --quality at most, and reads "
            "standard input: see weir calibrate --help");
    if ((recover && !verb_number("recover", recover, 0, 1, &c.recover)) ||
        (quality && !verb_number("quality", quality, 0, 1, &reach)) ||
        (tokens && !verb_integer("tokens", tokens, 1, CHAT_MEASURE_MAX, &measured)))
        return EXIT_USAGE;
    c.weak = str_from(weak);
    c.strong = str_from(strong);
    c.arena = arena_create((size_t)4 << 30);
    struct error err;
    if (map_init(&c.by_id, 1024, &err))
        abort();
    int rc = verb_each_line(line_take, &c);
    thumbs_fill(&c);
    if (rc == 0)
        rc = samples_check(&c, measured);
    if (quality)
        c.recover = recover_of(&c, reach);
    if (rc == 0)
        rc = calibrate(&c, (int32_t)measured, path, json);
    free(c.samples);
    map_free(&c.by_id);
    arena_free(c.arena);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc;
}
