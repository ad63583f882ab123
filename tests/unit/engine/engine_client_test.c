/* The gateway's side of a worker, held against workers that answer, die, refuse and lie (fake_worker.h). */
#include "unit/engine/engine_rig.h"

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
        restart_wait(&r);
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

static void test_clients_were_told_where_a_model_that_cannot_be_loaded_lies(void **state)
{
    static const char *const modes[] = {"refuse", "die-loading"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        struct outcome a = {.loop = NULL};
        struct error err;
        file_write("secret.gguf", "evil");
        rig_open_with(&r, modes[i], (struct engine_options){.file = path_of("secret.gguf")});
        chat_start(&r, &a);
        loop_wait(r.caller);
        assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE);
        assert_null(strstr(a.message, folder));
        assert_non_null(strstr(a.message, i == 0 ? "cannot load refuse: " : "status 7"));
        outcome_close(&a);
        if (i == 1) /* its next start finds no file */
            unlink(path_of("secret.gguf"));
        for (int n = 0; n < 30000 && i == 1 && !strstr(status_of(&r).message, "log"); n++)
            usleep(1000);
        state_wait(&r, ENGINE_DOWN, 0);
        a.loop = r.caller;
        assert_int_equal(chat_try(r.engine, &a, &err), ERROR_UNAVAILABLE);
        assert_null(strstr(err.message, folder));
        assert_non_null(strstr(err.message, i == 0 ? "no magic number" : "the gateway's log says why"));
        rig_close(&r);
    }
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

int main(int argc, char **argv)
{
    rig_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_worker_gets_little),
        cmocka_unit_test(test_files_are_checked_at_once),
        cmocka_unit_test(test_crash_while_streaming),
        cmocka_unit_test(test_death_at_each_step),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_refused_file_waits_for_a_change),
        cmocka_unit_test(test_clients_were_told_where_a_model_that_cannot_be_loaded_lies),
        cmocka_unit_test(test_hostile_workers),
        cmocka_unit_test(test_hostile_replies),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
