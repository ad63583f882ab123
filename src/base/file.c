#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
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

const char *file_folder(const char *path, char to[4096])
{
    snprintf(to, 4096, "%s", path);
    char *slash = strrchr(to, '/');
    if (!slash)
        return ".";
    slash[slash == to] = '\0';
    return to;
}

int file_check_place(const char *path, struct error *err)
{
    struct stat st;
    char in[4096];
    const char *folder = file_folder(path, in);
    if (strlen(path) >= sizeof in)
        return error_set(err, ERROR_INVALID, "the name of a file to write is too long");
    /* A rename would put a file in place of a device or pipe. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(err, ERROR_INVALID, "%s is not a file: choose another name to write to", path);
    return access(folder, W_OK | X_OK) == 0
               ? 0
               : error_set(err, ERROR_IO, "cannot write %s: %s: %s", path, folder, strerror(errno));
}

size_t file_write_fd(int fd, struct str content)
{
    size_t done = 0;
    while (done < content.len) {
        ssize_t n = write(fd, content.data + done, content.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

/* ---- One writer at a time ---- */
enum { PART_TRIES = 40, PART_TRY_NS = 50 * 1000 * 1000 };

/* Ours alone until it is closed. False: another process has it, or took it away before it was. */
static bool lock(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return false; /* other errors: a file system without locks */
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* Or was it renamed into place, and another's stands there? */
static bool is_still(const char *part, int fd)
{
    struct stat opened, there;
    return fstat(fd, &opened) == 0 && lstat(part, &there) == 0 && opened.st_ino == there.st_ino &&
           opened.st_dev == there.st_dev;
}

/* What an earlier run left goes, or what somebody put there, a link, too, and not what is being written: then
 * false. *why: errno where it cannot go. */
static bool left_remove(const char *part, int *why)
{
    const int fd = open(part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return true; /* what stands there in a moment is another's */
    const bool ours = fd < 0 || (lock(fd) && is_still(part, fd));
    *why = ours && unlink(part) != 0 && errno != ENOENT ? errno : 0;
    if (fd >= 0)
        close(fd);
    return ours;
}

int file_part_open(const char *part, unsigned mode)
{
    int why = 0;
    for (int i = 0; i < PART_TRIES && why == 0; i++) {
        if (left_remove(part, &why) && why == 0) {
            const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
            if (fd >= 0 && lock(fd))
                return fd;
            if (fd < 0 && errno != EEXIST)
                return -1;
            if (fd >= 0)
                close(fd);
        }
        nanosleep(&(struct timespec){.tv_nsec = PART_TRY_NS}, NULL);
    }
    errno = why ? why : EBUSY;
    return -1;
}

const char *file_part_why(void)
{
    return errno == EBUSY ? "another run is writing it: wait for that, or choose another name"
                          : strerror(errno);
}

int file_replace(const char *path, struct str content, unsigned mode, struct error *err)
{
    char part[4096 + 8];
    int rc = file_check_place(path, err);
    if (rc)
        return rc;
    snprintf(part, sizeof part, "%s.part", path);
    const int fd = file_part_open(part, mode);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot write %s: %s", path, file_part_why());
    if (file_write_fd(fd, content) < content.len || fsync(fd) != 0 || rename(part, path) != 0) {
        rc = error_set(err, ERROR_IO, "cannot write %s: %s", path, strerror(errno));
        unlink(part);
    }
    close(fd);
    return rc;
}

bool file_is_same(const char *path, const char *other)
{
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}
