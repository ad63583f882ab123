/* What was answered stays: processes killed at any instant, full disks, several processes at once. */
#include "unit/store/chain_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/rand.h"

/* ---- Killed. ---- */

enum { ROUNDS = 60, CHILD_IN_FLIGHT = 8, MAX_ROWS = 1 << 17 };

struct writer {
    struct fixture *f;
    struct store *s;
    struct loop *loop;
    int pipe, round;
    int sent, answered;
};

static void writer_send(struct writer *w);

static void writer_answer(void *ctx, int code)
{
    struct writer *w = ctx;
    int number = w->answered++;
    if (code != 0 || write(w->pipe, &number, sizeof number) != sizeof number)
        _exit(7);
    writer_send(w);
}

/* Even rows open a request, odd ones settle it; every one also leaves an egress record behind it. */
static void writer_send(struct writer *w)
{
    struct error err;
    char id[32];
    int number = w->sent++;
    snprintf(id, sizeof id, "%d.%d", w->round, number / 2);
    struct store_opened opened = opened_row(id, w->round);
    struct store_settled settled = settled_row(id);
    struct store_egress egress = egress_row(id, w->round);
    struct store_done done = {w->loop, writer_answer, w};
    int rc = number % 2 == 0 ? store_ledger_open(w->s, &opened, done, &err)
                             : store_ledger_settle(w->s, &settled, done, &err);
    if (rc || store_egress_record(w->s, &egress, NOBODY, &err))
        _exit(8);
}

static void writer_main(struct fixture *f, int fd, int round)
{
    struct error err;
    struct writer w = {.f = f, .pipe = fd, .round = round};
    int64_t left;
    if (loop_create(&w.loop, &err) || store_open(str_from(f->url), &w.s, &err) || store_claim(w.s, &err) ||
        store_ledger_recover(w.s, &left, &err)) {
        print_error("%s\n", err.message);
        _exit(9);
    }
    for (int i = 0; i < CHILD_IN_FLIGHT; i++)
        writer_send(&w);
    _exit(loop_run(w.loop, &err) ? 10 : 11);
}

/* Reads acknowledgements until `until_ns`, kills, reads the rest; how many there were. */
/* It lives so long from its first row on, or (`early`) from its beginning: on a busy machine hardly anybody
 * begins to write within some milliseconds. */
static int read_until_killed(int fd, pid_t child, int64_t life_ns, bool early)
{
    int64_t until_ns = early ? clock_mono_ns() + life_ns : INT64_MAX;
    int acknowledged = 0, number;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool killed = false;
    for (;;) {
        if (!killed && clock_mono_ns() >= until_ns) {
            assert_int_equal(kill(child, SIGKILL), 0);
            killed = true;
        }
        if (poll(&p, 1, 1) == 0)
            continue;
        if (read(fd, &number, sizeof number) != sizeof number)
            break;
        assert_int_equal(number, acknowledged);
        if (acknowledged++ == 0 && !early)
            until_ns = clock_mono_ns() + life_ns;
    }
    return acknowledged;
}

struct tally {
    int round;
    int opened, settled; /* rows of that round */
    int64_t all;
};

static int tally_row(void *ctx, const struct store_ledger_row *row)
{
    struct tally *t = ctx;
    t->all++;
    if (row->opened.wall_ms != t->round)
        return 0;
    t->opened++;
    t->settled += str_is(row->settled.outcome, "ok");
    return 0;
}

static void check_after_kill(struct fixture *f, int round, int acknowledged, int64_t *all)
{
    struct error err = {0};
    struct store *s = fixture_open(f);
    int rc = store_claim(s, &err); /* the dead one's claim is gone; the file is whole */
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    struct tally t = {.round = round};
    assert_int_equal(store_ledger_list(s, 0, tally_row, &t, &err), 0);
    assert_true(t.opened >= (acknowledged + 1) / 2);
    assert_true(t.settled >= acknowledged / 2);
    assert_true(t.all >= *all); /* what earlier rounds left is still there */
    *all = t.all;
    struct seen seen;
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.ledger, t.all);
    store_close(s);
}

static void test_killed_at_any_instant(void **state)
{
    struct fixture *f = *state;
    int64_t all = 0;
    int acknowledged = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            close(fds[0]);
            writer_main(f, fds[1], round);
        }
        close(fds[1]);
        int64_t life_ns = (int64_t)(rand_u64() % 70) * 1000000;
        int n = read_until_killed(fds[0], child, life_ns, round % 4 == 0);
        close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        check_after_kill(f, round, n, &all);
        acknowledged += n;
    }
    assert_true(acknowledged > ROUNDS); /* it was killed while it wrote */
    print_message("%d kills, %d acknowledged rows, none lost\n", ROUNDS, acknowledged);
}

/* ---- Full. ---- */

static void no_room(bool none, const struct fixture *f)
{
    struct rlimit limit;
    struct stat st = {0};
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    if (none)
        assert_int_equal(stat(wal, &st), 0);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = none ? (rlim_t)st.st_size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static struct store_stats stats_of(struct store *s)
{
    struct store_stats stats;
    store_stats(s, &stats);
    return stats;
}

static void wait_for_health(struct store *s, bool healthy)
{
    for (int i = 0; i < 2000 && stats_of(s).healthy != healthy; i++)
        usleep(5000);
    assert_int_equal(stats_of(s).healthy, healthy);
}

static void submit_settled(struct store *s, const char *prefix, int n, struct store_done done)
{
    struct error err;
    char id[32];
    for (int i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%s%d", prefix, i);
        struct store_settled row = settled_row(id);
        assert_int_equal(store_ledger_settle(s, &row, done, &err), 0);
    }
}

static int lines_with(FILE *file, const char *what)
{
    char line[2048];
    int n = 0;
    rewind(file);
    while (fgets(line, sizeof line, file))
        n += strstr(line, what) != NULL;
    return n;
}

static int count_egress(void *ctx, const struct store_egress *row)
{
    (void)row;
    ++*(int64_t *)ctx;
    return 0;
}

static void test_no_room_then_room_again(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    FILE *log = tmpfile();
    int stderr_fd = dup(STDERR_FILENO);
    signal(SIGXFSZ, SIG_IGN);
    keep_request(f, s, "before", 1);
    dup2(fileno(log), STDERR_FILENO);
    no_room(true, f);
    for (int i = 0; i < 3; i++) {
        struct store_egress egress = egress_row("never sent", i);
        assert_int_equal(store_egress_record(s, &egress, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), ERROR_IO);
    }
    struct store_settled awaited = settled_row("awaited");
    assert_int_equal(store_ledger_settle(s, &awaited, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_IO);
    assert_false(stats_of(s).healthy);
    submit_settled(s, "patient", 100, NOBODY);
    usleep(100000);
    assert_false(stats_of(s).healthy);
    assert_int_equal(stats_of(s).queued, 101);
    struct store_key key = {.id = STR("k"), .name = STR("k")};
    assert_int_equal(store_key_add(s, &key, STORE_WAIT, &err), ERROR_IO);
    assert_true(strlen(err.message) > 0);
    assert_int_equal(ledger_count(s), 1); /* reading goes on */
    no_room(false, f);
    wait_for_health(s, true);
    dup2(stderr_fd, STDERR_FILENO);
    close(stderr_fd);
    assert_int_equal(stats_of(s).queued, 0);
    assert_int_equal(ledger_count(s), 102); /* all who were patient and the settled one that was told */
    int64_t left = 0;
    assert_int_equal(store_egress_list(s, 0, count_egress, &left, &err), 0);
    assert_int_equal(left, 0); /* what was refused was not sent */
    assert_int_equal(stats_of(s).failed, 4);
    assert_int_equal(lines_with(log, "cannot be written"), 1);
    assert_int_equal(lines_with(log, "can be written again"), 1);
    fclose(log);
    keep_request(f, s, "after", 2);
    assert_int_equal(store_claim(s, &err), 0);
    store_close(s);
}

static void test_closed_without_room(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    signal(SIGXFSZ, SIG_IGN);
    keep_request(f, s, "before", 1);
    no_room(true, f);
    submit_settled(s, "lost", 10, NOBODY);
    store_close(s); /* says what is lost and ends */
    no_room(false, f);
    s = fixture_open(f);
    assert_int_equal(ledger_count(s), 1);
    store_close(s);
}

/* The real thing, where the test may mount a small file system. */
static void test_full_file_system(void **state)
{
    struct fixture *f = *state;
    struct error err;
    if (mount("tmpfs", f->dir, "tmpfs", 0, "size=1m") != 0) {
        print_message("skipped: no right to mount a file system\n");
        return;
    }
    struct store *s = fixture_open(f);
    keep_request(f, s, "before", 1);
    char filler[128], block[4096] = {1};
    snprintf(filler, sizeof filler, "%s/filler", f->dir);
    FILE *file = fopen(filler, "w");
    setvbuf(file, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, file) == sizeof block)
        continue;
    fclose(file);
    submit_settled(s, "patient", 200, NOBODY);
    wait_for_health(s, false);
    struct store_opened awaited = opened_row("awaited", 1);
    assert_int_equal(store_ledger_open(s, &awaited, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_IO);
    assert_int_equal(unlink(filler), 0);
    wait_for_health(s, true);
    assert_int_equal(ledger_count(s), 201);
    assert_int_equal(store_claim(s, &err), 0);
    store_close(s);
    assert_int_equal(umount(f->dir), 0);
}

/* ---- Several processes. ---- */

static void test_two_processes_write(void **state)
{
    enum { CHILDREN = 3, EACH = 200 };
    struct fixture *f = *state;
    pid_t children[CHILDREN];
    fflush(NULL);
    for (int c = 0; c < CHILDREN; c++) {
        children[c] = fork();
        if (children[c] == 0) {
            struct error err;
            struct store *s;
            if (store_open(str_from(f->url), &s, &err))
                _exit(1);
            for (int i = 0; i < EACH; i++) {
                char id[32];
                snprintf(id, sizeof id, "k%d-%d", c, i);
                struct store_key key = {.id = str_from(id), .name = STR("n")};
                struct store_egress left = egress_row(id, i);
                if (store_egress_record(s, &left, NOBODY, &err) || store_key_add(s, &key, STORE_WAIT, &err)) {
                    print_error("%s\n", err.message);
                    _exit(2);
                }
            }
            store_close(s);
            _exit(0);
        }
    }
    for (int c = 0; c < CHILDREN; c++) {
        int status;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    sqlite3 *db;
    sqlite3_stmt *count;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM keys", -1, &count, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(count), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(count, 0), CHILDREN * EACH);
    sqlite3_finalize(count);
    sqlite3_close(db);
    struct seen seen;
    struct store *s = fixture_open(f);
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.egress, CHILDREN * EACH);
    assert_int_equal(seen.n_heads, 1);
    store_close(s);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_killed_at_any_instant),
        ON(test_no_room_then_room_again),
        ON(test_closed_without_room),
        ON(test_full_file_system),
        ON(test_two_processes_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
