/* Rows written and read in SQLite. */
#include "store/store_sqlite.h"

#include <string.h>

#include "base/log.h"
#include "base/rand.h"

/* ---- Writing. ---- */

static int sqlite_begin(struct store_backend *b, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    int moved = 0;
    /* Rows would go into a file that has no name any more, and be lost with this process. */
    if (sqlite3_file_control(q->writer, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved)
        return error_set(err, ERROR_IO,
            "the state %s was removed, or another file is in its place: put it back, or start again",
            q->path);
    store_sqlite_inserts_begin(q);
    q->change = 0;
    return store_sqlite_run(q, q->writer, "BEGIN IMMEDIATE", err);
}

static int sqlite_commit(struct store_backend *b, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    return store_sqlite_run(q, q->writer, "COMMIT", err);
}

static void sqlite_rollback(struct store_backend *b)
{
    struct sqlite *q = store_sqlite_from(b);
    /* Some failures have rolled back already. */
    if (!sqlite3_get_autocommit(q->writer) &&
        sqlite3_exec(q->writer, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        log_error("store", "cannot roll back: %s", sqlite3_errmsg(q->writer));
}

int store_sqlite_bind(sqlite3_stmt *s, int index, const struct store_field *f, const void *at)
{
    switch (f->type) {
    case STORE_TEXT: {
        const struct str *text = at;
        return sqlite3_bind_text64(
            s, index, text->data ? text->data : "", text->len, SQLITE_STATIC, SQLITE_UTF8);
    }
    case STORE_INT64:
        return sqlite3_bind_int64(s, index, *(const int64_t *)at);
    case STORE_INT:
        return sqlite3_bind_int(s, index, *(const int *)at);
    case STORE_BOOL:
        return sqlite3_bind_int(s, index, *(const bool *)at);
    case STORE_BLOB:
        return sqlite3_bind_blob64(s, index, at, f->size, SQLITE_STATIC);
    case STORE_BYTES: {
        const struct str *bytes = at;
        return sqlite3_bind_blob64(s, index, bytes->data, bytes->len, SQLITE_STATIC);
    }
    }
    return SQLITE_MISUSE;
}

/* Another process, or a run of rows, may have given the same number in the same millisecond: then one
 * anywhere else. (What stands a run further on is as likely taken by the next run, and so on: rows were
 * lost.) */
static int step(struct sqlite *q, sqlite3_stmt *s)
{
    int code = sqlite3_step(s);
    for (int again = 0; code == SQLITE_CONSTRAINT_PRIMARYKEY && again < 100; again++) {
        sqlite3_reset(s);
        q->ids = (uint32_t)rand_u64();
        code = sqlite3_step(s);
    }
    return code;
}

int store_sqlite_apply(
    struct store_backend *b, enum store_kind kind, const void *value, int64_t *changed, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    sqlite3_stmt *s = q->statements[kind];
    const struct store_fields *fields;
    int code = SQLITE_OK;
    (void)store_kind_sql(kind, &fields);
    for (size_t i = 0; i < fields->n && code == SQLITE_OK; i++)
        code = store_sqlite_bind(s, (int)i + 1, &fields->at[i], (const char *)value + fields->at[i].offset);
    if (code == SQLITE_OK)
        code = step(q, s);
    int rc = 0;
    if (code == SQLITE_DONE)
        *changed = sqlite3_changes64(q->writer);
    else if ((code & 0xff) == SQLITE_CONSTRAINT || (code & 0xff) == SQLITE_TOOBIG)
        rc = error_set(err, ERROR_INVALID, "the state refused a row: %s", sqlite3_errmsg(q->writer));
    else
        rc = store_sqlite_fail(q, q->writer, code, err);
    sqlite3_reset(s); /* the texts it is bound to are not looked at before the next ones are */
    return rc;
}

/* ---- Reading. ---- */

/* The column's value into its place in the row; text is copied. */
static int column_read(
    sqlite3_stmt *s, int column, const struct store_field *f, struct arena *a, char *at, struct error *err)
{
    switch (f->type) {
    case STORE_TEXT:
    case STORE_BYTES: {
        const void *text =
            f->type == STORE_TEXT ? sqlite3_column_text(s, column) : sqlite3_column_blob(s, column);
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

static int page_read(struct sqlite *q, sqlite3 *db, const struct store_list *list,
    struct store_cursor *cursor, struct arena *a, void *rows, size_t *n, struct error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = 0;
    *n = 0;
    int code = sqlite3_prepare_v2(db, list->sql, -1, &s, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, cursor->wall_ms);
        sqlite3_bind_int64(s, 2, cursor->id);
        if (list->leaves_out)
            sqlite3_bind_int64(s, 3, cursor->but);
        while (rc == 0 && *n < STORE_PAGE && (code = sqlite3_step(s)) == SQLITE_ROW) {
            cursor->wall_ms = sqlite3_column_int64(s, 1);
            cursor->id = sqlite3_column_int64(s, 0);
            rc = row_read(s, list, a, (char *)rows + *n * list->row_size, err);
            (*n)++;
        }
    }
    if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = store_sqlite_fail(q, db, code, err);
    sqlite3_finalize(s);
    return rc;
}

static int sqlite_page(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
    struct arena *a, void *rows, size_t *n, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    pthread_mutex_lock(&q->mutex);
    int rc = page_read(q, q->reader, list, cursor, a, rows, n, err);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

static int sqlite_writer_page(struct store_backend *b, const struct store_list *list,
    struct store_cursor *cursor, struct arena *a, void *rows, size_t *n, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    return page_read(q, q->writer, list, cursor, a, rows, n, err);
}

/* The number that the reader's statement gives. */
static int number_read(struct sqlite *q, sqlite3_stmt *s, int64_t *out, struct error *err)
{
    pthread_mutex_lock(&q->mutex);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    int rc = code == SQLITE_ROW
                 ? 0
                 : store_sqlite_fail(q, q->reader, code == SQLITE_DONE ? SQLITE_CORRUPT : code, err);
    sqlite3_reset(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

static int sqlite_keys_version(struct store_backend *b, int64_t *version, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    return number_read(q, q->version, version, err);
}

/* Transactions that write come one after another, each with the next number. */
static int sqlite_change_mark(struct store_backend *b, int64_t *mark, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    return number_read(q, q->mark, mark, err);
}

static int sqlite_mark(struct store_backend *b, struct str name, int64_t *number, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
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
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : store_sqlite_fail(q, q->reader, code, err);
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

/* All that write are one after another: there is one chain. */
static int sqlite_chain_end(struct store_backend *b, struct store_chain_end *out, struct error *err)
{
    enum { CHAIN = 1 };
    struct sqlite *q = store_sqlite_from(b);
    memset(out, 0, sizeof *out);
    int code = sqlite3_step(q->chain_end);
    if (code == SQLITE_ROW && sqlite3_column_bytes(q->chain_end, 2) == sizeof out->hash) {
        out->link = sqlite3_column_int64(q->chain_end, 0) + sqlite3_column_int64(q->chain_end, 1);
        memcpy(out->hash, sqlite3_column_blob(q->chain_end, 2), sizeof out->hash);
    } else if (code == SQLITE_DONE) {
        out->link = (int64_t)CHAIN << STORE_CHAIN_BITS;
        out->is_new = true;
    }
    int rc = out->link ? 0 : store_sqlite_fail(q, q->writer, code == SQLITE_ROW ? SQLITE_CORRUPT : code, err);
    sqlite3_reset(q->chain_end);
    return rc || !out->is_new ? rc : store_sqlite_rows(q, &out->rows, err);
}

static int sqlite_view(struct store_backend *b, bool begins, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    pthread_mutex_lock(&q->mutex);
    int rc = store_sqlite_run(q, q->reader, begins ? "BEGIN" : "COMMIT", err);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

const struct store_ops store_sqlite_ops = {
    .scheme = "sqlite:",
    .open = store_sqlite_open,
    .close = store_sqlite_close,
    .exists = store_sqlite_exists,
    .claim = store_sqlite_claim,
    .begin = sqlite_begin,
    .apply = store_sqlite_apply,
    .insert = store_sqlite_insert,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .page = sqlite_page,
    .writer_page = sqlite_writer_page,
    .keys_version = sqlite_keys_version,
    .change_mark = sqlite_change_mark,
    .chain_end = sqlite_chain_end,
    .view = sqlite_view,
    .mark = sqlite_mark,
};
