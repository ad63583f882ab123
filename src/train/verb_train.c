/* weir train: a model from scratch. */
#include <stdio.h>
#include <string.h>

#include "train/loop.h"
#include "train/options.h"
#include "train/verbs.h"

static const char help[] =
    "usage: weir train CONFIG.yaml --out MODEL.gguf [options]\n"
    "\n"
    "Trains a model of the Llama architecture from scratch on your own conversations, and a tokenizer for it.\n"
    "Nothing leaves this machine: the trainer has no network code. What it writes runs here and in llama.cpp.\n"
    "\n"
    "  --out FILE        the model; beside it FILE.log.json (every step), FILE.svg (the learning curve) and,\n"
    "                    while it runs, FILE.checkpoint (and .lock): the same command goes on from there, to the same\n"
    "                    result; a second run of FILE at the same time is refused\n"
    "  --fresh           begin anew, whatever checkpoint there is\n"
    "  --now             write the model as the checkpoint has it; training can still go on\n"
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
    "                    optimizer (adamw): muon learns in fewer steps, each a fifth dearer\n"
    "                    precision (f32): bf16 takes less memory, with AMX less time\n"
    "  output: {type: F16}                                           F32 F16 BF16 Q8_0\n"
    "\n"
    "A line of data: {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, {\"role\": \"assistant\", \"content\": \"...\"}]}\n"
    "What assistants say is learned (\"weight\": 0: not; 5: as if it stood there five times; at most 100); examples longer than the context are left out and counted.\n";

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

static int train(const struct train_config *c, struct train_loop_options *o, struct run *r,
    struct train_model *m, struct train_text *t, struct error *err)
{
    struct train_data data = {0}, validation = {0};
    struct train_shape shape = c->shape;
    int rc = text_get(c, t, err);
    rc = rc ? rc : data_get(c, t, &data, &validation, err);
    shape.n_vocab = t->tokenizer ? tokenizer_vocab_size(t->tokenizer) : 0;
    if (rc == 0 && c->tokenizer.len == 0 && shape.n_vocab < c->shape.n_vocab)
        fprintf(stderr, "%d tokens instead of %d: the data repeat no more pairs of them\n",
            (int)shape.n_vocab, (int)c->shape.n_vocab);
    rc = rc ? rc : train_model_create(&shape, c->schedule.seed, m, err);
    rc = rc ? rc : run_create(c, m, &data, &validation, o->threads, r, err);
    data_free(&data);
    data_free(&validation);
    rc = rc ? rc : train_loop_run(r, o, err);
    if (rc || o->plan)
        return rc;
    rc = model_write(m, t, c, o->out, err);
    return rc ? rc : train_loop_finish(r, o, err);
}

static int config_run(
    const char *path, const struct train_config *c, struct train_loop_options *o, struct error *err)
{
    struct train_text t = {0};
    struct train_model m = {0};
    struct run r = {0};
    int rc = train_loop_check(o, NULL, &path, 1, c, err);
    rc = rc ? rc : train(c, o, &r, &m, &t, err);
    run_free(&r);
    train_model_free(&m);
    train_text_free(&t);
    return rc;
}

int train_verb(int argc, char **argv)
{
    struct train_loop_options o = {0};
    struct error err = {0};
    const char *threads = NULL;
    const struct option_row rows[] = {{"out", &o.out, NULL}, {"threads", &threads, NULL},
        {"fresh", NULL, &o.fresh}, {"plan", NULL, &o.plan}, {"now", NULL, &o.now}};
    int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n != 1 || (!o.out && !o.plan))
        return options_fail("train wants a configuration and --out: see weir train --help");
    if (!options_threads(threads, &o.threads))
        return 2;
    struct train_config c;
    if (train_loop_enter(&o, NULL, &err))
        return options_error(&err);
    int rc = train_config_read(argv[1], TRAIN_NEW, &c, &err) ? options_wrong(&err)
             : config_run(argv[1], &c, &o, &err)             ? options_error(&err)
                                                             : 0;
    train_loop_leave(&o);
    arena_free(c.arena);
    return rc;
}
