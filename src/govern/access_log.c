#include "govern/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "json/json.h"

enum { PIECE = 4096, /* a pipe that is ready takes as much without blocking */ LAST_MS = 1000 };
#define WAITING_MOST (4 * MIB)

struct access_log {
    char *file; /* NULL: standard output */
    int fd;     /* the thread's, once that runs */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct buf waiting; /* and what follows: under the mutex */
    bool reopen, stop;
    int64_t stop_ms; /* when the thread gives up */
    int64_t dropped;
};

/* ---- The line ---- */

void access_entry_write(const struct access_entry *e, struct buf *out)
{
    struct json_writer w;
    char when[32];
    clock_format(e->wall_ms, when);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_maybe_str(&w, "time", str_from(when));
    json_maybe_str(&w, "request_id", e->request_id);
    json_maybe_str(&w, "client", e->client);
    json_maybe_str(&w, "key_id", e->key_id);
    json_maybe_str(&w, "method", e->method);
    json_maybe_str(&w, "path", e->path);
    json_maybe_str(&w, "api", e->api);
    json_maybe_str(&w, "route", e->route);
    json_maybe_str(&w, "rule", e->rule);
    json_maybe_str(&w, "model", e->model);
    json_maybe_str(&w, "provider", e->provider);
    json_maybe_int(&w, "status", e->status);
    json_maybe_str(&w, "outcome", e->outcome);
    json_maybe_str(&w, "cascade", e->cascade);
    json_maybe_int(&w, "input_tokens", e->input_tokens);
    json_maybe_int(&w, "cached_tokens", e->cached_tokens);
    json_maybe_int(&w, "output_tokens", e->output_tokens);
    json_maybe_int(&w, "reasoning_tokens", e->reasoning_tokens);
    if (e->cost_nano_usd >= 0)
        json_member_double(&w, "cost_usd", (double)e->cost_nano_usd / 1e9);
    json_maybe_int(&w, "first_token_ms", e->first_token_ms);
    json_member_double(&w, "total_ms", (double)e->total_us / 1000);
    json_maybe_int(&w, "bytes_in", e->bytes_in);
    json_maybe_int(&w, "bytes_out", e->bytes_out);
    json_object_end(&w);
    buf_append_char(out, '\n');
}

/* ---- The file ---- */

static int file_open(const char *file)
{
    return file ? open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : dup(STDOUT_FILENO);
}

static void file_reopen(struct access_log *l)
{
    int fd = l->file ? file_open(l->file) : -1;
    if (fd < 0) {
        if (l->file)
            log_error("govern", "the access log %s cannot be opened again, the old file is written on: %s",
                l->file, strerror(errno));
        return;
    }
    close(l->fd);
    l->fd = fd;
}

static bool given_up(struct access_log *l)
{
    pthread_mutex_lock(&l->mutex);
    bool late = l->stop && clock_mono_ms() > l->stop_ms;
    pthread_mutex_unlock(&l->mutex);
    return late;
}

/* False: it cannot be written. */
static bool put(struct access_log *l, struct str bytes)
{
    while (bytes.len > 0) {
        struct pollfd p = {.fd = l->fd, .events = POLLOUT};
        int ready = poll(&p, 1, 100);
        if (ready == 0 || (ready < 0 && errno == EINTR)) {
            if (given_up(l))
                return false;
            continue;
        }
        ssize_t n = write(l->fd, bytes.data, bytes.len < PIECE ? bytes.len : PIECE);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        if (n > 0)
            bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return true;
}

static int64_t lines(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.data[i] == '\n';
    return n;
}

static void *write_all(void *ctx)
{
    struct access_log *l = ctx;
    struct buf taken;
    buf_init(&taken, WAITING_MOST);
    pthread_mutex_lock(&l->mutex);
    while (!l->stop || l->waiting.len > 0) {
        if (l->waiting.len == 0 && !l->reopen) {
            pthread_cond_wait(&l->changed, &l->mutex);
            continue;
        }
        bool reopen = l->reopen;
        struct buf swap = taken;
        taken = l->waiting;
        l->waiting = swap;
        l->reopen = false;
        pthread_mutex_unlock(&l->mutex);
        if (reopen)
            file_reopen(l);
        bool kept = put(l, buf_str(&taken));
        pthread_mutex_lock(&l->mutex);
        l->dropped += kept ? 0 : lines(buf_str(&taken));
        buf_clear(&taken);
    }
    pthread_mutex_unlock(&l->mutex);
    buf_free(&taken);
    return NULL;
}

/* ---- What others call ---- */

int access_log_create(struct str where, struct access_log **out, struct error *err)
{
    struct access_log *l = must(calloc(1, sizeof *l));
    l->file = str_is(where, "stdout") ? NULL : must(strndup(where.data, where.len));
    l->fd = file_open(l->file);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    buf_init(&l->waiting, WAITING_MOST);
    int rc = 0;
    if (l->fd < 0)
        rc = error_set(err, ERROR_IO, "the access log " STR_FMT " cannot be opened: %s", STR_ARG(where),
            strerror(errno));
    else if (pthread_create(&l->thread, NULL, write_all, l) != 0)
        rc = error_set(err, ERROR_MEMORY, "cannot start a thread for the access log");
    if (rc) {
        if (l->fd >= 0)
            close(l->fd);
        free(l->file);
        free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void access_log_free(struct access_log *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    l->stop_ms = clock_mono_ms() + LAST_MS;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->thread, NULL);
    close(l->fd);
    buf_free(&l->waiting);
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->changed);
    free(l->file);
    free(l);
}

void access_log_write(struct access_log *l, const struct access_entry *e)
{
    struct buf line;
    buf_init(&line, 16 * KIB);
    access_entry_write(e, &line);
    pthread_mutex_lock(&l->mutex);
    if (line.failed || l->waiting.len + line.len > WAITING_MOST)
        l->dropped++;
    else
        buf_append_str(&l->waiting, buf_str(&line));
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    buf_free(&line);
}

void access_log_reopen(struct access_log *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->reopen = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

int64_t access_log_dropped(struct access_log *l)
{
    pthread_mutex_lock(&l->mutex);
    int64_t dropped = l->dropped;
    pthread_mutex_unlock(&l->mutex);
    return dropped;
}
