/* Server-sent events (WHATWG HTML, 9.2): bytes in, events out.
 *
 *   bytes --> lines (LF, CR or CRLF, split anywhere) --> fields --> event (name, data) at each empty line
 *
 * Comments and the fields `id` and `retry` are dropped; a byte order mark at the start is skipped. Whether
 * data is UTF-8 is for who reads it to see. One event, and one line, has at most `max` bytes. */
#ifndef WEIR_PROVIDER_SSE_H
#define WEIR_PROVIDER_SSE_H

#include "base/buf.h"

/* The spans live during the call. A negative code stops the feed, which returns it. */
typedef int sse_event(void *ctx, struct str name, struct str data, struct error *err);

/* Takes an event that `rest` begins with, if it is one that it knows without reading: its bytes, or 0. */
typedef size_t sse_known(void *ctx, struct str rest);

struct sse {
    struct buf line; /* the part of a line seen so far */
    struct buf data, name;
    struct str held; /* instead of `data`: its only line, where it stands in the bytes that are being fed */
    bool has_data, is_held;
    bool skip_lf; /* the last line ended with CR: a LF right after it belongs to it */
    bool begun;   /* the first line is behind us */
    sse_event *event;
    sse_known *known; /* NULL: none is */
    void *ctx;
};

void sse_init(struct sse *s, size_t max, sse_event *event, void *ctx);
void sse_free(struct sse *s);
int sse_feed(struct sse *s, struct str bytes, struct error *err) MUST_USE;
/* The stream has ended: an event that lacks only its last line ends is delivered too. */
int sse_end(struct sse *s, struct error *err) MUST_USE;

#endif
