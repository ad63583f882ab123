/* Memory that is freed together: one arena per request, freed at SETTLE.
 *
 *   struct arena -> newest block -> older block -> ... -> NULL
 *
 * Allocation is a pointer bump; nothing is freed singly. Small allocations abort when the system has no memory;
 * passing `max` bytes in all is an operating error that the fallible calls report. */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include <stdarg.h>

#include "base/error.h"
#include "base/str.h"

struct arena;

/* Never NULL. `max`: bytes all allocations together may take. */
struct arena *arena_create(size_t max);
/* Runs the deferred clean-ups, newest first, and frees everything. NULL is allowed. */
void arena_free(struct arena *a);

/* Zeroed memory for small things of ours (aborts past `max` or without memory). */
void *arena_alloc(struct arena *a, size_t size);
/* Zeroed memory whose size a user decides: NULL past `max`, on overflow or without memory. */
void *arena_try_alloc(struct arena *a, size_t count, size_t size) MUST_USE;
/* NUL-terminated copies; the `try` form for text whose size a user decides. */
char *arena_strdup(struct arena *a, struct str s);
struct str arena_copy(struct arena *a, struct str s);
int arena_try_copy(struct arena *a, struct str s, struct str *out) MUST_USE;
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Calls fn(ptr) when the arena is freed. */
void arena_defer(struct arena *a, void (*fn)(void *), void *ptr);
size_t arena_used(const struct arena *a);

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define arena_try_array(a, type, count) ((type *)arena_try_alloc((a), (count), sizeof(type)))

#endif
