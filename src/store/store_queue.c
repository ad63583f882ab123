/* What comes into the queue. Rows of requests are gathered for the journal, which is written at the end of
 * the loop's turn; others, and all without a journal, wait for the database.
 *
 *   submit -> fresh -> (end of the turn: in the journal, told) -> waiting -> the writer
 *      +-------------------------------------------------------------^  */
#include <assert.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "store/store_chain.h"
#include "store/store_queue.h"

static void to_waiting(struct store_queue *q, struct list *rows, bool hurry)
{
    hurry = hurry || store_queue_has_much(q);
    if (list_empty(&q->waiting) || (hurry && !q->urgent))
        pthread_cond_signal(&q->wake);
    q->urgent = q->urgent || hurry;
    store_list_append(&q->waiting, rows);
}

/* ---- The end of a turn. All of it with the mutex held, except on_turn_end. ---- */

/* Those whose rows are in the journal are called by their loops; the others wait for the database, as without
 * a journal. */
static void turns_judge(struct store_queue *q, bool kept)
{
    for (struct store_turn *t = q->turns; t; t = t->next) {
        if (kept)
            t->n_kept = t->n_asked;
        else
            t->n_asked = t->n_kept;
    }
}

/* Puts what was gathered into the journal. */
static void fresh_write(struct store_queue *q)
{
    struct error err;
    bool hurry = false;
    if (list_empty(&q->fresh))
        return;
    bool fails = store_journal_write(q->journal, &err) != 0;
    if (fails != q->journal_fails)
        log_warn("store", "%s", fails ? err.message : "the journal can be written again");
    q->journal_fails = fails;
    turns_judge(q, !fails);
    list_each(node, after, &q->fresh) {
        struct store_row *row = list_item(node, struct store_row, node);
        if (fails)
            row->number = 0;
        else
            row->done.loop = NULL; /* its turn has it */
        hurry = hurry || row->done.loop;
    }
    to_waiting(q, &q->fresh, hurry);
}

static void turn_free(struct store_turn *t)
{
    free(t->asked);
    free(t->told);
    free(t);
}

static void on_turn_end(void *ctx)
{
    struct store_turn *t = ctx;
    struct store_queue *q = t->queue;
    t->waited = q && !t->waited;
    if (t->waited) {
        loop_post(t->loop, on_turn_end, t);
        return;
    }
    if (q) {
        pthread_mutex_lock(&q->mutex);
        fresh_write(q);
    }
    struct store_done *told = t->asked;
    size_t n = t->n_kept, room = t->asked_room;
    t->asked = t->told;
    t->asked_room = t->told_room;
    t->told = told;
    t->told_room = room;
    t->n_asked = t->n_kept = 0;
    t->posted = false;
    if (q)
        pthread_mutex_unlock(&q->mutex);
    for (size_t i = 0; i < n; i++)
        told[i].fn(told[i].ctx, 0);
    if (!q)
        turn_free(t);
}

static struct store_turn *turn_of(struct store_queue *q, struct loop *loop)
{
    struct store_turn *t = q->turns;
    while (t && t->loop != loop)
        t = t->next;
    if (t)
        return t;
    t = must(calloc(1, sizeof *t));
    *t = (struct store_turn){.queue = q, .next = q->turns, .loop = loop};
    q->turns = t;
    return t;
}

static void turn_ask(struct store_turn *t, struct store_done done)
{
    if (t->n_asked == t->asked_room) {
        t->asked_room = t->asked_room ? 2 * t->asked_room : 16;
        t->asked = must(realloc(t->asked, t->asked_room * sizeof *t->asked));
    }
    t->asked[t->n_asked++] = done;
}

/* Gathers a row for the journal; a thread without a loop has no turn that ends. */
static void fresh_add(struct store_queue *q, struct store_row *row)
{
    struct loop *loop = row->done.loop ? row->done.loop : loop_running();
    struct store_turn *t = loop ? turn_of(q, loop) : NULL;
    if (store_journal_is_full(q->journal))
        fresh_write(q);
    store_journal_add(q->journal, row);
    list_push_back(&q->fresh, &row->node);
    if (row->done.loop) {
        assert(t);
        turn_ask(t, row->done);
    }
    if (!t)
        fresh_write(q);
    else if (!t->posted)
        loop_post(loop, on_turn_end, t);
    if (t)
        t->posted = true;
}

/* ---- Submitting. ---- */

/* Those of a request. */
static bool row_is_journaled(const struct store_row *row)
{
    return store_kind_is_journaled(row->kind) && !row->waiter;
}

/* The mutex is held. Takes the row, or refuses and frees it. */
static int enqueue(struct store_queue *q, struct store_row *row, struct error *err)
{
    struct list one;
    if (q->rows >= LIMIT_STORE_ROWS || row->bytes > LIMIT_STORE_QUEUE - q->bytes) {
        free(row);
        return error_set(
            err, ERROR_BUSY, "the state has too many writes waiting (%zu): try again later", q->rows);
    }
    q->rows++;
    q->bytes += row->bytes;
    if (q->journal && row_is_journaled(row)) {
        fresh_add(q, row);
        return 0;
    }
    fresh_write(q); /* what was submitted first is written first */
    list_init(&one);
    list_push_back(&one, &row->node);
    to_waiting(q, &one, store_row_is_awaited(row));
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

/* ---- Opening and closing. ---- */

int store_queue_create(struct store_backend *b, struct store_queue **out, struct error *err)
{
    struct store_queue *q = must(calloc(1, sizeof *q));
    int rc = store_chain_create(&q->chain, err);
    if (rc) {
        free(q);
        return rc;
    }
    q->backend = b;
    q->healthy = true;
    list_init(&q->fresh);
    list_init(&q->waiting);
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&q->thread, NULL, store_writer_main, q)) {
        pthread_cond_destroy(&q->wake);
        pthread_mutex_destroy(&q->mutex);
        store_chain_free(q->chain);
        free(q);
        return error_set(
            err, ERROR_MEMORY, "cannot start the state's writer thread: raise the limit (ulimit -u)");
    }
    *out = q;
    return 0;
}

/* Their loops do not run any more, or this is their thread; what was posted is called with the loop's last
 * tasks. */
static void turns_close(struct store_turn *turns)
{
    for (struct store_turn *t = turns, *next; t; t = next) {
        next = t->next;
        t->queue = NULL;
        if (!t->posted)
            turn_free(t);
    }
}

void store_queue_close(struct store_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    fresh_write(q);
    q->stop = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mutex);
    pthread_join(q->thread, NULL);
    if (q->journal)
        store_journal_finish(q->journal, q->committed);
    store_journal_close(q->journal);
    turns_close(q->turns);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->mutex);
    store_chain_free(q->chain);
    free(q);
}

void store_queue_spender(struct store_queue *q, int64_t spender)
{
    pthread_mutex_lock(&q->mutex);
    q->spender = spender;
    pthread_mutex_unlock(&q->mutex);
}

void store_queue_stats(struct store_queue *q, struct store_stats *out)
{
    pthread_mutex_lock(&q->mutex);
    *out = (struct store_stats){
        .written = q->written, .failed = q->failed, .queued = (int64_t)q->rows, .healthy = q->healthy};
    pthread_mutex_unlock(&q->mutex);
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
