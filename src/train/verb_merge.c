/* weir merge: adapters folded into a model, or models made one. */
#include <stdio.h>
#include <string.h>

#include "engine/worker/sandbox_confine.h"
#include "train/merge.h"
#include "train/options.h"
#include "train/verbs.h"
#include "train/watch.h"

static const char help[] =
    "usage: weir merge BASE.gguf --lora ADAPTER.gguf[:SCALE],... --out OUT.gguf\n"
    "       weir merge --linear A.gguf[:WEIGHT] B.gguf[:WEIGHT] ... --out OUT.gguf\n"
    "       weir merge --slerp A.gguf B.gguf --t 0.5 --out OUT.gguf\n"
    "       weir merge --ties BASE.gguf A.gguf[:WEIGHT] B.gguf[:WEIGHT] ... --out OUT.gguf\n"
    "\n"
    "  --lora            LoRA adapters folded into a model, quantised or not; SCALE is 1 where it is not given\n"
    "  --linear          the weighted sum; without weights the mean\n"
    "  --slerp           between two along the arc, tensor by tensor: --t 0 is A, 1 is B (0.5)\n"
    "  --ties            what models of one base have learned, without what speaks against each other: of each model's\n"
    "                    difference to BASE the largest values are kept (--density 0.2), a sign is elected for each\n"
    "                    place, and the mean of those that have it is added to BASE (--weight 1: times that)\n"
    "\n"
    "  -o, --out FILE    the new model\n"
    "  --type TYPE       of matrices, a type of weir quantize; default: those of the first model\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "Models must have the same architecture, vocabulary and shapes; keys, tokenizer and chat template are the first one's.\n"
    "Split models are given by their first part. OUT takes its name when all of it is on the disk. Memory: some 20 MiB\n"
    "beside the mapped files, and with --lora a tensor's two halves.\n";

struct asked {
    bool linear, slerp, ties;
    const char *lora, *t, *density, *weight, *type, *threads;
    struct merge_job job;
};

/* "FILE" or "FILE:NUMBER"; the file's name loses what follows. */
static bool input_add(struct merge_job *job, char *text, double fallback)
{
    char *colon = strrchr(text, ':');
    double weight = fallback;
    if (job->n == MERGE_INPUTS_MAX) {
        fprintf(stderr, "weir: at most %d files can be merged\n", MERGE_INPUTS_MAX);
        return false;
    }
    if (colon && str_to_double(str_from(colon + 1), &weight))
        *colon = '\0';
    job->inputs[job->n++] = (struct merge_input){.path = text, .weight = weight};
    return true;
}

static bool kind_read(struct asked *a, int n)
{
    const int kinds = a->linear + a->slerp + a->ties + (a->lora != NULL);
    a->job.kind = a->lora ? MERGE_LORA : a->linear ? MERGE_LINEAR : a->slerp ? MERGE_SLERP : MERGE_TIES;
    const int least = a->lora ? 1 : a->ties ? 3 : 2;
    if ((a->t && !a->slerp) || (a->density && !a->ties) || (a->weight && !a->ties)) {
        options_fail(
            "--t is for --slerp, --density and --weight are for --ties (--linear has A.gguf:WEIGHT)");
        return false;
    }
    const bool many = a->linear || a->ties;
    if (kinds == 1 && (n < least || (n > least && !many))) {
        options_fail(a->lora   ? "--lora wants one model, the base"
                     : a->ties ? "--ties wants the base and at least two models made of it"
                     : many    ? "--linear wants at least two models"
                               : "--slerp wants two models");
        return false;
    }
    if (kinds == 1 && a->job.to)
        return true;
    options_fail(
        "merge wants one of --lora, --linear, --slerp, --ties, its models and --out: see weir merge --help");
    return false;
}

static bool inputs_read(struct asked *a, int n, char **names)
{
    bool ok = true;
    const double mean = 1 / (double)n;
    for (int i = 0; i < n && ok; i++)
        ok = input_add(&a->job, names[i], a->linear ? mean : 1);
    for (char *at = (char *)(uintptr_t)a->lora; ok && at;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma = '\0';
        ok = input_add(&a->job, at, 1);
        at = comma ? comma + 1 : NULL;
    }
    a->job.t = 0.5;
    a->job.density = 0.2;
    a->job.weight = 1;
    return ok && options_number("t", a->t, 0, 1, &a->job.t) &&
           options_number("density", a->density, 1e-6, 1, &a->job.density) &&
           options_number("weight", a->weight, -100, 100, &a->job.weight) && watch_type(a->type, &a->job.mix);
}

static int merge(struct merge_job *job, int32_t threads, struct error *err)
{
    const struct train_kernels *kernels;
    struct team team = {0};
    struct watch watch;
    const char *in[MERGE_INPUTS_MAX];
    for (int i = 0; i < job->n; i++)
        in[i] = job->inputs[i].path;
    int rc = file_check_other(in, (size_t)job->n, job->to, err);
    rc = rc ? rc : sandbox_confine(&job->to, 1, err);
    rc = rc ? rc : train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, threads, &team, err);
    watch_begin(&watch);
    job->pour = (struct pour){.team = &team, .go_on = watch_go_on, .watch = &watch};
    rc = rc ? rc : merge_run(job, err);
    watch_end(&watch);
    if (rc == 0)
        watch_done(job->to, job->bytes, job->tensors);
    team_free(&team);
    return rc;
}

int merge_verb(int argc, char **argv)
{
    struct asked a = {0};
    struct error err = {0};
    int32_t threads;
    const struct option_row rows[] = {{"lora", &a.lora, NULL}, {"linear", NULL, &a.linear},
        {"slerp", NULL, &a.slerp}, {"ties", NULL, &a.ties}, {"t", &a.t, NULL}, {"density", &a.density, NULL},
        {"weight", &a.weight, NULL}, {"out", &a.job.to, NULL}, {"type", &a.type, NULL},
        {"threads", &a.threads, NULL}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (!kind_read(&a, n) || !inputs_read(&a, n, argv + 1) || !options_threads(a.threads, &threads))
        return 2;
    return merge(&a.job, threads, &err) ? options_error(&err) : 0;
}
