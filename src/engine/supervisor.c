/* A worker's process: started, watched, started again. See the states in engine.h. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_inner.h"

static void start(struct engine *e);

static void state_set(struct engine *e, enum engine_state state, const char *message)
{
    pthread_mutex_lock(&e->mutex);
    e->status.state = state;
    e->status.pid = state == ENGINE_DOWN || state == ENGINE_UNLOADED ? 0 : (int)e->process.pid;
    e->status.load_done = e->status.load_total = 0;
    size_t len = str_utf8_floor(message, strnlen(message, sizeof e->status.message - 1));
    memcpy(e->status.message, message, len);
    e->status.message[len] = '\0';
    if (state != ENGINE_UP)
        buf_clear(&e->ready);
    pthread_mutex_unlock(&e->mutex);
}

/* The model's, the draft model's, then the adapters'. */
static int files_open(const struct engine *e, struct spawn_files *files, struct error *err)
{
    int rc = spawn_files_open(e->file, files, err);
    if (rc == 0 && e->draft)
        rc = spawn_files_add(e->draft, files, err);
    for (size_t i = 0; i < e->n_adapters && rc == 0; i++)
        rc = spawn_files_add(e->adapters[i].file, files, err);
    return rc;
}

/* ---- Down ---- */

static void calls_fail(struct list *calls, const char *message, int64_t retry_after_ms)
{
    list_each(node, after, calls) {
        call_fail(list_item(node, struct engine_call, node), retry_after_ms, message);
    }
}

/* Ends the open calls and plans the next start: after a back-off, or when a refused file has changed. The log
 * has `why`; whoever asked hears `told`, for where files lie is no client's business. */
static void down(struct engine *e, const char *why, const char *told, bool until_changed)
{
    int64_t delay = ENGINE_FILE_POLL_MS;
    if (until_changed) {
        log_warn("engine", "%s: %s; waiting for the file to change", e->name, why);
    } else {
        delay = e->backoff_ms;
        e->backoff_ms = delay * 2 < ENGINE_BACKOFF_MOST_MS ? delay * 2 : ENGINE_BACKOFF_MOST_MS;
        log_warn("engine", "%s: %s; starting again in %lld ms", e->name, why, (long long)delay);
    }
    e->until_changed = until_changed;
    state_set(e, ENGINE_DOWN, told);
    calls_fail(&e->open, told, until_changed ? -1 : delay);
    calls_fail(&e->waiting, told, until_changed ? -1 : delay);
    loop_timer_start(e->start_timer, delay);
    pool_poke(e);
}

/* As the files are now; where they cannot be opened, as they were. */
static struct spawn_mark mark_now(const struct engine *e)
{
    struct spawn_files files;
    if (files_open(e, &files, NULL))
        return e->mark;
    spawn_files_close(&files);
    return files.mark;
}

uint64_t engine_files_version(const struct engine *e)
{
    struct spawn_files files;
    if (!e->file || files_open(e, &files, NULL))
        return 0;
    spawn_files_close(&files);
    return files.mark.version;
}

/* From a load on, until the next: what of the files is written over. -1: nobody tells. (Nor is told what is
 * written by another machine, or to memory that a file is mapped to: that is taken for another time.) */
static int writes_watch(const struct spawn_files *files)
{
    const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    char path[64];
    for (size_t i = 0; fd >= 0 && i < files->count; i++) {
        snprintf(
            path, sizeof path, "/proc/self/fd/%d", files->fds[i]); /* the file, whatever its name is then */
        if (inotify_add_watch(fd, path, IN_MODIFY) < 0) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

/* Also where nobody tells. */
static bool written_over(const struct engine *e)
{
    char events[4096];
    return e->writes < 0 || read(e->writes, events, sizeof events) > 0;
}

/* Written over where they lie, they are other weights under a running answer: it ends. With another file in
 * their place, or only another time, what runs comes to its end, and what waits is for the new one. */
void supervisor_look(struct engine *e)
{
    e->looked_ms = clock_mono_ms();
    if (!e->file || !e->options.pool || e->status.state != ENGINE_UP || !e->socket_io)
        return;
    const struct spawn_mark now = mark_now(e); /* removed: the worker still has them */
    if (now.version == e->mark.version)
        return;
    if (!e->outdated)
        log_info("engine", "%s: its file has changed", e->name);
    if (now.places == e->mark.places && !list_empty(&e->open) && written_over(e)) {
        struct error err;
        error_set(&err, ERROR_UNAVAILABLE, "its file was written over while it was in use");
        supervisor_fault(e, &err);
        return;
    }
    if (e->leaving && e->outdated)
        return;
    e->leaving = e->outdated = true;
    pool_poke(e);
}

/* Is it started again after a crash though nobody asks? */
static bool persistent(const struct engine *e)
{
    return !e->options.pool || e->options.preload;
}

static void on_start_due(void *ctx)
{
    struct engine *e = ctx;
    if (e->until_changed && spawn_mark_is(mark_now(e), e->mark)) {
        loop_timer_start(e->start_timer, ENGINE_FILE_POLL_MS);
        return;
    }
    pthread_mutex_lock(&e->mutex);
    e->status.restarts += persistent(e);
    pthread_mutex_unlock(&e->mutex);
    if (e->options.pool) {
        e->preload_due = persistent(e);
        state_set(e, ENGINE_UNLOADED, "");
        pool_poke(e);
    } else {
        start(e);
    }
}

/* ---- The process ends ---- */

static void exit_describe(int status, char *out, size_t size)
{
    if (!WIFSIGNALED(status)) {
        snprintf(out, size, "the worker ended with status %d", WEXITSTATUS(status));
        return;
    }
    const char *name = sigabbrev_np(WTERMSIG(status));
    snprintf(out, size, "the worker died of SIG%s%s", name ? name : "?",
        WTERMSIG(status) == SIGSYS ? " (it tried what its sandbox forbids)" : "");
}

static void died(struct engine *e, int status)
{
    char how[64 + 64], why[sizeof e->fault.message + 128], told[sizeof why];
    if (e->unloading) {
        e->unloading = false;
        pool_poke(e);
        return;
    }
    struct error fault = e->fault;
    if (e->status.state == ENGINE_UP && clock_mono_ms() - e->up_since_ms >= ENGINE_STABLE_MS)
        e->backoff_ms = ENGINE_BACKOFF_FIRST_MS;
    exit_describe(status, how, sizeof how);
    if (e->refused)
        snprintf(why, sizeof why, "cannot load %s: %s", e->file ? e->file : "the engine", fault.message);
    else if (fault.code)
        snprintf(why, sizeof why, "the worker was killed: %s", fault.message);
    else
        snprintf(why, sizeof why, "%s", how);
    snprintf(told, sizeof told, "cannot load %s: %s", e->name, fault.message);
    down(e, why, e->refused ? told : why,
        e->refused && e->file && (fault.code == ERROR_INVALID || fault.code == ERROR_UNSUPPORTED));
}

/* Takes leave of the process, which has ended. */
static int process_reap(struct engine *e)
{
    int status = 0;
    client_close(e);
    loop_io_free(e->exit_io);
    e->exit_io = NULL;
    while (waitpid(e->process.pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close(e->process.pidfd);
    e->process.pid = 0;
    loop_timer_stop(e->kill_timer);
    loop_timer_stop(e->silence_timer);
    return status;
}

static void on_exit_seen(int fd, int events, void *ctx)
{
    struct engine *e = ctx;
    (void)fd;
    (void)events;
    client_read_rest(e);
    died(e, process_reap(e));
}

static void process_kill(void *ctx)
{
    struct engine *e = ctx;
    kill(e->process.pid, SIGKILL);
}

void supervisor_fault(struct engine *e, const struct error *err)
{
    if (!e->socket_io)
        return;
    e->fault = *err;
    if (e->fault.code == 0)
        e->fault.code = ERROR_INTERNAL;
    client_close(e);
    process_kill(e);
}

void supervisor_hung_up(struct engine *e)
{
    client_close(e);
    loop_timer_start(e->kill_timer, ENGINE_EXIT_MS);
}

void supervisor_refused(struct engine *e, int code, struct str message)
{
    error_set(&e->fault, code, STR_FMT, STR_ARG(message));
    e->refused = true;
    client_close(e);
    loop_timer_start(e->kill_timer, ENGINE_EXIT_MS);
}

/* ---- Silence ---- */

void supervisor_heard(struct engine *e)
{
    e->heard_ms = clock_mono_ms();
}

static bool answer_owed(const struct engine *e)
{
    if (e->status.state == ENGINE_STARTING)
        return true;
    list_each(node, after, &e->open) {
        const struct engine_call *c = list_item(node, struct engine_call, node);
        if (!c->held || c->cancelled)
            return true;
    }
    return false;
}

static void on_silence_check(void *ctx)
{
    struct engine *e = ctx;
    int64_t silent = clock_mono_ms() - e->heard_ms;
    if (answer_owed(e) && !engine_reading_held(e) && silent > e->options.silence_ms) {
        struct error err;
        error_set(&err, ERROR_TIMEOUT, "it said nothing for %lld ms", (long long)silent);
        supervisor_fault(e, &err);
        return;
    }
    loop_timer_start(e->silence_timer, e->options.silence_ms / 4 + 1);
}

/* ---- Up ---- */

void supervisor_ready(struct engine *e, struct str info, int slots, int64_t context)
{
    e->up_since_ms = clock_mono_ms();
    e->load_ms = e->up_since_ms - e->started_ms;
    state_set(e, ENGINE_UP, "");
    pthread_mutex_lock(&e->mutex);
    e->rested_ms = e->up_since_ms;
    e->status.load_ms = e->load_ms;
    e->status.bytes = e->weight_bytes + e->state_bytes;
    /* Without memory for it the description stays empty; the engine works all the same. */
    buf_append_str(&e->ready, info);
    e->slots = slots;
    e->status.context = context;
    pthread_mutex_unlock(&e->mutex);
    log_info("engine", "%s: up, process %d, %d slots", e->name, (int)e->process.pid, slots);
    client_dispatch(e);
    pool_poke(e);
}

/* Keys and values of a token take about a 32,768th of a model's file (8B at 4 bits: 150 KB); good enough
 * until the worker has told. */
static void files_weigh(struct engine *e, const struct spawn_files *files)
{
    int64_t tokens = (int64_t)(e->options.slots > 0 ? e->options.slots : 1) *
                     (e->options.context > 0 ? e->options.context : ENGINE_CONTEXT);
    e->weight_bytes = files->bytes;
    if (!spawn_mark_is(e->mark, files->mark) || !e->state_known) {
        e->state_bytes = e->options.kv_bytes > 0 ? e->options.kv_bytes : tokens * (files->bytes / 32768);
        e->state_known = false;
    }
    e->mark = files->mark;
    pthread_mutex_lock(&e->mutex);
    e->status.bytes = e->weight_bytes + e->state_bytes;
    pthread_mutex_unlock(&e->mutex);
}

/* The file for what goes to disk, opened once and kept for the workers to come: how many bytes it may have;
 * 0: there is none. Where its own is another process's (or that of an engine on its way out) it is one
 * without a name, until the next load. */
static int64_t spill_ready(struct engine *e)
{
    const struct engine_spill *o = &e->options.spill;
    struct error err;
    if (o->bytes == 0 || e->options.inspect)
        return 0;
    if (e->spill_spare)
        spill_file_close(&e->spill);
    e->spill_spare = false;
    int rc = e->spill.fd < 0
                 ? spill_file_open(e->spill_folder, o->keep_ms > 0 ? e->name : NULL, &e->spill, &err)
                 : 0;
    if (rc == ERROR_BUSY)
        e->spill_spare = spill_file_open(e->spill_folder, NULL, &e->spill, NULL) == 0;
    if (rc)
        log_warn("engine", "%s: %s: %s", e->name,
            e->spill_spare ? "its KV cache on disk ends with this load"
                           : "no KV cache on disk until the next load",
            err.message);
    return e->spill.fd >= 0 ? o->bytes : 0;
}

static int process_start(struct engine *e, struct error *err)
{
    struct spawn_files files;
    int rc = files_open(e, &files, err);
    if (rc)
        return rc;
    files_weigh(e, &files);
    if (e->writes >= 0)
        close(e->writes);
    e->writes = e->options.pool ? writes_watch(&files) : -1;
    engine_beside_find(e);
    const int64_t spill = spill_ready(e);
    rc = spawn_worker(e->executable, &files, e->spill.fd, spill, &e->process, err);
    spawn_files_close(&files);
    if (rc)
        return rc;
    e->exit_io = loop_io_create(e->home, e->process.pidfd, LOOP_READ, on_exit_seen, e);
    return 0;
}

static void start(struct engine *e)
{
    struct error err;
    char told[512];
    e->fault.code = 0;
    e->refused = false;
    e->until_changed = false;
    e->leaving = e->outdated = false;
    e->preload_due = false;
    e->started_ms = clock_mono_ms();
    pthread_mutex_lock(&e->mutex);
    e->status.loads++;
    pthread_mutex_unlock(&e->mutex);
    e->process = (struct spawn_process){0};
    if (process_start(e, &err)) {
        state_set(e, ENGINE_STARTING, "");
        snprintf(told, sizeof told, "cannot load %s: the gateway's log says why", e->name);
        down(e, err.message, told, false);
        return;
    }
    state_set(e, ENGINE_STARTING, "");
    supervisor_heard(e);
    if (client_open(e, &err))
        supervisor_fault(e, &err);
    loop_timer_start(e->silence_timer, e->options.silence_ms / 4 + 1);
}

void supervisor_load(struct engine *e)
{
    start(e);
}

void supervisor_unload(struct engine *e, const char *why)
{
    log_info("engine", "%s: unloaded, %s", e->name, why);
    e->unloading = true;
    supervisor_hung_up(e);
    state_set(e, ENGINE_UNLOADED, "");
    pthread_mutex_lock(&e->mutex);
    e->status.unloads++;
    pthread_mutex_unlock(&e->mutex);
}

int supervisor_create(struct engine *e, struct error *err)
{
    char path[PATH_MAX];
    struct spawn_files files;
    int rc = spawn_executable_find(e->options.executable, path, sizeof path, err);
    if (rc == 0)
        rc = files_open(e, &files, err);
    if (rc)
        return rc;
    files_weigh(e, &files);
    spawn_files_close(&files);
    e->executable = strdup(path);
    if (!e->executable)
        abort();
    e->backoff_ms = ENGINE_BACKOFF_FIRST_MS;
    e->start_timer = loop_timer_create(e->home, on_start_due, e);
    e->kill_timer = loop_timer_create(e->home, process_kill, e);
    e->silence_timer = loop_timer_create(e->home, on_silence_check, e);
    if (!e->options.pool) {
        start(e);
        return 0;
    }
    state_set(e, ENGINE_UNLOADED, "");
    e->preload_due = e->options.preload;
    pool_join(e);
    return 0;
}

void supervisor_stop(struct engine *e)
{
    if (e->process.pid) {
        struct pollfd ended = {.fd = e->process.pidfd, .events = POLLIN};
        client_close(e);
        if (poll(&ended, 1, ENGINE_EXIT_MS) <= 0)
            process_kill(e);
        process_reap(e);
    }
    loop_timer_free(e->start_timer);
    loop_timer_free(e->kill_timer);
    loop_timer_free(e->silence_timer);
}
