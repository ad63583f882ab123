/* Numbers in ascending order, in place. */
#ifndef WEIR_BASE_SORT_H
#define WEIR_BASE_SORT_H

#include <stddef.h>

void sort_doubles(double *values, size_t n); /* no NaN among them */

#endif
