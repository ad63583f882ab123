/* Numbers in ascending order, in place. */
#ifndef WEIR_BASE_SORT_H
#define WEIR_BASE_SORT_H

#include <stddef.h>
#include <stdint.h>

void sort_doubles(double *values, size_t n); /* no NaN among them */
void sort_int64s(int64_t *values, size_t n);

#endif
