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

static void what_is_known_of_a_target_outlives_a_reload(void **state)
{
    (void)state;
    const struct exchange_settings settings = {.request_timeout_ms = 1};
    struct exchange_world *old = create(), *fresh = create();
    pace_first_add(exchange_world_find(old, STR("gpt"))->pace, 40);
    exchange_world_configure(fresh, &settings, old);
    exchange_world_unref(old);
    assert_true(pace_first_median(exchange_world_find(fresh, STR("gpt"))->pace) == 40);
    assert_true(pace_first_median(exchange_world_find(fresh, STR("house"))->pace) < 0);
    exchange_world_unref(fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_models_by_name),
        cmocka_unit_test(the_last_reference_releases_it_once),
        cmocka_unit_test(what_is_known_of_a_target_outlives_a_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
