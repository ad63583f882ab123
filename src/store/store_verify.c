/* Is the chain whole, and are the tables what it says? In one view of the database:
 *
 *   notes (kept) -> blocks: hashes, numbers -> notes, ledger, egress: each against its entry, which is ticked
 *                -> blocks again: each entry without a row, unless a purge took it */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"
#include "store/store_chain.h"

enum {
    HASH = 32,
    WINDOWS = 16,
    LATE_MS = 60000, /* a settled record's time is only about that of its row */
    VIEW_BYTES = 2 * STORE_PAGE * LIMIT_STORE_ROW
};

/* Blocks of one chain behind each other. */
struct run {
    int64_t first, next; /* links */
    struct buf seen;     /* a bit for each entry */
};

/* Blocks at hand: rows are mostly in the order of their entries. */
struct window {
    struct arena *arena;
    struct store_block blocks[STORE_PAGE];
    size_t n;
};

struct walk {
    struct store_backend *backend;
    const struct store_verify *v;
    struct store_verified *out;
    struct error *err;
    struct store_sha sha;
    struct arena *arena; /* the notes' */
    struct store_note *notes;
    size_t n_notes, notes_room;
    struct run *runs;
    size_t n_runs, runs_room;
    unsigned char hash[HASH]; /* of the last block */
    bool *heads_found;
    struct window windows[WINDOWS];
    size_t next_window;
    int64_t began_ms, began_rows; /* the chain's; -1: nothing says so */
    int64_t last_ms;              /* of the table's row before */
};

static int broken(struct walk *w, struct store_break b)
{
    w->out->breaks++;
    return w->v->broken(w->v->ctx, &b);
}

static int broken_at(struct walk *w, int64_t link, int64_t wall_ms, const char *what, const char *why)
{
    return broken(w, (struct store_break){.chain = store_link_chain(link),
                         .number = store_link_number(link),
                         .wall_ms = wall_ms,
                         .what = str_from(what),
                         .why = str_from(why)});
}

static const char *kind_name(enum store_record kind)
{
    static const char *const names[] = {[STORE_RECORD_OPENED] = "a request's opening",
        [STORE_RECORD_SETTLED] = "a request's settling",
        [STORE_RECORD_ALONE] = "a request's settling",
        [STORE_RECORD_EGRESS] = "an egress record",
        [STORE_RECORD_NOTE] = "a note"};
    size_t i = (unsigned)kind;
    return i < sizeof names / sizeof *names && names[i] ? names[i] : "an unknown record";
}

static int64_t time_at(const char *entry)
{
    int64_t wall_ms;
    memcpy(&wall_ms, entry + 1, sizeof wall_ms);
    return wall_ms;
}

/* Calls fn for every row of the list. */
static int each(struct walk *w, const struct store_list *list, int (*fn)(struct walk *w, const void *row))
{
    char *rows = must(calloc(STORE_PAGE, list->row_size));
    struct store_cursor cursor = {.wall_ms = INT64_MIN, .id = -1};
    size_t n = STORE_PAGE;
    int rc = 0;
    while (rc == 0 && n == STORE_PAGE) {
        struct arena *a = arena_create(VIEW_BYTES);
        rc = w->backend->ops->page(w->backend, list, &cursor, a, rows, &n, w->err);
        for (size_t i = 0; i < n && rc == 0; i++)
            rc = fn(w, rows + i * list->row_size);
        arena_free(a);
    }
    free(rows);
    return rc;
}

/* ---- Blocks ---- */

static struct run *run_of(struct walk *w, int64_t link)
{
    for (size_t low = 0, high = w->n_runs; low < high;) {
        size_t middle = low + (high - low) / 2;
        struct run *r = &w->runs[middle];
        if (link >= r->first && link < r->next)
            return r;
        if (link < r->first)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static struct run *run_add(struct walk *w, int64_t link)
{
    if (w->n_runs == w->runs_room) {
        w->runs_room = w->runs_room ? 2 * w->runs_room : 16;
        w->runs = must(reallocarray(w->runs, w->runs_room, sizeof *w->runs));
    }
    struct run *r = &w->runs[w->n_runs++];
    *r = (struct run){.first = link, .next = link};
    buf_init(&r->seen, SIZE_MAX / 2);
    return r;
}

static int run_grow(struct walk *w, struct run *r, int64_t n)
{
    r->next += n;
    size_t bytes = (size_t)(r->next - r->first + 7) / 8 - r->seen.len;
    char *to = buf_reserve(&r->seen, bytes);
    if (!to)
        return error_set(w->err, ERROR_MEMORY, "no memory to tick off %zu bytes of entries", bytes);
    memset(to, 0, bytes);
    buf_commit(&r->seen, bytes);
    return 0;
}

/* Was it ticked before? */
static bool seen_set(struct run *r, int64_t link)
{
    size_t at = (size_t)(link - r->first);
    char bit = (char)(1 << at % 8), *byte = &r->seen.data[at / 8];
    bool before = *byte & bit;
    *byte = (char)(*byte | bit);
    return before;
}

static bool seen_is(const struct run *r, int64_t link)
{
    size_t at = (size_t)(link - r->first);
    return r->seen.data[at / 8] & (1 << at % 8);
}

/* The hash before a chain's first block that is there: 0, or what a note of a purge says. */
static int beginning_find(struct walk *w, const struct store_block *b)
{
    int64_t chain = store_link_chain(b->link), number = store_link_number(b->link);
    memset(w->hash, 0, HASH);
    if (number == 0)
        return 0;
    for (size_t i = 0; i < w->n_notes; i++) {
        const struct store_note *note = &w->notes[i];
        if (str_is(note->sort, "sealed") && note->chain == chain && note->number == number &&
            sodium_hex2bin(w->hash, HASH, note->hash.data, note->hash.len, NULL, NULL, NULL) == 0)
            return 0;
    }
    return broken_at(w, chain << STORE_CHAIN_BITS, b->wall_ms, "the chain's beginning",
        "is gone, and no note of a purge says so");
}

static int heads_compare(struct walk *w, const struct store_block *b)
{
    int64_t end = b->link + b->n;
    for (size_t i = 0; i < w->v->n_heads; i++) {
        const struct store_head *head = &w->v->heads[i];
        if (head->chain != store_link_chain(end) || head->number != store_link_number(end))
            continue;
        w->heads_found[i] = true;
        if (memcmp(head->hash, b->hash, HASH) != 0)
            return broken_at(
                w, b->link, b->wall_ms, "a block", "is another one than the head that was noted");
    }
    return 0;
}

static int block_check(struct walk *w, const void *row)
{
    const struct store_block *b = row;
    struct run *r = w->n_runs ? &w->runs[w->n_runs - 1] : NULL;
    unsigned char hash[HASH];
    int rc = 0;
    bool another = !r || store_link_chain(r->first) != store_link_chain(b->link);
    if (another)
        rc = beginning_find(w, b);
    else if (r->next != b->link)
        rc = broken_at(w, r->next, b->wall_ms, "blocks", "were removed, or their numbers changed");
    if (another || r->next != b->link)
        r = run_add(w, b->link);
    if (rc)
        return rc;
    w->out->blocks++;
    store_block_hash(&w->sha, w->hash, b, hash);
    if (b->n < 1 || b->entries.len != (size_t)b->n * STORE_ENTRY || memcmp(hash, b->hash, HASH) != 0)
        rc = broken_at(w, b->link, b->wall_ms, "a block", "was changed, or the one before it");
    memcpy(w->hash, b->hash, HASH);
    int64_t n = (int64_t)(b->entries.len / STORE_ENTRY);
    w->out->entries += n;
    if (rc == 0)
        rc = run_grow(w, r, n);
    return rc ? rc : heads_compare(w, b);
}

static int heads_check(struct walk *w)
{
    int rc = 0;
    for (size_t i = 0; i < w->v->n_heads && rc == 0; i++) {
        const struct store_head *head = &w->v->heads[i];
        if (!w->heads_found[i])
            rc = broken(
                w, (struct store_break){.chain = head->chain,
                       .number = head->number,
                       .what = STR("the head that was noted"),
                       .why = STR("is no block's end: the chain's end was cut off, or a purge took it")});
    }
    return rc;
}

/* ---- Entries ---- */

static const struct store_block *window_find(const struct window *x, int64_t link)
{
    for (size_t low = 0, high = x->n; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct store_block *b = &x->blocks[middle];
        if (link >= b->link && link < b->link + (int64_t)(b->entries.len / STORE_ENTRY))
            return b;
        if (link < b->link)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Reads the entry's block and those behind it. */
static int window_load(struct walk *w, int64_t link, const struct store_block **out)
{
    struct store_block near[STORE_PAGE];
    struct store_cursor cursor = {.wall_ms = INT64_MIN, .id = link};
    struct window *x = &w->windows[w->next_window++ % WINDOWS];
    const struct store_ops *ops = w->backend->ops;
    size_t n;
    arena_free(x->arena);
    x->arena = arena_create(VIEW_BYTES);
    x->n = 0;
    int rc = ops->page(w->backend, &store_list_block_of, &cursor, x->arena, near, &n, w->err);
    if (rc == 0 && n == 1) {
        cursor = (struct store_cursor){.wall_ms = INT64_MIN, .id = near[0].link - 1};
        rc = ops->page(w->backend, &store_list_blocks, &cursor, x->arena, x->blocks, &x->n, w->err);
    }
    *out = rc ? NULL : window_find(x, link);
    return rc;
}

/* *out is NULL where there is none. */
static int entry_find(struct walk *w, int64_t link, const char **out)
{
    const struct store_block *b = NULL;
    int rc = 0;
    *out = NULL;
    if (!run_of(w, link))
        return 0;
    for (size_t i = 0; i < WINDOWS && !b; i++)
        b = window_find(&w->windows[i], link);
    if (!b)
        rc = window_load(w, link, &b);
    if (b)
        *out = b->entries.data + (size_t)(link - b->link) * STORE_ENTRY;
    return rc;
}

/* A row or a part of one, against its entry. */
struct record {
    enum store_record kind;
    const void *value;
    int64_t link, wall_ms;
    struct str request_id;
};

static int record_broken(struct walk *w, const struct record *r, const char *why)
{
    return broken(w, (struct store_break){.chain = store_link_chain(r->link),
                         .number = store_link_number(r->link),
                         .wall_ms = r->wall_ms,
                         .what = str_from(kind_name(r->kind)),
                         .request_id = r->request_id,
                         .why = str_from(why)});
}

/* Its entry's block is gone: is it so old that the next purge takes it? */
static bool is_purged(const struct walk *w, const struct record *r)
{
    return r->wall_ms < w->out->purged_ms && r->kind != STORE_RECORD_NOTE;
}

static enum store_kind kind_of(enum store_record record)
{
    switch (record) {
    case STORE_RECORD_NOTE:
        return STORE_CHAIN_NOTE;
    case STORE_RECORD_ALONE:
        return STORE_LEDGER_SETTLE;
    default:
        return (enum store_kind)record;
    }
}

static int record_check(struct walk *w, const struct record *r)
{
    struct store_row *row;
    const char *entry;
    unsigned char hash[HASH];
    int rc = entry_find(w, r->link, &entry);
    if (rc)
        return rc;
    if (!entry)
        return is_purged(w, r) ? 0 : record_broken(w, r, "was inserted: it has no entry in the chain");
    rc = store_row_create(kind_of(r->kind), r->value, &row, w->err);
    if (rc)
        return rc;
    store_record_hash(&w->sha, row, r->kind, hash);
    free(row);
    bool twice = seen_set(run_of(w, r->link), r->link);
    if (*entry != (char)r->kind || memcmp(entry + STORE_ENTRY - HASH, hash, HASH) != 0)
        return record_broken(w, r, "was changed: its entry is of another one");
    return twice ? record_broken(w, r, "is there twice") : 0;
}

/* ---- Rows ---- */

/* A row that has no record: was it there before the chain was? */
static int early_check(struct walk *w, const struct record *r)
{
    w->out->before++;
    bool early = r->wall_ms <= w->began_ms && w->out->before <= w->began_rows;
    return early || w->n_runs == 0 || is_purged(w, r)
               ? 0
               : record_broken(w, r, "was inserted: it has no entry in the chain");
}

/* A table is in the order of time. */
static int order_check(struct walk *w, const struct record *r)
{
    bool moved = r->wall_ms < w->last_ms;
    w->last_ms = r->wall_ms;
    return moved ? record_broken(w, r, "was moved: it stands behind a later one") : 0;
}

static bool opened_is_empty(const struct store_opened *o)
{
    return o->key_id.len + o->team.len + o->api.len + o->model.len + o->route.len + o->rule.len +
                   o->boundary.len + o->decision.len ==
               0 &&
           !o->sensitive;
}

static bool settled_is_empty(const struct store_settled *s)
{
    return s->provider.len + s->model.len + s->attempts.len == 0 && s->input_tokens == -1 &&
           s->cached_tokens == -1 && s->output_tokens == -1 && !s->usage_estimated &&
           s->cost_nano_usd == -1 && s->first_token_ms == -1 && s->total_ms == -1 && s->status == 0 &&
           (str_is(s->outcome, "open") || str_is(s->outcome, "interrupted"));
}

/* Alone where its entry says so: then the row has nothing else. */
static int settled_check(struct walk *w, const struct store_opened *o, const struct store_settle *value)
{
    struct record r = {STORE_RECORD_SETTLED, value, value->settled.link, o->wall_ms, o->request_id};
    const char *entry;
    int rc = entry_find(w, r.link, &entry);
    if (rc == 0 && entry && *entry == (char)STORE_RECORD_ALONE) {
        r.kind = STORE_RECORD_ALONE;
        if (o->link || !opened_is_empty(o))
            return record_broken(w, &r, "was changed: it tells of an opening that was not recorded");
    }
    return rc ? rc : record_check(w, &r);
}

static int ledger_check(struct walk *w, const void *row)
{
    const struct store_ledger_row *l = row;
    const struct store_settle value = {l->settled, l->opened.wall_ms};
    struct record opened = {
        STORE_RECORD_OPENED, &l->opened, l->opened.link, l->opened.wall_ms, l->opened.request_id};
    w->out->ledger++;
    int rc = order_check(w, &opened);
    if (rc == 0 && opened.link)
        rc = record_check(w, &opened);
    else if (rc == 0 && (!l->settled.link || !opened_is_empty(&l->opened)))
        rc = early_check(w, &opened);
    if (rc == 0 && l->settled.link)
        rc = settled_check(w, &l->opened, &value);
    else if (rc == 0 && opened.link && !settled_is_empty(&l->settled))
        rc = record_broken(w, &opened, "was changed: it is settled without a record");
    return rc;
}

static int egress_check(struct walk *w, const void *row)
{
    const struct store_egress *e = row;
    struct record r = {STORE_RECORD_EGRESS, e, e->link, e->wall_ms, e->request_id};
    w->out->egress++;
    int rc = order_check(w, &r);
    if (rc)
        return rc;
    return r.link ? record_check(w, &r) : early_check(w, &r);
}

/* ---- Notes ---- */

static int note_keep(struct walk *w, const void *row)
{
    if (w->n_notes == w->notes_room) {
        w->notes_room = w->notes_room ? 2 * w->notes_room : 64;
        w->notes = must(reallocarray(w->notes, w->notes_room, sizeof *w->notes));
    }
    struct store_note *note = &w->notes[w->n_notes++];
    *note = *(const struct store_note *)row;
    note->sort = arena_copy(w->arena, note->sort);
    note->hash = arena_copy(w->arena, note->hash);
    return 0;
}

static bool is_sealed(struct walk *w, const struct store_note *joined)
{
    for (size_t i = 0; i < w->n_notes; i++) {
        const struct store_note *note = &w->notes[i];
        if (str_is(note->sort, "sealed") && note->chain == joined->chain && note->number >= joined->number &&
            run_of(w, note->link))
            return true;
    }
    return false;
}

/* Another chain's end, as it was when this one began. */
static int joined_check(struct walk *w, const struct store_note *note)
{
    int64_t end = note->chain << STORE_CHAIN_BITS | note->number;
    unsigned char hash[HASH];
    const char *entry;
    const struct store_block *b = NULL;
    struct run *r = run_of(w, end - 1);
    int rc = r ? entry_find(w, end - 1, &entry) : 0;
    for (size_t i = 0; i < WINDOWS && !b && r; i++)
        b = window_find(&w->windows[i], end - 1);
    if (rc || sodium_hex2bin(hash, HASH, note->hash.data, note->hash.len, NULL, NULL, NULL) != 0)
        return rc;
    if (!b && is_sealed(w, note))
        return 0;
    if (!b || b->link + b->n != end || memcmp(hash, b->hash, HASH) != 0)
        return broken_at(w, end, note->wall_ms, "a chain", "does not come to where another one saw it");
    return 0;
}

/* What it says counts only where its entry is there to show that it was written. */
static int note_check(struct walk *w, const struct store_note *note)
{
    struct record r = {STORE_RECORD_NOTE, note, note->link, note->wall_ms, STR_NONE};
    int64_t breaks = w->out->breaks;
    if (!run_of(w, note->link)) { /* the blocks that tell it are gone, as they may */
        bool begins = false;
        for (size_t i = 0; i < w->n_runs; i++)
            begins = begins || (store_link_chain(w->runs[i].first) == note->chain &&
                                   store_link_number(w->runs[i].first) == note->number);
        return begins && str_is(note->sort, "sealed") ? record_broken(w, &r, "was inserted: it has no entry")
                                                      : 0;
    }
    int rc = record_check(w, &r);
    if (rc || w->out->breaks > breaks)
        return rc;
    if (note->before_ms > w->out->purged_ms)
        w->out->purged_ms = note->before_ms;
    if (str_is(note->sort, "began") && (w->began_rows < 0 || note->rows > w->began_rows)) {
        w->began_ms = note->wall_ms;
        w->began_rows = note->rows;
    }
    return 0;
}

static int notes_check(struct walk *w)
{
    int rc = 0;
    for (size_t i = 0; i < w->n_notes && rc == 0; i++)
        rc = note_check(w, &w->notes[i]);
    for (size_t i = 0; i < w->n_notes && rc == 0; i++)
        if (str_is(w->notes[i].sort, "joined") && run_of(w, w->notes[i].link))
            rc = joined_check(w, &w->notes[i]);
    return rc;
}

/* ---- What is missing ---- */

static int missing_check(struct walk *w, const void *row)
{
    static const char nothing[HASH] = {0};
    const struct store_block *b = row;
    int64_t n = (int64_t)(b->entries.len / STORE_ENTRY);
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const char *entry = b->entries.data + (size_t)i * STORE_ENTRY;
        const struct run *r = run_of(w, b->link + i);
        int64_t late = *entry == (char)STORE_RECORD_SETTLED ? LATE_MS : 0;
        bool purged = w->out->purged_ms > 0 && *entry != (char)STORE_RECORD_NOTE &&
                      time_at(entry) - late < w->out->purged_ms;
        if (!r || seen_is(r, b->link + i) || purged || memcmp(entry + STORE_ENTRY - HASH, nothing, HASH) == 0)
            continue;
        rc = broken_at(w, b->link + i, time_at(entry), kind_name((enum store_record)(unsigned char)*entry),
            "was removed");
    }
    return rc;
}

static int heads_tell(struct walk *w)
{
    int rc = 0;
    for (size_t i = 0; i < w->n_runs && rc == 0; i++) {
        int64_t chain = store_link_chain(w->runs[i].first);
        if (i + 1 < w->n_runs && store_link_chain(w->runs[i + 1].first) == chain)
            continue;
        struct store_head head = {.chain = chain, .number = store_link_number(w->runs[i].next)};
        struct store_cursor cursor = {.wall_ms = INT64_MIN, .id = w->runs[i].next - 1};
        struct store_block near[STORE_PAGE];
        struct arena *a = arena_create(KIB);
        size_t n;
        rc = w->backend->ops->page(w->backend, &store_list_block_of, &cursor, a, near, &n, w->err);
        if (rc == 0 && n == 1)
            memcpy(head.hash, near[0].hash, HASH);
        arena_free(a);
        rc = rc ? rc : w->v->head(w->v->ctx, &head);
    }
    return rc;
}

static int table_check(struct walk *w, const struct store_list *list, int (*fn)(struct walk *, const void *))
{
    w->last_ms = INT64_MIN;
    return each(w, list, fn);
}

static int walk(struct walk *w)
{
    int rc = each(w, &store_list_notes, note_keep);
    if (rc == 0)
        rc = each(w, &store_list_blocks, block_check);
    if (rc == 0)
        rc = heads_check(w);
    if (rc == 0)
        rc = notes_check(w);
    if (rc == 0)
        rc = table_check(w, &store_list_ledger, ledger_check);
    if (rc == 0)
        rc = table_check(w, &store_list_egress, egress_check);
    if (rc == 0)
        rc = each(w, &store_list_blocks, missing_check);
    return rc ? rc : heads_tell(w);
}

int store_chain_verify(
    struct store_backend *b, const struct store_verify *v, struct store_verified *out, struct error *err)
{
    struct walk w = {.backend = b, .v = v, .out = out, .err = err, .began_rows = -1};
    *out = (struct store_verified){0};
    int rc = store_sha_init(&w.sha, err);
    if (rc)
        return rc;
    w.arena = arena_create(256 * MIB);
    w.heads_found = must(calloc(v->n_heads + 1, sizeof *w.heads_found));
    rc = walk(&w);
    for (size_t i = 0; i < WINDOWS; i++)
        arena_free(w.windows[i].arena);
    for (size_t i = 0; i < w.n_runs; i++)
        buf_free(&w.runs[i].seen);
    free(w.runs);
    free(w.notes);
    free(w.heads_found);
    arena_free(w.arena);
    store_sha_free(&w.sha);
    return rc;
}
