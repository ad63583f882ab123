/* A growable byte buffer that always names its maximum.
 *
 * The buffer keeps one byte beyond `len` set to NUL, so `data` can be handed to C functions when the content
 * is text. An append that would pass `max` or that cannot get memory leaves the buffer as it was, sets
 * `failed` and returns a negative code; `failed` is sticky so that a run of appends can be checked once at
 * the end. */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

struct buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t capacity;
    size_t max; /* content never grows beyond this many bytes */
    int failed; /* 0, ERROR_LIMIT, ERROR_MEMORY, or ERROR_INVALID for a text that cannot be formatted */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);
void buf_clear(struct buf *b); /* empties it, keeps memory, resets `failed` */
struct str buf_str(const struct buf *b);

int buf_append_slow(struct buf *b, const void *data, size_t len); /* that may need room */
static inline int buf_append(struct buf *b, const void *data, size_t len)
{
    if (b->failed || len == 0 || len >= b->capacity - b->len)
        return buf_append_slow(b, data, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}
static inline int buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.data, s.len);
}
static inline int buf_append_char(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}
static inline int buf_append_text(struct buf *b, const char *nul_terminated)
{
    return buf_append(b, nul_terminated, strlen(nul_terminated));
}
/* Decimal digits: "-7", and with `places` digits after the point "0.25" for 25 and 2. */
int buf_append_int(struct buf *b, int64_t value);
int buf_append_decimal(struct buf *b, int64_t value, int places);
int buf_appendf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *buf_reserve_slow(struct buf *b, size_t len) MUST_USE; /* where there is no room yet */
/* Makes room for `len` more bytes and returns where to write them, or NULL; then buf_commit what was written.
 */
MUST_USE static inline char *buf_reserve(struct buf *b, size_t len)
{
    return b->failed || len >= b->capacity - b->len ? buf_reserve_slow(b, len) : b->data + b->len;
}
static inline void buf_commit(struct buf *b, size_t written)
{
    assert(b->len + written < b->capacity);
    b->len += written;
    b->data[b->len] = '\0';
}
/* Drops `count` bytes from the front. */
void buf_consume(struct buf *b, size_t count);

#endif
