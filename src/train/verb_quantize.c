/* weir quantize: a model file in other types. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/worker/sandbox_confine.h"
#include "train/files.h"
#include "train/options.h"
#include "train/progress.h"
#include "train/quantize.h"
#include "train/verbs.h"

static const char help[] =
    "usage: weir quantize IN.gguf OUT.gguf TYPE [options]\n"
    "\n"
    "Writes a model with its matrices in another type. What is small or spoiled by few bits stays as it is; "
    "all "
    "else in\n"
    "the file is kept. A split model is given by its first part, x-00001-of-0000N.gguf. The file runs here "
    "and in\n"
    "llama.cpp, whose choice of types for the tensors and whose bytes it has.\n"
    "\n"
    "  TYPE              bits a weight, about\n"
    "  F32, F16, BF16    32, 16, 16\n"
    "  Q8_0              8.5: hardly to be told from the original\n"
    "  Q6_K              6.6\n"
    "  Q5_K_M, Q5_K_S    5.7, 5.5 (Q5_K: Q5_K_M)\n"
    "  Q4_K_M, Q4_K_S    4.8, 4.6 (Q4_K: Q4_K_M): the usual choice\n"
    "  IQ4_NL, IQ4_XS    4.5, 4.3: slow to write, and the smallest with a good answer\n"
    "  Q5_1, Q5_0, Q4_1, Q4_0\n"
    "                    6, 5.5, 5, 4.5: older types, for what cannot run the others\n"
    "\n"
    "  --plan            say what each tensor becomes, and stop (OUT may be -)\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "OUT takes its name when all of it is on the disk. Memory: about 10 MiB beside the mapped file, however "
    "large the model is.\n";

struct quantization {
    const char *in, *out;
    const struct quantize_mix *mix;
    struct gguf *gguf;
    enum tensor_type *types;
    bool plan;
    int32_t threads;
    /* progress */
    bool terminal;
    int64_t shown_ns;
};

/* ---- Progress ---- */
static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static bool show(void *ctx, const struct tensor *t, enum tensor_type to, uint64_t done)
{
    enum { MS_TERMINAL = 100, MS_LINE = 10000 };
    struct quantization *q = ctx;
    const int64_t now = clock_mono_ns(), wait = (q->terminal ? MS_TERMINAL : MS_LINE) * (int64_t)1000000;
    if (now - q->shown_ns >= wait) {
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        log_hide_controls(name, strlen(name));
        fprintf(stderr, "%s%3d%%  %s: %s -> %s%s", q->terminal ? "\r\033[K" : "",
            (int)(100 * (double)done / (double)gguf_file_size(q->gguf)), name,
            tensor_type_info(t->type)->name, tensor_type_info(to)->name, q->terminal ? "" : "\n");
        q->shown_ns = now;
    }
    return !stopped;
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

/* ---- The work ---- */
static int check_other(const struct quantization *q, struct error *err)
{
    struct stat in, out;
    if (stat(q->in, &in) == 0 && stat(q->out, &out) == 0 && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino)
        return error_set(err, ERROR_INVALID, "%s is the model itself: name another file", q->out);
    return 0;
}

static int convert(struct quantization *q, struct error *err)
{
    const struct train_kernels *kernels;
    struct quantize_totals totals;
    struct team team = {0};
    int rc = train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, q->threads, &team, err);
    q->terminal = isatty(STDERR_FILENO) == 1;
    q->shown_ns = clock_mono_ns();
    rc = rc ? rc
            : quantize_write(
                  q->gguf, q->mix, q->types, q->out, &team, (struct quantize_watch){show, q}, &totals, err);
    if (q->terminal)
        fputs("\r\033[K", stderr);
    if (rc == 0)
        say_done(q, &totals);
    team_free(&team);
    return rc;
}

static int quantize(struct quantization *q, struct error *err)
{
    int rc = q->plan ? 0 : check_other(q, err);
    rc = rc ? rc : sandbox_confine((const char *const[]){q->plan ? NULL : q->out}, 1, err);
    rc = rc ? rc : file_open_model(q->in, &q->gguf, err);
    if (rc)
        return rc;
    q->types = calloc(gguf_n_tensors(q->gguf) + 1, sizeof *q->types);
    rc = q->types ? quantize_choose(q->gguf, q->mix, q->types, err)
                  : error_set(err, ERROR_MEMORY, "no memory for %zu tensors", gguf_n_tensors(q->gguf));
    if (rc == 0 && q->plan)
        say_plan(q);
    else if (rc == 0)
        rc = convert(q, err);
    return rc;
}

int quantize_verb(int argc, char **argv)
{
    struct quantization q = {0};
    struct error err = {0};
    const char *threads = NULL;
    const struct option_row rows[] = {{"threads", &threads, NULL}, {"plan", NULL, &q.plan}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n != 3)
        return options_fail("quantize wants a model, a new file and a type: see weir quantize --help");
    q.in = argv[1];
    q.out = argv[2];
    q.mix = quantize_mix_find(argv[3]);
    if (!q.mix) {
        fprintf(stderr, "weir: '%s' is no type that can be written: see weir quantize --help\n", argv[3]);
        return 2;
    }
    if (!options_threads(threads, &q.threads))
        return 2;
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    const int rc = quantize(&q, &err);
    free(q.types);
    gguf_close(q.gguf);
    return rc ? options_error(&err) : 0;
}
