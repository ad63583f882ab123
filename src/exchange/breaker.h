/* A circuit breaker: keeps requests from a target that fails, and finds out when it is well again. Pure; the
 * caller brings the time and holds the lock.
 *
 *              `failures` in a row, or `ratio` of at least BREAKER_LEAST in 30 s
 *     CLOSED ---------------------------------------------------------------------> OPEN <--+
 *        ^                                                                           |      |
 *        |                                  `open` is over, or a probe was answered  |      | it failed:
 *        +--------------------------- HALF_OPEN <------------------------------------+      | open twice as
 * long, its one request went well   |                                             | at most a minute
 *                                             +---------------------------------------------+ */
#ifndef WEIR_EXCHANGE_BREAKER_H
#define WEIR_EXCHANGE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { BREAKER_SPANS = 6, BREAKER_SPAN_MS = 5000, BREAKER_LEAST = 20, BREAKER_OPEN_MOST_MS = 60000 };

struct breaker_policy {
    int failures;    /* in a row; 0: the breaker is off */
    double ratio;    /* of the window's requests */
    int64_t open_ms; /* the first time */
};
#define BREAKER_DEFAULT ((struct breaker_policy){5, 0.5, 5000})

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };
enum breaker_result { BREAKER_OK, BREAKER_FAILED, BREAKER_NEUTRAL /* says nothing: the client left */ };

/* A zeroed one is closed. */
struct breaker {
    enum breaker_state state;
    int in_a_row;
    bool trying; /* HALF_OPEN: its one request is under way */
    int64_t until_ms, open_ms;
    struct {
        int64_t number; /* which span of time this is */
        int ok, failed;
    } spans[BREAKER_SPANS];
    int64_t opened; /* how often it did */
};

/* May a request go there? In HALF_OPEN the first one may, and no other until breaker_result. */
bool breaker_admit(struct breaker *b, const struct breaker_policy *p, int64_t now_ms);
/* What came of a request, admitted or not. `hold_ms`: what the target asked for (retry-after), or -1. True:
 * it has opened with this. */
bool breaker_result(struct breaker *b, const struct breaker_policy *p, enum breaker_result r, int64_t hold_ms,
    int64_t now_ms);
/* A probe was answered: an open breaker lets a request through now. */
void breaker_answered(struct breaker *b);
/* How far apart probes are: seldom ones come sooner while it is open, for it waits for them. */
int64_t breaker_probe_every(const struct breaker *b, int64_t every_ms);
/* A probe was not: an open breaker lets none through for `hold_ms`, in which the next probe finds out. */
void breaker_missed(struct breaker *b, int64_t hold_ms, int64_t now_ms);
const char *breaker_name(enum breaker_state state);

#endif
