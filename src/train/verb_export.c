/* weir export: a GGUF file as a folder of Hugging Face's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/worker/sandbox_confine.h"
#include "train/hf/convert.h"
#include "train/hf/safetensors.h"
#include "train/options.h"
#include "train/verbs.h"
#include "train/watch.h"

static const char help[] =
    "usage: weir export MODEL.gguf FOLDER [options]\n"
    "\n"
    "Writes a model as Hugging Face keeps it: config.json, model.safetensors, tokenizer.json, tokenizer_config.json with the\n"
    "chat template, generation_config.json, and of SentencePiece's tokenizers tokenizer.model. weir convert makes the same\n"
    "file of it again. Quantised matrices become BF16. A LoRA adapter becomes an adapter of PEFT's.\n"
    "\n"
    "  -o, --out FOLDER  the same as FOLDER; it is made where it is not there\n"
    "  --type TYPE       of matrices: F32, F16, BF16; default: what they are, BF16 where they are quantised\n"
    "  --base MODEL      of an adapter: its model, a GGUF file\n"
    "  --shard-mb N      a larger model becomes several files of about N MB (5000)\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "Each file takes its name when all of it is on the disk, config.json last: until then the folder is no model. Weights\n"
    "of an earlier export there are removed.\n";

static int export(struct hf_job *job, int32_t threads, struct error *err)
{
    const struct train_kernels *kernels;
    struct team team = {0};
    struct watch watch;
    char inside[4096];
    struct stat st;
    if (access(job->from, R_OK) != 0)
        return error_set(err, ERROR_IO, "cannot open the model %s: %s", job->from, strerror(errno));
    if (stat(job->to, &st) == 0 && !S_ISDIR(st.st_mode))
        return error_set(err, ERROR_INVALID, "%s is not a folder: choose another name", job->to);
    /* The sandbox makes no folders. */
    if (mkdir(job->to, 0755) != 0 && errno != EEXIST)
        return error_set(err, ERROR_IO, "the folder %s cannot be made: %s", job->to, strerror(errno));
    if ((size_t)snprintf(inside, sizeof inside, "%s/config.json", job->to) >= sizeof inside)
        return error_set(err, ERROR_INVALID, "the folder's name is too long");
    int rc = sandbox_confine((const char *const[]){inside}, 1, err);
    rc = rc ? rc : train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, threads, &team, err);
    watch_begin(&watch);
    job->pour = (struct pour){.team = &team, .go_on = watch_go_on, .watch = &watch};
    rc = rc ? rc : hf_export(job, err);
    watch_end(&watch);
    if (rc == 0)
        watch_done(job->to, job->bytes, job->tensors);
    team_free(&team);
    return rc;
}

int export_verb(int argc, char **argv)
{
    struct hf_job job = {0};
    struct error err = {0};
    const char *threads = NULL, *type = NULL, *shard = NULL;
    double shard_mb = 5000;
    int32_t n_threads;
    const struct option_row rows[] = {{"out", &job.to, NULL}, {"type", &type, NULL},
        {"base", &job.base, NULL}, {"shard-mb", &shard, NULL}, {"threads", &threads, NULL}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (n == 2 && !job.to)
        job.to = argv[2];
    else if (n != 1 || !job.to)
        return options_fail("export wants a model and a folder: see weir export --help");
    job.from = argv[1];
    if (!watch_type(type, &job.mix) || !options_threads(threads, &n_threads) ||
        !options_number("shard-mb", shard, 0.001, 1e9, &shard_mb))
        return 2;
    if (job.mix && !safetensors_type_name(job.mix->type))
        return options_fail("safetensors hold F32, F16 and BF16: choose one of them");
    job.shard = (uint64_t)(shard_mb * 1e6);
    return export(&job, n_threads, &err) ? options_error(&err) : 0;
}
