/* The journal: what was answered is in the database exactly once, whatever happens in between. */
#include "unit/store/journal_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/rand.h"

enum { ROUNDS = 40, CHILD_IN_FLIGHT = 8, MANY = 5000 };

/* ---- Rows. ---- */

static void test_rows_reach_the_database_and_the_files_become_empty(void **state)
{
    struct fixture *f = *state;
    struct store *s = journal_open(f);
    for (int i = 0; i < MANY; i++)
        egress_add(f, s, i);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(f->failures, 0);
    store_close(s);
    assert_int_equal(file_bytes(f, 0), 16);
    assert_int_equal(file_bytes(f, 1), 16);
    s = fixture_open(f);
    assert_int_equal(egress_count(s), MANY);
    store_close(s);
}

/* Under load both files take turns, and neither grows with the number of rows. */
static void test_files_stay_small(void **state)
{
    struct fixture *f = *state;
    struct store *s = journal_open(f);
    off_t most = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < MANY; i++)
            egress_add(f, s, round * MANY + i);
        assert_int_equal(fixture_wait(f), 0);
        struct store_stats stats;
        for (int i = 0; i < 2000; i++) {
            store_stats(s, &stats);
            if (stats.queued == 0)
                break;
            usleep(5000);
        }
        assert_int_equal(stats.queued, 0);
        for (int i = 0; i < 2; i++)
            most = file_bytes(f, i) > most ? file_bytes(f, i) : most;
    }
    assert_true(most < 8 << 20);
    store_close(s);
}

/* ---- Killed. ---- */

struct writer {
    struct store *s;
    struct loop *loop;
    int pipe, round, sent, answered;
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

static void writer_send(struct writer *w)
{
    struct error err;
    char id[32];
    snprintf(id, sizeof id, "%d.%d", w->round, w->sent++);
    struct store_egress egress = egress_row(id, w->round);
    if (store_egress_record(w->s, &egress, (struct store_done){w->loop, writer_answer, w}, &err))
        _exit(8);
}

static void writer_main(struct fixture *f, int fd, int round)
{
    struct error err;
    struct writer w = {.pipe = fd, .round = round};
    if (loop_create(&w.loop, &err))
        _exit(9);
    w.s = journal_open(f);
    for (int i = 0; i < CHILD_IN_FLIGHT; i++)
        writer_send(&w);
    _exit(loop_run(w.loop, &err) ? 10 : 11);
}

/* Rows acknowledged to a process that is killed after a while. */
static int write_until_killed(struct fixture *f, int round)
{
    int fds[2], status, number, acknowledged = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        writer_main(f, fds[1], round);
    }
    close(fds[1]);
    int64_t until = clock_mono_ns() + (int64_t)(rand_u64() % 90) * 1000000;
    while (read(fds[0], &number, sizeof number) == sizeof number) {
        acknowledged++;
        if (clock_mono_ns() >= until)
            kill(child, SIGKILL);
    }
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return acknowledged;
}

struct seen {
    char *ids; /* of a round: how often each number was seen */
    int round, most;
};

static int seen_row(void *ctx, const struct store_egress *row)
{
    struct seen *s = ctx;
    int round, number;
    char id[64];
    snprintf(id, sizeof id, STR_FMT, STR_ARG(row->request_id));
    assert_int_equal(sscanf(id, "%d.%d", &round, &number), 2);
    if (round != s->round)
        return 0;
    assert_true(number < MANY * 100);
    s->ids[number]++;
    s->most = number > s->most ? number : s->most;
    return 0;
}

static void test_killed_at_any_instant_each_row_is_there_once(void **state)
{
    struct fixture *f = *state;
    struct error err;
    int all = 0;
    char *ids = malloc(MANY * 100);
    for (int round = 1; round <= ROUNDS; round++) {
        int acknowledged = write_until_killed(f, round);
        struct store *s = fixture_open(f);
        assert_int_equal(store_absorb(s, &err), 0);
        struct seen seen = {ids, round, -1};
        memset(ids, 0, MANY * 100);
        assert_int_equal(store_egress_list(s, 0, seen_row, &seen, &err), 0);
        assert_true(seen.most + 1 >= acknowledged);
        for (int i = 0; i <= seen.most; i++)
            assert_int_equal(ids[i], 1);
        all += acknowledged;
        store_close(s);
    }
    free(ids);
    assert_true(all > ROUNDS);
    print_message("%d kills, %d acknowledged rows, each there once\n", ROUNDS, all);
}

/* ---- Damage. ---- */

/* Leaves `count` rows in the journal and none of them in the database. */
static void rows_left(struct fixture *f, int count)
{
    fflush(NULL);
    pid_t child = fork();
    int status;
    if (child == 0) {
        struct error err;
        struct store *s = journal_open(f);
        for (int i = 0; i < count; i++) {
            char id[32];
            snprintf(id, sizeof id, "request-%d", i);
            struct store_egress row = egress_row(id, i);
            if (store_egress_record(s, &row, NOBODY, &err))
                _exit(1);
        }
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static int absorbed(struct fixture *f)
{
    struct error err;
    struct store *s = fixture_open(f);
    assert_int_equal(store_absorb(s, &err), 0);
    int n = egress_count(s);
    store_close(s);
    return n;
}

static void test_a_row_cut_short_ends_the_file(void **state)
{
    struct fixture *f = *state;
    char path[160];
    rows_left(f, 5);
    file_path(f, 0, path);
    assert_int_equal(truncate(path, file_bytes(f, 0) - 3), 0);
    assert_int_equal(absorbed(f), 4);
    assert_int_equal(absorbed(f), 4);
}

static void test_every_bit_of_a_row_is_checked(void **state)
{
    struct fixture *f = *state;
    char path[160];
    unsigned char byte;
    rows_left(f, 2);
    file_path(f, 0, path);
    off_t bytes = file_bytes(f, 0);
    char *copy = malloc((size_t)bytes);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, copy, (size_t)bytes, 0), bytes);
    off_t second = 16 + (bytes - 16) / 2;
    for (off_t at = second; at < bytes; at += 7) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, copy, (size_t)bytes, 0), bytes);
        byte = (unsigned char)copy[at] ^ 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(absorbed(f), 1);
    }
    close(fd);
    free(copy);
}

static void test_another_file_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char path[160];
    file_path(f, 0, path);
    FILE *file = fopen(path, "w");
    fputs("this is no journal but somebody's letter", file);
    fclose(file);
    struct store *s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(store_journal(s, STR_NONE, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "no journal"));
    store_close(s);
}

/* A file that an earlier version left: its tags were SipHash. */
static void old_file_write(const struct fixture *f, int rows)
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = "Weir's journal.";
    char path[160];
    file_path(f, 0, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fwrite("WEIRJRN1", 1, 8, file);
    fwrite("12345678", 1, 8, file);
    for (int64_t number = 1; number <= rows; number++) {
        static const char *const texts[] = {"r", "otherwise", "any", "cloud", "openai", "host", "/path"};
        char body[256];
        size_t n = 0;
        memcpy(body, &number, 8);
        body[8] = 4; /* an egress record */
        memcpy(body + 9, &number, 8);
        n = 17;
        for (size_t i = 0; i < 9; i++) {
            const char *text = i < 7 ? texts[i] : "hash";
            uint32_t len = (uint32_t)strlen(text);
            if (i == 7) { /* bytes */
                memcpy(body + n, &number, 8);
                n += 8;
                continue;
            }
            memcpy(body + n, &len, 4);
            memcpy(body + n + 4, text, len);
            n += 4 + len;
        }
        uint32_t len = (uint32_t)n;
        unsigned char tag[8];
        crypto_shorthash(tag, (const unsigned char *)body, n, key);
        fwrite(&len, 1, 4, file);
        fwrite(tag, 1, 8, file);
        fwrite(body, 1, n, file);
    }
    fclose(file);
}

static void test_a_journal_of_an_earlier_version_is_read(void **state)
{
    struct fixture *f = *state;
    char path[160], header[8];
    old_file_write(f, 3);
    struct store *s = journal_open(f);
    assert_int_equal(egress_count(s), 3);
    egress_add(f, s, 4);
    assert_int_equal(fixture_wait(f), 0);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(egress_count(s), 4);
    store_close(s);
    file_path(f, 0, path);
    FILE *file = fopen(path, "r");
    assert_int_equal(fread(header, 1, 8, file), 8);
    fclose(file);
    assert_memory_equal(header, "WEIRJRN2", 8);
    assert_int_equal(file_bytes(f, 0), 16);
}

/* The file of an earlier version goes on with rows of this one until it is emptied: both kinds are found. */
static void test_a_journal_of_two_versions_is_read(void **state)
{
    struct fixture *f = *state;
    old_file_write(f, 2);
    rows_left(f, 3);
    assert_int_equal(absorbed(f), 5);
}

/* Killed between opening and settling: the request is there, as interrupted, and what it sent is too. */
static void test_killed_between_open_and_settle(void **state)
{
    struct fixture *f = *state;
    struct error err;
    int status;
    int64_t interrupted = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct store *s = journal_open(f);
        struct store_opened opened = opened_row("cut", 1);
        if (store_ledger_open(s, &opened, NOBODY, &err))
            _exit(1);
        egress_add(f, s, 1);
        if (fixture_wait(f))
            _exit(2);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct store *s = journal_open(f);
    assert_int_equal(store_ledger_recover(s, &interrupted, &err), 0);
    assert_int_equal(interrupted, 1);
    assert_int_equal(ledger_count(s), 1);
    assert_int_equal(egress_count(s), 1);
    store_close(s);
}

/* The disk becomes full in the middle of what a turn submitted: whole rows at its front were left in the
 * file, and were written although their askers had been told that they were not. */
static void test_no_room_for_half_of_a_turn(void **state)
{
    struct fixture *f = *state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct store *s = journal_open(f);
        struct rlimit half = {16 + 500, RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &half);
        for (int i = 0; i < 5; i++)
            egress_add(f, s, i);
        fixture_wait(f);
        if (f->failures != 5)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(file_bytes(f, 0), 16);
    assert_int_equal(absorbed(f), 0);
}

/* Without room for the journal a row waits for the database, and is told when that fails, too. */
static void test_no_room_for_the_journal(void **state)
{
    struct fixture *f = *state;
    fflush(NULL);
    pid_t child = fork();
    int status;
    if (child == 0) {
        struct store *s = journal_open(f);
        struct rlimit none = {16, RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &none);
        egress_add(f, s, 1);
        _exit(fixture_wait(f) == ERROR_IO ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_two_gateways_do_not_share_a_journal(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct store *s = journal_open(f), *other = fixture_open(f);
    assert_int_equal(store_journal(other, STR_NONE, &err), ERROR_BUSY);
    assert_int_equal(store_absorb(other, &err), 0);
    store_close(other);
    store_close(s);
}

/* `weir audit` beside a running gateway must not miss what has just been answered. */
static void test_a_reader_sees_what_was_answered(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct store *s = journal_open(f), *reader = fixture_open(f);
    for (int i = 0; i < 20; i++) {
        egress_add(f, s, i);
        assert_int_equal(fixture_wait(f), 0);
        assert_int_equal(store_absorb(reader, &err), 0);
        assert_int_equal(egress_count(reader), i + 1);
    }
    store_close(reader);
    store_close(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        TEST(test_rows_reach_the_database_and_the_files_become_empty),
        TEST(test_files_stay_small),
        TEST(test_killed_at_any_instant_each_row_is_there_once),
        TEST(test_a_row_cut_short_ends_the_file),
        TEST(test_every_bit_of_a_row_is_checked),
        TEST(test_another_file_is_refused),
        TEST(test_a_journal_of_an_earlier_version_is_read),
        TEST(test_a_journal_of_two_versions_is_read),
        TEST(test_killed_between_open_and_settle),
        TEST(test_no_room_for_half_of_a_turn),
        TEST(test_no_room_for_the_journal),
        TEST(test_two_gateways_do_not_share_a_journal),
        TEST(test_a_reader_sees_what_was_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
