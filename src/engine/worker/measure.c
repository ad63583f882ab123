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

/* With x the distance to the largest logit: log Z = log sum(e^x), entropy = log Z - sum(x e^x) / Z. What is
 * farther than `far` adds less than a millionth to either. */
void measure_see(struct measure *m, const float *row)
{
    const float far = -30;
    float largest = -INFINITY;
    double sum = 0, weighted = 0;
    int32_t fit = 0;
    m->open = false;
    if (m->left == 0)
        return;
    for (int32_t i = 0; i < m->n_vocab; i++) {
        fit += row[i] > -INFINITY;
        largest = row[i] > largest ? row[i] : largest;
    }
    for (int32_t i = 0; i < m->n_vocab; i++) {
        const float x = row[i] - largest;
        if (!(x > far)) /* a NaN is nothing, too */
            continue;
        const double e = (double)expf(x);
        sum += e;
        weighted += (double)x * e;
    }
    if (fit < 2 || !isfinite(largest))
        return;
    memcpy(m->row, row, (size_t)m->n_vocab * sizeof *row);
    m->open = true;
    m->largest = (double)largest;
    m->log_sum = log(sum);
    m->entropy = fmax(0, m->log_sum - weighted / sum);
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
