/* Budgets under clocks that are wrong for a while. */
#include "unit/govern/budget_rig.h"

static void test_a_clock_that_goes_back_forgets_nothing(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = still_budget(s);
    int64_t wall;
    assert_true(clock_parse(STR("2096-03-01T00:00:01Z"), &wall));
    spend(b, "k", "", wall - DAY, USD);
    spend(b, "k", "", wall, 2 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 2 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), 2 * USD);
    spend(b, "k", "", wall - 5000, USD); /* before midnight again: February's, and today stays today */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 2 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), 4 * USD);
    spend(b, "k", "", wall - 40 * DAY, USD); /* it had been wrong by weeks: followed, nothing becomes free */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 3 * USD);
    spend(b, "k", "", wall - 39 * DAY, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    budget_free(b);
    store_close(s);
}

static void test_a_clock_that_was_ahead_for_a_while_made_the_day_free_again(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = still_budget(s);
    int64_t wall;
    assert_true(clock_parse(STR("2096-03-14T12:00:00Z"), &wall));
    spend(b, "k", "", wall, 2 * USD);
    spend(b, "k", "", wall + 400 * DAY, USD); /* wrong by a year: a day of its own */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    spend(b, "k", "", wall, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 4 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), 4 * USD);
    spend(b, "k", "", wall + DAY, USD); /* and of the year ahead nothing is left in the days that come */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    spend(b, "k", "", wall - 3000 * DAY, USD); /* behind by years */
    spend(b, "k", "", wall + DAY, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 2 * USD);
    for (int i = 2; i < 200; i++) /* no more is kept than a calendar needs */
        spend(b, "k", "", wall + i * DAY, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), (2 + 1 + 1 + 1 + 1 + 1 + 198) * USD);
    budget_free(b);
    store_close(s);
}

static void test_what_was_spent_while_the_clock_was_ahead_was_taken_from_every_day_until_then(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    (void)store_spender(s);
    settle_in_state(f, s, "today", now(), USD);
    settle_in_state(f, s, "ahead", now() + 400 * DAY, 10 * USD);
    struct budget *b = open_budget(s);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), 11 * USD);
    budget_free(b);
    store_close(s);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_a_clock_that_goes_back_forgets_nothing),
        ON(test_a_clock_that_was_ahead_for_a_while_made_the_day_free_again),
        ON(test_what_was_spent_while_the_clock_was_ahead_was_taken_from_every_day_until_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
