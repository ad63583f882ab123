/* Memory for tables that are read at random with every request, as long as the process lives. They stand
 * close together on huge pages, where the system has them (Linux: transparent ones, by madvise): on small
 * ones each look would miss the TLB as well as the caches. */
#ifndef WEIR_BASE_TABLE_H
#define WEIR_BASE_TABLE_H

#include <stddef.h>

/* Zeros, at a multiple of 64; NULL if there is no memory. Never freed. Any thread may call it. */
void *table_alloc(size_t size);

#endif
