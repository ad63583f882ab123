/* A real worker over a socketpair, for tests: starts weir-engine on a model file, speaks wire.h with it. */
#ifndef TESTS_UNIT_ENGINE_WORKER_PROCESS_H
#define TESTS_UNIT_ENGINE_WORKER_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/wire.h"
#include "engine/worker/model_sample.h"
#include "json/json.h"

/* The engine that was built with this test: ../../weir-engine from where the test lies. */
static inline const char *worker_executable(void)
{
    static char path[4096];
    const char *named = getenv("WEIR_ENGINE");
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);
    if (named || n <= 0)
        return named;
    path[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(path, '/') = '\0';
    return strcat(path, "/weir-engine");
}

/* A read-only descriptor of a model made on the spot. */
static inline int worker_sample_file(const struct model_sample *sample)
{
    struct error err = {0};
    char path[64];
    int fd = memfd_create("model", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (model_sample_write(sample, fd, &err) != 0)
        fail_msg("%s", err.message);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0);
    close(fd);
    return reader;
}

struct worker {
    pid_t pid;
    int fd;
    struct buf in;
    size_t offset;
};

/* The child's descriptors are moved out of the way of their numbers first. */
static inline void worker_exec(int socket_fd, int model_fd, const char *const *argv)
{
    int s = fcntl(socket_fd, F_DUPFD, 20), m = fcntl(model_fd, F_DUPFD, 20);
    if (s >= 0)
        dup2(s, WIRE_FD);
    if (m >= 0)
        dup2(m, WIRE_MODEL_FD);
    /* What a sanitizer finds must not look like a refusal, which is exit status 1. */
    setenv("ASAN_OPTIONS", "exitcode=99", 1);
    setenv("UBSAN_OPTIONS", "exitcode=99", 1);
    setenv("TSAN_OPTIONS", "exitcode=99", 1);
    execv(worker_executable(), (char *const *)(uintptr_t)argv);
    _exit(127);
}

static inline struct worker worker_start(int model_fd)
{
    struct worker w = {0};
    int pair[2];
    static const char *const argv[] = {"weir-engine", "--files", "1", NULL};
    const struct timeval patience = {.tv_sec = 120};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    w.pid = fork();
    if (w.pid == 0)
        worker_exec(pair[1], model_fd, argv);
    assert_true(w.pid > 0);
    close(pair[1]);
    w.fd = pair[0];
    setsockopt(w.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    buf_init(&w.in, 2 * LIMIT_WIRE_FRAME);
    return w;
}

static inline void worker_write(struct worker *w, const void *data, size_t len)
{
    for (const char *at = data; len > 0;) {
        ssize_t n = send(w->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* a worker that has gone is seen by worker_take or worker_wait */
        at += n;
        len -= (size_t)n;
    }
}

/* Several times the same frame, in one write: nothing is answered in between. */
static inline void worker_send_times(
    struct worker *w, enum wire_type type, uint32_t call, const char *payload, int times)
{
    struct buf out;
    buf_init(&out, 2 * LIMIT_WIRE_FRAME);
    for (int i = 0; i < times; i++)
        assert_int_equal(wire_append(&out, call, type, str_from(payload)), 0);
    worker_write(w, out.data, out.len);
    buf_free(&out);
}

static inline void worker_send(struct worker *w, enum wire_type type, uint32_t call, const char *payload)
{
    worker_send_times(w, type, call, payload, 1);
}

/* The next frame, valid until the next call; false when the worker has closed the socket. */
static inline bool worker_take(struct worker *w, struct wire_frame *frame)
{
    struct error err = {0};
    buf_consume(&w->in, w->offset);
    w->offset = 0;
    for (;;) {
        int rc = wire_take(&w->in, &w->offset, frame, &err);
        if (rc < 0)
            fail_msg("the worker broke the protocol: %s", err.message);
        if (rc == 1)
            return true;
        char *to = buf_reserve(&w->in, 64 * KIB);
        assert_non_null(to);
        ssize_t n = recv(w->fd, to, 64 * KIB, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            fail_msg("the worker does not answer");
        if (n <= 0)
            return false;
        buf_commit(&w->in, (size_t)n);
    }
}

/* The next frame must be of this call and type; its payload as a string that lives until the next frame. */
static inline struct str worker_expect(struct worker *w, uint32_t call, enum wire_type type)
{
    struct wire_frame f;
    if (!worker_take(w, &f))
        fail_msg("the worker has gone");
    if (f.call != call || f.type != type)
        fail_msg("call %u, type %d came: %.*s; expected call %u, type %d", f.call, (int)f.type,
            (int)f.payload.len, f.payload.data, call, (int)type);
    return f.payload;
}

/* LOAD to READY; the READY object, json_decref. */
static inline json_t *worker_load(struct worker *w, const char *options)
{
    struct wire_frame f;
    json_t *ready;
    worker_send(w, WIRE_LOAD, 0, options);
    do
        assert_true(worker_take(w, &f));
    while (f.type == WIRE_PROGRESS);
    if (f.type != WIRE_READY)
        fail_msg("not loaded: %.*s", (int)f.payload.len, f.payload.data);
    assert_int_equal(json_read(f.payload, &ready, NULL), 0);
    return ready;
}

/* Sends a request and gives the RESULT, json_decref. */
static inline json_t *worker_ask(struct worker *w, enum wire_type type, uint32_t call, const char *payload)
{
    json_t *result;
    struct error err = {0};
    worker_send(w, type, call, payload);
    if (json_read(worker_expect(w, call, WIRE_RESULT), &result, &err) != 0)
        fail_msg("%s", err.message);
    return result;
}

/* The next frame must be the ERROR of this call: its code, and what its message must hold. */
static inline void worker_expect_error(struct worker *w, uint32_t call, int code, const char *part)
{
    json_t *e;
    struct str payload = worker_expect(w, call, WIRE_ERROR);
    assert_int_equal(json_read(payload, &e, NULL), 0);
    const char *message = json_string_value(json_object_get(e, "message"));
    assert_non_null(message);
    if (json_integer_value(json_object_get(e, "code")) != code || !strstr(message, part))
        fail_msg("error %lld '%s'; expected %d with '%s'", json_integer_value(json_object_get(e, "code")),
            message, code, part);
    json_decref(e);
}

/* One answer, read to its end; frames of other calls must not come. */
struct answer {
    struct buf text;
    int64_t input, cached, output;
    char reason[8]; /* "" after an ERROR */
    int n_texts;
};

static inline int64_t worker_number(struct str json, const char *key)
{
    json_t *o;
    assert_int_equal(json_read(json, &o, NULL), 0);
    assert_true(json_is_integer(json_object_get(o, key)));
    int64_t value = json_integer_value(json_object_get(o, key));
    json_decref(o);
    return value;
}

/* Feeds one frame of an answer; true when it was the last. */
static inline bool answer_feed(struct answer *a, const struct wire_frame *f)
{
    json_t *o;
    switch (f->type) {
    case WIRE_START:
        a->input = worker_number(f->payload, "prompt_tokens");
        break;
    case WIRE_TEXT:
        assert_true(f->payload.len > 0 && str_utf8_valid(f->payload));
        buf_append_str(&a->text, f->payload);
        a->n_texts++;
        break;
    case WIRE_USAGE:
        assert_int_equal(worker_number(f->payload, "input_tokens"), a->input);
        a->cached = worker_number(f->payload, "cached_tokens");
        a->output = worker_number(f->payload, "output_tokens");
        break;
    case WIRE_STOP:
        assert_int_equal(json_read(f->payload, &o, NULL), 0);
        snprintf(a->reason, sizeof a->reason, "%s", json_string_value(json_object_get(o, "reason")));
        json_decref(o);
        return true;
    default:
        fail_msg("type %d inside an answer: %.*s", (int)f->type, (int)f->payload.len, f->payload.data);
    }
    return false;
}

static inline struct answer worker_chat(struct worker *w, uint32_t call, const char *payload)
{
    struct answer a = {0};
    struct wire_frame f;
    buf_init(&a.text, MIB);
    worker_send(w, WIRE_CHAT, call, payload);
    do {
        if (!worker_take(w, &f))
            fail_msg("the worker has gone");
        if (f.call != call)
            fail_msg("a frame of call %u came", f.call);
    } while (!answer_feed(&a, &f));
    buf_append_char(&a.text, '\0');
    return a;
}

/* How it ended: the exit status; a signal fails the test. The socket must be closed, by either side. */
static inline int worker_wait(struct worker *w)
{
    int status;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    buf_free(&w->in);
    if (w->fd >= 0)
        close(w->fd);
    if (WIFSIGNALED(status))
        fail_msg("the worker died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static inline int worker_stop(struct worker *w)
{
    close(w->fd);
    w->fd = -1;
    return worker_wait(w);
}

#endif
