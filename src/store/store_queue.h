/* The queue between those who submit rows and the writer thread, for the files that make it:
 * store_queue.c (what comes in), store_writer.c (the thread), store_group.c (one transaction). */
#ifndef WEIR_STORE_STORE_QUEUE_H
#define WEIR_STORE_STORE_QUEUE_H

#include <pthread.h>

#include "base/limits.h"
#include "store/store_journal.h"

struct store_waiter {
    pthread_cond_t answered;
    bool finished;
    int code;
    int64_t changed;
    struct error err;
};

/* What a loop's thread has submitted since its loop last came to the end of its events: then the journal is
 * written, once for all of it, and whoever asked is told.
 *
 *   asked:  | in the journal (n_kept) | only gathered |
 *
 * A closed queue leaves those to themselves that their loop has yet to call. */
struct store_turn {
    struct store_queue *queue; /* NULL: closed */
    struct store_turn *next;
    struct loop *loop;
    bool posted;
    bool waited; /* for what else had been posted: it mostly submits rows too, and one write serves all */
    struct store_done *asked, *told; /* `told`: a second array, so that whoever is told may ask again */
    size_t n_asked, n_kept, asked_room, told_room;
};

/*   fresh --> waiting --> the writer's group     fresh: only gathered for the journal, always empty without
 */
struct store_queue {
    struct store_backend *backend;
    struct store_chain *chain; /* the writer's */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;   /* the writer has something to do */
    struct list fresh, waiting;
    size_t rows, bytes; /* in either, or being written */
    bool urgent;        /* somebody waits for one of those in `waiting` */
    struct store_turn *turns;
    struct store_journal *journal; /* NULL: none */
    bool journal_fails;
    int64_t spender;   /* under which number costs are summed (store.h) */
    int64_t committed; /* the writer's: number of the journal's last row that the database has */
    int64_t written, failed;
    bool healthy, stop;
};

/* With so much, or where somebody waits, the writer gathers no more. Each group costs a sync and the pages
 * that every group writes (the ends of the tables, the journal's mark, what was spent). */
enum { STORE_GATHER_ROWS = 8192, STORE_GATHER_BYTES = LIMIT_STORE_QUEUE / 4 };

static inline bool store_queue_has_much(const struct store_queue *q)
{
    return q->rows >= STORE_GATHER_ROWS || q->bytes >= STORE_GATHER_BYTES;
}

static inline bool store_row_is_awaited(const struct store_row *row)
{
    return row->done.loop || row->waiter;
}

void *store_writer_main(void *queue);

/* ---- One transaction (store_group.c). ---- */

/* Writes all of them: 0, then each row's `code` and `changed` are its own; or the failure of all. With a
 * journal `committed` then is the number of the last of its rows. */
struct store_chain;
int store_group_write(struct store_backend *b, struct store_chain *chain, const struct store_journal *journal,
    int64_t spender, struct list *group, int64_t *committed, struct error *err) MUST_USE;
/* What a row's own failure means; the rest of its group was committed. */
void store_row_explain(const struct store_row *row, struct error *err);

static inline void store_list_move(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

/* All of `from` behind what `to` has. */
static inline void store_list_append(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#endif
