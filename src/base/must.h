/* Small allocations of ours do not fail: without memory for them there is nothing sensible left to do. */
#ifndef WEIR_BASE_MUST_H
#define WEIR_BASE_MUST_H

#include <stdlib.h>

/* `p`, or the end of the program when it is NULL: must(calloc(1, sizeof *x)). */
static inline void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

#endif
