/* weir train: a model from scratch. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/memory.h"
#include "train/options.h"
#include "train/progress.h"
#include "train/verbs.h"

static const char help[] =
    "usage: weir train CONFIG.yaml --out MODEL.gguf [options]\n"
    "\n"
    "Trains a model of the Llama architecture from scratch on your own conversations, and a tokenizer for "
    "it.\n"
    "Nothing leaves this machine: the trainer has no network code. What it writes runs here and in "
    "llama.cpp.\n"
    "\n"
    "  --out FILE        the model; beside it FILE.log.json (every step), FILE.svg (the learning curve) "
    "and,\n"
    "                    while it runs, FILE.checkpoint: the same command goes on from there, to the same "
    "result\n"
    "  --fresh           begin anew, whatever checkpoint there is\n"
    "  --plan            say what memory and time it takes, and stop\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "The configuration (YAML or JSON; its paths are relative to its folder):\n"
    "\n"
    "  name: helper\n"
    "  model: {layers: 6, embed: 256, heads: 8, kv_heads: 4, ffn: 704, vocab: 2048, context: 1024}\n"
    "                    also: tied (true), rope_base (10000), norm_eps (1e-5)\n"
    "  tokenizer: F.gguf take the tokenizer and template of this file instead of learning one\n"
    "  data: {train: [a.jsonl, b.jsonl], validation: [v.jsonl]}      or validation_share: 0.02\n"
    "  train: {steps: 2000, batch_tokens: 16384, learning_rate: 0.001, warmup: 100, seed: 1}\n"
    "                    steps or epochs; accumulate (1), final_rate (0.1 of learning_rate, by a cosine),\n"
    "                    weight_decay (0.1), beta1 (0.9), beta2 (0.95), clip (1.0), prompt_loss (0),\n"
    "                    validate_every (100), patience (0: never stop early), checkpoint_every (100)\n"
    "  output: {type: F16}                                           F32 F16 BF16 Q8_0\n"
    "\n"
    "A line of data: {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, {\"role\": \"assistant\", "
    "\"content\": \"...\"}]}\n"
    "What assistants say is learned; examples longer than the context are left out and counted.\n";

struct options {
    const char *config, *out, *threads;
    bool fresh, plan;
    char checkpoint[4096];
};

static volatile sig_atomic_t stopped;

/* The step is finished and kept; a second signal ends it at once. */
static void stop(int number)
{
    stopped = 1;
    signal(number, SIG_DFL);
}

/* ---- Before the first step ---- */
static int text_get(const struct train_config *c, struct train_text *t, struct error *err)
{
    return c->tokenizer.len > 0 ? train_text_open(c->tokenizer.data, t, err)
                                : train_text_learn(&c->data, c->shape.n_vocab, t, err);
}

static int data_get(const struct train_config *c, const struct train_text *t, struct train_data *data,
    struct train_data *validation, struct error *err)
{
    const struct train_schedule *s = &c->schedule;
    struct train_data *second = c->validation_share > 0 ? validation : NULL;
    int rc = data_read(&c->data, t, c->shape.n_context, data, second, c->validation_share, s->seed, err);
    return rc || c->validation.count == 0
               ? rc
               : data_read(&c->validation, t, c->shape.n_context, validation, NULL, 0, s->seed, err);
}

/* ---- Steps ---- */
static int keep(const struct run *r, const struct options *o, struct error *err)
{
    int rc = checkpoint_write(r, o->checkpoint, err);
    return rc ? rc : report_write(r, o->out, err);
}

static int steps_run(struct run *r, const struct options *o, struct error *err)
{
    const struct train_schedule *s = &r->config->schedule;
    struct progress p;
    int rc = 0;
    progress_init(&p, r);
    while (rc == 0 && r->state.step < r->steps && !run_is_stale(r) && !stopped) {
        rc = run_step(r, err);
        if (rc == 0 && (r->state.step % s->validate_every == 0 || r->state.step == r->steps))
            run_validate(r);
        if (rc == 0 && r->state.step % s->checkpoint_every == 0)
            rc = keep(r, o, err);
        if (rc == 0)
            progress_show(&p, r, r->state.step == r->steps || stopped);
    }
    progress_end(&p);
    if (rc == 0 && stopped && r->state.step < r->steps) {
        rc = keep(r, o, err);
        return rc ? rc
                  : error_set(err, ERROR_CANCELLED,
                        "stopped at step %lld: the same command goes on from there",
                        (long long)r->state.step);
    }
    return rc;
}

/* One batch tells how long all of them take; the weights are not kept. */
static int plan_time(struct run *r, struct error *err)
{
    char time[32];
    int rc = run_step(r, err);
    if (rc)
        return rc;
    progress_time((double)r->step_ns / 1e9 * (double)r->steps, time);
    fprintf(stderr, "about %s at %.0f tokens/s\n", time, (double)r->step_tokens / (double)r->step_ns * 1e9);
    return 0;
}

static int begin_or_resume(struct run *r, const struct options *o, struct error *err)
{
    int rc = o->fresh ? ERROR_NOT_FOUND : checkpoint_read(r, o->checkpoint, err);
    if (rc == 0)
        fprintf(stderr, "going on after step %lld (%s)\n", (long long)r->state.step, o->checkpoint);
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

static int train(const struct train_config *c, const struct options *o, int32_t threads, struct run *r,
    struct train_model *m, struct train_text *t, struct error *err)
{
    struct train_data data = {0}, validation = {0};
    struct train_shape shape = c->shape;
    int rc = text_get(c, t, err);
    rc = rc ? rc : data_get(c, t, &data, &validation, err);
    shape.n_vocab = t->tokenizer ? tokenizer_vocab_size(t->tokenizer) : 0;
    rc = rc ? rc : train_model_create(&shape, c->schedule.seed, m, err);
    rc = rc ? rc : run_create(c, m, &data, &validation, threads, r, err);
    data_free(&data);
    data_free(&validation);
    if (rc)
        return rc;
    const struct run_plan plan = run_plan_make(r, threads, engine_memory_available());
    progress_plan(r, &plan);
    if (o->plan)
        return plan_time(r, err);
    rc = begin_or_resume(r, o, err);
    rc = rc ? rc : steps_run(r, o, err);
    if (rc)
        return rc;
    run_take_best(r);
    rc = model_write(m, t, c, o->out, err);
    rc = rc ? rc : report_write(r, o->out, err);
    if (rc == 0 && unlink(o->checkpoint) != 0 && errno != ENOENT)
        log_warn("train", "cannot remove %s: %s", o->checkpoint, strerror(errno));
    return rc;
}

static int train_config_run(const struct options *o, int32_t threads, struct error *err)
{
    struct train_config c;
    struct train_text t = {0};
    struct train_model m = {0};
    struct run r = {0};
    int rc = train_config_read(o->config, &c, err);
    if (rc == 0) {
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        rc = train(&c, o, threads, &r, &m, &t, err);
    }
    if (rc == 0 && !o->plan)
        fprintf(stderr, "wrote %s, %s.log.json and %s.svg\n", o->out, o->out, o->out);
    run_free(&r);
    train_model_free(&m);
    train_text_free(&t);
    arena_free(c.arena);
    return rc;
}

int train_verb(int argc, char **argv)
{
    struct options o = {0};
    struct error err = {0};
    int32_t threads;
    const struct option_row rows[] = {{"out", &o.out, NULL}, {"threads", &o.threads, NULL},
        {"fresh", NULL, &o.fresh}, {"plan", NULL, &o.plan}};
    int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n != 1 || (!o.out && !o.plan))
        return options_fail("train wants a configuration and --out: see weir train --help");
    if (!options_threads(o.threads, &threads))
        return 2;
    o.config = argv[1];
    if (snprintf(o.checkpoint, sizeof o.checkpoint, "%s.checkpoint", o.out ? o.out : "") >=
        (int)sizeof o.checkpoint - 16)
        return options_fail("--out is too long a name");
    int rc = train_config_run(&o, threads, &err);
    if (rc == 0)
        return 0;
    log_hide_controls(err.message, strlen(err.message));
    fprintf(stderr, "weir: %s\n", err.message);
    return 1;
}
