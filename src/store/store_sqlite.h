/* The SQLite database, for the files that make it: store_sqlite_open.c (opening, the schema, the gateway's
 * claim) and store_sqlite.c (rows written and read). */
#ifndef WEIR_STORE_STORE_SQLITE_H
#define WEIR_STORE_STORE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store_ops.h"

enum { STORE_SQLITE_BUSY_MS = 10000 }; /* how long another process may hold the file */

struct sqlite {
    struct store_backend backend;
    char *path;
    sqlite3 *writer;
    sqlite3_stmt *statements[STORE_KINDS];
    sqlite3 *reader;
    pthread_mutex_t mutex; /* guards reader and version */
    sqlite3_stmt *version;
    int lock_fd;
    uint32_t ids; /* given by the writer, counted; begins anywhere */
};

static inline struct sqlite *store_sqlite_from(struct store_backend *b)
{
    return (struct sqlite *)(void *)b;
}

/* Says what a failure of the library means for whoever runs the gateway. */
int store_sqlite_fail(const struct sqlite *q, sqlite3 *db, int code, struct error *err);
int store_sqlite_run(const struct sqlite *q, sqlite3 *db, const char *sql, struct error *err);

int store_sqlite_open(struct str rest, struct store_backend **out, struct error *err);
void store_sqlite_close(struct store_backend *b);
bool store_sqlite_exists(struct str rest);
int store_sqlite_claim(struct store_backend *b, struct error *err);

#endif
