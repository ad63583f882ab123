#include "engine/spill_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "base/rand.h"
#include "base/str.h"

static int folder_make(const char *folder, struct error *err)
{
    if (mkdir(folder, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_set(
        err, ERROR_IO, "the folder %s for KV caches cannot be made: %s", folder, strerror(errno));
}

/* ---- The key ---- */

/* A new one is whole before it has its name, and the first of two makers wins. */
static bool key_make(const char *path)
{
    char draft[PATH_MAX];
    uint8_t key[SPILL_KEY_BYTES];
    int n = snprintf(draft, sizeof draft, "%s.%d", path, (int)getpid());
    int fd =
        n > 0 && (size_t)n < sizeof draft ? open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return false;
    rand_bytes(key, sizeof key);
    bool ok = write(fd, key, sizeof key) == (ssize_t)sizeof key && fsync(fd) == 0;
    ok = close(fd) == 0 && ok && (link(draft, path) == 0 || errno == EEXIST);
    unlink(draft);
    sodium_memzero(key, sizeof key);
    return ok;
}

static int key_read(const char *folder, uint8_t key[SPILL_KEY_BYTES], struct error *err)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/key", folder);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(err, ERROR_IO, "the name of the folder for KV caches is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT && key_make(path))
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : read(fd, key, SPILL_KEY_BYTES);
    const int why = errno;
    if (fd >= 0)
        close(fd);
    if (got == SPILL_KEY_BYTES)
        return 0;
    return error_set(err, ERROR_IO,
        "the key %s of the KV caches on disk cannot be used (%s): remove it, and a new one is made", path,
        got < 0 ? strerror(why) : "it is cut short");
}

/* ---- The file ---- */

static int named_open(const char *folder, const char *name, struct error *err)
{
    char path[PATH_MAX], plain[64];
    size_t n = 0;
    for (const char *c = name; *c && n < sizeof plain - 1; c++)
        plain[n++] =
            (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ? *c : '-';
    plain[n] = '\0';
    const unsigned long long hash = str_hash(str_from(name)); /* of two names that look alike then */
    int len = snprintf(path, sizeof path, "%s/%s-%016llx.kv", folder, plain, hash);
    if (len < 0 || (size_t)len >= sizeof path)
        return error_set(err, ERROR_IO, "the name of the folder for KV caches is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return error_set(err, ERROR_IO, "%s cannot be opened: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return error_set(err, ERROR_BUSY, "%s is another process's at present", path);
}

/* Where the file system knows no files without names, it has one for a moment. */
static int nameless_open(const char *folder, struct error *err)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    int len =
        snprintf(path, sizeof path, "%s/.%d-%016llx", folder, (int)getpid(), (unsigned long long)rand_u64());
    if (len > 0 && (size_t)len < sizeof path)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(
            err, ERROR_IO, "no file for the KV cache can be made in %s: %s", folder, strerror(errno));
    unlink(path);
    return fd;
}

int spill_file_open(const char *folder, const char *name, struct spill_file *out, struct error *err)
{
    struct stat st;
    out->fd = -1;
    int rc = folder_make(folder, err);
    if (rc)
        return rc;
    const int fd = name ? named_open(folder, name, err) : nameless_open(folder, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = error_set(err, ERROR_IO, "the KV cache in %s is not a file", folder);
    else if (name)
        rc = key_read(folder, out->key, err);
    else
        rand_bytes(out->key, sizeof out->key);
    if (rc)
        close(fd);
    else
        out->fd = fd;
    return rc;
}

void spill_file_close(struct spill_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    sodium_memzero(f->key, sizeof f->key);
    f->fd = -1;
}

/* ---- What is old goes ---- */

static bool record_clear(int fd, off_t at, off_t bytes)
{
    static const char nothing[64 * 1024];
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes) == 0)
        return true;
    /* A file system without holes: zeros from end to end. */
    for (off_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < (off_t)sizeof nothing ? bytes - done : (off_t)sizeof nothing;
        if (pwrite(fd, nothing, (size_t)n, at + done) != n)
            return false;
    }
    return true;
}

/* A worker that writes a record at the same time loses it: it sees that when it reads. */
static size_t file_expire(int fd, int64_t before_ms)
{
    struct spill_header header;
    struct spill_head head;
    struct stat st;
    size_t cleared = 0;
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header || header.magic != SPILL_MAGIC ||
        fstat(fd, &st) != 0 || header.record_bytes < sizeof head ||
        header.record_bytes > (uint64_t)st.st_size)
        return 0;
    for (off_t at = sizeof header; at + (off_t)sizeof head <= st.st_size; at += (off_t)header.record_bytes)
        if (pread(fd, &head, sizeof head, at) == (ssize_t)sizeof head && head.magic == SPILL_RECORD &&
            head.written_ms < before_ms)
            cleared += record_clear(fd, at, (off_t)header.record_bytes);
    return cleared;
}

size_t spill_files_expire(const char *folder, int64_t before_ms)
{
    DIR *dir = opendir(folder);
    size_t cleared = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (!str_ends(str_from(entry->d_name), STR(".kv")))
            continue;
        const int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0) {
            log_warn("engine", "the KV cache %s cannot be looked through for what is old: %s", entry->d_name,
                strerror(errno));
            continue;
        }
        cleared += file_expire(fd, before_ms);
        close(fd);
    }
    if (dir)
        closedir(dir);
    return cleared;
}

/* ---- Expiry beside a loop ---- */

static void *expire_main(void *ctx)
{
    struct spill_expiry *e = ctx;
    (void)spill_files_expire(e->folder, e->before_ms);
    e->running = false;
    return NULL;
}

void spill_expiry_end(struct spill_expiry *e)
{
    if (e->started)
        pthread_join(e->thread, NULL);
    free(e->folder);
    *e = (struct spill_expiry){0};
}

void spill_expiry_begin(struct spill_expiry *e, const char *folder, int64_t before_ms)
{
    if (e->running)
        return;
    spill_expiry_end(e);
    e->folder = must(strdup(folder));
    e->before_ms = before_ms;
    e->running = true;
    e->started = pthread_create(&e->thread, NULL, expire_main, e) == 0;
    if (e->started)
        return;
    e->running = false;
    log_warn("engine", "no thread to look for old pages of the KV cache on disk: they stay until the next look");
}
