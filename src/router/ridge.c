#include "router/ridge.h"

#include <math.h>
#include <string.h>

#include "router/calibrate.h"

/* Sums of products around the means, of what is used; the last column is the right side. */
static void sums(const struct ridge_point *p, size_t n, size_t but, const double *hold, size_t n_inputs,
    const double *mean, double a[n_inputs][n_inputs + 1])
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_inputs && p[i].fold != but; k++) {
            double x = p[i].x[k] - mean[k];
            if (isinf(hold[k]))
                continue;
            for (size_t j = 0; j < n_inputs; j++)
                a[k][j] += isinf(hold[j]) ? 0 : x * (p[i].x[j] - mean[j]);
            a[k][n_inputs] += x * (p[i].y - mean[n_inputs]);
        }
    for (size_t k = 0; k < n_inputs; k++)
        a[k][k] += isinf(hold[k]) ? 1 : hold[k];
}

void ridge_fit(
    const struct ridge_point *p, size_t n, size_t but, const double *hold, size_t n_inputs, struct ridge *out)
{
    double mean[RIDGE_INPUTS + 1] = {0}, a[n_inputs][n_inputs + 1], count = 0;
    memset(a, 0, sizeof a);
    *out = (struct ridge){0};
    for (size_t i = 0; i < n; i++) {
        if (p[i].fold == but)
            continue;
        count++;
        for (size_t k = 0; k < n_inputs; k++)
            mean[k] += p[i].x[k];
        mean[n_inputs] += p[i].y;
    }
    for (size_t k = 0; k <= n_inputs; k++)
        mean[k] /= count > 0 ? count : 1;
    sums(p, n, but, hold, n_inputs, mean, a);
    calibrate_solve((int)n_inputs, a, out->weight);
    out->constant = mean[n_inputs];
    for (size_t k = 0; k < n_inputs; k++)
        out->constant -= out->weight[k] * mean[k];
}

double ridge_value(const struct ridge *r, const double *x, size_t n_inputs)
{
    double sum = r->constant;
    for (size_t k = 0; k < n_inputs; k++)
        sum += r->weight[k] * x[k];
    return sum;
}
