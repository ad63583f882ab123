#include "base/arena.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 8192, ALIGN = alignof(max_align_t) };

struct block {
    struct block *older;
    size_t size, used;
    alignas(max_align_t) char bytes[];
};

struct deferred {
    struct deferred *older;
    void (*fn)(void *);
    void *ptr;
};

struct arena {
    struct block *newest;
    struct deferred *deferred;
    size_t used, max;
};

struct arena *arena_create(size_t max)
{
    struct arena *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->max = max;
    return a;
}

/* ---- Blocks of the usual size serve again: a request takes a few, and malloc is slow at such. ---- */

enum { SPARES = 32 };

/* Under these what is used too late is to be seen. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SPARES_KEPT false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SPARES_KEPT false
#endif
#endif
#ifndef SPARES_KEPT
#define SPARES_KEPT true
#endif

struct spares {
    struct block *first;
    size_t n;
};

static pthread_key_t spares_key; /* each thread's own */
static pthread_once_t spares_once = PTHREAD_ONCE_INIT;
static _Thread_local struct spares *spares;

static void spares_free(void *ptr)
{
    struct spares *of = ptr;
    for (struct block *b = of->first, *older; b; b = older) {
        older = b->older;
        free(b);
    }
    free(of);
    spares = NULL;
}

static void spares_init(void)
{
    if (pthread_key_create(&spares_key, spares_free) != 0)
        abort();
}

static void block_free(struct block *b)
{
    if (SPARES_KEPT && b->size == BLOCK_SIZE && !spares) {
        pthread_once(&spares_once, spares_init);
        spares = calloc(1, sizeof *spares);
        if (spares && pthread_setspecific(spares_key, spares) != 0)
            abort();
    }
    if (b->size != BLOCK_SIZE || !spares || spares->n == SPARES) {
        free(b);
        return;
    }
    b->older = spares->first;
    spares->first = b;
    spares->n++;
}

static struct block *block_create(size_t capacity)
{
    struct block *b = capacity == BLOCK_SIZE && spares ? spares->first : NULL;
    if (b) {
        spares->first = b->older;
        spares->n--;
        return b;
    }
    return capacity < SIZE_MAX - sizeof *b ? malloc(sizeof *b + capacity) : NULL;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct deferred *d = a->deferred; d; d = d->older)
        d->fn(d->ptr);
    for (struct block *b = a->newest; b;) {
        struct block *older = b->older;
        block_free(b);
        b = older;
    }
    free(a);
}

static struct block *block_add(struct arena *a, size_t size)
{
    size_t capacity = size > BLOCK_SIZE / 4 ? size : BLOCK_SIZE;
    struct block *b = block_create(capacity);
    if (!b)
        return NULL;
    b->size = capacity;
    b->used = 0;
    /* A large allocation gets a block of its own behind the newest, whose free room stays in use. */
    if (capacity == size && a->newest) {
        b->older = a->newest->older;
        a->newest->older = b;
    } else {
        b->older = a->newest;
        a->newest = b;
    }
    return b;
}

/* Room whose bytes are the caller's to set. */
static void *room_take(struct arena *a, size_t bytes)
{
    if (bytes > a->max - a->used)
        return NULL;
    size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (rounded < bytes)
        return NULL;
    if (rounded == 0)
        rounded = ALIGN;
    struct block *b = a->newest;
    if (!b || b->size - b->used < rounded) {
        b = block_add(a, rounded);
        if (!b)
            return NULL;
    }
    void *p = b->bytes + b->used;
    b->used += rounded;
    a->used += bytes;
    return p;
}

void *arena_try_alloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *p = room_take(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p = arena_try_alloc(a, 1, size);
    if (!p)
        abort();
    return p;
}

int arena_try_copy(struct arena *a, struct str s, struct str *out)
{
    char *p = s.len < SIZE_MAX ? room_take(a, s.len + 1) : NULL;
    if (!p)
        return ERROR_MEMORY;
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    p[s.len] = '\0';
    *out = (struct str){p, s.len};
    return 0;
}

char *arena_strdup(struct arena *a, struct str s)
{
    struct str copy;
    if (arena_try_copy(a, s, &copy))
        abort();
    return (char *)copy.data;
}

struct str arena_copy(struct arena *a, struct str s)
{
    return (struct str){arena_strdup(a, s), s.len};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    char small[128]; /* most are: only what is longer is written out twice */
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(p, small, (size_t)n);
    else
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct str){p, (size_t)n};
}

void arena_defer(struct arena *a, void (*fn)(void *), void *ptr)
{
    struct deferred *d = arena_alloc(a, sizeof *d);
    *d = (struct deferred){a->deferred, fn, ptr};
    a->deferred = d;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
