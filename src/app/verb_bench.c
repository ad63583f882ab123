/* weir bench: how fast a model runs here, as shares of what the machine could do at best. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/bench.h"
#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir bench [MODEL] [options]\n"
    "\n"
    "Measures the machine's own limits (reading memory, products of bytes, bfloat16 and floats) and the model in the\n"
    "same run: prefill, decode, decode at depth, decode of parallel streams, each as a share of its limit.\n"
    "MODEL is a .gguf file or a name of the configuration; default: the configuration's first.\n"
    "\n"
    "  --model MODEL          the same\n"
    "  --prompt N,...         tokens of a prompt; default 512,2048\n"
    "  --generate N           tokens to generate; default 128\n"
    "  --depth N,...          tokens that the cache holds before; default 0,4096\n"
    "  --parallel N,...       streams together, at the first depth; default 1,2,4,8,16\n"
    "  --copy N               tokens of an answer of which nine in ten are expected, as where a text is edited: with\n"
    "                         drafts and without; default 128, 0: none\n"
    "  --repeat N             at most so often; default 5\n"
    "  --time SECONDS         for all of it: what does not fit is skipped, and said; default 120\n"
    "  --threads N            default: the machine's cores\n"
    "  --kv-type TYPE         of the cache: f32, f16, bf16, q8_0 or q4_0; default: as the engine chooses\n"
    "  --json                 all of it as one JSON object\n"
    "  --svg FILE             a picture of speed against depth and against streams\n"
    "  --lora FILE[:SCALE]    a LoRA adapter; several are parted by commas\n"
    "  --memory-unchecked     load the model though it does not seem to fit\n"
    "  --config FILE          where models have names; default weir.yaml\n";

enum { LIST_MAX = 16, COPY_PROMPT = 16, SILENCE_MS = 24 * 3600 * 1000 };

struct options {
    const char *model, *prompt, *generate, *depth, *parallel, *copy, *repeat, *time, *threads, *svg, *config,
        *lora, *kv_type;
    bool json, memory_unchecked;
};

struct numbers {
    long long at[LIST_MAX];
    size_t n;
};

struct run {
    struct numbers prompts, depths, streams;
    long long generate, repeat;
    double seconds;
    int64_t begin_ms;
    struct engine_session *session;
    struct bench b;
};

/* ---- Options ---- */

static bool numbers_read(const char *name, const char *text, const char *fallback, long long least,
    long long most, struct numbers *out)
{
    struct str rest = str_from(text ? text : fallback), item;
    while (str_split(&rest, ',', &item)) {
        int64_t value;
        if (out->n == LIST_MAX || !str_to_int64(str_trim(item), &value) || value < least || value > most) {
            verb_failf(EXIT_USAGE,
                "--%s wants up to %d numbers from %lld to %lld, parted by commas, not '%s'", name, LIST_MAX,
                least, most, text);
            return false;
        }
        out->at[out->n++] = value;
    }
    return true;
}

static bool options_read(const struct options *o, struct run *r, int *threads)
{
    return numbers_read("prompt", o->prompt, "512,2048", 1, 1 << 20, &r->prompts) &&
           numbers_read("depth", o->depth, "0,4096", 0, 1 << 20, &r->depths) &&
           numbers_read("parallel", o->parallel, "1,2,4,8,16", 1, 256, &r->streams) &&
           verb_integer("generate", o->generate ? o->generate : "128", 1, 1 << 20, &r->generate) &&
           verb_integer("copy", o->copy ? o->copy : "128", 0, 1 << 20, &r->b.copy.tokens) &&
           verb_integer("repeat", o->repeat ? o->repeat : "5", 1, 1000, &r->repeat) &&
           verb_number("time", o->time ? o->time : "120", 1, 1e6, &r->seconds) &&
           verb_size_read("threads", o->threads, threads);
}

/* ---- Asking the worker ---- */

static int ask(struct run *r, const struct buf *question, json_t **out, struct error *err)
{
    struct buf answer;
    buf_init(&answer, MIB);
    int rc = engine_session_ask(r->session, WIRE_BENCH, buf_str(question), &answer, NULL, err);
    if (rc == 0)
        rc = json_read(buf_str(&answer), out, err);
    buf_free(&answer);
    return rc;
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The best of what was measured before and after: others may be using the machine. */
static int limits_ask(struct run *r, struct error *err)
{
    struct buf question;
    struct bench_limits *l = &r->b.limits;
    json_t *root;
    buf_init(&question, KIB);
    buf_append_text(&question, "{\"limits\":true}");
    int rc = ask(r, &question, &root, err);
    buf_free(&question);
    if (rc)
        return rc;
    const struct {
        const char *key;
        double *to;
    } members[] = {{"read", &l->read}, {"read_one", &l->read_one}, {"integers", &l->integers},
        {"halves", &l->halves}, {"floats", &l->floats}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        double value = number_of(root, members[i].key);
        *members[i].to = value > *members[i].to ? value : *members[i].to;
    }
    snprintf(r->b.isa, sizeof r->b.isa, STR_FMT, STR_ARG(json_text(root, "isa")));
    r->b.threads = (int)number_of(root, "threads");
    json_decref(root);
    return 0;
}

static double left_s(const struct run *r)
{
    return r->seconds - (double)(clock_mono_ms() - r->begin_ms) / 1000;
}

static int point_ask(struct run *r, struct bench_point *p, double seconds, struct error *err)
{
    struct buf question;
    json_t *root;
    buf_init(&question, KIB);
    buf_appendf(&question,
        "{\"depth\":%lld,\"streams\":%lld,\"prompt\":%lld,\"generate\":%lld,\"repeat\":%lld,\"seconds\":%."
        "3f}",
        p->depth, p->streams, p->prompt, p->generate, r->repeat, seconds > 0 ? seconds : 0);
    int rc = ask(r, &question, &root, err);
    buf_free(&question);
    if (rc)
        return rc;
    p->work = (struct bench_work){.bytes = number_of(root, "step_bytes"),
        .layers = {number_of(root, "token_integers"), number_of(root, "token_halves"),
            number_of(root, "token_floats")},
        .head = {number_of(root, "head_integers"), number_of(root, "head_halves"),
            number_of(root, "head_floats")}};
    bench_speed_of(json_object_get(root, "prefill_s"), (double)p->prompt, &p->prefill);
    bench_speed_of(json_object_get(root, "decode_s"), (double)(p->generate * p->streams), &p->decode);
    json_decref(root);
    return 0;
}

static int copy_ask(struct run *r, double seconds, struct error *err)
{
    struct bench_copy *c = &r->b.copy;
    struct buf question;
    json_t *root;
    buf_init(&question, KIB);
    buf_appendf(&question, "{\"copy\":%lld,\"wrong\":10,\"prompt\":%d,\"repeat\":%lld,\"seconds\":%.3f}",
        c->tokens, COPY_PROMPT, r->repeat, seconds > 0 ? seconds : 0);
    int rc = ask(r, &question, &root, err);
    buf_free(&question);
    if (rc)
        return rc;
    bench_speed_of(json_object_get(root, "plain_s"), (double)(c->tokens - 1), &c->plain);
    bench_speed_of(json_object_get(root, "copy_s"), (double)(c->tokens - 1), &c->copy);
    c->drafted = number_of(root, "drafted");
    c->drawn = number_of(root, "drawn");
    json_decref(root);
    return 0;
}

/* ---- What is measured ---- */

/* The first point has all three firsts; then streams, prompts and depths one by one: what takes longest last.
 */
static void plan(struct run *r)
{
    struct bench *b = &r->b;
    const long long depth = r->depths.at[0];
    b->points[b->n++] = (struct bench_point){
        .depth = depth, .streams = r->streams.at[0], .prompt = r->prompts.at[0], .generate = r->generate};
    for (size_t i = 1; i < r->streams.n; i++)
        b->points[b->n++] =
            (struct bench_point){.depth = depth, .streams = r->streams.at[i], .generate = r->generate};
    for (size_t i = 1; i < r->prompts.n; i++)
        b->points[b->n++] = (struct bench_point){.depth = depth, .streams = 1, .prompt = r->prompts.at[i]};
    for (size_t i = 1; i < r->depths.n; i++)
        b->points[b->n++] = (struct bench_point){
            .depth = r->depths.at[i], .streams = 1, .prompt = r->prompts.at[0], .generate = r->generate};
}

/* Seconds that a point takes at least, judged by the first one. */
static double estimate(const struct bench *b, const struct bench_point *p)
{
    const struct bench_point *first = &b->points[0];
    double read = (double)(p->depth + p->prompt) / first->prefill.median;
    return read + (double)p->generate * (double)first->streams / first->decode.median;
}

/* Seconds for point `i`: what it takes at least and its part of what the rest can spare, so that what is
 * measured often leaves time for what takes long. */
static double seconds_for(const struct run *r, size_t i)
{
    const struct bench *b = &r->b;
    double spare = left_s(r);
    if (i == 0)
        return spare / (double)b->n;
    for (size_t k = i; k < b->n; k++)
        spare -= estimate(b, &b->points[k]);
    return estimate(b, &b->points[i]) + (spare > 0 ? spare / (double)(b->n - i) : 0);
}

static int measure(struct run *r, struct error *err)
{
    struct bench *b = &r->b;
    int rc = limits_ask(r, err);
    for (size_t i = 0; i < b->n && rc == 0; i++) {
        struct bench_point *p = &b->points[i];
        p->skipped = i > 0 && estimate(b, p) > left_s(r);
        if (!p->skipped)
            rc = point_ask(r, p, seconds_for(r, i), err);
    }
    struct bench_copy *c = &b->copy;
    if (rc || c->tokens == 0)
        return rc ? rc : limits_ask(r, err);
    const double one = 3 * (double)c->tokens * (double)b->points[0].streams / b->points[0].decode.median;
    c->skipped = one > left_s(r);
    rc = c->skipped ? 0 : copy_ask(r, left_s(r), err);
    return rc ? rc : limits_ask(r, err);
}

/* The most memory that a process had resident, from what the system tells of it; 0: it does not say. */
static int64_t peak_bytes(int pid)
{
    char path[64], line[256];
    long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024;
}

static int open_and_measure(struct run *r, const struct engine_options *engine, struct error *err)
{
    struct engine_status status;
    int64_t begin = clock_mono_ms();
    int rc = engine_session_open(engine, &r->session, err);
    if (rc)
        return rc;
    r->begin_ms = begin;
    rc = engine_session_wait(r->session, err);
    r->b.load_s = (double)(clock_mono_ms() - begin) / 1000;
    rc = rc ? rc : measure(r, err);
    engine_session_status(r->session, &status);
    r->b.peak_bytes = status.pid > 0 ? peak_bytes(status.pid) : 0;
    engine_session_close(r->session);
    return rc;
}

/* ---- What is shown ---- */

static int show(const struct options *o, const struct run *r)
{
    struct buf text;
    int exit_code = EXIT_DONE;
    buf_init(&text, 16 * MIB);
    if (o->json)
        bench_json(&r->b, &text);
    else
        bench_text(&r->b, &text);
    if (text.failed || fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0)
        exit_code = verb_failf(EXIT_FAILED, "cannot write to standard output");
    if (o->svg) {
        buf_clear(&text);
        bench_svg(&r->b, &text);
        struct error err;
        if (text.failed)
            exit_code = verb_failf(EXIT_FAILED, "no memory for the picture");
        else if (file_replace(o->svg, buf_str(&text), 0644, &err))
            exit_code = verb_fail(EXIT_FAILED, &err);
    }
    buf_free(&text);
    return exit_code;
}

static int run(const struct options *o, const struct engine_model *model)
{
    struct run r = {0};
    struct error err;
    struct engine_options engine = {.file = model->file,
        .adapters = model->adapters,
        .n_adapters = model->n_adapters,
        .threads = model->threads,
        .kv_type = o->kv_type,
        .slots = 1,
        .silence_ms = SILENCE_MS,
        .memory_unchecked = model->memory_unchecked || o->memory_unchecked};
    if (!options_read(o, &r, &engine.threads))
        return EXIT_USAGE;
    plan(&r);
    for (size_t i = 0; i < r.b.n; i++) {
        const struct bench_point *p = &r.b.points[i];
        long long need = p->depth + (p->prompt > p->generate ? p->prompt : p->generate);
        engine.context = need > engine.context ? (int)need : engine.context;
    }
    if (r.b.copy.tokens + COPY_PROMPT > engine.context)
        engine.context = (int)r.b.copy.tokens + COPY_PROMPT;
    r.b.file = model->file;
    int rc = open_and_measure(&r, &engine, &err);
    return rc ? verb_fail(EXIT_FAILED, &err) : show(o, &r);
}

int verb_bench(int argc, char **argv)
{
    struct options o = {0};
    struct engine_model model;
    struct error err;
    const struct verb_option options[] = {{"model", &o.model, NULL}, {"prompt", &o.prompt, NULL},
        {"generate", &o.generate, NULL}, {"depth", &o.depth, NULL}, {"parallel", &o.parallel, NULL},
        {"copy", &o.copy, NULL}, {"repeat", &o.repeat, NULL}, {"time", &o.time, NULL},
        {"threads", &o.threads, NULL}, {"json", NULL, &o.json}, {"svg", &o.svg, NULL},
        {"lora", &o.lora, NULL}, {"kv-type", &o.kv_type, NULL}, {"config", &o.config, NULL},
        {"memory-unchecked", NULL, &o.memory_unchecked}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 1 || (n == 1 && o.model))
        return verb_failf(EXIT_USAGE, "bench takes one model: see weir bench --help");
    int rc = engine_model_find(n == 1 ? argv[1] : o.model, o.config, &model, &err);
    if (rc == 0)
        rc = engine_model_adapt(&model, o.lora, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    int exit_code = o.svg && file_check_place(o.svg, &err) ? verb_fail(EXIT_FAILED, &err) : run(&o, &model);
    engine_model_free(&model);
    return exit_code;
}
