/* Files of the trainer: models opened, and files written so that the old content stays until the new one is
 * safe. */
#ifndef WEIR_TRAIN_FILES_H
#define WEIR_TRAIN_FILES_H

#include <stdint.h>
#include <stdio.h>

#include "base/file.h"
#include "engine/worker/gguf_write.h"

/* `name` as seen from the folder that `path` is in; absolute names stay. */
struct str file_beside(struct arena *a, const char *path, struct str name);

/* A file that takes its name only when all of it is on the disk:
 *
 *   file_begin -> NAME.part, made anew -> file_write ... -> file_commit (fsync, rename, fsync of the folder)
 *                                            -> file_abandon (NAME.part is removed, NAME is as it was)
 *
 * The first failure is kept and file_commit reports it. */
struct file_writer {
    char path[4096], part[4096 + 8];
    int fd; /* -1: none is open */
    int failed;
    struct error err;
    unsigned char *buffer;
    size_t used;
};
int file_begin(struct file_writer *w, const char *path, struct error *err) MUST_USE;
void file_write(struct file_writer *w, const void *data, size_t len);
int file_commit(struct file_writer *w, struct error *err) MUST_USE;
void file_abandon(struct file_writer *w);
/* A small file at once, likewise. */
int file_put(const char *path, const struct buf *text, struct error *err) MUST_USE;
/* One that is not there is removed already. */
int file_remove(const char *path, struct error *err) MUST_USE;

/* ERROR_INVALID where `out`, or the .part of it, is one of `in`: models (all parts of one in several files),
 * folders of models, other files; NULLs are passed over. */
int file_check_other(const char *const *in, size_t n, const char *out, struct error *err) MUST_USE;

/* Whether both name the same file, be it there or not. */
bool file_is_one(const char *a, const char *b);

/* A model file: the header, then what `fill` writes; all of it or nothing. */
int file_write_gguf(const struct gguf_writer *g, const char *path,
    int (*fill)(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err), void *ctx,
    struct error *err) MUST_USE;
/* All pairs but those that speak of the old file's form and those with the keys of `leave` (ends with NULL;
 * NULL: none). */
void file_copy_pairs(struct gguf_writer *g, const struct gguf *from, const char *const *leave);
/* Maps a model, all parts of it where `path` names the first: x-00001-of-0000N.gguf. */
int file_open_model(const char *path, struct gguf **out, struct error *err) MUST_USE;

struct backend;
/* With it the engine loads a model where its file is mapped and checks it; it runs none and is nobody's to
 * free. */
struct backend *file_backend(void);

#endif
