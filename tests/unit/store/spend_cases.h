/* What every database must keep of limits and of what was spent. */
#ifndef WEIR_TESTS_SPEND_CASES_H
#define WEIR_TESTS_SPEND_CASES_H

#include "unit/store/store_fixture.h"

struct limits_found {
    int n;
    int64_t day, created_ms;
};

static int check_limits(void *ctx, const struct store_limits *row)
{
    struct limits_found *found = ctx;
    assert_true(str_is(row->kind, "team") && str_is(row->name, "blue") && str_is(row->models, "auto,gpt*"));
    assert_int_equal(row->usd[0] + row->usd[2] + row->usd[3], 1 + 3 + 4);
    assert_int_equal(row->requests + row->tokens + row->parallel, 5 + 6 + 7);
    found->day = row->usd[1];
    found->created_ms = row->created_ms;
    found->n++;
    return 0;
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_limits row = {STR("team"), STR("blue"), 11, {1, 2, 3, 4}, 5, 6, 7, STR("auto,gpt*")};
    struct limits_found found = {0};
    int64_t count = store_change_count(s);
    assert_int_equal(store_limits_set(s, &row, STORE_WAIT, &err), 0);
    assert_true(store_change_count(s) > count);
    row.created_ms = 99;
    row.usd[1] = 22;
    count = store_change_count(s);
    assert_int_equal(store_limits_set(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_true(store_change_count(s) > count);
    assert_int_equal(store_limits_list(s, check_limits, &found, &err), 0);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.day, 22);
    assert_int_equal(found.created_ms, 11); /* stays the first */
    assert_int_equal(store_limits_drop(s, STR("key"), STR("blue"), STORE_WAIT, &err), ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "the key 'blue'"));
    count = store_change_count(s);
    assert_int_equal(store_limits_drop(s, STR("team"), STR("blue"), fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_true(store_change_count(s) > count);
    found.n = 0;
    assert_int_equal(store_limits_list(s, check_limits, &found, &err), 0);
    assert_int_equal(found.n, 0);
    store_close(s);
}

/* ---- Sums of what was spent: settled_row costs 400000. ---- */

struct spend_found {
    char text[512];
    int64_t since_day;
    int64_t spender; /* whose rows are "mine" */
};

static int spend_say(void *ctx, const struct store_spend *row)
{
    struct spend_found *found = ctx;
    size_t n = strlen(found->text);
    if (row->day < found->since_day)
        return 0;
    snprintf(found->text + n, sizeof found->text - n, "%d:" STR_FMT ":" STR_FMT ":%d%s ",
        row->key_id.len ? (int)row->day : 0, STR_ARG(row->key_id), STR_ARG(row->team),
        (int)row->nano_usd / 1000,
        row->spender == 0                ? ""
        : row->spender == found->spender ? " mine"
                                         : " other");
    return 0;
}

static const char *spend_of(struct store *s, int64_t since_day, int64_t spender)
{
    static struct spend_found found;
    struct error err;
    int64_t mark = 0;
    found = (struct spend_found){.since_day = since_day, .spender = spender};
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_say, &found, &err), 0);
    return found.text;
}

static void spend_request(
    struct fixture *f, struct store *s, const char *id, const char *key, int64_t day, bool two_groups)
{
    struct error err;
    struct store_opened opened = opened_row(id, day * 86400000 + 5);
    struct store_settled settled = settled_row(id);
    opened.key_id = str_from(key);
    opened.team = STR("blue");
    assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
    if (two_groups)
        assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
}

static void test_what_is_settled_is_summed_by_day_and_key(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    spend_request(f, s, "before", "k", 3, true); /* as an earlier process's journal is written */
    int64_t mine = store_spender(s);
    for (int round = 0; round < 2; round++) { /* settled in the group that opened it, and in a later one */
        spend_request(f, s, round ? "a2" : "a1", "k", 3, round == 1);
        spend_request(f, s, round ? "b2" : "b1", "k", 4, round == 1);
        spend_request(f, s, round ? "c2" : "c1", "other", 4, round == 1);
    }
    assert_string_equal(
        spend_of(s, 0, mine), "3:k:blue:400 3:k:blue:800 mine 4:k:blue:800 mine 4:other:blue:800 mine ");
    assert_string_equal(spend_of(s, 4, mine), "4:k:blue:800 mine 4:other:blue:800 mine ");
    struct store_settled free_of_charge = settled_row("free"), lost = settled_row("lost");
    free_of_charge.cost_nano_usd = 0;
    assert_int_equal(store_ledger_settle(s, &free_of_charge, fixture_done(f), &err), 0);
    assert_int_equal(store_ledger_settle(s, &lost, fixture_done(f), &err), 0); /* nobody's, but spent */
    assert_int_equal(fixture_wait(f), 0);
    int64_t purged;
    assert_int_equal(store_purge(s, INT64_MAX, &purged, &err), 0);
    assert_int_equal(purged, 9);
    store_close(s);
    s = fixture_open(f);
    assert_string_equal(
        spend_of(s, 4, store_spender(s)), "4:k:blue:800 other 4:other:blue:800 other 0:::400 other ");
    store_close(s);
}

static int spend_count(void *ctx, const struct store_spend *row)
{
    int64_t *rows = ctx;
    rows[0]++;
    rows[1] += row->nano_usd;
    return 0;
}

/* More keys than sums that a group gathers. */
static void test_many_keys_in_one_group_are_summed(void **state)
{
    enum { KEYS = 100, TIMES = 3 };
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < KEYS * TIMES; i++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "r%d", i);
        snprintf(key, sizeof key, "k%d", i % KEYS);
        struct store_opened opened = opened_row(id, 7 * 86400000);
        struct store_settled settled = settled_row(id);
        opened.key_id = str_from(key);
        assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), 0);
        assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    }
    assert_int_equal(fixture_wait(f), 0);
    store_close(s);
    s = fixture_open(f);
    int64_t mark = 0, rows[2] = {0, 0};
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_count, rows, &err), 0);
    assert_int_equal(rows[0], KEYS);
    assert_int_equal(rows[1], (int64_t)KEYS * TIMES * 400000);
    store_close(s);
}

/* Only what was written since a mark is read again, and never one's own. */
static void test_what_changed_is_listed_alone(void **state)
{
    enum { KEYS = 300 };
    struct fixture *f = *state;
    struct store *here = fixture_open(f), *there = fixture_open(f);
    struct error err;
    int64_t mine = store_spender(here), mark = 0, rows[2] = {0, 0};
    store_spender(there);
    for (int i = 0; i < KEYS; i++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "r%d", i);
        snprintf(key, sizeof key, "k%d", i);
        spend_request(f, i % 3 ? there : here, id, key, 7, false);
    }
    assert_int_equal(store_spend_changes(here, &mark, mine, spend_count, rows, &err), 0);
    assert_int_equal(rows[0], KEYS * 2 / 3);
    for (int i = 0; i < 3; i++) {
        char id[16], own[16];
        snprintf(id, sizeof id, "again%d", i);
        memset(rows, 0, sizeof rows);
        assert_int_equal(store_spend_changes(here, &mark, mine, spend_count, rows, &err), 0);
        assert_int_equal(rows[0], 0);
        snprintf(own, sizeof own, "own%d", i);
        spend_request(f, here, own, "k0", 7, false);
        spend_request(f, there, id, "k1", 7, i == 1);
        assert_int_equal(store_spend_changes(here, &mark, mine, spend_count, rows, &err), 0);
        assert_int_equal(rows[0], 1);
        assert_int_equal(rows[1], (i + 2) * 400000);
    }
    store_close(here);
    store_close(there);
}

#define SPEND_CASES(up, down)                                                                                \
    cmocka_unit_test_setup_teardown(test_limits, up, down),                                                  \
        cmocka_unit_test_setup_teardown(test_what_is_settled_is_summed_by_day_and_key, up, down),            \
        cmocka_unit_test_setup_teardown(test_what_changed_is_listed_alone, up, down),                        \
        cmocka_unit_test_setup_teardown(test_many_keys_in_one_group_are_summed, up, down)

#endif
