#include "exchange/world.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

static _Atomic int released;

static void release(void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

static struct exchange_world *create(void)
{
    const struct exchange_model models[] = {
        {.name = STR("house"), .patience.first_token_ms = 5}, {.name = STR("gpt")}};
    atomic_store(&released, 0);
    return exchange_world_create(models, 2, NULL, release, &released);
}

static void finds_models_by_name(void **state)
{
    (void)state;
    struct exchange_world *w = create();
    assert_int_equal(exchange_world_n_models(w), 2);
    assert_ptr_equal(exchange_world_find(w, STR("gpt")), exchange_world_model(w, 1));
    assert_int_equal(exchange_world_find(w, STR("house"))->patience.first_token_ms, 5);
    assert_null(exchange_world_find(w, STR("hous")));
    assert_null(exchange_world_find(w, STR("")));
    assert_null(exchange_world_policy(w));
    assert_true(exchange_world_queue(w) == 0); /* no embedded engine: nobody waits */
    exchange_world_unref(w);
    assert_int_equal(atomic_load(&released), 1);
}

static void *ref_and_unref(void *ctx)
{
    struct exchange_world *w = ctx;
    for (int i = 0; i < 20000; i++)
        exchange_world_unref(exchange_world_ref(w));
    exchange_world_unref(w);
    return NULL;
}

/* A request that began before a reload keeps the world it was decided with. */
static void the_last_reference_releases_it_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct exchange_world *w = create();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, exchange_world_ref(w)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&released), 0);
    assert_ptr_equal(exchange_world_find(w, STR("gpt")), exchange_world_model(w, 1));
    exchange_world_unref(w);
    assert_int_equal(atomic_load(&released), 1);
    exchange_world_unref(NULL);
    /* Without models and without a release. */
    exchange_world_unref(exchange_world_create(NULL, 0, NULL, NULL, NULL));
}

static void the_median_is_of_the_last_33(void **state)
{
    (void)state;
    struct exchange_world *w = create();
    struct exchange_latency *l = exchange_world_find(w, STR("gpt"))->latency;
    assert_true(exchange_latency_median(l) < 0);
    exchange_latency_add(l, 30);
    assert_true(exchange_latency_median(l) == 30);
    exchange_latency_add(l, 10);
    exchange_latency_add(l, 20);
    assert_true(exchange_latency_median(l) == 20);
    for (int i = 0; i < 33; i++)
        exchange_latency_add(
            l, 1000 + (i * 7) % 33); /* 1000 to 1032, shuffled: the first three are forgotten */
    assert_true(exchange_latency_median(l) == 1016);
    for (int i = 0; i < 16; i++)
        exchange_latency_add(l, 1);
    assert_true(exchange_latency_median(l) >= 1000);
    exchange_latency_add(l, 1); /* 17 of 33: the majority */
    assert_true(exchange_latency_median(l) == 1);
    /* Each model has its own. */
    assert_true(exchange_latency_median(exchange_world_model(w, 0)->latency) < 0);
    exchange_world_unref(w);
}

static void *add_many(void *latency)
{
    for (int i = 0; i < 10000; i++) {
        exchange_latency_add(latency, 5);
        if (exchange_latency_median(latency) != 5)
            return latency;
    }
    return NULL;
}

static void threads_may_add_and_ask(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct exchange_world *w = create();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, exchange_world_model(w, 0)->latency), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    exchange_world_unref(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_models_by_name),
        cmocka_unit_test(the_last_reference_releases_it_once),
        cmocka_unit_test(the_median_is_of_the_last_33),
        cmocka_unit_test(threads_may_add_and_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
