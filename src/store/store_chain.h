/* The chain: every record of the ledger and the egress log is hashed as it is written, and the hashes of each
 * transaction with the hash before them. Whoever changes, removes or inserts a row afterwards has to make all
 * blocks behind it anew, and then their last hash is another one than was noted elsewhere.
 *
 *   record:  | kind: 1 | field | field | ...            enum store_record; fields as in the journal
 * (store_ops.h) entry:   | kind: 1 | time: 8 | SHA-256 of the record: 32 |       of 0: the database refused
 * the record block:   SHA-256(hash of the block before: 32 | chain: 8 | number of its first entry: 8 | time:
 * 8 | entry | entry | ...)             entries are numbered without gaps; before the first: 0
 *
 * All numbers are little-endian. A row's link is the chain and number of its record's entry. SQLite has one
 * chain. Each gateway on PostgreSQL has its own, so that none waits for another, and notes in it how far the
 * others have come. A purge deletes rows, then the blocks of which all entries are older; notes say so.
 *
 * What a record lacks: that a request was interrupted (its row then has no settled record, and must say
 * nothing else), and the sums of what was spent. */
#ifndef WEIR_STORE_STORE_CHAIN_H
#define WEIR_STORE_STORE_CHAIN_H

#include <openssl/evp.h>

#include "store/store_ops.h"

/* ---- Hashes. ---- */
struct store_sha {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};
int store_sha_init(struct store_sha *sha, struct error *err) MUST_USE;
void store_sha_free(struct store_sha *sha);
/* Of the record in the row, as that record. A settled one has its time only where it stands alone: else the
 * opened one tells it. */
void store_record_hash(
    struct store_sha *sha, const struct store_row *row, enum store_record as, unsigned char out[32]);
void store_block_hash(struct store_sha *sha, const unsigned char before[32], const struct store_block *block,
    unsigned char out[32]);

/* ---- The writer's: all in one transaction, whose last thing is store_chain_write. ---- */
struct store_chain;

int store_chain_create(struct store_chain **out, struct error *err) MUST_USE;
void store_chain_free(struct store_chain *c); /* NULL is allowed */
void store_chain_begin(struct store_chain *c, const struct store_backend *b);
/* Of the row's record; *link is to be kept in the database. */
int store_chain_add(struct store_chain *c, struct store_backend *b, const struct store_row *row,
    int64_t wall_ms, int64_t *link, struct error *err) MUST_USE;
/* It is of another kind after all. */
void store_chain_change(
    struct store_chain *c, int64_t link, const struct store_row *row, enum store_record as);
/* The database refused it. */
void store_chain_refuse(struct store_chain *c, int64_t link);
/* Rows older than that are being deleted. */
int store_chain_purged(
    struct store_chain *c, struct store_backend *b, int64_t before_ms, struct error *err) MUST_USE;
/* A step of deleting blocks: those whose entries are all as old. How many, in *blocks. */
int store_chain_purge(struct store_chain *c, struct store_backend *b, int64_t before_ms, int64_t *blocks,
    struct error *err) MUST_USE;
int store_chain_write(struct store_chain *c, struct store_backend *b, struct error *err) MUST_USE;
void store_chain_end(struct store_chain *c, bool committed);

/* ---- The auditor's (store_verify.c): as store_verify, in a view that holds. ---- */
int store_chain_verify(struct store_backend *b, const struct store_verify *v, struct store_verified *out,
    struct error *err) MUST_USE;

#endif
