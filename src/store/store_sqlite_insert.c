/* Several rows in one statement: what a statement costs beside its rows, beginning, opening cursors, ending,
 * is paid once for sixteen of them, and a parameter that stays what it was (the key, the route, the outcome)
 * is not bound again.
 *
 * Ids are in the order of time, so that a row mostly goes behind the table's last one. Where it is of the
 * same millisecond as that one, SQLite is left to give the next number, which it does without a search. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"
#include "store/store_sqlite.h"

enum { COMPARED_MOST = 48, BELOW = (1 << STORE_ID_BITS) - 1 };

struct sqlite_bound {
    struct str text;
    int64_t number;
};

/* ---- Statements ---- */

/* Its parameters counted on from `first`; ?1 where PostgreSQL has $1, because SQLite takes $1 for a name. */
static void numbered_append(struct buf *out, struct str sql, size_t first)
{
    size_t at;
    while ((at = str_find_char(sql, '$')) != SIZE_MAX) {
        size_t digits = strspn(sql.data + at + 1, "0123456789");
        int64_t parameter = 0;
        (void)str_to_int64(str_slice(sql, at + 1, at + 1 + digits), &parameter);
        buf_append_str(out, str_slice(sql, 0, at));
        buf_appendf(out, "?%zu", first + (size_t)parameter);
        sql = str_slice(sql, at + 1 + digits, sql.len);
    }
    buf_append_str(out, sql);
}

/* A row's values: its fields are the parameters from `first` on, the one behind them is its id. */
static void row_append(struct buf *out, struct str values, size_t first, size_t n)
{
    struct str function = STR("row_id(");
    size_t at = str_find(values, function);
    assert(at != SIZE_MAX);
    numbered_append(out, str_slice(values, 0, at), first);
    buf_appendf(out, "?%zu", first + n + 1);
    struct str rest = str_slice(values, at + function.len, values.len);
    numbered_append(out, str_slice(rest, str_find_char(rest, ')') + 1, rest.len), first);
}

int store_sqlite_prepare(sqlite3 *db, enum store_kind kind, size_t rows, sqlite3_stmt **out)
{
    struct buf text;
    const struct store_fields *fields;
    struct str sql = str_from(store_kind_sql(kind, &fields));
    struct str insert = STR("INSERT "), values = STR(" VALUES");
    size_t begin = rows == 1 ? 0 : str_find(sql, values) + values.len;
    buf_init(&text, 64 * KIB);
    if (rows > 1) {
        assert(str_starts(sql, insert) && begin < sql.len);
        buf_append_text(&text, "INSERT OR FAIL ");
        buf_append_str(&text, str_slice(sql, insert.len, begin));
    }
    if (rows == 1)
        numbered_append(&text, sql, 0);
    for (size_t i = 0; i < rows && rows > 1; i++) {
        buf_append_text(&text, i ? ", " : "");
        row_append(&text, str_slice(sql, begin, sql.len), i * (fields->n + 1), fields->n);
    }
    buf_append_char(&text, '\0');
    int code = text.failed ? SQLITE_NOMEM
                           : sqlite3_prepare_v3(db, text.data, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    buf_free(&text);
    return code;
}

static int prepare(struct sqlite *q, struct sqlite_insert *in, struct error *err)
{
    char last[64];
    (void)store_kind_sql(in->kind, &in->fields);
    snprintf(last, sizeof last, "SELECT max(id) FROM %s", in->table);
    int code = store_sqlite_prepare(q->writer, in->kind, STORE_INSERT_ROWS, &in->statement);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v3(q->writer, last, -1, SQLITE_PREPARE_PERSISTENT, &in->last, NULL);
    in->bound = must(calloc(STORE_INSERT_ROWS * in->fields->n, sizeof *in->bound));
    return code == SQLITE_OK ? 0 : store_sqlite_fail(q, q->writer, code, err);
}

int store_sqlite_inserts_prepare(struct sqlite *q, struct error *err)
{
    static const struct sqlite_insert inserts[SQLITE_INSERTS] = {
        {.kind = STORE_LEDGER_WHOLE, .table = "ledger"}, {.kind = STORE_EGRESS_RECORD, .table = "egress"}};
    int rc = 0;
    for (int i = 0; i < SQLITE_INSERTS && rc == 0; i++) {
        q->inserts[i] = inserts[i];
        rc = prepare(q, &q->inserts[i], err);
    }
    return rc;
}

void store_sqlite_inserts_free(struct sqlite *q)
{
    for (int i = 0; i < SQLITE_INSERTS; i++) {
        sqlite3_finalize(q->inserts[i].statement);
        sqlite3_finalize(q->inserts[i].last);
        free(q->inserts[i].bound);
    }
}

void store_sqlite_inserts_begin(struct sqlite *q)
{
    for (int i = 0; i < SQLITE_INSERTS; i++) {
        q->inserts[i].warm = false;
        q->inserts[i].newest = -1;
    }
}

/* ---- Ids: the time and a number ---- */

static int64_t id_make(struct sqlite *q, int64_t wall_ms)
{
    return store_id_from_ms(wall_ms) | (q->ids++ & BELOW);
}

/* For a row that comes alone: what its table's last one is now, is not known. */
void store_sqlite_row_id(sqlite3_context *to, int n, sqlite3_value **values)
{
    struct sqlite *q = sqlite3_user_data(to);
    (void)n;
    for (int i = 0; i < SQLITE_INSERTS; i++)
        q->inserts[i].newest = -1;
    sqlite3_result_int64(to, id_make(q, sqlite3_value_int64(values[0])));
}

/* NULL is the next one behind the table's last. */
static int id_bind(struct sqlite *q, struct sqlite_insert *in, int index, int64_t wall_ms)
{
    int64_t first = store_id_from_ms(wall_ms);
    if (in->newest >= first && in->newest < (first | BELOW)) {
        in->newest++;
        return sqlite3_bind_null(in->statement, index);
    }
    int64_t id = id_make(q, wall_ms);
    q->ids += STORE_SQLITE_RUN; /* those behind it are for the rows of its millisecond that follow */
    in->newest = id > in->newest ? id : in->newest;
    return sqlite3_bind_int64(in->statement, index, id);
}

static int newest_find(struct sqlite *q, struct sqlite_insert *in, struct error *err)
{
    if (in->newest >= 0)
        return 0;
    int code = sqlite3_step(in->last);
    if (code == SQLITE_ROW)
        in->newest = sqlite3_column_int64(in->last, 0); /* 0 of an empty table: no time is as old */
    int rc = code == SQLITE_ROW ? 0 : store_sqlite_fail(q, q->writer, code, err);
    sqlite3_reset(in->last);
    return rc;
}

/* ---- Rows ---- */

/* Is it what the parameter holds? */
static bool is_same(const struct sqlite_bound *b, const struct store_field *f, const void *at)
{
    if (f->type == STORE_INT64)
        return b->number == *(const int64_t *)at;
    if (f->type != STORE_TEXT)
        return false;
    struct str s = *(const struct str *)at;
    return s.len <= COMPARED_MOST && str_eq(s, b->text);
}

static int row_bind(struct sqlite *q, struct sqlite_insert *in, size_t row, const union store_value *value)
{
    const struct store_field *fields = in->fields->at;
    const size_t n = in->fields->n, first = row * (n + 1);
    int64_t wall_ms = in->kind == STORE_EGRESS_RECORD ? value->egress.wall_ms : value->whole.opened.wall_ms;
    int code = id_bind(q, in, (int)(first + n + 1), wall_ms);
    for (size_t i = 0; i < n && code == SQLITE_OK; i++) {
        const struct store_field *f = &fields[i];
        const void *at = (const char *)value + f->offset;
        struct sqlite_bound *b = &in->bound[row * n + i];
        if (in->warm && is_same(b, f, at))
            continue;
        code = store_sqlite_bind(in->statement, (int)(first + i + 1), f, at);
        if (f->type == STORE_TEXT)
            b->text = *(const struct str *)at;
        else if (f->type == STORE_INT64)
            b->number = *(const int64_t *)at;
    }
    return code;
}

/* From the refused row on each by itself. */
static int rest_insert(struct sqlite *q, enum store_kind kind, const union store_value *values, int *codes,
    size_t from, struct error *err)
{
    int64_t changed;
    for (size_t i = from; i < STORE_INSERT_ROWS; i++) {
        codes[i] = store_sqlite_apply(&q->backend, kind, &values[i], &changed, err);
        if (codes[i] && codes[i] != ERROR_INVALID)
            return codes[i];
    }
    return 0;
}

int store_sqlite_insert(struct store_backend *b, enum store_kind kind, const union store_value *values,
    int *codes, struct error *err)
{
    struct sqlite *q = store_sqlite_from(b);
    struct sqlite_insert *in = &q->inserts[kind == q->inserts[1].kind];
    int64_t before = sqlite3_total_changes64(q->writer);
    int rc = newest_find(q, in, err);
    int code = SQLITE_OK;
    if (rc)
        return rc;
    for (size_t i = 0; i < STORE_INSERT_ROWS && code == SQLITE_OK; i++)
        code = row_bind(q, in, i, &values[i]);
    in->warm = code == SQLITE_OK;
    if (code == SQLITE_OK)
        code = sqlite3_step(in->statement);
    memset(codes, 0, STORE_INSERT_ROWS * sizeof *codes);
    if (code == SQLITE_DONE) {
        sqlite3_reset(in->statement);
        return 0;
    }
    in->newest = -1;
    if ((code & 0xff) != SQLITE_CONSTRAINT && (code & 0xff) != SQLITE_TOOBIG)
        rc = store_sqlite_fail(q, q->writer, code, err);
    sqlite3_reset(in->statement);
    size_t done = (size_t)(sqlite3_total_changes64(q->writer) - before);
    return rc ? rc : rest_insert(q, kind, values, codes, done, err);
}
