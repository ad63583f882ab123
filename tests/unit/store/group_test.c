/* Many writers, one transaction; bounds; what a write costs (printed). */
#include "unit/store/store_fixture.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "base/sort.h"

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Transactions in the write-ahead log: frames that carry the database's size
 * (https://sqlite.org/fileformat2.html). */
static int wal_commits(const struct fixture *f)
{
    char path[128];
    unsigned char head[32];
    int commits = 0;
    snprintf(path, sizeof path, "%s-wal", f->path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, 32, file), 32);
    uint32_t page = big_endian(head + 8);
    while (fread(head, 1, 24, file) == 24) {
        commits += big_endian(head + 4) != 0;
        assert_int_equal(fseek(file, (long)page, SEEK_CUR), 0);
    }
    fclose(file);
    return commits;
}

static void test_what_waits_is_one_transaction(void **state)
{
    enum { ROWS = 1000 };
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    keep_request(f, s, "before", 1);
    int commits = wal_commits(f);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < ROWS; i++) {
        struct store_egress row = egress_row("r", i);
        assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
    }
    usleep(20000);
    struct store_stats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.queued, ROWS); /* nobody is told before it is kept */
    assert_int_equal(stats.written, 2);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(f->failures, 0);
    /* The writer took what had come when it began, then all the rest. */
    assert_in_range(wal_commits(f) - commits, 1, 2);
    store_close(s);
}

struct inserted {
    int seen[4], rows;
    int64_t since;
};

static int inserted_row(void *ctx, const struct store_egress *row)
{
    struct inserted *n = ctx;
    n->rows++;
    assert_true(row->wall_ms >= n->since);
    n->seen[row->bytes]++;
    return 0;
}

/* Rows go to the database sixteen in a statement. One that it refuses is lost alone, and each is found by its
 * time, whatever the order they came in. */
static void test_of_rows_in_one_statement_only_the_refused_is_lost(void **state)
{
    enum { ROWS = 200, REFUSED = 37 };
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct inserted n = {.since = 0};
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                         "CREATE TRIGGER refuse BEFORE INSERT ON egress WHEN new.bytes = 3 "
                         "BEGIN SELECT RAISE(ABORT, 'no'); END; BEGIN IMMEDIATE",
                         NULL, NULL, NULL),
        SQLITE_OK);
    for (int i = 0; i < ROWS; i++) {
        struct store_egress row = egress_row("r", 1000 + (i / 20) * (i % 3 == 0 ? -1 : 1));
        row.bytes = i == REFUSED || i == REFUSED + 1 ? 3 : i % 2;
        assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
    }
    assert_int_equal(sqlite3_exec(other, "ROLLBACK; ", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    fixture_wait(f);
    assert_int_equal(f->failures, 2);
    assert_int_equal(store_egress_list(s, 0, inserted_row, &n, &err), 0);
    assert_int_equal(n.rows, ROWS - 2);
    assert_int_equal(n.seen[3], 0);
    for (n.since = 991; n.since < 1010; n.since++) {
        int expected = 0;
        for (int i = 0; i < ROWS; i++)
            expected +=
                i != REFUSED && i != REFUSED + 1 && 1000 + (i / 20) * (i % 3 == 0 ? -1 : 1) >= n.since;
        n.rows = 0;
        assert_int_equal(store_egress_list(s, n.since, inserted_row, &n, &err), 0);
        assert_int_equal(n.rows, expected);
    }
    store_close(s);
}

static void test_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct store_egress row = egress_row("r", 1);
    int rc = 0, taken = 0;
    for (; rc == 0 && taken <= LIMIT_STORE_ROWS; taken += rc == 0)
        rc = store_egress_record(s, &row, NOBODY, &err);
    assert_int_equal(rc, ERROR_BUSY);
    assert_int_equal(taken, LIMIT_STORE_ROWS);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    struct store_stats stats;
    do {
        usleep(5000);
        store_stats(s, &stats);
    } while (stats.queued > 0);
    assert_int_equal(stats.written, LIMIT_STORE_ROWS);
    /* Few rows of much text meet the other bound. */
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    char *text = malloc(LIMIT_STORE_ROW);
    memset(text, 'x', LIMIT_STORE_ROW);
    row.path = (struct str){text, LIMIT_STORE_ROW - 4096};
    for (rc = 0, taken = 0; rc == 0 && taken < 100; taken += rc == 0)
        rc = store_egress_record(s, &row, NOBODY, &err);
    assert_int_equal(rc, ERROR_BUSY);
    assert_int_equal(taken, 64);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    free(text);
    store_close(s);
}

/* ---- Loops of several threads. ---- */

enum { THREADS = 4, ROWS = 25000, IN_FLIGHT = 64 };

struct client {
    struct store *store;
    struct loop *loop;
    int number, sent, answered;
    int64_t started_ns[IN_FLIGHT], longest_ns, total_ns;
};

static void client_send(struct client *c);

static void client_answer(void *ctx, int code)
{
    struct client *c = ctx;
    assert_int_equal(code, 0);
    /* Answers come in the order of the writes. */
    int64_t took = clock_mono_ns() - c->started_ns[c->answered % IN_FLIGHT];
    c->longest_ns = took > c->longest_ns ? took : c->longest_ns;
    c->total_ns += took;
    if (++c->answered == ROWS)
        loop_stop(c->loop);
    else if (c->sent < ROWS)
        client_send(c);
}

static void client_send(struct client *c)
{
    struct error err;
    char id[32];
    /* A request is two rows: opened, then settled. */
    snprintf(id, sizeof id, "req_%d_%d", c->number, c->sent / 2);
    struct store_done done = {c->loop, client_answer, c};
    struct store_opened opened = opened_row(id, c->sent);
    struct store_settled settled = settled_row(id);
    c->started_ns[c->sent % IN_FLIGHT] = clock_mono_ns();
    int rc = c->sent % 2 == 0 ? store_ledger_open(c->store, &opened, done, &err)
                              : store_ledger_settle(c->store, &settled, done, &err);
    assert_int_equal(rc, 0);
    c->sent++;
}

static void *client_main(void *ctx)
{
    struct client *c = ctx;
    struct error err;
    assert_int_equal(loop_create(&c->loop, &err), 0);
    for (int i = 0; i < IN_FLIGHT; i++)
        client_send(c);
    assert_int_equal(loop_run(c->loop, &err), 0);
    loop_free(c->loop);
    return NULL;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void test_100k_rows_from_four_loops(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    static struct client clients[THREADS];
    pthread_t threads[THREADS];
    double cpu = cpu_s();
    int64_t started = clock_mono_ns(), total_ns = 0, longest_ns = 0;
    for (int i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.store = s, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].answered, ROWS);
        total_ns += clients[i].total_ns;
        longest_ns = clients[i].longest_ns > longest_ns ? clients[i].longest_ns : longest_ns;
    }
    double wall = (double)(clock_mono_ns() - started) / 1e9;
    print_message(
        "%d rows, %d in flight: %.0f rows/s, latency mean %.2f ms, longest %.1f ms, CPU %.1f us a row\n",
        THREADS * ROWS, THREADS * IN_FLIGHT, THREADS * ROWS / wall, (double)total_ns / THREADS / ROWS / 1e6,
        (double)longest_ns / 1e6, (cpu_s() - cpu) / THREADS / ROWS * 1e6);
    assert_int_equal(ledger_count(s), THREADS * ROWS / 2);
    struct store_stats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.written, THREADS * ROWS);
    assert_int_equal(stats.queued, 0);
    store_close(s);
}

static void test_latency_of_a_row_alone(void **state)
{
    enum { N = 300 };
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    static double took[N];
    for (int i = 0; i < N; i++) {
        struct store_egress row = egress_row("r", i);
        int64_t started = clock_mono_ns();
        assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), 0);
        took[i] = (double)(clock_mono_ns() - started);
    }
    sort_doubles(took, N);
    print_message("one row at a time: median %.2f ms, 95th %.2f ms, longest %.2f ms\n", took[N / 2] / 1e6,
        took[N * 95 / 100] / 1e6, took[N - 1] / 1e6);
    struct store_stats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.written, N);
    store_close(s);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_what_waits_is_one_transaction),
        ON(test_of_rows_in_one_statement_only_the_refused_is_lost),
        ON(test_queue_is_bounded),
        ON(test_latency_of_a_row_alone),
        ON(test_100k_rows_from_four_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
