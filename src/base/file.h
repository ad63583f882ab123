/* Files read and written whole. */
#ifndef WEIR_BASE_FILE_H
#define WEIR_BASE_FILE_H

#include "base/arena.h"

/* A regular file of at most `most` bytes, in the arena. A FIFO or a device is an error, and holds up nobody.
 */
int file_read(struct arena *a, const char *path, size_t most, struct str *out, struct error *err) MUST_USE;

/* The folder that a file is in; "." where the path names none. */
const char *file_folder(const char *path, char to[4096]);
/* Whether a file can take that name: asked before work that takes long. */
int file_check_place(const char *path, struct error *err) MUST_USE;
/* Writes until all is written, or the disk takes no more: how much it took; where that is less, errno says
 * why. */
size_t file_write_fd(int fd, struct str content);
/* A new file to be renamed into place, alone: where another process writes to that name it is waited for two
 * seconds. -1 with errno; EBUSY: that one still does. Rename or remove it before it is closed: then another
 * one may have the name. */
int file_part_open(const char *part, unsigned mode) MUST_USE;
const char *file_part_why(void); /* in words, straight after a failure */
/* Takes the name only when all of it is on the disk; until then it is PATH.part. */
int file_replace(const char *path, struct str content, unsigned mode, struct error *err) MUST_USE;
/* Whether both are there and the same file, by whatever names. */
bool file_is_same(const char *path, const char *other);

#endif
