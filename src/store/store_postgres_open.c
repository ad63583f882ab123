/* Opening the PostgreSQL state: connections, the schema, a gateway's number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "store/store_postgres.h"

#define LOCK_CLASS "1466263922" /* "Weir" */
#define STATEMENT_MS "30000"

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
    /* What gateways may spend without asking (store.h). Of those that hold a lease all that they spent is
     * summed, of others only what is of a period that is limited. Whoever takes more of a budget holds its
     * row of limits; each statement of the function then sees what was taken before. A gateway that is not
     * seen for too long is removed, and its leases with it. */
    "SET LOCAL statement_timeout = 0;"
    "DROP INDEX spend_by_day;"
    "CREATE INDEX spend_by_key ON spend(key_id);"
    "CREATE INDEX spend_by_team ON spend(team);"
    "CREATE TABLE spenders(spender BIGINT PRIMARY KEY, seen BIGINT NOT NULL);"
    "CREATE TABLE leases("
    "  kind TEXT NOT NULL, name TEXT NOT NULL,"
    "  spender BIGINT NOT NULL REFERENCES spenders ON DELETE CASCADE,"
    "  granted BIGINT NOT NULL, wanted BIGINT NOT NULL, PRIMARY KEY(kind, name, spender));"
    "CREATE INDEX leases_by_spender ON leases(spender);"
    "CREATE INDEX leases_wanted ON leases(wanted);"
    "CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql STABLE AS $$"
    "  SELECT (extract(epoch FROM now()) * 1000)::BIGINT $$;"
    "CREATE FUNCTION lease_beat(me BIGINT, life BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$ BEGIN"
    "  DELETE FROM spenders WHERE spender IN"
    "    (SELECT spender FROM spenders WHERE seen < now_ms() - life FOR UPDATE SKIP LOCKED);"
    "  UPDATE spenders SET seen = now_ms() WHERE spender = me;"
    "  IF FOUND THEN RETURN 0; END IF;"
    "  INSERT INTO spenders VALUES(me, now_ms()); RETURN 1; END $$;"
    "CREATE FUNCTION lease_take(of_kind TEXT, of_name TEXT, me BIGINT, must BIGINT, want BIGINT, today "
    "BIGINT,"
    "  this_week BIGINT, this_month BIGINT, OUT may BIGINT, OUT rest BIGINT) LANGUAGE plpgsql AS $$"
    " DECLARE l limits%ROWTYPE; s RECORD; more BIGINT; free BIGINT := 9000000000000000000;"
    " BEGIN"
    "  PERFORM FROM spenders WHERE spender = me FOR KEY SHARE;"
    "  IF NOT FOUND THEN may := -1; rest := 0; RETURN; END IF;"
    "  SELECT * INTO l FROM limits WHERE kind = of_kind AND name = of_name FOR NO KEY UPDATE;"
    "  WITH sums AS MATERIALIZED (SELECT spender, sum(nano_usd)::BIGINT AS total,"
    "      coalesce(sum(nano_usd) FILTER (WHERE day >= today), 0)::BIGINT AS by_day,"
    "      coalesce(sum(nano_usd) FILTER (WHERE day >= this_week), 0)::BIGINT AS by_week,"
    "      coalesce(sum(nano_usd) FILTER (WHERE day >= this_month), 0)::BIGINT AS by_month FROM"
    "      (SELECT spender, day, nano_usd FROM spend WHERE of_kind = 'key' AND key_id = of_name UNION ALL"
    "       SELECT spender, day, nano_usd FROM spend WHERE of_kind = 'team' AND of_name <> '*'"
    "         AND team = of_name UNION ALL"
    "       SELECT spender, day, nano_usd FROM spend WHERE of_kind = 'team' AND of_name = '*') AS counted"
    "    WHERE l.usd_total >= 0 OR day >= least(this_week, this_month) OR spender = me OR spender IN"
    "      (SELECT spender FROM leases WHERE kind = of_kind AND name = of_name)"
    "    GROUP BY spender),"
    "  held AS (SELECT spender, granted, greatest(0, granted - coalesce(total, 0)) AS unspent"
    "    FROM leases LEFT JOIN sums USING(spender) WHERE kind = of_kind AND name = of_name)"
    "  SELECT coalesce(sum(total), 0)::BIGINT AS total, coalesce(sum(by_day), 0)::BIGINT AS by_day,"
    "      coalesce(sum(by_week), 0)::BIGINT AS by_week, coalesce(sum(by_month), 0)::BIGINT AS by_month,"
    "      coalesce((SELECT sum(unspent) FROM held), 0)::BIGINT AS unspent,"
    "      coalesce((SELECT sum(unspent) FROM held WHERE spender <> me), 0)::BIGINT AS others,"
    "      greatest((SELECT granted FROM held WHERE spender = me),"
    "        sum(total) FILTER (WHERE spender = me), 0)::BIGINT AS mine INTO s FROM sums;"
    "  IF l.usd_total >= 0 THEN free := least(free, l.usd_total - s.total); END IF;"
    "  IF l.usd_day >= 0 THEN free := least(free, l.usd_day - s.by_day); END IF;"
    "  IF l.usd_week >= 0 THEN free := least(free, l.usd_week - s.by_week); END IF;"
    "  IF l.usd_month >= 0 THEN free := least(free, l.usd_month - s.by_month); END IF;"
    "  free := greatest(0, free - s.unspent);"
    "  IF greatest(l.usd_total, l.usd_day, l.usd_week, l.usd_month, -1) < 0 THEN"
    "    may := s.mine; rest := free; RETURN; END IF;"
    "  more := least(free, greatest(want - s.mine, free / (2 * (SELECT count(*) FROM spenders))));"
    "  IF s.mine + free < must THEN more := 0; END IF;"
    "  may := s.mine + more; rest := free - more + s.others;"
    "  INSERT INTO leases VALUES(of_kind, of_name, me, may,"
    "      CASE WHEN may < want AND s.others > 0 THEN now_ms() ELSE 0 END)"
    "    ON CONFLICT(kind, name, spender) DO UPDATE SET granted = excluded.granted, wanted = excluded.wanted;"
    " END $$;",
    "ALTER TABLE ledger ADD COLUMN opened_link BIGINT NOT NULL DEFAULT 0,"
    "  ADD COLUMN settled_link BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE egress ADD COLUMN link BIGINT NOT NULL DEFAULT 0;"
    "CREATE SEQUENCE chains MAXVALUE 1048575 CYCLE;"
    "CREATE TABLE chain("
    "  id BIGINT PRIMARY KEY, wall_ms BIGINT NOT NULL, n BIGINT NOT NULL, hash BYTEA NOT NULL,"
    "  entries BYTEA NOT NULL);"
    "ALTER TABLE chain ALTER COLUMN entries SET STORAGE EXTERNAL;" /* hashes do not compress */
    "CREATE TABLE chain_notes("
    "  id BIGINT PRIMARY KEY, wall_ms BIGINT NOT NULL, sort TEXT NOT NULL, chain BIGINT NOT NULL,"
    "  number BIGINT NOT NULL, hash TEXT NOT NULL, before_ms BIGINT NOT NULL, rows BIGINT NOT NULL,"
    "  link BIGINT NOT NULL);",
};

enum { SCHEMA = sizeof migrations / sizeof *migrations };

/* Only what a gateway that is gone has left open. */
static const char recover_sql[] =
    "UPDATE ledger SET outcome = 'interrupted' WHERE outcome = 'open' AND outcome IN ('open', 'interrupted') "
    "AND NOT EXISTS(SELECT FROM pg_locks "
    "WHERE locktype = 'advisory' AND classid = " LOCK_CLASS " AND objid = ledger.gateway::BIGINT "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/* Only the first line of what the library says; it never holds a password. */
int store_postgres_fail(PGconn *c, struct error *err)
{
    struct str text = str_trim(str_from(PQerrorMessage(c)));
    return error_set(err, ERROR_IO, "the state's PostgreSQL failed (" STR_FMT "): see its own log",
        STR_ARG(str_slice(text, 0, str_find_char(text, '\n'))));
}

int store_postgres_run(PGconn *c, const char *sql, struct error *err)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    int rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : store_postgres_fail(c, err);
    PQclear(r);
    return rc;
}

/* The single number a statement gives; 0 where it gives none. */
static int run_number(PGconn *c, const char *sql, int64_t *out, struct error *err)
{
    PGresult *r = PQexec(c, sql);
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : store_postgres_fail(c, err);
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

static int session_set(PGconn *c, struct error *err)
{
    PQsetNoticeReceiver(c, notice_drop, NULL);
    return store_postgres_run(c,
        "SET search_path TO weir; SET statement_timeout = " STATEMENT_MS "; SET lock_timeout = 10000;"
        "SET synchronous_commit = on; SET client_encoding = 'UTF8';"
        "SET default_transaction_isolation = 'read committed'",
        err);
}

static int session_connect(const struct postgres *p, struct postgres_session *s, struct error *err)
{
    /* What the URL says itself comes after these and wins. */
    const char *const names[] = {"application_name", "connect_timeout", "tcp_user_timeout", "dbname", NULL};
    const char *const values[] = {"weir", "3", "20000", p->url, NULL};
    s->c = PQconnectdbParams(names, values, 1);
    if (!s->c)
        abort();
    return PQstatus(s->c) == CONNECTION_OK ? session_set(s->c, err) : store_postgres_fail(s->c, err);
}

static void session_close(struct postgres_session *s)
{
    PQfinish(s->c);
    s->c = NULL;
}

static int prepare(PGconn *c, struct error *err)
{
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", kind);
        const struct store_fields *fields;
        const char *sql = store_kind_sql((enum store_kind)kind, &fields);
        if (kind == STORE_LEDGER_RECOVER)
            sql = recover_sql;
        if (!sql)
            continue;
        PGresult *r = PQprepare(c, name, sql, 0, NULL);
        int rc = PQresultStatus(r) == PGRES_COMMAND_OK ? 0 : store_postgres_fail(c, err);
        PQclear(r);
        if (rc)
            return rc;
    }
    return 0;
}

/* Each gateway holds a lock while it runs. One of an earlier version would go on writing what this one no
 * longer reads, without what this one sums and hashes. */
static int others_check(PGconn *c, struct error *err)
{
    int64_t n;
    int rc = run_number(c,
        "SELECT count(DISTINCT objid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid "
        "= " LOCK_CLASS " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &n, err);
    if (rc == 0 && n > 0)
        rc = error_set(err, ERROR_BUSY,
            "%lld gateways of an earlier version use the state: end them all, then start this one again",
            (long long)n);
    return rc;
}

static int version_read(PGconn *c, int64_t *version, struct error *err)
{
    int rc = run_number(c, "SELECT value FROM weir.meta WHERE name = 'schema'", version, err);
    if (rc == 0 && (*version > SCHEMA || *version < 0))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the state was made by a newer Weir (schema %lld, this one knows %d): use that one",
            (long long)*version, SCHEMA);
    return rc;
}

static int migrate_locked(PGconn *c, struct error *err)
{
    int64_t exists, version = 0;
    int rc =
        run_number(c, "SELECT count(*) FROM pg_class WHERE oid = to_regclass('weir.meta')", &exists, err);
    if (rc == 0 && exists)
        rc = version_read(c, &version, err);
    if (rc || version == SCHEMA)
        return rc;
    if (version > 0)
        rc = others_check(c, err);
    if (!exists)
        rc = store_postgres_run(c, "CREATE SCHEMA IF NOT EXISTS weir", err);
    for (int64_t i = version; rc == 0 && i < SCHEMA; i++)
        rc = store_postgres_run(c, migrations[i], err);
    char sql[96];
    snprintf(sql, sizeof sql, "UPDATE meta SET value = %d WHERE name = 'schema'", SCHEMA);
    return rc ? rc : store_postgres_run(c, sql, err);
}

/* One process at a time, by an advisory lock that ends with the transaction. */
static int migrate(PGconn *c, struct error *err)
{
    int rc = store_postgres_run(c, "BEGIN; SELECT pg_advisory_xact_lock(" LOCK_CLASS ")", err);
    if (rc == 0)
        rc = migrate_locked(c, err);
    if (rc == 0)
        return store_postgres_run(c, "COMMIT", err);
    PQclear(PQexec(c, "ROLLBACK"));
    return rc;
}

static int join_locked(struct postgres_session *s, int number, struct error *err)
{
    char sql[128];
    int64_t version;
    int rc = version_read(s->c, &version, err);
    snprintf(sql, sizeof sql, "SELECT pg_advisory_lock_shared(" LOCK_CLASS ", %d); SET weir.gateway = '%d'",
        number, number);
    if (rc == 0 && number)
        rc = store_postgres_run(s->c, sql, err);
    return rc || !s->prepares ? rc : prepare(s->c, err);
}

static int session_join(struct postgres_session *s, int number, struct error *err)
{
    int rc = store_postgres_run(s->c, "BEGIN; SELECT pg_advisory_xact_lock_shared(" LOCK_CLASS ")", err);
    if (rc == 0)
        rc = join_locked(s, number, err);
    if (rc == 0)
        rc = store_postgres_run(s->c, "COMMIT", err);
    if (rc == 0)
        s->held = number;
    return rc;
}

int store_postgres_mend(struct postgres *p, struct postgres_session *s, struct error *err)
{
    int number = atomic_load(&p->gateway); /* without the mutex: a reader may hold it for as long as a lock */
    if (PQstatus(s->c) == CONNECTION_OK && s->held == number)
        return 0;
    session_close(s);
    int rc = session_connect(p, s, err);
    if (rc == 0)
        rc = session_join(s, number, err);
    if (rc)
        session_close(s);
    return rc;
}

void store_postgres_close(struct store_backend *b)
{
    struct postgres *p = store_postgres_from(b);
    session_close(&p->leases.session);
    session_close(&p->reader.session);
    session_close(&p->writer);
    pthread_mutex_destroy(&p->leases.mutex);
    pthread_mutex_destroy(&p->reader.mutex);
    free(p->url);
    free(p);
}

int store_postgres_open(struct str rest, struct store_backend **out, struct error *err)
{
    struct postgres *p = must(calloc(1, sizeof *p));
    p->backend.ops = &store_postgres_ops;
    pthread_mutex_init(&p->reader.mutex, NULL);
    pthread_mutex_init(&p->leases.mutex, NULL);
    p->url = must(calloc(1, sizeof STORE_POSTGRES_SCHEME + rest.len));
    memcpy(p->url, STORE_POSTGRES_SCHEME, sizeof STORE_POSTGRES_SCHEME - 1);
    memcpy(p->url + sizeof STORE_POSTGRES_SCHEME - 1, rest.data, rest.len);
    p->writer.prepares = true;
    int rc = session_connect(p, &p->writer, err);
    if (rc == 0)
        rc = migrate(p->writer.c, err);
    if (rc == 0)
        rc = session_join(&p->writer, 0, err);
    if (rc == 0)
        rc = store_postgres_mend(p, &p->reader.session, err);
    if (rc) {
        store_postgres_close(&p->backend);
        return rc;
    }
    *out = &p->backend;
    return 0;
}

bool store_postgres_exists(struct str rest)
{
    (void)rest;
    return true;
}

/* Several gateways may share this state, so that a claim is a number; each session takes its lock when
 * it is used next. A server to which the state was restored counts
 * transactions anew: marks that are ahead of it would be read again and again. */
int store_postgres_claim(struct store_backend *b, struct error *err)
{
    static const char sql[] =
        "UPDATE spend SET changed = 0 WHERE changed >= txid_snapshot_xmax(txid_current_snapshot());"
        "SELECT nextval('gateways')";
    struct postgres *p = store_postgres_from(b);
    pthread_mutex_lock(&p->reader.mutex);
    int64_t number = atomic_load(&p->gateway);
    int rc = store_postgres_mend(p, &p->reader.session, err);
    if (rc == 0 && number == 0)
        rc = run_number(p->reader.session.c, sql, &number, err);
    atomic_store(&p->gateway, (int)number);
    pthread_mutex_unlock(&p->reader.mutex);
    return rc;
}

int store_postgres_chain_end(struct store_backend *b, struct store_chain_end *out, struct error *err)
{
    static const char rows_sql[] = "SELECT CASE WHEN EXISTS(SELECT FROM chain) THEN 0 ELSE "
                                   "(SELECT count(*) FROM ledger) + (SELECT count(*) FROM egress) END";
    PGconn *c = store_postgres_from(b)->writer.c;
    int64_t number;
    memset(out, 0, sizeof *out);
    int rc = run_number(c, "SELECT nextval('chains')", &number, err);
    if (rc)
        return rc;
    out->link = number << STORE_CHAIN_BITS;
    out->is_new = true;
    /* Once, of a ledger that may be large: failed, it would be counted again and again. */
    rc = store_postgres_run(c, "SET LOCAL statement_timeout = 0", err);
    if (rc == 0)
        rc = run_number(c, rows_sql, &out->rows, err);
    return rc ? rc : store_postgres_run(c, "SET LOCAL statement_timeout = " STATEMENT_MS, err);
}
