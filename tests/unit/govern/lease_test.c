/* Gateways that share a PostgreSQL keep to a budget together: many threads of several of them reserve, wait
 * and settle against a real one. */
#include "unit/govern/budget_rig.h"
#include "unit/store/postgres_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"

struct gateway {
    struct store *store;
    struct budget *budget;
};

static struct gateway gateway_start(struct fixture *f)
{
    struct gateway g = {.store = fixture_open(f)};
    struct error err = {0};
    if (budget_create(g.store, &g.budget, &err) || budget_start(g.budget, &err))
        fail_msg("%s", err.message);
    return g;
}

static void gateway_stop(struct gateway *g)
{
    budget_free(g->budget);
    store_close(g->store);
}

static void refresh(struct gateway *g)
{
    struct error err;
    assert_int_equal(budget_refresh(g->budget, &err), 0);
}

static void on_told(void *ctx)
{
    *(bool *)ctx = true;
}

/* As a leg pays: at once, or by waiting for what others hold. */
static int pay(struct gateway *g, struct loop *loop, int64_t nano, struct budget_ticket *t, struct error *err)
{
    struct budget_refusal refusal;
    bool told = false;
    budget_open(g->budget, STR("k"), STR("t"), clock_wall_ms(), t);
    int rc = budget_reserve(t, nano, &refusal, err);
    if (rc == 0 || !refusal.held)
        return rc;
    struct budget_wait *w = budget_wait_begin(t, nano, loop, on_told, &told);
    for (int i = 0; i < 2000 && !told; i++) {
        usleep(1000);
        loop_run_posted(loop);
    }
    rc = budget_wait_end(w, &refusal, err);
    loop_run_posted(loop);
    return rc;
}

static _Atomic int next_id;

static void settle(struct gateway *g, struct budget_ticket *t, int64_t reserved, int64_t nano)
{
    char id[32];
    struct error err;
    snprintf(id, sizeof id, "r%d", atomic_fetch_add(&next_id, 1));
    struct store_opened opened = opened_row(id, clock_wall_ms());
    struct store_settled settled = settled_row(id);
    opened.key_id = STR("k");
    opened.team = STR("t");
    settled.cost_nano_usd = nano;
    budget_settle(t, reserved, nano);
    assert_int_equal(store_ledger_open(g->store, &opened, NOBODY, &err), 0);
    assert_int_equal(store_ledger_settle(g->store, &settled, NOBODY, &err), 0);
}

static int64_t leased(struct gateway *g)
{
    struct arena *a = arena_create(64 * KIB);
    struct budget_view v;
    budget_look(g->budget, STR("team"), STR("t"), a, &v);
    arena_free(a);
    return v.leased;
}

enum { GATEWAYS = 3, THREADS = 4, ESTIMATE = 10000000, COST = 7000000 };

struct spender {
    struct gateway *gateway;
    int64_t spent;
    pthread_t thread;
};

/* Until it is refused for good, more than once. */
static void *spend_all(void *ctx)
{
    struct spender *s = ctx;
    struct error err;
    struct loop *loop;
    if (loop_create(&loop, &err))
        abort();
    for (int refused = 0; refused < 3;) {
        struct budget_ticket t;
        if (pay(s->gateway, loop, ESTIMATE, &t, &err)) {
            refused++;
            continue;
        }
        usleep(2000);
        settle(s->gateway, &t, ESTIMATE, COST);
        s->spent += COST;
    }
    loop_free(loop);
    return NULL;
}

static int add(void *ctx, const struct store_spend *row)
{
    *(int64_t *)ctx += row->nano_usd;
    return 0;
}

static int64_t recorded(struct store *s)
{
    int64_t mark = 0, sum = 0;
    struct error err;
    assert_int_equal(store_spend_changes(s, &mark, -1, add, &sum, &err), 0);
    return sum;
}

/* Two gateways that looked at what was recorded spent the end of a budget twice. */
static void test_gateways_together_keep_to_a_budget(void **state)
{
    struct fixture *f = *state;
    struct gateway gateways[GATEWAYS];
    struct spender spenders[GATEWAYS * THREADS];
    const int64_t limit = USD;
    int64_t spent = 0;
    for (int i = 0; i < GATEWAYS; i++)
        gateways[i] = gateway_start(f);
    limit_money(gateways[0].store, "team", "t", "1/day");
    limit_money(gateways[0].store, "team", "*", "50");
    for (int i = 0; i < GATEWAYS; i++)
        refresh(&gateways[i]);
    for (int i = 0; i < GATEWAYS * THREADS; i++) {
        spenders[i] = (struct spender){.gateway = &gateways[i % GATEWAYS]};
        assert_int_equal(pthread_create(&spenders[i].thread, NULL, spend_all, &spenders[i]), 0);
    }
    for (int i = 0; i < GATEWAYS * THREADS; i++) {
        pthread_join(spenders[i].thread, NULL);
        spent += spenders[i].spent;
    }
    assert_in_range(spent, limit / 2, limit);
    /* Nothing is stranded: whatever fits still is had, whoever holds it. */
    struct spender last = {.gateway = &gateways[1]};
    spend_all(&last);
    spent += last.spent;
    assert_in_range(spent, limit - ESTIMATE + 1, limit);
    for (int i = 0; i < GATEWAYS; i++)
        gateway_stop(&gateways[i]);
    struct store *s = fixture_open(f);
    assert_int_equal(recorded(s), spent);
    store_close(s);
}

static void test_what_others_hold_is_given_when_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f), two = gateway_start(f);
    struct budget_ticket first, second, third;
    struct error err;
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    refresh(&two);
    assert_int_equal(pay(&one, f->loop, USD / 10, &first, &err), 0);
    assert_true(leased(&one) >= USD / 4);
    assert_int_equal(
        pay(&two, f->loop, USD * 9 / 10, &second, &err), 0); /* all that the first one can spare */
    assert_int_equal(leased(&one), USD / 10);
    assert_int_equal(pay(&one, f->loop, 1, &third, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "other gateways hold what is left of the budget of the team t"));
    budget_settle(&second, USD * 9 / 10, 0); /* it cost nothing */
    assert_int_equal(pay(&one, f->loop, USD / 2, &third, &err), 0);
    /* A drained gateway leaves nothing behind. */
    budget_settle(&first, USD / 10, 0);
    budget_settle(&third, USD / 2, 0);
    gateway_stop(&one);
    assert_int_equal(pay(&two, f->loop, USD, &second, &err), 0);
    assert_int_equal(pay(&two, f->loop, 1, &third, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "the budget of the team t has 0 USD left"));
    gateway_stop(&two);
}

/* One that was cut off for too long, and did not know. */
static void test_a_lease_that_lapsed_is_not_spent(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f), two = gateway_start(f);
    struct budget_ticket t, other;
    struct error err;
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    refresh(&two);
    assert_int_equal(pay(&one, f->loop, USD / 10, &t, &err), 0);
    settle(&one, &t, USD / 10, USD / 10);
    int64_t before = leased(&one);
    assert_true(before > 0);
    server_sql("DELETE FROM weir.spenders");
    for (int i = 0; i < 400 && leased(&one) > 0; i++) /* it learns it with its next beat */
        usleep(20000);
    assert_int_equal(leased(&one), 0);
    assert_int_equal(pay(&two, f->loop, USD * 9 / 10, &other, &err), 0);
    assert_int_equal(pay(&one, f->loop, USD / 100, &t, &err), ERROR_BUSY);
    gateway_stop(&one);
    gateway_stop(&two);
}

static void test_a_budget_that_is_cut_is_left_at_once(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f), two = gateway_start(f);
    struct budget_ticket t, other;
    struct error err;
    limit_money(one.store, "team", "t", "100");
    refresh(&one);
    refresh(&two);
    assert_int_equal(pay(&one, f->loop, USD, &t, &err), 0);
    assert_true(leased(&one) > 20 * USD);
    limit_money(one.store, "team", "t", "2");
    refresh(&one);
    refresh(&two);
    for (int i = 0; i < 400 && leased(&one) > 2 * USD; i++)
        usleep(20000);
    assert_in_range(leased(&one), USD, 2 * USD);
    assert_int_equal(pay(&two, f->loop, USD, &other, &err), 0);
    assert_int_equal(pay(&two, f->loop, 1, &other, &err), ERROR_BUSY);
    budget_settle(&t, USD, 0);
    gateway_stop(&one);
    gateway_stop(&two);
}

static void test_what_nobody_uses_is_given_back(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f);
    struct budget_ticket t;
    struct error err;
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    assert_int_equal(pay(&one, f->loop, USD / 10, &t, &err), 0);
    settle(&one, &t, USD / 10, USD / 20);
    assert_in_range(leased(&one), USD / 4, USD);
    for (int i = 0; i < 600 && leased(&one) > 0; i++)
        usleep(100000);
    assert_int_equal(leased(&one), 0);
    assert_int_equal(pay(&one, f->loop, USD * 19 / 20, &t, &err), 0);
    budget_settle(&t, USD * 19 / 20, 0);
    gateway_stop(&one);
}

/* Who gives up before it is told keeps nothing. */
static void test_who_waits_and_leaves_holds_nothing(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f);
    struct budget_refusal refusal;
    struct budget_ticket t;
    struct error err;
    bool told = false;
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    for (int i = 0; i < 20; i++) {
        budget_open(one.budget, STR("k"), STR("t"), clock_wall_ms(), &t);
        struct budget_wait *w = budget_wait_begin(&t, USD / 2, f->loop, on_told, &told);
        usleep((useconds_t)(i * 500));
        if (budget_wait_end(w, &refusal, &err) == 0)
            budget_settle(&t, USD / 2, 0);
        loop_run_posted(f->loop);
        assert_false(told);
    }
    assert_int_equal(pay(&one, f->loop, USD, &t, &err), 0);
    budget_settle(&t, USD, 0);
    gateway_stop(&one);
}

/* Asked for as a request is. */
static void admit(struct gateway *g, const char *key, const char *team)
{
    struct budget_refusal refusal;
    struct budget_ticket t;
    struct error err;
    budget_open(g->budget, str_from(key), str_from(team), clock_wall_ms(), &t);
    assert_int_equal(budget_admit(&t, STR("m"), 1, clock_mono_ns(), &refusal, &err), 0);
    budget_close(&t, 1);
}

static void limit_requests(struct store *s, const char *kind, const char *name, int64_t requests)
{
    struct store_limits l = limits_none(str_from(kind), str_from(name));
    struct error err;
    l.requests = requests;
    assert_int_equal(store_limits_set(s, &l, STORE_WAIT, &err), 0);
}

static int64_t count_of(const char *sql)
{
    PGconn *c = PQconnectdb(server_url);
    PGresult *r = PQexec(c, sql);
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    int64_t n = atoll(PQgetvalue(r, 0, 0));
    PQclear(r);
    PQfinish(c);
    return n;
}

/* After that no lease was taken, so that nobody could pay. */
static void test_rates_that_cannot_be_shared_stopped_all_leases(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f), two = gateway_start(f);
    struct budget_ticket t;
    struct error err;
    limit_requests(one.store, "key", "k", 100);
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    refresh(&two);
    server_sql("ALTER TABLE weir.leases ADD CHECK (kind <> 'rates') NOT VALID");
    admit(&one, "k", "t");
    usleep(2500000); /* a beat */
    for (int i = 0; i < 3; i++) {
        if (pay(&one, f->loop, USD / 5, &t, &err))
            fail_msg("%s", err.message);
        settle(&one, &t, USD / 5, USD / 5);
    }
    gateway_stop(&one);
    gateway_stop(&two);
}

/* Its take failed in each turn, before those of the others. */
static void test_an_account_that_fails_kept_others_from_their_leases(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f);
    struct budget_refusal refusal;
    struct budget_ticket bad, t;
    struct error err;
    bool told = false;
    limit_money(one.store, "team", "bad", "1");
    limit_money(one.store, "team", "t", "1");
    refresh(&one);
    server_sql("ALTER TABLE weir.leases ADD CHECK (name <> 'bad') NOT VALID");
    budget_open(one.budget, STR("b"), STR("bad"), clock_wall_ms(), &bad);
    struct budget_wait *w = budget_wait_begin(&bad, USD / 10, f->loop, on_told, &told);
    usleep(200000);
    if (pay(&one, f->loop, USD / 10, &t, &err))
        fail_msg("%s", err.message);
    settle(&one, &t, USD / 10, USD / 10);
    assert_int_equal(budget_wait_end(w, &refusal, &err), ERROR_BUSY);
    loop_run_posted(f->loop);
    gateway_stop(&one);
}

/* Of what is written to standard error meanwhile. */
static int log_begin(void)
{
    char path[] = "/tmp/weir-lease-log-XXXXXX";
    int kept = dup(STDERR_FILENO), fd = mkstemp(path);
    assert_true(kept >= 0 && fd >= 0);
    unlink(path);
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    close(fd);
    return kept;
}

static void log_end(int kept, char *out, size_t size)
{
    fflush(stderr);
    ssize_t n = pread(STDERR_FILENO, out, size - 1, 0);
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_true(n >= 0);
    out[n] = '\0';
}

/* Each time it was asked for there was a line that it failed, and one right after that nothing did. */
static void test_an_account_that_always_fails_filled_the_log(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f);
    struct budget_refusal refusal;
    struct budget_ticket bad;
    struct error err;
    bool told = false;
    char log[4096];
    limit_money(one.store, "team", "bad", "1");
    refresh(&one);
    server_sql("ALTER TABLE weir.leases ADD CHECK (name <> 'bad') NOT VALID");
    int kept = log_begin();
    for (int i = 0; i < 3; i++, usleep(300000)) {
        budget_open(one.budget, STR("b"), STR("bad"), clock_wall_ms(), &bad);
        struct budget_wait *w = budget_wait_begin(&bad, USD / 10, f->loop, on_told, &told);
        usleep(200000);
        assert_int_equal(budget_wait_end(w, &refusal, &err), ERROR_BUSY);
    }
    log_end(kept, log, sizeof log);
    const char *first = strstr(log, "cannot be told apart");
    assert_non_null(first);
    assert_null(strstr(first + 1, "cannot be told apart"));
    assert_null(strstr(log, "known again"));
    loop_run_posted(f->loop);
    gateway_stop(&one);
}

/* A key with a budget alone has no rate to share, and each wrote a row every two seconds. */
static void test_budgets_without_rates_were_shared_as_rates(void **state)
{
    struct fixture *f = *state;
    struct gateway one = gateway_start(f), two = gateway_start(f);
    limit_requests(one.store, "team", "t", 100);
    limit_money(one.store, "key", "k", "1");
    refresh(&one);
    refresh(&two);
    int64_t rows = 0;
    for (int i = 0; i < 100 && rows == 0; i++, usleep(100000)) {
        admit(&one, "k", "t");
        rows = count_of("SELECT count(*) FROM weir.leases WHERE kind = 'rates'");
    }
    assert_int_equal(rows, 1);
    assert_int_equal(count_of("SELECT count(*) FROM weir.leases WHERE kind = 'rates' AND name = 'tt'"), 1);
    gateway_stop(&one);
    gateway_stop(&two);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, server_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_gateways_together_keep_to_a_budget),
        ON(test_what_others_hold_is_given_when_it_is_wanted),
        ON(test_a_lease_that_lapsed_is_not_spent),
        ON(test_a_budget_that_is_cut_is_left_at_once),
        ON(test_what_nobody_uses_is_given_back),
        ON(test_who_waits_and_leaves_holds_nothing),
        ON(test_rates_that_cannot_be_shared_stopped_all_leases),
        ON(test_an_account_that_fails_kept_others_from_their_leases),
        ON(test_an_account_that_always_fails_filled_the_log),
        ON(test_budgets_without_rates_were_shared_as_rates),
    };
    return server_run(tests, sizeof tests / sizeof *tests);
}
