#include "train/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

#define BUFFER (256 * KIB)

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

struct str file_beside(struct arena *a, const char *path, struct str name)
{
    const char *slash = strrchr(path, '/');
    if (!slash || (name.len > 0 && name.data[0] == '/'))
        return arena_copy(a, name);
    return arena_printf(a, "%.*s/" STR_FMT, (int)(slash - path), path, STR_ARG(name));
}

/* ---- Writing ---- */
static void fail(struct file_writer *w, const char *what)
{
    if (!w->failed)
        w->failed = error_set(&w->err, ERROR_IO, "%s cannot be %s: %s: make room or choose another place; %s",
            w->path, what, strerror(errno), "what was there before is as it was");
}

static void flush(struct file_writer *w)
{
    for (size_t done = 0; done < w->used && !w->failed;) {
        ssize_t n = write(w->fd, w->buffer + done, w->used - done);
        if (n < 0 && errno != EINTR)
            fail(w, "written");
        done += n > 0 ? (size_t)n : 0;
    }
    w->used = 0;
}

int file_begin(struct file_writer *w, const char *path, struct error *err)
{
    struct stat st;
    *w = (struct file_writer){.fd = -1};
    /* The rename would put a file in place of the device or pipe. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(err, ERROR_INVALID, "%s is not a file: choose another name to write to", path);
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    if (n < 0 || (size_t)n >= sizeof w->path)
        return error_set(err, ERROR_INVALID, "the name of a file to write is too long");
    snprintf(w->part, sizeof w->part, "%s.part", path);
    w->buffer = malloc(BUFFER);
    if (!w->buffer)
        return error_set(err, ERROR_MEMORY, "no memory to write %s", path);
    w->fd = open(w->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (w->fd >= 0)
        return 0;
    free(w->buffer);
    w->buffer = NULL;
    return error_set(err, ERROR_IO, "cannot write %s: %s", w->part, strerror(errno));
}

void file_write(struct file_writer *w, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        size_t n = BUFFER - w->used < len ? BUFFER - w->used : len;
        memcpy(w->buffer + w->used, p, n);
        w->used += n;
        p += n;
        len -= n;
        if (w->used == BUFFER)
            flush(w);
    }
}

/* The rename is durable when the folder is. Some file systems cannot sync a folder: that is no failure. */
static void folder_sync(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

int file_commit(struct file_writer *w, struct error *err)
{
    flush(w);
    if (!w->failed && fsync(w->fd) != 0)
        fail(w, "written");
    if (close(w->fd) != 0)
        fail(w, "written");
    w->fd = -1;
    if (!w->failed && rename(w->part, w->path) != 0)
        fail(w, "put in place");
    if (!w->failed)
        folder_sync(w->path);
    else if (err)
        *err = w->err;
    int rc = w->failed;
    if (rc)
        unlink(w->part);
    free(w->buffer);
    w->buffer = NULL;
    return rc;
}

void file_abandon(struct file_writer *w)
{
    if (w->fd < 0)
        return;
    close(w->fd);
    w->fd = -1;
    unlink(w->part);
    free(w->buffer);
    w->buffer = NULL;
}

/* ---- Model files ---- */
int file_write_gguf(const struct gguf_writer *g, const char *path,
    int (*fill)(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err), void *ctx,
    struct error *err)
{
    struct file_writer f;
    struct buf header;
    buf_init(&header, GIB);
    int rc = gguf_writer_header(g, &header, err);
    rc = rc ? rc : file_begin(&f, path, err);
    if (rc == 0) {
        file_write(&f, header.data, header.len);
        rc = fill(ctx, g, &f, err);
        if (rc)
            file_abandon(&f);
        else
            rc = file_commit(&f, err);
    }
    buf_free(&header);
    return rc;
}

static bool is_named(struct str key, const char *const *names)
{
    for (; names && *names; names++)
        if (str_is(key, *names))
            return true;
    return false;
}

void file_copy_pairs(struct gguf_writer *g, const struct gguf *from, const char *const *leave)
{
    static const char *const form[] = {
        "general.alignment", "split.no", "split.count", "split.tensors.count", NULL};
    for (size_t i = 0; i < gguf_n_pairs(from); i++) {
        const struct gguf_pair *pair = gguf_pair_at(from, i);
        if (!is_named(pair->key, form) && !is_named(pair->key, leave))
            gguf_write_pair(g, pair);
    }
}

/* "x-00001-of-00003.gguf": 3. Any other name: 1. */
enum { PARTS_END = sizeof "-00001-of-00003.gguf" - 1 };

static int64_t parts_of(const char *path)
{
    const size_t n = strlen(path);
    const struct str end = n > PARTS_END ? str_from(path + n - PARTS_END) : (struct str){0};
    int64_t of;
    const bool is_first = str_starts(end, STR("-00001-of-")) && str_ends(end, STR(".gguf"));
    return is_first && str_to_int64(str_slice(end, 10, 15), &of) && of > 1 ? of : 1;
}

static int part_open(const char *path, int64_t part, int64_t of, int *fd, struct error *err)
{
    char name[4096];
    int n = of == 1 ? snprintf(name, sizeof name, "%s", path)
                    : snprintf(name, sizeof name, "%.*s-%05d-of-%05d.gguf", (int)(strlen(path) - PARTS_END),
                          path, (int)part, (int)of);
    if (n < 0 || (size_t)n >= sizeof name)
        return error_set(err, ERROR_INVALID, "the model's name is too long");
    /* O_NONBLOCK: a FIFO must not stop us. */
    *fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return error_set(err, ERROR_IO, "cannot open the model %s: %s", name, strerror(errno));
    struct stat st;
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    close(*fd);
    return error_set(err, ERROR_IO, "the model %s is not a file", name);
}

int file_open_model(const char *path, struct gguf **out, struct error *err)
{
    const int64_t of = parts_of(path);
    int fds[LIMIT_MODEL_PARTS], rc = 0;
    size_t n = 0;
    *out = NULL;
    if (of > LIMIT_MODEL_PARTS)
        return error_set(err, ERROR_LIMIT, "%s has more than %d parts", path, LIMIT_MODEL_PARTS);
    while (rc == 0 && n < (size_t)of) {
        rc = part_open(path, (int64_t)n + 1, of, &fds[n], err);
        n += rc == 0;
    }
    if (rc == 0 && gguf_open(fds, n, out, err))
        rc = error_wrap(err, "%s", path);
    while (n > 0)
        close(fds[--n]);
    return rc;
}
