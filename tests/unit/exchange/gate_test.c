#include "exchange/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void lets_in_as_many_as_it_may(void **state)
{
    (void)state;
    struct gate g;
    struct gate_waiter w[3];
    gate_init(&g, 2, 1);
    assert_int_equal(gate_enter(&g, &w[0], 1), GATE_OPEN);
    assert_int_equal(gate_enter(&g, &w[1], 1), GATE_OPEN);
    assert_int_equal(gate_enter(&g, &w[2], 1), GATE_WAIT);
    assert_int_equal(gate_enter(&g, &w[0], 1), GATE_FULL);
    assert_null(gate_next(&g));
    gate_leave(&g);
    assert_ptr_equal(gate_next(&g), &w[2]);
    assert_null(gate_next(&g));
    assert_int_equal(g.in_flight, 2);
    assert_int_equal(g.waiting, 0);
}

static void without_a_limit_all_go_in(void **state)
{
    (void)state;
    struct gate g;
    struct gate_waiter w;
    gate_init(&g, 0, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(gate_enter(&g, &w, 1), GATE_OPEN);
    assert_int_equal(g.in_flight, 1000);
}

/* A key that asks for much waits behind itself. */
static void keys_take_turns(void **state)
{
    (void)state;
    struct gate g;
    struct gate_waiter first, greedy[4], modest[2];
    gate_init(&g, 1, 10);
    assert_int_equal(gate_enter(&g, &first, 7), GATE_OPEN);
    for (int i = 0; i < 4; i++)
        assert_int_equal(gate_enter(&g, &greedy[i], 1), GATE_WAIT);
    for (int i = 0; i < 2; i++)
        assert_int_equal(gate_enter(&g, &modest[i], 2), GATE_WAIT);
    const struct gate_waiter *order[] = {
        &greedy[0], &modest[0], &greedy[1], &modest[1], &greedy[2], &greedy[3]};
    for (int i = 0; i < 6; i++) {
        gate_leave(&g);
        assert_ptr_equal(gate_next(&g), order[i]);
    }
    gate_leave(&g);
    assert_null(gate_next(&g));
    /* Nobody carries a debt from before: who comes first is served first. */
    assert_int_equal(gate_enter(&g, &first, 1), GATE_OPEN);
    assert_int_equal(gate_enter(&g, &greedy[0], 1), GATE_WAIT);
    assert_int_equal(gate_enter(&g, &modest[0], 2), GATE_WAIT);
    gate_leave(&g);
    assert_ptr_equal(gate_next(&g), &greedy[0]);
}

static void who_gives_up_is_not_served(void **state)
{
    (void)state;
    struct gate g;
    struct gate_waiter first, w[3];
    gate_init(&g, 1, 10);
    gate_enter(&g, &first, 0);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(gate_enter(&g, &w[i], i), GATE_WAIT);
    gate_give_up(&g, &w[0]);
    gate_give_up(&g, &w[2]);
    assert_int_equal(g.waiting, 1);
    gate_leave(&g);
    assert_ptr_equal(gate_next(&g), &w[1]);
    gate_leave(&g);
    assert_null(gate_next(&g));
    assert_int_equal(g.in_flight, 0);
}

static void nobody_overtakes_who_waits(void **state)
{
    (void)state;
    struct gate g;
    struct gate_waiter a, b, c;
    gate_init(&g, 1, 10);
    gate_enter(&g, &a, 0);
    assert_int_equal(gate_enter(&g, &b, 1), GATE_WAIT);
    gate_leave(&g);
    assert_int_equal(gate_enter(&g, &c, 2), GATE_WAIT); /* although there is a place */
    assert_ptr_equal(gate_next(&g), &b);
    /* A reload that allows more lets more in. */
    g.most = 2;
    assert_ptr_equal(gate_next(&g), &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_in_as_many_as_it_may),
        cmocka_unit_test(without_a_limit_all_go_in),
        cmocka_unit_test(keys_take_turns),
        cmocka_unit_test(who_gives_up_is_not_served),
        cmocka_unit_test(nobody_overtakes_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
