/* Files of others on their way from one form to the other. The first byte says what the rest is:
 *
 *   m   a model's folder; its files in the order of `names`, 0xff between them, the last to the end
 *   a   an adapter of PEFT's: adapter_config.json, its model's config.json, adapter_model.safetensors
 *   e   a GGUF file to be exported; where the magic stands in it again, an adapter and its model
 *
 * Nothing is written of what is refused; what was converted can be exported or says why not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "train/hf/config.h"
#include "train/hf/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
    "generation_config.json", "tokenizer.model", "model.safetensors"};
static const char *const adapter_names[] = {
    "adapter_config.json", "base/config.json", "adapter_model.safetensors"};
/* What an export writes. */
static const char *const written[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
    "generation_config.json", "tokenizer.model", "model.safetensors", "model.safetensors.index.json",
    "adapter_config.json", "adapter_model.safetensors"};

static struct team team;
static char root[64]; /* the folder of all of it */

enum { PATH_ROOM = 160 };

static const char *path_of(char to[PATH_ROOM], const char *folder, const char *name)
{
    snprintf(to, PATH_ROOM, "%s/%s%s%s", root, folder, *folder ? "/" : "", name);
    return to;
}

static void begin(void)
{
    static const char *const folders[] = {"in", "in/base", "out"};
    struct error err;
    char path[PATH_ROOM];
    if (team.kernels)
        return;
    snprintf(root, sizeof root, "%s/weir-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(root) || team_create(&train_kernels_base, 1, &team, &err))
        abort();
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(path_of(path, "", folders[i]), 0700) != 0)
            abort();
    log_set_level(LOG_ERROR);
}

static void put(const char *folder, const char *name, const uint8_t *data, size_t size)
{
    char path[PATH_ROOM];
    FILE *f = fopen(path_of(path, folder, name), "w");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static void folder_clear(const char *folder, const char *const *list, size_t n)
{
    char path[PATH_ROOM];
    for (size_t i = 0; i < n; i++)
        unlink(path_of(path, folder, list[i]));
}

/* Pieces of the input as files; an empty one is no file. */
static void folder_make(const char *const *list, size_t n, const uint8_t *data, size_t size)
{
    folder_clear("in", list, n);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *end = i + 1 < n && size > 0 ? memchr(data, 0xff, size) : NULL;
        const size_t len = end ? (size_t)(end - data) : size;
        if (len > 0)
            put("in", list[i], data, len);
        data += len + (end != NULL);
        size -= len + (end != NULL);
    }
}

/* A vocabulary of millions costs time, not more. */
static bool is_large(const char *folder)
{
    struct arena *a = arena_create((size_t)64 << 20);
    struct hf_config c = {0};
    struct error err;
    const bool large = hf_config_read(a, folder, &c, &err) == 0 && c.shape.vocab > 1 << 14;
    hf_config_free(&c);
    arena_free(a);
    return large;
}

static void must_say(const struct error *err)
{
    if (!err->message[0])
        abort();
}

static void export_file(const char *name, const char *base)
{
    char from[PATH_ROOM], to[PATH_ROOM], beside[PATH_ROOM];
    struct hf_job job = {.from = path_of(from, "", name),
        .to = path_of(to, "", "out"),
        .base = base ? path_of(beside, "", base) : NULL,
        .shard = 1 << 20,
        .pour = {.team = &team}};
    struct error err = {0};
    if (hf_export(&job, &err))
        must_say(&err);
    folder_clear("out", written, sizeof written / sizeof *written);
}

static void convert(bool adapter)
{
    char from[PATH_ROOM], to[PATH_ROOM], base[PATH_ROOM];
    struct hf_job job = {.from = path_of(from, "", "in"),
        .to = path_of(to, "", "m.gguf"),
        .base = adapter ? path_of(base, "", "in/base") : NULL,
        .pour = {.team = &team}};
    struct error err = {0};
    if (is_large(adapter ? base : from))
        return;
    if (adapter ? hf_convert_adapter(&job, &err) : hf_convert(&job, &err)) {
        must_say(&err);
        if (access(to, F_OK) == 0)
            abort();
        return;
    }
    export_file("m.gguf", NULL);
    unlink(to);
}

static void export(const uint8_t *data, size_t size)
{
    const uint8_t *second = size > 4 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
    put("", "a.gguf", data, second ? (size_t)(second - data) : size);
    if (second)
        put("", "b.gguf", second, size - (size_t)(second - data));
    export_file("a.gguf", second ? "b.gguf" : NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    begin();
    if (data[0] == 'm')
        folder_make(names, sizeof names / sizeof *names, data + 1, size - 1);
    else if (data[0] == 'a')
        folder_make(adapter_names, sizeof adapter_names / sizeof *adapter_names, data + 1, size - 1);
    if (data[0] == 'm' || data[0] == 'a')
        convert(data[0] == 'a');
    else if (data[0] == 'e')
        export(data + 1, size - 1);
    return 0;
}
