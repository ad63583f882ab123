/* Models on demand, with fake workers: what is loaded when, and who waits for what. */
#include "engine/memory.h"
#include "unit/engine/engine_rig.h"

enum { ENGINES = 3 };

struct pool_rig {
    struct loop *home, *caller;
    pthread_t thread;
    struct engine_pool *pool;
    struct engine *engines[ENGINES];
};

static void link_make(const char *mode, char path[512])
{
    char self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    snprintf(path, 512, "%s/fake-%s", folder, mode);
    unlink(path);
    assert_int_equal(symlink(self, path), 0);
}

/* An engine for each mode; `o` holds for all of them. */
static void pool_open(struct pool_rig *r, const char *const modes[ENGINES],
    const struct engine_pool_limits *limits, struct engine_options o)
{
    struct error err;
    *r = (struct pool_rig){0};
    assert_int_equal(loop_create(&r->home, &err), 0);
    assert_int_equal(loop_create(&r->caller, &err), 0);
    o.pool = r->pool = engine_pool_create(r->home);
    engine_pool_limit(r->pool, limits);
    for (int i = 0; i < ENGINES && modes[i]; i++) {
        char link[512];
        link_make(modes[i], link);
        o.name = modes[i];
        o.executable = link;
        if (!o.file)
            o.file = path_of("model.gguf");
        if (engine_create(r->home, &o, &r->engines[i], &err))
            fail_msg("%s", err.message);
    }
    pthread_create(&r->thread, NULL, home_run, r->home);
}

static void pool_close(struct pool_rig *r)
{
    loop_stop(r->home);
    pthread_join(r->thread, NULL);
    for (int i = 0; i < ENGINES; i++)
        engine_free(r->engines[i]);
    engine_pool_free(r->pool);
    loop_free(r->home);
    loop_free(r->caller);
}

static struct engine_status status(struct pool_rig *r, int i)
{
    struct engine_status s;
    engine_status(r->engines[i], &s);
    return s;
}

static struct engine_status until(struct pool_rig *r, int i, enum engine_state state)
{
    for (int n = 0; n < 10000 && status(r, i).state != state; n++)
        usleep(1000);
    assert_int_equal(status(r, i).state, state);
    return status(r, i);
}

static void begin(struct pool_rig *r, int i, struct outcome *a)
{
    struct error err;
    a->loop = r->caller;
    if (chat_try(r->engines[i], a, &err))
        fail_msg("%s", err.message);
}

static void wait_end(struct pool_rig *r, struct outcome *a)
{
    while (a->stops + a->errors == 0)
        loop_wait(r->caller);
}

static void answered(struct pool_rig *r, int i)
{
    struct outcome a = {0};
    begin(r, i, &a);
    wait_end(r, &a);
    if (a.errors)
        fail_msg("%s", a.message);
    assert_string_equal(a.text, "hello w\xc3\xb6rld");
    outcome_close(&a);
}

static const struct engine_pool_limits one = {.models = 1, .turn_ms = 50};

static void test_loaded_by_the_first_call(void **state)
{
    (void)state;
    struct pool_rig r;
    pool_open(&r, (const char *[ENGINES]){"good"}, &one, (struct engine_options){.keep_alive_ms = 50});
    assert_true(status(&r, 0).state == ENGINE_UNLOADED && status(&r, 0).loads == 0);
    answered(&r, 0);
    until(&r, 0, ENGINE_UNLOADED); /* idle for long enough */
    answered(&r, 0);
    struct engine_status s = until(&r, 0, ENGINE_UNLOADED);
    assert_true(s.loads == 2 && s.unloads == 2 && s.restarts == 0 && s.pid == 0);
    pool_close(&r);
}

static void test_kept_for_ever_until_told(void **state)
{
    (void)state;
    struct pool_rig r;
    const int64_t at_once = 0;
    pool_open(&r, (const char *[ENGINES]){"good"}, &one,
        (struct engine_options){.keep_alive_ms = -1, .preload = true});
    until(&r, 0, ENGINE_UP); /* nobody asked */
    answered(&r, 0);
    assert_true(status(&r, 0).state == ENGINE_UP && status(&r, 0).expires_ms == -1);
    engine_keep_alive(r.engines[0], &at_once);
    until(&r, 0, ENGINE_UNLOADED);
    engine_keep_alive(r.engines[0], NULL);
    answered(&r, 0);
    assert_true(status(&r, 0).state == ENGINE_UP && status(&r, 0).loads == 2);
    pool_close(&r);
}

static void test_the_idle_one_makes_room(void **state)
{
    (void)state;
    struct pool_rig r;
    /* model.gguf has 4 bytes: two of them would be too much. */
    const struct engine_pool_limits memory = {.memory = 6};
    const struct engine_pool_limits *const limits[] = {&one, &memory};
    for (int i = 0; i < 2; i++) {
        pool_open(&r, (const char *[ENGINES]){"good", "good"}, limits[i],
            (struct engine_options){.keep_alive_ms = -1});
        for (int n = 0; n < 4; n++)
            answered(&r, n % 2);
        assert_true(status(&r, 0).loads == 2 && status(&r, 1).loads == 2);
        assert_true(status(&r, 0).state == ENGINE_UNLOADED && status(&r, 1).state == ENGINE_UP);
        pool_close(&r);
    }
}

static void test_the_longest_idle_one_goes(void **state)
{
    (void)state;
    struct pool_rig r;
    const struct engine_pool_limits two = {.models = 2};
    pool_open(&r, (const char *[ENGINES]){"good", "good", "good"}, &two,
        (struct engine_options){.keep_alive_ms = 3600 * 1000});
    answered(&r, 0);
    usleep(5000);
    answered(&r, 1);
    usleep(5000);
    answered(&r, 0);
    answered(&r, 2);
    assert_true(status(&r, 1).state == ENGINE_UNLOADED && status(&r, 0).state == ENGINE_UP);
    pool_close(&r);
}

static void test_no_room_in_time(void **state)
{
    (void)state;
    struct pool_rig r;
    struct outcome busy = {.stop_after_texts = 1}, late = {0};
    const struct engine_pool_limits patient = {.models = 1, .turn_ms = 3600 * 1000};
    /* The busy one is to load in that time, on a machine with much else to do, too. */
    pool_open(&r, (const char *[ENGINES]){"slow", "good"}, &patient,
        (struct engine_options){.keep_alive_ms = 50, .wait_ms = 2000});
    begin(&r, 0, &busy);
    loop_wait(r.caller);
    begin(&r, 1, &late);
    busy.stop_after_texts = 0;
    wait_end(&r, &late);
    assert_true(late.errors == 1 && late.code == ERROR_UNAVAILABLE && late.retryable);
    assert_non_null(strstr(late.message, "no room in time"));
    outcome_close(&late);
    outcome_close(&busy);
    answered(&r, 1); /* now there is */
    pool_close(&r);
}

/* Unloaded while a call waits: it keeps its place and is answered after the model has come back. */
static void test_a_busy_one_gives_way(void **state)
{
    (void)state;
    struct pool_rig r;
    struct outcome first = {.stop_after_texts = 1}, second = {.stop_after_texts = 1}, other = {0};
    pool_open(
        &r, (const char *[ENGINES]){"slow", "good"}, &one, (struct engine_options){.keep_alive_ms = -1});
    begin(&r, 0, &first);
    loop_wait(r.caller);
    begin(&r, 0, &second);
    begin(&r, 1, &other);
    usleep(100 * 1000); /* its turn is over */
    assert_true(second.starts == 0 && other.starts == 0);
    outcome_close(&first);
    while (other.stops + other.errors == 0 || second.texts == 0)
        loop_wait(r.caller);
    assert_true(other.stops == 1 && second.errors == 0);
    assert_true(status(&r, 0).loads == 2 && status(&r, 1).loads == 1);
    outcome_close(&other);
    outcome_close(&second);
    pool_close(&r);
}

static void test_a_crash_while_loading_says_so(void **state)
{
    (void)state;
    struct pool_rig r;
    pool_open(&r, (const char *[ENGINES]){"die-loading", "good"}, &one,
        (struct engine_options){.keep_alive_ms = -1});
    for (int i = 0; i < 2; i++) {
        struct outcome a = {0};
        begin(&r, 0, &a);
        wait_end(&r, &a);
        assert_true(a.errors == 1 && a.code == ERROR_UNAVAILABLE);
        assert_non_null(strstr(a.message, "ended with status 7"));
        outcome_close(&a);
        until(&r, 0, ENGINE_UNLOADED); /* after the back-off it may be tried again */
    }
    assert_true(status(&r, 0).loads == 2 && status(&r, 0).restarts == 0);
    answered(&r, 1);
    pool_close(&r);
}

static void test_a_call_that_left_loads_nothing(void **state)
{
    (void)state;
    struct pool_rig r;
    struct outcome busy = {.stop_after_texts = 1}, left = {0};
    pool_open(
        &r, (const char *[ENGINES]){"slow", "good"}, &one, (struct engine_options){.keep_alive_ms = -1});
    begin(&r, 0, &busy);
    loop_wait(r.caller);
    begin(&r, 1, &left);
    outcome_close(&left);
    usleep(100 * 1000);
    outcome_close(&busy);
    loop_for(r.caller, 100);
    assert_true(status(&r, 0).state == ENGINE_UP && status(&r, 1).loads == 0);
    pool_close(&r);
}

static void test_fifty_calls_three_models_room_for_two(void **state)
{
    (void)state;
    enum { CALLS = 51 };
    static struct outcome calls[CALLS];
    struct pool_rig r;
    const struct engine_pool_limits two = {.models = 2, .turn_ms = 20};
    memset(calls, 0, sizeof calls);
    pool_open(&r, (const char *[ENGINES]){"good", "good", "good"}, &two,
        (struct engine_options){.keep_alive_ms = -1});
    for (int i = 0; i < CALLS; i++)
        begin(&r, i % ENGINES, &calls[i]);
    for (int i = 0; i < CALLS; i++) {
        wait_end(&r, &calls[i]);
        int loaded = 0;
        for (int e = 0; e < ENGINES; e++)
            loaded += status(&r, e).pid != 0;
        assert_true(calls[i].stops == 1 && calls[i].errors == 0 && loaded <= 2);
        outcome_close(&calls[i]);
    }
    pool_close(&r);
}

/* A model that was kept for ever kept its memory, too, while the system ran out of it. */
static void test_an_idle_one_goes_where_memory_is_short(void **state)
{
    (void)state;
    struct pool_rig r;
    struct outcome busy = {.stop_after_texts = 1};
    const struct engine_pool_limits all = {.reserve = INT64_MAX, .turn_ms = 50};
    pool_open(
        &r, (const char *[ENGINES]){"good", "slow"}, &all, (struct engine_options){.keep_alive_ms = -1});
    begin(&r, 1, &busy);
    loop_wait(r.caller);
    answered(&r, 0);
    until(&r, 0, ENGINE_UNLOADED);
    assert_true(status(&r, 1).state == ENGINE_UP); /* what works is left alone */
    outcome_close(&busy);
    until(&r, 1, ENGINE_UNLOADED);
    answered(&r, 0); /* and comes back when it is asked for */
    pool_close(&r);
}

/* Where memory was short of nothing but the model itself each request loaded it anew. */
static void test_one_that_is_short_of_itself_stays_for_the_next_turn(void **state)
{
    (void)state;
    struct pool_rig r;
    const struct engine_pool_limits all = {.reserve = INT64_MAX};
    pool_open(&r, (const char *[ENGINES]){"good", NULL}, &all, (struct engine_options){.keep_alive_ms = -1});
    for (int i = 0; i < 3; i++) {
        answered(&r, 0);
        usleep(50 * 1000); /* nobody asks for a moment */
    }
    assert_int_equal(status(&r, 0).loads, 1);
    assert_true(status(&r, 0).state == ENGINE_UP);
    pool_close(&r);
}

static void test_memory_is_known(void **state)
{
    (void)state;
    int64_t available = engine_memory_available();
    assert_true(available > (int64_t)MIB && available < INT64_MAX);
    assert_in_range(engine_memory_reserve(), MIB, 256 * MIB);
}

int main(int argc, char **argv)
{
    rig_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loaded_by_the_first_call),
        cmocka_unit_test(test_kept_for_ever_until_told),
        cmocka_unit_test(test_the_idle_one_makes_room),
        cmocka_unit_test(test_the_longest_idle_one_goes),
        cmocka_unit_test(test_no_room_in_time),
        cmocka_unit_test(test_a_busy_one_gives_way),
        cmocka_unit_test(test_a_crash_while_loading_says_so),
        cmocka_unit_test(test_a_call_that_left_loads_nothing),
        cmocka_unit_test(test_fifty_calls_three_models_room_for_two),
        cmocka_unit_test(test_an_idle_one_goes_where_memory_is_short),
        cmocka_unit_test(test_one_that_is_short_of_itself_stays_for_the_next_turn),
        cmocka_unit_test(test_memory_is_known),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
