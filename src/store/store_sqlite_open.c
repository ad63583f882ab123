/* State in one SQLite file, in WAL mode: one connection for the writer thread, one for readers.
 *
 * Durability: synchronous=FULL. Every group is in the log on the disk before it is answered, so that without
 * a journal (store_journal.h) an egress record or a settled row outlives a power cut, not only a killed
 * process. The price is one fsync a group, not a row. Measured (tests/unit/store/group_test.c prints it): a
 * row alone waits 0.2 ms on a fast disk and 4 ms on a busy one instead of 0.01 ms with NORMAL; 256 in flight
 * give 200,000 rows/s instead of 250,000. */
#include "store/store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rand.h"

#define SYNCHRONOUS "FULL"
/* Of a new file; one that is there keeps its own. Under load a group is many pages, each of which takes four
 * system calls on its way through the log into the file. */
#define PAGE_SIZE "8192"

enum {
    APPLICATION_ID = 0x57656972, /* "Weir" */
    CHECK_BYTES = 1 << 30        /* larger files are not read whole at start-up */
};

/* Each brings the schema from its index to the next version. A released one is never changed. */
static const char *const migrations[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES('schema', 0), ('keys', 0);"
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
    "  status INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX ledger_by_time ON ledger(wall_ms);"
    "CREATE INDEX ledger_open ON ledger(outcome) WHERE outcome = 'open';"
    "CREATE TABLE egress("
    "  id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, request_id TEXT NOT NULL, rule TEXT NOT NULL,"
    "  boundary TEXT NOT NULL, zone TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL, path TEXT NOT "
    "NULL,"
    "  bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) STRICT;"
    "CREATE INDEX egress_by_time ON egress(wall_ms);"
    "CREATE TABLE keys("
    "  id INTEGER PRIMARY KEY, key_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, team TEXT NOT NULL,"
    "  role TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    "  revoked_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT;"
    /* Triggers, so that a key changed by hand is noticed as well. */
    "CREATE TRIGGER keys_added AFTER INSERT ON keys BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;"
    "CREATE TRIGGER keys_changed AFTER UPDATE ON keys BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;"
    "CREATE TRIGGER keys_removed AFTER DELETE ON keys BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;",
    "ALTER TABLE ledger ADD COLUMN usage_estimated INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE responses("
    "  id INTEGER PRIMARY KEY, number INTEGER NOT NULL, response_id TEXT NOT NULL UNIQUE, key_id TEXT NOT "
    "NULL,"
    "  wall_ms INTEGER NOT NULL, body TEXT NOT NULL, input TEXT NOT NULL) STRICT;"
    "CREATE INDEX responses_by_number ON responses(number, id);"
    "CREATE INDEX responses_by_time ON responses(wall_ms);",
    /* Ids in the order of time, and no index of all request ids: what is settled is never looked for. */
    "CREATE TABLE ledger_by_id("
    "  id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, wall_ms INTEGER NOT NULL, opened INTEGER NOT NULL,"
    "  key_id TEXT NOT NULL DEFAULT '', team TEXT NOT NULL DEFAULT '', api TEXT NOT NULL DEFAULT '',"
    "  model TEXT NOT NULL DEFAULT '', route TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL DEFAULT '',"
    "  boundary TEXT NOT NULL DEFAULT '', sensitive INTEGER NOT NULL DEFAULT 0,"
    "  decision TEXT NOT NULL DEFAULT '',"
    "  provider TEXT NOT NULL DEFAULT '', answered_model TEXT NOT NULL DEFAULT '',"
    "  attempts TEXT NOT NULL DEFAULT '', input_tokens INTEGER NOT NULL DEFAULT -1,"
    "  cached_tokens INTEGER NOT NULL DEFAULT -1, output_tokens INTEGER NOT NULL DEFAULT -1,"
    "  usage_estimated INTEGER NOT NULL DEFAULT 0, cost_nano_usd INTEGER NOT NULL DEFAULT -1,"
    "  first_token_ms INTEGER NOT NULL DEFAULT -1, total_ms INTEGER NOT NULL DEFAULT -1,"
    "  outcome TEXT NOT NULL DEFAULT 'open', status INTEGER NOT NULL DEFAULT 0) STRICT;"
    "INSERT INTO ledger_by_id SELECT (wall_ms << 20) | (id & 1048575), request_id, wall_ms, opened, key_id,"
    "  team, api, model, route, rule, boundary, sensitive, decision, provider, answered_model, attempts,"
    "  input_tokens, cached_tokens, output_tokens, usage_estimated, cost_nano_usd, first_token_ms, total_ms,"
    "  outcome, status FROM ledger;"
    "DROP TABLE ledger;"
    "ALTER TABLE ledger_by_id RENAME TO ledger;"
    "CREATE UNIQUE INDEX ledger_unsettled ON ledger(request_id) WHERE outcome IN ('open', 'interrupted');"
    "CREATE TABLE egress_by_id("
    "  id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, request_id TEXT NOT NULL, rule TEXT NOT NULL,"
    "  boundary TEXT NOT NULL, zone TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL, path TEXT NOT "
    "NULL,"
    "  bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) STRICT;"
    "INSERT INTO egress_by_id SELECT (wall_ms << 20) | (id & 1048575), wall_ms, request_id, rule, boundary,"
    "  zone, target, host, path, bytes, sha256 FROM egress;"
    "DROP TABLE egress;"
    "ALTER TABLE egress_by_id RENAME TO egress;",
    "CREATE TABLE limits("
    "  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    "  usd_total INTEGER NOT NULL, usd_day INTEGER NOT NULL, usd_week INTEGER NOT NULL,"
    "  usd_month INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    "  parallel INTEGER NOT NULL, models TEXT NOT NULL,"
    "  UNIQUE(kind, name)) STRICT;"
    "CREATE TRIGGER limits_added AFTER INSERT ON limits BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;"
    "CREATE TRIGGER limits_changed AFTER UPDATE ON limits BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;"
    "CREATE TRIGGER limits_removed AFTER DELETE ON limits BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE name = 'keys'; END;"
    "CREATE TABLE spend("
    "  id INTEGER PRIMARY KEY, day INTEGER NOT NULL, key_id TEXT NOT NULL, team TEXT NOT NULL,"
    "  spender INTEGER NOT NULL, nano_usd INTEGER NOT NULL,"
    "  UNIQUE(day, key_id, team, spender)) STRICT;"
    "INSERT INTO spend(day, key_id, team, spender, nano_usd)"
    "  SELECT wall_ms / 86400000, key_id, team, 0, sum(cost_nano_usd) FROM ledger WHERE cost_nano_usd > 0"
    "  GROUP BY wall_ms / 86400000, key_id, team;"
    "CREATE INDEX spend_by_day ON spend(day, id);",
    /* What was written since a mark is found without all the rest. */
    ("ALTER TABLE spend ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;"
     "CREATE INDEX spend_by_change ON spend(changed, id, spender);"),
    "DROP INDEX spend_by_day;",
    /* What stands before the blob is read without it. */
    ("ALTER TABLE ledger ADD COLUMN opened_link INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE ledger ADD COLUMN settled_link INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE egress ADD COLUMN link INTEGER NOT NULL DEFAULT 0;"
     "CREATE TABLE chain("
     "  id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL,"
     "  entries BLOB NOT NULL) STRICT;"
     "CREATE TABLE chain_notes("
     "  id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, sort TEXT NOT NULL, chain INTEGER NOT NULL,"
     "  number INTEGER NOT NULL, hash TEXT NOT NULL, before_ms INTEGER NOT NULL, rows INTEGER NOT NULL,"
     "  link INTEGER NOT NULL) STRICT;"),
};

enum { SCHEMA = sizeof migrations / sizeof *migrations };

int store_sqlite_fail(const struct sqlite *q, sqlite3 *db, int code, struct error *err)
{
    switch (code & 0xff) {
    case SQLITE_NOTADB:
        return error_set(err, ERROR_INVALID,
            "%s is not a state file (not an SQLite database): choose another path with state:", q->path);
    case SQLITE_CORRUPT:
        return error_set(err, ERROR_IO,
            "the state file %s is damaged (%s): restore a backup, or move it away to start anew", q->path,
            db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    case SQLITE_FULL:
        return error_set(err, ERROR_IO, "no space left for the state %s: free some on its disk", q->path);
    case SQLITE_READONLY:
        return error_set(err, ERROR_IO,
            "the state %s cannot be written: give this user the right to write the file and its directory",
            q->path);
    case SQLITE_BUSY:
        return error_set(err, ERROR_IO,
            "the state %s is locked by another process for more than %d s: end what holds it", q->path,
            STORE_SQLITE_BUSY_MS / 1000);
    default:
        return error_set(err, ERROR_IO, "the state %s failed: %s (SQLite code %d, %s)", q->path,
            db ? sqlite3_errmsg(db) : sqlite3_errstr(code), code, strerror(errno));
    }
}

int store_sqlite_run(const struct sqlite *q, sqlite3 *db, const char *sql, struct error *err)
{
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : store_sqlite_fail(q, db, code, err);
}

/* The single number a statement gives; `fallback` where it gives no row. */
static int run_number(
    const struct sqlite *q, sqlite3 *db, const char *sql, int64_t fallback, int64_t *out, struct error *err)
{
    sqlite3_stmt *s = NULL;
    *out = fallback;
    int code = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : store_sqlite_fail(q, db, code, err);
    sqlite3_finalize(s);
    return rc;
}

int store_sqlite_rows(const struct sqlite *q, int64_t *rows, struct error *err)
{
    return run_number(
        q, q->writer, "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM egress)", 0, rows, err);
}

/* ---- Opening. ---- */

static int mode_read(void *ctx, int columns, char **values, char **names)
{
    (void)names;
    *(bool *)ctx = columns == 1 && values[0] && strcmp(values[0], "wal") == 0;
    return 0;
}

/* Other connections may be changing the journal's mode too; SQLite does not wait for them by itself here. */
static int wal_set(const struct sqlite *q, sqlite3 *db, struct error *err)
{
    int64_t until = clock_mono_ms() + STORE_SQLITE_BUSY_MS;
    bool set = false;
    int code;
    while ((code = sqlite3_exec(db, "PRAGMA journal_mode = WAL", mode_read, &set, NULL)) == SQLITE_BUSY &&
           clock_mono_ms() < until)
        sqlite3_sleep(5);
    if (code != SQLITE_OK)
        return store_sqlite_fail(q, db, code, err);
    return set ? 0
               : error_set(err, ERROR_UNSUPPORTED,
                     "the state %s is on a file system without shared memory: put it on a local disk",
                     q->path);
}

static int connection_open(const struct sqlite *q, sqlite3 **out, struct error *err)
{
    int code = sqlite3_open_v2(q->path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return store_sqlite_fail(q, *out, code, err);
    sqlite3_extended_result_codes(*out, 1);
    sqlite3_busy_timeout(*out, STORE_SQLITE_BUSY_MS);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return store_sqlite_run(q, *out,
        "PRAGMA page_size = " PAGE_SIZE "; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
        "PRAGMA foreign_keys = ON;"
        "PRAGMA synchronous = " SYNCHRONOUS "; PRAGMA journal_size_limit = 67108864;",
        err);
}

/* Refuses another program's database before anything is written to it. The tables are counted first: another
 * process that is making the state right now commits them and the mark together. */
static int owner_check(const struct sqlite *q, struct error *err)
{
    int64_t id, tables;
    int rc = run_number(q, q->writer, "SELECT count(*) FROM sqlite_schema", 0, &tables, err);
    if (rc == 0)
        rc = run_number(q, q->writer, "PRAGMA application_id", 0, &id, err);
    if (rc == 0 && id != APPLICATION_ID && (id != 0 || tables != 0))
        rc = error_set(
            err, ERROR_INVALID, "%s is another program's database: choose another path with state:", q->path);
    return rc;
}

enum { LOCK_PATH_MAX = PATH_MAX + 8 };

static bool lock_path(const struct sqlite *q, char out[LOCK_PATH_MAX])
{
    char resolved[PATH_MAX];
    if (!realpath(q->path, resolved))
        return false;
    snprintf(out, LOCK_PATH_MAX, "%s.lock", resolved);
    return true;
}

/* A lock file, because locking the database's own file would meddle with SQLite's locks. It stays behind:
 * removing it could let two gateways each lock another file of that name. */
static int lock_take(struct sqlite *q, struct error *err)
{
    char path[LOCK_PATH_MAX], owner[32] = "";
    if (!lock_path(q, path))
        return error_set(err, ERROR_IO, "cannot find the state %s: %s", q->path, strerror(errno));
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot create %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        ssize_t n = code == EWOULDBLOCK ? pread(fd, owner, sizeof owner - 1, 0) : 0;
        owner[strspn(owner, "0123456789")] = '\0';
        close(fd);
        if (code != EWOULDBLOCK)
            return error_set(err, ERROR_IO, "cannot lock %s: %s", path, strerror(code));
        return error_set(err, ERROR_BUSY,
            "another gateway (process %s) uses the state %s: end it or use another state",
            n > 0 ? owner : "unknown", q->path);
    }
    int n = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    /* The number only helps whoever is refused. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, owner, (size_t)n, 0) != n)
        log_warn("store", "cannot write %s: %s", path, strerror(errno));
    q->lock_fd = fd;
    return 0;
}

/* In one transaction, so that of two processes that start together one does it all. */
static int migrate_locked(struct sqlite *q, struct error *err)
{
    int64_t exists, version = 0;
    char sql[128];
    int rc = owner_check(q, err);
    if (rc == 0)
        rc = run_number(
            q, q->writer, "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", 0, &exists, err);
    if (rc == 0 && exists)
        rc = run_number(q, q->writer, "SELECT value FROM meta WHERE name = 'schema'", 0, &version, err);
    if (rc)
        return rc;
    if (version > SCHEMA || version < 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "the state %s was made by a newer Weir (schema %lld, this one knows %d): use that one", q->path,
            (long long)version, SCHEMA);
    if (version == SCHEMA)
        return 0;
    if (version == 0 && q->emptied)
        log_warn("store",
            "the state %s was there, but empty: it begins anew, and what was recorded in it is gone: restore a "
            "backup if it was in use",
            q->path);
    if (version > 0) {
        /* A gateway of the earlier version would go on writing what this one no longer reads. */
        rc = lock_take(q, err);
        if (rc)
            return rc;
        log_info(
            "store", "bringing the state %s from schema %lld to %d", q->path, (long long)version, SCHEMA);
    }
    for (int64_t i = version; rc == 0 && i < SCHEMA; i++)
        rc = store_sqlite_run(q, q->writer, migrations[i], err);
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; UPDATE meta SET value = %d WHERE name = 'schema'",
        APPLICATION_ID, SCHEMA);
    return rc ? rc : store_sqlite_run(q, q->writer, sql, err);
}

static int migrate(struct sqlite *q, struct error *err)
{
    int rc = owner_check(q, err);
    if (rc == 0)
        rc = wal_set(q, q->writer, err);
    if (rc == 0)
        rc = store_sqlite_run(q, q->writer, "BEGIN IMMEDIATE", err);
    if (rc)
        return rc;
    rc = migrate_locked(q, err);
    if (rc == 0)
        rc = store_sqlite_run(q, q->writer, "COMMIT", err);
    if (rc && !sqlite3_get_autocommit(q->writer))
        sqlite3_exec(q->writer, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* row_change(): one more than any row's. */
static void row_change(sqlite3_context *to, int n, sqlite3_value **values)
{
    struct sqlite *q = sqlite3_user_data(to);
    (void)n;
    (void)values;
    if (q->change == 0 && sqlite3_step(q->next_mark) == SQLITE_ROW)
        q->change = sqlite3_column_int64(q->next_mark, 0);
    int code = sqlite3_reset(q->next_mark);
    if (code == SQLITE_OK)
        sqlite3_result_int64(to, q->change);
    else
        sqlite3_result_error_code(to, code);
}

static int prepare(struct sqlite *q, sqlite3 *db, const char *sql, sqlite3_stmt **out, struct error *err)
{
    int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return code == SQLITE_OK ? 0 : store_sqlite_fail(q, db, code, err);
}

static int statements_prepare(struct sqlite *q, struct error *err)
{
    static const char version_sql[] = "SELECT value FROM meta WHERE name = 'keys'";
    static const char mark_sql[] = "SELECT coalesce(max(changed), 0) + 1 FROM spend";
    static const char end_sql[] = "SELECT id, n, hash FROM chain ORDER BY id DESC LIMIT 1";
    int made = sqlite3_create_function(
        q->writer, "row_id", 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, q, store_sqlite_row_id, NULL, NULL);
    if (made == SQLITE_OK)
        made = sqlite3_create_function(
            q->writer, "row_change", 0, SQLITE_UTF8 | SQLITE_DIRECTONLY, q, row_change, NULL, NULL);
    if (made != SQLITE_OK)
        return store_sqlite_fail(q, q->writer, made, err);
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        if (kind == STORE_LEASE_END)
            continue; /* nobody shares the file */
        const struct store_fields *fields;
        if (!store_kind_sql((enum store_kind)kind, &fields))
            continue;
        int code = store_sqlite_prepare(q->writer, (enum store_kind)kind, 1, &q->statements[kind]);
        if (code != SQLITE_OK)
            return store_sqlite_fail(q, q->writer, code, err);
    }
    int rc = prepare(q, q->reader, version_sql, &q->version, err);
    if (rc == 0)
        rc = prepare(q, q->reader, mark_sql, &q->mark, err);
    if (rc == 0)
        rc = prepare(q, q->writer, mark_sql, &q->next_mark, err);
    if (rc == 0)
        rc = prepare(q, q->writer, end_sql, &q->chain_end, err);
    return rc ? rc : store_sqlite_inserts_prepare(q, err);
}

/* "./" keeps SQLite from seeing a URI or :memory: in a name. */
static char *path_make(struct str rest)
{
    bool absolute = rest.data[0] == '/';
    char *path = calloc(1, rest.len + 3);
    if (!path)
        abort();
    memcpy(path, absolute ? "" : "./", absolute ? 0 : 2);
    memcpy(path + (absolute ? 0 : 2), rest.data, rest.len);
    return path;
}

/* A new file is only its owner's, and so are the log and index that SQLite puts beside it. An old one is not
 * opened here: closing it would drop the locks of this process's other connections. */
static int file_create(const char *path, struct error *err)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno != EEXIST)
        return error_set(err, ERROR_IO,
            "cannot create the state %s: %s: make its directory, writable by this user", path,
            strerror(errno));
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(
            err, ERROR_INVALID, "the state %s is not a file: choose another path with state:", path);
    if (access(path, R_OK | W_OK) != 0)
        return error_set(err, ERROR_IO,
            "cannot open the state %s: %s: give this user the right to read and write it", path,
            strerror(errno));
    return 0;
}

/* Is the file there, but empty? For a moment it also is while another process makes it: then it is not old,
 * and no gateway had it. */
static bool emptied(const struct sqlite *q)
{
    enum { MAKING_S = 5 };
    char lock[LOCK_PATH_MAX];
    struct stat st;
    return stat(q->path, &st) == 0 && st.st_size == 0 &&
           (clock_wall_ms() / 1000 - st.st_mtime > MAKING_S ||
               (lock_path(q, lock) && access(lock, F_OK) == 0));
}

void store_sqlite_close(struct store_backend *b)
{
    struct sqlite *q = store_sqlite_from(b);
    for (int kind = 0; kind < STORE_KINDS; kind++)
        sqlite3_finalize(q->statements[kind]);
    store_sqlite_inserts_free(q);
    sqlite3_finalize(q->version);
    sqlite3_finalize(q->mark);
    sqlite3_finalize(q->next_mark);
    sqlite3_finalize(q->chain_end);
    /* The reader first: the last connection to close folds the log into the file. */
    sqlite3_close(q->reader);
    sqlite3_close(q->writer);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    pthread_mutex_destroy(&q->mutex);
    free(q->path);
    free(q);
}

int store_sqlite_open(struct str rest, struct store_backend **out, struct error *err)
{
    if (rest.len == 0 || rest.len >= PATH_MAX || str_find_char(rest, '\0') != SIZE_MAX)
        return error_set(err, ERROR_INVALID, "the state names no file: give it as sqlite:PATH");
    struct sqlite *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    /* A count of all memory, behind a lock at each allocation: nobody asks for it. Refused, and as well, once
     * something was opened. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    q->backend.ops = &store_sqlite_ops;
    q->lock_fd = -1;
    q->ids = (uint32_t)rand_u64();
    q->path = path_make(rest);
    pthread_mutex_init(&q->mutex, NULL);
    q->emptied = emptied(q);
    int rc = file_create(q->path, err);
    if (rc == 0)
        rc = connection_open(q, &q->writer, err);
    if (rc == 0)
        rc = migrate(q, err);
    if (rc == 0)
        rc = connection_open(q, &q->reader, err);
    if (rc == 0)
        rc = statements_prepare(q, err);
    if (rc) {
        store_sqlite_close(&q->backend);
        return rc;
    }
    *out = &q->backend;
    return 0;
}

bool store_sqlite_exists(struct str rest)
{
    if (rest.len == 0 || str_find_char(rest, '\0') != SIZE_MAX)
        return false;
    struct stat st;
    char *path = path_make(rest);
    bool exists = stat(path, &st) == 0 && st.st_size > 0;
    free(path);
    return exists;
}

/* ---- The gateway's claim. ---- */

static int integrity_check(struct sqlite *q, struct error *err)
{
    struct stat st;
    if (stat(q->path, &st) == 0 && st.st_size > CHECK_BYTES) {
        log_info("store", "%s is large: its integrity is not checked at start-up", q->path);
        return 0;
    }
    sqlite3_stmt *s = NULL;
    pthread_mutex_lock(&q->mutex);
    int code = sqlite3_prepare_v2(q->reader, "PRAGMA quick_check(1)", -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    int rc = 0;
    if (code != SQLITE_ROW)
        rc = store_sqlite_fail(q, q->reader, code, err);
    else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        rc = error_set(err, ERROR_IO,
            "the state file %s is damaged (%s): restore a backup, or move it away to start anew", q->path,
            (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

int store_sqlite_claim(struct store_backend *b, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    int rc = q->lock_fd >= 0 ? 0 : lock_take(q, err);
    return rc ? rc : integrity_check(q, err);
}
