#include "exchange/balance.h"

#include <assert.h>
#include <math.h>

#define DECAY_MS 10000.0
#define SPILL 1.25 /* times its share of what is in flight */

/* SplitMix64's finalizer (Steele et al. 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double unit(uint64_t bits) /* (0, 1) */
{
    return ((double)(bits >> 11) + 0.5) / 9007199254740992.0;
}

static size_t choose_weighted(const struct balance_load *loads, const size_t *open, size_t n, uint64_t random)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)loads[open[i]].weight;
    assert(sum > 0); /* one is open at least, and weighs something */
    uint64_t at = random % sum;
    for (size_t i = 0; i < n; i++) {
        uint64_t weight = (uint64_t)loads[open[i]].weight;
        if (at < weight)
            return open[i];
        at -= weight;
    }
    return open[n - 1];
}

static double cost(enum balance_by by, const struct balance_load *l)
{
    double busy = (l->in_flight + 1.0) / l->weight;
    return by == BALANCE_LOWEST_LATENCY ? busy * l->latency_ms : busy;
}

static size_t choose_of_two(
    enum balance_by by, const struct balance_load *loads, const size_t *open, size_t n, uint64_t random)
{
    if (n == 1)
        return open[0];
    size_t i = (size_t)(random % n), k = (size_t)((random >> 32) % (n - 1));
    k += k >= i;
    double a = cost(by, &loads[open[i]]), b = cost(by, &loads[open[k]]);
    if (a == b) /* nothing is known of them: the less busy */
        return loads[open[i]].in_flight <= loads[open[k]].in_flight ? open[i] : open[k];
    return a < b ? open[i] : open[k];
}

/* Weighted rendezvous: the smallest of -ln(u) / weight. */
static double distance(const struct balance_load *l, uint64_t prefix)
{
    return -log(unit(mix(prefix ^ mix(l->name)))) / l->weight;
}

static size_t choose_prefix(const struct balance_load *loads, const size_t *open, size_t n, uint64_t prefix)
{
    double in_flight = 1, weight = 0;
    size_t best = SIZE_MAX, first = open[0];
    for (size_t i = 0; i < n; i++) {
        in_flight += loads[open[i]].in_flight;
        weight += loads[open[i]].weight;
    }
    for (size_t i = 0; i < n; i++) {
        const struct balance_load *l = &loads[open[i]];
        if (distance(l, prefix) < distance(&loads[first], prefix))
            first = open[i];
        if (l->in_flight + 1 > ceil(SPILL * in_flight * l->weight / weight))
            continue;
        if (best == SIZE_MAX || distance(l, prefix) < distance(&loads[best], prefix))
            best = open[i];
    }
    return best == SIZE_MAX ? first : best;
}

size_t balance_choose(
    enum balance_by by, const struct balance_load *loads, size_t n, uint64_t prefix, uint64_t random)
{
    size_t open[BALANCE_MOST], n_open = 0;
    for (int shut = 0; shut < 2 && n_open == 0; shut++)
        for (size_t i = 0; i < n && n_open < BALANCE_MOST; i++)
            if (!loads[i].taken && loads[i].shut == (shut == 1))
                open[n_open++] = i;
    if (n_open == 0)
        return SIZE_MAX;
    if (by == BALANCE_WEIGHTED)
        return choose_weighted(loads, open, n_open, random);
    if (by == BALANCE_PREFIX)
        return choose_prefix(loads, open, n_open, prefix);
    return choose_of_two(by, loads, open, n_open, random);
}

double balance_ewma_get(const struct balance_ewma *e, int64_t now_ms)
{
    return e->ms * exp(-(double)(now_ms - e->at_ms) / DECAY_MS);
}

void balance_ewma_add(struct balance_ewma *e, double ms, int64_t now_ms)
{
    double old = balance_ewma_get(e, now_ms), kept = exp(-(double)(now_ms - e->at_ms) / DECAY_MS);
    e->ms = ms > old || e->at_ms == 0 ? ms : e->ms * kept + ms * (1 - kept);
    e->at_ms = now_ms;
}
