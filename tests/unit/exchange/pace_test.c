#include "exchange/pace.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct pace pace;

static int fresh(void **state)
{
    (void)state;
    pace_init(&pace);
    return 0;
}

static int over(void **state)
{
    (void)state;
    pace_destroy(&pace);
    return 0;
}

static void the_median_is_of_the_last_33(void **state)
{
    (void)state;
    assert_true(pace_first_median(&pace) < 0);
    pace_first_add(&pace, 30);
    assert_true(pace_first_median(&pace) == 30);
    pace_first_add(&pace, 10);
    pace_first_add(&pace, 20);
    assert_true(pace_first_median(&pace) == 20);
    for (int i = 0; i < 33; i++) /* 1000 to 1032, shuffled: the first three are forgotten */
        pace_first_add(&pace, 1000 + (i * 7) % 33);
    assert_true(pace_first_median(&pace) == 1016);
    for (int i = 0; i < 16; i++)
        pace_first_add(&pace, 1);
    assert_true(pace_first_median(&pace) >= 1000);
    pace_first_add(&pace, 1); /* 17 of 33: the majority */
    assert_true(pace_first_median(&pace) == 1);
    /* A server elsewhere is not predicted from the prompt. */
    assert_true(pace_predict(&pace, 100000, 0, NULL) == 1);
}

static void a_server_that_gave_whole_answers_only_was_the_slowest_of_all(void **state)
{
    (void)state;
    assert_true(pace_predict(&pace, 100, 0, NULL) < 0);
    pace_answer_add(&pace, &(struct pace_answer){.total_ms = 0});
    assert_true(pace_predict(&pace, 100, 0, NULL) == 1);
    pace_first_add(&pace, 0.5);
    assert_true(pace_predict(&pace, 100, 0, NULL) == 0.5);
}

static void *add_many(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 10000; i++) {
        pace_first_add(&pace, 5);
        if (pace_first_median(&pace) != 5)
            return &pace;
    }
    return NULL;
}

static void threads_may_add_and_ask(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

/* 100 tokens estimated are 200 counted, of which 100 were fresh and took 50 ms; an answer takes a second. */
static void an_engine_is_predicted_from_what_it_has_to_do(void **state)
{
    (void)state;
    const struct pace_answer answer = {.estimated_tokens = 100,
        .input_tokens = 200,
        .cached_tokens = 100,
        .prefill_ns = 50 * 1000 * 1000,
        .total_ms = 1000};
    struct pace_engine engine = {.loaded = true, .load_ms = 3000, .slots = 2, .active = 1, .queued = 0};
    assert_true(pace_predict(&pace, 100, 0, &engine) < 0); /* nothing is known */
    pace_answer_add(&pace, &answer);
    assert_true(pace_tokens(&pace, 1000) == 2000);
    assert_true(pace_predict(&pace, 1000, 0, &engine) == 1000);
    assert_true(pace_predict(&pace, 1000, 0.75, &engine) == 250);
    engine.active = 2;
    engine.queued = 3; /* the fifth in line for two slots */
    assert_true(pace_predict(&pace, 1000, 0, &engine) == 1000 + 2000);
    engine.loaded = false;
    assert_true(pace_predict(&pace, 1000, 0, &engine) == 1000 + 2000 + 3000);
}

static void every_answer_was_worth_an_estimate(void **state)
{
    (void)state;
    int first = 0, later = 0;
    for (int i = 0; i < 32; i++)
        first += pace_wants_estimate(&pace);
    for (int i = 0; i < 800; i++)
        later += pace_wants_estimate(&pace);
    assert_int_equal(first, 32);
    assert_int_equal(later, 100);
}

static void what_a_target_does_not_tell_teaches_nothing(void **state)
{
    (void)state;
    const struct pace_answer silent = {
        .estimated_tokens = -1, .input_tokens = -1, .cached_tokens = -1, .total_ms = -1};
    const struct pace_engine engine = {.loaded = true, .slots = 1};
    pace_answer_add(&pace, &silent);
    assert_true(pace_tokens(&pace, 10) == 10);
    assert_true(pace_predict(&pace, 10, 0, &engine) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_server_that_gave_whole_answers_only_was_the_slowest_of_all, fresh, over),
        cmocka_unit_test_setup_teardown(the_median_is_of_the_last_33, fresh, over),
        cmocka_unit_test_setup_teardown(threads_may_add_and_ask, fresh, over),
        cmocka_unit_test_setup_teardown(an_engine_is_predicted_from_what_it_has_to_do, fresh, over),
        cmocka_unit_test_setup_teardown(every_answer_was_worth_an_estimate, fresh, over),
        cmocka_unit_test_setup_teardown(what_a_target_does_not_tell_teaches_nothing, fresh, over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
