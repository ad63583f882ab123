/* weir convert: a folder of Hugging Face's as a GGUF file. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/worker/sandbox_confine.h"
#include "train/hf/arch.h"
#include "train/hf/convert.h"
#include "train/options.h"
#include "train/verbs.h"
#include "train/watch.h"

static const char help[] =
    "usage: weir convert FOLDER OUT.gguf [options]\n"
    "\n"
    "Makes a GGUF file of a model as Hugging Face keeps it: config.json, *.safetensors and the tokenizer (tokenizer.json,\n"
    "or SentencePiece's tokenizer.model) with its chat template and what generation_config.json says of sampling. The file\n"
    "runs here and in llama.cpp. What is not known, be it a tensor or a setting, is an error that names it. Known are\n"
    "%.*s.\n"
    "\n"
    "A folder with adapter_config.json and adapter_model.safetensors is a LoRA adapter (PEFT) and becomes one here.\n"
    "\n"
    "  -o, --out FILE    the same as OUT.gguf\n"
    "  --type TYPE       of matrices, a type of weir quantize; default: the one they have\n"
    "  --name NAME       the model's name; default: the folder's\n"
    "  --base MODEL      an adapter's model, as a folder or a GGUF file; default: what the adapter names\n"
    "  --pre NAME        how text is cut (tokenizer.ggml.pre), where tokenizer.json does it in a way not known here\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "OUT takes its name when all of it is on the disk. Memory: some 20 MiB beside the mapped files and the tokenizer.\n";

static int help_say(void)
{
    struct buf names;
    buf_init(&names, MIB);
    hf_arch_names(&names);
    printf(help, (int)names.len, names.data);
    buf_free(&names);
    return 0;
}

static bool is_adapter(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    return access(path, F_OK) == 0;
}

static int convert(struct hf_job *job, int32_t threads, struct error *err)
{
    const struct train_kernels *kernels;
    struct team team = {0};
    struct watch watch;
    struct stat st;
    int rc = 0;
    if (stat(job->from, &st) != 0 || !S_ISDIR(st.st_mode))
        return error_set(
            err, ERROR_NOT_FOUND, "%s is no folder: a model's folder has config.json in it", job->from);
    rc = file_check_other((const char *const[]){job->from, job->base}, 2, job->to, err);
    rc = rc ? rc : sandbox_confine(&job->to, 1, err);
    rc = rc ? rc : train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, threads, &team, err);
    watch_begin(&watch);
    job->pour = (struct pour){.team = &team, .go_on = watch_go_on, .watch = &watch};
    rc = rc ? rc : is_adapter(job->from) ? hf_convert_adapter(job, err) : hf_convert(job, err);
    watch_end(&watch);
    if (rc == 0)
        watch_done(job->to, job->bytes, job->tensors);
    team_free(&team);
    return rc;
}

int convert_verb(int argc, char **argv)
{
    struct hf_job job = {0};
    struct error err = {0};
    const char *threads = NULL, *type = NULL;
    int32_t n_threads;
    const struct option_row rows[] = {{"out", &job.to, NULL}, {"type", &type, NULL},
        {"name", &job.name, NULL}, {"base", &job.base, NULL}, {"pre", &job.pre, NULL},
        {"threads", &threads, NULL}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, "");
    if (n < 0)
        return n == -2 ? help_say() : 2;
    if (n == 2 && !job.to)
        job.to = argv[2];
    else if (n != 1 || !job.to)
        return options_fail("convert wants a folder and a new file: see weir convert --help");
    job.from = argv[1];
    if (!watch_type(type, &job.mix) || !options_threads(threads, &n_threads))
        return 2;
    return convert(&job, n_threads, &err) ? options_error(&err) : 0;
}
