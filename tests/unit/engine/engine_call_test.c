/* Calls to an engine: closed, paused and queued at any moment, from several loops; and the real worker, where
 * it has been built. */
#include "unit/engine/engine_rig.h"

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
    assert_true(a.texts >= 3); /* one read may bring more */
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
    assert_true(next.texts >= 1);
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
    assert_true(a.texts >= before + 5);
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
    assert_true(a[1].texts >= 1 && a[2].starts == 0);
    chat_start(&r, &a[3]);
    for (int i = 1; i < 4; i++)
        outcome_close(&a[i]);
    rig_close(&r);
}

/* Who has sent many waits behind himself, not in front of others; what a full queue says of the time is how
 * long calls have taken. */
static void test_askers_take_turns(void **state)
{
    (void)state;
    struct rig r;
    struct outcome a[6] = {0};
    rig_open_with(&r, "slow", (struct engine_options){.queue_limit = 10});
    state_wait(&r, ENGINE_UP, 0);
    assert_int_equal(status_of(&r).wait_ms, 0);
    for (int i = 0; i < 6; i++) {
        a[i].asker = i == 4 ? 2 : 1;
        a[i].stop_after_texts = 1;
        chat_start(&r, &a[i]);
    }
    loop_wait(r.caller);
    assert_int_equal(status_of(&r).wait_ms, -1);
    outcome_close(&a[0]);
    loop_wait(r.caller); /* the first's second, which had come before */
    assert_true(a[1].texts >= 1 && a[4].starts == 0);
    outcome_close(&a[1]);
    loop_wait(r.caller);
    assert_true(a[4].texts >= 1 && a[2].starts == 0 && a[3].starts == 0);
    assert_in_range(status_of(&r).wait_ms, 1, 600000);
    for (int i = 2; i < 6; i++)
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

int main(int argc, char **argv)
{
    rig_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_while_streaming),
        cmocka_unit_test(test_calls_outlive_the_engine),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_flood_is_held_back),
        cmocka_unit_test(test_queue_limit),
        cmocka_unit_test(test_askers_take_turns),
        cmocka_unit_test(test_calls_from_several_loops),
        cmocka_unit_test(test_one_loop),
        cmocka_unit_test(test_real_worker),
        cmocka_unit_test(test_real_worker_without_a_model),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
