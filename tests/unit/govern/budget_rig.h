/* For tests of budgets: one over a real state, what was spent of it, and limits and rows of the state. */
#ifndef WEIR_TESTS_BUDGET_RIG_H
#define WEIR_TESTS_BUDGET_RIG_H

#include "unit/store/store_fixture.h"

#include "base/limits.h"
#include "govern/budget_inner.h"

#define USD INT64_C(1000000000)
#define DAY INT64_C(86400000)

static inline struct budget *open_budget(struct store *s)
{
    struct budget *b = NULL;
    struct error err = {0};
    int rc = budget_create(s, &b, &err);
    if (rc == 0)
        rc = budget_start(b, &err);
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    return b;
}

/* Without the thread, which knows the real time. */
static inline struct budget *still_budget(struct store *s)
{
    struct budget *b = NULL;
    struct error err;
    assert_int_equal(budget_create(s, &b, &err), 0);
    return b;
}

static inline int64_t now(void)
{
    return clock_wall_ms();
}

static inline void limit_money(struct store *s, const char *kind, const char *name, const char *budget)
{
    struct store_limits l = limits_none(str_from(kind), str_from(name));
    struct error err;
    assert_int_equal(limits_budget_read(str_from(budget), &l, &err), 0);
    assert_int_equal(store_limits_set(s, &l, STORE_WAIT, &err), 0);
}

static inline void spend(struct budget *b, const char *key, const char *team, int64_t wall_ms, int64_t nano)
{
    struct budget_ticket t;
    budget_open(b, str_from(key), str_from(team), wall_ms, &t);
    budget_settle(&t, 0, nano);
}

static inline int64_t used(struct budget *b, const char *kind, const char *name, enum period p)
{
    struct arena *a = arena_create(64 * KIB);
    struct budget_view v;
    budget_look(b, str_from(kind), str_from(name), a, &v);
    arena_free(a);
    return v.used[p];
}

static inline void settle_in_state(
    struct fixture *f, struct store *s, const char *id, int64_t wall_ms, int64_t nano)
{
    struct error err;
    struct store_opened opened = opened_row(id, wall_ms);
    struct store_settled settled = settled_row(id);
    opened.key_id = STR("k");
    opened.team = STR("t");
    settled.cost_nano_usd = nano;
    assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), 0);
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
}

#endif
