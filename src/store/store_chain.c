#include "store/store_chain.h"

#include <assert.h>
#include <endian.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"

enum {
    BLOCK_ENTRIES = 1024,
    PURGE_BLOCKS = 1024,           /* in a step */
    REST_MS = 24 * 60 * 60 * 1000, /* a gateway's chain that nothing came to for so long: another one begins,
                                      so that no block is much younger than the one before it */
    HASH = 32,
    ENTRIES_MOST = 4 * LIMIT_STORE_ROWS * STORE_ENTRY,
};
static const int64_t PER_CHAIN = (int64_t)1 << STORE_CHAIN_BITS;

/*   the database's blocks | entries of this transaction |
 *                         ^ end.link, end.hash                   not known: to be asked for */
struct store_chain {
    struct store_sha sha;
    struct store_chain_end end;
    bool known;
    int64_t wall_ms; /* of the last block */
    struct buf entries;
    int64_t purged_ms,
        purging_ms; /* what the last note of a purge says: committed, and in this transaction */
};

/* ---- Hashes ---- */

int store_sha_init(struct store_sha *sha, struct error *err)
{
    sha->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha->ctx = EVP_MD_CTX_new();
    if (sha->md && sha->ctx && EVP_DigestInit_ex2(sha->ctx, sha->md, NULL))
        return 0;
    store_sha_free(sha);
    return error_set(err, ERROR_INTERNAL, "SHA-256 failed: check the OpenSSL installation");
}

void store_sha_free(struct store_sha *sha)
{
    EVP_MD_CTX_free(sha->ctx);
    EVP_MD_free(sha->md);
    *sha = (struct store_sha){NULL, NULL};
}

/* It does not fail where it could be set up: without memory, say, there is nothing sensible left to do. */
static void sha_of(struct store_sha *sha, struct str head, struct str rest, unsigned char out[HASH])
{
    unsigned len = 0;
    if (!EVP_DigestInit_ex2(sha->ctx, NULL, NULL) || !EVP_DigestUpdate(sha->ctx, head.data, head.len) ||
        (rest.len > 0 && !EVP_DigestUpdate(sha->ctx, rest.data, rest.len)) ||
        !EVP_DigestFinal_ex(sha->ctx, out, &len) || len != HASH)
        abort();
}

/* In the journal these have the same numbers, so that the record is hashed as it lies there. */
_Static_assert((int)STORE_RECORD_OPENED == (int)STORE_LEDGER_OPEN, "as in a journal");
_Static_assert((int)STORE_RECORD_SETTLED == (int)STORE_LEDGER_SETTLE, "as in a journal");
_Static_assert((int)STORE_RECORD_EGRESS == (int)STORE_EGRESS_RECORD, "as in a journal");

static enum store_record record_of(const struct store_row *row)
{
    return row->kind == STORE_CHAIN_NOTE ? STORE_RECORD_NOTE : (enum store_record)row->kind;
}

void store_record_hash(
    struct store_sha *sha, const struct store_row *row, enum store_record as, unsigned char out[HASH])
{
    const char kind = (char)as;
    struct str record = {row->record + STORE_HEAD - 1, row->n - (STORE_HEAD - 1)};
    if (as == STORE_RECORD_SETTLED) /* without its time, the last field */
        record.len -= sizeof(int64_t);
    if (record.data[0] == kind)
        sha_of(sha, record, STR_NONE, out);
    else
        sha_of(sha, (struct str){&kind, 1}, str_slice(record, 1, record.len), out);
}

static void number_put(char *to, int64_t number)
{
    uint64_t little = htole64((uint64_t)number);
    memcpy(to, &little, sizeof little);
}

void store_block_hash(struct store_sha *sha, const unsigned char before[HASH],
    const struct store_block *block, unsigned char out[HASH])
{
    char head[HASH + 3 * 8];
    memcpy(head, before, HASH);
    number_put(head + HASH, store_link_chain(block->link));
    number_put(head + HASH + 8, store_link_number(block->link));
    number_put(head + HASH + 16, block->wall_ms);
    sha_of(sha, (struct str){head, sizeof head}, block->entries, out);
}

/* ---- Notes ---- */

int store_chain_create(struct store_chain **out, struct error *err)
{
    struct store_chain *c = must(calloc(1, sizeof *c));
    buf_init(&c->entries, ENTRIES_MOST);
    int rc = store_sha_init(&c->sha, err);
    if (rc) {
        store_chain_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void store_chain_free(struct store_chain *c)
{
    if (!c)
        return;
    store_sha_free(&c->sha);
    buf_free(&c->entries);
    free(c);
}

static int note_add(
    struct store_chain *c, struct store_backend *b, struct store_note *note, struct error *err)
{
    struct store_row *row;
    int64_t changed;
    note->wall_ms = clock_wall_ms();
    int rc = store_row_create(STORE_CHAIN_NOTE, note, &row, err);
    if (rc)
        return rc;
    rc = store_chain_add(c, b, row, note->wall_ms, &note->link, err);
    free(row);
    return rc ? rc : b->ops->apply(b, STORE_CHAIN_NOTE, note, &changed, err);
}

/* A note that some chain had come to a block's end. */
static int end_note(struct store_chain *c, struct store_backend *b, const char *sort,
    const struct store_block *last, int64_t before_ms, struct error *err)
{
    char hex[2 * HASH + 1];
    int64_t link = last->link + last->n;
    struct store_note note = {.sort = str_from(sort),
        .chain = store_link_chain(link),
        .number = store_link_number(link),
        .hash = str_from(sodium_bin2hex(hex, sizeof hex, last->hash, HASH)),
        .before_ms = before_ms};
    return note_add(c, b, &note, err);
}

static int others_join(struct store_chain *c, struct store_backend *b, struct error *err)
{
    struct store_block ends[STORE_PAGE];
    struct store_cursor cursor = {.wall_ms = INT64_MIN, .id = -1};
    size_t n = STORE_PAGE;
    int rc = 0;
    while (rc == 0 && n == STORE_PAGE) {
        struct arena *a = arena_create(KIB);
        rc = b->ops->writer_page(b, &store_list_chain_ends, &cursor, a, ends, &n, err);
        arena_free(a);
        for (size_t i = 0; i < n && rc == 0; i++)
            rc = end_note(c, b, "joined", &ends[i], 0, err);
    }
    return rc;
}

/* Finds out where it goes on. */
static int end_find(struct store_chain *c, struct store_backend *b, struct error *err)
{
    int rc = b->ops->chain_end(b, &c->end, err);
    if (rc)
        return rc;
    c->known = true;
    if (!c->end.is_new)
        return 0;
    struct store_note began = {
        .sort = STR("began"), .chain = store_link_chain(c->end.link), .rows = c->end.rows};
    rc = note_add(c, b, &began, err);
    return rc || !b->ops->leases ? rc : others_join(c, b, err);
}

/* ---- Entries ---- */

static char *entry_at(struct store_chain *c, int64_t link)
{
    assert(link >= c->end.link);
    size_t at = (size_t)(link - c->end.link) * STORE_ENTRY;
    assert(at < c->entries.len);
    return c->entries.data + at;
}

void store_chain_change(
    struct store_chain *c, int64_t link, const struct store_row *row, enum store_record as)
{
    char *entry = entry_at(c, link);
    *entry = (char)as;
    store_record_hash(&c->sha, row, as, (unsigned char *)entry + STORE_ENTRY - HASH);
}

void store_chain_refuse(struct store_chain *c, int64_t link)
{
    memset(entry_at(c, link) + STORE_ENTRY - HASH, 0, HASH);
}

int store_chain_add(struct store_chain *c, struct store_backend *b, const struct store_row *row,
    int64_t wall_ms, int64_t *link, struct error *err)
{
    int rc = c->known ? 0 : end_find(c, b, err);
    if (rc)
        return rc;
    char *entry = buf_reserve(&c->entries, STORE_ENTRY);
    if (!entry)
        return error_set(err, ERROR_MEMORY, "no memory for the chain of the ledger");
    *link = c->end.link + (int64_t)(c->entries.len / STORE_ENTRY);
    number_put(entry + 1, wall_ms);
    buf_commit(&c->entries, STORE_ENTRY);
    store_chain_change(c, *link, row, record_of(row));
    return 0;
}

int store_chain_write(struct store_chain *c, struct store_backend *b, struct error *err)
{
    struct str all = buf_str(&c->entries);
    int64_t changed;
    int rc = 0;
    c->wall_ms = all.len > 0 ? clock_wall_ms() : c->wall_ms;
    for (size_t at = 0; at < all.len && rc == 0; at += BLOCK_ENTRIES * STORE_ENTRY) {
        struct store_block block = {.link = c->end.link,
            .wall_ms = c->wall_ms,
            .entries = str_slice(all, at, at + BLOCK_ENTRIES * STORE_ENTRY)};
        block.n = (int64_t)(block.entries.len / STORE_ENTRY);
        store_block_hash(&c->sha, c->end.hash, &block, block.hash);
        rc = b->ops->apply(b, STORE_CHAIN_BLOCK, &block, &changed, err);
        c->end.link += block.n;
        memcpy(c->end.hash, block.hash, HASH);
    }
    return rc;
}

/* Several processes may write an SQLite file, so that it is asked each time. */
void store_chain_begin(struct store_chain *c, const struct store_backend *b)
{
    buf_clear(&c->entries);
    c->purging_ms = c->purged_ms;
    if (!b->ops->leases || clock_wall_ms() - c->wall_ms > REST_MS)
        c->known = false;
}

void store_chain_end(struct store_chain *c, bool committed)
{
    if (committed)
        c->purged_ms = c->purging_ms;
    else
        c->known = false;
}

/* ---- Purging ---- */

int store_chain_purged(struct store_chain *c, struct store_backend *b, int64_t before_ms, struct error *err)
{
    int64_t now_ms = clock_wall_ms();
    /* "All there are" is not all there will be. */
    struct store_note note = {
        .sort = STR("purged"), .before_ms = before_ms <= now_ms ? before_ms : now_ms + 1};
    if (note.before_ms <= c->purging_ms)
        return 0;
    c->purging_ms = note.before_ms;
    return note_add(c, b, &note, err);
}

/* Blocks of one chain, from its first on. */
struct stretch {
    struct store_block first, last;
    int64_t blocks;
};

/* Of the first chain that has some: its blocks older than that. */
static int old_find(struct store_backend *b, int64_t before_ms, struct stretch *s, struct error *err)
{
    struct store_block page[STORE_PAGE];
    struct store_cursor cursor = {.wall_ms = INT64_MIN, .id = -1};
    size_t n = STORE_PAGE;
    int rc = 0;
    s->blocks = 0;
    while (rc == 0 && n == STORE_PAGE && s->blocks < PURGE_BLOCKS) {
        struct arena *a = arena_create(KIB);
        rc = b->ops->writer_page(b, &store_list_block_heads, &cursor, a, page, &n, err);
        arena_free(a);
        for (size_t i = 0; i < n && rc == 0; i++) {
            int64_t chain = store_link_chain(page[i].link);
            bool another = s->blocks > 0 && chain != store_link_chain(s->first.link);
            bool old = page[i].wall_ms < before_ms;
            if (s->blocks > 0 && (another || !old))
                return 0;
            if (!old) { /* nor are those behind it: on to the next chain */
                cursor.id = (chain + 1) * PER_CHAIN - 1;
                n = STORE_PAGE;
                break;
            }
            s->first = s->blocks++ == 0 ? page[i] : s->first;
            s->last = page[i];
        }
    }
    return rc;
}

int store_chain_purge(
    struct store_chain *c, struct store_backend *b, int64_t before_ms, int64_t *blocks, struct error *err)
{
    struct stretch s;
    int64_t notes;
    *blocks = 0;
    int rc = old_find(b, before_ms, &s, err);
    if (rc || s.blocks == 0)
        return rc;
    const struct store_links gone = {s.first.link, s.last.link + s.last.n};
    rc = end_note(c, b, "sealed", &s.last, before_ms, err);
    if (rc == 0)
        rc = b->ops->apply(b, STORE_CHAIN_DROP, &gone, blocks, err);
    return rc ? rc : b->ops->apply(b, STORE_CHAIN_NOTES_DROP, &gone, &notes, err);
}
