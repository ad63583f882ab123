/* The same cases on a real PostgreSQL, started here on a socket of its own; and what only it can do: go away
 * and come back, serve several gateways. */
#include "base/buf.h"
#include "base/limits.h"
#include "unit/store/chain_cases.h"
#include "unit/store/postgres_fixture.h"
#include "unit/store/store_cases.h"

#include <pthread.h>

static struct store_stats stats_of(struct store *s)
{
    struct store_stats stats;
    store_stats(s, &stats);
    return stats;
}

static void submit_settled(struct store *s, const char *prefix, int n)
{
    struct error err;
    for (int i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "%s%d", prefix, i);
        struct store_settled row = settled_row(id);
        assert_int_equal(store_ledger_settle(s, &row, NOBODY, &err), 0);
    }
}

static void wait_until_written(struct store *s)
{
    for (int i = 0; i < 6000 && stats_of(s).queued > 0; i++)
        usleep(5000);
    assert_int_equal(stats_of(s).queued, 0);
}

static void test_server_goes_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    int64_t recovered;
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(store_ledger_recover(s, &recovered, &err), 0);
    keep_request(f, s, "before", 1);
    int64_t changes = store_change_count(s);
    assert_true(server_control("stop -m immediate"));
    submit_settled(s, "patient", 50);
    struct store_egress egress = egress_row("never sent", 1);
    assert_int_equal(store_egress_record(s, &egress, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_IO);
    assert_false(stats_of(s).healthy);
    assert_true(store_change_count(s) > changes); /* nobody can tell */
    assert_true(server_control("start"));
    wait_until_written(s);
    assert_true(stats_of(s).healthy);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(ledger_count(s), 51);
    struct seen seen;
    chain_is_whole(s, &seen);
    store_close(s);
}

/* A request id too long for the server's index spoiled the whole group again and again. */
static void test_refused_row_is_lost_alone(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    static char noise[60000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)('!' + rand() % 90);
    struct store_opened poison = opened_row("", 1);
    poison.request_id = (struct str){noise, sizeof noise};
    submit_settled(s, "before", 20);
    assert_int_equal(store_ledger_open(s, &poison, NOBODY, &err), 0);
    submit_settled(s, "after", 20);
    wait_until_written(s);
    assert_int_equal(ledger_count(s), 40);
    assert_int_equal(stats_of(s).failed, 1);
    assert_true(stats_of(s).healthy);
    struct seen seen;
    chain_is_whole(s, &seen);
    store_close(s);
}

/* The server ends a session a moment after its client has gone. */
static void recover_one(struct store *s)
{
    struct error err;
    int64_t recovered = 0;
    for (int i = 0; i < 2000 && recovered == 0; i++) {
        assert_int_equal(store_ledger_recover(s, &recovered, &err), 0);
        usleep(recovered ? 0 : 5000);
    }
    assert_int_equal(recovered, 1);
}

static void test_living_gateways_are_left_alone(void **state)
{
    struct fixture *f = *state;
    struct store *one = fixture_open(f), *two = fixture_open(f), *three = fixture_open(f);
    struct error err;
    int64_t recovered = -1;
    assert_int_equal(store_claim(one, &err), 0);
    assert_int_equal(store_ledger_recover(one, &recovered, &err), 0);
    struct store_opened row = opened_row("of one", 1), other = opened_row("of two", 2);
    assert_int_equal(store_ledger_open(one, &row, NOBODY, &err), 0);
    assert_int_equal(store_claim(two, &err), 0);
    assert_int_equal(store_ledger_recover(two, &recovered, &err), 0);
    assert_int_equal(recovered, 0);
    assert_int_equal(store_ledger_open(two, &other, NOBODY, &err), 0);
    store_close(two); /* ends with its request open */
    assert_int_equal(store_claim(three, &err), 0);
    recover_one(three); /* the dead one's, not the living one's */
    store_close(one);
    recover_one(three);
    store_close(three);
}

/* A server to which the state was restored counts transactions anew: all that had been spent before was read
 * again at each look. */
static void test_marks_of_a_restored_state_are_not_ahead(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    int64_t mark = 0, rows[2] = {0, 0};
    spend_request(f, s, "before", "k", 3, false);
    store_close(s);
    server_sql("UPDATE weir.spend SET changed = 1000000000");
    s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_count, rows, &err), 0);
    assert_int_equal(rows[0], 1);
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_count, rows, &err), 0);
    assert_int_equal(rows[0], 1);
    spend_request(f, s, "after", "k", 4, false);
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_count, rows, &err), 0);
    assert_int_equal(rows[0], 2);
    store_close(s);
}

/* ---- Leases: settled_row costs 400000, key k, team blue. ---- */

static void limit_team(struct store *s, int64_t total, int64_t day)
{
    const struct store_limits row = {STR("team"), STR("blue"), 1, {total, day, -1, -1}, -1, -1, -1, STR_NONE};
    struct error err;
    assert_int_equal(store_limits_set(s, &row, STORE_WAIT, &err), 0);
}

/* What the spender was granted. */
static int64_t take(struct store *s, int64_t spender, int64_t must, int64_t want, int64_t *rest)
{
    const struct store_lease lease = {STR("team"), STR("blue"), spender, must, want, {INT64_MIN, 7, 7, 7}};
    struct error err = {0};
    int64_t granted = 0;
    if (store_lease_take(s, &lease, &granted, rest, &err))
        fail_msg("%s", err.message);
    return granted;
}

static bool beat(struct store *s, int64_t spender)
{
    struct error err;
    bool renewed = false;
    int64_t others;
    assert_int_equal(store_lease_beat(s, spender, 10000, &renewed, &others, &err), 0);
    return renewed;
}

static void wanted_count(void *ctx, struct str kind, struct str name)
{
    assert_true(str_is(kind, "team") && str_is(name, "blue"));
    ++*(int *)ctx;
}

static void test_leases_never_are_more_than_is_left(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    int64_t rest;
    int wanted = 0;
    assert_int_equal(take(s, 1, 0, 10, &rest), -1); /* nobody knows it */
    assert_true(beat(s, 1));
    assert_true(beat(s, 2));
    assert_false(beat(s, 1));
    limit_team(s, 1000, 400);
    assert_int_equal(take(s, 1, 0, 0, &rest), 100); /* half of what is left of the day, by two */
    assert_int_equal(rest, 300);
    assert_int_equal(take(s, 1, 150, 150, &rest), 175);
    assert_int_equal(take(s, 2, 226, 226, &rest), 0); /* only 225 are left: nothing is taken */
    assert_int_equal(rest, 400);
    assert_int_equal(store_lease_wanted(s, 1, wanted_count, &wanted, &err), 0);
    assert_int_equal(wanted, 1);
    assert_int_equal(store_lease_wanted(s, 2, wanted_count, &wanted, &err), 0);
    assert_int_equal(wanted, 1); /* not by itself */
    const struct store_lease less = {STR("team"), STR("blue"), 1, 0, 50, {0}};
    assert_int_equal(store_lease_give(s, &less, &err), 0);
    assert_int_equal(take(s, 2, 226, 300, &rest), 300);
    assert_int_equal(rest, 100);
    wanted = 0;
    assert_int_equal(store_lease_wanted(s, 1, wanted_count, &wanted, &err), 0);
    assert_int_equal(wanted, 0);
    assert_int_equal(store_lease_end(s, 1, &err), 0);
    assert_int_equal(take(s, 2, 0, 400, &rest), 400);
    assert_int_equal(rest, 0);
    store_close(s);
}

struct taking {
    struct store *s;
    int64_t granted;
    int rc;
};

static void *taking_main(void *ctx)
{
    struct taking *t = ctx;
    const struct store_lease lease = {STR("team"), STR("blue"), 1, 0, 10, {INT64_MIN, 7, 7, 7}};
    struct error err;
    int64_t rest;
    t->rc = store_lease_take(t->s, &lease, &t->granted, &rest, &err);
    return NULL;
}

static int64_t number_of(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    int64_t n = PQntuples(r) ? atoll(PQgetvalue(r, 0, 0)) : 0;
    PQclear(r);
    return n;
}

/* They shared a connection: loops that ask for changes, and the writer's transaction (here one that begins a
 * chain), waited for who waits for a budget's row, which that transaction itself may hold. */
static void test_nobody_waits_for_a_lease_that_is_being_taken(void **state)
{
    struct fixture *f = *state;
    struct taking t = {.s = fixture_open(f)};
    pthread_t thread;
    PGconn *c = PQconnectdb(server_url);
    assert_int_equal(PQstatus(c), CONNECTION_OK);
    assert_true(beat(t.s, 1));
    limit_team(t.s, 1000, -1);
    PQclear(PQexec(c, "BEGIN"));
    number_of(c, "SELECT usd_total FROM weir.limits FOR UPDATE");
    assert_int_equal(pthread_create(&thread, NULL, taking_main, &t), 0);
    int64_t waiting = 0;
    for (int i = 0; i < 60000 && waiting == 0; i++, usleep(1000))
        waiting = number_of(c, "SELECT count(*) FROM pg_locks WHERE NOT granted");
    assert_int_equal(waiting, 1);
    store_change_count(t.s);
    keep_egress(f, t.s, "meanwhile", 1);
    PQclear(PQexec(c, "COMMIT"));
    pthread_join(thread, NULL);
    assert_int_equal(t.rc, 0); /* else the lock was waited for until it failed */
    assert_int_equal(t.granted, 500);
    PQfinish(c);
    store_close(t.s);
}

/* Nothing is lost and nothing counts twice, whenever it is looked at. */
static void test_what_is_spent_lowers_the_lease(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    int64_t rest, me = store_spender(s);
    limit_team(s, 2000000, -1);
    (void)beat(s, me);
    (void)beat(s, me + 1);
    assert_int_equal(take(s, me, 0, 1000000, &rest), 1000000);
    assert_int_equal(rest, 1000000);
    spend_request(f, s, "a", "k", 3, false);
    spend_request(f, s, "b", "k", 4, true);
    assert_int_equal(take(s, me + 1, 1, 1, &rest), 250000);
    assert_int_equal(rest, 750000 + 200000); /* 800000 are spent */
    spend_request(f, s, "c", "k", 4, true);  /* more than it was granted: 1200000 are spent */
    assert_int_equal(take(s, me + 1, 1, 1, &rest), 250000 + 550000 / 4);
    assert_int_equal(take(s, me, 0, 1200000, &rest), 1200000 + (550000 - 550000 / 4) / 4);
    store_close(s);
}

static void test_a_dead_gateways_lease_lapses(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    int64_t rest;
    limit_team(s, 1000, -1);
    (void)beat(s, 1);
    (void)beat(s, 2);
    assert_int_equal(take(s, 1, 0, 900, &rest), 900);
    assert_int_equal(take(s, 2, 200, 200, &rest), 0);
    server_sql("UPDATE weir.spenders SET seen = seen - 5000 WHERE spender = 1");
    assert_false(beat(s, 2));
    assert_int_equal(take(s, 2, 200, 200, &rest), 0); /* not yet */
    server_sql("UPDATE weir.spenders SET seen = seen - 6000 WHERE spender = 1");
    assert_false(beat(s, 2));
    assert_int_equal(take(s, 2, 200, 200, &rest), 500);
    assert_int_equal(take(s, 1, 0, 1, &rest), -1); /* it was only slow, and is told */
    assert_true(beat(s, 1));
    assert_int_equal(take(s, 1, 0, 1, &rest), 125);
    store_close(s);
}

static void shared_note(void *ctx, struct str name, int64_t others)
{
    buf_appendf(ctx, STR_FMT " %lld\n", STR_ARG(name), (long long)others);
}

/* What it says of each, in the order of their names. */
static void assert_shared(struct store *s, int64_t spender, const char *names, const char *expected)
{
    struct buf told;
    struct error err;
    buf_init(&told, KIB);
    if (store_lease_share(s, spender, 10000, str_from(names), shared_note, &told, &err))
        fail_msg("%s", err.message);
    assert_string_equal(told.data, expected);
    buf_free(&told);
}

static void test_gateways_know_who_else_is_asked(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    beat(s, 1), beat(s, 2), beat(s, 3);
    assert_shared(s, 1, "[\"ka\",\"t\\\"b\"]", "ka 0\nt\"b 0\n");
    assert_shared(s, 2, "[\"ka\"]", "ka 1\n");
    assert_shared(s, 1, "[\"ka\",\"kc\"]", "ka 1\nkc 0\n");
    assert_shared(s, 3, "[\"ka\",\"t\\\"b\"]", "ka 2\nt\"b 1\n");
    server_sql("UPDATE weir.leases SET granted = granted - 11000 WHERE spender = 2"); /* asked no more */
    assert_shared(s, 3, "[\"ka\"]", "ka 1\n");
    server_sql("DELETE FROM weir.spenders WHERE spender = 1"); /* dead */
    assert_shared(s, 3, "[\"ka\"]", "ka 0\n");
    store_close(s);
}

static void test_newer_schema(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    store_close(s);
    server_sql("UPDATE weir.meta SET value = 999 WHERE name = 'schema'");
    assert_int_equal(store_open(str_from(f->url), &s, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "newer Weir"));
}

static int64_t last_ms;

static int in_order(void *ctx, const struct store_ledger_row *row)
{
    assert_true(row->opened.wall_ms >= last_ms);
    last_ms = row->opened.wall_ms;
    ++*(int *)ctx;
    return 0;
}

/* Schema 3, made of this one by undoing the last step: ids were counted, request ids and times had indexes.
 */
static void test_schema_3_becomes_this_one(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    int rows = 0;
    keep_request(f, s, "late", 1700000000002);
    keep_request(f, s, "early", 1700000000001);
    store_close(s);
    server_sql(
        "SET search_path TO weir;"
        "UPDATE meta SET value = 3 WHERE name = 'schema'; DROP TABLE leases, spenders, limits, spend;"
        "DROP TABLE chain, chain_notes; DROP SEQUENCE chains; ALTER TABLE egress DROP COLUMN link;"
        "ALTER TABLE ledger DROP COLUMN opened_link, DROP COLUMN settled_link;"
        "DROP INDEX ledger_unsettled; DROP FUNCTION row_id, row_change, now_ms, lease_beat, lease_take;"
        "DROP SEQUENCE row_numbers;"
        "UPDATE ledger SET id = CASE request_id WHEN 'late' THEN 1 ELSE 2 END;"
        "ALTER TABLE ledger ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;"
        "ALTER TABLE egress ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;"
        "ALTER TABLE ledger ADD CONSTRAINT ledger_request_id_key UNIQUE(request_id);"
        "CREATE INDEX ledger_by_time ON ledger(wall_ms, id);"
        "CREATE INDEX ledger_open ON ledger(gateway) WHERE outcome = 'open';"
        "CREATE INDEX egress_by_time ON egress(wall_ms, id)");
    s = fixture_open(f);
    keep_request(f, s, "new", 1700000000003);
    last_ms = 0;
    assert_int_equal(store_ledger_list(s, 0, in_order, &rows, &err), 0);
    assert_int_equal(rows, 3);
    rows = 0;
    last_ms = 1700000000002;
    assert_int_equal(store_ledger_list(s, last_ms, in_order, &rows, &err), 0);
    assert_int_equal(rows, 2);
    int64_t mark = 0, spent[2] = {0, 0}; /* what was spent before there were sums of it, and the new one */
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_count, spent, &err), 0);
    assert_int_equal(spent[1], 3 * 400000);
    store_close(s);
}

/* They would go on writing rows that no chain and no sum knows. */
static void test_no_new_schema_beneath_running_gateways(void **state)
{
    struct fixture *f = *state;
    struct store *one = fixture_open(f), *two = fixture_open(f), *s;
    struct error err;
    assert_int_equal(store_claim(one, &err), 0);
    assert_int_equal(store_claim(two, &err), 0);
    keep_request(f, one, "1", clock_wall_ms());
    keep_request(f, two, "2", clock_wall_ms());
    server_sql("UPDATE weir.meta SET value = value - 1 WHERE name = 'schema'");
    assert_int_equal(store_open(str_from(f->url), &s, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "2 gateways"));
    server_sql("UPDATE weir.meta SET value = value + 1 WHERE name = 'schema'");
    store_close(two);
    store_close(one);
}

static void test_a_gateway_that_reconnected_wrote_rows_into_a_newer_form(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_egress egress = egress_row("never sent", 1);
    int code = ERROR_IO;
    assert_int_equal(store_claim(s, &err), 0);
    keep_request(f, s, "before", clock_wall_ms());
    server_sql("UPDATE weir.meta SET value = value + 1 WHERE name = 'schema'");
    server_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'");
    submit_settled(s, "patient", 50);
    for (int i = 0; i < 10 && code == ERROR_IO; i++) { /* first that the connection is lost */
        assert_int_equal(store_egress_record(s, &egress, fixture_done(f), &err), 0);
        code = fixture_wait(f);
    }
    assert_int_equal(code, ERROR_UNSUPPORTED);
    assert_false(stats_of(s).healthy);
    server_sql("DO $$ BEGIN ASSERT (SELECT count(*) FROM weir.ledger) = 1; END $$");
    server_sql("UPDATE weir.meta SET value = value - 1 WHERE name = 'schema'");
    wait_until_written(s); /* of this version again: they had waited */
    assert_int_equal(ledger_count(s), 51);
    store_close(s);
}

/* Each has a chain of its own, and tells of the others'. */
static void test_gateways_have_chains_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct store *one = fixture_open(f);
    keep_request(f, one, "1", clock_wall_ms());
    struct store *two = fixture_open(f);
    keep_request(f, two, "2", clock_wall_ms());
    keep_request(f, one, "3", clock_wall_ms());
    store_close(one);
    struct store *three = fixture_open(f);
    keep_request(f, three, "4", clock_wall_ms());
    chain_is_whole(three, &seen);
    assert_int_equal(seen.n_heads, 3);
    assert_int_equal(seen.out.ledger, 4);
    store_close(two);
    static const struct {
        const char *sql, *what, *why;
    } tamperings[] = {
        {"UPDATE weir.ledger SET cost_nano_usd = 1 WHERE request_id = '2'", "a request's settling",
            "was changed"},
        /* A gateway's all. */
        {"DELETE FROM weir.ledger WHERE opened_link >> 43 = 2; DELETE FROM weir.chain WHERE id >> 43 = 2;"
         "DELETE FROM weir.chain_notes WHERE id >> 43 = 2",
            "a chain", "does not come to where another one saw it"},
    };
    for (size_t i = 0; i < sizeof tamperings / sizeof *tamperings; i++) {
        server_sql(tamperings[i].sql);
        chain_verify(three, NULL, 0, &seen);
        if (seen.out.breaks == 0 || strcmp(seen.what, tamperings[i].what) != 0 ||
            !strstr(seen.why, tamperings[i].why))
            fail_msg("%s: found '%s' '%s'", tamperings[i].sql, seen.what, seen.why);
    }
    store_close(three);
}

static void test_a_purge_seals_the_chains_of_all_gateways(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct error err;
    int64_t rows;
    struct store *one = fixture_open(f), *two = fixture_open(f);
    keep_request(f, one, "1", clock_wall_ms());
    keep_request(f, two, "2", clock_wall_ms());
    struct store *dead = fixture_open(f);
    keep_request(f, dead, "dead", clock_wall_ms());
    store_close(dead);
    usleep(3000);
    int64_t between = clock_wall_ms();
    usleep(3000);
    keep_request(f, two, "3", clock_wall_ms());
    assert_int_equal(store_purge(one, between, &rows, &err), 0);
    assert_int_equal(rows, 3);
    keep_request(f, one, "4", clock_wall_ms());
    keep_request(f, two, "5", clock_wall_ms());
    chain_is_whole(one, &seen);
    assert_int_equal(seen.out.ledger, 3);
    assert_int_equal(seen.n_heads, 2); /* the dead one's is gone with its rows */
    store_close(one);
    server_sql("DELETE FROM weir.chain_notes WHERE sort = 'sealed' AND chain = 2");
    chain_verify(two, NULL, 0, &seen);
    assert_true(seen.out.breaks > 0);
    store_close(two);
}

static void test_no_server(void **state)
{
    struct store *s;
    struct error err;
    (void)state;
    assert_int_equal(store_open(STR("postgresql://user:secret@127.0.0.1:1/none"), &s, &err), ERROR_IO);
    assert_null(strstr(err.message, "secret"));
    assert_int_equal(store_open(STR("postgresql://[nonsense"), &s, &err), ERROR_IO);
}

static void test_processes_make_it_at_once(void **state)
{
    enum { CHILDREN = 6 };
    struct fixture *f = *state;
    pid_t children[CHILDREN];
    fflush(NULL);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct store *s;
            struct error err;
            int rc = store_open(str_from(f->url), &s, &err);
            if (rc)
                print_error("%s\n", err.message);
            _exit(rc ? 1 : 0);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, server_up, fixture_down)
    const struct CMUnitTest tests[] = {
        STORE_CASES(server_up, fixture_down),
        CHAIN_CASES(server_up, fixture_down),
        ON(test_gateways_have_chains_of_their_own),
        ON(test_a_purge_seals_the_chains_of_all_gateways),
        ON(test_server_goes_and_comes_back),
        ON(test_refused_row_is_lost_alone),
        ON(test_living_gateways_are_left_alone),
        ON(test_schema_3_becomes_this_one),
        ON(test_leases_never_are_more_than_is_left),
        ON(test_nobody_waits_for_a_lease_that_is_being_taken),
        ON(test_what_is_spent_lowers_the_lease),
        ON(test_a_dead_gateways_lease_lapses),
        ON(test_gateways_know_who_else_is_asked),
        ON(test_newer_schema),
        ON(test_no_new_schema_beneath_running_gateways),
        ON(test_a_gateway_that_reconnected_wrote_rows_into_a_newer_form),
        ON(test_marks_of_a_restored_state_are_not_ahead),
        ON(test_processes_make_it_at_once),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(test_no_server)};
    return cmocka_run_group_tests(without, NULL, NULL) + server_run(tests, sizeof tests / sizeof *tests);
}
