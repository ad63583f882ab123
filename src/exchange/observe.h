/* What is seen of an exchange: its part of the metrics, its line of the access log and its
 * trace. Hooks only: nothing
 * here changes what happens.
 *
 *   begin --> decided --> (waited | failed | retried | hedged)* --> piece* --> settled */
#ifndef WEIR_EXCHANGE_OBSERVE_H
#define WEIR_EXCHANGE_OBSERVE_H

#include "chat/chat.h"
#include "egress/egress.h"
#include "govern/meter.h"
#include "govern/trace.h"

struct exchange;
struct exchange_origin;
struct leg;

struct exchange_seen {
    int64_t started_ns, decided_ns, first_ns, piece_ns; /* by the monotonic clock; 0: not yet */
    struct meter_histogram pieces;                      /* the time between two of them */
    struct access_entry *entry;                         /* NULL: none */
    bool id_given;                                      /* the request id is the client's own text */
    struct trace_context trace;                         /* the client's, else our own */
    bool has_parent, recorded;
    uint64_t root;   /* our span for the request */
    int64_t wall_ns; /* what makes dates of the monotonic clock */
    size_t n_stops;  /* choices that have ended, in that order, and how */
    unsigned char stops[CHAT_ANSWERS_MAX];
};

void observe_begin(struct exchange *x, const struct exchange_origin *origin);
/* A piece of the answer came from the target that answers. */
void observe_piece(struct exchange *x, int64_t now_ns);
void observe_stopped(struct exchange *x, enum chat_stop stop); /* one of its choices */
/* The ids that go to the leg's target; how many. They live in the request's arena. */
size_t observe_headers(const struct leg *leg, struct egress_header out[2]);
/* A client's own id is its text: outside it goes only where it holds nothing that a detector knows. */
bool observe_id_may_leave(const struct exchange *x);
void observe_decided(struct exchange *x);
void observe_waited(const struct leg *leg, bool placed);
void observe_failed(const struct leg *leg); /* its attempt is over */
void observe_opened(const struct leg *leg); /* its target's breaker */
void observe_retried(const struct leg *leg);
void observe_hedged(const struct leg *leg);
void observe_recalled(const struct exchange *x); /* the cache was asked */
void observe_settled(const struct exchange *x, const struct chat_usage *usage);

/* ---- observe_trace.c ---- */
void observe_trace_begin(struct exchange *x, const struct exchange_origin *origin);
struct str observe_trace_parent(const struct leg *leg);
void observe_trace_settled(const struct exchange *x, const struct chat_usage *usage);

#endif
