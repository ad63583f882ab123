/* Limits as they are written; money without a float in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/limits.h"
#include "govern/limits.h"

static struct store_limits none(void)
{
    return limits_none(STR("key"), STR("k"));
}

static void test_money_is_exact(void **state)
{
    static const struct {
        const char *text;
        int64_t nano;
    } good[] = {{"0", 0}, {"0.1", 100000000}, {"12.50", 12500000000}, {"0.000000001", 1}, {".5", 500000000},
        {"5.", 5000000000}, {"0.123456789", 123456789}, {"999999999.999999999", 999999999999999999},
        {"1000000000", 1000000000000000000}};
    static const char *const bad[] = {"", ".", "-1", "1e3", "1,5", "0.0000000001", "20000000000", "1.2.3",
        "$5", " 5", "99999999999999999999999999"};
    int64_t nano, sum = 0;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(limits_usd_read(str_from(good[i].text), &nano));
        assert_int_equal(nano, good[i].nano);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(limits_usd_read(str_from(bad[i]), &nano));
    assert_true(limits_usd_read(STR("0.1"), &nano));
    for (int i = 0; i < 10; i++)
        sum += nano;
    assert_int_equal(sum, 1000000000);
}

static void assert_budget(const char *text, const char *again)
{
    struct store_limits l = none();
    struct error err;
    struct buf out;
    assert_int_equal(limits_budget_read(str_from(text), &l, &err), 0);
    buf_init(&out, 256);
    limits_budget_write(&l, &out);
    assert_string_equal(out.data, again);
    buf_free(&out);
}

static void test_budgets(void **state)
{
    static const char *const bad[] = {
        "", ",", "10/year", "10/day,20/day", "x", "10/", "/day", "none,5", "-5/day"};
    (void)state;
    assert_budget("10/day,100.5/month", "10.00/day,100.50/month");
    assert_budget(" 250 ", "250.00/total");
    assert_budget("1/total, 2 / week", "2.00/week,1.00/total");
    assert_budget("0.0000125/day", "0.0000125/day");
    assert_budget("none", "-");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct store_limits l = none();
        struct error err;
        assert_int_equal(limits_budget_read(str_from(bad[i]), &l, &err), ERROR_INVALID);
    }
}

static void test_counts(void **state)
{
    struct error err;
    int64_t n;
    (void)state;
    assert_int_equal(limits_count_read("requests", STR("60"), &n, &err), 0);
    assert_int_equal(n, 60);
    assert_int_equal(limits_count_read("requests", STR("none"), &n, &err), 0);
    assert_int_equal(n, -1);
    assert_int_equal(limits_count_read("requests", STR("0"), &n, &err), ERROR_INVALID);
    assert_int_equal(limits_count_read("requests", STR("-3"), &n, &err), ERROR_INVALID);
    assert_int_equal(limits_count_read("requests", STR("1000000000000"), &n, &err), ERROR_INVALID);
    assert_int_equal(limits_count_read("requests", STR("many"), &n, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "'requests'"));
}

static void test_models(void **state)
{
    struct store_limits l = none();
    struct error err;
    (void)state;
    assert_true(limits_model_allowed(STR_NONE, STR("anything")));
    assert_int_equal(limits_models_read(STR("auto, gpt-4*"), &l, &err), 0);
    assert_true(limits_model_allowed(l.models, STR("auto")));
    assert_true(limits_model_allowed(l.models, STR("gpt-4o")));
    assert_true(limits_model_allowed(l.models, STR("gpt-4")));
    assert_false(limits_model_allowed(l.models, STR("gpt-3")));
    assert_false(limits_model_allowed(l.models, STR("automatic")));
    assert_false(limits_model_allowed(l.models, STR("")));
    assert_int_equal(limits_models_read(STR("all"), &l, &err), 0);
    assert_int_equal(l.models.len, 0);
    assert_int_equal(limits_models_read(STR(""), &l, &err), ERROR_INVALID);
    assert_int_equal(limits_models_read(STR("a,,b"), &l, &err), ERROR_INVALID);
    assert_int_equal(limits_models_read(STR("a\nb"), &l, &err), ERROR_INVALID);
}

static int json_limits(const char *text, struct store_limits *l, struct arena *a, struct error *err)
{
    json_t *root;
    assert_int_equal(json_read_in(a, str_from(text), &root, err), 0);
    return limits_json_read(a, root, l, err);
}

static void test_json(void **state)
{
    static const char *const bad[] = {"{\"budget\": {\"year\": 1}}", "{\"budget\": true}",
        "{\"budget\": {\"day\": -1}}", "{\"budget\": -1}", "{\"requests\": 0}", "{\"requests\": \"5\"}",
        "{\"tokens\": 1.5}", "{\"parallel\": -1}", "{\"models\": \"auto\"}", "{\"models\": [1]}",
        "{\"models\": [\"a,b\"]}", "{\"models\": []}", "{\"budget\": {\"day\": \"x\"}}"};
    struct arena *a = arena_create(MIB);
    struct store_limits l = none();
    struct error err;
    (void)state;
    assert_int_equal(
        json_limits("{\"budget\": {\"day\": 0.1, \"month\": \"100.25\"}, \"requests\": 60, \"tokens\": 5000, "
                    "\"parallel\": 2, \"models\": [\"auto\", \"gpt-*\"]}",
            &l, a, &err),
        0);
    assert_int_equal(l.usd[PERIOD_DAY], 100000000);
    assert_int_equal(l.usd[PERIOD_MONTH], 100250000000);
    assert_int_equal(l.usd[PERIOD_WEEK], -1);
    assert_true(l.requests == 60 && l.tokens == 5000 && l.parallel == 2 && str_is(l.models, "auto,gpt-*"));
    assert_int_equal(json_limits("{\"requests\": null}", &l, a, &err), 0); /* the others stay */
    assert_true(l.requests == -1 && l.tokens == 5000 && l.usd[PERIOD_DAY] == 100000000);
    assert_int_equal(json_limits("{\"budget\": 7}", &l, a, &err), 0);
    assert_true(l.usd[PERIOD_TOTAL] == 7000000000 && l.usd[PERIOD_DAY] == -1);
    assert_int_equal(json_limits("{\"budget\": \"3/week\"}", &l, a, &err), 0);
    assert_true(l.usd[PERIOD_WEEK] == 3000000000 && l.usd[PERIOD_TOTAL] == -1);
    assert_int_equal(json_limits("{\"budget\": null, \"tokens\": null, \"parallel\": null, \"models\": null}",
                         &l, a, &err),
        0);
    assert_true(l.usd[PERIOD_WEEK] == -1 && l.tokens == -1 && l.parallel == -1 && l.models.len == 0);
    /* It was a model of that name, which nobody has. */
    l.models = STR("auto");
    assert_int_equal(json_limits("{\"models\": [\"all\"]}", &l, a, &err), 0);
    assert_int_equal(l.models.len, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(json_limits(bad[i], &l, a, &err) != 0);
    arena_free(a);
}

static void test_teams_names(void **state)
{
    struct error err;
    char long_name[65];
    (void)state;
    memset(long_name, 'x', 64);
    long_name[64] = '\0';
    assert_int_equal(limits_team_check(STR("blue team"), &err), 0);
    assert_int_equal(limits_team_check(STR("*"), &err), 0);
    assert_int_equal(limits_team_check(STR(""), &err), ERROR_INVALID);
    assert_int_equal(limits_team_check(str_from(long_name), &err), ERROR_INVALID);
    assert_int_equal(limits_team_check(STR("a\x1b[31m"), &err), ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_money_is_exact),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_teams_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
