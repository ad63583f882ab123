/* A folder of files for one test, and small data to learn. */
#ifndef WEIR_TESTS_TRAIN_FOLDER_H
#define WEIR_TESTS_TRAIN_FOLDER_H

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tiny.h"
#include "train/run.h"

struct folder {
    char path[64];
    struct arena *arena;
};

static inline void folder_create(struct folder *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/weir-train-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->arena = arena_create(1 << 20);
}

static inline const char *folder_file(struct folder *f, const char *name)
{
    return arena_printf(f->arena, "%s/%s", f->path, name).data;
}

static inline const char *folder_write(struct folder *f, const char *name, const char *text)
{
    const char *path = folder_file(f, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline void folder_free(struct folder *f)
{
    static const char *const names[] = {"c.yaml", "d.jsonl", "v.jsonl", "m.gguf", "m.gguf.part", "m.gguf.svg",
        "m.gguf.log.json", "m.gguf.checkpoint", "m.gguf.checkpoint.part", "a.gguf", "k"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(folder_file(f, names[i]));
    assert_int_equal(rmdir(f->path), 0);
    arena_free(f->arena);
}

/* Lines whose answers follow from their questions. */
static inline const char *folder_examples(struct folder *f, const char *name, int n)
{
    static const char *const words[] = {"red", "green", "blue", "old", "new", "small"};
    char text[1 << 14];
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"%s %s %d\"}, {\"role\": \"assistant\", "
            "\"content\": \"%d %s\"}]}\n",
            words[i % 6], words[i / 6 % 6], i, i, words[i % 6]);
    assert_true(used < sizeof text);
    return folder_write(f, name, text);
}

#endif
