#include "provider/eventstream.h"

#include <stdbool.h>
#include <stdint.h>

enum { PRELUDE = 12, TRAILER = 4, STRING = 7 };

void eventstream_init(struct eventstream *s, size_t max, eventstream_event *event, void *ctx)
{
    *s = (struct eventstream){.event = event, .ctx = ctx};
    buf_init(&s->waiting, max);
}

void eventstream_free(struct eventstream *s)
{
    buf_free(&s->waiting);
}

/* CRC-32 of IEEE 802.3, as gzip has it. */
static uint32_t crc32_of(struct str bytes)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (unsigned char)bytes.data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* A big-endian number of n bytes, which are there. */
static uint32_t number_at(struct str s, size_t at, size_t n)
{
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | (unsigned char)s.data[at + i];
    return value;
}

static int damaged(const char *what, struct error *err)
{
    return error_set(err, ERROR_INVALID, "a message of the event stream is damaged: %s", what);
}

/* ---- Headers ---- */

/* Cuts n bytes off the front. */
static bool take(struct str *rest, size_t n, struct str *out)
{
    if (n > rest->len)
        return false;
    *out = str_slice(*rest, 0, n);
    *rest = str_slice(*rest, n, rest->len);
    return true;
}

static bool take_number(struct str *rest, size_t n, uint32_t *out)
{
    struct str bytes;
    if (!take(rest, n, &bytes))
        return false;
    *out = number_at(bytes, 0, n);
    return true;
}

/* By type: true, false, byte, short, integer, long, bytes, string, time, UUID. */
static bool take_value(struct str *rest, uint32_t type, struct str *value)
{
    static const unsigned char sizes[] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16};
    uint32_t n;
    if (type == STRING || type == STRING - 1)
        return take_number(rest, 2, &n) && take(rest, n, value);
    return type < sizeof sizes && take(rest, sizes[type], value);
}

static void keep(struct eventstream_message *m, struct str name, struct str value)
{
    if (str_is(name, ":message-type"))
        m->type = value;
    else if (str_is(name, ":event-type") || str_is(name, ":exception-type") || str_is(name, ":error-code"))
        m->event = value;
    else if (str_is(name, ":error-message"))
        m->complaint = value;
}

static bool headers_read(struct str headers, struct eventstream_message *m)
{
    while (headers.len > 0) {
        struct str name, value;
        uint32_t length, type;
        if (!take_number(&headers, 1, &length) || !take(&headers, length, &name) ||
            !take_number(&headers, 1, &type) || !take_value(&headers, type, &value))
            return false;
        if (type == STRING)
            keep(m, name, value);
    }
    return str_utf8_valid(m->type) && str_utf8_valid(m->event) && str_utf8_valid(m->complaint);
}

/* ---- Messages ---- */

/* The length of the message that begins here; 0: its prelude is not all there yet. */
static int length_of(const struct eventstream *s, size_t *out, struct error *err)
{
    struct str bytes = buf_str(&s->waiting);
    *out = 0;
    if (bytes.len < PRELUDE)
        return 0;
    if (number_at(bytes, 8, 4) != crc32_of(str_slice(bytes, 0, 8)))
        return damaged("its lengths do not match their checksum", err);
    uint32_t total = number_at(bytes, 0, 4), headers = number_at(bytes, 4, 4);
    if (total < PRELUDE + TRAILER || headers > total - PRELUDE - TRAILER)
        return damaged("its lengths make no sense", err);
    if (total > s->waiting.max)
        return error_set(
            err, ERROR_LIMIT, "a message of the event stream is larger than %zu bytes", s->waiting.max);
    *out = total;
    return 0;
}

static int message_take(struct eventstream *s, struct str bytes, struct error *err)
{
    struct eventstream_message m = {.type = STR_NONE, .event = STR_NONE, .complaint = STR_NONE};
    size_t body = bytes.len - TRAILER, payload = PRELUDE + number_at(bytes, 4, 4);
    if (number_at(bytes, body, 4) != crc32_of(str_slice(bytes, 0, body)))
        return damaged("it does not match its checksum", err);
    if (!headers_read(str_slice(bytes, PRELUDE, payload), &m))
        return damaged("its headers make no sense", err);
    m.payload = str_slice(bytes, payload, body);
    return s->event(s->ctx, &m, err);
}

/* Only as many bytes are taken as the message lacks, so that one is never moved for the next. */
int eventstream_feed(struct eventstream *s, struct str bytes, struct error *err)
{
    while (bytes.len > 0) {
        size_t length;
        int rc = length_of(s, &length, err);
        if (rc)
            return rc;
        size_t wanted = (length > 0 ? length : PRELUDE) - s->waiting.len;
        struct str piece = str_slice(bytes, 0, wanted);
        if (buf_append_str(&s->waiting, piece))
            return error_set(err, s->waiting.failed, "no memory for a message of the event stream");
        bytes = str_slice(bytes, piece.len, bytes.len);
        rc = length_of(s, &length, err);
        if (rc == 0 && length > 0 && s->waiting.len == length) {
            rc = message_take(s, buf_str(&s->waiting), err);
            buf_clear(&s->waiting);
        }
        if (rc)
            return rc;
    }
    return 0;
}

int eventstream_end(const struct eventstream *s, struct error *err)
{
    return s->waiting.len > 0 ? error_set(err, ERROR_INVALID, "the event stream ends inside a message") : 0;
}
