/* Private to the files of the budget: budget.c (a request's way), budget_load.c (what the state says). */
#ifndef WEIR_GOVERN_BUDGET_INNER_H
#define WEIR_GOVERN_BUDGET_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "govern/budget.h"
#include "govern/rate.h"

/* Lives as long as the budget. */
struct budget_account {
    char *name;                 /* as in the map: 'k' and a key's id, 't' and a team's name */
    struct store_limits limits; /* `kind` and `name` point into `name` and to a constant */
    char *models;               /* what limits.models points to */
    bool limited;
    int64_t day;                           /* what follows is of the periods with this day in them */
    int64_t start[PERIODS];                /* their first days */
    int64_t own[PERIODS], others[PERIODS]; /* by this process and by others */
    int64_t reading[PERIODS];              /* will be `others`, while all of it is read */
    int64_t reserved;
    struct rate requests, tokens;
    int64_t in_flight;
};

/* What a row said when it was read last. */
struct budget_seen {
    int64_t id, nano_usd;
};

struct budget {
    struct store *store;
    pthread_mutex_t mutex; /* guards all up to `limited` */
    struct map by_name;
    struct budget_account **accounts;
    size_t n, room;
    struct budget_account *everyone;
    int64_t day;      /* today */
    size_t n_limited; /* accounts with limits */
    /* The reader's. */
    pthread_mutex_t refresh;   /* one at a time */
    int64_t changes;           /* of the store when the limits were read */
    int64_t loaded_day;        /* when all that was spent was read; INT64_MIN: not yet, or to be read again */
    int64_t mark;              /* of the store: what was written since then is read next */
    struct map by_row;         /* of `seen` */
    struct budget_seen **seen; /* others' rows that may still change */
    size_t n_seen, seen_room;
    int64_t spender; /* our own rows, which are not read; below 0: none are */
    bool failing;
    pthread_t thread;
    bool has_thread, stop;
    pthread_cond_t wake; /* with `refresh` */
};

/* The mutex is held by the callers of these. */
struct budget_account *budget_account_of(
    struct budget *b, char kind, struct str name); /* made where it is not there */
void budget_day_set(struct budget *b, int64_t day);
void budget_roll(const struct budget *b, struct budget_account *a); /* periods that are over begin anew */

#endif
