/* The writer thread: everything that waits becomes one transaction (group commit). With a journal, rows are
 * answered when they are in it, and gather so that a group is worth its sync.
 *
 *   waiting -> group -> begin apply... commit -> done, in the order submitted
 *      ^         |
 *      +---------+  failed: rows nobody waits for go back to the front and are tried again later;
 *                   the others are told ERROR_IO */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "store/store_queue.h"

/* Few rows gather only for a moment, so that they are soon seen and soon on the disk; many for longer,
 * because a sync and a page of the database then serve more of them. */
enum { GATHER_FEW = 16, GATHER_MS = 25, GATHER_MANY_MS = 250 };
enum { RETRY_FIRST_MS = 25, RETRY_LAST_MS = 800, CLOSE_ATTEMPTS = 2 };

/* A settled row must not be lost: it is tried again also after its asker was told of a failure. */
static bool row_is_kept(const struct store_row *row)
{
    return !store_row_is_awaited(row) || (row->kind == STORE_LEDGER_SETTLE && !row->waiter);
}

/* A purge goes on, a step in each group, until a step finds nothing. */
static bool row_has_more(const struct store_row *row)
{
    bool purges = row->kind == STORE_LEDGER_PURGE || row->kind == STORE_EGRESS_PURGE ||
                  row->kind == STORE_CHAIN_PURGE || row->kind == STORE_RESPONSE_PURGE;
    return purges && !store_row_is_awaited(row) && row->code == 0 && row->changed > 0;
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

/* Tells whoever waits and frees the row. `err` is NULL where its code is 0. */
static void row_answer(struct store_queue *q, struct store_row *row, const struct error *err)
{
    if (row->waiter) {
        pthread_mutex_lock(&q->mutex);
        row->waiter->code = row->code;
        row->waiter->changed = row->changed;
        if (err)
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
        lost += shared && !store_row_is_awaited(row);
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
        struct error own;
        if (row->code && !shared)
            store_row_explain(row, &own);
        if (row->code && !shared && !store_row_is_awaited(row))
            log_warn("store", "a row is lost: %s", own.message);
        list_remove(node);
        row_answer(q, row, shared ? shared : row->code ? &own : NULL);
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
    store_list_move(&q->waiting, &newer);
    store_list_move(group, &q->waiting);
    store_list_append(&q->waiting, &newer);
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

/* The mutex is held. Rows that are in the journal may wait for others. */
static void gather(struct store_queue *q)
{
    struct timespec few = time_after_ms(GATHER_MS), many = time_after_ms(GATHER_MANY_MS);
    bool longer = false;
    while (q->journal && !q->urgent && !q->stop && !store_queue_has_much(q)) {
        if (pthread_cond_timedwait(&q->wake, &q->mutex, longer ? &many : &few) != ETIMEDOUT)
            continue;
        if (longer || q->rows < GATHER_FEW)
            break;
        longer = true;
    }
}

/* Waits for rows; false when there are none and there will be none. */
static bool group_take(struct store_queue *q, struct list *group, int64_t *spender, bool *stop)
{
    pthread_mutex_lock(&q->mutex);
    while (list_empty(&q->waiting) && !q->stop)
        pthread_cond_wait(&q->wake, &q->mutex);
    gather(q);
    store_list_move(&q->waiting, group);
    q->urgent = false;
    *spender = q->spender;
    *stop = q->stop;
    pthread_mutex_unlock(&q->mutex);
    return !list_empty(group);
}

void *store_writer_main(void *ctx)
{
    struct store_queue *q = ctx;
    struct list group;
    int64_t delay_ms = RETRY_FIRST_MS;
    int last_attempts = CLOSE_ATTEMPTS;
    int64_t spender;
    bool stop;
    while (group_take(q, &group, &spender, &stop)) {
        struct error err = {0};
        int rc = store_group_write(q->backend, q->chain, q->journal, spender, &group, &q->committed, &err);
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
