/* What weir advise measured, for the files that make it: verb_advise.c (reads), advise.c (judges),
 * advise_print.c. */
#ifndef WEIR_APP_ADVISE_INNER_H
#define WEIR_APP_ADVISE_INNER_H

#include "app/advise.h"
#include "app/config.h"
#include "app/verb_state.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"

enum { ADVISE_SAMPLES = 512 };
struct advise_samples { /* the last ones */
    double at[ADVISE_SAMPLES];
    size_t n;
};

struct advise_kind {
    struct str key; /* route, NUL, task */
    bool is_route;
    int64_t requests, inside, must_stay;
    struct chat_usage fresh, leave_fresh; /* to be computed here: of all, and of those that may leave */
    struct chat_usage unpriced;           /* of those that may leave and whose cost outside is not known */
    int64_t spent, cost;                  /* nano-dollars: paid; and of it for those that may leave */
    struct advise_samples here, there;    /* milliseconds */
};

struct advise_model {
    struct str name;
    bool inside;
    int64_t requests;
    struct advise_samples prefill, decode; /* tokens a second */
    double quality;
    int64_t graded;
};

struct advising {
    struct verb_state where;
    const char *since, *local_name, *cloud_name, *price_text, *quality_file;
    bool json;
    struct advise_assumptions assumed;
    double prefill, decode; /* NaN: not known */
    struct config *config;
    struct router_policy *policy;
    struct govern_price price;
    struct arena *arena;
    struct buf key; /* of the row at hand */
    struct map kinds_by_key, models_by_name;
    struct advise_kind **kinds;
    struct advise_model **models;
    size_t n_kinds, n_models;
    const struct advise_model *local, *cloud; /* NULL: none */
    int64_t first_ms, last_ms;                /* of the requests */
    double days;                              /* that they took; a month is made of at least one */
    struct error err;
};

double advise_median(const struct advise_samples *s); /* NaN: there are none */
/* A table or an object, on standard output. */
int advise_print(const struct advising *x, const struct advise_group *groups, const struct advice *advice);

#endif
