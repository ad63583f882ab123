/* weir advise: the arithmetic, by figures worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "app/advise.h"

/* A machine of 3600 USD for 36 months: 100 a month. Idle it draws nothing; at work 1 kW at 0.36 USD/kWh:
 * 0.0001 USD a second. */
static const struct advise_assumptions machine = {.hardware_usd = 3600,
    .months = 36,
    .watts = 1000,
    .kwh_usd = 0.36,
    .load = 0.5,
    .volume = NAN,
    .quality_local = NAN,
    .quality_cloud = NAN,
    .tolerance = 0.05,
    .least = 30};
static const double month_days = 365.25 / 12;

/* A thousand requests, a cent each outside, a second each here. */
static struct advise_group thousand(void)
{
    return (struct advise_group){.route = STR("auto"),
        .task = STR("chat"),
        .requests = 1000,
        .spent_usd = 10,
        .cloud_usd = 10,
        .busy_s = 1000,
        .leave_busy = 1000};
}

static void near(double value, double expected)
{
    if (fabs(value - expected) > 1e-6 * fabs(expected) + 1e-12)
        fail_msg("%g is not %g", value, expected);
}

static void test_a_machine_that_does_not_pay(void **state)
{
    (void)state;
    struct advice d;
    struct advise_group g = thousand();
    advise(&machine, &g, 1, month_days, &d);
    near(g.cloud_each, 0.01);
    near(g.local_each, 0.0001);
    near(d.requests, 1000);
    near(d.spent_usd, 10);
    near(d.cloud_usd, 10);
    near(d.local_usd, 100 + 0.1);
    near(d.saved_usd, 9.9);
    near(d.break_even, 1000 * 100 / 9.9);
    near(d.pays_months, 3600 / 9.9);
    assert_int_equal(d.where, ADVISE_CLOUD);
    assert_int_equal(g.where, ADVISE_CLOUD);
    near(d.mix_usd, 10);
}

/* Twenty times as many, told or measured in a twentieth of the time. */
static void test_a_machine_that_pays(void **state)
{
    (void)state;
    struct advice d;
    struct advise_assumptions many = machine;
    struct advise_group g = thousand();
    many.volume = 20000;
    advise(&many, &g, 1, 1, &d);
    near(d.requests, 20000);
    near(d.cloud_usd, 200);
    near(d.local_usd, 100 + 2);
    near(d.pays_months, 3600 / 198.0);
    near(d.break_even, 20000 * 100 / 198.0);
    assert_int_equal(d.where, ADVISE_LOCAL);
    struct advise_group same = thousand();
    advise(&machine, &same, 1, month_days / 20, &d);
    near(d.requests, 20000);
    assert_int_equal(d.where, ADVISE_LOCAL);
}

/* It is worth what the break-even says: just below it is not, just above it is. */
static void test_the_break_even_is_where_the_advice_turns(void **state)
{
    (void)state;
    struct advice d;
    for (int above = 0; above < 2; above++) {
        struct advise_assumptions at = machine;
        struct advise_group g = thousand();
        at.volume = 1000 * 100 / 9.9 * (above ? 1.001 : 0.999);
        advise(&at, &g, 1, 1, &d);
        assert_int_equal(d.where, above ? ADVISE_LOCAL : ADVISE_CLOUD);
        near(d.local_usd < d.cloud_usd, above);
    }
}

static void test_what_must_stay_needs_a_machine(void **state)
{
    (void)state;
    struct advice d;
    struct advise_group groups[2] = {thousand(), thousand()};
    groups[0].must_stay = groups[0].inside = 1000;
    groups[0].cloud_usd = groups[0].leave_busy = groups[0].spent_usd = 0;
    advise(&machine, groups, 2, month_days, &d);
    assert_int_equal(groups[0].where, ADVISE_LOCAL);
    assert_int_equal(groups[1].where, ADVISE_LOCAL); /* the machine is there anyway */
    assert_int_equal(d.where, ADVISE_LOCAL);
    near(d.cloud_usd, 10); /* of what may leave */
    /* Slow and dear at work: the rest goes out. */
    groups[1] = thousand();
    groups[1].busy_s = groups[1].leave_busy = 1e6;
    advise(&machine, groups, 2, month_days, &d);
    assert_int_equal(groups[1].where, ADVISE_CLOUD);
    assert_int_equal(d.where, ADVISE_HYBRID);
    near(d.mix_usd, 100 + 0.1 + 10);
}

static void test_worse_answers_are_not_advised(void **state)
{
    (void)state;
    struct advice d;
    struct advise_assumptions graded = machine;
    struct advise_group g = thousand();
    graded.volume = 1e6;
    graded.quality_cloud = 0.9;
    graded.quality_local = 0.80;
    advise(&graded, &g, 1, 1, &d);
    assert_int_equal(d.where, ADVISE_CLOUD);
    graded.quality_local = 0.86; /* a twentieth less will do */
    g = thousand();
    advise(&graded, &g, 1, 1, &d);
    assert_int_equal(d.where, ADVISE_LOCAL);
}

static void test_too_little_is_known(void **state)
{
    (void)state;
    struct advice d;
    struct advise_group g = thousand();
    advise(&machine, &g, 0, 1, &d);
    assert_int_equal(d.where, ADVISE_UNKNOWN);
    g.requests = 29;
    advise(&machine, &g, 1, 1, &d);
    assert_int_equal(d.where, ADVISE_UNKNOWN);
    g = thousand();
    g.cloud_usd = NAN;
    advise(&machine, &g, 1, 1, &d);
    assert_int_equal(d.where, ADVISE_UNKNOWN);
    assert_non_null(strstr(d.why, "--price"));
    g = thousand();
    g.busy_s = g.leave_busy = NAN;
    advise(&machine, &g, 1, 1, &d);
    assert_int_equal(d.where, ADVISE_UNKNOWN);
    assert_non_null(strstr(d.why, "--decode"));
    assert_true(isnan(d.local_usd) && isnan(d.mix_usd));
}

/* More work than a machine does in half of its hours. */
static void test_a_second_machine(void **state)
{
    (void)state;
    struct advice d;
    struct advise_assumptions busy = machine;
    struct advise_group g = thousand();
    busy.volume = 24 * 365.25 / 12 * 3600 * 0.75;
    advise(&busy, &g, 1, 1, &d);
    near(d.machines, 2);
    near(d.fixed_usd, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_machine_that_does_not_pay),
        cmocka_unit_test(test_a_machine_that_pays),
        cmocka_unit_test(test_the_break_even_is_where_the_advice_turns),
        cmocka_unit_test(test_what_must_stay_needs_a_machine),
        cmocka_unit_test(test_worse_answers_are_not_advised),
        cmocka_unit_test(test_too_little_is_known),
        cmocka_unit_test(test_a_second_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
