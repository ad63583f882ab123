/* The same cases on a real PostgreSQL, started here on a socket of its own; and what only it can do: go away
 * and come back, serve several gateways. */
#include "unit/store/store_cases.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <postgresql/libpq-fe.h>
#include <sys/wait.h>

static char server_dir[64], server_bin[256], server_url[128];

/* PostgreSQL refuses to run as root. */
static bool run_as_nobody(const char *command)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
            _exit(126);
        int log = open("/dev/null", O_RDWR);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool server_control(const char *what)
{
    char command[700];
    snprintf(command, sizeof command,
        "%s/pg_ctl -D %s/data -w -t 60 -l %s/log -o \"-k %s -c listen_addresses='' -c fsync=off\" %s",
        server_bin, server_dir, server_dir, server_dir, what);
    return run_as_nobody(command);
}

static bool server_find(void)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
        return false;
    snprintf(server_bin, sizeof server_bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
    *strrchr(server_bin, '/') = '\0';
    globfree(&found);
    return true;
}

static bool server_start(void)
{
    char command[512];
    strcpy(server_dir, "/tmp/weir-pg-XXXXXX");
    if (!mkdtemp(server_dir) || chmod(server_dir, 0777))
        return false;
    snprintf(command, sizeof command,
        "%s/initdb -D %s/data -U weir --auth=trust --no-sync -E UTF8 --locale=C", server_bin, server_dir);
    snprintf(server_url, sizeof server_url, "postgresql:///postgres?host=%s&user=weir", server_dir);
    return run_as_nobody(command) && server_control("start");
}

static void server_end(void)
{
    char command[256];
    (void)server_control("stop -m immediate");
    snprintf(command, sizeof command, "rm -rf %s/data %s/log", server_dir, server_dir);
    (void)run_as_nobody(command);
    rmdir(server_dir);
}

static void server_sql(const char *sql)
{
    PGconn *c = PQconnectdb(server_url);
    assert_int_equal(PQstatus(c), CONNECTION_OK);
    PGresult *r = PQexec(c, sql);
    assert_true(PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK);
    PQclear(r);
    PQfinish(c);
}

static int up(void **state)
{
    if (fixture_up(state))
        return -1;
    struct fixture *f = *state;
    server_sql("SET client_min_messages = error; DROP SCHEMA IF EXISTS weir CASCADE");
    snprintf(f->url, sizeof f->url, "%s", server_url);
    return 0;
}

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
    server_sql("SET search_path TO weir;"
               "UPDATE meta SET value = 3 WHERE name = 'schema'; DROP TABLE limits, spend;"
               "DROP INDEX ledger_unsettled; DROP FUNCTION row_id, row_change; DROP SEQUENCE row_numbers;"
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
    int64_t spent[2] = {0, 0}; /* what was spent before there were sums of it, and the new one */
    assert_int_equal(store_spend_list(s, 0, spend_count, spent, &err), 0);
    assert_int_equal(spent[1], 3 * 400000);
    store_close(s);
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
#define ON(test) cmocka_unit_test_setup_teardown(test, up, fixture_down)
    const struct CMUnitTest tests[] = {
        STORE_CASES(up, fixture_down),
        ON(test_server_goes_and_comes_back),
        ON(test_refused_row_is_lost_alone),
        ON(test_living_gateways_are_left_alone),
        ON(test_schema_3_becomes_this_one),
        ON(test_newer_schema),
        ON(test_marks_of_a_restored_state_are_not_ahead),
        ON(test_processes_make_it_at_once),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(test_no_server)};
    int failed = cmocka_run_group_tests(without, NULL, NULL);
    if (!server_find()) {
        print_message("skipped: PostgreSQL is not installed\n");
        return failed;
    }
    if (server_start())
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    else
        print_error("PostgreSQL did not start: see %s/log\n", server_dir), failed++;
    server_end();
    return failed;
}
