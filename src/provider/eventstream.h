/* Amazon's event stream (application/vnd.amazon.eventstream): bytes in, messages out.
 *
 *   total length (4) | headers' length (4) | CRC-32 of these 8 | headers | payload | CRC-32 of all before
 *   a header: length of its name (1), name, type (1), value
 *
 * All numbers are big-endian. Source: the Smithy specification, "Amazon Event Stream". */
#ifndef WEIR_PROVIDER_EVENTSTREAM_H
#define WEIR_PROVIDER_EVENTSTREAM_H

#include "base/buf.h"

/* The headers that say what a message is; empty where it has none. */
struct eventstream_message {
    struct str type;      /* ":message-type": event, exception or error */
    struct str event;     /* ":event-type", ":exception-type" or ":error-code" */
    struct str complaint; /* ":error-message" */
    struct str payload;
};
/* The spans live during the call. A negative code stops the feed, which returns it. */
typedef int eventstream_event(void *ctx, const struct eventstream_message *m, struct error *err);

struct eventstream {
    struct buf waiting; /* the beginning of a message */
    eventstream_event *event;
    void *ctx;
};

/* No message is longer than `max` bytes. */
void eventstream_init(struct eventstream *s, size_t max, eventstream_event *event, void *ctx);
void eventstream_free(struct eventstream *s);
int eventstream_feed(struct eventstream *s, struct str bytes, struct error *err) MUST_USE;
/* The stream has ended: with a whole message? */
int eventstream_end(const struct eventstream *s, struct error *err) MUST_USE;

#endif
