/* Local, cloud or hybrid: what the measured requests would cost each way, and when a machine of one's own
 * pays. Pure: verb_advise.c reads the ledger and prints. */
#ifndef WEIR_APP_ADVISE_H
#define WEIR_APP_ADVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* What no ledger tells. */
struct advise_assumptions {
    double hardware_usd, months;       /* a machine's price, and how long it is used */
    double watts, idle_watts, kwh_usd; /* drawn at work and otherwise; price of energy */
    double load;   /* share of its hours that one machine works at most: requests come in heaps */
    double volume; /* requests a month; NaN: as measured */
    double quality_local, quality_cloud,
        tolerance; /* of an evaluation, NaN: none; how much less will do, as a share */
    int64_t least; /* requests of a kind before anything is said of it */
};

enum advise_where { ADVISE_UNKNOWN, ADVISE_LOCAL, ADVISE_CLOUD, ADVISE_HYBRID };

/* Requests of one kind. NaN: unknown. */
struct advise_group {
    struct str route, task;
    int64_t requests, inside, must_stay;
    double spent_usd;          /* what was paid for them */
    double cloud_usd;          /* what those that may leave cost outside */
    double busy_s, leave_busy; /* seconds of a machine that all take; and those that may leave */
    /* what follows */
    double cloud_each, local_each; /* USD a request: of those that may leave; energy */
    enum advise_where where;
    const char *why;
};

struct advice {
    enum advise_where where;
    const char *why;
    double requests;  /* a month */
    double spent_usd; /* a month, as it is */
    double cloud_usd, local_usd,
        mix_usd;                /* a month: all outside that may; all inside; as advised. NaN: unknown */
    double machines, fixed_usd; /* of the local plan; a month's hardware and idling */
    double saved_usd;           /* a month: outside prices less energy, of what is worth answering inside */
    double break_even;          /* requests a month at which a machine pays; infinity: none */
    double pays_months;         /* until its price is back; infinity: never */
};

/* `days`: how long the requests took to come. */
void advise(const struct advise_assumptions *a, struct advise_group *groups, size_t n, double days,
    struct advice *out);

#endif
