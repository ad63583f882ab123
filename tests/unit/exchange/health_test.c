/* Targets as several loops share them. */
#include "exchange/health.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

static struct error err;

static void granted(void *ctx)
{
    ++*(int *)ctx;
}

static void a_place_is_handed_on(void **state)
{
    (void)state;
    struct loop *loop;
    struct exchange_wait *first, *second;
    int n_first = 0, n_second = 0;
    struct exchange_health_status s;
    assert_int_equal(loop_create(&loop, &err), 0);
    const struct exchange_health_options o = {BREAKER_DEFAULT, 1, 2};
    struct exchange_health *h = health_create(STR("gpt"), STR("http://a"), &o);
    assert_int_equal(health_enter(h, 1, loop, granted, &n_first, &first), GATE_OPEN);
    assert_int_equal(health_enter(h, 1, loop, granted, &n_first, &first), GATE_WAIT);
    assert_int_equal(health_enter(h, 1, loop, granted, &n_second, &second), GATE_WAIT);
    health_status(h, &s);
    assert_true(s.full && s.in_flight == 1 && s.waiting == 2);
    health_leave(h);
    assert_int_equal(n_first, 0); /* comes by the loop */
    loop_run_posted(loop);
    assert_int_equal(n_first, 1);
    health_leave(h);
    health_give_up(second); /* it had a place on its way to it: that is given back */
    loop_run_posted(loop);
    assert_int_equal(n_second, 0);
    health_status(h, &s);
    assert_true(!s.full && s.in_flight == 0 && s.waiting == 0);
    health_unref(h);
    loop_free(loop);
}

static void more_room_after_a_reload_lets_in_who_waits(void **state)
{
    (void)state;
    struct loop *loop;
    struct exchange_wait *w;
    int n = 0;
    assert_int_equal(loop_create(&loop, &err), 0);
    const struct exchange_health_options one = {BREAKER_DEFAULT, 1, 2}, none = {BREAKER_DEFAULT, 0, 0};
    struct exchange_health *h = health_create(STR("gpt"), STR("http://a"), &one);
    assert_true(health_is(h, STR("gpt"), STR("http://a")));
    assert_false(health_is(h, STR("gpt"), STR("http://b")));
    assert_int_equal(health_enter(h, 1, loop, granted, &n, &w), GATE_OPEN);
    assert_int_equal(health_enter(h, 1, loop, granted, &n, &w), GATE_WAIT);
    health_configure(h, &none);
    loop_run_posted(loop);
    assert_int_equal(n, 1);
    health_leave(h);
    health_leave(h);
    health_unref(h);
    loop_free(loop);
}

enum { EACH = 5000 };
static _Atomic int inside, most_inside;

static void *enter_and_leave(void *ctx)
{
    struct exchange_health *h = ctx;
    for (int i = 0; i < EACH; i++) {
        struct exchange_wait *w;
        if (health_enter(h, 1, NULL, granted, NULL, &w) != GATE_OPEN)
            continue;
        int now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside);
        while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
            continue;
        atomic_fetch_sub(&inside, 1);
        health_leave(h);
        health_result(h, BREAKER_OK, -1, 5);
        assert_true(health_admit(h));
    }
    return NULL;
}

static void threads_never_have_more_places_than_there_are(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct exchange_health_status s;
    const struct exchange_health_options o = {BREAKER_DEFAULT, 2, 0};
    struct exchange_health *h = health_create(STR("gpt"), STR(""), &o);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_leave, h), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(atomic_load(&most_inside), 1, 2);
    health_status(h, &s);
    assert_int_equal(s.in_flight, 0);
    health_unref(h);
}

static void only_open_breakers_are_probed(void **state)
{
    (void)state;
    const struct exchange_health_options o = {{1, 0.5, 60000}, 0, 0};
    struct exchange_health *h = health_create(STR("gpt"), STR(""), &o);
    assert_false(health_probe_due(h, 1000000, false));
    assert_true(health_result(h, BREAKER_FAILED, -1, -1));
    assert_true(health_probe_due(h, 1000000, false));
    assert_false(health_probe_due(h, 1000000, false)); /* not again so soon */
    assert_false(health_admit(h));
    health_probed(h, false);
    assert_false(health_admit(h));
    health_probed(h, true);
    assert_true(health_admit(h)); /* one is let through */
    assert_false(health_admit(h));
    health_unref(h);
    struct exchange_health *always = health_create(STR("gpt"), STR(""), &o);
    assert_true(health_probe_due(always, 1000000, true));
    health_probed(always, false); /* a probe that fails counts like a request */
    assert_false(health_admit(always));
    health_unref(always);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_handed_on),
        cmocka_unit_test(more_room_after_a_reload_lets_in_who_waits),
        cmocka_unit_test(threads_never_have_more_places_than_there_are),
        cmocka_unit_test(only_open_breakers_are_probed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
