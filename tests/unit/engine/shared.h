/* Reference data beside the repository (../shared, or $WEIR_SHARED); tests that need it print "skipped"
 * without. */
#ifndef WEIR_TESTS_UNIT_ENGINE_SHARED_H
#define WEIR_TESTS_UNIT_ENGINE_SHARED_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "engine/worker/gguf.h"

static inline const char *shared_folder(void)
{
    const char *folder = getenv("WEIR_SHARED");
    return folder ? folder : "../shared";
}

/* True, and says so, where the folder is absent. */
static inline bool shared_absent(const char *part)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", shared_folder(), part);
    if (access(path, R_OK) == 0)
        return false;
    printf("skipped: there is no %s\n", path);
    return true;
}

/* The whole file; an empty buffer if it cannot be read. */
static inline struct buf shared_read(const char *path)
{
    struct buf b;
    buf_init(&b, 64u << 20);
    FILE *f = fopen(path, "rb");
    for (char *to; f && (to = buf_reserve(&b, 65536));) {
        size_t n = fread(to, 1, 65536, f);
        if (n == 0)
            break;
        buf_commit(&b, n);
    }
    if (f)
        fclose(f);
    return b;
}

/* NULL, and says why, on failure. */
static inline struct gguf *shared_gguf(const char *path)
{
    struct error err;
    struct gguf *g = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || gguf_open(&fd, 1, &g, &err))
        printf("%s: %s\n", path, fd < 0 ? "cannot be opened" : err.message);
    if (fd >= 0)
        close(fd);
    return g;
}

#endif
