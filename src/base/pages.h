/* Memory for numbers that are walked through: on huge pages where it is large and the system has them, for
 * the TLB knows few places at a time. */
#ifndef WEIR_BASE_PAGES_H
#define WEIR_BASE_PAGES_H

#include <stddef.h>

enum { HUGE_PAGE = 2 << 20, PAGES_ALIGN = 64 /* a line of the caches, a vector of AVX-512 */ };

/* `bytes` and what is missing to a whole line or page; not set to anything. Ends with free. NULL: no memory.
 */
void *pages_alloc(size_t bytes);

#endif
