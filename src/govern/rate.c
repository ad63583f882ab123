#include "govern/rate.h"

#include <assert.h>

#define MINUTE_NS (INT64_C(60) * 1000000000)

static int64_t clamp(int64_t n)
{
    return n < 0 ? 0 : n < RATE_MOST ? n : RATE_MOST;
}

/* How long the bucket takes to fill by `n`. */
static int64_t fill_ns(int64_t limit, int64_t n)
{
    assert(limit > 0);
    return clamp(n) * MINUTE_NS / clamp(limit);
}

int64_t rate_full_ns(const struct rate *r, int64_t now_ns)
{
    return r->full_ns > now_ns ? r->full_ns - now_ns : 0;
}

int64_t rate_wait_ns(const struct rate *r, int64_t limit, int64_t n, int64_t now_ns)
{
    int64_t over = rate_full_ns(r, now_ns) + fill_ns(limit, n < limit ? n : limit) - MINUTE_NS;
    return over > 0 ? over : 0;
}

void rate_take(struct rate *r, int64_t limit, int64_t n, int64_t now_ns)
{
    r->full_ns = now_ns + rate_full_ns(r, now_ns) + fill_ns(limit, n);
}

void rate_correct(struct rate *r, int64_t limit, int64_t taken, int64_t used)
{
    r->full_ns += fill_ns(limit, used) - fill_ns(limit, taken);
}

void rate_rescale(struct rate *r, int64_t before, int64_t after, int64_t now_ns)
{
    double missing = (double)rate_full_ns(r, now_ns) * (double)before / (double)after;
    r->full_ns = now_ns + (missing < (double)(INT64_MAX / 4) ? (int64_t)missing : INT64_MAX / 4);
}

int64_t rate_room(const struct rate *r, int64_t limit, int64_t now_ns)
{
    int64_t missing = rate_full_ns(r, now_ns);
    return missing >= MINUTE_NS ? 0 : (MINUTE_NS - missing) * clamp(limit) / MINUTE_NS;
}
