#include "base/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

void *pages_alloc(size_t bytes)
{
    const size_t align = bytes < HUGE_PAGE ? PAGES_ALIGN : HUGE_PAGE;
    if (bytes > SIZE_MAX - align)
        return NULL;
    bytes = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, bytes);
    if (p && align == HUGE_PAGE)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* a kernel without them says so, and that is all */
    return p;
}
