#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(struct arena *a, const char *path, size_t most, struct str *out, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO must not stop us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = error_set(err, ERROR_IO, "%s is not a file", path);
    else if (st.st_size < 0 || (uint64_t)st.st_size > most)
        rc = error_set(err, ERROR_LIMIT, "%s is larger than %zu bytes", path, most);
    char *text = rc ? NULL : arena_try_alloc(a, (size_t)st.st_size + 1, 1);
    if (rc == 0 && !text)
        rc = error_set(err, ERROR_MEMORY, "no memory for %s", path);
    size_t n = 0;
    while (rc == 0 && n < (size_t)st.st_size) {
        ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    *out = (struct str){text, n};
    return rc;
}
