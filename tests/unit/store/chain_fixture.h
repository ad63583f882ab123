/* For tests that look at the chain of what they wrote. */
#ifndef WEIR_TESTS_CHAIN_FIXTURE_H
#define WEIR_TESTS_CHAIN_FIXTURE_H

#include "unit/store/store_fixture.h"

/* What a walk found. `first`: by its place in the chain, else the first told. */
struct seen {
    struct store_verified out;
    struct store_break first;
    char what[64], why[96];
    struct store_head heads[8];
    size_t n_heads;
};

static inline int seen_break(void *ctx, const struct store_break *b)
{
    struct seen *seen = ctx;
    if (seen->out.breaks++ > 0 && (b->chain == 0 || (seen->first.chain && b->number >= seen->first.number)))
        return 0;
    seen->first = *b;
    snprintf(seen->what, sizeof seen->what, STR_FMT, STR_ARG(b->what));
    snprintf(seen->why, sizeof seen->why, STR_FMT, STR_ARG(b->why));
    return 0;
}

static inline int seen_head(void *ctx, const struct store_head *head)
{
    struct seen *seen = ctx;
    assert_true(seen->n_heads < sizeof seen->heads / sizeof *seen->heads);
    seen->heads[seen->n_heads++] = *head;
    return 0;
}

static inline void chain_verify(
    struct store *s, const struct store_head *heads, size_t n_heads, struct seen *seen)
{
    struct error err = {0};
    struct store_verified out;
    memset(seen, 0, sizeof *seen);
    const struct store_verify v = {heads, n_heads, seen_break, seen_head, seen};
    int rc = store_verify(s, &v, &out, &err);
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    assert_int_equal(out.breaks, seen->out.breaks);
    seen->out = out;
}

static inline void chain_is_whole(struct store *s, struct seen *seen)
{
    chain_verify(s, NULL, 0, seen);
    if (seen->out.breaks)
        print_error("%s %s\n", seen->what, seen->why);
    assert_int_equal(seen->out.breaks, 0);
}

static inline void keep_egress(struct fixture *f, struct store *s, const char *id, int64_t wall_ms)
{
    struct error err;
    struct store_egress row = egress_row(id, wall_ms);
    assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
}

/* Every way a row comes to the tables: 8 requests and transfers, one of each kind of accident. */
static inline void chain_fill(struct fixture *f, struct store *s)
{
    struct error err;
    char id[16];
    for (int i = 0; i < 8; i++) {
        snprintf(id, sizeof id, "r%d", i);
        struct store_opened opened = opened_row(id, 10 + i);
        struct store_settled settled = settled_row(id);
        struct store_egress egress = egress_row(id, 10 + i);
        settled.opened_ms = 10 + i;
        assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
        if (i % 2) /* in two groups, else (mostly) in one */
            assert_int_equal(fixture_wait(f), 0);
        assert_int_equal(store_egress_record(s, &egress, fixture_done(f), &err), 0);
        assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), 0);
    }
    struct store_opened running = opened_row("running", 20);
    struct store_settled alone = settled_row("alone");
    alone.total_ms = 0;
    assert_int_equal(store_ledger_open(s, &running, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_ledger_open(s, &running, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_INVALID); /* refused: no row is to be missed */
    assert_int_equal(store_ledger_settle(s, &alone, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
}

#endif
