#include "engine/worker/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int measure_begin(struct measure *m, int64_t tokens, int32_t n_vocab, struct error *err)
{
    *m = (struct measure){.left = tokens, .n_vocab = n_vocab};
    if (tokens > 0)
        m->row = calloc((size_t)n_vocab, sizeof *m->row);
    return m->row || tokens == 0 ? 0
                                 : error_set(err, ERROR_MEMORY, "no memory for measuring: try again later");
}

void measure_free(struct measure *m)
{
    free(m->row);
    *m = (struct measure){0};
}

/* With x the distance to the largest logit: Z = sum(e^x), and the sum of x e^x beside it. What is farther
 * than `far` adds less than a millionth to what they are used for. */
struct spread {
    float largest;
    int32_t fit; /* tokens that can come at all */
    double sum, weighted;
};

static struct spread spread_of(const float *row, int32_t n)
{
    const float far = -30;
    struct spread s = {.largest = -INFINITY};
    for (int32_t i = 0; i < n; i++) {
        s.fit += row[i] > -INFINITY;
        s.largest = row[i] > s.largest ? row[i] : s.largest;
    }
    for (int32_t i = 0; i < n; i++) {
        const float x = row[i] - s.largest;
        if (!(x > far)) /* a NaN is nothing, too */
            continue;
        const double e = (double)expf(x);
        s.sum += e;
        s.weighted += (double)x * e;
    }
    return s;
}

/* entropy = log Z - sum(x e^x) / Z */
void measure_see(struct measure *m, const float *row)
{
    m->open = false;
    if (m->left == 0)
        return;
    const struct spread s = spread_of(row, m->n_vocab);
    if (s.fit < 2 || !isfinite(s.largest))
        return;
    memcpy(m->row, row, (size_t)m->n_vocab * sizeof *row);
    m->open = true;
    m->largest = (double)s.largest;
    m->log_sum = log(s.sum);
    m->entropy = fmax(0, m->log_sum - s.weighted / s.sum);
}

double measure_logprob(const float *row, int32_t n_vocab, int32_t token)
{
    const struct spread s = spread_of(row, n_vocab);
    if (!isfinite(s.largest) || isnan(row[token]))
        return 0;
    return fmin(0, (double)row[token] - (double)s.largest - log(s.sum));
}

bool measure_of(struct measure *m, int32_t token, double *logprob, double *entropy)
{
    if (!m->open)
        return false;
    m->open = false;
    m->left--;
    *logprob = fmin(0, (double)m->row[token] - m->largest - m->log_sum);
    *entropy = m->entropy;
    return true;
}
