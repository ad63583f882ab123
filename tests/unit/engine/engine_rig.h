/* An engine on a thread of its own with a fake or the real worker, and what its calls bring: for the tests of
 * the gateway's side. */
#ifndef WEIR_TESTS_ENGINE_RIG_H
#define WEIR_TESTS_ENGINE_RIG_H

#include "engine/engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "unit/engine/fake_worker.h"
#include "unit/engine/worker_process.h"

static char folder[] = "/tmp/weir-engine-test-XXXXXX";

static char *path_of(const char *name)
{
    static char path[4][512];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", folder, name);
    return path[at];
}

static inline void file_write(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* An engine on a home loop with a thread of its own; the test's thread is the caller's loop. */
struct rig {
    struct loop *home, *caller;
    pthread_t thread;
    struct engine *engine;
};

static inline void *home_run(void *loop)
{
    struct error err;
    return loop_run(loop, &err) ? loop : NULL;
}

static inline void rig_start(struct rig *r, struct engine_options o)
{
    struct error err;
    assert_int_equal(loop_create(&r->home, &err), 0);
    assert_int_equal(loop_create(&r->caller, &err), 0);
    if (engine_create(r->home, &o, &r->engine, &err))
        fail_msg("%s", err.message);
    pthread_create(&r->thread, NULL, home_run, r->home);
}

static inline void rig_open_with(struct rig *r, const char *mode, struct engine_options o)
{
    char link_path[512];
    snprintf(link_path, sizeof link_path, "%s/fake-%s", folder, mode);
    char self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    unlink(link_path);
    assert_int_equal(symlink(self, link_path), 0);
    o.name = mode;
    o.executable = link_path;
    if (!o.file)
        o.file = path_of("model.gguf");
    rig_start(r, o);
}

static inline void rig_open(struct rig *r, const char *mode)
{
    rig_open_with(r, mode, (struct engine_options){0});
}

static inline void rig_close(struct rig *r)
{
    loop_stop(r->home);
    pthread_join(r->thread, NULL);
    engine_free(r->engine);
    loop_free(r->home);
    loop_free(r->caller);
}

static inline struct engine_status status_of(struct rig *r)
{
    struct engine_status s;
    engine_status(r->engine, &s);
    return s;
}

/* Waits for a state, at most about a minute. */
static inline struct engine_status state_wait(struct rig *r, enum engine_state state, int restarts)
{
    struct engine_status s = status_of(r);
    for (int i = 0; i < 60000 && (s.state != state || s.restarts < restarts); i++) {
        usleep(1000);
        s = status_of(r);
    }
    assert_int_equal(s.state, state);
    return s;
}

/* Waits until no call is left with the worker or before it. */
static inline void idle_wait(struct rig *r)
{
    for (int i = 0; i < 60000 && status_of(r).active + status_of(r).queued > 0; i++)
        usleep(1000);
    assert_int_equal(status_of(r).active + status_of(r).queued, 0);
}

/* What one call got. */
struct outcome {
    struct loop *loop;
    struct engine_call *call;
    int starts, texts, usages, stops, errors, code;
    bool retryable, closed;
    int64_t retry_after_ms;
    size_t bytes;
    char text[256], message[256];
    struct chat_usage usage;
    enum chat_stop stop;
    uint64_t asker;
    int stop_after_texts; /* leaves the loop after so many; 0: at the end */
};

static inline void on_event(void *ctx, const struct chat_event *event)
{
    struct outcome *a = ctx;
    assert_false(a->closed);
    assert_true(a->stops + a->errors == 0);
    if (event->kind == CHAT_EVENT_START) {
        a->starts++;
    } else if (event->kind == CHAT_EVENT_TEXT) {
        a->texts++;
        a->bytes += event->text.len;
        size_t used = strlen(a->text);
        if (used + event->text.len < sizeof a->text)
            memcpy(a->text + used, event->text.data, event->text.len);
    } else if (event->kind == CHAT_EVENT_USAGE) {
        a->usages++;
        a->usage = event->usage;
    } else if (event->kind == CHAT_EVENT_STOP) {
        a->stops++;
        a->stop = event->stop;
    } else {
        a->errors++;
        a->code = event->failure.code;
        a->retryable = event->failure.retryable;
        a->retry_after_ms = event->failure.retry_after_ms;
        snprintf(a->message, sizeof a->message, STR_FMT, STR_ARG(event->failure.message));
    }
    if (a->stops + a->errors > 0 || (a->stop_after_texts > 0 && a->texts == a->stop_after_texts))
        loop_stop(a->loop);
}

static inline int chat_try(struct engine *e, struct outcome *a, struct error *err)
{
    struct arena *arena = arena_create(MIB);
    struct chat_request *request = chat_request_create(arena);
    request->prompt = STR("once");
    request->has_prompt = true;
    request->asker = a->asker;
    request->sampling.ignore_eos = true; /* a drawn end would come before the texts that tests wait for */
    int rc = engine_chat(e, a->loop, request, (struct chat_sink){on_event, a}, &a->call, err);
    arena_free(arena);
    return rc;
}

static inline void chat_start(struct rig *r, struct outcome *a)
{
    struct error err;
    a->loop = r->caller;
    assert_int_equal(chat_try(r->engine, a, &err), 0);
    assert_int_equal(a->starts, 0); /* nothing arrives before engine_chat returns */
}

static inline void loop_wait(struct loop *loop)
{
    struct error err;
    assert_int_equal(loop_run(loop, &err), 0);
}

static inline void outcome_close(struct outcome *a)
{
    engine_call_close(a->call);
    a->closed = true;
}

/* Runs the caller's loop for a while. */
static inline void on_late(void *loop)
{
    loop_stop(loop);
}

static inline void loop_for(struct loop *loop, int64_t ms)
{
    struct loop_timer *t = loop_timer_create(loop, on_late, loop);
    loop_timer_start(t, ms);
    loop_wait(loop);
    loop_timer_free(t);
}

struct reply {
    struct loop *loop;
    int data, results, errors, code;
    size_t bytes;
    char text[4096];
};

static inline void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct reply *reply = ctx;
    reply->bytes += payload.len;
    if (type == WIRE_DATA) {
        reply->data++;
        return;
    }
    if (type == WIRE_RESULT)
        reply->results++;
    else
        reply->errors++;
    if (err)
        reply->code = err->code;
    snprintf(reply->text, sizeof reply->text, STR_FMT, STR_ARG(err ? str_from(err->message) : payload));
    loop_stop(reply->loop);
}

static inline void ask(struct rig *r, enum wire_type type, struct reply *reply)
{
    struct error err;
    struct engine_call *call;
    *reply = (struct reply){.loop = r->caller};
    assert_int_equal(engine_ask(r->engine, r->caller, type, STR("{}"), (struct engine_reply){on_reply, reply},
                         &call, &err),
        0);
    loop_wait(r->caller);
    engine_call_close(call);
}

/* Waits until the worker has been started again. */
static inline void restart_wait(struct rig *r)
{
    for (int i = 0; i < 60000 && status_of(r).restarts == 0; i++)
        usleep(1000);
    assert_int_not_equal(status_of(r).restarts, 0);
}

static inline int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    file_write("model.gguf", "good");
    file_write("part-00001-of-00003.gguf", "good");
    file_write("part-00002-of-00003.gguf", "good");
    file_write("part-00003-of-00003.gguf", "good");
    file_write("lost-00001-of-00002.gguf", "good");
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    const struct dirent *entry;
    while (d && (entry = readdir(d)))
        if (entry->d_name[0] != '.')
            unlink(path_of(entry->d_name));
    closedir(d);
    return rmdir(folder);
}

/* The first thing in main: under the name "fake-MODE" this program is a worker. */
static inline void rig_begin(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    if (argc == 3 && strncmp(name, "fake-", 5) == 0 && strcmp(argv[1], "--files") == 0)
        exit(fake_worker_main(name + 5));
    /* The workers' deaths are meant; their log lines would only hide a real one. */
    setenv("WEIR_LOG", "error", 1);
    log_set_level(LOG_ERROR);
}

#endif
