/* Opening a state: what may be opened, by whom, and what is said when it may not. */
#include "unit/store/store_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>

static int open_code(const char *url, struct error *err)
{
    struct store *s = NULL;
    int rc = store_open(str_from(url), &s, err);
    if (rc == 0)
        store_close(s);
    return rc;
}

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_urls(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(open_code("", &err), ERROR_INVALID);
    assert_int_equal(open_code("weir.db", &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "sqlite:PATH"));
    assert_int_equal(open_code("sqlite:", &err), ERROR_INVALID);
    assert_false(store_exists(STR("sqlite:")));
    assert_false(store_exists(STR("sqlite:/nowhere/at/all.db")));
}

static void test_names_are_only_names(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char *back = getcwd(NULL, 0);
    assert_int_equal(chdir(f->dir), 0);
    assert_int_equal(open_code("sqlite::memory:", &err), 0);
    assert_int_equal(open_code("sqlite:file:x?mode=memory", &err), 0);
    assert_int_equal(access(":memory:", F_OK), 0);
    assert_int_equal(access("file:x?mode=memory", F_OK), 0);
    assert_true(store_exists(STR("sqlite::memory:")));
    assert_int_equal(chdir(back), 0);
    free(back);
}

static void test_files_are_the_owners(void **state)
{
    struct fixture *f = *state;
    static const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    struct error err;
    umask(0);
    struct store *s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), 0);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", f->path, endings[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    store_close(s);
}

static void test_not_a_database(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char noise[8192];
    memset(noise, 'n', sizeof noise);
    write_file(f->path, noise, sizeof noise);
    assert_int_equal(open_code(f->url, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "not a state file"));
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_size, sizeof noise); /* untouched */
}

static void test_another_programs_database(void **state)
{
    struct fixture *f = *state;
    struct error err;
    run_sql(f->path, "CREATE TABLE theirs(x)");
    assert_int_equal(open_code(f->url, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "another program"));
}

static void test_newer_schema(void **state)
{
    struct fixture *f = *state;
    struct error err;
    assert_int_equal(open_code(f->url, &err), 0);
    run_sql(f->path, "UPDATE meta SET value = 999 WHERE name = 'schema'");
    assert_int_equal(open_code(f->url, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "newer Weir"));
}

static void test_an_empty_file_is_a_new_state(void **state)
{
    struct fixture *f = *state;
    struct error err;
    write_file(f->path, "", 0);
    assert_int_equal(open_code(f->url, &err), 0);
}

static void test_interrupted_migration_is_done_again(void **state)
{
    struct fixture *f = *state;
    struct error err;
    /* The journal's mode was set and then the process was killed: the file has a header and no tables. */
    run_sql(f->path, "PRAGMA journal_mode = WAL; CREATE TABLE t(x); DROP TABLE t");
    assert_int_equal(open_code(f->url, &err), 0);
}

static void test_directories(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char url[160];
    snprintf(url, sizeof url, "sqlite:%s", f->dir);
    assert_int_equal(open_code(url, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "not a file"));
    snprintf(url, sizeof url, "sqlite:%s/no/such/weir.db", f->dir);
    assert_int_equal(open_code(url, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "cannot create"));
}

/* As root nothing is forbidden, so a child gives its rights up first. */
static void test_no_rights(void **state)
{
    struct fixture *f = *state;
    struct error err;
    assert_int_equal(open_code(f->url, &err), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char url[160];
        snprintf(url, sizeof url, "sqlite:%s/new.db", f->dir);
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        if (geteuid() != 65534)
            _exit(chmod(f->dir, 0500) != 0 ? 9 : open_code(url, &err) == ERROR_IO ? 0 : 1);
        _exit(open_code(url, &err) == ERROR_IO && open_code(f->url, &err) == ERROR_IO ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(f->dir, 0700), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_claim_refuses_a_second_gateway(void **state)
{
    struct fixture *f = *state;
    struct store *first = fixture_open(f), *second = fixture_open(f);
    struct error err;
    char link_url[160], link[128], number[32];
    assert_int_equal(store_claim(first, &err), 0);
    assert_int_equal(store_claim(first, &err), 0); /* its own already */
    assert_int_equal(store_claim(second, &err), ERROR_BUSY);
    snprintf(number, sizeof number, "process %ld", (long)getpid());
    assert_non_null(strstr(err.message, number));
    keep_request(f, second, "r", 1); /* the command line may still read and write */
    assert_int_equal(ledger_count(first), 1);
    /* Another name for the same file is the same state. */
    snprintf(link, sizeof link, "%s/alias.db", f->dir);
    assert_int_equal(symlink(f->path, link), 0);
    snprintf(link_url, sizeof link_url, "sqlite:%s", link);
    store_close(second);
    assert_int_equal(store_open(str_from(link_url), &second, &err), 0);
    assert_int_equal(store_claim(second, &err), ERROR_BUSY);
    store_close(first);
    assert_int_equal(store_claim(second, &err), 0);
    store_close(second);
}

static void test_claim_finds_damage(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < 400; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        struct store_egress row = egress_row(id, i);
        assert_int_equal(store_egress_record(s, &row, NOBODY, &err), 0);
    }
    store_close(s);
    int fd = open(f->path, O_RDWR);
    struct stat st;
    char noise[512];
    memset(noise, 0xa5, sizeof noise);
    assert_int_equal(fstat(fd, &st), 0);
    /* The header and the schema at the front stay readable. */
    for (off_t at = st.st_size / 2; at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), sizeof noise);
    close(fd);
    s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "damaged"));
    store_close(s);
}

/* It was taken for another program's database by a process that looked while another one made it. */
static void test_processes_make_it_at_once(void **state)
{
    enum { ROUNDS = 15, CHILDREN = 6 };
    struct fixture *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        pid_t children[CHILDREN];
        char url[160];
        snprintf(url, sizeof url, "sqlite:%s/%d.db", f->dir, round);
        fflush(NULL);
        for (int i = 0; i < CHILDREN; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                struct error err;
                int rc = open_code(url, &err);
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
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_urls),
        ON(test_names_are_only_names),
        ON(test_files_are_the_owners),
        ON(test_not_a_database),
        ON(test_another_programs_database),
        ON(test_newer_schema),
        ON(test_an_empty_file_is_a_new_state),
        ON(test_interrupted_migration_is_done_again),
        ON(test_directories),
        ON(test_no_rights),
        ON(test_claim_refuses_a_second_gateway),
        ON(test_claim_finds_damage),
        ON(test_processes_make_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
