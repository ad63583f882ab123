/* The queue and the writer thread: everything that waits becomes one transaction (group commit). With a
 * journal, rows are answered when they are in it, and gather for a moment so that a group is worth its sync.
 *
 *   submit -> waiting -> group -> begin apply... commit -> done, in the order submitted
 *                ^         |
 *                +---------+  failed: rows nobody waits for go back to the front and are tried again later;
 *                             the others are told ERROR_IO */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "store/store_journal.h"

enum { RETRY_FIRST_MS = 25, RETRY_LAST_MS = 800, CLOSE_ATTEMPTS = 2, GATHER_MS = 25, GATHER_ROWS = 1024 };

struct store_waiter {
    pthread_cond_t answered;
    bool finished;
    int code;
    int64_t changed;
    struct error err;
};

struct store_queue {
    struct store_backend *backend;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;   /* the writer has something to do */
    struct list waiting;
    size_t rows, bytes;            /* waiting or being written */
    bool urgent;                   /* somebody waits for one of those that wait */
    struct store_journal *journal; /* NULL: none */
    bool journal_fails;
    int64_t committed; /* the writer's: number of the journal's last row that the database has */
    int64_t written, failed;
    bool healthy, stop;
};

static bool row_is_awaited(const struct store_row *row)
{
    return row->done.loop || row->waiter;
}

/* A settled row must not be lost: it is tried again also after its asker was told of a failure. */
static bool row_is_kept(const struct store_row *row)
{
    return !row_is_awaited(row) || (row->kind == STORE_LEDGER_SETTLE && !row->waiter);
}

/* A purge goes on, a step in each group, until a step finds nothing. */
static bool row_has_more(const struct store_row *row)
{
    bool purges = row->kind == STORE_LEDGER_PURGE || row->kind == STORE_EGRESS_PURGE ||
                  row->kind == STORE_RESPONSE_PURGE;
    return purges && !row_is_awaited(row) && row->code == 0 && row->changed > 0;
}

struct answer {
    struct store_done done;
    int code;
};

static void answer_done(void *ctx)
{
    struct answer *a = ctx;
    a->done.fn(a->done.ctx, a->code);
    free(a);
}

/* Tells the asker; the row stays and nobody waits for it any more. */
static void row_detach(struct store_row *row, int code)
{
    if (!row->done.loop)
        return;
    struct answer *a = must(malloc(sizeof *a));
    *a = (struct answer){row->done, code};
    loop_post(row->done.loop, answer_done, a);
    row->done.loop = NULL;
}

static void row_done(void *ctx)
{
    struct store_row *row = ctx;
    row->done.fn(row->done.ctx, row->code);
    free(row);
}

/* What a row's own failure means; the rest of its group was committed. */
static void row_explain(const struct store_row *row, struct error *err)
{
    switch (row->kind) {
    case STORE_LEDGER_OPEN:
        error_set(err, row->code, "a request with the id " STR_FMT " is in the ledger already",
            STR_ARG(row->value.opened.request_id));
        break;
    case STORE_KEY_ADD:
        error_set(err, row->code, "a key with the id " STR_FMT " is there already: make another",
            STR_ARG(row->value.key.id));
        break;
    case STORE_KEY_REVOKE:
        error_set(err, row->code, "there is no key with the id '" STR_FMT "': weir keys list shows them",
            STR_ARG(row->value.revoke.id));
        break;
    case STORE_RESPONSE_DELETE:
        error_set(err, row->code, "there is no response with that id");
        break;
    default:
        error_set(err, row->code, "the database refused a row");
    }
}

/* A statement that touched no row has refused these kinds. */
static int row_judge(const struct store_row *row)
{
    if (row->changed > 0)
        return 0;
    switch (row->kind) {
    case STORE_LEDGER_OPEN:
    case STORE_KEY_ADD:
        return ERROR_INVALID;
    case STORE_KEY_REVOKE:
    case STORE_RESPONSE_DELETE:
        return ERROR_NOT_FOUND;
    default:
        return 0;
    }
}

/* The journal's rows up to `number` are in the database with this group. */
static int mark_write(struct store_queue *q, int64_t number, struct error *err)
{
    struct store_mark mark = {store_journal_name(q->journal), number};
    struct store_row *row;
    int rc = store_row_create(STORE_JOURNAL_MARK, &mark, &row, err);
    if (rc)
        return rc;
    rc = q->backend->ops->apply(q->backend, row, err);
    free(row);
    return rc;
}

/* One transaction. A row's ERROR_INVALID is its own; any other failure is everyone's. */
static int group_write(struct store_queue *q, struct list *group, struct error *err)
{
    struct store_backend *b = q->backend;
    int64_t number = 0;
    int rc = b->ops->begin(b, err);
    list_each(node, after, group) {
        if (rc)
            break;
        struct store_row *row = list_item(node, struct store_row, node);
        number = row->number > number ? row->number : number;
        row->changed = 0;
        row->code = b->ops->apply(b, row, err);
        if (row->code == 0)
            row->code = row_judge(row);
        else if (row->code != ERROR_INVALID)
            rc = row->code;
    }
    if (rc == 0 && number > 0)
        rc = mark_write(q, number, err);
    if (rc == 0)
        rc = b->ops->commit(b, err);
    if (rc)
        b->ops->rollback(b);
    else if (number > 0)
        q->committed = number;
    return rc;
}

/* What the database has need not stay in the journal. */
static void journal_trim(struct store_queue *q)
{
    if (!q->journal)
        return;
    pthread_mutex_lock(&q->mutex);
    int file = store_journal_committed(q->journal, q->committed);
    pthread_mutex_unlock(&q->mutex);
    if (file < 0)
        return;
    store_journal_drop(q->journal, file);
    pthread_mutex_lock(&q->mutex);
    store_journal_dropped(q->journal, file);
    pthread_mutex_unlock(&q->mutex);
}

static void list_move(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

/* Tells whoever waits and frees the row. */
static void row_answer(struct store_queue *q, struct store_row *row, const struct error *err)
{
    if (row->waiter) {
        pthread_mutex_lock(&q->mutex);
        row->waiter->code = row->code;
        row->waiter->changed = row->changed;
        row->waiter->err = *err;
        row->waiter->finished = true;
        pthread_cond_signal(&row->waiter->answered);
        pthread_mutex_unlock(&q->mutex);
    }
    if (row->done.loop)
        loop_post(row->done.loop, row_done, row);
    else
        free(row);
}

/* Counts the rows out of the queue, then answers them, without the mutex so that no loop waits for the
 * others' answers. `shared` is the group's failure, NULL when it was committed. */
static void group_answer(struct store_queue *q, struct list *group, const struct error *shared)
{
    size_t rows = 0, bytes = 0, failed = 0, lost = 0;
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        if (shared)
            row->code = shared->code;
        rows++;
        bytes += row->bytes;
        failed += row->code != 0;
        lost += shared && !row_is_awaited(row);
    }
    pthread_mutex_lock(&q->mutex);
    q->rows -= rows;
    q->bytes -= bytes;
    q->written += (int64_t)(rows - failed);
    q->failed += (int64_t)failed;
    pthread_mutex_unlock(&q->mutex);
    if (lost > 0)
        log_error(
            "store", "closed before %zu rows could be written, they are lost: %s", lost, shared->message);
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        struct error own = {0};
        if (row->code && !shared)
            row_explain(row, &own);
        if (row->code && !shared && !row_is_awaited(row))
            log_warn("store", "a row is lost: %s", own.message);
        list_remove(node);
        row_answer(q, row, shared ? shared : &own);
    }
}

/* Answers those who wait; what is kept goes back, before what has come meanwhile. */
static void group_retry(struct store_queue *q, struct list *group, const struct error *err)
{
    struct list awaited, newer;
    list_init(&awaited);
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        if (row_is_kept(row)) {
            row_detach(row, err->code);
        } else {
            list_remove(node);
            list_push_back(&awaited, node);
        }
    }
    pthread_mutex_lock(&q->mutex);
    list_move(&q->waiting, &newer);
    list_move(group, &q->waiting);
    list_each(node, after, &newer) {
        list_remove(node);
        list_push_back(&q->waiting, node);
    }
    pthread_mutex_unlock(&q->mutex);
    group_answer(q, &awaited, err);
}

/* Steps of a purge that are not the last go behind what has come meanwhile. */
static void group_continue(struct store_queue *q, struct list *group)
{
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        if (!row_has_more(row))
            continue;
        list_remove(node);
        pthread_mutex_lock(&q->mutex);
        list_push_back(&q->waiting, node);
        pthread_mutex_unlock(&q->mutex);
    }
}

static void health_set(struct store_queue *q, bool healthy, const struct error *err)
{
    pthread_mutex_lock(&q->mutex);
    bool changed = q->healthy != healthy;
    q->healthy = healthy;
    pthread_mutex_unlock(&q->mutex);
    if (changed && healthy)
        log_info("store", "the state can be written again");
    else if (changed)
        log_error("store", "the state cannot be written, trying again: %s", err->message);
}

static struct timespec time_after_ms(int64_t delay_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + delay_ms * 1000000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    return until;
}

static void pause_ms(struct store_queue *q, int64_t delay_ms)
{
    struct timespec until = time_after_ms(delay_ms);
    pthread_mutex_lock(&q->mutex);
    while (!q->stop && pthread_cond_timedwait(&q->wake, &q->mutex, &until) != ETIMEDOUT)
        continue;
    pthread_mutex_unlock(&q->mutex);
}

/* Waits for rows; false when there are none and there will be none. */
static bool group_take(struct store_queue *q, struct list *group, bool *stop)
{
    pthread_mutex_lock(&q->mutex);
    while (list_empty(&q->waiting) && !q->stop)
        pthread_cond_wait(&q->wake, &q->mutex);
    struct timespec until = time_after_ms(GATHER_MS);
    while (q->journal && !q->urgent && !q->stop && q->rows < GATHER_ROWS &&
           pthread_cond_timedwait(&q->wake, &q->mutex, &until) != ETIMEDOUT)
        continue;
    list_move(&q->waiting, group);
    q->urgent = false;
    *stop = q->stop;
    pthread_mutex_unlock(&q->mutex);
    return !list_empty(group);
}

static void *writer_main(void *ctx)
{
    struct store_queue *q = ctx;
    struct list group;
    int64_t delay_ms = RETRY_FIRST_MS;
    int last_attempts = CLOSE_ATTEMPTS;
    bool stop;
    while (group_take(q, &group, &stop)) {
        struct error err = {0};
        int rc = group_write(q, &group, &err);
        health_set(q, rc == 0, &err);
        if (rc == 0) {
            if (!stop)
                group_continue(q, &group);
            group_answer(q, &group, NULL);
            journal_trim(q);
            delay_ms = RETRY_FIRST_MS;
        } else if (stop && --last_attempts == 0) {
            group_answer(q, &group, &err);
        } else {
            group_retry(q, &group, &err);
            pause_ms(q, delay_ms);
            delay_ms = delay_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : delay_ms * 2;
        }
    }
    return NULL;
}

int store_queue_create(struct store_backend *b, struct store_queue **out, struct error *err)
{
    struct store_queue *q = must(calloc(1, sizeof *q));
    q->backend = b;
    q->healthy = true;
    list_init(&q->waiting);
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&q->thread, NULL, writer_main, q)) {
        pthread_cond_destroy(&q->wake);
        pthread_mutex_destroy(&q->mutex);
        free(q);
        return error_set(
            err, ERROR_MEMORY, "cannot start the state's writer thread: raise the limit (ulimit -u)");
    }
    *out = q;
    return 0;
}

void store_queue_close(struct store_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->stop = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mutex);
    pthread_join(q->thread, NULL);
    if (q->journal)
        store_journal_finish(q->journal, q->committed);
    store_journal_close(q->journal);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

void store_queue_stats(struct store_queue *q, struct store_stats *out)
{
    pthread_mutex_lock(&q->mutex);
    *out = (struct store_stats){
        .written = q->written, .failed = q->failed, .queued = (int64_t)q->rows, .healthy = q->healthy};
    pthread_mutex_unlock(&q->mutex);
}

/* Kinds that a request waits for. */
static bool row_is_journaled(const struct store_row *row)
{
    bool kind = row->kind == STORE_LEDGER_OPEN || row->kind == STORE_LEDGER_SETTLE ||
                row->kind == STORE_EGRESS_RECORD;
    return kind && !row->waiter;
}

/* The mutex is held. A row that is in the journal is kept: whoever waits is told. One that could not be put
 * there waits for the database, as without a journal. */
static void row_journal(struct store_queue *q, struct store_row *row)
{
    struct error err;
    if (!q->journal || !row_is_journaled(row))
        return;
    bool fails = store_journal_append(q->journal, row, &err) != 0;
    if (fails != q->journal_fails)
        log_warn("store", "%s", fails ? err.message : "the journal can be written again");
    q->journal_fails = fails;
    if (!fails)
        row_detach(row, 0);
}

/* The mutex is held. Takes the row, or refuses and frees it. */
static int enqueue(struct store_queue *q, struct store_row *row, struct error *err)
{
    if (q->rows >= LIMIT_STORE_ROWS || row->bytes > LIMIT_STORE_QUEUE - q->bytes) {
        free(row);
        return error_set(
            err, ERROR_BUSY, "the state has too many writes waiting (%zu): try again later", q->rows);
    }
    row_journal(q, row);
    bool hurry = row_is_awaited(row) || q->rows + 1 >= GATHER_ROWS;
    if (list_empty(&q->waiting) || (hurry && !q->urgent))
        pthread_cond_signal(&q->wake);
    q->urgent = q->urgent || hurry;
    list_push_back(&q->waiting, &row->node);
    q->rows++;
    q->bytes += row->bytes;
    return 0;
}

int store_queue_submit(
    struct store_queue *q, enum store_kind kind, const void *value, struct store_done done, struct error *err)
{
    struct store_row *row;
    int rc = store_row_create(kind, value, &row, err);
    if (rc)
        return rc;
    row->done = done;
    pthread_mutex_lock(&q->mutex);
    rc = enqueue(q, row, err);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

int store_queue_wait(
    struct store_queue *q, enum store_kind kind, const void *value, int64_t *changed, struct error *err)
{
    struct store_row *row;
    int rc = store_row_create(kind, value, &row, err);
    if (rc)
        return rc;
    struct store_waiter waiter = {.finished = false};
    pthread_cond_init(&waiter.answered, NULL);
    row->waiter = &waiter;
    pthread_mutex_lock(&q->mutex);
    rc = enqueue(q, row, err);
    while (rc == 0 && !waiter.finished)
        pthread_cond_wait(&waiter.answered, &q->mutex);
    pthread_mutex_unlock(&q->mutex);
    pthread_cond_destroy(&waiter.answered);
    if (rc)
        return rc;
    if (changed)
        *changed = waiter.changed;
    return waiter.code ? error_set(err, waiter.code, "%s", waiter.err.message) : 0;
}

int store_queue_journal(struct store_queue *q, struct store_journal *j, struct error *err)
{
    struct list rows;
    int64_t done;
    list_init(&rows);
    int rc = q->backend->ops->mark(q->backend, store_journal_name(j), &done, err);
    if (rc == 0)
        rc = store_journal_read(j, done, &rows, err);
    pthread_mutex_lock(&q->mutex);
    list_each(node, after, &rows) {
        struct store_row *row = list_item(node, struct store_row, node);
        list_remove(node);
        if (rc) {
            free(row);
            continue;
        }
        list_push_back(&q->waiting, node);
        q->rows++;
        q->bytes += row->bytes;
    }
    if (rc == 0) {
        q->journal = j;
        q->committed = done;
        pthread_cond_signal(&q->wake);
    }
    pthread_mutex_unlock(&q->mutex);
    if (rc) {
        store_journal_close(j);
        return rc;
    }
    /* Written behind those that were left, so that they are in the database when this returns. */
    struct store_mark mark = {store_journal_name(j), store_journal_number(j)};
    return store_queue_wait(q, STORE_JOURNAL_MARK, &mark, NULL, err);
}
