#include "exchange/gate.h"

#include <assert.h>

void gate_init(struct gate *g, int most, int room)
{
    *g = (struct gate){.most = most, .room = room};
    list_init(&g->queue);
}

/* Behind the last of the same key by one turn; then in the order of tickets, equal ones as they came. */
static void queue_add(struct gate *g, struct gate_waiter *w)
{
    struct list *at = g->queue.prev;
    w->ticket = g->turn + 1;
    for (struct list *n = g->queue.prev; n != &g->queue; n = n->prev) {
        const struct gate_waiter *other = list_item(n, struct gate_waiter, link);
        if (other->key == w->key) {
            w->ticket = other->ticket + 1;
            break;
        }
    }
    while (at != &g->queue && list_item(at, struct gate_waiter, link)->ticket > w->ticket)
        at = at->prev;
    list_push_back(at->next, &w->link); /* before the one after `at` */
    g->waiting++;
}

enum gate_answer gate_enter(struct gate *g, struct gate_waiter *w, uint64_t key)
{
    if (g->most == 0 || (g->in_flight < g->most && g->waiting == 0)) {
        g->in_flight++;
        return GATE_OPEN;
    }
    if (g->waiting >= g->room)
        return GATE_FULL;
    w->key = key;
    queue_add(g, w);
    return GATE_WAIT;
}

void gate_leave(struct gate *g)
{
    assert(g->in_flight > 0);
    g->in_flight--;
}

struct gate_waiter *gate_next(struct gate *g)
{
    if (list_empty(&g->queue) || (g->most > 0 && g->in_flight >= g->most))
        return NULL;
    struct gate_waiter *w = list_item(g->queue.next, struct gate_waiter, link);
    list_remove(&w->link);
    g->waiting--;
    g->in_flight++;
    g->turn = w->ticket;
    return w;
}

void gate_give_up(struct gate *g, struct gate_waiter *w)
{
    list_remove(&w->link);
    g->waiting--;
}
