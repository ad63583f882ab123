/* The state's front: finds the database a URL names, hands writes to its queue, reads its pages. */
#include "store/store.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "base/rand.h"
#include "store/store_chain.h"
#include "store/store_journal.h"
#include "store/store_seek.h"

struct store {
    struct store_backend *backend;
    struct store_queue *queue;
    struct store_seeker *seeker;
    char *path;            /* the URL without its scheme */
    pthread_mutex_t mutex; /* guards the two below */
    int64_t keys_version;  /* as the database last gave it; -1 unknown */
    int64_t changes;
};

static const struct store_ops *const databases[] = {&store_sqlite_ops, &store_postgres_ops};

static const struct store_ops *find_ops(struct str url, struct str *rest)
{
    for (size_t i = 0; i < sizeof databases / sizeof *databases; i++) {
        struct str scheme = str_from(databases[i]->scheme);
        if (str_starts(url, scheme)) {
            *rest = str_slice(url, scheme.len, url.len);
            return databases[i];
        }
    }
    return NULL;
}

int store_open(struct str url, struct store **out, struct error *err)
{
    struct str rest;
    const struct store_ops *ops = find_ops(url, &rest);
    if (!ops)
        return error_set(err, ERROR_INVALID,
            "the state must be given as sqlite:PATH or postgresql://USER@HOST/DATABASE: see state: or "
            "--state");
    struct store_backend *backend;
    int rc = ops->open(rest, &backend, err);
    if (rc)
        return rc;
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->backend = backend;
    s->keys_version = -1;
    s->path = must(strndup(rest.data, rest.len));
    pthread_mutex_init(&s->mutex, NULL);
    s->seeker = store_seeker_create(s);
    rc = store_queue_create(backend, &s->queue, err);
    if (rc) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    store_seeker_free(s->seeker);
    if (s->queue)
        store_queue_close(s->queue);
    s->backend->ops->close(s->backend);
    free(s->path);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

bool store_exists(struct str url)
{
    struct str rest;
    const struct store_ops *ops = find_ops(url, &rest);
    return ops && ops->exists(rest);
}

bool store_is_shared(const struct store *s)
{
    return s->backend->ops->leases != NULL;
}

int store_claim(struct store *s, struct error *err)
{
    return s->backend->ops->claim(s->backend, err);
}

/* The journal's path, empty where there is none. */
static int journal_path(const struct store *s, struct str path, char out[PATH_MAX], struct error *err)
{
    bool beside = path.len == 0;
    out[0] = '\0';
    if (beside && s->backend->ops != &store_sqlite_ops)
        return 0;
    struct str base = beside ? str_from(s->path) : path;
    if (snprintf(out, PATH_MAX, STR_FMT "%s", STR_ARG(base), beside ? ".journal" : "") < PATH_MAX)
        return 0;
    return error_set(err, ERROR_INVALID, "the journal's path is longer than %d bytes", PATH_MAX);
}

int store_journal(struct store *s, struct str path, struct error *err)
{
    char name[PATH_MAX];
    struct store_journal *j;
    int rc = journal_path(s, path, name, err);
    if (rc || !name[0])
        return rc;
    rc = store_journal_open(name, &j, err);
    return rc ? rc : store_queue_journal(s->queue, j, err);
}

/* Until another process has brought its journal's rows of now to the database. */
static int journal_wait(struct store *s, const char *path, struct error *err)
{
    enum { WAIT_MS = 3000, LOOK_US = 5000 };
    struct arena *a = arena_create(KIB);
    struct str name;
    int64_t last, done = 0, until = clock_mono_ms() + WAIT_MS;
    int rc = store_journal_peek(path, a, &name, &last, err);
    while (rc == 0 && (rc = s->backend->ops->mark(s->backend, name, &done, err)) == 0 && done < last &&
           clock_mono_ms() < until)
        usleep(LOOK_US);
    arena_free(a);
    return rc;
}

int store_absorb(struct store *s, struct error *err)
{
    char name[PATH_MAX];
    int rc = journal_path(s, STR_NONE, name, err);
    if (rc || !name[0] || !store_journal_has_rows(name))
        return rc;
    rc = store_claim(s, err);
    if (rc == 0)
        rc = store_journal(s, STR_NONE, err);
    return rc == ERROR_BUSY ? journal_wait(s, name, err) : rc;
}

void store_stats(struct store *s, struct store_stats *out)
{
    store_queue_stats(s->queue, out);
}

int store_ledger_open(
    struct store *s, const struct store_opened *row, struct store_done done, struct error *err)
{
    return store_queue_submit(s->queue, STORE_LEDGER_OPEN, row, done, err);
}

int store_ledger_settle(
    struct store *s, const struct store_settled *row, struct store_done done, struct error *err)
{
    int64_t took_ms = row->total_ms > 0 ? row->total_ms : 0;
    struct store_settle value = {*row, row->opened_ms ? row->opened_ms : clock_wall_ms() - took_ms};
    return store_queue_submit(s->queue, STORE_LEDGER_SETTLE, &value, done, err);
}

int store_ledger_recover(struct store *s, int64_t *count, struct error *err)
{
    return store_queue_wait(s->queue, STORE_LEDGER_RECOVER, NULL, count, err);
}

/* Rows, then the blocks that told them: not those that are written meanwhile, which would have no end. */
static const enum store_kind purges[] = {STORE_LEDGER_PURGE, STORE_EGRESS_PURGE, STORE_CHAIN_PURGE};
enum { PURGES = sizeof purges / sizeof *purges };

static struct store_purge purge_value(enum store_kind kind, int64_t before_ms)
{
    int64_t now_ms = clock_wall_ms();
    bool ends = kind == STORE_CHAIN_PURGE && before_ms > now_ms;
    return (struct store_purge){store_id_from_ms(ends ? now_ms : before_ms)};
}

int store_purge(struct store *s, int64_t before_ms, int64_t *rows, struct error *err)
{
    *rows = 0;
    for (size_t i = 0; i < PURGES; i++) {
        struct store_purge value = purge_value(purges[i], before_ms);
        int64_t step;
        do {
            int rc = store_queue_wait(s->queue, purges[i], &value, &step, err);
            if (rc)
                return rc;
            *rows += purges[i] == STORE_CHAIN_PURGE ? 0 : step;
        } while (step > 0);
    }
    return 0;
}

int store_purge_later(struct store *s, int64_t before_ms, struct error *err)
{
    static const struct store_done nobody = {NULL, NULL, NULL};
    int rc = 0;
    for (size_t i = 0; i < PURGES && rc == 0; i++) {
        struct store_purge value = purge_value(purges[i], before_ms);
        rc = store_queue_submit(s->queue, purges[i], &value, nobody, err);
    }
    return rc;
}

int store_egress_record(
    struct store *s, const struct store_egress *row, struct store_done done, struct error *err)
{
    return store_queue_submit(s->queue, STORE_EGRESS_RECORD, row, done, err);
}

int store_response_add(
    struct store *s, const struct store_response *row, struct store_done done, struct error *err)
{
    struct store_kept value = {(int64_t)str_hash(row->id), *row};
    return store_queue_submit(s->queue, STORE_RESPONSE_ADD, &value, done, err);
}

int store_response_delete(
    struct store *s, struct str id, struct str key_id, struct store_done done, struct error *err)
{
    struct store_unkept value = {(int64_t)str_hash(id), id, key_id};
    return store_queue_submit(s->queue, STORE_RESPONSE_DELETE, &value, done, err);
}

int store_response_find(struct store *s, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct error *err)
{
    struct store_cursor cursor = {.wall_ms = (int64_t)str_hash(id)};
    struct store_kept *rows = arena_try_alloc(a, STORE_PAGE, sizeof *rows);
    size_t n;
    if (!rows)
        return error_set(err, ERROR_LIMIT, "no memory for a kept response");
    int rc = s->backend->ops->page(s->backend, &store_list_responses, &cursor, a, rows, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!str_eq(rows[i].response.id, id) || !str_eq(rows[i].response.key_id, key_id))
            continue;
        *out = rows[i].response;
        return 0;
    }
    return rc ? rc : error_set(err, ERROR_NOT_FOUND, "no response of that id and key is kept");
}

int store_response_seek(struct store *s, struct str id, struct str key_id, struct arena *a,
    struct store_response *out, struct store_done done, struct error *err)
{
    return store_seeker_ask(s->seeker, id, key_id, a, out, done, err);
}

int store_response_forget(
    struct store *s, int64_t before_ms, struct str key_id, int64_t *rows, struct error *err)
{
    struct store_forget value = {before_ms, key_id};
    int64_t step;
    *rows = 0;
    do {
        int rc = store_queue_wait(s->queue, STORE_RESPONSE_FORGET, &value, &step, err);
        if (rc)
            return rc;
        *rows += step;
    } while (step > 0);
    return 0;
}

int store_response_purge(struct store *s, int64_t before_ms, struct error *err)
{
    static const struct store_done nobody = {NULL, NULL, NULL};
    struct store_purge value = {before_ms};
    return store_queue_submit(s->queue, STORE_RESPONSE_PURGE, &value, nobody, err);
}

/* Waits where nobody is to be told. */
static int submit_or_wait(
    struct store *s, enum store_kind kind, const void *value, struct store_done done, struct error *err)
{
    return done.loop ? store_queue_submit(s->queue, kind, value, done, err)
                     : store_queue_wait(s->queue, kind, value, NULL, err);
}

int store_key_add(struct store *s, const struct store_key *key, struct store_done done, struct error *err)
{
    return submit_or_wait(s, STORE_KEY_ADD, key, done, err);
}

int store_key_revoke(
    struct store *s, struct str id, int64_t wall_ms, struct store_done done, struct error *err)
{
    struct store_key_time value = {wall_ms, id};
    return submit_or_wait(s, STORE_KEY_REVOKE, &value, done, err);
}

int store_key_expire(
    struct store *s, struct str id, int64_t expires_ms, struct store_done done, struct error *err)
{
    struct store_key_time value = {expires_ms, id};
    return submit_or_wait(s, STORE_KEY_EXPIRE, &value, done, err);
}

int store_limits_set(
    struct store *s, const struct store_limits *row, struct store_done done, struct error *err)
{
    return submit_or_wait(s, STORE_LIMITS_SET, row, done, err);
}

int store_limits_drop(
    struct store *s, struct str kind, struct str name, struct store_done done, struct error *err)
{
    const struct store_limits_of value = {kind, name};
    return submit_or_wait(s, STORE_LIMITS_DROP, &value, done, err);
}

int64_t store_spender(struct store *s)
{
    int64_t number = (int64_t)(rand_u64() >> 1) | 1;
    store_queue_spender(s->queue, number);
    return number;
}

/* Before the first row that is as new. */
static struct store_cursor cursor_at(int64_t since_ms)
{
    return (struct store_cursor){.wall_ms = since_ms, .id = store_id_from_ms(since_ms) - 1};
}

/* Calls visit(ctx, row) for every row after the cursor; nothing of the database is held meanwhile. */
static int list_visit(struct store *s, const struct store_list *list, struct store_cursor cursor,
    int (*visit)(void *ctx, const void *row), void *ctx, struct error *err)
{
    char *rows = calloc(STORE_PAGE, list->row_size);
    if (!rows)
        abort();
    size_t n = STORE_PAGE;
    int rc = 0;
    while (rc == 0 && n == STORE_PAGE) {
        struct arena *a = arena_create(2 * STORE_PAGE * LIMIT_STORE_ROW);
        rc = s->backend->ops->page(s->backend, list, &cursor, a, rows, &n, err);
        for (size_t i = 0; i < n && rc == 0; i++)
            rc = visit(ctx, rows + i * list->row_size);
        arena_free(a);
    }
    free(rows);
    return rc;
}

struct ledger_visit {
    int (*visit)(void *ctx, const struct store_ledger_row *row);
    void *ctx;
};

static int ledger_row(void *ctx, const void *row)
{
    const struct ledger_visit *v = ctx;
    struct store_ledger_row told = *(const struct store_ledger_row *)row;
    size_t unique = str_find_char(told.opened.request_id, '/');
    told.id = told.opened.request_id;
    told.opened.request_id = str_slice(told.opened.request_id, 0, unique);
    told.settled.request_id = told.opened.request_id;
    return v->visit(v->ctx, &told);
}

int store_ledger_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_ledger_row *row), void *ctx, struct error *err)
{
    struct ledger_visit v = {visit, ctx};
    return list_visit(s, &store_list_ledger, cursor_at(since_ms), ledger_row, &v, err);
}

static int row_time(void *ctx, const struct store_ledger_row *row)
{
    int64_t *wall_ms = ctx;
    *wall_ms = row->opened.wall_ms;
    return 1;
}

int store_ledger_newest(struct store *s, int64_t now_ms, int64_t *wall_ms, struct error *err)
{
    const int64_t day_ms = 24 * 3600 * 1000;
    int rc = 0;
    *wall_ms = -1;
    /* A row is found by its time: further and further back. */
    for (int64_t ago_ms = day_ms; rc == 0 && ago_ms / 2 < now_ms; ago_ms *= 2)
        rc = store_ledger_list(s, ago_ms < now_ms ? now_ms - ago_ms : 1, row_time, wall_ms, err);
    return rc < 0 ? rc : 0;
}

struct egress_visit {
    int (*visit)(void *ctx, const struct store_egress *row);
    void *ctx;
};

static int egress_row(void *ctx, const void *row)
{
    const struct egress_visit *v = ctx;
    return v->visit(v->ctx, row);
}

int store_egress_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_egress *row), void *ctx, struct error *err)
{
    struct egress_visit v = {visit, ctx};
    return list_visit(s, &store_list_egress, cursor_at(since_ms), egress_row, &v, err);
}

struct block_visit {
    int (*visit)(void *ctx, const struct store_block *block);
    void *ctx;
};

static int block_row(void *ctx, const void *row)
{
    const struct block_visit *v = ctx;
    return v->visit(v->ctx, row);
}

int store_block_list(struct store *s, int64_t since_ms,
    int (*visit)(void *ctx, const struct store_block *block), void *ctx, struct error *err)
{
    struct block_visit v = {visit, ctx};
    return list_visit(
        s, &store_list_blocks, (struct store_cursor){.wall_ms = since_ms, .id = -1}, block_row, &v, err);
}

struct note_visit {
    int (*visit)(void *ctx, const struct store_note *note);
    void *ctx;
};

static int note_row(void *ctx, const void *row)
{
    const struct note_visit *v = ctx;
    return v->visit(v->ctx, row);
}

int store_note_list(struct store *s, int64_t since_ms, int (*visit)(void *ctx, const struct store_note *note),
    void *ctx, struct error *err)
{
    struct note_visit v = {visit, ctx};
    return list_visit(
        s, &store_list_notes, (struct store_cursor){.wall_ms = since_ms, .id = -1}, note_row, &v, err);
}

int store_verify(struct store *s, const struct store_verify *v, struct store_verified *out, struct error *err)
{
    struct store_backend *b = s->backend;
    struct error ignored;
    int rc = b->ops->view(b, true, err);
    if (rc)
        return rc;
    rc = store_chain_verify(b, v, out, err);
    int ended = b->ops->view(b, false, rc ? &ignored : err);
    return rc ? rc : ended;
}

struct key_visit {
    int (*visit)(void *ctx, const struct store_key *key);
    void *ctx;
};

static int key_row(void *ctx, const void *row)
{
    const struct key_visit *v = ctx;
    return v->visit(v->ctx, row);
}

int store_key_list(
    struct store *s, int (*visit)(void *ctx, const struct store_key *key), void *ctx, struct error *err)
{
    struct key_visit v = {visit, ctx};
    return list_visit(s, &store_list_keys, (struct store_cursor){.wall_ms = 0}, key_row, &v, err);
}

struct limits_visit {
    int (*visit)(void *ctx, const struct store_limits *row);
    void *ctx;
};

static int limits_row(void *ctx, const void *row)
{
    const struct limits_visit *v = ctx;
    return v->visit(v->ctx, row);
}

int store_limits_list(
    struct store *s, int (*visit)(void *ctx, const struct store_limits *row), void *ctx, struct error *err)
{
    struct limits_visit v = {visit, ctx};
    return list_visit(s, &store_list_limits, (struct store_cursor){.wall_ms = 0}, limits_row, &v, err);
}

struct spend_visit {
    int (*visit)(void *ctx, const struct store_spend *row);
    void *ctx;
};

static int spend_row(void *ctx, const void *row)
{
    const struct spend_visit *v = ctx;
    return v->visit(v->ctx, row);
}

/* The mark is asked for first: what is written meanwhile is seen now or the next time. */
int store_spend_changes(struct store *s, int64_t *since, int64_t but,
    int (*visit)(void *ctx, const struct store_spend *row), void *ctx, struct error *err)
{
    struct spend_visit v = {visit, ctx};
    const struct store_cursor from = {*since, -1, but};
    int64_t mark;
    int rc = s->backend->ops->change_mark(s->backend, &mark, err);
    if (rc == 0)
        rc = list_visit(s, &store_list_spend_changes, from, spend_row, &v, err);
    if (rc == 0)
        *since = mark;
    return rc;
}

/* ---- Leases. ---- */

int store_lease_beat(
    struct store *s, int64_t spender, int64_t life_ms, bool *renewed, int64_t *others, struct error *err)
{
    return s->backend->ops->leases->beat(s->backend, spender, life_ms, renewed, others, err);
}

int store_lease_share(struct store *s, int64_t spender, int64_t life_ms, struct str names,
    void (*visit)(void *ctx, struct str name, int64_t others), void *ctx, struct error *err)
{
    return s->backend->ops->leases->share(s->backend, spender, life_ms, names, visit, ctx, err);
}

int store_lease_take(
    struct store *s, const struct store_lease *lease, int64_t *granted, int64_t *rest, struct error *err)
{
    return s->backend->ops->leases->take(s->backend, lease, granted, rest, err);
}

int store_lease_give(struct store *s, const struct store_lease *lease, struct error *err)
{
    return s->backend->ops->leases->give(s->backend, lease, err);
}

int store_lease_wanted(struct store *s, int64_t spender,
    void (*visit)(void *ctx, struct str kind, struct str name), void *ctx, struct error *err)
{
    return s->backend->ops->leases->wanted(s->backend, spender, visit, ctx, err);
}

int store_lease_end(struct store *s, int64_t spender, struct error *err)
{
    const struct store_lease_end value = {spender};
    return store_queue_wait(s->queue, STORE_LEASE_END, &value, NULL, err);
}

int64_t store_change_count(struct store *s)
{
    struct error err;
    int64_t version = -1;
    int rc = s->backend->ops->keys_version(s->backend, &version, &err);
    if (rc)
        log_debug("store", "cannot tell whether keys have changed: %s", err.message);
    pthread_mutex_lock(&s->mutex);
    /* What cannot be read may have changed: whoever reads the keys next finds out. */
    if (rc || version != s->keys_version)
        s->changes++;
    s->keys_version = rc ? -1 : version;
    int64_t changes = s->changes;
    pthread_mutex_unlock(&s->mutex);
    return changes;
}
