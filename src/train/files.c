#include "train/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/worker/backend.h"

#define BUFFER (256 * KIB)

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
    if (!w->failed && file_write_fd(w->fd, (struct str){(const char *)w->buffer, w->used}) < w->used)
        fail(w, "written");
    w->used = 0;
}

int file_begin(struct file_writer *w, const char *path, struct error *err)
{
    *w = (struct file_writer){.fd = -1};
    int rc = file_check_place(path, err);
    if (rc)
        return rc;
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    if (n < 0 || (size_t)n >= sizeof w->path)
        return error_set(err, ERROR_INVALID, "the name of a file to write is too long");
    snprintf(w->part, sizeof w->part, "%s.part", path);
    w->buffer = malloc(BUFFER);
    if (!w->buffer)
        return error_set(err, ERROR_MEMORY, "no memory to write %s", path);
    w->fd = file_part_open(w->part, 0644);
    if (w->fd >= 0)
        return 0;
    rc = error_set(err, ERROR_IO, "cannot write %s: %s", path, file_part_why());
    free(w->buffer);
    w->buffer = NULL;
    return rc;
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
    int fd = open(file_folder(path, folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
    if (!w->failed && rename(w->part, w->path) != 0)
        fail(w, "put in place");
    if (w->failed)
        unlink(w->part);
    close(w->fd);
    w->fd = -1;
    if (!w->failed)
        folder_sync(w->path);
    else if (err)
        *err = w->err;
    int rc = w->failed;
    free(w->buffer);
    w->buffer = NULL;
    return rc;
}

void file_abandon(struct file_writer *w)
{
    if (w->fd < 0)
        return;
    unlink(w->part);
    close(w->fd);
    w->fd = -1;
    free(w->buffer);
    w->buffer = NULL;
}

int file_put(const char *path, const struct buf *text, struct error *err)
{
    struct file_writer f;
    if (text->failed)
        return error_set(err, text->failed, "no memory to write %s", path);
    int rc = file_begin(&f, path, err);
    if (rc)
        return rc;
    file_write(&f, text->data, text->len);
    return file_commit(&f, err);
}

int file_remove(const char *path, struct error *err)
{
    return unlink(path) == 0 || errno == ENOENT
               ? 0
               : error_set(err, ERROR_IO, "%s cannot be removed: %s", path, strerror(errno));
}

/* ---- Models in several files ---- */
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

/* The name of one of them; false: it is too long. */
static bool part_name(const char *path, int64_t part, int64_t of, char name[4096])
{
    const int n = of == 1 ? snprintf(name, 4096, "%s", path)
                          : snprintf(name, 4096, "%.*s-%05d-of-%05d.gguf", (int)(strlen(path) - PARTS_END),
                                path, (int)part, (int)of);
    return n >= 0 && n < 4096;
}

/* ---- What is read is not written ---- */
static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool file_is_one(const char *a, const char *b)
{
    char in[4096], other[4096];
    return file_is_same(a, b) ||
           (strcmp(name_in(a), name_in(b)) == 0 && file_is_same(file_folder(a, in), file_folder(b, other)));
}

/* The name itself, and the one that it has while it is written. */
static bool is_written(const char *in, const char *out)
{
    char part[sizeof(((struct file_writer *)0)->part)];
    snprintf(part, sizeof part, "%s.part", out);
    return file_is_same(in, out) || file_is_same(in, part);
}

/* Of a model's folder what models are read from. */
static bool folder_has(const char *folder, const char *out)
{
    static const char *const ends[] = {".safetensors", ".json", ".model", ".jinja"};
    DIR *dir = opendir(folder);
    bool has = false;
    for (const struct dirent *e; !has && dir && (e = readdir(dir)) != NULL;) {
        char path[4096];
        bool is_input = false;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            is_input = is_input || str_ends(str_from(e->d_name), str_from(ends[i]));
        const int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        has = is_input && n > 0 && (size_t)n < sizeof path && is_written(path, out);
    }
    if (dir)
        closedir(dir);
    return has;
}

int file_check_other(const char *const *in, size_t n, const char *out, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const int64_t of = in[i] ? parts_of(in[i]) : 0;
        bool is_input = in[i] && (is_written(in[i], out) || folder_has(in[i], out));
        for (int64_t part = 2; part <= of && of <= LIMIT_MODEL_PARTS && !is_input; part++) {
            char name[4096];
            is_input = part_name(in[i], part, of, name) && is_written(name, out);
        }
        if (is_input)
            return error_set(err, ERROR_INVALID, "%s is one of the files that are read: name another", out);
    }
    return 0;
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

static int part_open(const char *path, int64_t part, int64_t of, int *fd, struct error *err)
{
    char name[4096];
    if (!part_name(path, part, of, name))
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

/* ---- Loading without running ---- */
static int host_upload(struct backend *b, const void *host, size_t bytes, const void **out, struct error *err)
{
    (void)b;
    (void)bytes;
    (void)err;
    *out = host;
    return 0;
}

static bool host_supports(const struct backend *b, enum tensor_type type)
{
    (void)b;
    return tensor_type_readable(type);
}

struct backend *file_backend(void)
{
    static const struct backend_ops ops = {.name = "file", .upload = host_upload, .supports = host_supports};
    static struct backend backend = {&ops};
    return &backend;
}
