/* Starting a worker process: the model's files opened by us, everything else closed, a clean environment. */
#ifndef WEIR_ENGINE_SPAWN_H
#define WEIR_ENGINE_SPAWN_H

#include <sys/types.h>

#include "engine/wire.h"

/* What tells files from others: hashes of where each lies (device, inode) and of what it is (size, time of
 * change). Some file systems give a file another inode, so the version alone may be asked for. */
struct spawn_mark {
    uint64_t places, version;
};
static inline bool spawn_mark_is(struct spawn_mark a, struct spawn_mark b)
{
    return a.places == b.places && a.version == b.version;
}

/* The files of a model, open for reading, in the order of their parts. */
struct spawn_files {
    int fds[WIRE_MODEL_FILES_MAX];
    size_t count;
    int64_t bytes; /* of all of them */
    struct spawn_mark mark;
};

/* `file` NULL opens nothing. For "x-00001-of-0000N.gguf" all N parts. On failure nothing stays open. */
int spawn_files_open(const char *file, struct spawn_files *out, struct error *err) MUST_USE;
/* One more file behind them; on failure none stays open. */
int spawn_files_add(const char *file, struct spawn_files *files, struct error *err) MUST_USE;
void spawn_files_close(struct spawn_files *files);

/* The path of weir-engine: `wanted` if given, else as engine_options.executable says. */
int spawn_executable_find(const char *wanted, char *path, size_t size, struct error *err) MUST_USE;

/* The path of a program of ours: beside this one, or where it is installed. */
int spawn_beside_find(const char *name, char *path, size_t size, struct error *err) MUST_USE;

/* Starts `executable --files N`; with spill_bytes, and a file for them, `--spill BYTES` as well. *socket is
 * our end, non-blocking; *pidfd becomes readable when the process has ended, which the caller then reaps
 * (waitpid). The files stay the caller's. spill_bytes 0: no such file. */
struct spawn_process {
    pid_t pid;
    int pidfd, socket;
};
int spawn_worker(const char *executable, const struct spawn_files *files, int spill, int64_t spill_bytes,
    struct spawn_process *out, struct error *err) MUST_USE;

#endif
