/* State in PostgreSQL, shared by several gateways: one connection for the writer thread, one for readers,
 * one for leases.
 *
 * Everything is in the schema "weir" of the database that the URL names. Parameters and results travel in
 * binary, so that text needs no quoting and no NUL at its end. A lost connection is made anew by the next
 * group or read.
 *
 * Each gateway has a number: its open ledger rows carry it and its writer's session holds the advisory lock
 * (LOCK_CLASS, number). Rows whose number nobody holds were left by a dead gateway. The lock is a shared one,
 * because after a lost connection the server may keep the old session for a while.
 *
 * For the files that make it: store_postgres_open.c (connections, the schema, the claim), store_postgres.c
 * (rows written and read) and store_postgres_lease.c (what gateways may spend). */
#ifndef WEIR_STORE_STORE_POSTGRES_H
#define WEIR_STORE_STORE_POSTGRES_H

#include <postgresql/libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/store_ops.h"

#define STORE_POSTGRES_SCHEME "postgresql:"

/* A connection that any thread may use, one at a time. */
struct postgres_reader {
    pthread_mutex_t mutex; /* guards all of it */
    PGconn *c;             /* NULL: not yet */
    int64_t reconnect_ms;  /* not before then */
    bool views;            /* it is in a transaction */
};

enum { POSTGRES_NOT_JOINED = -1 }; /* a session of the writer's after a lost connection */

struct postgres {
    struct store_backend backend;
    char *url;
    PGconn *writer; /* the writer thread's, once open has returned */
    struct postgres_reader reader;
    struct postgres_reader leases; /* they wait for rows that others hold; loops that read must not */
    atomic_int gateway;            /* its number; 0: not claimed */
    int held;                      /* the number the writer's session holds; the writer thread's */
    bool careful;                  /* a savepoint for each row, because one of the last group's was refused */
};

static inline struct postgres *store_postgres_from(struct store_backend *b)
{
    return (struct postgres *)(void *)b;
}

/* ---- store_postgres_open.c ---- */
int store_postgres_open(struct str rest, struct store_backend **out, struct error *err);
void store_postgres_close(struct store_backend *b);
bool store_postgres_exists(struct str rest);
int store_postgres_claim(struct store_backend *b, struct error *err);
int store_postgres_fail(PGconn *c, struct error *err); /* in words that hold no password */
int store_postgres_connect(const struct postgres *p, PGconn **out, struct error *err);
int store_postgres_run(PGconn *c, const char *sql, struct error *err);
int store_postgres_session(PGconn *c, struct error *err); /* after every reconnecting */
int store_postgres_prepare(PGconn *c, struct error *err); /* all kinds' statements */
/* Before the writer's session writes: it takes the number's lock, which goes when the gateway goes. Not where
 * a newer version has brought the state to its form meanwhile; that and this never do so at once. */
int store_postgres_join(struct postgres *p, int number, struct error *err);
/* A chain of its own: no gateway waits for another's transaction. */
int store_postgres_chain_end(struct store_backend *b, struct store_chain_end *out, struct error *err);

/* ---- store_postgres.c ---- */
/* Sends a struct's fields with a statement; a binary result, which is the caller's. The mutex is held. */
PGresult *store_postgres_query(struct postgres *p, struct postgres_reader *r, const char *sql,
    const struct store_field *fields, size_t n, const void *value);
int64_t store_postgres_number(const PGresult *r, int row, int column);

/* ---- store_postgres_lease.c ---- */
extern const struct store_lease_ops store_postgres_leases;

#endif
