/* Which of several equal targets a request goes to. Pure.
 *
 *   weighted        by chance, in proportion to the weights
 *   least_busy      the less busy of two taken by chance (Mitzenmacher 2001), in flight over weight
 *   lowest_latency  likewise, by the recent peak of their latency times what they have in flight (Finagle's
 * peak EWMA) prefix          the one that the conversation's beginning hashes to (rendezvous hashing, Thaler
 * and Ravishankar 1998), so that it returns to the server that holds its cache; spills over to its second
 * choice and so on when that one is busier than its share (bounded loads, Mirrokni et al. 2018)
 *
 * Targets whose breaker is open or that have no place come after all others. */
#ifndef WEIR_EXCHANGE_BALANCE_H
#define WEIR_EXCHANGE_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum balance_by { BALANCE_WEIGHTED, BALANCE_LEAST_BUSY, BALANCE_LOWEST_LATENCY, BALANCE_PREFIX };
enum { BALANCE_MOST = 64 };

/* How a target stands at present. */
struct balance_load {
    uint64_t name; /* hash of its name, the same in every process */
    int weight;    /* 1.. */
    int in_flight;
    double latency_ms; /* 0: not known yet */
    bool shut;         /* its breaker is open, or it is full */
    bool taken;        /* not to be chosen: the request was there already */
};

/* An index into `loads`, or SIZE_MAX where all are taken. `prefix`: hash of the conversation's beginning;
 * `random`: any bits. */
size_t balance_choose(
    enum balance_by by, const struct balance_load *loads, size_t n, uint64_t prefix, uint64_t random);

/* A latency that rises at once and falls with a time constant of ten seconds. */
struct balance_ewma {
    double ms;
    int64_t at_ms;
};
void balance_ewma_add(struct balance_ewma *e, double ms, int64_t now_ms);
double balance_ewma_get(const struct balance_ewma *e, int64_t now_ms);

#endif
