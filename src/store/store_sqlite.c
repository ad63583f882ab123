/* State in one SQLite file, in WAL mode: one connection for the writer thread, one for readers.
 *
 * Durability: synchronous=FULL. Every group is in the log on the disk before it is answered, so that without
 * a journal (store_journal.h) an egress record or a settled row outlives a power cut, not only a killed
 * process. The price is one fsync a group, not a row. Measured (tests/unit/store/group_test.c prints it): a
 * row alone waits 0.2 ms on a fast disk and 4 ms on a busy one instead of 0.01 ms with NORMAL; 256 in flight
 * give 200,000 rows/s instead of 250,000. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "store/store_ops.h"

#define SYNCHRONOUS "FULL"

enum {
    APPLICATION_ID = 0x57656972, /* "Weir" */
    BUSY_MS = 10000,             /* how long another process may hold the file */
    CHECK_BYTES = 1 << 30        /* larger files are not read whole at start-up */
};

struct sqlite {
    struct store_backend backend;
    char *path;
    sqlite3 *writer;
    sqlite3_stmt *statements[STORE_KINDS];
    sqlite3 *reader;
    pthread_mutex_t mutex; /* guards reader and version */
    sqlite3_stmt *version;
    int lock_fd;
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
};

enum { SCHEMA = sizeof migrations / sizeof *migrations };

static struct sqlite *from_backend(struct store_backend *b)
{
    return (struct sqlite *)(void *)b;
}

/* Says what a failure of the library means for whoever runs the gateway. */
static int fail(const struct sqlite *q, sqlite3 *db, int code, struct error *err)
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
            BUSY_MS / 1000);
    default:
        return error_set(err, ERROR_IO, "the state %s failed: %s (SQLite code %d, %s)", q->path,
            db ? sqlite3_errmsg(db) : sqlite3_errstr(code), code, strerror(errno));
    }
}

static int run_sql(const struct sqlite *q, sqlite3 *db, const char *sql, struct error *err)
{
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : fail(q, db, code, err);
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
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : fail(q, db, code, err);
    sqlite3_finalize(s);
    return rc;
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
    int64_t until = clock_mono_ms() + BUSY_MS;
    bool set = false;
    int code;
    while ((code = sqlite3_exec(db, "PRAGMA journal_mode = WAL", mode_read, &set, NULL)) == SQLITE_BUSY &&
           clock_mono_ms() < until)
        sqlite3_sleep(5);
    if (code != SQLITE_OK)
        return fail(q, db, code, err);
    return set ? 0
               : error_set(err, ERROR_UNSUPPORTED,
                     "the state %s is on a file system without shared memory: put it on a local disk",
                     q->path);
}

static int connection_open(const struct sqlite *q, sqlite3 **out, struct error *err)
{
    int code = sqlite3_open_v2(q->path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return fail(q, *out, code, err);
    sqlite3_extended_result_codes(*out, 1);
    sqlite3_busy_timeout(*out, BUSY_MS);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return run_sql(q, *out,
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;"
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

/* In one transaction, so that of two processes that start together one does it all. */
static int migrate_locked(const struct sqlite *q, struct error *err)
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
    for (int64_t i = version; rc == 0 && i < SCHEMA; i++)
        rc = run_sql(q, q->writer, migrations[i], err);
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; UPDATE meta SET value = %d WHERE name = 'schema'",
        APPLICATION_ID, SCHEMA);
    return rc ? rc : run_sql(q, q->writer, sql, err);
}

static int migrate(const struct sqlite *q, struct error *err)
{
    int rc = owner_check(q, err);
    if (rc == 0)
        rc = wal_set(q, q->writer, err);
    if (rc == 0)
        rc = run_sql(q, q->writer, "BEGIN IMMEDIATE", err);
    if (rc)
        return rc;
    rc = migrate_locked(q, err);
    if (rc == 0)
        rc = run_sql(q, q->writer, "COMMIT", err);
    if (rc && !sqlite3_get_autocommit(q->writer))
        sqlite3_exec(q->writer, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int statements_prepare(struct sqlite *q, struct error *err)
{
    static const char version_sql[] = "SELECT value FROM meta WHERE name = 'keys'";
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        const char *sql = store_kind_sql((enum store_kind)kind);
        int code =
            sqlite3_prepare_v3(q->writer, sql, -1, SQLITE_PREPARE_PERSISTENT, &q->statements[kind], NULL);
        if (code != SQLITE_OK)
            return fail(q, q->writer, code, err);
    }
    int code = sqlite3_prepare_v3(q->reader, version_sql, -1, SQLITE_PREPARE_PERSISTENT, &q->version, NULL);
    return code == SQLITE_OK ? 0 : fail(q, q->reader, code, err);
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

static void sqlite_close(struct store_backend *b)
{
    struct sqlite *q = from_backend(b);
    for (int kind = 0; kind < STORE_KINDS; kind++)
        sqlite3_finalize(q->statements[kind]);
    sqlite3_finalize(q->version);
    /* The reader first: the last connection to close folds the log into the file. */
    sqlite3_close(q->reader);
    sqlite3_close(q->writer);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    pthread_mutex_destroy(&q->mutex);
    free(q->path);
    free(q);
}

static int sqlite_open(struct str rest, struct store_backend **out, struct error *err)
{
    if (rest.len == 0 || rest.len >= PATH_MAX || str_find_char(rest, '\0') != SIZE_MAX)
        return error_set(err, ERROR_INVALID, "the state names no file: give it as sqlite:PATH");
    struct sqlite *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    q->backend.ops = &store_sqlite_ops;
    q->lock_fd = -1;
    q->path = path_make(rest);
    pthread_mutex_init(&q->mutex, NULL);
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
        sqlite_close(&q->backend);
        return rc;
    }
    *out = &q->backend;
    return 0;
}

static bool sqlite_exists(struct str rest)
{
    if (rest.len == 0 || str_find_char(rest, '\0') != SIZE_MAX)
        return false;
    char *path = path_make(rest);
    bool exists = access(path, F_OK) == 0;
    free(path);
    return exists;
}

/* ---- The gateway's claim. ---- */

/* A lock file, because locking the database's own file would meddle with SQLite's locks. It stays behind:
 * removing it could let two gateways each lock another file of that name. */
static int lock_take(struct sqlite *q, struct error *err)
{
    char resolved[PATH_MAX], path[PATH_MAX + 8], owner[32] = "";
    if (!realpath(q->path, resolved))
        return error_set(err, ERROR_IO, "cannot find the state %s: %s", q->path, strerror(errno));
    snprintf(path, sizeof path, "%s.lock", resolved);
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
        rc = fail(q, q->reader, code, err);
    else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        rc = error_set(err, ERROR_IO,
            "the state file %s is damaged (%s): restore a backup, or move it away to start anew", q->path,
            (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

static int sqlite_claim(struct store_backend *b, struct error *err)
{
    struct sqlite *q = from_backend(b);
    int rc = q->lock_fd >= 0 ? 0 : lock_take(q, err);
    return rc ? rc : integrity_check(q, err);
}

/* ---- Writing. ---- */

static int sqlite_begin(struct store_backend *b, struct error *err)
{
    struct sqlite *q = from_backend(b);
    return run_sql(q, q->writer, "BEGIN IMMEDIATE", err);
}

static int sqlite_commit(struct store_backend *b, struct error *err)
{
    struct sqlite *q = from_backend(b);
    return run_sql(q, q->writer, "COMMIT", err);
}

static void sqlite_rollback(struct store_backend *b)
{
    struct sqlite *q = from_backend(b);
    /* Some failures have rolled back already. */
    if (!sqlite3_get_autocommit(q->writer) &&
        sqlite3_exec(q->writer, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        log_error("store", "cannot roll back: %s", sqlite3_errmsg(q->writer));
}

static int bind(sqlite3_stmt *s, int index, const struct store_field *f, const char *at)
{
    switch (f->type) {
    case STORE_TEXT: {
        const struct str *text = (const struct str *)(const void *)at;
        return sqlite3_bind_text64(
            s, index, text->data ? text->data : "", text->len, SQLITE_STATIC, SQLITE_UTF8);
    }
    case STORE_INT64:
        return sqlite3_bind_int64(s, index, *(const int64_t *)(const void *)at);
    case STORE_INT:
        return sqlite3_bind_int(s, index, *(const int *)(const void *)at);
    case STORE_BOOL:
        return sqlite3_bind_int(s, index, *(const bool *)(const void *)at);
    case STORE_BLOB:
        return sqlite3_bind_blob64(s, index, at, f->size, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static int sqlite_apply(struct store_backend *b, struct store_row *row, struct error *err)
{
    struct sqlite *q = from_backend(b);
    sqlite3_stmt *s = q->statements[row->kind];
    const struct store_fields *fields = store_kind_fields(row->kind);
    int code = SQLITE_OK;
    for (size_t i = 0; i < fields->n && code == SQLITE_OK; i++)
        code = bind(s, (int)i + 1, &fields->at[i], (const char *)&row->value + fields->at[i].offset);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    int rc = 0;
    if (code == SQLITE_DONE)
        row->changed = sqlite3_changes64(q->writer);
    else if ((code & 0xff) == SQLITE_CONSTRAINT || (code & 0xff) == SQLITE_TOOBIG)
        rc = error_set(err, ERROR_INVALID, "the state refused a row: %s", sqlite3_errmsg(q->writer));
    else
        rc = fail(q, q->writer, code, err);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc;
}

/* ---- Reading. ---- */

/* The column's value into its place in the row; text is copied. */
static int column_read(
    sqlite3_stmt *s, int column, const struct store_field *f, struct arena *a, char *at, struct error *err)
{
    switch (f->type) {
    case STORE_TEXT: {
        const void *text = sqlite3_column_text(s, column);
        struct str value = {text, (size_t)sqlite3_column_bytes(s, column)};
        return arena_try_copy(a, value, (struct str *)(void *)at)
                   ? error_set(err, ERROR_LIMIT, "a row of the state is larger than this program writes")
                   : 0;
    }
    case STORE_INT64:
        *(int64_t *)(void *)at = sqlite3_column_int64(s, column);
        return 0;
    case STORE_INT:
        *(int *)(void *)at = sqlite3_column_int(s, column);
        return 0;
    case STORE_BOOL:
        *(bool *)(void *)at = sqlite3_column_int(s, column) != 0;
        return 0;
    case STORE_BLOB: {
        const void *blob = sqlite3_column_blob(s, column);
        if ((size_t)sqlite3_column_bytes(s, column) != f->size)
            return error_set(err, ERROR_INVALID, "a row of the state holds bytes of the wrong length");
        memcpy(at, blob, f->size);
        return 0;
    }
    }
    return error_set(err, ERROR_INTERNAL, "a field of unknown type");
}

static int row_read(
    sqlite3_stmt *s, const struct store_list *list, struct arena *a, char *row, struct error *err)
{
    int column = 2, rc = 0;
    memset(row, 0, list->row_size);
    for (size_t p = 0; p < list->n_parts; p++) {
        const struct store_fields *fields = list->parts[p].fields;
        for (size_t i = 0; i < fields->n && rc == 0; i++)
            rc = column_read(
                s, column++, &fields->at[i], a, row + list->parts[p].offset + fields->at[i].offset, err);
    }
    return rc;
}

static int sqlite_page(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
    struct arena *a, void *rows, size_t *n, struct error *err)
{
    struct sqlite *q = from_backend(b);
    sqlite3_stmt *s = NULL;
    int rc = 0;
    *n = 0;
    pthread_mutex_lock(&q->mutex);
    int code = sqlite3_prepare_v2(q->reader, list->sql, -1, &s, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, cursor->wall_ms);
        sqlite3_bind_int64(s, 2, cursor->id);
        while (rc == 0 && *n < STORE_PAGE && (code = sqlite3_step(s)) == SQLITE_ROW) {
            *cursor = (struct store_cursor){sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 0)};
            rc = row_read(s, list, a, (char *)rows + *n * list->row_size, err);
            (*n)++;
        }
    }
    if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = fail(q, q->reader, code, err);
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

static int sqlite_keys_version(struct store_backend *b, int64_t *version, struct error *err)
{
    struct sqlite *q = from_backend(b);
    pthread_mutex_lock(&q->mutex);
    int code = sqlite3_step(q->version);
    if (code == SQLITE_ROW)
        *version = sqlite3_column_int64(q->version, 0);
    int rc = code == SQLITE_ROW ? 0 : fail(q, q->reader, code == SQLITE_DONE ? SQLITE_CORRUPT : code, err);
    sqlite3_reset(q->version);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

static int sqlite_mark(struct store_backend *b, struct str name, int64_t *number, struct error *err)
{
    struct sqlite *q = from_backend(b);
    sqlite3_stmt *s = NULL;
    *number = 0;
    pthread_mutex_lock(&q->mutex);
    int code = sqlite3_prepare_v2(q->reader, "SELECT value FROM meta WHERE name = $1", -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text64(s, 1, name.data, name.len, SQLITE_STATIC, SQLITE_UTF8);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *number = sqlite3_column_int64(s, 0);
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : fail(q, q->reader, code, err);
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

const struct store_ops store_sqlite_ops = {
    .scheme = "sqlite:",
    .open = sqlite_open,
    .close = sqlite_close,
    .exists = sqlite_exists,
    .claim = sqlite_claim,
    .begin = sqlite_begin,
    .apply = sqlite_apply,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .page = sqlite_page,
    .keys_version = sqlite_keys_version,
    .mark = sqlite_mark,
};
