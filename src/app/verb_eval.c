/* weir eval: models on one's own samples: quality, cost, latency.
 *
 *   samples x models --> a batch (batch_run.h) --> answers --> graded, or asked of a judge in a second batch
 *                                             \--> the ledger's rows: cost, time, and who really answered */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/batch_run.h"
#include "app/grade.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/must.h"
#include "exchange/attempts.h"
#include "store/store.h"

static const char help[] =
    "usage: weir eval SAMPLES --models A,B[,C] [options]\n"
    "\n"
    "Asks each model (or route) each sample of a JSONL file and prints quality, cost and latency. A sample is\n"
    "{\"prompt\": \"...\" or \"messages\": [...], \"expected\": ..., \"grader\": \"exact|contains|regex|json|judge\"}:\n"
    "  exact     the answer is the expected text, or one of a list (default)\n"
    "  contains  it holds that text, or one of a list, in small or capital letters\n"
    "  regex     a POSIX extended expression finds something in it\n"
    "  json      the share of the expected object's members that it has (default for an object)\n"
    "  judge     a model grades it from 0 to 10, beside `expected` where there is one\n"
    "Rules, boundaries, the ledger and the egress log hold as in weir serve: what must stay inside is not asked of a\n"
    "model outside, and does not count for it. Failed answers count as quality 0.\n"
    "\n"
    "  --models A,B       names of the configuration\n"
    "  --judge MODEL      who grades where the grader is judge\n"
    "  --out FILE         {\"prompt\", \"scores\", \"cost_usd\", \"latency_ms\", \"measured\"} a line, for weir calibrate\n"
    "  --max-tokens N     of an answer, default 512\n"
    "  --measure N        how sure embedded models are of the prompt and the first N tokens, default 16\n"
    "  --again            and how far N tokens agree that are drawn once more; takes longer\n"
    "  --parallel N       answers at a time, default 4\n"
    "  --json             an object instead of a table\n"
    "  --config FILE      default weir.yaml\n";

enum { MODELS_MOST = 16 };

struct answer {
    struct str text, request_id;
    bool failed, elsewhere; /* another model answered: it had to stay inside */
    double score;           /* NaN: not graded */
    double cost_usd;        /* NaN: unknown */
    double ms;
    struct doubt doubt; /* of the embedded model that was asked; no tokens: none was */
};

struct sample {
    const json_t *object;
    struct str prompt; /* or the last message */
    enum grade_by by;
};

struct eval {
    struct arena *arena;
    struct str models[MODELS_MOST];
    size_t n_models;
    struct sample *samples;
    size_t n, capacity;
    struct answer *answers; /* of sample i by model k: i * n_models + k */
    const char *judge, *config;
    long long max_tokens, parallel, measure;
    bool again;
    char folder[64], in[96], out[96];
    int64_t since_ms;
    struct error *err;
};

/* ---- Samples ---- */

static struct str prompt_of(const json_t *sample)
{
    const json_t *messages = json_object_get(sample, "messages");
    if (!messages)
        return json_text(sample, "prompt");
    size_t n = json_array_size(messages);
    return json_text(json_array_get(messages, n > 0 ? n - 1 : 0), "content");
}

static int sample_read(struct eval *e, struct str line, long long number)
{
    json_t *object;
    struct sample s;
    int rc = json_read_in(e->arena, line, &object, e->err);
    if (rc == 0)
        rc = grade_read(object, &s.by, e->err);
    s.object = object;
    s.prompt = rc == 0 ? prompt_of(object) : STR_NONE;
    if (rc == 0 && s.prompt.len == 0)
        rc = error_set(e->err, ERROR_INVALID, "no \"prompt\", and no \"messages\" that end in a text");
    if (rc == 0 && s.by == GRADE_JUDGE && !e->judge)
        rc = error_set(e->err, ERROR_INVALID, "the grader is judge: say who, --judge MODEL");
    if (rc)
        return error_wrap(e->err, "line %lld", number);
    if (e->n == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 256;
        e->samples = must(realloc(e->samples, e->capacity * sizeof *e->samples));
    }
    e->samples[e->n++] = s;
    return 0;
}

/* Each line of a file that is not empty. */
static int lines_read(struct eval *e, const char *path, int (*take)(struct eval *, struct str, long long))
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    long long number = 0;
    int rc = 0;
    if (!f)
        return error_set(e->err, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    while (rc == 0 && (n = getline(&line, &room, f)) > 0) {
        number++;
        struct str text = str_trim((struct str){line, (size_t)n});
        if (text.len > 0)
            rc = take(e, text, number);
    }
    if (rc)
        rc = error_wrap(e->err, "%s", path);
    else if (ferror(f))
        rc = error_set(e->err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    free(line);
    fclose(f);
    return rc;
}

/* ---- Questions ---- */

static void line_begin(struct json_writer *w, size_t index, struct str model, int64_t max_tokens)
{
    char id[32];
    snprintf(id, sizeof id, "%zu", index);
    json_object_begin(w);
    json_member_text(w, "custom_id", id);
    json_member_text(w, "method", "POST");
    json_member_text(w, "url", "/v1/chat/completions");
    json_key(w, "body");
    json_object_begin(w);
    json_member_str(w, "model", model);
    json_member_int(w, "temperature", 0);
    json_member_int(w, "max_tokens", max_tokens);
    json_key(w, "messages");
}

static void user_write(struct json_writer *w, struct str text)
{
    json_array_begin(w);
    json_object_begin(w);
    json_member_text(w, "role", "user");
    json_member_str(w, "content", text);
    json_object_end(w);
    json_array_end(w);
}

static void question_write(struct eval *e, size_t index, struct json_writer *w)
{
    const struct sample *s = &e->samples[index / e->n_models];
    const json_t *messages = json_object_get(s->object, "messages");
    line_begin(w, index, e->models[index % e->n_models], e->max_tokens);
    if (messages)
        json_write_value(w, messages);
    else
        user_write(w, s->prompt);
}

static void judgement_write(struct eval *e, size_t index, struct json_writer *w)
{
    enum { VERDICT_TOKENS = 1024 }; /* some think before they speak */
    const struct sample *s = &e->samples[index / e->n_models];
    struct buf text;
    buf_init(&text, 16 * MIB);
    grade_question(s->prompt, json_object_get(s->object, "expected"), e->answers[index].text, &text);
    line_begin(w, index, str_from(e->judge), VERDICT_TOKENS);
    user_write(w, buf_str(&text));
    buf_free(&text);
}

static bool to_judge(const struct eval *e, size_t index)
{
    const struct answer *a = &e->answers[index];
    return e->samples[index / e->n_models].by == GRADE_JUDGE && !a->failed && !a->elsewhere;
}

/* The lines of a batch; how many. */
static int batch_write(struct eval *e, bool judging, size_t *count)
{
    FILE *f = fopen(e->in, "w");
    struct buf out;
    struct json_writer w;
    bool written = f != NULL;
    buf_init(&out, LIMIT_REQUEST_MEMORY);
    *count = 0;
    for (size_t i = 0; written && i < e->n * e->n_models; i++) {
        if (judging && !to_judge(e, i))
            continue;
        buf_clear(&out);
        json_writer_init(&w, &out);
        (judging ? judgement_write : question_write)(e, i, &w);
        json_object_end(&w);
        json_object_end(&w);
        buf_append_char(&out, '\n');
        written = !out.failed && fwrite(out.data, 1, out.len, f) == out.len;
        ++*count;
    }
    buf_free(&out);
    if (f && fclose(f) != 0)
        written = false;
    return written ? 0 : error_set(e->err, ERROR_IO, "cannot write %s: %s", e->in, strerror(errno));
}

/* ---- Answers ---- */

static struct str text_of(const json_t *body)
{
    const json_t *choice = json_array_get(json_object_get(body, "choices"), 0);
    return json_text(json_object_get(choice, "message"), "content");
}

static int result_index(const struct eval *e, const json_t *result, size_t *index)
{
    int64_t number;
    if (!str_to_int64(json_text(result, "custom_id"), &number) || number < 0 ||
        (size_t)number >= e->n * e->n_models)
        return error_set(e->err, ERROR_INTERNAL, "a result is of no question");
    *index = (size_t)number;
    return 0;
}

/* Whose answer a line of the results tells, and what it was answered. */
static int result_read(struct eval *e, struct str line, struct answer **of, const json_t **response)
{
    json_t *result;
    size_t index;
    int rc = json_read_in(e->arena, line, &result, e->err);
    if (rc == 0)
        rc = result_index(e, result, &index);
    if (rc)
        return rc;
    *of = &e->answers[index];
    *response = json_object_get(result, "response");
    return 0;
}

static int answer_take(struct eval *e, struct str line, long long number)
{
    const json_t *response;
    struct answer *a;
    (void)number;
    int rc = result_read(e, line, &a, &response);
    if (rc)
        return rc;
    a->request_id = json_text(response, "request_id");
    a->text = text_of(json_object_get(response, "body"));
    a->failed = json_integer_value(json_object_get(response, "status_code")) != 200;
    return 0;
}

static int verdict_take(struct eval *e, struct str line, long long number)
{
    const json_t *response;
    struct answer *a;
    (void)number;
    int rc = result_read(e, line, &a, &response);
    if (rc == 0)
        a->score = grade_verdict(text_of(json_object_get(response, "body")));
    return rc;
}

static int batch_ask(struct eval *e, bool judging)
{
    struct config *config;
    struct batch_counts counts;
    const struct config_overrides none = {0};
    const struct batch_run_options o = {.in = e->in,
        .out = e->out,
        .parallel = (int)e->parallel,
        .measure = judging ? 0 : (int)e->measure,
        .measure_again = !judging && e->again};
    size_t n;
    int rc = batch_write(e, judging, &n);
    if (rc || n == 0)
        return rc;
    rc = config_load(str_from(e->config), &none, &config, e->err);
    if (rc == 0)
        rc = batch_run(config, &o, &counts, e->err);
    if (rc == 0)
        rc = lines_read(e, e->out, judging ? verdict_take : answer_take);
    unlink(e->out);
    return rc;
}

/* ---- Cost and time, from the ledger ---- */
struct lookup {
    struct eval *eval;
    struct map by_id;
};

static int row_take(void *ctx, const struct store_ledger_row *row)
{
    struct lookup *l = ctx;
    const struct store_settled *s = &row->settled;
    uint32_t *index = map_find(&l->by_id, row->opened.request_id);
    if (!index)
        return 0;
    struct answer *a = &l->eval->answers[*index];
    a->cost_usd = s->cost_nano_usd < 0 ? NAN : (double)s->cost_nano_usd * 1e-9;
    a->ms = s->total_ms < 0 ? NAN : (double)s->total_ms;
    if (!attempts_measured(s->attempts, STR_NONE, &a->doubt))
        a->doubt.tokens = 0;
    /* A route may be asked too: then whoever it chose is right. */
    bool named = row->opened.route.len == 0;
    a->elsewhere = named && !str_eq(s->model, row->opened.model) && !a->failed &&
                   str_is(row->opened.rule, "named-sensitive");
    return 0;
}

static int ledger_read(struct eval *e, struct str state)
{
    struct lookup l = {.eval = e};
    struct store *s;
    bool added;
    int rc = map_init(&l.by_id, e->n * e->n_models, e->err);
    for (size_t i = 0; rc == 0 && i < e->n * e->n_models; i++)
        if (e->answers[i].request_id.len > 0)
            rc = map_add(&l.by_id, e->answers[i].request_id, (uint32_t)i, &added, e->err);
    if (rc == 0)
        rc = store_open(state, &s, e->err);
    if (rc == 0) {
        rc = store_ledger_list(s, e->since_ms, row_take, &l, e->err);
        store_close(s);
    }
    map_free(&l.by_id);
    return rc;
}

static void answers_grade(struct eval *e)
{
    for (size_t i = 0; i < e->n * e->n_models; i++) {
        struct answer *a = &e->answers[i];
        const struct sample *s = &e->samples[i / e->n_models];
        if (a->elsewhere)
            a->score = NAN;
        else if (a->failed)
            a->score = 0;
        else if (s->by != GRADE_JUDGE)
            a->score = grade(s->by, json_object_get(s->object, "expected"), a->text);
    }
}

/* ---- What came of it ---- */
struct total {
    size_t graded, failed, elsewhere;
    double quality, error, cost_usd, mean_ms; /* error: standard error of the quality */
};

static struct total total_of(const struct eval *e, size_t model)
{
    struct total t = {0};
    double square = 0, ms = 0;
    size_t timed = 0;
    for (size_t i = 0; i < e->n; i++) {
        const struct answer *a = &e->answers[i * e->n_models + model];
        t.failed += a->failed;
        t.elsewhere += a->elsewhere;
        t.cost_usd += a->elsewhere ? 0 : a->cost_usd;
        if (!isnan(a->ms) && !a->elsewhere) {
            ms += a->ms;
            timed++;
        }
        if (isnan(a->score))
            continue;
        t.graded++;
        t.quality += a->score;
        square += a->score * a->score;
    }
    double n = t.graded > 0 ? (double)t.graded : NAN;
    t.quality /= n;
    t.error = t.graded > 1 ? sqrt(fmax(0, square / n - t.quality * t.quality) / (n - 1)) : NAN;
    t.mean_ms = timed > 0 ? ms / (double)timed : NAN;
    return t;
}

static void table_print(const struct eval *e)
{
    printf("%-24s %8s %8s %8s %8s %8s %14s %10s\n", "MODEL", "GRADED", "QUALITY", "+-", "FAILED", "INSIDE",
        "USD", "MEAN MS");
    for (size_t k = 0; k < e->n_models; k++) {
        struct total t = total_of(e, k);
        printf("%-24.*s %8zu %8.3f %8.3f %8zu %8zu %14.6f %10.0f\n", (int)e->models[k].len, e->models[k].data,
            t.graded, t.quality, t.error, t.failed, t.elsewhere, t.cost_usd, t.mean_ms);
    }
}

static void json_print(const struct eval *e)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_array_begin(&w);
    for (size_t k = 0; k < e->n_models; k++) {
        struct total t = total_of(e, k);
        json_object_begin(&w);
        json_member_str(&w, "model", e->models[k]);
        const struct {
            const char *key;
            double value;
        } members[] = {{"samples", (double)e->n}, {"graded", (double)t.graded}, {"quality", t.quality},
            {"standard_error", t.error}, {"failed", (double)t.failed}, {"kept_inside", (double)t.elsewhere},
            {"cost_usd", t.cost_usd}, {"mean_ms", t.mean_ms}};
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            json_member_double(&w, members[i].key, members[i].value);
        json_object_end(&w);
    }
    json_array_end(&w);
    printf("%s\n", out.data);
    buf_free(&out);
}

static void numbers_write(
    struct json_writer *w, const struct eval *e, size_t sample, const char *key, size_t at)
{
    json_key(w, key);
    json_object_begin(w);
    for (size_t k = 0; k < e->n_models; k++) {
        const struct answer *a = &e->answers[sample * e->n_models + k];
        json_key_str(w, e->models[k]);
        json_write_double(w, *(const double *)(const void *)((const char *)a + at));
    }
    json_object_end(w);
}

/* How sure embedded models were. */
static void measures_write(struct json_writer *w, const struct eval *e, size_t sample)
{
    json_key(w, "measured");
    json_object_begin(w);
    for (size_t k = 0; k < e->n_models; k++) {
        const struct answer *a = &e->answers[sample * e->n_models + k];
        if (a->doubt.tokens == 0)
            continue;
        json_key_str(w, e->models[k]);
        doubt_write(&a->doubt, w);
    }
    json_object_end(w);
}

static void graded_line(struct json_writer *w, const struct eval *e, size_t i)
{
    json_object_begin(w);
    if (json_object_get(e->samples[i].object, "id")) {
        json_key(w, "id");
        json_write_value(w, json_object_get(e->samples[i].object, "id"));
    }
    json_member_str(w, "prompt", e->samples[i].prompt);
    numbers_write(w, e, i, "scores", offsetof(struct answer, score));
    numbers_write(w, e, i, "cost_usd", offsetof(struct answer, cost_usd));
    numbers_write(w, e, i, "latency_ms", offsetof(struct answer, ms));
    measures_write(w, e, i);
    json_object_end(w);
}

static int graded_write(const struct eval *e, const char *path)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 4 * GIB);
    for (size_t i = 0; i < e->n; i++) {
        json_writer_init(&w, &out);
        graded_line(&w, e, i);
        buf_append_char(&out, '\n');
    }
    int rc = out.failed ? error_set(e->err, out.failed, "no memory for what %s is to hold", path)
                        : file_replace(path, buf_str(&out), 0644, e->err);
    buf_free(&out);
    return rc;
}

/* What is asked costs money: first it is looked whether its result has a place. */
static int out_check(const char *samples, const char *out, struct error *err)
{
    int rc = file_check_place(out, err);
    if (rc == 0 && file_is_same(samples, out))
        rc = error_set(err, ERROR_INVALID, "%s is the file of the samples: name another for --out", out);
    return rc;
}

/* ---- The verb ---- */

static bool models_read(struct eval *e, const char *text)
{
    struct str rest = str_from(text), name;
    while (str_split(&rest, ',', &name)) {
        name = str_trim(name);
        if (name.len == 0 || e->n_models == MODELS_MOST)
            return false;
        e->models[e->n_models++] = name;
    }
    return e->n_models > 0;
}

static int folder_make(struct eval *e)
{
    snprintf(e->folder, sizeof e->folder, "/tmp/weir-eval-XXXXXX");
    if (!mkdtemp(e->folder))
        return error_set(e->err, ERROR_IO, "cannot make a folder in /tmp: %s", strerror(errno));
    snprintf(e->in, sizeof e->in, "%s/in.jsonl", e->folder);
    snprintf(e->out, sizeof e->out, "%s/out.jsonl", e->folder);
    return 0;
}

static int eval_run(struct eval *e, const char *samples, struct str state)
{
    int rc = lines_read(e, samples, sample_read);
    if (rc)
        return rc;
    if (e->n == 0)
        return error_set(e->err, ERROR_INVALID, "%s holds no samples", samples);
    e->answers = must(calloc(e->n * e->n_models, sizeof *e->answers));
    for (size_t i = 0; i < e->n * e->n_models; i++)
        e->answers[i] = (struct answer){.failed = true, .score = NAN, .cost_usd = NAN, .ms = NAN};
    e->since_ms = clock_wall_ms() - 1000;
    rc = folder_make(e);
    if (rc)
        return rc;
    rc = batch_ask(e, false);
    if (rc == 0)
        rc = ledger_read(e, state);
    if (rc == 0)
        answers_grade(e);
    if (rc == 0 && e->judge)
        rc = batch_ask(e, true);
    unlink(e->in);
    unlink(e->out);
    rmdir(e->folder);
    return rc;
}

/* The configuration must be good before anything is asked. */
static int config_check(const struct eval *e, struct arena *a, struct str *state)
{
    const struct config_overrides none = {0};
    struct config *config;
    int rc = config_load(str_from(e->config), &none, &config, e->err);
    if (rc)
        return rc;
    *state = arena_copy(a, config->state);
    config_free(config);
    return 0;
}

int verb_eval(int argc, char **argv)
{
    const char *models = NULL, *out = NULL, *max_tokens = NULL, *parallel = NULL, *measure = NULL;
    struct error err = {.message = "the result could not be printed"};
    struct eval e = {.max_tokens = 512, .parallel = BATCH_PARALLEL, .measure = DOUBT_TOKENS, .err = &err};
    bool json = false;
    const struct verb_option options[] = {{"models", &models, NULL}, {"judge", &e.judge, NULL},
        {"out", &out, NULL}, {"max-tokens", &max_tokens, NULL}, {"parallel", &parallel, NULL},
        {"measure", &measure, NULL}, {"again", NULL, &e.again}, {"json", NULL, &json},
        {"config", &e.config, NULL}};
    struct str state;
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n != 1 || !models || !models_read(&e, models))
        return verb_failf(EXIT_USAGE,
            "eval wants a file of samples and --models A,B (at most %d): see weir eval --help", MODELS_MOST);
    if ((max_tokens && !verb_integer("max-tokens", max_tokens, 1, 1 << 20, &e.max_tokens)) ||
        (parallel && !verb_integer("parallel", parallel, 1, 1024, &e.parallel)) ||
        (measure && !verb_integer("measure", measure, 0, CHAT_MEASURE_MAX, &e.measure)))
        return EXIT_USAGE;
    e.arena = arena_create((size_t)4 << 30);
    int exit_code = EXIT_DONE;
    if (config_check(&e, e.arena, &state))
        exit_code = verb_fail(EXIT_USAGE, &err);
    else if ((out && out_check(argv[1], out, &err)) || eval_run(&e, argv[1], state))
        exit_code = verb_fail(EXIT_FAILED, &err);
    else {
        (json ? json_print : table_print)(&e);
        if (fflush(stdout) != 0 || (out && graded_write(&e, out)))
            exit_code = verb_fail(EXIT_FAILED, &err);
    }
    free(e.answers);
    free(e.samples);
    arena_free(e.arena);
    return exit_code;
}
