/* State in PostgreSQL, shared by several gateways: one connection for the writer thread, one for readers.
 *
 * Everything is in the schema "weir" of the database that the URL names. Parameters and results travel in
 * binary, so that text needs no quoting and no NUL at its end. A lost connection is made anew by the next
 * group or read.
 *
 * Each gateway has a number: its open ledger rows carry it and its writer's session holds the advisory lock
 * (LOCK_CLASS, number). Rows whose number nobody holds were left by a dead gateway. The lock is a shared one,
 * because after a lost connection the server may keep the old session for a while. */
#include <endian.h>
#include <postgresql/libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "store/store_ops.h"

#define LOCK_CLASS "1466263922" /* "Weir" */
#define SCHEME "postgresql:"

enum { MAX_FIELDS = 32, RECONNECT_MS = 5000 };

struct postgres {
    struct store_backend backend;
    char *url;
    PGconn *writer;        /* the writer thread's, once open has returned */
    pthread_mutex_t mutex; /* guards reader and gateway */
    PGconn *reader;
    int64_t reconnect_ms; /* not before then */
    int gateway;          /* its number; 0: not claimed */
    int held;             /* the number the writer's session holds; the writer thread's */
    bool careful;         /* a savepoint for each row, because one of the last group's was refused */
};

/* Each brings the schema from its index to the next version. A released one is never changed. */
static const char *const migrations[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value BIGINT NOT NULL);"
    "INSERT INTO meta VALUES('schema', 0), ('keys', 0);"
    "CREATE SEQUENCE gateways AS INTEGER CYCLE;"
    "CREATE TABLE ledger("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request_id TEXT NOT NULL UNIQUE,"
    "  wall_ms BIGINT NOT NULL, opened INTEGER NOT NULL,"
    "  gateway INTEGER NOT NULL DEFAULT coalesce(nullif(current_setting('weir.gateway', true), ''), "
    "'0')::INTEGER,"
    "  key_id TEXT NOT NULL DEFAULT '', team TEXT NOT NULL DEFAULT '', api TEXT NOT NULL DEFAULT '',"
    "  model TEXT NOT NULL DEFAULT '', route TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL DEFAULT '',"
    "  boundary TEXT NOT NULL DEFAULT '', sensitive INTEGER NOT NULL DEFAULT 0,"
    "  decision TEXT NOT NULL DEFAULT '',"
    "  provider TEXT NOT NULL DEFAULT '', answered_model TEXT NOT NULL DEFAULT '',"
    "  attempts TEXT NOT NULL DEFAULT '', input_tokens BIGINT NOT NULL DEFAULT -1,"
    "  cached_tokens BIGINT NOT NULL DEFAULT -1, output_tokens BIGINT NOT NULL DEFAULT -1,"
    "  cost_nano_usd BIGINT NOT NULL DEFAULT -1, first_token_ms BIGINT NOT NULL DEFAULT -1,"
    "  total_ms BIGINT NOT NULL DEFAULT -1, outcome TEXT NOT NULL DEFAULT 'open',"
    "  status INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX ledger_by_time ON ledger(wall_ms, id);"
    "CREATE INDEX ledger_open ON ledger(gateway) WHERE outcome = 'open';"
    "CREATE TABLE egress("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, wall_ms BIGINT NOT NULL, request_id TEXT NOT NULL,"
    "  rule TEXT NOT NULL, boundary TEXT NOT NULL, zone TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT "
    "NULL,"
    "  path TEXT NOT NULL, bytes BIGINT NOT NULL, sha256 TEXT NOT NULL);"
    "CREATE INDEX egress_by_time ON egress(wall_ms, id);"
    "CREATE TABLE keys("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
    "  team TEXT NOT NULL, role TEXT NOT NULL, salt BYTEA NOT NULL, hash BYTEA NOT NULL,"
    "  created_ms BIGINT NOT NULL, revoked_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL);"
    "CREATE FUNCTION keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    "  UPDATE weir.meta SET value = value + 1 WHERE name = 'keys'; RETURN NULL; END $$;"
    "CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE ON keys"
    "  FOR EACH STATEMENT EXECUTE FUNCTION keys_changed();",
    "ALTER TABLE ledger ADD COLUMN usage_estimated INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE responses("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number BIGINT NOT NULL,"
    "  response_id TEXT NOT NULL UNIQUE, key_id TEXT NOT NULL, wall_ms BIGINT NOT NULL,"
    "  body TEXT NOT NULL, input TEXT NOT NULL);"
    "CREATE INDEX responses_by_number ON responses(number, id);"
    "CREATE INDEX responses_by_time ON responses(wall_ms);",
    /* Ids in the order of time, and no index of all request ids: what is settled is never looked for. The
     * sequence is everyone's, so that gateways do not give the same one. */
    "SET LOCAL statement_timeout = 0;"
    "CREATE SEQUENCE row_numbers CYCLE;"
    "CREATE FUNCTION row_id(ms BIGINT) RETURNS BIGINT LANGUAGE sql VOLATILE AS $$"
    "  SELECT (greatest(0, least(ms, 8796093022207)) << 20) | (nextval('weir.row_numbers') & 1048575) $$;"
    "ALTER TABLE ledger ALTER COLUMN id DROP IDENTITY;"
    "ALTER TABLE ledger DROP CONSTRAINT ledger_request_id_key;"
    "DROP INDEX ledger_by_time, ledger_open;"
    "UPDATE ledger SET id = (wall_ms << 20) | (id & 1048575);"
    "CREATE UNIQUE INDEX ledger_unsettled ON ledger(request_id) WHERE outcome IN ('open', 'interrupted');"
    "ALTER TABLE egress ALTER COLUMN id DROP IDENTITY;"
    "DROP INDEX egress_by_time;"
    "UPDATE egress SET id = (wall_ms << 20) | (id & 1048575);",
    "CREATE TABLE limits("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,"
    "  created_ms BIGINT NOT NULL, usd_total BIGINT NOT NULL, usd_day BIGINT NOT NULL,"
    "  usd_week BIGINT NOT NULL, usd_month BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL,"
    "  parallel BIGINT NOT NULL, models TEXT NOT NULL, UNIQUE(kind, name));"
    "CREATE TRIGGER limits_changed AFTER INSERT OR UPDATE OR DELETE ON limits"
    "  FOR EACH STATEMENT EXECUTE FUNCTION keys_changed();"
    "CREATE TABLE spend("
    "  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, day BIGINT NOT NULL, key_id TEXT NOT NULL,"
    "  team TEXT NOT NULL, spender BIGINT NOT NULL, nano_usd BIGINT NOT NULL,"
    "  UNIQUE(day, key_id, team, spender));"
    "SET LOCAL statement_timeout = 0;"
    "INSERT INTO spend(day, key_id, team, spender, nano_usd)"
    "  SELECT wall_ms / 86400000, key_id, team, 0, sum(cost_nano_usd) FROM ledger WHERE cost_nano_usd > 0"
    "  GROUP BY wall_ms / 86400000, key_id, team;"
    "CREATE INDEX spend_by_day ON spend(day, id);",
    /* What was written since a mark is found without all the rest. Marks are transactions: those that are not
     * to be seen yet are not older than a snapshot's oldest running one. */
    "SET LOCAL statement_timeout = 0;"
    "CREATE FUNCTION row_change() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$ SELECT txid_current() $$;"
    "ALTER TABLE spend ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;"
    "CREATE INDEX spend_by_change ON spend(changed, id, spender);",
};

enum { SCHEMA = sizeof migrations / sizeof *migrations };

/* Only what a gateway that is gone has left open. */
static const char recover_sql[] =
    "UPDATE ledger SET outcome = 'interrupted' WHERE outcome = 'open' AND outcome IN ('open', 'interrupted') "
    "AND NOT EXISTS(SELECT FROM pg_locks "
    "WHERE locktype = 'advisory' AND classid = " LOCK_CLASS " AND objid = ledger.gateway::BIGINT "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

static struct postgres *from_backend(struct store_backend *b)
{
    return (struct postgres *)(void *)b;
}

/* Only the first line of what the library says; it never holds a password. */
static int fail(PGconn *c, struct error *err)
{
    struct str text = str_trim(str_from(PQerrorMessage(c)));
    return error_set(err, ERROR_IO, "the state's PostgreSQL failed (" STR_FMT "): see its own log",
        STR_ARG(str_slice(text, 0, str_find_char(text, '\n'))));
}

static int run_sql(PGconn *c, const char *sql, struct error *err)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    int rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : fail(c, err);
    PQclear(r);
    return rc;
}

/* The single number a statement gives; 0 where it gives none. */
static int run_number(PGconn *c, const char *sql, int64_t *out, struct error *err)
{
    PGresult *r = PQexec(c, sql);
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : fail(c, err);
    *out = 0;
    if (rc == 0 && PQntuples(r) > 0 && !str_to_int64(str_from(PQgetvalue(r, 0, 0)), out))
        rc = error_set(err, ERROR_INTERNAL, "the state's PostgreSQL gave no number");
    PQclear(r);
    return rc;
}

/* ---- Connections. ---- */

static void notice_drop(void *ctx, const PGresult *r)
{
    (void)ctx;
    (void)r;
}

/* After connecting and after every reconnecting. */
static int session_begin(PGconn *c, struct error *err)
{
    PQsetNoticeReceiver(c, notice_drop, NULL);
    return run_sql(c,
        "SET search_path TO weir; SET statement_timeout = 30000; SET lock_timeout = 10000;"
        "SET synchronous_commit = on; SET client_encoding = 'UTF8'",
        err);
}

static int connection_open(const struct postgres *p, PGconn **out, struct error *err)
{
    /* What the URL says itself comes after these and wins. */
    const char *const names[] = {"application_name", "connect_timeout", "tcp_user_timeout", "dbname", NULL};
    const char *const values[] = {"weir", "3", "20000", p->url, NULL};
    *out = PQconnectdbParams(names, values, 1);
    if (!*out)
        abort();
    return PQstatus(*out) == CONNECTION_OK ? session_begin(*out, err) : fail(*out, err);
}

static int statements_prepare(PGconn *c, struct error *err)
{
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", kind);
        size_t n;
        const char *sql = store_kind_sql((enum store_kind)kind, &n);
        if (kind == STORE_LEDGER_RECOVER)
            sql = recover_sql;
        PGresult *r = PQprepare(c, name, sql, 0, NULL);
        int rc = PQresultStatus(r) == PGRES_COMMAND_OK ? 0 : fail(c, err);
        PQclear(r);
        if (rc)
            return rc;
    }
    return 0;
}

/* The number's lock belongs to the writer's session: it goes when the gateway goes. */
static int gateway_hold(struct postgres *p, int number, struct error *err)
{
    char sql[128];
    if (p->held == number)
        return 0;
    snprintf(sql, sizeof sql, "SELECT pg_advisory_lock_shared(" LOCK_CLASS ", %d); SET weir.gateway = '%d'",
        number, number);
    int rc = run_sql(p->writer, sql, err);
    if (rc == 0)
        p->held = number;
    return rc;
}

static int migrate_locked(PGconn *c, struct error *err)
{
    int64_t exists, version = 0;
    int rc =
        run_number(c, "SELECT count(*) FROM pg_class WHERE oid = to_regclass('weir.meta')", &exists, err);
    if (rc == 0 && exists)
        rc = run_number(c, "SELECT value FROM weir.meta WHERE name = 'schema'", &version, err);
    if (rc)
        return rc;
    if (version > SCHEMA || version < 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "the state was made by a newer Weir (schema %lld, this one knows %d): use that one",
            (long long)version, SCHEMA);
    if (version == SCHEMA)
        return 0;
    if (!exists)
        rc = run_sql(c, "CREATE SCHEMA IF NOT EXISTS weir", err);
    for (int64_t i = version; rc == 0 && i < SCHEMA; i++)
        rc = run_sql(c, migrations[i], err);
    char sql[96];
    snprintf(sql, sizeof sql, "UPDATE meta SET value = %d WHERE name = 'schema'", SCHEMA);
    return rc ? rc : run_sql(c, sql, err);
}

/* One process at a time, by an advisory lock that ends with the transaction. */
static int migrate(PGconn *c, struct error *err)
{
    int rc = run_sql(c, "BEGIN; SELECT pg_advisory_xact_lock(" LOCK_CLASS ")", err);
    if (rc == 0)
        rc = migrate_locked(c, err);
    if (rc == 0)
        return run_sql(c, "COMMIT", err);
    PQclear(PQexec(c, "ROLLBACK"));
    return rc;
}

static void postgres_close(struct store_backend *b)
{
    struct postgres *p = from_backend(b);
    PQfinish(p->reader);
    PQfinish(p->writer);
    pthread_mutex_destroy(&p->mutex);
    free(p->url);
    free(p);
}

static int postgres_open(struct str rest, struct store_backend **out, struct error *err)
{
    struct postgres *p = must(calloc(1, sizeof *p));
    p->backend.ops = &store_postgres_ops;
    pthread_mutex_init(&p->mutex, NULL);
    p->url = must(calloc(1, sizeof SCHEME + rest.len));
    memcpy(p->url, SCHEME, sizeof SCHEME - 1);
    memcpy(p->url + sizeof SCHEME - 1, rest.data, rest.len);
    int rc = connection_open(p, &p->writer, err);
    if (rc == 0)
        rc = migrate(p->writer, err);
    if (rc == 0)
        rc = statements_prepare(p->writer, err);
    if (rc == 0)
        rc = connection_open(p, &p->reader, err);
    if (rc) {
        postgres_close(&p->backend);
        return rc;
    }
    *out = &p->backend;
    return 0;
}

static bool postgres_exists(struct str rest)
{
    (void)rest;
    return true;
}

/* Several gateways may share this state, so that a claim is a number; the writer's session takes its lock
 * with the next group, which is store_ledger_recover's. A server to which the state was restored counts
 * transactions anew: marks that are ahead of it would be read again and again. */
static int postgres_claim(struct store_backend *b, struct error *err)
{
    static const char sql[] =
        "UPDATE spend SET changed = 0 WHERE changed >= txid_snapshot_xmax(txid_current_snapshot());"
        "SELECT nextval('gateways')";
    struct postgres *p = from_backend(b);
    pthread_mutex_lock(&p->mutex);
    int64_t number = p->gateway;
    int rc = number ? 0 : run_number(p->reader, sql, &number, err);
    p->gateway = (int)number;
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

/* ---- Writing. ---- */

static int writer_mend(struct postgres *p, struct error *err)
{
    if (PQstatus(p->writer) == CONNECTION_OK)
        return 0;
    p->held = 0;
    PQreset(p->writer);
    if (PQstatus(p->writer) != CONNECTION_OK)
        return fail(p->writer, err);
    int rc = session_begin(p->writer, err);
    return rc ? rc : statements_prepare(p->writer, err);
}

static int postgres_begin(struct store_backend *b, struct error *err)
{
    struct postgres *p = from_backend(b);
    pthread_mutex_lock(&p->mutex);
    int number = p->gateway;
    pthread_mutex_unlock(&p->mutex);
    int rc = writer_mend(p, err);
    if (rc == 0 && number)
        rc = gateway_hold(p, number, err);
    return rc ? rc : run_sql(p->writer, "BEGIN", err);
}

static int postgres_commit(struct store_backend *b, struct error *err)
{
    struct postgres *p = from_backend(b);
    PGresult *r = PQexec(p->writer, "COMMIT");
    /* A COMMIT of a failed transaction succeeds and says ROLLBACK. */
    bool kept = PQresultStatus(r) == PGRES_COMMAND_OK && strcmp(PQcmdStatus(r), "COMMIT") == 0;
    int rc = kept ? 0 : fail(p->writer, err);
    PQclear(r);
    if (kept)
        p->careful = false;
    return rc;
}

static void postgres_rollback(struct store_backend *b)
{
    struct postgres *p = from_backend(b);
    if (PQtransactionStatus(p->writer) != PQTRANS_IDLE)
        PQclear(PQexec(p->writer, "ROLLBACK"));
}

struct parameters {
    const char *values[MAX_FIELDS];
    int lengths[MAX_FIELDS], formats[MAX_FIELDS];
    uint64_t wide[MAX_FIELDS];
    uint32_t narrow[MAX_FIELDS];
};

static void parameter_set(struct parameters *to, size_t i, const struct store_field *f, const char *at)
{
    to->formats[i] = 1;
    switch (f->type) {
    case STORE_TEXT: {
        const struct str *text = (const struct str *)(const void *)at;
        to->values[i] = text->data ? text->data : "";
        to->lengths[i] = (int)text->len;
        return;
    }
    case STORE_INT64:
        to->wide[i] = htobe64((uint64_t) * (const int64_t *)(const void *)at);
        to->values[i] = (const char *)&to->wide[i];
        to->lengths[i] = 8;
        return;
    case STORE_INT:
    case STORE_BOOL: {
        int value = f->type == STORE_INT ? *(const int *)(const void *)at : *(const bool *)(const void *)at;
        to->narrow[i] = htobe32((uint32_t)value);
        to->values[i] = (const char *)&to->narrow[i];
        to->lengths[i] = 4;
        return;
    }
    case STORE_BLOB:
        to->values[i] = at;
        to->lengths[i] = (int)f->size;
        return;
    }
}

/* Data the server will never take (SQLSTATE classes 22, 23 and 54), not a failure of the server. */
static bool is_refusal(const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    return state &&
           (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 || strncmp(state, "54", 2) == 0);
}

static int row_send(struct postgres *p, enum store_kind kind, const void *value, int64_t *changed,
    bool *refused, struct error *err)
{
    const struct store_field *fields = store_kind_fields(kind)->at;
    struct parameters to;
    char name[16];
    size_t n;
    (void)store_kind_sql(kind, &n);
    for (size_t i = 0; i < n; i++)
        parameter_set(&to, i, &fields[i], (const char *)value + fields[i].offset);
    snprintf(name, sizeof name, "w%d", kind);
    PGresult *r = PQexecPrepared(p->writer, name, (int)n, to.values, to.lengths, to.formats, 1);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    *refused = !ok && is_refusal(r);
    if (ok && !str_to_int64(str_from(PQcmdTuples(r)), changed))
        *changed = 0;
    PQclear(r);
    return ok ? 0 : fail(p->writer, err);
}

/* A refused row spoils its transaction here. The group is then tried again with a savepoint before each row,
 * so that the refused one alone is lost. */
static int postgres_apply(
    struct store_backend *b, enum store_kind kind, const void *value, int64_t *changed, struct error *err)
{
    struct postgres *p = from_backend(b);
    bool refused = false;
    int rc = p->careful ? run_sql(p->writer, "SAVEPOINT row", err) : 0;
    if (rc == 0)
        rc = row_send(p, kind, value, changed, &refused, err);
    if (rc == 0 || !refused)
        return rc;
    if (!p->careful) {
        p->careful = true;
        return rc;
    }
    rc = run_sql(p->writer, "ROLLBACK TO SAVEPOINT row", err);
    return rc ? rc : ERROR_INVALID;
}

/* ---- Reading. ---- */

static int64_t number_of(const PGresult *r, int row, int column)
{
    uint64_t wide;
    uint32_t narrow;
    const char *at = PQgetvalue(r, row, column);
    switch (PQgetlength(r, row, column)) {
    case 8:
        memcpy(&wide, at, 8);
        return (int64_t)be64toh(wide);
    case 4:
        memcpy(&narrow, at, 4);
        return (int32_t)be32toh(narrow);
    default:
        return 0;
    }
}

static int column_read(const PGresult *r, int row, int column, const struct store_field *f, struct arena *a,
    char *at, struct error *err)
{
    struct str value = {PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column)};
    switch (f->type) {
    case STORE_TEXT:
        return arena_try_copy(a, value, (struct str *)(void *)at)
                   ? error_set(err, ERROR_LIMIT, "a row of the state is larger than this program writes")
                   : 0;
    case STORE_INT64:
        *(int64_t *)(void *)at = number_of(r, row, column);
        return 0;
    case STORE_INT:
        *(int *)(void *)at = (int)number_of(r, row, column);
        return 0;
    case STORE_BOOL:
        *(bool *)(void *)at = number_of(r, row, column) != 0;
        return 0;
    case STORE_BLOB:
        if (value.len != f->size)
            return error_set(err, ERROR_INVALID, "a row of the state holds bytes of the wrong length");
        memcpy(at, value.data, value.len);
        return 0;
    }
    return error_set(err, ERROR_INTERNAL, "a field of unknown type");
}

static int row_read(
    const PGresult *r, int row, const struct store_list *list, struct arena *a, char *to, struct error *err)
{
    int column = 2, rc = 0;
    memset(to, 0, list->row_size);
    for (size_t part = 0; part < list->n_parts; part++) {
        const struct store_fields *fields = list->parts[part].fields;
        for (size_t i = 0; i < fields->n && rc == 0; i++, column++)
            rc = column_read(
                r, row, column, &fields->at[i], a, to + list->parts[part].offset + fields->at[i].offset, err);
    }
    return rc;
}

/* A lost connection is made anew, but not so often that who asks every second only waits. */
static void reader_mend(struct postgres *p)
{
    struct error err;
    if (PQstatus(p->reader) == CONNECTION_OK || clock_mono_ms() < p->reconnect_ms)
        return;
    PQreset(p->reader);
    if (PQstatus(p->reader) != CONNECTION_OK || session_begin(p->reader, &err))
        p->reconnect_ms = clock_mono_ms() + RECONNECT_MS;
}

/* A binary result. That a connection is lost shows when it is used: then once more. */
static PGresult *reader_query(struct postgres *p, const char *sql, int n, const uint64_t numbers[3])
{
    const char *values[3] = {(const char *)&numbers[0], (const char *)&numbers[1], (const char *)&numbers[2]};
    const int lengths[3] = {8, 8, 8}, formats[3] = {1, 1, 1};
    for (int attempt = 0;; attempt++) {
        reader_mend(p);
        PGresult *r = PQexecParams(p->reader, sql, n, NULL, values, lengths, formats, 1);
        if (attempt == 1 || PQstatus(p->reader) == CONNECTION_OK)
            return r;
        PQclear(r);
    }
}

static int postgres_page(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
    struct arena *a, void *rows, size_t *n, struct error *err)
{
    struct postgres *p = from_backend(b);
    const uint64_t numbers[3] = {
        htobe64((uint64_t)cursor->wall_ms), htobe64((uint64_t)cursor->id), htobe64((uint64_t)cursor->but)};
    *n = 0;
    pthread_mutex_lock(&p->mutex);
    PGresult *r = reader_query(p, list->sql, list->leaves_out ? 3 : 2, numbers);
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : fail(p->reader, err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        cursor->wall_ms = number_of(r, i, 1);
        cursor->id = number_of(r, i, 0);
        rc = row_read(r, i, list, a, (char *)rows + *n * list->row_size, err);
        (*n)++;
    }
    PQclear(r);
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

/* The number that a query gives; `fallback` where it gives no row. */
static int number_read(struct postgres *p, const char *sql, int64_t fallback, int64_t *out, struct error *err)
{
    const uint64_t none[3] = {0, 0, 0};
    pthread_mutex_lock(&p->mutex);
    PGresult *r = reader_query(p, sql, 0, none);
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : fail(p->reader, err);
    if (rc == 0)
        *out = PQntuples(r) == 1 ? number_of(r, 0, 0) : fallback;
    PQclear(r);
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

static int postgres_keys_version(struct store_backend *b, int64_t *version, struct error *err)
{
    return number_read(from_backend(b), "SELECT value FROM meta WHERE name = 'keys'", 0, version, err);
}

static int postgres_change_mark(struct store_backend *b, int64_t *mark, struct error *err)
{
    return number_read(from_backend(b), "SELECT txid_snapshot_xmin(txid_current_snapshot())", 0, mark, err);
}

static int postgres_mark(struct store_backend *b, struct str name, int64_t *number, struct error *err)
{
    char sql[128];
    *number = 0;
    /* A journal's name is hexadecimal. */
    snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE name = '" STR_FMT "'", STR_ARG(name));
    return number_read(from_backend(b), sql, 0, number, err);
}

const struct store_ops store_postgres_ops = {
    .scheme = SCHEME,
    .shared = true,
    .open = postgres_open,
    .close = postgres_close,
    .exists = postgres_exists,
    .claim = postgres_claim,
    .begin = postgres_begin,
    .apply = postgres_apply,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .page = postgres_page,
    .keys_version = postgres_keys_version,
    .change_mark = postgres_change_mark,
    .mark = postgres_mark,
};
