/* The files behind workers' KV caches (engine/spill_format.h): made, locked and emptied by the gateway,
 * filled by a worker, which gets an open descriptor and the key.
 *
 *   folder/NAME-HASH.kv     kept over restarts, encrypted by the key in folder/key, both readable by us alone
 *   (no name)               of what may not be kept: it is gone with the process, and so is its key */
#ifndef WEIR_ENGINE_SPILL_FILE_H
#define WEIR_ENGINE_SPILL_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/spill_format.h"

struct spill_file {
    int fd; /* -1: none */
    uint8_t key[SPILL_KEY_BYTES];
};

/* `name` NULL: a file without one. The folder is made where it is missing. ERROR_BUSY: another process has
 * that file; ERROR_IO. On failure fd is -1. */
int spill_file_open(const char *folder, const char *name, struct spill_file *out, struct error *err) MUST_USE;
void spill_file_close(struct spill_file *f);

/* Takes pages that were written before then out of all files in the folder, also of those that workers have
 * open, and gives their room back. Returns how many. */
size_t spill_files_expire(const char *folder, int64_t before_ms);

/* The same in a thread of its own: it reads the head of every page, which a loop must not wait for. */
struct spill_expiry {
    pthread_t thread;
    bool started;
    _Atomic bool running;
    char *folder;
    int64_t before_ms;
};
/* Nothing where the last one still goes on. All zeros: there was none yet. */
void spill_expiry_begin(struct spill_expiry *e, const char *folder, int64_t before_ms);
void spill_expiry_end(struct spill_expiry *e); /* waits for it */

#endif
