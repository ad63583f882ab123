/* Opening a state: what may be opened, by whom, and what is said when it may not. */
#include "unit/store/chain_fixture.h"

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

/* From the file's head. */
static int page_size(const char *path)
{
    unsigned char head[18];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, sizeof head, file), sizeof head);
    fclose(file);
    return head[16] << 8 | head[17];
}

static void test_pages_are_large_in_a_new_file(void **state)
{
    struct fixture *f = *state;
    store_close(fixture_open(f));
    assert_int_equal(page_size(f->path), 8192);
    assert_int_equal(unlink(f->path), 0);
    run_sql(f->path, "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; VACUUM"); /* an earlier version's */
    store_close(fixture_open(f));
    assert_int_equal(page_size(f->path), 4096);
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

/* What schema 3 was: ids counted, an index of all request ids and of all times. */
static const char schema_3[] =
    "PRAGMA application_id = 1466263922; PRAGMA journal_mode = WAL;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES('schema', 3), ('keys', 7);"
    "CREATE TABLE ledger("
    "  id INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, wall_ms INTEGER NOT NULL,"
    "  opened INTEGER NOT NULL,"
    "  key_id TEXT NOT NULL DEFAULT '', team TEXT NOT NULL DEFAULT '', api TEXT NOT NULL DEFAULT '',"
    "  model TEXT NOT NULL DEFAULT '', route TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL DEFAULT '',"
    "  boundary TEXT NOT NULL DEFAULT '', sensitive INTEGER NOT NULL DEFAULT 0,"
    "  decision TEXT NOT NULL DEFAULT '',"
    "  provider TEXT NOT NULL DEFAULT '', answered_model TEXT NOT NULL DEFAULT '',"
    "  attempts TEXT NOT NULL DEFAULT '', input_tokens INTEGER NOT NULL DEFAULT -1,"
    "  cached_tokens INTEGER NOT NULL DEFAULT -1, output_tokens INTEGER NOT NULL DEFAULT -1,"
    "  cost_nano_usd INTEGER NOT NULL DEFAULT -1, first_token_ms INTEGER NOT NULL DEFAULT -1,"
    "  total_ms INTEGER NOT NULL DEFAULT -1, outcome TEXT NOT NULL DEFAULT 'open',"
    "  status INTEGER NOT NULL DEFAULT 0, usage_estimated INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX ledger_by_time ON ledger(wall_ms);"
    "CREATE INDEX ledger_open ON ledger(outcome) WHERE outcome = 'open';"
    "CREATE TABLE egress("
    "  id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, request_id TEXT NOT NULL, rule TEXT NOT NULL,"
    "  boundary TEXT NOT NULL, zone TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL,"
    "  path TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) STRICT;"
    "CREATE INDEX egress_by_time ON egress(wall_ms);"
    "CREATE TABLE keys("
    "  id INTEGER PRIMARY KEY, key_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, team TEXT NOT NULL,"
    "  role TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    "  revoked_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE responses("
    "  id INTEGER PRIMARY KEY, number INTEGER NOT NULL, response_id TEXT NOT NULL UNIQUE, key_id TEXT NOT "
    "NULL, wall_ms INTEGER NOT NULL, body TEXT NOT NULL, input TEXT NOT NULL) STRICT;"
    "CREATE INDEX responses_by_number ON responses(number, id);"
    "CREATE INDEX responses_by_time ON responses(wall_ms);"
    "INSERT INTO ledger(request_id, wall_ms, opened, model, rule, outcome, status, cost_nano_usd,"
    "  usage_estimated) VALUES('late', 1700000000002, 1, 'm', 'r', 'ok', 200, 55, 1),"
    "  ('early', 1700000000001, 1, 'm', 'r', 'failed', 502, 44, 0),"
    "  ('running', 1700000000002, 1, 'm', 'r', 'open', 0, -1, 0);"
    "INSERT INTO egress(wall_ms, request_id, rule, boundary, zone, target, host, path, bytes, sha256)"
    "  VALUES(1700000000002, 'late', 'r', 'any', 'cloud', 't', 'h', '/p', 7, 'hash'),"
    "  (1700000000001, 'early', 'r', 'any', 'cloud', 't', 'h', '/p', 8, 'hash');";

struct old_rows {
    char ids[64];
    int64_t sum;
};

static int old_ledger_row(void *ctx, const struct store_ledger_row *row)
{
    struct old_rows *o = ctx;
    snprintf(o->ids + strlen(o->ids), sizeof o->ids - strlen(o->ids), STR_FMT " ",
        STR_ARG(row->opened.request_id));
    assert_true(str_is(row->opened.model, "m") && str_is(row->opened.rule, "r"));
    o->sum += row->settled.cost_nano_usd + row->settled.status + row->settled.usage_estimated;
    return 0;
}

static int old_egress_row(void *ctx, const struct store_egress *row)
{
    struct old_rows *o = ctx;
    snprintf(o->ids + strlen(o->ids), sizeof o->ids - strlen(o->ids), STR_FMT " ", STR_ARG(row->request_id));
    assert_true(str_is(row->host, "h") && str_is(row->sha256, "hash"));
    o->sum += row->bytes;
    return 0;
}

static int spend_first(void *ctx, const struct store_spend *row)
{
    *(struct store_spend *)ctx = *row;
    return 1;
}

static void test_schema_3_becomes_this_one(void **state)
{
    struct fixture *f = *state;
    struct error err;
    run_sql(f->path, schema_3);
    for (int round = 0; round < 2; round++) {
        struct store *s = fixture_open(f);
        struct old_rows rows = {0};
        assert_int_equal(store_ledger_list(s, 0, old_ledger_row, &rows, &err), 0);
        assert_string_equal(rows.ids, "early late running ");
        assert_int_equal(rows.sum, 55 + 200 + 1 + 44 + 502 - 1 + 0);
        rows = (struct old_rows){0};
        assert_int_equal(store_ledger_list(s, 1700000000002, old_ledger_row, &rows, &err), 0);
        assert_string_equal(rows.ids, "late running ");
        rows = (struct old_rows){0};
        assert_int_equal(store_egress_list(s, 0, old_egress_row, &rows, &err), 0);
        assert_string_equal(rows.ids, "early late ");
        assert_int_equal(rows.sum, 15);
        store_close(s);
    }
    /* A row that was open then may be settled now, and what is old is purged by its time. */
    struct store *s = fixture_open(f);
    struct store_settled settled = settled_row("running");
    int64_t purged = 0;
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(ledger_count(s), 3);
    /* What was there has no record, and nothing else may come to it. */
    struct seen seen;
    chain_is_whole(s, &seen);
    assert_int_equal(seen.out.before, 5);
    run_sql(f->path,
        "INSERT INTO egress SELECT id - 1, wall_ms - 1, 'made up', rule, boundary, zone, target, "
        "host, path, bytes, sha256, 0 FROM egress ORDER BY id LIMIT 1");
    chain_verify(s, NULL, 0, &seen);
    assert_int_equal(seen.out.breaks, 1);
    run_sql(f->path, "DELETE FROM egress WHERE request_id = 'made up'");
    assert_int_equal(store_purge(s, 1700000000002, &purged, &err), 0);
    assert_int_equal(purged, 2);
    assert_int_equal(ledger_count(s), 2);
    /* What was spent before there were sums of it is summed, too. */
    struct store_spend first = {.day = -1};
    int64_t mark = 0;
    assert_int_equal(store_spend_changes(s, &mark, -1, spend_first, &first, &err), 1);
    assert_int_equal(first.day, 1700000000002 / 86400000);
    assert_int_equal(first.nano_usd, 55 + 44 + 400000); /* and what was settled just now */
    chain_is_whole(s, &seen);
    store_close(s);
}

/* A gateway would go on writing rows that no chain and no sum knows. */
static void test_no_new_schema_beneath_a_running_gateway(void **state)
{
    struct fixture *f = *state;
    struct store *gateway = fixture_open(f), *s;
    struct error err;
    assert_int_equal(store_claim(gateway, &err), 0);
    assert_int_equal(open_code(f->url, &err), 0); /* of one version the state is everybody's */
    run_sql(f->path, "UPDATE meta SET value = value - 1 WHERE name = 'schema'");
    assert_int_equal(store_open(str_from(f->url), &s, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "end it"));
    run_sql(f->path, "UPDATE meta SET value = value + 1 WHERE name = 'schema'");
    store_close(gateway);
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
    for (int i = 0; i < 2000; i++) {
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

/* Opens it; is it told then that it was empty? */
static bool told_empty(struct fixture *f)
{
    char text[4096] = "";
    FILE *log = tmpfile();
    int stderr_fd = dup(STDERR_FILENO);
    dup2(fileno(log), STDERR_FILENO);
    struct store *s = fixture_open(f);
    dup2(stderr_fd, STDERR_FILENO);
    close(stderr_fd);
    store_close(s);
    rewind(log);
    size_t len = fread(text, 1, sizeof text - 1, log);
    fclose(log);
    return len > 0 && strstr(text, "was there, but empty: it begins anew");
}

static void test_a_state_whose_file_was_emptied_began_anew_without_a_word(void **state)
{
    struct fixture *f = *state;
    char lock[160], url[160];
    struct error err;
    snprintf(url, sizeof url, "sqlite:%s", f->path);
    snprintf(lock, sizeof lock, "%s.lock", f->path);
    assert_false(told_empty(f)); /* a first start */
    assert_false(told_empty(f));
    struct store *s = fixture_open(f);
    assert_int_equal(store_claim(s, &err), 0);
    store_close(s);
    assert_int_equal(truncate(f->path, 0), 0);
    assert_false(store_exists(str_from(url)));
    assert_true(told_empty(f)); /* a gateway had it */
    assert_true(store_exists(str_from(url)));
    assert_false(told_empty(f));
    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(unlink(lock), 0);
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, f->path, old, 0), 0);
    assert_true(told_empty(f)); /* it lay there for long */
    assert_int_equal(unlink(f->path), 0);
    assert_false(told_empty(f)); /* moved away, to start anew */
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_urls),
        ON(test_names_are_only_names),
        ON(test_files_are_the_owners),
        ON(test_pages_are_large_in_a_new_file),
        ON(test_not_a_database),
        ON(test_another_programs_database),
        ON(test_newer_schema),
        ON(test_schema_3_becomes_this_one),
        ON(test_no_new_schema_beneath_a_running_gateway),
        ON(test_an_empty_file_is_a_new_state),
        ON(test_a_state_whose_file_was_emptied_began_anew_without_a_word),
        ON(test_interrupted_migration_is_done_again),
        ON(test_directories),
        ON(test_no_rights),
        ON(test_claim_refuses_a_second_gateway),
        ON(test_claim_finds_damage),
        ON(test_processes_make_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
