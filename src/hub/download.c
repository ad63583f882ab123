/* One file over several connections, chunk by chunk.
 *
 *   .NAME.part      the file, as long as it will be, with holes where chunks are missing
 *   .NAME.chunks    "weir-part 1 BYTES SHA256 CHUNK\n", then a byte for each chunk: '0' missing, '1' here
 *
 *   a chunk   MISSING --> TAKEN (by a lane) --> HERE: its bytes are on the disk before it is marked
 *   a lane    IDLE --> ASKING --> (bytes) --> IDLE         a passing failure --> PAUSED --> ASKING for what
 * is left
 *
 * A run that was killed goes on where it was; a second run at the same time is refused (a lock on .chunks).
 * When all chunks are here the whole is hashed: right, and it gets its name; wrong, and both files go. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/must.h"
#include "hub/internal.h"

enum { LANES_MAX = 16, TRIES_MAX = 5, RETRY_AFTER_MAX_S = 60, MISSING = '0', HERE = '1', TAKEN = '2' };

#define CHUNK ((int64_t)16 * 1024 * 1024)
#define CHUNKS_MAX ((int64_t)1 << 20)
#define SPARE_BYTES ((int64_t)64 * 1024 * 1024)

struct download;
struct lane {
    struct download *d;
    struct hub_fetch *fetch; /* NULL: idle or paused */
    struct loop_timer *pause;
    int64_t chunk, at, end; /* at: the next byte wanted; end: one past the chunk */
    int tries;
    int64_t retry_after_ms;
    bool started; /* the server sends what was asked for */
};

struct download {
    struct hub *hub;
    const struct hub_file *file;
    struct hub_progress progress;
    struct arena *arena;
    const char *final, *part, *chunks;
    int fd, chunks_fd;
    size_t head; /* bytes before the marks in .chunks */
    int64_t n_chunks, bytes_here;
    char *marks;
    struct lane lanes[LANES_MAX];
    int n_lanes, n_busy;
    int rc;
    struct error error;
};

static int fail_errno(struct error *err, const char *what, const char *path)
{
    return error_set(err, ERROR_IO, "cannot %s %s: %s", what, path,
        errno == ENOSPC ? "the disk is full: make room and run it again, what is here is kept"
                        : strerror(errno));
}

/* ---- The folder ---- */

static int64_t chunk_bytes(const struct download *d, int64_t chunk)
{
    int64_t left = d->file->bytes - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

/* Is the state of an earlier run about this very file? Then its marks are taken over. */
static bool marks_read(struct download *d, struct str head)
{
    char *old = must(calloc(1, head.len + (size_t)d->n_chunks));
    ssize_t n = pread(d->chunks_fd, old, head.len + (size_t)d->n_chunks, 0);
    bool same = n == (ssize_t)(head.len + (size_t)d->n_chunks) && memcmp(old, head.data, head.len) == 0;
    struct stat st;
    same = same && fstat(d->fd, &st) == 0 && st.st_size == d->file->bytes;
    for (int64_t i = 0; same && i < d->n_chunks; i++)
        if (old[head.len + (size_t)i] == HERE) {
            d->marks[i] = HERE;
            d->bytes_here += chunk_bytes(d, i);
        }
    free(old);
    return same;
}

static int marks_begin(struct download *d, struct str head, struct error *err)
{
    if (ftruncate(d->fd, 0) || ftruncate(d->fd, d->file->bytes))
        return fail_errno(err, "make", d->part);
    if (ftruncate(d->chunks_fd, 0) || pwrite(d->chunks_fd, head.data, head.len, 0) != (ssize_t)head.len ||
        pwrite(d->chunks_fd, d->marks, (size_t)d->n_chunks, (off_t)head.len) != (ssize_t)d->n_chunks)
        return fail_errno(err, "write", d->chunks);
    return 0;
}

static int state_open(struct download *d, struct error *err)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    struct str head = arena_printf(d->arena, "weir-part 1 %lld " STR_FMT " %lld\n", (long long)d->file->bytes,
        STR_ARG(d->file->sha256), (long long)CHUNK);
    d->head = head.len;
    if ((d->chunks_fd = open(d->chunks, flags, 0644)) < 0)
        return fail_errno(err, "open", d->chunks);
    if (flock(d->chunks_fd, LOCK_EX | LOCK_NB))
        return error_set(err, ERROR_BUSY, "another weir pull is fetching %s", d->final);
    if ((d->fd = open(d->part, flags, 0644)) < 0)
        return fail_errno(err, "open", d->part);
    return marks_read(d, head) ? 0 : marks_begin(d, head, err);
}

static int room_check(const struct download *d, const char *folder, struct error *err)
{
    struct statvfs fs;
    int64_t wanted = d->file->bytes - d->bytes_here;
    if (statvfs(folder, &fs))
        return fail_errno(err, "look at", folder);
    int64_t free_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (free_bytes < wanted + SPARE_BYTES)
        return error_set(err, ERROR_IO,
            "%s has %.1f GiB left and " STR_FMT " wants %.1f GiB more: make room, or --dir another", folder,
            (double)free_bytes / (double)GIB, STR_ARG(d->file->name), (double)wanted / (double)GIB);
    return 0;
}

/* ---- Lanes ---- */

static void lane_next(struct lane *l);

static void stop(struct download *d, int rc)
{
    if (d->rc == 0)
        d->rc = rc;
    loop_stop(d->hub->loop);
}

static void lane_done(struct lane *l)
{
    struct download *d = l->d;
    if (fdatasync(d->fd) || pwrite(d->chunks_fd, "1", 1, (off_t)d->head + l->chunk) != 1) {
        stop(d, fail_errno(&d->error, "write", d->part));
        return;
    }
    d->marks[l->chunk] = HERE;
    d->n_busy--;
    lane_next(l);
}

static void lane_again(struct lane *l, int rc)
{
    bool passes = rc == ERROR_UNAVAILABLE || rc == ERROR_TIMEOUT;
    if (!passes || ++l->tries == TRIES_MAX) {
        stop(l->d, rc);
        return;
    }
    int64_t pause = (int64_t)250 << l->tries;
    loop_timer_start(l->pause, l->retry_after_ms > pause ? l->retry_after_ms : pause);
}

/* "bytes 0-99/1234" must be what was asked for, of the file that was listed. */
static bool range_good(const struct lane *l)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "bytes %lld-%lld/%lld", (long long)l->at, (long long)l->end - 1,
        (long long)l->d->file->bytes);
    return str_is(hub_fetch_header(l->fetch, "content-range"), wanted);
}

static void on_status(void *ctx, int status)
{
    struct lane *l = ctx;
    struct download *d = l->d;
    int64_t seconds;
    bool whole = l->at == 0 && l->end == d->file->bytes;
    l->started = (status == 206 && range_good(l)) || (status == 200 && whole);
    if (l->started)
        return;
    if (str_to_int64(hub_fetch_header(l->fetch, "retry-after"), &seconds) && seconds > 0 &&
        seconds <= RETRY_AFTER_MAX_S)
        l->retry_after_ms = seconds * 1000;
    int rc =
        status == 206 || status == 200
            ? error_set(&d->error, ERROR_IO,
                  "the server does not send the part of " STR_FMT " that it was asked for%s",
                  STR_ARG(d->file->name),
                  status == 200 ? ", but all of it: larger files want one that knows ranges (HTTP 206)" : "")
            : hub_status_error(status, d->file->url, &d->error);
    hub_fetch_close(l->fetch);
    l->fetch = NULL;
    lane_again(l, rc);
}

static void on_data(void *ctx, struct str bytes)
{
    struct lane *l = ctx;
    struct download *d = l->d;
    if (!l->started || d->rc)
        return;
    if ((int64_t)bytes.len > l->end - l->at) {
        stop(d, error_set(&d->error, ERROR_IO, "the server sends more than it was asked for"));
        return;
    }
    for (size_t at = 0; at < bytes.len;) {
        ssize_t n = pwrite(d->fd, bytes.data + at, bytes.len - at, (off_t)l->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            stop(d, fail_errno(&d->error, "write", d->part));
            return;
        }
        at += (size_t)n;
        l->at += n;
    }
    l->tries = 0;
    d->bytes_here += (int64_t)bytes.len;
    if (d->progress.fn)
        d->progress.fn(d->progress.ctx, d->bytes_here, d->file->bytes);
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct lane *l = ctx;
    const bool whole = l->at == l->end;
    if (l->d->rc == 0 && !whole && code)
        l->d->error = *err; /* which goes with the fetch */
    hub_fetch_close(l->fetch);
    l->fetch = NULL;
    if (l->d->rc)
        return;
    if (whole) {
        lane_done(l);
        return;
    }
    if (code == 0)
        code = error_set(&l->d->error, ERROR_UNAVAILABLE, "the server sent less than it was asked for");
    lane_again(l, code);
}

static void lane_ask(void *ctx)
{
    struct lane *l = ctx;
    const struct hub_fetch_options o = {.url = l->d->file->url, .first = l->at, .last = l->end - 1};
    l->started = false;
    l->retry_after_ms = 0;
    l->fetch = hub_fetch_start(l->d->hub, &o, &(struct egress_handler){on_status, on_data, on_done, l});
}

static void lane_next(struct lane *l)
{
    struct download *d = l->d;
    int64_t i = 0;
    while (i < d->n_chunks && d->marks[i] != MISSING)
        i++;
    if (i == d->n_chunks) {
        if (d->n_busy == 0)
            loop_stop(d->hub->loop);
        return;
    }
    d->marks[i] = TAKEN;
    d->n_busy++;
    l->chunk = i;
    l->at = i * CHUNK;
    l->end = l->at + chunk_bytes(d, i);
    l->tries = 0;
    lane_ask(l);
}

static int lanes_run(struct download *d, struct error *err)
{
    for (int i = 0; i < d->n_lanes; i++) {
        d->lanes[i].d = d;
        d->lanes[i].pause = loop_timer_create(d->hub->loop, lane_ask, &d->lanes[i]);
        lane_next(&d->lanes[i]);
    }
    int rc = d->n_busy > 0 ? loop_run(d->hub->loop, err) : 0;
    for (int i = 0; i < d->n_lanes; i++) {
        hub_fetch_close(d->lanes[i].fetch);
        loop_timer_free(d->lanes[i].pause);
    }
    return rc == 0 && d->rc ? error_set(err, d->rc, "%s", d->error.message) : rc;
}

/* ---- Is it what the hub lists? ---- */

static int hash_file(int fd, const char *path, char hex[65], struct error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE], *bytes = must(malloc(MIB));
    unsigned len = 0;
    ssize_t n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (off_t at = 0; good && (n = pread(fd, bytes, MIB, at)) > 0; at += n)
        good = EVP_DigestUpdate(ctx, bytes, (size_t)n);
    good = good && n == 0 && EVP_DigestFinal_ex(ctx, digest, &len) && len == 32;
    EVP_MD_CTX_free(ctx);
    free(bytes);
    sodium_bin2hex(hex, HUB_SHA256 + 1, digest, good ? len : 0);
    return good    ? 0
           : n < 0 ? fail_errno(err, "read", path)
                   : error_set(err, ERROR_INTERNAL, "SHA-256 failed");
}

/* 1: it is there and right, 0: it is not there. */
static int final_check(const struct download *d, struct error *err)
{
    char hex[65];
    struct stat st;
    int fd = open(d->final, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : fail_errno(err, "open", d->final);
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == d->file->bytes;
    if (same)
        rc = hash_file(fd, d->final, hex, err);
    close(fd);
    if (rc)
        return rc;
    if (!same || !str_is(d->file->sha256, hex))
        return error_set(err, ERROR_INVALID,
            "%s is there with other content: move it away, or --dir another folder", d->final);
    return 1;
}

static int finish(struct download *d, const char *folder, struct error *err)
{
    char hex[65];
    int rc = hash_file(d->fd, d->part, hex, err);
    if (rc)
        return rc;
    if (!str_is(d->file->sha256, hex)) {
        unlink(d->part);
        unlink(d->chunks);
        return error_set(err, ERROR_INVALID,
            "what arrived as " STR_FMT
            " is not what the hub lists (its SHA-256 is %.16s..., not %.16s...): nothing of it was kept",
            STR_ARG(d->file->name), hex, d->file->sha256.data);
    }
    if (fsync(d->fd) || rename(d->part, d->final))
        return fail_errno(err, "write", d->final);
    unlink(d->chunks);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        if (fsync(dir))
            rc = fail_errno(err, "write", folder);
        close(dir);
    }
    return rc;
}

int hub_download(struct hub *h, const struct hub_file *file, struct str folder, int lanes,
    struct hub_progress progress, struct error *err)
{
    struct download d = {.hub = h, .file = file, .progress = progress, .fd = -1, .chunks_fd = -1};
    if (!hub_file_name_valid(file->name) || !hub_hex_valid(file->sha256, HUB_SHA256) || file->bytes <= 0 ||
        file->bytes > CHUNKS_MAX * CHUNK)
        return error_set(err, ERROR_INVALID, "the hub lists a file without a good name, size or SHA-256");
    d.arena = arena_create(MIB);
    const char *dir = arena_strdup(d.arena, folder);
    d.final = arena_printf(d.arena, "%s/" STR_FMT, dir, STR_ARG(file->name)).data;
    d.part = arena_printf(d.arena, "%s/." STR_FMT ".part", dir, STR_ARG(file->name)).data;
    d.chunks = arena_printf(d.arena, "%s/." STR_FMT ".chunks", dir, STR_ARG(file->name)).data;
    d.n_chunks = (file->bytes + CHUNK - 1) / CHUNK;
    d.n_lanes = lanes < 1 ? 1 : lanes > LANES_MAX ? LANES_MAX : lanes;
    d.marks = must(malloc((size_t)d.n_chunks));
    memset(d.marks, MISSING, (size_t)d.n_chunks);
    int rc = mkdir(dir, 0755) && errno != EEXIST ? fail_errno(err, "make", dir) : final_check(&d, err);
    bool there = rc == 1;
    if (rc == 0)
        rc = state_open(&d, err);
    if (rc == 0)
        rc = room_check(&d, dir, err);
    if (rc == 0)
        rc = lanes_run(&d, err);
    if (rc == 0)
        rc = finish(&d, dir, err);
    if (d.fd >= 0)
        close(d.fd);
    if (d.chunks_fd >= 0)
        close(d.chunks_fd);
    free(d.marks);
    arena_free(d.arena);
    return there ? 0 : rc;
}
