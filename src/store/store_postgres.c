/* Rows written to PostgreSQL and read from it. */
#include "store/store_postgres.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { MAX_FIELDS = 32, RECONNECT_MS = 5000 };

/* ---- Writing. ---- */

static int postgres_begin(struct store_backend *b, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    int rc = store_postgres_mend(p, &p->writer, err);
    return rc ? rc : store_postgres_run(p->writer.c, "BEGIN", err);
}

static int postgres_commit(struct store_backend *b, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    PGresult *r = PQexec(p->writer.c, "COMMIT");
    /* A COMMIT of a failed transaction succeeds and says ROLLBACK. */
    bool kept = PQresultStatus(r) == PGRES_COMMAND_OK && strcmp(PQcmdStatus(r), "COMMIT") == 0;
    int rc = kept ? 0 : store_postgres_fail(p->writer.c, err);
    PQclear(r);
    if (kept)
        p->careful = false;
    return rc;
}

static void postgres_rollback(struct store_backend *b)
{
    struct postgres *p = store_postgres_from(b);
    if (PQtransactionStatus(p->writer.c) != PQTRANS_IDLE)
        PQclear(PQexec(p->writer.c, "ROLLBACK"));
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
    case STORE_TEXT:
    case STORE_BYTES: {
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

static void parameters_set(
    struct parameters *to, const struct store_field *fields, size_t n, const void *value)
{
    for (size_t i = 0; i < n; i++)
        parameter_set(to, i, &fields[i], (const char *)value + fields[i].offset);
}

static int row_send(struct postgres *p, enum store_kind kind, const void *value, int64_t *changed,
    bool *refused, struct error *err)
{
    const struct store_fields *fields;
    struct parameters to;
    char name[16];
    (void)store_kind_sql(kind, &fields);
    parameters_set(&to, fields->at, fields->n, value);
    snprintf(name, sizeof name, "w%d", kind);
    PGresult *r = PQexecPrepared(p->writer.c, name, (int)fields->n, to.values, to.lengths, to.formats, 1);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    *refused = !ok && is_refusal(r);
    if (ok && !str_to_int64(str_from(PQcmdTuples(r)), changed))
        *changed = 0;
    PQclear(r);
    return ok ? 0 : store_postgres_fail(p->writer.c, err);
}

/* A refused row spoils its transaction here. The group is then tried again with a savepoint before each row,
 * so that the refused one alone is lost. */
static int postgres_apply(
    struct store_backend *b, enum store_kind kind, const void *value, int64_t *changed, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    bool refused = false;
    int rc = p->careful ? store_postgres_run(p->writer.c, "SAVEPOINT row", err) : 0;
    if (rc == 0)
        rc = row_send(p, kind, value, changed, &refused, err);
    if (rc == 0 || !refused)
        return rc;
    if (!p->careful) {
        p->careful = true;
        return rc;
    }
    rc = store_postgres_run(p->writer.c, "ROLLBACK TO SAVEPOINT row", err);
    return rc ? rc : ERROR_INVALID;
}

/* ---- Reading. ---- */

int64_t store_postgres_number(const PGresult *r, int row, int column)
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
    case STORE_BYTES:
        return arena_try_copy(a, value, (struct str *)(void *)at)
                   ? error_set(err, ERROR_LIMIT, "a row of the state is larger than this program writes")
                   : 0;
    case STORE_INT64:
        *(int64_t *)(void *)at = store_postgres_number(r, row, column);
        return 0;
    case STORE_INT:
        *(int *)(void *)at = (int)store_postgres_number(r, row, column);
        return 0;
    case STORE_BOOL:
        *(bool *)(void *)at = store_postgres_number(r, row, column) != 0;
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

/* A lost session is made anew, but not so often that who asks every second only waits, and none in the middle
 * of a view. */
static int reader_mend(struct postgres *p, struct postgres_reader *r, struct error *err)
{
    if (r->views)
        return PQstatus(r->session.c) == CONNECTION_OK ? 0 : store_postgres_fail(r->session.c, err);
    if (PQstatus(r->session.c) != CONNECTION_OK && clock_mono_ms() < r->reconnect_ms) {
        *err = r->failed;
        return r->failed.code;
    }
    int rc = store_postgres_mend(p, &r->session, err);
    if (rc) {
        r->reconnect_ms = clock_mono_ms() + RECONNECT_MS;
        r->failed = *err;
    }
    return rc;
}

static bool is_good(const PGresult *r)
{
    return PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK;
}

/* That a connection is lost shows when it is used: then once more. */
int store_postgres_query(struct postgres *p, struct postgres_reader *r, const char *sql,
    const struct store_field *fields, size_t n, const void *value, PGresult **out, struct error *err)
{
    struct parameters to;
    parameters_set(&to, fields, n, value);
    *out = NULL;
    for (int attempt = 0;; attempt++) {
        int rc = reader_mend(p, r, err);
        if (rc)
            return rc;
        PGconn *c = r->session.c;
        PGresult *got = PQexecParams(c, sql, (int)n, NULL, to.values, to.lengths, to.formats, 1);
        if (is_good(got)) {
            *out = got;
            return 0;
        }
        PQclear(got);
        if (attempt == 1 || r->views || PQstatus(c) == CONNECTION_OK)
            return store_postgres_fail(c, err);
    }
}

static const struct store_field cursor_fields[] = {{STORE_INT64, offsetof(struct store_cursor, wall_ms), 8},
    {STORE_INT64, offsetof(struct store_cursor, id), 8},
    {STORE_INT64, offsetof(struct store_cursor, but), 8}};

static size_t cursor_parameters(const struct store_list *list)
{
    return list->leaves_out ? 3 : 2;
}

/* Of a result, which it clears. */
static int page_read(PGresult *r, const struct store_list *list, struct store_cursor *cursor, struct arena *a,
    void *rows, size_t *n, struct error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        cursor->wall_ms = store_postgres_number(r, i, 1);
        cursor->id = store_postgres_number(r, i, 0);
        rc = row_read(r, i, list, a, (char *)rows + *n * list->row_size, err);
        (*n)++;
    }
    PQclear(r);
    return rc;
}

static int postgres_page(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
    struct arena *a, void *rows, size_t *n, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    PGresult *r;
    *n = 0;
    pthread_mutex_lock(&p->reader.mutex);
    int rc = store_postgres_query(
        p, &p->reader, list->sql, cursor_fields, cursor_parameters(list), cursor, &r, err);
    pthread_mutex_unlock(&p->reader.mutex);
    return rc ? rc : page_read(r, list, cursor, a, rows, n, err);
}

static int postgres_writer_page(struct store_backend *b, const struct store_list *list,
    struct store_cursor *cursor, struct arena *a, void *rows, size_t *n, struct error *err)
{
    PGconn *c = store_postgres_from(b)->writer.c;
    struct parameters to;
    size_t n_to = cursor_parameters(list);
    parameters_set(&to, cursor_fields, n_to, cursor);
    *n = 0;
    PGresult *r = PQexecParams(c, list->sql, (int)n_to, NULL, to.values, to.lengths, to.formats, 1);
    if (is_good(r))
        return page_read(r, list, cursor, a, rows, n, err);
    PQclear(r);
    return store_postgres_fail(c, err);
}

/* The number that a query gives; `fallback` where it gives no row. */
static int number_read(struct postgres *p, const char *sql, int64_t fallback, int64_t *out, struct error *err)
{
    PGresult *r;
    pthread_mutex_lock(&p->reader.mutex);
    int rc = store_postgres_query(p, &p->reader, sql, NULL, 0, NULL, &r, err);
    pthread_mutex_unlock(&p->reader.mutex);
    if (rc == 0)
        *out = PQntuples(r) == 1 ? store_postgres_number(r, 0, 0) : fallback;
    PQclear(r);
    return rc;
}

static int postgres_keys_version(struct store_backend *b, int64_t *version, struct error *err)
{
    return number_read(store_postgres_from(b), "SELECT value FROM meta WHERE name = 'keys'", 0, version, err);
}

static int postgres_change_mark(struct store_backend *b, int64_t *mark, struct error *err)
{
    return number_read(
        store_postgres_from(b), "SELECT txid_snapshot_xmin(txid_current_snapshot())", 0, mark, err);
}

static int postgres_mark(struct store_backend *b, struct str name, int64_t *number, struct error *err)
{
    char sql[128];
    *number = 0;
    /* A journal's name is hexadecimal. */
    snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE name = '" STR_FMT "'", STR_ARG(name));
    return number_read(store_postgres_from(b), sql, 0, number, err);
}

static int postgres_view(struct store_backend *b, bool begins, struct error *err)
{
    struct postgres *p = store_postgres_from(b);
    pthread_mutex_lock(&p->reader.mutex);
    int rc = reader_mend(p, &p->reader, err);
    if (rc == 0)
        rc = store_postgres_run(
            p->reader.session.c, begins ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "COMMIT", err);
    p->reader.views = begins && rc == 0;
    pthread_mutex_unlock(&p->reader.mutex);
    return rc;
}

const struct store_ops store_postgres_ops = {
    .scheme = STORE_POSTGRES_SCHEME,
    .leases = &store_postgres_leases,
    .open = store_postgres_open,
    .close = store_postgres_close,
    .exists = store_postgres_exists,
    .claim = store_postgres_claim,
    .begin = postgres_begin,
    .apply = postgres_apply,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .page = postgres_page,
    .writer_page = postgres_writer_page,
    .keys_version = postgres_keys_version,
    .change_mark = postgres_change_mark,
    .chain_end = store_postgres_chain_end,
    .view = postgres_view,
    .mark = postgres_mark,
};
