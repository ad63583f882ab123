/* How many requests a target has at a time, and who waits for it. Pure; the caller holds the lock.
 *
 *   in_flight < most --> OPEN        waiting < room --> WAIT        else FULL
 *
 * Fair by key (start-time fair queueing, Goyal et al. 1996): each waiter has a ticket; a key's next waiter
 * has the one after its last, so that a key with a hundred requests waits behind itself and not in front of
 * everyone. */
#ifndef WEIR_EXCHANGE_GATE_H
#define WEIR_EXCHANGE_GATE_H

#include <stdint.h>

#include "base/list.h"

enum { GATE_ROOM_MOST = 4096 };

struct gate {
    int most; /* 0: no limit */
    int room; /* how many may wait */
    int in_flight, waiting;
    uint64_t turn;     /* the ticket served last */
    struct list queue; /* of gate_waiter, by ticket */
};

struct gate_waiter {
    struct list link;
    uint64_t key, ticket;
};

enum gate_answer { GATE_OPEN, GATE_WAIT, GATE_FULL };

void gate_init(struct gate *g, int most, int room);
/* OPEN: the caller has a place and must leave it. WAIT: `w` is in the queue until it is given a place or
 * gives up. */
enum gate_answer gate_enter(struct gate *g, struct gate_waiter *w, uint64_t key);
void gate_leave(struct gate *g);
/* The waiter that now has a place, out of the queue; NULL: none can have one. After gate_leave or a change of
 * `most`, until NULL. */
struct gate_waiter *gate_next(struct gate *g);
void gate_give_up(struct gate *g, struct gate_waiter *w);

#endif
