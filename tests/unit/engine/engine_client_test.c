/* The gateway's side of a worker, held against workers that misbehave (fake_worker.h) and, where it has been
 * built, against the real one. */
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

static void file_write(const char *name, const char *text)
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

static void *home_run(void *loop)
{
    struct error err;
    return loop_run(loop, &err) ? loop : NULL;
}

static void rig_start(struct rig *r, struct engine_options o)
{
    struct error err;
    assert_int_equal(loop_create(&r->home, &err), 0);
    assert_int_equal(loop_create(&r->caller, &err), 0);
    if (engine_create(r->home, &o, &r->engine, &err))
        fail_msg("%s", err.message);
    pthread_create(&r->thread, NULL, home_run, r->home);
}

static void rig_open_with(struct rig *r, const char *mode, struct engine_options o)
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

static void rig_open(struct rig *r, const char *mode)
{
    rig_open_with(r, mode, (struct engine_options){0});
}

static void rig_close(struct rig *r)
{
    loop_stop(r->home);
    pthread_join(r->thread, NULL);
    engine_free(r->engine);
    loop_free(r->home);
    loop_free(r->caller);
}

static struct engine_status status_of(struct rig *r)
{
    struct engine_status s;
    engine_status(r->engine, &s);
    return s;
}

/* Waits for a state, at most ten seconds. */
static struct engine_status state_wait(struct rig *r, enum engine_state state, int restarts)
{
    struct engine_status s = status_of(r);
    for (int i = 0; i < 10000 && (s.state != state || s.restarts < restarts); i++) {
        usleep(1000);
        s = status_of(r);
    }
    assert_int_equal(s.state, state);
    return s;
}

/* Waits until no call is left with the worker or before it. */
static void idle_wait(struct rig *r)
{
    for (int i = 0; i < 10000 && status_of(r).active + status_of(r).queued > 0; i++)
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
    int stop_after_texts; /* leaves the loop after so many; 0: at the end */
};

static void on_event(void *ctx, const struct chat_event *event)
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

static int chat_try(struct engine *e, struct outcome *a, struct error *err)
{
    struct arena *arena = arena_create(MIB);
    struct chat_request *request = chat_request_create(arena);
    request->prompt = STR("once");
    request->has_prompt = true;
    int rc = engine_chat(e, a->loop, request, (struct chat_sink){on_event, a}, &a->call, err);
    arena_free(arena);
    return rc;
}

static void chat_start(struct rig *r, struct outcome *a)
{
    struct error err;
    a->loop = r->caller;
    assert_int_equal(chat_try(r->engine, a, &err), 0);
    assert_int_equal(a->starts, 0); /* nothing arrives before engine_chat returns */
}

static void loop_wait(struct loop *loop)
{
    struct error err;
    assert_int_equal(loop_run(loop, &err), 0);
}

static void outcome_close(struct outcome *a)
{
    engine_call_close(a->call);
    a->closed = true;
}

/* Runs the caller's loop for a while. */
static void on_late(void *loop)
{
    loop_stop(loop);
}

static void loop_for(struct loop *loop, int64_t ms)
{
    struct loop_timer *t = loop_timer_create(loop, on_late, loop);
    loop_timer_start(t, ms);
    loop_wait(loop);
    loop_timer_free(t);
}

/* ---- A worker that behaves ---- */

static void test_answer(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {0};
    rig_open(&r, "good");
    chat_start(&r, &a); /* while STARTING: it waits */
    loop_wait(r.caller);
    assert_string_equal(a.text, "hello w\xc3\xb6rld");
    assert_true(a.starts == 1 && a.texts == 2 && a.usages == 1 && a.stops == 1 && a.errors == 0);
    assert_true(a.usage.input_tokens == 5 && a.usage.cached_tokens == 2 && a.usage.output_tokens == 2);
    assert_int_equal(a.stop, CHAT_STOP_END);
    outcome_close(&a);
    struct engine_status s = status_of(&r);
    assert_true(s.state == ENGINE_UP && s.pid > 0 && s.restarts == 0 && s.active == 0 && s.queued == 0);
    struct arena *arena = arena_create(MIB);
    assert_true(str_is(engine_ready_info(r.engine, arena), "{\"slots\":1,\"isa\":\"fake\"}"));
    arena_free(arena);
    rig_close(&r);
    assert_int_equal(kill(s.pid, 0), -1); /* ended and reaped */
}

struct reply {
    struct loop *loop;
    int data, results, errors, code;
    size_t bytes;
    char text[4096];
};

static void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err)
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

static void ask(struct rig *r, enum wire_type type, struct reply *reply)
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

static void test_ask(void **state)
{
    (void)state;
    struct rig r;
    struct reply reply;
    rig_open(&r, "good");
    ask(&r, WIRE_TOKENIZE, &reply);
    assert_true(reply.results == 1 && reply.errors == 0);
    assert_string_equal(reply.text, "{\"ids\":[1,2]}");
    ask(&r, WIRE_TENSOR, &reply);
    assert_true(reply.data == 2 && reply.results == 1 && reply.bytes == 32 + 2);
    ask(&r, WIRE_RENDER, &reply);
    assert_true(reply.results == 0 && reply.errors == 1 && reply.code == ERROR_INVALID);
    assert_string_equal(reply.text, "the template says no");
    rig_close(&r);
}

/* The worker has 0, 1 and 2, the socket and the model, a group of its own and hardly any environment. */
static void test_worker_gets_little(void **state)
{
    (void)state;
    struct rig r;
    struct reply reply;
    int secret = open("/dev/null", O_RDONLY); /* on purpose without O_CLOEXEC */
    setenv("OPENAI_API_KEY", "sk-secret", 1);
    rig_open_with(&r, "good", (struct engine_options){.file = path_of("part-00001-of-00003.gguf")});
    ask(&r, WIRE_SHOW, &reply);
    assert_non_null(strstr(reply.text, "\"fds\":[0,1,2,3,4,5,6]"));
    assert_non_null(strstr(reply.text, "\"LC_ALL\""));
    assert_null(strstr(reply.text, "OPENAI"));
    assert_null(strstr(reply.text, "PATH"));
    assert_non_null(strstr(reply.text, "\"group\":true"));
    rig_close(&r);
    close(secret);
}

static void test_files_are_checked_at_once(void **state)
{
    (void)state;
    struct loop *loop;
    struct engine *e;
    struct error err;
    assert_int_equal(loop_create(&loop, &err), 0);
    struct engine_options o = {.executable = "/proc/self/exe", .file = path_of("absent.gguf")};
    assert_int_equal(engine_create(loop, &o, &e, &err), ERROR_NOT_FOUND);
    o.file = folder;
    assert_int_equal(engine_create(loop, &o, &e, &err), ERROR_INVALID);
    o.file = path_of("part-00002-of-00003.gguf");
    assert_int_equal(engine_create(loop, &o, &e, &err), ERROR_INVALID);
    o.file = path_of("lost-00001-of-00002.gguf"); /* its second part is not there */
    assert_int_equal(engine_create(loop, &o, &e, &err), ERROR_NOT_FOUND);
    o.file = path_of("model.gguf");
    o.executable = "/nowhere/weir-engine";
    assert_int_equal(engine_create(loop, &o, &e, &err), ERROR_NOT_FOUND);
    loop_free(loop);
}

/* ---- Workers that die ---- */

static void test_crash_while_streaming(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {0}, waiting = {0};
    rig_open(&r, "crash");
    state_wait(&r, ENGINE_UP, 0);
    chat_start(&r, &a);
    chat_start(&r, &waiting); /* one slot: it has not started */
    while (a.errors == 0 || waiting.errors == 0)
        loop_wait(r.caller);
    assert_string_equal(a.text, "hello ");
    assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE && a.retryable && a.retry_after_ms >= 250);
    assert_non_null(strstr(a.message, "SIGSEGV"));
    assert_true(waiting.errors == 1 && waiting.starts == 0 && waiting.code == ERROR_UNAVAILABLE);
    outcome_close(&a);
    outcome_close(&waiting);
    struct outcome refused = {.loop = r.caller};
    struct error err;
    if (status_of(&r).state == ENGINE_DOWN)
        assert_int_equal(chat_try(r.engine, &refused, &err), ERROR_UNAVAILABLE);
    int64_t before = clock_mono_ms();
    state_wait(&r, ENGINE_UP, 1);
    struct outcome second = {0};
    chat_start(&r, &second);
    loop_wait(r.caller);
    assert_true(second.errors == 1 && second.retry_after_ms >= 500); /* the back-off doubles */
    outcome_close(&second);
    state_wait(&r, ENGINE_UP, 2);
    assert_true(clock_mono_ms() - before >= 500);
    rig_close(&r);
}

static void test_death_at_each_step(void **state)
{
    (void)state;
    static const struct {
        const char *mode, *says;
    } cases[] = {{"die-loading", "status 7"}, {"eof-mid-frame", "status 0"}, {"exit", "status 9"},
        {"refuse-memory", "too little memory"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        struct outcome a = {0};
        rig_open(&r, cases[i].mode);
        chat_start(&r, &a);
        loop_wait(r.caller);
        assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE);
        assert_non_null(strstr(a.message, cases[i].says));
        outcome_close(&a);
        state_wait(&r, ENGINE_STARTING, 1);
        rig_close(&r);
    }
}

static void test_silence(void **state)
{
    (void)state;
    static const char *const modes[] = {"never-ready", "mute"};
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        struct outcome a = {0};
        rig_open_with(&r, modes[i], (struct engine_options){.silence_ms = 200});
        chat_start(&r, &a);
        loop_wait(r.caller);
        assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE);
        assert_non_null(strstr(a.message, "said nothing"));
        outcome_close(&a);
        rig_close(&r);
    }
    /* With nothing owed, silence is peace. */
    struct rig r;
    rig_open_with(&r, "good", (struct engine_options){.silence_ms = 200});
    int restarts = state_wait(&r, ENGINE_UP, 0).restarts;
    usleep(600 * 1000);
    assert_int_equal(status_of(&r).restarts, restarts);
    rig_close(&r);
}

static void test_refused_file_waits_for_a_change(void **state)
{
    (void)state;
    struct rig r;
    file_write("refused.gguf", "evil");
    rig_open_with(&r, "refuse", (struct engine_options){.file = path_of("refused.gguf")});
    struct engine_status s = state_wait(&r, ENGINE_DOWN, 0);
    assert_non_null(strstr(s.message, "no magic number"));
    usleep(1500 * 1000); /* longer than the first back-offs and the look at the file */
    assert_int_equal(status_of(&r).restarts, 0);
    struct outcome a = {.loop = r.caller};
    struct error err;
    assert_int_equal(chat_try(r.engine, &a, &err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no magic number"));
    file_write("refused.gguf", "good model");
    state_wait(&r, ENGINE_UP, 1);
    rig_close(&r);
}

/* ---- Workers that break the protocol ---- */

static void hostile(const char *mode)
{
    struct rig r;
    struct outcome a = {0};
    rig_open(&r, mode);
    chat_start(&r, &a);
    loop_wait(r.caller);
    if (a.errors != 1 || a.code != ERROR_UNAVAILABLE || !strstr(a.message, "the worker was killed"))
        fail_msg("%s: errors %d, code %d, '%s'", mode, a.errors, a.code, a.message);
    outcome_close(&a);
    rig_close(&r);
}

static void test_hostile_workers(void **state)
{
    (void)state;
    static const char *const loading[] = {
        "bad-json", "bad-slots", "bad-progress", "bad-type", "bad-length", "bad-ready-twice", "bad-call"};
    for (size_t i = 0; i < sizeof loading / sizeof *loading; i++)
        hostile(loading[i]);
    for (size_t i = 0; i < sizeof fake_breaches / sizeof *fake_breaches; i++)
        hostile(fake_breaches[i].mode);
}

static void test_hostile_replies(void **state)
{
    (void)state;
    struct rig r;
    struct reply reply;
    rig_open(&r, "odd-result");
    ask(&r, WIRE_TOKENIZE, &reply);
    assert_true(reply.results == 0 && reply.code == ERROR_UNAVAILABLE);
    rig_close(&r);
    rig_open(&r, "odd-data");
    ask(&r, WIRE_TENSOR, &reply);
    assert_true(reply.data == 1 && reply.results == 0 && reply.code == ERROR_UNAVAILABLE);
    rig_close(&r);
}

/* ---- Closing, pausing, queueing ---- */

static void test_close_while_streaming(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {.stop_after_texts = 3}, waiting = {0};
    rig_open(&r, "slow");
    chat_start(&r, &a);
    chat_start(&r, &waiting);
    loop_wait(r.caller);
    assert_int_equal(a.texts, 3);
    struct engine_status s = status_of(&r);
    assert_true(s.active == 1 && s.queued == 1);
    outcome_close(&waiting); /* before it had a slot */
    outcome_close(&a);       /* on_event fails the test if anything comes now */
    loop_for(r.caller, 50);
    idle_wait(&r);
    assert_int_equal(status_of(&r).restarts, 0);
    struct outcome next = {.stop_after_texts = 1};
    chat_start(&r, &next); /* the slot is free again */
    loop_wait(r.caller);
    assert_int_equal(next.texts, 1);
    outcome_close(&next);
    rig_close(&r);
}

/* An engine that is freed ends its calls; they can be closed after it, and after its loop. */
static void test_calls_outlive_the_engine(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {.stop_after_texts = 1}, waiting = {0}, late = {0};
    struct error err;
    rig_open(&r, "slow");
    chat_start(&r, &a);
    chat_start(&r, &waiting);
    loop_wait(r.caller);
    loop_stop(r.home);
    pthread_join(r.thread, NULL);
    late.loop = r.caller;
    assert_int_equal(chat_try(r.engine, &late, &err), 0); /* posted to a loop that no longer runs */
    engine_free(r.engine);
    loop_free(r.home);
    while (a.errors == 0 || waiting.errors == 0 || late.errors == 0)
        loop_wait(r.caller);
    assert_true(
        a.code == ERROR_UNAVAILABLE && waiting.code == ERROR_UNAVAILABLE && late.code == ERROR_UNAVAILABLE);
    engine_call_pause(a.call, true);
    outcome_close(&a);
    outcome_close(&waiting);
    outcome_close(&late);
    loop_free(r.caller);
}

static void test_pause(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {.stop_after_texts = 2};
    rig_open(&r, "slow");
    chat_start(&r, &a);
    loop_wait(r.caller);
    engine_call_pause(a.call, true);
    int before = a.texts;
    loop_for(r.caller, 60);
    assert_int_equal(a.texts, before);
    a.stop_after_texts = before + 5;
    engine_call_pause(a.call, false);
    loop_wait(r.caller);
    assert_int_equal(a.texts, before + 5);
    engine_call_pause(a.call, true);
    outcome_close(&a); /* a paused call can be closed */
    loop_for(r.caller, 30);
    idle_wait(&r);
    rig_close(&r);
}

/* A worker that ignores PAUSE is not read; nothing is lost. */
static void test_flood_is_held_back(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {0};
    rig_open(&r, "flood");
    state_wait(&r, ENGINE_UP, 0);
    chat_start(&r, &a);
    engine_call_pause(a.call, true);
    loop_for(r.caller, 300);
    assert_true(a.texts == 0 && status_of(&r).active == 1); /* the worker is stuck in its write */
    engine_call_pause(a.call, false);
    loop_wait(r.caller);
    assert_true(a.stops == 1 && a.texts == 64 && a.bytes == 64 * MIB && a.stop == CHAT_STOP_LENGTH);
    outcome_close(&a);
    /* Closed instead of resumed, the rest is read and dropped. */
    struct outcome dropped = {0};
    chat_start(&r, &dropped);
    engine_call_pause(dropped.call, true);
    loop_for(r.caller, 100);
    outcome_close(&dropped);
    idle_wait(&r);
    assert_int_equal(status_of(&r).restarts, 0);
    rig_close(&r);
}

static void test_queue_limit(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a[4] = {0};
    struct error err;
    rig_open_with(&r, "slow", (struct engine_options){.queue_limit = 2});
    state_wait(&r, ENGINE_UP, 0);
    for (int i = 0; i < 3; i++)
        chat_start(&r, &a[i]);
    a[3].loop = r.caller;
    assert_int_equal(chat_try(r.engine, &a[3], &err), ERROR_BUSY);
    a[0].stop_after_texts = 1;
    loop_wait(r.caller);
    outcome_close(&a[0]);
    a[1].stop_after_texts = 1; /* takes the slot that is free now */
    loop_wait(r.caller);
    assert_true(a[1].texts == 1 && a[2].starts == 0);
    chat_start(&r, &a[3]);
    for (int i = 1; i < 4; i++)
        outcome_close(&a[i]);
    rig_close(&r);
}

/* ---- Calls from several loops, closed at any moment ---- */

struct crowd {
    struct engine *engine;
    unsigned seed;
    int ended, cut;
};

static void *crowd_run(void *ctx)
{
    struct crowd *crowd = ctx;
    struct loop *loop;
    struct error err;
    assert_int_equal(loop_create(&loop, &err), 0);
    for (int i = 0; i < 40; i++) {
        struct outcome a = {.loop = loop, .stop_after_texts = 1 + (int)(rand_r(&crowd->seed) % 3)};
        if (chat_try(crowd->engine, &a, &err)) {
            usleep(1000);
            continue;
        }
        if (rand_r(&crowd->seed) % 4 > 0)
            loop_wait(loop);
        if (rand_r(&crowd->seed) % 3 == 0)
            engine_call_pause(a.call, true);
        if (a.stops + a.errors > 0)
            crowd->ended++;
        else
            crowd->cut++;
        outcome_close(&a);
    }
    loop_free(loop);
    return NULL;
}

static void crowd_test(const char *mode)
{
    struct rig r;
    struct crowd crowds[3];
    pthread_t threads[3];
    rig_open(&r, mode);
    for (unsigned i = 0; i < 3; i++) {
        crowds[i] = (struct crowd){.engine = r.engine, .seed = i + 1};
        pthread_create(&threads[i], NULL, crowd_run, &crowds[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_true(crowds[i].ended + crowds[i].cut > 0);
    }
    idle_wait(&r);
    rig_close(&r);
}

static void test_calls_from_several_loops(void **state)
{
    (void)state;
    crowd_test("good");
    crowd_test("two-slots");
}

/* Caller and home may be one loop. */
static void test_one_loop(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {0};
    rig_open(&r, "good");
    state_wait(&r, ENGINE_UP, 0);
    loop_stop(r.home);
    pthread_join(r.thread, NULL);
    a.loop = r.home;
    struct error err;
    assert_int_equal(chat_try(r.engine, &a, &err), 0);
    loop_wait(r.home);
    assert_true(a.stops == 1);
    outcome_close(&a);
    engine_free(r.engine);
    loop_free(r.home);
    loop_free(r.caller);
}

/* ---- The real worker, where it has been built ---- */

static bool real_absent(void)
{
    if (worker_executable() && access(worker_executable(), X_OK) == 0)
        return false;
    printf("skipped: weir-engine has not been built beside the tests\n");
    return true;
}

static void test_real_worker(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a = {.stop_after_texts = 2};
    struct error err;
    if (real_absent())
        return;
    struct model_sample sample = model_sample_default();
    int fd = open(path_of("sample.gguf"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(model_sample_write(&sample, fd, &err), 0);
    close(fd);
    rig_start(&r,
        (struct engine_options){
            .name = "real", .file = path_of("sample.gguf"), .executable = worker_executable(), .slots = 2});
    chat_start(&r, &a);
    loop_wait(r.caller);
    assert_true(a.starts == 1 && a.texts >= 2 && a.errors == 0);
    struct engine_status before = status_of(&r);
    assert_int_equal(kill(before.pid, SIGKILL), 0); /* in the middle of its answer */
    a.stop_after_texts = 0;
    if (a.stops == 0) {
        loop_wait(r.caller);
        assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE && a.retryable);
        assert_non_null(strstr(a.message, "SIGKILL"));
    }
    outcome_close(&a);
    assert_int_not_equal(state_wait(&r, ENGINE_UP, 1).pid, before.pid);
    struct outcome again = {.stop_after_texts = 5};
    chat_start(&r, &again);
    loop_wait(r.caller);
    outcome_close(&again); /* cancelled: the worker says so and lives */
    idle_wait(&r);
    assert_int_equal(status_of(&r).restarts, 1);
    rig_close(&r);
}

static void test_real_worker_without_a_model(void **state)
{
    (void)state;
    struct rig r;
    struct reply reply = {0};
    struct error err;
    struct engine_call *call;
    if (real_absent())
        return;
    rig_start(
        &r, (struct engine_options){.name = "bare", .executable = worker_executable(), .inspect = true});
    reply.loop = r.caller;
    struct str body = STR("{\"messages\":[],\"template\":\"{{ 6 * 7 }}\"}");
    assert_int_equal(engine_ask(r.engine, r.caller, WIRE_RENDER, body,
                         (struct engine_reply){on_reply, &reply}, &call, &err),
        0);
    loop_wait(r.caller);
    engine_call_close(call);
    assert_string_equal(reply.text, "{\"text\":\"42\"}");
    ask(&r, WIRE_SHOW, &reply);
    assert_true(reply.results == 0 && reply.code == ERROR_UNSUPPORTED);
    ask(&r, WIRE_TOKENIZE, &reply);
    assert_true(reply.results == 0 && reply.code == ERROR_UNSUPPORTED);
    rig_close(&r);
}

static int set_up(void **state)
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

static int tear_down(void **state)
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

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    if (argc == 3 && strncmp(name, "fake-", 5) == 0 && strcmp(argv[1], "--files") == 0)
        return fake_worker_main(name + 5);
    setenv("WEIR_LOG", "error", 1);
    /* The workers' deaths are meant; their log lines would only hide a real one. */
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_worker_gets_little),
        cmocka_unit_test(test_files_are_checked_at_once),
        cmocka_unit_test(test_crash_while_streaming),
        cmocka_unit_test(test_death_at_each_step),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_refused_file_waits_for_a_change),
        cmocka_unit_test(test_hostile_workers),
        cmocka_unit_test(test_hostile_replies),
        cmocka_unit_test(test_close_while_streaming),
        cmocka_unit_test(test_calls_outlive_the_engine),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_flood_is_held_back),
        cmocka_unit_test(test_queue_limit),
        cmocka_unit_test(test_calls_from_several_loops),
        cmocka_unit_test(test_one_loop),
        cmocka_unit_test(test_real_worker),
        cmocka_unit_test(test_real_worker_without_a_model),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
