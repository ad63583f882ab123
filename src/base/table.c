#include "base/table.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/pages.h"

/* What is mapped holds whole huge pages that begin at a multiple of their size; what one table leaves of the
 * last serves the next. */
enum { LINE = 64 };
static char *room;
static size_t left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int room_make(size_t size)
{
    size_t wanted = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    char *mapped = mmap(NULL, wanted + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return -1;
    room = mapped + (0 - (uintptr_t)mapped) % HUGE_PAGE;
    left = wanted;
    (void)madvise(room, wanted, MADV_HUGEPAGE); /* without it all works, more slowly */
    return 0;
}

void *table_alloc(size_t size)
{
    void *out = NULL;
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + LINE - 1) / LINE * LINE;
    pthread_mutex_lock(&lock);
    if (size <= left || room_make(size) == 0) {
        out = room;
        room += size;
        left -= size;
    }
    pthread_mutex_unlock(&lock);
    return out;
}
