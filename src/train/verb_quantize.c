/* weir quantize: a model file in other types. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/model.h"
#include "engine/worker/sandbox_confine.h"
#include "engine/worker/tensor_quantize.h"
#include "train/files.h"
#include "train/options.h"
#include "train/progress.h"
#include "train/quantize.h"
#include "train/verbs.h"
#include "train/watch.h"

static const char help[] =
    "usage: weir quantize IN.gguf OUT.gguf TYPE [options]\n"
    "\n"
    "Writes a model with its matrices in another type. What is small or spoiled by few bits stays as it is; all else in\n"
    "the file is kept. A split model is given by its first part, x-00001-of-0000N.gguf. The file runs here and in\n"
    "llama.cpp, whose choice of types for the tensors and whose bytes it has.\n"
    "\n"
    "  TYPE              bits a weight, about\n"
    "  F32, F16, BF16    32, 16, 16\n"
    "  Q8_0              8.5: hardly to be told from the original\n"
    "  Q6_K              6.6\n"
    "  Q5_K_M, Q5_K_S    5.7, 5.5 (Q5_K: Q5_K_M)\n"
    "  Q4_K_M, Q4_K_S    4.8, 4.6 (Q4_K: Q4_K_M): the usual choice\n"
    "  IQ4_NL, IQ4_XS    4.5, 4.3: slow to write, and the smallest with a good answer\n"
    "  Q3_K_L, _M, _S    4.2, 3.9, 3.5 (Q3_K: Q3_K_M): for what does not fit otherwise\n"
    "  Q2_K, Q2_K_S      3.3, 3.1 (Q2_K_S: only with --imatrix)\n"
    "  IQ3_M, IQ3_S      3.7, 3.4\n"
    "  IQ3_XS, IQ3_XXS   3.3, 3.1: only with --imatrix, as the next ones\n"
    "  IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS\n"
    "                    2.7, 2.5, 2.3, 2.1\n"
    "  IQ1_M, IQ1_S      1.8, 1.6: where nothing else fits\n"
    "  MXFP4             experts of a mixture in 4.25, all else in Q8_0\n"
    "  Q5_1, Q5_0, Q4_1, Q4_0\n"
    "                    6, 5.5, 5, 4.5: older types, for what cannot run the others\n"
    "  TQ2_0, TQ1_0      2.1, 1.7: for models trained to weights of -1, 0 and 1\n"
    "\n"
    "  --imatrix FILE    what matters, from weir imatrix: fewer bits cost less; needed below 3 bits\n"
    "  --pure            all matrices in TYPE, also those that are worth more\n"
    "  --output-type T, --token-embedding-type T\n"
    "                    other types for output.weight (or the embedding that is both), token_embd.weight\n"
    "  --tensor-type PATTERN=T\n"
    "                    another type for matrices whose names a pattern finds (ffn_down=Q6_K, 'blk\\.[0-3]\\.=Q8_0'); again\n"
    "                    for more, the first that finds counts\n"
    "  --dry-run         say what each tensor becomes, and stop (OUT may be -); also --plan\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "OUT takes its name when all of it is on the disk. Memory: about 10 MiB beside the mapped file, however large the model is.\n";

enum { OVERRIDES_MAX = OPTION_VALUES_MAX, PATTERN_MAX = 256 };

struct quantization {
    const char *in, *out, *importance_path;
    struct quantize_plan choice;
    struct imatrix importance;
    struct quantize_override overrides[OVERRIDES_MAX];
    char patterns[OVERRIDES_MAX][PATTERN_MAX];
    struct gguf *gguf;
    enum tensor_type *types;
    bool plan;
    int32_t threads;
    struct watch watch;
};

/* ---- Progress ---- */
static bool show(void *ctx, const struct tensor *t, enum tensor_type to, uint64_t done)
{
    struct quantization *q = ctx;
    char text[2 * TENSOR_NAME_MAX];
    snprintf(text, sizeof text, STR_FMT ": %s -> %s", STR_ARG(t->name), tensor_type_info(t->type)->name,
        tensor_type_info(to)->name);
    return watch_go_on(&q->watch, text, done, gguf_file_size(q->gguf));
}

/* ---- What is said at the end ---- */
static void say_types(const struct quantization *q)
{
    uint32_t counts[TENSOR_TYPES] = {0};
    const char *between = "";
    for (size_t i = 0; i < gguf_n_tensors(q->gguf); i++)
        counts[q->types[i]]++;
    for (uint32_t t = 0; t < TENSOR_TYPES; t++)
        if (counts[t] > 0) {
            printf("%s%u %s", between, counts[t], tensor_type_info(t)->name);
            between = ", ";
        }
    printf("\n");
}

static void say_done(const struct quantization *q, const struct quantize_totals *t)
{
    char before[32], after[32];
    uint64_t bytes = 0;
    for (size_t i = 0; i < gguf_n_tensors(q->gguf); i++)
        bytes += gguf_tensor_at(q->gguf, i)->bytes;
    progress_size((double)bytes, before);
    progress_size((double)t->bytes, after);
    printf("%s: %s -> %s, %.2f bits a weight; ", q->out, before, after,
        t->values > 0 ? 8 * (double)t->bytes / (double)t->values : 0);
    say_types(q);
    if (t->converted > 0)
        printf("error of what was converted: %.3g%% of the values (root mean square)\n",
            t->power > 0 ? 100 * sqrt(t->lost / t->power) : 0);
    if (q->choice.importance)
        printf("%llu of %llu converted by importance\n", (unsigned long long)t->weighed,
            (unsigned long long)t->converted);
    if (t->again > 0)
        fprintf(stderr,
            "weir: %llu tensors were quantised before, and keep that loss, too: start from F16 or BF16 "
            "where there is such a file\n",
            (unsigned long long)t->again);
}

static void say_plan(const struct quantization *q)
{
    uint64_t bytes = 0;
    char size[32];
    for (size_t i = 0; i < gguf_n_tensors(q->gguf); i++) {
        const struct tensor *t = gguf_tensor_at(q->gguf, i);
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        log_hide_controls(name, strlen(name));
        printf("%-40s %-7s %s\n", name, tensor_type_info(t->type)->name, tensor_type_info(q->types[i])->name);
        bytes += tensor_row_bytes(q->types[i], t->shape[0] * tensor_rows(t));
    }
    progress_size((double)bytes, size);
    printf("%s; ", size);
    say_types(q);
}

/* What would stand in the way. */
static void say_needs(struct quantization *q)
{
    struct error err = {0};
    q->choice.dry = false;
    if (quantize_choose_by(q->gguf, &q->choice, q->types, &err))
        options_error(&err);
}

/* ---- The work ---- */
static int convert(struct quantization *q, struct error *err)
{
    const struct train_kernels *kernels;
    struct quantize_totals totals;
    struct team team = {0};
    int rc = train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, q->threads, &team, err);
    watch_begin(&q->watch);
    rc = rc ? rc
            : quantize_write(q->gguf, &q->choice, q->types, q->out, &team, (struct quantize_watch){show, q},
                  &totals, err);
    watch_end(&q->watch);
    if (rc == 0)
        say_done(q, &totals);
    team_free(&team);
    return rc;
}

/* A model of an architecture that runs here and lacks a part, or has one of another shape, is broken: better
 * said now than by whatever loads the new file. Of others nothing is known. */
static int whole_check(const struct gguf *g, struct error *err)
{
    struct str type = STR_NONE;
    struct model *model = NULL;
    int rc = gguf_get_str(g, "general.type", STR("model"), &type, err);
    if (rc || !str_is(type, "model") || !gguf_find(g, "general.architecture"))
        return rc;
    rc = model_load(g, file_backend(), &model, err);
    if (rc == 0)
        model_free(model);
    return rc == ERROR_INVALID ? rc : 0;
}

static int quantize(struct quantization *q, struct error *err)
{
    int rc = q->plan ? 0 : file_check_other((const char *const[]){q->in, q->importance_path}, 2, q->out, err);
    rc = rc ? rc : sandbox_confine((const char *const[]){q->plan ? NULL : q->out}, 1, err);
    rc = rc ? rc : file_open_model(q->in, &q->gguf, err);
    if (rc == 0 && whole_check(q->gguf, err))
        rc = error_wrap(err, "%s", q->in);
    if (rc == 0 && q->importance_path) {
        rc = imatrix_read(q->importance_path, &q->importance, err);
        q->choice.importance = &q->importance;
    }
    if (rc)
        return rc;
    q->types = calloc(gguf_n_tensors(q->gguf) + 1, sizeof *q->types);
    rc = q->types ? quantize_choose_by(q->gguf, &q->choice, q->types, err)
                  : error_set(err, ERROR_MEMORY, "no memory for %zu tensors", gguf_n_tensors(q->gguf));
    if (rc == 0 && q->plan) {
        say_plan(q);
        say_needs(q);
    } else if (rc == 0)
        rc = convert(q, err);
    return rc;
}

/* ---- What is asked ---- */

/* A tensor's type by name; NULL: `*out` stays. */
static bool type_read(const char *name, enum tensor_type *out)
{
    for (uint32_t i = 0; name && i < TENSOR_TYPES; i++)
        if (tensor_type_info(i) && str_is_nocase(str_from(name), tensor_type_info(i)->name) &&
            tensor_type_writable(i)) {
            *out = i;
            return true;
        }
    if (name)
        fprintf(stderr, "weir: '%s' is no type of a tensor that can be written: see weir quantize --help\n",
            name);
    return !name;
}

/* "PATTERN=TYPE", where the pattern may have a '=' of its own. */
static bool overrides_read(struct quantization *q, const struct option_list *list)
{
    for (int i = 0; i < list->n; i++) {
        const char *equals = strrchr(list->values[i], '=');
        if (!equals || equals == list->values[i] || equals - list->values[i] >= PATTERN_MAX) {
            fprintf(stderr, "weir: --tensor-type wants PATTERN=TYPE, not '%s'\n", list->values[i]);
            return false;
        }
        snprintf(q->patterns[i], PATTERN_MAX, "%.*s", (int)(equals - list->values[i]), list->values[i]);
        q->overrides[i].pattern = q->patterns[i];
        if (!type_read(equals + 1, &q->overrides[i].type))
            return false;
    }
    q->choice.overrides = q->overrides;
    q->choice.n_overrides = (size_t)list->n;
    return true;
}

static bool choice_read(struct quantization *q, const char *type)
{
    const struct quantize_mix *mix = quantize_mix_find(type);
    if (!mix || !tensor_type_writable(mix->type)) {
        fprintf(stderr, "weir: '%s' is no type that can be written: see weir quantize --help\n", type);
        return false;
    }
    q->choice = quantize_plan_of(mix);
    return true;
}

int quantize_verb(int argc, char **argv)
{
    static struct quantization q;
    struct error err = {0};
    struct option_list overrides = {0};
    const char *threads = NULL, *output = NULL, *embedding = NULL;
    bool pure = false;
    const struct option_row rows[] = {{"threads", &threads, NULL}, {"plan", NULL, &q.plan},
        {"dry-run", NULL, &q.plan}, {"imatrix", &q.importance_path, NULL}, {"pure", NULL, &pure},
        {"output-type", &output, NULL}, {"token-embedding-type", &embedding, NULL}};
    argc = options_take_list(argc, argv, "tensor-type", &overrides);
    if (argc < 0)
        return 2;
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n != 3)
        return options_fail("quantize wants a model, a new file and a type: see weir quantize --help");
    q.in = argv[1];
    q.out = argv[2];
    if (!choice_read(&q, argv[3]) || !type_read(output, &q.choice.output) ||
        !type_read(embedding, &q.choice.embedding) || !overrides_read(&q, &overrides) ||
        !options_threads(threads, &q.threads))
        return 2;
    q.choice.pure = pure;
    q.choice.dry = q.plan;
    const int rc = quantize(&q, &err);
    free(q.types);
    gguf_close(q.gguf);
    imatrix_free(&q.importance);
    return rc ? options_error(&err) : 0;
}
