/* State in PostgreSQL, shared by several gateways: one connection for the writer thread, one for readers,
 * one for leases.
 *
 * Everything is in the schema "weir" of the database that the URL names. Parameters and results travel in
 * binary, so that text needs no quoting and no NUL at its end. A lost connection is made anew by the next
 * group or read.
 *
 * Each gateway has a number: its open ledger rows carry it and its sessions hold the advisory lock
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

/*   closed --> connected --> joined (mend); what fails on the way, is lost or has another number is closed
 *
 * A joined one knows the state's schema, and holds the lock of its gateway's number, so that no newer version
 * changes the schema beneath it. */
struct postgres_session {
    PGconn *c;     /* NULL: closed */
    int held;      /* the number, once it is joined; 0: of none */
    bool prepares; /* it has all kinds' statements then */
};

/* A session that any thread may use, one at a time. */
struct postgres_reader {
    pthread_mutex_t mutex; /* guards all of it */
    struct postgres_session session;
    int64_t reconnect_ms; /* not before then, because of `failed` */
    struct error failed;
    bool views; /* it is in a transaction */
};

struct postgres {
    struct store_backend backend;
    char *url;
    struct postgres_session writer; /* the writer thread's, once open has returned */
    struct postgres_reader reader;
    struct postgres_reader leases; /* they wait for rows that others hold; loops that read must not */
    atomic_int gateway;            /* its number; 0: not claimed */
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
int store_postgres_run(PGconn *c, const char *sql, struct error *err);
/* Before it is used: it is joined with the gateway's number, or closed. Not where a newer version has brought
 * the state to its form meanwhile; that and this never do so at once. */
int store_postgres_mend(struct postgres *p, struct postgres_session *s, struct error *err);
/* A chain of its own: no gateway waits for another's transaction. */
int store_postgres_chain_end(struct store_backend *b, struct store_chain_end *out, struct error *err);

/* ---- store_postgres.c ---- */
/* Sends a struct's fields with a statement; a binary result, which is the caller's, NULL where it fails. The
 * mutex is held. */
int store_postgres_query(struct postgres *p, struct postgres_reader *r, const char *sql,
    const struct store_field *fields, size_t n, const void *value, PGresult **out, struct error *err);
int64_t store_postgres_number(const PGresult *r, int row, int column);

/* ---- store_postgres_lease.c ---- */
extern const struct store_lease_ops store_postgres_leases;

#endif
