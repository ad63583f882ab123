/* What the gateway keeps: a closed list of domain operations, not SQL. SQLite by default, PostgreSQL for
 * state shared by several machines.
 *
 * Writes are submitted to one writer thread that commits them in groups; `done` is called back, on the loop
 * that asked, once they are kept (a process that is killed after that has lost nothing). Without a `done`
 * nobody waits; a failed write is then logged and counted. Rows are copied at submission. Reads are
 * synchronous and are for the command line, start-up and administration, never for a request's path. All
 * calls are thread-safe. */
#ifndef WEIR_STORE_STORE_H
#define WEIR_STORE_STORE_H

#include "base/arena.h"
#include "base/loop.h"
#include "base/str.h"

struct store;

/* "sqlite:PATH" or "postgresql://..."; makes or migrates the schema. */
int store_open(struct str url, struct store **out, struct error *err) MUST_USE;
void store_close(struct store *s); /* writes what is queued first; NULL is allowed */
/* Is there a state already, in more than an empty file? For readers, which should not make one; true where only
 * opening it can tell. */
bool store_exists(struct str url);
/* May other gateways write it, too? */
bool store_is_shared(const struct store *s);
/* The gateway's claim on its state, held until store_close: a second gateway on the same SQLite file is
 * refused with ERROR_BUSY (the command line's readers and writers need none). Also checks the file's
 * integrity. Call it before store_ledger_recover. */
int store_claim(struct store *s, struct error *err) MUST_USE;

/* From now on a row of a request is kept, and its `done` called, once it is in the journal: the files PATH.0
 * and PATH.1 on a local disk (`path` empty: FILE.journal beside an SQLite file; none for PostgreSQL). They
 * are written when the loop that submits comes to the end of its events, once for all of its rows. A row
 * reaches the database within 25 ms, under load within 250 ms, and lists show it then. From the journal on it
 * outlives this process, but a power cut only when the database has it. Rows that an earlier process left
 * there are written first. After store_claim; without a journal rows wait for the database. */
int store_journal(struct store *s, struct str path, struct error *err) MUST_USE;
/* For readers: what was submitted before this call is in the lists after it. What a killed gateway left in
 * the journal beside its SQLite file is put into the file; for one that runs this waits, a few seconds at
 * most. */
int store_absorb(struct store *s, struct error *err) MUST_USE;

struct store_done {
    struct loop *loop; /* NULL: nobody waits */
    void (*fn)(void *ctx, int code);
    void *ctx;
};

struct store_stats {
    int64_t written, failed, queued;
    bool healthy; /* the last group was committed */
};
void store_stats(struct store *s, struct store_stats *out);

/* ---- The ledger: one row per request, opened before dispatch, settled when it is over. ---- */
struct store_opened {
    struct str request_id; /* unique; what follows a '/' only makes it so, and lists leave it out */
    int64_t wall_ms;
    struct str key_id, team; /* who; empty with auth: none */
    struct str api;          /* "openai.chat", ... */
    struct str model;        /* as the client named it */
    struct str route, rule, boundary;
    bool sensitive;
    struct str decision; /* the route decision as JSON (contract); holds no content */
    int64_t link;        /* here and below: its record's place in the chain; lists tell it, 0: it has none */
};
struct store_settled {
    struct str request_id;
    struct str provider, model;                         /* who answered; empty if nobody did */
    struct str attempts;                                /* JSON array: [{"target","outcome","ms"}...] */
    int64_t input_tokens, cached_tokens, output_tokens; /* -1 unknown */
    bool usage_estimated;  /* the provider did not say all of it: counted from what was sent and what came */
    int64_t cost_nano_usd; /* -1 unknown */
    int64_t first_token_ms, total_ms; /* -1: there was none */
    struct str outcome;               /* "ok", "cached", "client_gone", "refused", "failed", "interrupted" */
    int status;                       /* what the client saw */
    int64_t opened_ms;                /* when it was opened; 0, and in lists: about total_ms ago */
    int64_t link;
};
/* A request is opened first and settled once; one that was taken for interrupted may still be settled. More
 * writes queued than the limit: ERROR_BUSY at once. A row over LIMIT_STORE_ROW: ERROR_LIMIT. What is not
 * UTF-8 is kept as U+FFFD. A second row with the request id of one that is open gives `done` ERROR_INVALID;
 * settling also works where the opened row was lost. When the disk is full or fails, `done` is told ERROR_IO;
 * rows without `done`, and settled rows always, are tried again until they are kept, the others dropped. */
int store_ledger_open(
    struct store *s, const struct store_opened *row, struct store_done done, struct error *err) MUST_USE;
int store_ledger_settle(
    struct store *s, const struct store_settled *row, struct store_done done, struct error *err) MUST_USE;
/* Rows a killed process left open become "interrupted"; at start-up. Returns how many in *count. */
int store_ledger_recover(struct store *s, int64_t *count, struct error *err) MUST_USE;
/* Deletes settled ledger rows and egress rows older than `before_ms`, in small steps between other writes;
 * how many in *rows. Waits until it is done, which may take seconds: not for a loop's thread. */
int store_purge(struct store *s, int64_t before_ms, int64_t *rows, struct error *err) MUST_USE;
/* The same in the background; for a loop's thread. */
int store_purge_later(struct store *s, int64_t before_ms, struct error *err) MUST_USE;

struct store_ledger_row {
    struct store_opened opened;
    struct store_settled settled; /* outcome "open" while it runs */
    struct str id;                /* the row's own: opened.request_id and what makes it unique */
};
/* Newest last. `since_ms` 0: all. A non-zero return of `visit` stops. */
int store_ledger_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_ledger_row *row), void *ctx, struct error *err) MUST_USE;

/* When the newest request was, roughly: one of the day before `now_ms`, else one that is at most twice as long
 * ago as the newest; -1: there is none before it. */
int store_ledger_newest(struct store *s, int64_t now_ms, int64_t *wall_ms, struct error *err) MUST_USE;

/* ---- The egress log: what left. Written before the first byte leaves. ---- */
struct store_egress {
    int64_t wall_ms;
    struct str request_id, rule, boundary, zone, target, host, path;
    int64_t bytes;
    struct str sha256;
    int64_t link;
};
int store_egress_record(
    struct store *s, const struct store_egress *row, struct store_done done, struct error *err) MUST_USE;
int store_egress_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_egress *row), void *ctx, struct error *err) MUST_USE;

/* ---- The chain: what shows that the ledger and the egress log are as they were written (store_chain.h).
 * ----
 */
/* The byte that a record in the chain begins with. ALONE: a request's settling whose opening was lost. */
enum store_record {
    STORE_RECORD_OPENED = 0,
    STORE_RECORD_SETTLED = 1,
    STORE_RECORD_EGRESS = 4,
    STORE_RECORD_ALONE = 13,
    STORE_RECORD_NOTE = 64
};
/* Notes are records of the chain about itself: where it began, what a purge took out of it. */
struct store_note {
    int64_t wall_ms;
    /* "began": `rows` rows were there before it. "purged": rows older than `before_ms` were deleted.
     * "sealed": so were the blocks of `chain` before `number`, the last of which had `hash`. "joined": that
     * is how far `chain`, another gateway's, had come. */
    struct str sort;
    int64_t chain, number;
    struct str hash; /* hex */
    int64_t before_ms, rows;
    int64_t link;
};
struct store_block { /* the entries of one transaction, or a part of them */
    int64_t link;    /* of its first entry */
    int64_t wall_ms;
    int64_t n;
    unsigned char hash[32]; /* SHA-256 of the hash before it, chain, number, time and entries */
    struct str entries;     /* n of them: | kind: 1 | time: 8 | SHA-256 of the record: 32 | */
};
enum { STORE_CHAIN_BITS = 43, STORE_ENTRY = 1 + 8 + 32 };
/* A link is a chain's number and, below it, an entry's. */
static inline int64_t store_link_chain(int64_t link)
{
    return link >> STORE_CHAIN_BITS;
}
static inline int64_t store_link_number(int64_t link)
{
    return link & (((int64_t)1 << STORE_CHAIN_BITS) - 1);
}

/* How far a chain has come: what is to be kept elsewhere, since a chain whose end is cut off is a chain. */
struct store_head {
    int64_t chain, number; /* entries up to there */
    unsigned char hash[32];
};
/* The first of these is where to look. */
struct store_break {
    int64_t chain, number; /* 0, 0: of no place in a chain */
    int64_t wall_ms;
    struct str what;       /* "a block", "an egress record", ...: in words */
    struct str request_id; /* where a row is there to tell it */
    struct str why;        /* "was changed", ... */
};
struct store_verified {
    int64_t blocks, entries, ledger, egress; /* what was looked at; rows of both tables */
    int64_t before;                          /* rows that are older than the chain */
    int64_t purged_ms;                       /* rows older than that were deleted, as the chain says */
    int64_t breaks;
};
struct store_verify {
    const struct store_head *heads; /* kept elsewhere: each must still be in its chain */
    size_t n_heads;
    int (*broken)(void *ctx, const struct store_break *b); /* non-zero stops */
    int (*head)(void *ctx, const struct store_head *head); /* each chain's, at the end */
    void *ctx;
};
/* Walks all of it, in one view of the database: for a process of its own, not a gateway's. */
int store_verify(
    struct store *s, const struct store_verify *v, struct store_verified *out, struct error *err) MUST_USE;
/* Blocks by their links; those written since. */
int store_block_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_block *block), void *ctx, struct error *err) MUST_USE;
int store_note_list(struct store *s, int64_t since_ms, int (*visit)(void *ctx, const struct store_note *note),
    void *ctx, struct error *err) MUST_USE;

/* ---- Responses that later ones may go on from: content, kept only where the configuration allows it. ----
 */
struct store_response {
    struct str id, key_id; /* key_id: who may see it; empty with auth: none */
    int64_t wall_ms;
    struct str body;  /* the response, as JSON */
    struct str input; /* the items that it answered, as a JSON array */
};
/* ERROR_LIMIT past LIMIT_STORE_RESPONSE. */
int store_response_add(
    struct store *s, const struct store_response *row, struct store_done done, struct error *err) MUST_USE;
/* `done` is told ERROR_NOT_FOUND where that key has no such response. */
int store_response_delete(
    struct store *s, struct str id, struct str key_id, struct store_done done, struct error *err) MUST_USE;
/* Into the arena; ERROR_NOT_FOUND. A read of one row by its number. */
int store_response_find(struct store *s, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct error *err) MUST_USE;
/* The same for a loop: another thread reads, and `done` is told what came of it. Until then all that is given
 * lives and nobody else touches the arena. */
int store_response_seek(struct store *s, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct store_done done, struct error *err) MUST_USE;
/* Deletes those older than `before_ms`, of one key or (empty) of all; how many in *rows. Waits until it is
 * done. */
int store_response_forget(
    struct store *s, int64_t before_ms, struct str key_id, int64_t *rows, struct error *err) MUST_USE;
/* Deletes those older than `before_ms` in the background. */
int store_response_purge(struct store *s, int64_t before_ms, struct error *err) MUST_USE;

/* ---- Keys: only hashes are kept. ---- */
struct store_key {
    struct str id, name, team, role; /* role: "user" or "admin" */
    unsigned char salt[16], hash[32];
    int64_t created_ms, revoked_ms; /* 0: not revoked */
    int64_t expires_ms;             /* 0: never */
};
/* These and what sets limits wait until it is kept where `done` has no loop. NOT_FOUND, told to `done`, too,
 * where there is no such key. */
#define STORE_WAIT ((struct store_done){NULL, NULL, NULL})
int store_key_add(
    struct store *s, const struct store_key *key, struct store_done done, struct error *err) MUST_USE;
int store_key_revoke(
    struct store *s, struct str id, int64_t wall_ms, struct store_done done, struct error *err) MUST_USE;
int store_key_expire(
    struct store *s, struct str id, int64_t expires_ms, struct store_done done, struct error *err) MUST_USE;
int store_key_list(struct store *s, int (*visit)(void *ctx, const struct store_key *key), void *ctx,
    struct error *err) MUST_USE;
/* Grows whenever another process may have changed the keys or limits; cheap enough to ask once a second. */
int64_t store_change_count(struct store *s);

/* ---- Limits: what a key or a team may spend and ask; -1: as much as it likes. ---- */
enum { STORE_PERIODS = 4 };
struct store_limits {
    struct str kind, name; /* "key" and its id, or "team" and its name */
    int64_t created_ms;
    int64_t usd[STORE_PERIODS]; /* nano-dollars in all, a day, a week, a month */
    int64_t requests, tokens;   /* in a minute */
    int64_t parallel;           /* at a time */
    struct str models;          /* what may be asked for, a comma between; empty: everything */
};
/* In place of those it has; `created_ms` stays the first. */
int store_limits_set(
    struct store *s, const struct store_limits *row, struct store_done done, struct error *err) MUST_USE;
int store_limits_drop(
    struct store *s, struct str kind, struct str name, struct store_done done, struct error *err) MUST_USE;
int store_limits_list(struct store *s, int (*visit)(void *ctx, const struct store_limits *row), void *ctx,
    struct error *err) MUST_USE;

/* ---- What was spent: the ledger's costs, summed in the transaction that settles its rows; no purge takes
 * it. ---- */
struct store_spend {
    int64_t day; /* UTC's, since 1970, when the request began */
    struct str key_id, team;
    int64_t spender; /* whose sum it is: gateways that share a state do not wait for each other's */
    int64_t nano_usd;
    int64_t id; /* the row's, in lists */
};
/* From now on what this process settles is summed under a number of its own, which this returns: after
 * store_journal, so that what an earlier process left there is not taken for this one's. */
int64_t store_spender(struct store *s);
/* Rows written since the mark `*since` (0: all there are), without those of the spender `but`; `*since` is
 * then the mark to go on from. One that is written meanwhile may come twice, and none is left out. */
int store_spend_changes(struct store *s, int64_t *since, int64_t but,
    int (*visit)(void *ctx, const struct store_spend *row), void *ctx, struct error *err) MUST_USE;
/* ---- Leases: where gateways share a state, each holds a part of a budget, from which it spends without
 * asking. ----
 *
 *   limit  =  spent (the sums above)  +  unspent of each lease  +  what may still be taken
 *             unspent = granted - spent by its spender          all of it in nano-dollars
 *
 * `granted` is told whole and counts from the spender's first row on, so that the transaction which sums what
 * was spent lowers the lease, and a reply that is lost loses nothing: the next one says it again. A spender
 * that is not seen for too long is forgotten, and its leases with it.
 *
 * Only where store_is_shared. Synchronous, for a thread that may wait. */
struct store_lease {
    struct str kind, name; /* as in store_limits */
    int64_t spender;
    int64_t must, want;            /* what it wants granted: at least, else nothing is taken; and at best */
    int64_t starts[STORE_PERIODS]; /* the first days of the periods that run */
};
/* The spender lives. `renewed`: it is new, or was forgotten: it has no leases. `others`: how many live
 * besides. */
int store_lease_beat(struct store *s, int64_t spender, int64_t life_ms, bool *renewed, int64_t *others,
    struct error *err) MUST_USE;
/* The spender is asked for what is named here (a JSON array of strings); tells of each how many others said
 * so within `life_ms`. */
int store_lease_share(struct store *s, int64_t spender, int64_t life_ms, struct str names,
    void (*visit)(void *ctx, struct str name, int64_t others), void *ctx, struct error *err) MUST_USE;
/* Takes what is wanted, or more: half of what is left, shared by all spenders. `granted` then is all that the
 * spender was granted ever; -1: it was forgotten. `rest`: what is neither spent nor its own. Where others
 * hold some of it they are told that it is wanted. */
int store_lease_take(struct store *s, const struct store_lease *lease, int64_t *granted, int64_t *rest,
    struct error *err) MUST_USE;
/* Gives back what is above `want`. */
int store_lease_give(struct store *s, const struct store_lease *lease, struct error *err) MUST_USE;
/* Of which budgets others want more than is left, as of late. */
int store_lease_wanted(struct store *s, int64_t spender,
    void (*visit)(void *ctx, struct str kind, struct str name), void *ctx, struct error *err) MUST_USE;
/* Gives back everything, once what was submitted before is kept. */
int store_lease_end(struct store *s, int64_t spender, struct error *err) MUST_USE;

#endif
