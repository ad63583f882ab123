#include "exchange/forecast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void seen(
    struct forecast *f, const char *key, const char *route, int64_t output, int64_t cached, int times)
{
    const struct forecast_answer a = {str_from(key), str_from(route), 100, cached, output};
    for (int i = 0; i < times; i++)
        forecast_add(f, &a);
}

static double output_of(struct forecast *f, const char *key, const char *route)
{
    return forecast_guess(f, str_from(key), str_from(route)).output_tokens;
}

static void a_key_on_its_route_is_learned_apart(void **state)
{
    (void)state;
    struct forecast *f = forecast_create();
    double unseen = output_of(f, "k1", "auto");
    assert_true(unseen == forecast_guess(NULL, STR("k1"), STR("auto")).output_tokens);
    for (int i = 0; i < 200; i++) {
        seen(f, "k1", "auto", 1000, 0, 1);
        seen(f, "k2", "auto", 10, 80, 1);
    }
    assert_true(output_of(f, "k1", "auto") > 900 && output_of(f, "k1", "auto") <= 1000);
    assert_true(output_of(f, "k2", "auto") < 60);
    assert_true(fabs(forecast_guess(f, STR("k2"), STR("auto")).cached - 0.8) < 0.05);
    /* One that was never seen is like the route, and a route like all. */
    double stranger = output_of(f, "k3", "auto");
    assert_true(stranger > 50 && stranger < 900);
    assert_true(output_of(f, "k1", "other") != unseen);
    forecast_free(f);
}

static void a_first_answer_does_not_outweigh_the_route(void **state)
{
    (void)state;
    struct forecast *f = forecast_create();
    seen(f, "k1", "auto", 100, 0, 500);
    seen(f, "new", "auto", 5000, 0, 1);
    assert_true(output_of(f, "new", "auto") < 1500);
    seen(f, "new", "auto", 5000, 0, 60);
    assert_true(output_of(f, "new", "auto") > 4000);
    forecast_free(f);
}

static void habits_change(void **state)
{
    (void)state;
    struct forecast *f = forecast_create();
    seen(f, "k", "r", 1000, 0, 1000);
    seen(f, "k", "r", 10, 0, 300);
    assert_true(output_of(f, "k", "r") < 50);
    forecast_free(f);
}

static void more_kinds_than_places_are_no_harm(void **state)
{
    (void)state;
    struct forecast *f = forecast_create();
    char key[32];
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "key%d", i);
        seen(f, key, "auto", 100, 0, 1);
    }
    const struct forecast_answer unknown = {STR("k"), STR("auto"), -1, -1, -1};
    forecast_add(f, &unknown);
    assert_true(output_of(f, "key7", "auto") > 50 && output_of(f, "key7", "auto") < 200);
    forecast_free(f);
    forecast_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_on_its_route_is_learned_apart),
        cmocka_unit_test(a_first_answer_does_not_outweigh_the_route),
        cmocka_unit_test(habits_change),
        cmocka_unit_test(more_kinds_than_places_are_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
