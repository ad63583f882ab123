/* A run's checkpoint with bytes changed anywhere, its sum mended or not: it is refused, or the run's state is
 * one that it can go on from. The input: a flag (the sum is mended), then three bytes for each change: where
 * (the lower two bytes of it, from the front or, with the highest bit, from the end) and what. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/files.h"
#include "train/run.h"
#include "train/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char config[] = "model: {layers: 1, embed: 16, heads: 2, ffn: 16, vocab: 288, context: 32}\n"
                             "data: {train: [data.jsonl]}\n"
                             "train: {steps: 8, batch_tokens: 60, warmup: 1, validate_every: 4}\n";
static const char example[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"hello hello hello\"}, "
                              "{\"role\": \"assistant\", \"content\": \"there there hello\"}]}\n";

static struct train_config c;
static struct train_text text;
static struct train_model model;
static struct run run;
static struct str whole; /* a checkpoint after two steps */

static void put(const char *name, const char *what)
{
    FILE *f = fopen(name, "w");
    if (!f || fputs(what, f) < 0 || fclose(f) != 0)
        abort();
}

static void run_make(void)
{
    struct train_data examples = {0}, none = {0};
    struct error err;
    char folder[] = "/tmp/weir-fuzz-XXXXXX";
    const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (before < 0 || !mkdtemp(folder) || chdir(folder) != 0)
        abort();
    put("data.jsonl", example);
    put("c.yaml", config);
    int rc = train_config_read("c.yaml", TRAIN_NEW, &c, &err);
    rc = rc ? rc : train_text_learn(&c.data, c.shape.n_vocab, &text, &err);
    c.shape.n_vocab = rc ? 0 : tokenizer_vocab_size(text.tokenizer);
    rc = rc ? rc : data_read(&c.data, &text, 32, &examples, NULL, 0, 1, &err);
    rc = rc ? rc : train_model_create(&c.shape, 1, &model, &err);
    rc = rc ? rc : run_create(&c, &model, &examples, &none, 1, &run, &err);
    rc = rc ? rc : run_step(&run, &err);
    rc = rc ? rc : run_step(&run, &err);
    rc = rc ? rc : checkpoint_write(&run, "k", &err);
    rc = rc ? rc : file_read(c.arena, "k", 1 << 20, &whole, &err);
    rc = rc ? rc : checkpoint_read(&run, "k", &err);
    if (rc) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    unlink("data.jsonl");
    unlink("c.yaml");
    unlink("k");
    if (fchdir(before) != 0 || rmdir(folder) != 0)
        abort();
    close(before);
}

/* The sum over the parts as they were written: head, points, checks, and three times the values. */
static void sum_mend(char *bytes)
{
    const size_t values = (size_t)run.n_values * sizeof(float);
    const size_t parts[] = {whole.len - 3 * values - sizeof(uint64_t) - 2 * sizeof *run.points,
        2 * sizeof *run.points, 0, values, values, values};
    uint64_t sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; at += parts[i++])
        sum = checkpoint_sum(sum, bytes + at, parts[i]);
    memcpy(bytes + at, &sum, sizeof sum);
}

/* A file of the bytes that has no name but this. */
static void file_make(const char *bytes, size_t size, char path[32])
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("checkpoint", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    char path[32];
    if (!whole.data)
        run_make();
    char *bytes = malloc(whole.len);
    if (!bytes)
        abort();
    memcpy(bytes, whole.data, whole.len);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        const size_t at = ((size_t)data[i] << 8 | data[i + 1]) & 0x7fff;
        if (at < whole.len)
            bytes[data[i] & 128 ? whole.len - 1 - at : at] = (char)data[i + 2];
    }
    if (size > 0 && data[0] & 1)
        sum_mend(bytes);
    file_make(bytes, size > 0 && data[0] & 2 ? whole.len - size % whole.len : whole.len, path);
    if (checkpoint_read(&run, path, &err) == 0 &&
        (run.state.step < 0 || run.state.step > run.steps || run.state.next > run.data.n_docs ||
            run.state.n_checks < 0 || run.state.epoch < 0))
        abort();
    free(bytes);
    return 0;
}
