#include "exchange/pace.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/sort.h"

#define NEWEST 0.1 /* of a running mean */

void pace_init(struct pace *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
}

void pace_destroy(struct pace *p)
{
    pthread_mutex_destroy(&p->mutex);
}

void pace_copy(struct pace *to, struct pace *from)
{
    pthread_mutex_lock(&from->mutex);
    memcpy(to->first_ms, from->first_ms, sizeof to->first_ms);
    to->n_first = from->n_first;
    to->prefill_ms = from->prefill_ms;
    to->answer_ms = from->answer_ms;
    to->counted = from->counted;
    pthread_mutex_unlock(&from->mutex);
}

static void mean_add(double *mean, double value)
{
    *mean = *mean > 0 ? *mean + NEWEST * (value - *mean) : value;
}

void pace_first_add(struct pace *p, double ms)
{
    pthread_mutex_lock(&p->mutex);
    p->first_ms[p->n_first++ % PACE_SAMPLES] = ms;
    pthread_mutex_unlock(&p->mutex);
}

bool pace_wants_estimate(struct pace *p)
{
    enum { FIRST = 32, OF = 8 };
    unsigned n = atomic_fetch_add_explicit(&p->n_answers, 1, memory_order_relaxed);
    return n < FIRST || n % OF == 0;
}

void pace_answer_add(struct pace *p, const struct pace_answer *a)
{
    int64_t fresh = a->input_tokens - (a->cached_tokens > 0 ? a->cached_tokens : 0);
    pthread_mutex_lock(&p->mutex);
    if (a->prefill_ns > 0 && fresh > 0)
        mean_add(&p->prefill_ms, (double)a->prefill_ns / 1e6 / (double)fresh);
    if (a->total_ms >= 0)
        mean_add(&p->answer_ms, a->total_ms > 0 ? (double)a->total_ms : 1);
    if (a->input_tokens > 0 && a->estimated_tokens > 0)
        mean_add(&p->counted, (double)a->input_tokens / (double)a->estimated_tokens);
    pthread_mutex_unlock(&p->mutex);
}

double pace_first_median(struct pace *p)
{
    double sorted[PACE_SAMPLES];
    pthread_mutex_lock(&p->mutex);
    size_t n = p->n_first < PACE_SAMPLES ? p->n_first : PACE_SAMPLES;
    memcpy(sorted, p->first_ms, n * sizeof *sorted);
    pthread_mutex_unlock(&p->mutex);
    if (n == 0)
        return -1;
    sort_doubles(sorted, n);
    return sorted[n / 2];
}

double pace_tokens(struct pace *p, int64_t estimated)
{
    pthread_mutex_lock(&p->mutex);
    double counted = p->counted;
    pthread_mutex_unlock(&p->mutex);
    return (double)estimated * (counted > 0 ? counted : 1);
}

double pace_predict(struct pace *p, int64_t estimated, double cached, const struct pace_engine *engine)
{
    pthread_mutex_lock(&p->mutex);
    double prefill_ms = p->prefill_ms, answer_ms = p->answer_ms;
    pthread_mutex_unlock(&p->mutex);
    if (!engine || prefill_ms <= 0 || estimated < 0) {
        double first_ms = pace_first_median(p);
        /* Whole answers do not tell when they began: no later than they ended. */
        return first_ms < 0 && answer_ms > 0 ? answer_ms : first_ms;
    }
    double ms = engine->loaded ? 0 : (double)engine->load_ms;
    if (engine->slots > 0 && engine->active >= engine->slots)
        ms += answer_ms * (engine->queued + 1) / engine->slots;
    return ms + pace_tokens(p, estimated) * (1 - cached) * prefill_ms;
}
