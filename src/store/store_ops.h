/* For the files of this room: a row on its way, what it is made of, and the table of functions of a database.
 *
 *   store_ledger_open ... -> store_row (a copy) -> store_queue -> writer thread -> begin apply... commit
 *   store_ledger_list ... -> page, page, ... (any thread)
 */
#ifndef WEIR_STORE_STORE_OPS_H
#define WEIR_STORE_STORE_OPS_H

#include <stddef.h>

#include "base/list.h"
#include "store/store.h"

/* ---- Rows: every kind of write is one statement whose parameters are the fields of a struct, in order. ----
 */
/* Numbers stand in journals: new ones go to the end. */
enum store_kind {
    STORE_LEDGER_OPEN,
    STORE_LEDGER_SETTLE,
    STORE_LEDGER_RECOVER,
    STORE_LEDGER_PURGE,
    STORE_EGRESS_RECORD,
    STORE_EGRESS_PURGE,
    STORE_KEY_ADD,
    STORE_KEY_REVOKE,
    STORE_RESPONSE_ADD,
    STORE_RESPONSE_DELETE,
    STORE_RESPONSE_PURGE,
    STORE_JOURNAL_MARK,
    STORE_LEDGER_WHOLE, /* opened and settled in one group; made by the writer */
    STORE_LEDGER_ALONE, /* settled where the opened row was lost; made by the writer */
    STORE_RESPONSE_FORGET,
    STORE_KEY_EXPIRE,
    STORE_LIMITS_SET,
    STORE_LIMITS_DROP,
    STORE_SPEND_ADD,    /* made by the writer, as is the next */
    STORE_SPEND_OPENED, /* what a request cost whose row is open: before that is settled */
    STORE_LEASE_END,
    STORE_CHAIN_PURGE,
    STORE_CHAIN_BLOCK, /* made by the writer, as are the next */
    STORE_CHAIN_NOTE,
    STORE_CHAIN_DROP,
    STORE_CHAIN_NOTES_DROP,
    STORE_KINDS
};

/* Those of a request. */
static inline bool store_kind_is_journaled(enum store_kind kind)
{
    return kind == STORE_LEDGER_OPEN || kind == STORE_LEDGER_SETTLE || kind == STORE_EGRESS_RECORD;
}

enum store_type {
    STORE_TEXT,
    STORE_INT64,
    STORE_INT,
    STORE_BOOL,
    STORE_BLOB,
    STORE_BYTES, /* a struct str, in no record */
};

struct store_field {
    enum store_type type;
    size_t offset; /* into the struct */
    size_t size;   /* of a blob */
};

struct store_fields {
    const struct store_field *at;
    size_t n;
    size_t size; /* of the struct */
};

/* What a statement takes where the public struct is not enough. */
struct store_settle {
    struct store_settled settled;
    int64_t wall_ms; /* of the row, should the opened one be lost: the last in its record */
};
struct store_key_time { /* it is revoked then, or expires */
    int64_t wall_ms;
    struct str id;
};
struct store_purge {
    int64_t before; /* an id (store_id_from_ms), of responses a time */
};

/* A response is found by `number`, which its id gives. */
struct store_kept {
    int64_t number;
    struct store_response response;
};
struct store_unkept {
    int64_t number;
    struct str id, key_id;
};

struct store_links {
    int64_t first, last;
};

struct store_forget {
    int64_t before;
    struct str key_id; /* empty: any key's */
};

struct store_limits_of {
    struct str kind, name;
};

enum { STORE_DAY_MS = 24 * 3600 * 1000 };
struct store_spend_opened {
    int64_t spender, nano_usd;
    struct str request_id;
};

struct store_lease_end {
    int64_t spender;
};

/* The journal's rows up to `number` are in the database (store_journal.h). */
struct store_mark {
    struct str name;
    int64_t number;
};

union store_value {
    struct store_opened opened;
    struct store_settle settle;
    struct store_egress egress;
    struct store_key key;
    struct store_key_time key_time;
    struct store_purge purge;
    struct store_kept kept;
    struct store_unkept unkept;
    struct store_forget forget;
    struct store_mark mark;
    struct store_limits limits;
    struct store_limits_of limits_of;
    struct store_lease_end lease_end;
    struct store_ledger_row whole;
};

struct store_waiter; /* a thread that waits for its row */

/* A row on its way, one allocation:
 *
 *   submitted --> in the journal: its asker is told --> in the database
 *       +-------> (no journal, or it fails) ----------> in the database: its asker is told
 *
 *   record:   | bytes: 4 | tag: 8 | number: 8 | kind: 1 | field | field | ...    as in the journal, which
 * fills in the first three; little-endian. A text is | bytes: 4 | ... |, others are as in their struct. */
enum { STORE_PREFIX = 4 + 8, STORE_NUMBER = 8, STORE_HEAD = STORE_PREFIX + STORE_NUMBER + 1 };

struct store_row {
    struct list node;
    struct store_done done;
    struct store_waiter *waiter;
    struct store_row *pair; /* of an opened row, in its group: the one that settles it; and back */
    enum store_kind kind;
    int code;        /* its own result, when the group was committed */
    int64_t changed; /* rows of the table it touched */
    int64_t number;  /* in the journal; 0: it is not in it */
    size_t bytes;    /* all of this allocation */
    size_t n;        /* of the record */
    char record[];
};

const struct store_fields *store_kind_fields(enum store_kind kind); /* of the record */
/* The statement, for SQLite and PostgreSQL alike: parameters $1, $2, ... are these fields, which may be more
 * than the record has. */
const char *store_kind_sql(enum store_kind kind, const struct store_fields **fields);
/* Copies `value` and its strings, made valid UTF-8 without NUL. ERROR_LIMIT past LIMIT_STORE_ROW, of a
 * response LIMIT_STORE_RESPONSE. */
int store_row_create(
    enum store_kind kind, const void *value, struct store_row **out, struct error *err) MUST_USE;
/* What it is a copy of; the strings are the row's. */
void store_row_value(const struct store_row *row, union store_value *out);
/* Fills `value` with fields that stand in `in` as in a record; false where it does not hold just these. */
bool store_fields_take(struct str in, const struct store_fields *fields, void *value) MUST_USE;

/* An id of a ledger or egress row begins with its time, so that the table itself is in the order of time and
 * needs no index of it. Databases make it: row_id(wall_ms) in statements. */
enum { STORE_ID_BITS = 20 }; /* below the time: a number that tells rows of a millisecond apart */
int64_t store_id_from_ms(int64_t wall_ms); /* of the first row that is as new */

/* ---- Lists: read a page at a time, so that nothing in the database is held while somebody reads slowly.
 * ---- */
enum { STORE_PAGE = 128 };

struct store_cursor {
    int64_t wall_ms, id; /* of the last row seen */
    int64_t but;         /* where the statement has $3 */
};

/*   columns: id, time, then the fields of each part, in order */
struct store_list {
    const char *sql; /* $1, $2: the cursor */
    size_t row_size;
    struct {
        const struct store_fields *fields;
        size_t offset; /* of the part in the row */
    } parts[2];
    size_t n_parts;
    bool leaves_out; /* it has $3 */
};
extern const struct store_list store_list_ledger, store_list_egress, store_list_keys, store_list_limits,
    store_list_spend_changes, store_list_blocks, store_list_block_heads, /* without their entries */
    store_list_block_of, /* the one whose link is the cursor's id, or the nearest before it */
    store_list_notes,
    store_list_chain_ends, /* PostgreSQL's: the last block of each chain, where no note tells it */
    store_list_responses;  /* of the last one the cursor begins with the number */

/* ---- A database. ---- */
struct store_backend {
    const struct store_ops *ops; /* a database's own struct begins with this */
};

/* As in store.h; any thread. */
struct store_lease_ops {
    int (*beat)(struct store_backend *b, int64_t spender, int64_t life_ms, bool *renewed, int64_t *others,
        struct error *err);
    int (*share)(struct store_backend *b, int64_t spender, int64_t life_ms, struct str names,
        void (*visit)(void *ctx, struct str name, int64_t others), void *ctx, struct error *err);
    int (*take)(struct store_backend *b, const struct store_lease *lease, int64_t *granted, int64_t *rest,
        struct error *err);
    int (*give)(struct store_backend *b, const struct store_lease *lease, struct error *err);
    int (*wanted)(struct store_backend *b, int64_t spender,
        void (*visit)(void *ctx, struct str kind, struct str name), void *ctx, struct error *err);
};

enum { STORE_INSERT_ROWS = 16 };

struct store_chain_end {
    int64_t link; /* of the next entry */
    unsigned char hash[32];
    bool is_new;
    int64_t rows; /* that are there without a chain; where it is the first one */
};

struct store_ops {
    const char *scheme;                   /* "sqlite:" */
    const struct store_lease_ops *leases; /* several gateways may write it; NULL: only one */
    int (*open)(struct str rest, struct store_backend **out, struct error *err);
    void (*close)(struct store_backend *b);
    bool (*exists)(struct str rest);
    int (*claim)(struct store_backend *b, struct error *err);
    /* Only the writer thread. `value` is that kind's struct; `changed`: rows of the table that were touched.
     * apply's ERROR_INVALID is about that row alone, any other failure about the whole transaction.
     * `rollback` also follows a failed commit. */
    int (*begin)(struct store_backend *b, struct error *err);
    int (*apply)(struct store_backend *b, enum store_kind kind, const void *value, int64_t *changed,
        struct error *err);
    /* Rows of a kind that only inserts, STORE_INSERT_ROWS of them, in one statement; `codes` are their own.
     * NULL: it takes them one by one. */
    int (*insert)(struct store_backend *b, enum store_kind kind, const union store_value *values, int *codes,
        struct error *err);
    int (*commit)(struct store_backend *b, struct error *err);
    void (*rollback)(struct store_backend *b);
    /* Any thread. At most STORE_PAGE rows into `rows`, their strings into `a`; fewer are the end. */
    int (*page)(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
        struct arena *a, void *rows, size_t *n, struct error *err);
    /* The same for the writer thread in its transaction, which holds rows that a reader may be waiting for:
     * it waits for no reader. */
    int (*writer_page)(struct store_backend *b, const struct store_list *list, struct store_cursor *cursor,
        struct arena *a, void *rows, size_t *n, struct error *err);
    int (*keys_version)(struct store_backend *b, int64_t *version, struct error *err);
    /* Transactions that are not to be seen yet write `changed` (row_change() in statements) as this or more.
     */
    int (*change_mark)(struct store_backend *b, int64_t *mark, struct error *err);
    /* Only the writer thread, in its transaction: where the chain goes on, or a new one begins. */
    int (*chain_end)(struct store_backend *b, struct store_chain_end *out, struct error *err);
    /* From then on, until it is called with false, all pages are of one view. */
    int (*view)(struct store_backend *b, bool begins, struct error *err);
    /* The number of the journal's mark, 0: it has none. */
    int (*mark)(struct store_backend *b, struct str name, int64_t *number, struct error *err);
};
extern const struct store_ops store_sqlite_ops, store_postgres_ops;

/* ---- The queue to the writer thread. ---- */
struct store_queue;
int store_queue_create(struct store_backend *b, struct store_queue **out, struct error *err) MUST_USE;
/* From now on rows of requests are kept once they are in the journal, which the queue owns; those that it
 * still holds are written first. */
struct store_journal;
int store_queue_journal(struct store_queue *q, struct store_journal *j, struct error *err) MUST_USE;
void store_queue_close(struct store_queue *q); /* writes what it can, answers everyone; the backend stays */
/* Under which number what requests cost is summed; 0 before. */
void store_queue_spender(struct store_queue *q, int64_t spender);
void store_queue_stats(struct store_queue *q, struct store_stats *out);
int store_queue_submit(struct store_queue *q, enum store_kind kind, const void *value, struct store_done done,
    struct error *err) MUST_USE;
/* Waits until it is kept. `changed` may be NULL. */
int store_queue_wait(struct store_queue *q, enum store_kind kind, const void *value, int64_t *changed,
    struct error *err) MUST_USE;

#endif
