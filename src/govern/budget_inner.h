/* Private to the files of the budget: budget.c (a request's way), budget_load.c (what the state says),
 * budget_lease.c (what this gateway holds where others share the state), budget_rates.c (its part of
 * rates). */
#ifndef WEIR_GOVERN_BUDGET_INNER_H
#define WEIR_GOVERN_BUDGET_INNER_H

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "govern/budget.h"
#include "govern/rate.h"

enum { BUDGET_DAYS = 64 }; /* a month's, and those that a wrong clock said */

struct budget_spent {
    int64_t day, nano_usd;
};

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
    struct budget_spent *days; /* by this process: what `own` is made of again when the clock jumped */
    size_t n_days, days_room;  /* at most BUDGET_DAYS */
    int64_t reserved;
    struct rate requests, tokens;
    int64_t in_flight;
    int64_t parts;    /* of its rates, when they were taken of last */
    int64_t asked_ms; /* its rates, the last time; 0: not for a while */
    int64_t since_ms; /* when that began */
    int64_t sharers;  /* other gateways that are asked for it, too; -1: not known */
    /* Its lease. Of what was granted ever, `own` in all is spent. */
    int64_t granted;
    int64_t low;           /* less than this may still be reserved: it is time to take more */
    int64_t wanted, least; /* by those who wait: together, and the least; while more is taken */
    int64_t rest;          /* what others hold and nobody, as was said this time; INT64_MAX: it was not */
    int64_t rested;        /* `own` in all when it was looked at for having nothing to do */
    bool asked;            /* it is in `asking` */
    bool reviewed;         /* its budget is another than before: what is left over is to be given back */
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
    /* Leases (budget_lease.c). */
    bool shared;            /* there are others, and this process spends: never changes then */
    int64_t others;         /* other gateways that live */
    int64_t lease_until_ms; /* nothing may be reserved after that: others may think us dead */
    struct list waits;      /* of budget_wait, the first come first; guarded by `mutex`, as the rest */
    struct budget_account **asking; /* of which more is to be taken */
    size_t n_asking, asking_room;
    bool lease_work, lease_freed, lease_stop; /* something to ask; something was freed for those who wait */
    pthread_t leaser;
    bool has_leaser, rates_fail;
    bool lease_fails, lease_told; /* its last turn did; the log says so */
    int64_t lease_failed_ms;
    pthread_cond_t lease_wake; /* with `mutex` */
};

/* The mutex is held by the callers of these. */
struct budget_account *budget_account_of(
    struct budget *b, char kind, struct str name); /* made where it is not there */
void budget_day_set(struct budget *b, int64_t day);
void budget_roll(const struct budget *b, struct budget_account *a); /* to the periods of today */
bool budget_has_money(const struct budget_account *a);
/* What is left of its scarcest budget, and that period; INT64_MAX: it has none. */
int64_t budget_rest(const struct budget_account *a, enum period *which);
/* budget_reserve. */
int budget_try(
    const struct budget_ticket *t, int64_t nano_usd, struct budget_refusal *refusal, struct error *err);
/* Says of a level that it has `rest` and not `nano_usd`. */
int budget_too_little(const struct budget_account *a, enum period p, int64_t nano_usd, int64_t rest,
    struct budget_refusal *refusal, int64_t day, struct error *err);
const char *budget_who(const struct budget_account *a, char out[80]); /* "this key", "the team blue" */

/* ---- budget_rates.c ---- */
/* Into how many parts its rates are divided, one of which is this gateway's; what was taken is then of that.
 * The mutex is held. */
int64_t budget_parts(const struct budget *b, struct budget_account *a, int64_t now_ns);
int64_t budget_part(int64_t limit, int64_t parts);                   /* at least 1 */
void budget_asked(const struct budget *b, struct budget_account *a); /* of its rates; the mutex is held */
/* Tells the state what this gateway is asked for, and reads who else is; for so long each is believed. */
void budget_rates_share(struct budget *b, int64_t life_ms);

/* ---- budget_lease.c; the mutex is held ---- */
/* May so much be reserved of what this gateway holds? It then looks whether it is time for more. */
bool budget_lease_has(struct budget *b, struct budget_account *a, int64_t nano_usd);
void budget_lease_spent(struct budget *b, struct budget_account *a);  /* something was reserved */
void budget_lease_freed(struct budget *b);                            /* something was settled */
void budget_lease_review(struct budget *b, struct budget_account *a); /* its budgets changed */
int budget_lease_held(const struct budget *b, const struct budget_account *a, int64_t nano_usd,
    struct budget_refusal *refusal, struct error *err);
/* Without the mutex. */
int budget_lease_start(struct budget *b, struct error *err) MUST_USE;
void budget_lease_stop(struct budget *b); /* gives everything back */

#endif
