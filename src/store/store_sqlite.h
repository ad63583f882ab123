/* The SQLite database, for the files that make it: store_sqlite_open.c (opening, the schema, the gateway's
 * claim) and store_sqlite.c (rows written and read). */
#ifndef WEIR_STORE_STORE_SQLITE_H
#define WEIR_STORE_STORE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store_ops.h"

enum { STORE_SQLITE_BUSY_MS = 10000 }; /* how long another process may hold the file */

/* A kind whose rows are inserted several at a time (store_sqlite_insert.c). */
struct sqlite_insert {
    enum store_kind kind;
    const char *table;
    sqlite3_stmt *statement, *last; /* `last`: the table's largest id */
    const struct store_fields *fields;
    struct sqlite_bound *bound; /* a field each of every row */
    bool warm;                  /* what is bound is of this transaction's rows */
    int64_t newest;             /* the table's largest id; below 0: not known */
};
enum { SQLITE_INSERTS = 2 };
enum { STORE_SQLITE_RUN = 4096 }; /* ids that rows which follow each other may take */

struct sqlite {
    struct store_backend backend;
    char *path;
    bool emptied; /* the file was there before, and held nothing */
    sqlite3 *writer;
    sqlite3_stmt *statements[STORE_KINDS];
    sqlite3 *reader;
    pthread_mutex_t mutex; /* guards reader, version and mark */
    sqlite3_stmt *version, *mark;
    sqlite3_stmt *next_mark, *chain_end; /* the writer's */
    int64_t change;                      /* its transaction's; 0: not asked for */
    int lock_fd;
    uint32_t ids; /* given by the writer, counted; begins anywhere */
    struct sqlite_insert inserts[SQLITE_INSERTS];
};

static inline struct sqlite *store_sqlite_from(struct store_backend *b)
{
    return (struct sqlite *)(void *)b;
}

/* Says what a failure of the library means for whoever runs the gateway. */
int store_sqlite_fail(const struct sqlite *q, sqlite3 *db, int code, struct error *err);
int store_sqlite_run(const struct sqlite *q, sqlite3 *db, const char *sql, struct error *err);
int store_sqlite_rows(
    const struct sqlite *q, int64_t *rows, struct error *err); /* the writer sees of both tables */

/* One row, whatever its kind (store_sqlite.c). */
int store_sqlite_apply(
    struct store_backend *b, enum store_kind kind, const void *value, int64_t *changed, struct error *err);
/* The type of a value of SQLite's is that of its field. */
int store_sqlite_bind(sqlite3_stmt *s, int index, const struct store_field *f, const void *at);

/* The kind's statement. Of an insert also for several rows: it then stops at one that is refused (OR FAIL),
 * and what was inserted stays, so that no copy of each page is kept for going back. */
int store_sqlite_prepare(sqlite3 *db, enum store_kind kind, size_t rows, sqlite3_stmt **out);
int store_sqlite_inserts_prepare(struct sqlite *q, struct error *err);
void store_sqlite_inserts_begin(struct sqlite *q); /* of a transaction */
void store_sqlite_inserts_free(struct sqlite *q);
int store_sqlite_insert(struct store_backend *b, enum store_kind kind, const union store_value *values,
    int *codes, struct error *err);
/* The SQL function row_id(wall_ms). */
void store_sqlite_row_id(sqlite3_context *to, int n, sqlite3_value **values);

int store_sqlite_open(struct str rest, struct store_backend **out, struct error *err);
void store_sqlite_close(struct store_backend *b);
bool store_sqlite_exists(struct str rest);
int store_sqlite_claim(struct store_backend *b, struct error *err);

#endif
