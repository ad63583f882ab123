/* Leases in PostgreSQL: what decides them is a function of the database (store_postgres_open.c), so that it
 * is one statement here. */
#include "store/store_postgres.h"

#define FIELD(type, member)                                                                                  \
    {                                                                                                        \
        STORE_##type, offsetof(struct store_lease, member), sizeof(((struct store_lease *)0)->member)        \
    }

enum { WANTED_MS = 2000 }; /* for how long who was told no is thought to want it still */

struct beat {
    int64_t spender, life_ms;
    struct str names;
};

/* A result, which is the caller's also where it fails. */
static int ask(struct store_backend *b, const char *sql, const struct store_field *fields, size_t n,
    const void *value, PGresult **out, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    pthread_mutex_lock(&p->leases.mutex);
    int rc = store_postgres_query(p, &p->leases, sql, fields, n, value, out, err);
    pthread_mutex_unlock(&p->leases.mutex);
    return rc;
}

/* The same, of one row. */
static int ask_row(struct store_backend *b, const char *sql, const struct store_field *fields, size_t n,
    const void *value, PGresult **out, struct error *err)
{
    int rc = ask(b, sql, fields, n, value, out, err);
    return rc == 0 && PQntuples(*out) != 1
               ? error_set(err, ERROR_INTERNAL, "the state's PostgreSQL gave no answer")
               : rc;
}

static int lease_beat(struct store_backend *b, int64_t spender, int64_t life_ms, bool *renewed,
    int64_t *others, struct error *err)
{
    static const struct store_field fields[] = {
        {STORE_INT64, offsetof(struct beat, spender), 8}, {STORE_INT64, offsetof(struct beat, life_ms), 8}};
    const struct beat beat = {spender, life_ms, STR_NONE};
    PGresult *r;
    int rc = ask_row(b,
        "SELECT lease_beat($1, $2), (SELECT count(*) FROM spenders WHERE spender <> $1 AND seen > now_ms() - $2)",
        fields, 2, &beat, &r, err);
    if (rc == 0) {
        *renewed = store_postgres_number(r, 0, 0) != 0;
        *others = store_postgres_number(r, 0, 1);
    }
    PQclear(r);
    return rc;
}

/* Rows of a kind of their own among the leases: they go with their spender, and `granted` is when it was
 * asked. */
static int lease_share(struct store_backend *b, int64_t spender, int64_t life_ms, struct str names,
    void (*visit)(void *ctx, struct str name, int64_t others), void *ctx, struct error *err)
{
    static const struct store_field fields[] = {{STORE_INT64, offsetof(struct beat, spender), 8},
        {STORE_INT64, offsetof(struct beat, life_ms), 8},
        {STORE_TEXT, offsetof(struct beat, names), sizeof(struct str)}};
    const struct beat asked = {spender, life_ms, names};
    PGresult *r;
    int rc = ask(b,
        "WITH mine AS (INSERT INTO leases SELECT 'rates', value, $1::BIGINT, now_ms(), 0"
        "  FROM json_array_elements_text($3::json) ORDER BY 2"
        "  ON CONFLICT(kind, name, spender) DO UPDATE SET granted = excluded.granted RETURNING name)"
        "SELECT name, (SELECT count(*) FROM leases AS theirs WHERE kind = 'rates' AND theirs.name = mine.name"
        "  AND spender <> $1 AND granted > now_ms() - $2) FROM mine",
        fields, sizeof fields / sizeof *fields, &asked, &r, err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        visit(ctx, (struct str){PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)},
            store_postgres_number(r, i, 1));
    PQclear(r);
    return rc;
}

static int lease_take(struct store_backend *b, const struct store_lease *lease, int64_t *granted,
    int64_t *rest, struct error *err)
{
    static const struct store_field fields[] = {FIELD(TEXT, kind), FIELD(TEXT, name), FIELD(INT64, spender),
        FIELD(INT64, must), FIELD(INT64, want), FIELD(INT64, starts[1]), FIELD(INT64, starts[2]),
        FIELD(INT64, starts[3])};
    PGresult *r;
    int rc = ask_row(b, "SELECT may, rest FROM lease_take($1, $2, $3, $4, $5, $6, $7, $8)", fields,
        sizeof fields / sizeof *fields, lease, &r, err);
    if (rc == 0) {
        *granted = store_postgres_number(r, 0, 0);
        *rest = store_postgres_number(r, 0, 1);
    }
    PQclear(r);
    return rc;
}

static int lease_give(struct store_backend *b, const struct store_lease *lease, struct error *err)
{
    static const struct store_field fields[] = {
        FIELD(TEXT, kind), FIELD(TEXT, name), FIELD(INT64, spender), FIELD(INT64, want)};
    PGresult *r;
    int rc = ask(b,
        "UPDATE leases SET granted = $4 WHERE kind = $1 AND name = $2 AND spender = $3 AND granted > $4",
        fields, 4, lease, &r, err);
    PQclear(r);
    return rc;
}

static int lease_wanted(struct store_backend *b, int64_t spender,
    void (*visit)(void *ctx, struct str kind, struct str name), void *ctx, struct error *err)
{
    static const struct store_field fields[] = {
        {STORE_INT64, offsetof(struct beat, spender), 8}, {STORE_INT64, offsetof(struct beat, life_ms), 8}};
    const struct beat since = {spender, WANTED_MS, STR_NONE};
    PGresult *r;
    int rc = ask(b, "SELECT kind, name FROM leases WHERE wanted > now_ms() - $2 AND spender <> $1", fields, 2,
        &since, &r, err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        visit(ctx, (struct str){PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)},
            (struct str){PQgetvalue(r, i, 1), (size_t)PQgetlength(r, i, 1)});
    PQclear(r);
    return rc;
}

const struct store_lease_ops store_postgres_leases = {
    .beat = lease_beat,
    .share = lease_share,
    .take = lease_take,
    .give = lease_give,
    .wanted = lease_wanted,
};
