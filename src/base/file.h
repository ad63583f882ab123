/* Files read whole. */
#ifndef WEIR_BASE_FILE_H
#define WEIR_BASE_FILE_H

#include "base/arena.h"

/* A regular file of at most `most` bytes, in the arena. A FIFO or a device is an error, and holds up nobody.
 */
int file_read(struct arena *a, const char *path, size_t most, struct str *out, struct error *err) MUST_USE;

#endif
