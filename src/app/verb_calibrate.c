/* weir calibrate: the complexity score fitted to one's own graded prompts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/verbs.h"
#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"
#include "router/calibrate.h"

static const char help[] =
    "usage: weir calibrate --weak MODEL --strong MODEL --out FILE [--recover 0.8] [--json] < graded.jsonl\n"
    "\n"
    "Reads what weir eval --out wrote, {\"prompt\", \"scores\": {MODEL: 0 to 1}, \"cost_usd\": {MODEL: USD}} "
    "(or\n"
    "{\"prompt\", \"weak\", \"strong\"}), fits the complexity score to it, and says what the fit is worth on "
    "prompts it\n"
    "has not seen: APGR (chance 0.5) and the share of strong calls that recovers 50% and 80% of the gap "
    "between the\n"
    "two models (CPT), beside the built-in score, the prompt's length, chance and an oracle. Where the "
    "features of the\n"
    "text do not help, the built-in score stays, with a threshold of its own.\n"
    "A route refers to FILE: {name: auto, calibration: FILE, rules: [{when: {complexity: \">= threshold\"}, "
    "...}]}.\n"
    "\n"
    "  --recover SHARE  of the gap that the threshold is to recover; default 0.8\n"
    "  --json           the report as an object\n";

struct calibrate {
    struct str weak, strong;
    struct arena *arena;
    struct calibrate_sample *samples;
    size_t n, capacity, left_out;
};

/* A number of a map by model; NaN where there is none. */
static double number_of(const json_t *row, const char *map, struct str model, const char *bare)
{
    const json_t *value = json_object_getn(json_object_get(row, map), model.data, model.len);
    if (!json_is_number(value) && bare)
        value = json_object_get(row, bare);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct calibrate *c = ctx;
    struct error err;
    json_t *row;
    if (json_read_in(c->arena, line, &row, &err))
        return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
    struct calibrate_sample s = {.prompt = json_str(json_object_get(row, "prompt")),
        .weak = number_of(row, "scores", c->weak, "weak"),
        .strong = number_of(row, "scores", c->strong, "strong"),
        .weak_cost = number_of(row, "cost_usd", c->weak, NULL),
        .strong_cost = number_of(row, "cost_usd", c->strong, NULL)};
    if (!s.prompt.data)
        return verb_failf(EXIT_FAILED, "line %lld: no \"prompt\" that is a string", number);
    if (isnan(s.weak) || isnan(s.strong)) { /* one of them did not answer */
        c->left_out++;
        return 0;
    }
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 256;
        c->samples = must(realloc(c->samples, c->capacity * sizeof *c->samples));
    }
    c->samples[c->n++] = s;
    return 0;
}

static const struct {
    const char *name;
    size_t at;
} lines[] = {{"fitted", offsetof(struct calibrate_report, fitted)},
    {"built_in", offsetof(struct calibrate_report, built_in)},
    {"length", offsetof(struct calibrate_report, length)},
    {"oracle", offsetof(struct calibrate_report, oracle)}};

static const struct gap_report *line_of(const struct calibrate_report *r, size_t i)
{
    return (const struct gap_report *)(const void *)((const char *)r + lines[i].at);
}

static void report_print(
    const struct calibrate *c, const struct router_calibration *fitted, const struct calibrate_report *r)
{
    printf("%zu prompts, %zu left out (not graded for both)\n", c->n, c->left_out);
    printf(
        "%-16s %8.3f\n%-16s %8.3f\n\n", "weak, quality", r->fitted.weak, "strong, quality", r->fitted.strong);
    printf("%-16s %8s %8s %8s\n", "", "APGR", "CPT(50)", "CPT(80)");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const struct gap_report *g = line_of(r, i);
        printf("%-16s %8.3f %7.1f%% %7.1f%%\n", lines[i].name, g->apgr, 100 * g->cpt50, 100 * g->cpt80);
    }
    printf("%-16s %8.3f %7.1f%% %7.1f%%\n\n", "random", 0.5, 50.0, 80.0);
    printf(
        "threshold %.4f: %.1f%% strong calls, quality %.3f", fitted->threshold, 100 * r->share, r->quality);
    if (!isnan(r->cost))
        printf(", %.6f USD (all weak %.6f, all strong %.6f)", r->cost, r->weak_cost, r->strong_cost);
    printf("\n%s\n", r->features
                         ? "the text's features are used beside the built-in score"
                         : "the built-in score stays: the text's features did not help on unseen prompts");
    if (r->fitted.apgr <= r->length.apgr)
        printf("this does not beat the prompt's length\n");
}

static void number_write(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_write_double(w, value);
}

static void report_write(
    const struct calibrate *c, const struct calibrate_report *r, double recover, struct json_writer *w)
{
    json_key(w, "weak");
    json_write_str(w, c->weak);
    json_key(w, "strong");
    json_write_str(w, c->strong);
    json_key(w, "prompts");
    json_write_int(w, (int64_t)c->n);
    json_key(w, "uses_features");
    json_write_bool(w, r->features);
    number_write(w, "recover", recover);
    number_write(w, "strong_share", r->share);
    number_write(w, "quality", r->quality);
    number_write(w, "weak_quality", r->fitted.weak);
    number_write(w, "strong_quality", r->fitted.strong);
    number_write(w, "cost_usd", r->cost);
    number_write(w, "weak_cost_usd", r->weak_cost);
    number_write(w, "strong_cost_usd", r->strong_cost);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const struct gap_report *g = line_of(r, i);
        json_key(w, lines[i].name);
        json_object_begin(w);
        number_write(w, "apgr", g->apgr);
        number_write(w, "cpt50", g->cpt50);
        number_write(w, "cpt80", g->cpt80);
        json_object_end(w);
    }
}

/* The file, and with --json the same on standard output. */
static int file_write(const struct calibrate *c, const struct router_calibration *fitted,
    const struct calibrate_report *r, double recover, const char *path, bool shown)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    router_calibration_members(fitted, &w);
    report_write(c, r, recover, &w);
    json_object_end(&w);
    buf_append_char(&out, '\n');
    FILE *f = fopen(path, "w");
    bool written = f && fwrite(out.data, 1, out.len, f) == out.len;
    if (f && fclose(f) != 0)
        written = false;
    if (shown)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return written ? EXIT_DONE : verb_failf(EXIT_FAILED, "cannot write %s", path);
}

int verb_calibrate(int argc, char **argv)
{
    const char *weak = NULL, *strong = NULL, *path = NULL, *recover_text = NULL;
    bool json = false;
    const struct verb_option options[] = {{"weak", &weak, NULL}, {"strong", &strong, NULL},
        {"out", &path, NULL}, {"recover", &recover_text, NULL}, {"json", NULL, &json}};
    double recover = 0.8;
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !weak || !strong || !path)
        return verb_failf(EXIT_USAGE,
            "calibrate wants --weak, --strong and --out, and reads standard input: see "
            "weir calibrate --help");
    if (recover_text && !verb_number("recover", recover_text, 0, 1, &recover))
        return EXIT_USAGE;
    struct calibrate c = {
        .weak = str_from(weak), .strong = str_from(strong), .arena = arena_create((size_t)4 << 30)};
    struct router_calibration fitted;
    struct calibrate_report report;
    struct error err;
    int rc = verb_each_line(line_take, &c);
    if (rc == 0 && router_calibrate(c.samples, c.n, recover, &fitted, &report, &err))
        rc = verb_fail(EXIT_FAILED, &err);
    if (rc == 0)
        rc = file_write(&c, &fitted, &report, recover, path, json);
    if (rc == 0 && !json)
        report_print(&c, &fitted, &report);
    free(c.samples);
    arena_free(c.arena);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc;
}
