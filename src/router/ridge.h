/* Least squares with a ridge (Hoerl and Kennard 1970): y = constant + sum of weight x input. Pure. */
#ifndef WEIR_ROUTER_RIDGE_H
#define WEIR_ROUTER_RIDGE_H

#include <stddef.h>

enum { RIDGE_INPUTS = 24 };

struct ridge_point {
    double x[RIDGE_INPUTS], y;
    size_t fold; /* of a cross-validation */
};
struct ridge {
    double constant, weight[RIDGE_INPUTS];
};

/* To the points outside the fold `but`. `hold`: how strongly each of the `n_inputs` is held back, over 0;
 * INFINITY: it is not used. */
void ridge_fit(const struct ridge_point *p, size_t n, size_t but, const double *hold, size_t n_inputs,
    struct ridge *out);
double ridge_value(const struct ridge *r, const double *x, size_t n_inputs);

#endif
