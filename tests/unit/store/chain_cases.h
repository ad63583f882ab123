/* What the chain must be in every database. */
#ifndef WEIR_TESTS_CHAIN_CASES_H
#define WEIR_TESTS_CHAIN_CASES_H

#include "unit/store/chain_fixture.h"

static void test_the_chain_of_all_there_is_is_whole(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct error err;
    int64_t recovered;
    struct store *s = fixture_open(f);
    chain_verify(s, NULL, 0, &seen); /* nothing yet */
    assert_int_equal(seen.out.breaks + (int64_t)seen.n_heads, 0);
    chain_fill(f, s);
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.ledger, 10);
    assert_int_equal(seen.out.egress, 8);
    assert_int_equal(seen.out.entries, 1 + 3 * 8 + 3); /* it began; one that was refused */
    assert_int_equal(seen.out.before, 0);
    assert_int_equal(seen.n_heads, 1);
    assert_int_equal(seen.heads[0].number, seen.out.entries);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(store_ledger_recover(s, &recovered, &err), 0);
    assert_int_equal(recovered, 1);
    struct store_settled late = settled_row("running");
    assert_int_equal(store_ledger_settle(s, &late, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    chain_is_whole(s, &seen);
    store_close(s);
}

static void test_a_large_group_is_several_blocks(void **state)
{
    enum { ROWS = 5000 };
    struct fixture *f = *state;
    struct seen seen;
    struct error err;
    struct store *s = fixture_open(f);
    for (int i = 0; i < ROWS; i++) {
        struct store_egress row = egress_row("r", i);
        assert_int_equal(store_egress_record(s, &row, i == ROWS - 1 ? fixture_done(f) : NOBODY, &err), 0);
    }
    assert_int_equal(fixture_wait(f), 0);
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.egress, ROWS);
    assert_true(seen.out.blocks >= ROWS / 1024);
    store_close(s);
}

static void test_the_chain_after_purges_is_whole(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct error err;
    int64_t rows;
    struct store *s = fixture_open(f);
    for (int round = 0; round < 3; round++) {
        chain_fill(f, s);
        usleep(3000);
        int64_t between = clock_wall_ms();
        usleep(3000);
        keep_request(f, s, round == 0 ? "a" : round == 1 ? "b" : "c", clock_wall_ms());
        assert_int_equal(store_purge(s, 15, &rows, &err), 0);
        assert_int_equal(rows, round == 0 ? 10 : rows);
        chain_is_whole(s, &seen);
        assert_int_equal(store_purge(s, between, &rows, &err), 0);
        chain_is_whole(s, &seen);
        assert_int_equal(seen.out.purged_ms, between);
        assert_true(seen.out.blocks < 10);
        struct store_settled done = settled_row("running");
        done.opened_ms = 20;
        assert_int_equal(store_ledger_settle(s, &done, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), 0);
        chain_is_whole(s, &seen);
    }
    assert_int_equal(store_purge(s, INT64_MAX, &rows, &err), 0);
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.ledger + seen.out.egress, 0);
    chain_fill(f, s);
    chain_is_whole(s, &seen);
    store_close(s);
}

#define CHAIN_CASES(up, down)                                                                                \
    cmocka_unit_test_setup_teardown(test_the_chain_of_all_there_is_is_whole, up, down),                      \
        cmocka_unit_test_setup_teardown(test_a_large_group_is_several_blocks, up, down),                     \
        cmocka_unit_test_setup_teardown(test_the_chain_after_purges_is_whole, up, down)

#endif
