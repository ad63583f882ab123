/* weir finetune: a model that is there, taught more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/files.h"
#include "train/loop.h"
#include "train/options.h"
#include "train/verbs.h"

static const char help[] =
    "usage: weir finetune BASE.gguf DATA.jsonl|CONFIG.yaml --out ADAPTER.gguf [options]\n"
    "\n"
    "Teaches a model your own conversations: a low-rank adapter (LoRA) is trained beside its weights, which stay as\n"
    "they are, quantised or not. Nothing leaves this machine: the trainer has no network code. The adapter runs here\n"
    "('lora' of a model, --lora) and in llama.cpp. Architectures: llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3,\n"
    "mistral3, smollm3, granite, olmo2 (OLMo 3, too), glm4, command-r, cohere2.\n"
    "\n"
    "  --out FILE            the adapter; beside it FILE.log.json, FILE.svg and, while it runs, FILE.checkpoint: the\n"
    "                        same command goes on from there, to the same result\n"
    "  --merged FILE         also the whole model, the adapter folded in\n"
    "  --full                train all weights, no adapter: --out is then a model\n"
    "  --rank N              of the adapter (16); --alpha A: what it adds is multiplied by A / rank (2 x rank)\n"
    "  --epochs N            how often each example is seen (5; of fewer than 1,000 up to 10 times)\n"
    "  --learning-rate R     (0.64 / the model's width, at most 0.01; with --full 0.001)\n"
    "  --precision bf16      products of bfloat16 (f32): less memory, with AMX less time\n"
    "  --validation FILE     examples to measure by; or --validation-share S of the others\n"
    "  --fresh               begin anew, whatever checkpoint there is\n"
    "  --now                 write what the checkpoint has; training can still go on\n"
    "  --plan                say what memory and time it takes, and stop\n"
    "  --threads N           default: one for each core\n"
    "\n"
    "An adapter leaves the embedding as it is: where answers need tokens that the model has hardly seen, --full learns\n"
    "them, too; with 'train: {embedding: frozen}' it leaves them what the file says they are.\n"
    "\n"
    "The data are as for weir train, which see; they go through the model's own chat template. A configuration has\n"
    "its 'data' and 'train' and may have 'lora: {rank: 16, alpha: 32}', 'context: 512', 'name' and, for --full and\n"
    "--merged, 'output: {type: Q8_0}' (F32 F16 BF16 Q8_0; else the base's types).\n";

struct options {
    struct train_loop_options loop;
    const char *base, *data, *merged, *validation, *precision;
    double rank, alpha, epochs, rate, share; /* 0: not given */
    bool full;
};

/* ---- What is asked ---- */
static bool is_config(const char *path)
{
    const struct str name = str_from(path);
    return str_ends(name, STR(".yaml")) || str_ends(name, STR(".yml")) || str_ends(name, STR(".json"));
}

static int config_get(const struct options *o, struct train_config *c, struct error *err)
{
    int rc = 0;
    if (is_config(o->data))
        rc = train_config_read(o->data, TRAIN_TUNE, c, err);
    else
        train_config_default(o->data, c);
    if (rc)
        return rc;
    if (c->schedule.optimizer == TRAIN_MUON && !o->full)
        return error_set(err, ERROR_INVALID,
            "'optimizer: muon' is for whole matrices: leave it out for an adapter, or add --full");
    if (c->type != TENSOR_TYPES && !o->full && !o->merged)
        return error_set(err, ERROR_INVALID,
            "'output' says the type of a model: leave it out for an adapter, or add --full or --merged FILE");
    if (o->rank > 0)
        c->lora = (struct train_lora){(int32_t)o->rank, (float)(2 * o->rank)};
    if (o->alpha > 0)
        c->lora.alpha = (float)o->alpha;
    if (o->epochs > 0) {
        c->schedule.epochs = (int64_t)o->epochs;
        c->schedule.steps = 0;
    }
    if (o->rate > 0)
        c->schedule.learning_rate = o->rate;
    if (o->precision)
        c->schedule.precision = strcmp(o->precision, "bf16") == 0 ? TRAIN_BF16 : TRAIN_F32;
    if (o->share > 0)
        c->validation_share = o->share;
    if (o->validation) {
        c->validation = (struct train_files){arena_alloc(c->arena, sizeof(struct str)), 1};
        c->validation.paths[0] = arena_copy(c->arena, str_from(o->validation));
    }
    return 0;
}

/* ---- What there is ---- */
struct tuned {
    struct train_config config;
    struct gguf *base;
    struct train_text text;
    struct train_data data, validation;
    struct train_model model;
    struct run run;
};

/* The longest example decides how long sequences are: memory goes by that. */
enum { CONTEXT_USUAL = 4096, CONTEXT_LEAST = 256 };

static int32_t longest(const struct train_data *d)
{
    size_t most = 0;
    for (size_t i = 0; i < d->n_docs; i++)
        most = d->starts[i + 1] - d->starts[i] > most ? d->starts[i + 1] - d->starts[i] : most;
    return (int32_t)most;
}

/* Few examples take small steps, so that there are some of them. */
enum { EPOCH_STEPS = 128, BATCH_LEAST = 256, BATCH_MOST = 2048 };

static int64_t batch_tokens(const struct train_data *d)
{
    const int64_t n = (int64_t)d->n_tokens / EPOCH_STEPS;
    return n < BATCH_LEAST ? BATCH_LEAST : n > BATCH_MOST ? BATCH_MOST : n;
}

/* Each is seen five times; where there are fewer than a thousand, more often, up to twice that. */
enum { EPOCHS_USUAL = 5, EXAMPLES_FEW = 1000 };

static int64_t epochs(const struct train_data *d)
{
    const int64_t few = d->n_docs > EXAMPLES_FEW / 2 ? (int64_t)d->n_docs : EXAMPLES_FEW / 2;
    return few < EXAMPLES_FEW ? EPOCHS_USUAL * EXAMPLES_FEW / few : EPOCHS_USUAL;
}

/* The wider a matrix, the more the steps of its values add up to: rates that suit go by 1 / width (Yang et
 * al. 2022, arxiv.org/abs/2203.03466). */
static double rate_usual(const struct train_shape *s, bool full)
{
    return full ? 1e-3 : fmin(1e-2, 0.64 / s->n_embed);
}

static int data_get(struct tuned *t, int32_t *context, struct error *err)
{
    struct train_config *c = &t->config;
    const int32_t most = c->shape.n_context > 0 ? c->shape.n_context : CONTEXT_USUAL;
    struct train_data *second = c->validation_share > 0 ? &t->validation : NULL;
    int rc =
        data_read(&c->data, &t->text, most, &t->data, second, c->validation_share, c->schedule.seed, err);
    if (rc == 0 && c->validation.count > 0)
        rc = data_read(&c->validation, &t->text, most, &t->validation, NULL, 0, 0, err);
    if (c->schedule.batch_tokens == 0)
        c->schedule.batch_tokens = batch_tokens(&t->data);
    if (c->schedule.steps == 0 && c->schedule.epochs == 0)
        c->schedule.epochs = epochs(&t->data);
    const int32_t a = longest(&t->data), b = longest(&t->validation);
    *context = a > b ? a : b;
    *context = *context > CONTEXT_LEAST ? *context : CONTEXT_LEAST;
    return rc;
}

static int model_get(const struct options *o, struct tuned *t, int32_t context, struct error *err)
{
    struct train_config *c = &t->config;
    int rc = train_model_load(t->base, o->full ? NULL : &c->lora, c->schedule.embedding_frozen, context,
        c->schedule.seed, &t->model, err);
    if (rc)
        return rc;
    if (c->schedule.learning_rate == 0)
        c->schedule.learning_rate = rate_usual(&t->model.shape, o->full);
    if (tokenizer_vocab_size(t->text.tokenizer) > t->model.shape.n_vocab)
        return error_set(
            err, ERROR_INVALID, "%s has more tokens than rows of its embedding: the file is broken", o->base);
    if (longest(&t->data) > t->model.shape.n_context || longest(&t->validation) > t->model.shape.n_context)
        return error_set(err, ERROR_CONTEXT,
            "some examples are longer than the %d tokens that the model can take: shorten them, "
            "or set 'context' in a configuration so that they are left out",
            (int)t->model.shape.n_context);
    return 0;
}

static int result_write(const struct options *o, const struct tuned *t, struct error *err)
{
    int rc = o->full ? folded_write(&t->model, t->base, &t->config, o->loop.out, err)
                     : adapter_write(&t->model, &t->config, o->loop.out, err);
    if (rc == 0 && o->merged)
        rc = folded_write(&t->model, t->base, &t->config, o->merged, err);
    if (rc == 0 && o->merged)
        fprintf(stderr, "wrote %s\n", o->merged);
    return rc;
}

static int tune(struct options *o, struct tuned *t, struct error *err)
{
    int32_t context = 0;
    const char *const in[] = {o->base, o->data};
    int rc = train_loop_check(&o->loop, o->merged, in, 2, &t->config, err);
    rc = rc ? rc : file_open_model(o->base, &t->base, err);
    rc = rc ? rc : train_text_from(t->base, &t->text, err);
    rc = rc ? rc : data_get(t, &context, err);
    rc = rc ? rc : model_get(o, t, context, err);
    rc = rc ? rc : run_create(&t->config, &t->model, &t->data, &t->validation, o->loop.threads, &t->run, err);
    rc = rc ? rc : train_loop_run(&t->run, &o->loop, err);
    if (rc || o->loop.plan)
        return rc;
    rc = result_write(o, t, err);
    return rc ? rc : train_loop_finish(&t->run, &o->loop, err);
}

static void tuned_free(struct tuned *t)
{
    run_free(&t->run);
    train_model_free(&t->model);
    data_free(&t->data);
    data_free(&t->validation);
    train_text_free(&t->text);
    gguf_close(t->base);
    arena_free(t->config.arena);
}

/* ---- The command line ---- */
static bool numbers_read(struct options *o, const char *const text[5])
{
    return options_number("rank", text[0], 1, 1024, &o->rank) &&
           options_number("alpha", text[1], 1e-3, 1e6, &o->alpha) &&
           options_number("epochs", text[2], 1, 1e6, &o->epochs) &&
           options_number("learning-rate", text[3], 1e-9, 10, &o->rate) &&
           options_number("validation-share", text[4], 0, 0.9, &o->share);
}

int finetune_verb(int argc, char **argv)
{
    struct options o = {.full = false};
    struct tuned t = {.base = NULL};
    struct error err = {0};
    const char *threads = NULL, *numbers[5] = {NULL};
    const struct option_row rows[] = {{"out", &o.loop.out, NULL}, {"merged", &o.merged, NULL},
        {"rank", &numbers[0], NULL}, {"alpha", &numbers[1], NULL}, {"epochs", &numbers[2], NULL},
        {"learning-rate", &numbers[3], NULL}, {"validation-share", &numbers[4], NULL},
        {"validation", &o.validation, NULL}, {"precision", &o.precision, NULL}, {"threads", &threads, NULL},
        {"full", NULL, &o.full}, {"fresh", NULL, &o.loop.fresh}, {"plan", NULL, &o.loop.plan},
        {"now", NULL, &o.loop.now}};
    int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n != 2 || (!o.loop.out && !o.loop.plan))
        return options_fail("finetune wants a model, data and --out: see weir finetune --help");
    if (o.full && o.merged)
        return options_fail("--full has no adapter that --merged could fold in: --out is the model");
    if (o.precision && strcmp(o.precision, "f32") != 0 && strcmp(o.precision, "bf16") != 0)
        return options_fail("--precision is f32 or bf16");
    if (!options_threads(threads, &o.loop.threads) || !numbers_read(&o, numbers))
        return 2;
    o.base = argv[1];
    o.data = argv[2];
    if (train_loop_enter(&o.loop, o.merged, &err))
        return options_error(&err);
    int rc = config_get(&o, &t.config, &err) ? options_wrong(&err)
             : tune(&o, &t, &err)            ? options_error(&err)
                                             : 0;
    train_loop_leave(&o.loop);
    tuned_free(&t);
    return rc;
}
