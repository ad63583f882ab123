#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = 0;
    if (b->data)
        b->data[0] = '\0';
}

struct str buf_str(const struct buf *b)
{
    return (struct str){b->data, b->len};
}

char *buf_reserve_slow(struct buf *b, size_t len)
{
    if (b->failed)
        return NULL;
    if (len > b->max || b->len > b->max - len) {
        b->failed = ERROR_LIMIT;
        return NULL;
    }
    size_t need = b->len + len + 1;
    if (need > b->capacity) {
        size_t capacity = b->capacity ? b->capacity : 256;
        while (capacity < need) /* small ones in few steps: growing costs more than their room */
            capacity *= capacity < 1024 ? 4 : 2;
        if (capacity > b->max + 1)
            capacity = b->max + 1;
        char *data = realloc(b->data, capacity);
        if (!data) {
            b->failed = ERROR_MEMORY;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
        b->data[b->len] = '\0';
    }
    return b->data + b->len;
}

int buf_append_slow(struct buf *b, const void *data, size_t len)
{
    char *to = buf_reserve(b, len);
    if (!to)
        return b->failed;
    if (len > 0)
        memcpy(to, data, len);
    buf_commit(b, len);
    return 0;
}

int buf_append_decimal(struct buf *b, int64_t value, int places)
{
    char text[48], *at = text + sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    assert(places >= 0 && places < 20);
    for (int i = 0; i < places; i++, rest /= 10)
        *--at = (char)('0' + rest % 10);
    if (places > 0)
        *--at = '.';
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        *--at = '-';
    return buf_append(b, at, (size_t)(text + sizeof text - at));
}

int buf_append_int(struct buf *b, int64_t value)
{
    return buf_append_decimal(b, value, 0);
}

static int vappendf(struct buf *b, const char *fmt, va_list ap)
{
    char most[256]; /* formatted once where it fits, as it does but for texts */
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(most, sizeof most, fmt, ap);
    if (n < 0 && !b->failed)
        b->failed = ERROR_INVALID;
    char *to = n < 0 ? NULL : buf_reserve(b, (size_t)n);
    if (to && (size_t)n < sizeof most)
        memcpy(to, most, (size_t)n);
    else if (to)
        vsnprintf(to, (size_t)n + 1, fmt, again);
    if (to)
        buf_commit(b, (size_t)n);
    va_end(again);
    return b->failed;
}

int buf_appendf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = vappendf(b, fmt, ap);
    va_end(ap);
    return rc;
}

void buf_consume(struct buf *b, size_t count)
{
    assert(count <= b->len);
    if (count == 0)
        return;
    memmove(b->data, b->data + count, b->len - count + 1);
    b->len -= count;
}
