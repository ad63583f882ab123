/* Budgets against a real state: what is reserved and spent at every level, over periods, threads and
 * processes. */
#include "unit/govern/budget_rig.h"

#include <math.h>
#include <pthread.h>

static void refresh(struct budget *b)
{
    struct error err;
    assert_int_equal(budget_refresh(b, &err), 0);
}

/* The code of reserving so much for key k of team t, which is given back unless it was refused. */
static int afford(struct budget *b, int64_t nano)
{
    struct budget_ticket t;
    struct budget_refusal refusal;
    struct error err;
    budget_open(b, STR("k"), STR("t"), now(), &t);
    int rc = budget_reserve(&t, nano, &refusal, &err);
    if (rc == 0)
        budget_settle(&t, nano, 0);
    return rc;
}

static void test_every_level_must_have_it(void **state)
{
    static const struct {
        const char *kind, *name;
    } levels[] = {{"key", "k"}, {"team", "t"}, {"team", "*"}};
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    for (size_t i = 0; i < 3; i++) {
        limit_money(s, levels[i].kind, levels[i].name, "1");
        refresh(b);
        assert_int_equal(afford(b, USD), 0);
        assert_int_equal(afford(b, USD + 1), ERROR_BUSY);
        limit_money(s, levels[i].kind, levels[i].name, "none");
    }
    refresh(b);
    assert_int_equal(afford(b, 1000 * USD), 0);
    budget_free(b);
    store_close(s);
}

static void test_what_is_reserved_is_settled_with_what_it_cost(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket one, two;
    struct budget_refusal refusal;
    struct error err;
    limit_money(s, "key", "k", "10/day");
    refresh(b);
    budget_open(b, STR("k"), STR_NONE, now(), &one);
    budget_open(b, STR("k"), STR_NONE, now(), &two);
    assert_int_equal(budget_reserve(&one, 6 * USD, &refusal, &err), 0);
    assert_true(fabs(budget_left(&two) - 4) < 1e-9);
    assert_true(fabs(budget_share(&two) - 0.4) < 1e-9);
    assert_int_equal(budget_reserve(&two, 6 * USD, &refusal, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "this key for the day has 4 USD left, and this may cost 6 USD"));
    assert_in_range(refusal.retry_after_ms, 0, DAY);
    assert_string_equal(refusal.type, "insufficient_quota");
    budget_settle(&one, 6 * USD, 1); /* it cost next to nothing */
    assert_int_equal(budget_reserve(&two, 6 * USD, &refusal, &err), 0);
    budget_settle(&two, 6 * USD, 9 * USD); /* and this more than it said */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 9 * USD + 1);
    assert_int_equal(used(b, "team", "*", PERIOD_TOTAL), 9 * USD + 1);
    assert_int_equal(afford(b, USD), ERROR_BUSY);
    assert_int_equal(afford(b, USD - 1), 0);
    budget_settle(&two, 0, 5 * USD);
    assert_true(budget_left(&two) == 0); /* over it: nothing, not less */
    assert_true(budget_share(&two) == 0);
    budget_free(b);
    store_close(s);
}

static void test_without_budgets_everything_is_left(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket t;
    struct budget_refusal refusal;
    struct error err;
    budget_open(b, STR("k"), STR("t"), now(), &t);
    assert_true(isinf(budget_left(&t)) && budget_share(&t) == 1);
    budget_open(NULL, STR("k"), STR("t"), now(), &t);
    assert_true(isinf(budget_left(&t)));
    assert_int_equal(budget_admit(&t, STR("m"), 5, 0, &refusal, &err), 0);
    assert_int_equal(budget_reserve(&t, USD, &refusal, &err), 0);
    budget_settle(&t, 0, USD);
    budget_close(&t, 5);
    budget_free(b);
    store_close(s);
}

static void test_a_period_that_is_over_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = still_budget(s);
    struct budget_ticket monday;
    int64_t wall;
    assert_true(clock_parse(STR("2096-02-15T12:00:00Z"), &wall)); /* a Wednesday */
    budget_open(b, STR("k"), STR("t"), wall - 2 * DAY, &monday);
    spend(b, "k", "t", wall, 5 * USD);
    for (int p = 0; p < PERIODS; p++)
        assert_int_equal(used(b, "key", "k", (enum period)p), 5 * USD);
    budget_settle(&monday, 0, USD); /* began on Monday and ended now: in the week, not in the day */
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 5 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_WEEK), 6 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), 6 * USD);
    spend(b, "k", "t", wall + DAY, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_WEEK), 7 * USD);
    assert_true(clock_parse(STR("2096-02-29T23:59:59.999Z"), &wall));
    spend(b, "k", "t", wall, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_WEEK), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), 8 * USD);
    spend(b, "k", "t", wall + 1, USD);
    assert_int_equal(used(b, "key", "k", PERIOD_MONTH), USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), 9 * USD);
    budget_free(b);
    store_close(s);
}

/* ---- Rates ---- */

static void limit_rates(struct store *s, const char *kind, const char *name, struct store_limits l)
{
    struct error err;
    l.kind = str_from(kind);
    l.name = str_from(name);
    assert_int_equal(store_limits_set(s, &l, STORE_WAIT, &err), 0);
}

static int admit(struct budget *b, struct budget_ticket *t, const char *model, int64_t tokens, int64_t now_ns,
    struct budget_refusal *refusal, struct error *err)
{
    budget_open(b, STR("k"), STR("t"), now(), t);
    return budget_admit(t, str_from(model), tokens, now_ns, refusal, err);
}

static void test_rates_at_every_level(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket t, others[3];
    struct budget_refusal refusal;
    struct error err;
    struct store_limits l = limits_none(STR_NONE, STR_NONE);
    l.requests = 2;
    limit_rates(s, "key", "k", l);
    l.requests = 100;
    l.tokens = 600;
    limit_rates(s, "team", "t", l);
    refresh(b);
    assert_int_equal(admit(b, &t, "m", 300, 1, &refusal, &err), 0);
    assert_true(t.rated && t.token_rated);
    assert_int_equal(t.rates.requests.limit, 2); /* the scarcer one */
    assert_int_equal(t.rates.requests.room, 1);
    assert_int_equal(t.rates.tokens.room, 300);
    assert_int_equal(t.rates.tokens.full_ms, 30000);
    assert_int_equal(admit(b, &others[0], "m", 300, 1, &refusal, &err), 0);
    assert_int_equal(admit(b, &others[1], "m", 0, 1, &refusal, &err), ERROR_BUSY);
    assert_string_equal(refusal.type, "requests");
    assert_int_equal(refusal.retry_after_ms, 30001);
    assert_non_null(strstr(err.message, "this key may have 2 requests a minute"));
    assert_int_equal(others[1].rates.tokens.room, 0); /* what was refused took nothing */
    assert_int_equal(admit(b, &others[1], "m", 600, INT64_C(31000000000), &refusal, &err), ERROR_BUSY);
    assert_string_equal(refusal.type, "tokens");
    assert_non_null(strstr(err.message, "the team t may have 600 tokens a minute"));
    budget_close(&t, 0); /* it took none after all */
    budget_close(&others[0], 40);
    budget_close(&others[0], 40); /* once is enough */
    assert_int_equal(admit(b, &others[1], "m", 600, INT64_C(31000000000), &refusal, &err), 0);
    assert_int_equal(others[1].rates.tokens.room, 0);
    budget_free(b);
    store_close(s);
}

/* What was given back was counted by the new limit: the key stayed shut for as long as the old one said. */
static void test_a_limit_raised_while_a_request_runs_opens_the_key(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket one, two;
    struct budget_refusal refusal;
    struct error err;
    struct store_limits l = limits_none(STR_NONE, STR_NONE);
    l.tokens = 1000;
    limit_rates(s, "key", "k", l);
    refresh(b);
    assert_int_equal(admit(b, &one, "m", 1000000, 1, &refusal, &err), 0); /* an hour's and more */
    l.tokens = 1000000;
    limit_rates(s, "key", "k", l);
    refresh(b);
    budget_close(&one, 100);
    assert_int_equal(admit(b, &two, "m", 500, INT64_C(10000000000), &refusal, &err), 0);
    budget_free(b);
    store_close(s);
}

/* It gave back by the part it had begun with: with a smaller one now the key stayed shut. */
static void test_a_part_that_changes_while_a_request_runs_gives_back_as_much(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = still_budget(s);
    struct budget_ticket one, two;
    struct budget_refusal refusal;
    struct error err;
    struct store_limits l = limits_none(STR_NONE, STR_NONE);
    l.tokens = 1000;
    limit_rates(s, "key", "k", l);
    refresh(b);
    assert_int_equal(admit(b, &one, "m", 1000000, 1, &refusal, &err), 0);
    b->others = 1; /* another gateway has come */
    assert_int_equal(admit(b, &two, "m", 0, 1, &refusal, &err), ERROR_BUSY);
    budget_close(&one, 200);
    assert_int_equal(admit(b, &one, "m", 300, 1, &refusal, &err), 0);
    b->others = 0; /* and has gone */
    assert_int_equal(admit(b, &two, "m", 0, 1, &refusal, &err), 0);
    assert_int_equal(two.rates.tokens.room, 500);
    budget_free(b);
    store_close(s);
}

static void test_requests_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket one, two, three;
    struct budget_refusal refusal;
    struct error err;
    struct store_limits l = limits_none(STR_NONE, STR_NONE);
    l.parallel = 2;
    limit_rates(s, "team", "*", l);
    refresh(b);
    assert_int_equal(admit(b, &one, "m", 0, 1, &refusal, &err), 0);
    assert_int_equal(admit(b, &two, "m", 0, 1, &refusal, &err), 0);
    assert_int_equal(admit(b, &three, "m", 0, 1, &refusal, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "everyone together may have 2 requests at a time"));
    budget_close(&three, 0); /* one that was refused has no place to leave */
    assert_int_equal(admit(b, &three, "m", 0, 1, &refusal, &err), ERROR_BUSY);
    budget_close(&one, 0);
    assert_int_equal(admit(b, &three, "m", 0, 1, &refusal, &err), 0);
    budget_free(b);
    store_close(s);
}

static void test_models_that_may_be_asked_for(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct budget_ticket t;
    struct budget_refusal refusal;
    struct error err;
    struct store_limits l = limits_none(STR_NONE, STR_NONE);
    l.models = STR("auto,gpt*");
    limit_rates(s, "team", "t", l);
    l.models = STR("auto");
    limit_rates(s, "key", "k", l);
    refresh(b);
    assert_int_equal(admit(b, &t, "auto", 0, 1, &refusal, &err), 0);
    budget_close(&t, 0);
    assert_int_equal(admit(b, &t, "gpt-4o", 0, 1, &refusal, &err), ERROR_DENIED);
    assert_non_null(strstr(err.message, "gpt-4o"));
    assert_false(budget_allows(b, STR("k"), STR("t"), STR("gpt-4o")));
    assert_true(budget_allows(b, STR("other"), STR("t"), STR("gpt-4o")));
    assert_false(budget_allows(b, STR("other"), STR("t"), STR("claude")));
    assert_true(budget_allows(b, STR_NONE, STR_NONE, STR("claude")));
    assert_int_equal(store_limits_drop(s, STR("key"), STR("k"), STORE_WAIT, &err), 0);
    refresh(b);
    assert_true(budget_allows(b, STR("k"), STR("t"), STR("gpt-4o")));
    budget_free(b);
    store_close(s);
}

/* ---- Threads ---- */

enum { THREADS = 8, TRIES = 20000 };

struct spender {
    struct budget *budget;
    int64_t spent;
    pthread_t thread;
};

/* Reserves more than it will cost, as requests do. */
static void *spend_much(void *ctx)
{
    struct spender *p = ctx;
    for (int i = 0; i < TRIES; i++) {
        struct budget_ticket t;
        struct budget_refusal refusal;
        struct error err;
        budget_open(p->budget, STR("k"), STR("t"), now(), &t);
        if (budget_reserve(&t, 1000 + i % 7, &refusal, &err))
            continue;
        budget_settle(&t, 1000 + i % 7, 990);
        p->spent += 990;
    }
    return NULL;
}

static void test_threads_never_spend_too_much(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct budget *b = open_budget(s);
    struct spender spenders[THREADS];
    const int64_t limit = 50000 * 1000;
    limit_money(s, "team", "t", "0.05");
    refresh(b);
    for (int i = 0; i < THREADS; i++) {
        spenders[i] = (struct spender){.budget = b};
        assert_int_equal(pthread_create(&spenders[i].thread, NULL, spend_much, &spenders[i]), 0);
    }
    int64_t spent = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(spenders[i].thread, NULL);
        spent += spenders[i].spent;
    }
    assert_in_range(spent, limit - 1007, limit);
    assert_int_equal(used(b, "team", "t", PERIOD_TOTAL), spent);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), spent);
    assert_int_equal(used(b, "team", "*", PERIOD_MONTH), spent);
    budget_free(b);
    store_close(s);
}

/* ---- The state ---- */

static void test_what_was_spent_is_read_at_the_start(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    int64_t today = now();
    (void)store_spender(s);
    settle_in_state(f, s, "today", today, USD);
    settle_in_state(f, s, "long ago", today - 400 * DAY, 10 * USD);
    struct budget *b = open_budget(s);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), USD);
    assert_int_equal(used(b, "team", "t", PERIOD_MONTH), USD);
    assert_int_equal(used(b, "team", "*", PERIOD_TOTAL), 11 * USD);
    /* Its own is in the state, too, and counted once. */
    spend(b, "k", "t", today, 2 * USD);
    settle_in_state(f, s, "own", today, 2 * USD);
    refresh(b);
    refresh(b);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 3 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), 13 * USD);
    budget_free(b);
    store_close(s);
    s = fixture_open(f); /* as after a kill */
    b = open_budget(s);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 3 * USD);
    assert_int_equal(used(b, "key", "k", PERIOD_TOTAL), 13 * USD);
    budget_free(b);
    store_close(s);
}

static void test_others_who_share_the_state_are_seen(void **state)
{
    struct fixture *f = *state;
    struct store *here = fixture_open(f), *there = fixture_open(f);
    struct budget *b = open_budget(here), *other = open_budget(there);
    limit_money(there, "key", "k", "10/day");
    for (int i = 1; i <= 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "there%d", i);
        settle_in_state(f, there, id, now(), 3 * USD);
        spend(other, "k", "t", now(), 3 * USD);
        refresh(b);
        assert_int_equal(used(b, "key", "k", PERIOD_DAY), 3 * i * USD);
    }
    refresh(other);
    assert_int_equal(used(other, "key", "k", PERIOD_DAY), 9 * USD);
    assert_int_equal(afford(b, 2 * USD), ERROR_BUSY);
    assert_int_equal(afford(b, USD), 0);
    /* The reader's thread does the same soon. */
    settle_in_state(f, there, "more", now(), USD);
    for (int i = 0; i < 600 && used(b, "key", "k", PERIOD_DAY) < 10 * USD; i++)
        usleep(50000);
    assert_int_equal(used(b, "key", "k", PERIOD_DAY), 10 * USD);
    budget_free(b);
    budget_free(other);
    store_close(here);
    store_close(there);
}

/* Another process spends under many keys. What each refresh then takes goes by what changed, not by how many
 * keys there are; the sums are those that reading all of it gives. */
static void test_many_keys_are_not_read_again(void **state)
{
    enum { ROUNDS = 20 };
    const int keys = getenv("WEIR_SHOW_FIGURES") ? 20000 : 500;
    struct fixture *f = *state;
    struct store *here = fixture_open(f), *there = fixture_open(f);
    store_spender(there);
    struct budget *b = still_budget(here);
    refresh(b);
    for (int i = 0; i < keys; i++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "r%d", i);
        snprintf(key, sizeof key, "key%d", i);
        struct store_opened opened = opened_row(id, now());
        struct store_settled settled = settled_row(id);
        struct error err;
        opened.key_id = str_from(key);
        opened.team = STR("t");
        assert_int_equal(store_ledger_open(there, &opened, NOBODY, &err), 0);
        assert_int_equal(store_ledger_settle(there, &settled, fixture_done(f), &err), 0);
        if (i % 1000 == 999)
            assert_int_equal(fixture_wait(f), 0);
    }
    assert_int_equal(fixture_wait(f), 0);
    clock_t at = clock();
    refresh(b);
    clock_t first = clock() - at, later = 0;
    assert_int_equal(used(b, "team", "t", PERIOD_DAY), keys * 400000LL);
    for (int i = 0; i < ROUNDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "more%d", i);
        settle_in_state(f, there, id, now(), USD);
        at = clock();
        refresh(b);
        later += clock() - at;
        assert_int_equal(used(b, "key", "k", PERIOD_DAY), (i + 1) * USD);
    }
    struct budget *all = still_budget(there);
    for (int p = 0; p < PERIODS; p++) {
        assert_int_equal(used(b, "team", "*", (enum period)p), keys * 400000LL + ROUNDS * USD);
        assert_int_equal(used(all, "team", "*", (enum period)p), keys * 400000LL + ROUNDS * USD);
    }
    assert_int_equal(used(b, "key", "key7", PERIOD_DAY), 400000);
    print_message("%d keys: read in %.1f ms of CPU, and then a refresh takes %.3f ms\n", keys,
        (double)first * 1e3 / CLOCKS_PER_SEC, (double)later * 1e3 / CLOCKS_PER_SEC / ROUNDS);
    budget_free(all);
    budget_free(b);
    store_close(here);
    store_close(there);
}

static void test_lists(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct arena *a = arena_create(MIB);
    struct budget_view v;
    struct buf text;
    struct json_writer w;
    size_t n;
    limit_money(s, "team", "t", "10/day");
    limit_money(s, "key", "k", "none");
    struct budget *b = open_budget(s);
    spend(b, "k", "t", now(), USD / 4);
    struct budget_view *views = budget_list(b, a, &n);
    assert_int_equal(n, 2);
    assert_true(str_is(views[0].limits.name, "t") && views[0].limited);
    budget_look(b, STR("team"), STR("nobody"), a, &v);
    assert_false(v.limited);
    buf_init(&text, 4096);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    budget_view_write(&views[0], &w);
    json_object_end(&w);
    assert_non_null(strstr(text.data, "{\"budget\":{\"day\":{\"limit\":10.00,\"used\":0.25,\"ends\":\"2"));
    assert_non_null(strstr(text.data, "\"total\":{\"limit\":null,\"used\":0.25,\"ends\":null}}"));
    assert_non_null(strstr(text.data, "\"requests\":null,\"tokens\":null,\"parallel\":null,\"models\":null"));
    buf_free(&text);
    arena_free(a);
    budget_free(b);
    store_close(s);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_every_level_must_have_it),
        ON(test_what_is_reserved_is_settled_with_what_it_cost),
        ON(test_without_budgets_everything_is_left),
        ON(test_a_period_that_is_over_begins_anew),
        ON(test_rates_at_every_level),
        ON(test_a_limit_raised_while_a_request_runs_opens_the_key),
        ON(test_a_part_that_changes_while_a_request_runs_gives_back_as_much),
        ON(test_requests_at_a_time),
        ON(test_models_that_may_be_asked_for),
        ON(test_threads_never_spend_too_much),
        ON(test_what_was_spent_is_read_at_the_start),
        ON(test_others_who_share_the_state_are_seen),
        ON(test_many_keys_are_not_read_again),
        ON(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
