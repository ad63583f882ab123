/* libFuzzer: Amazon's event stream. The first byte says whether the rest is the stream itself, or messages
 * whose lengths and checksums are made here, so that what lies behind the checksums is reached too:
 *
 *   what kind it is (1) | its type, ended by '\n' | the payload, ended by '\n'          and so on
 *
 * What begins as an object is a whole answer.
 *
 * Held for every input: START first, one last event and nothing after it, the same events however it is cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "provider/dialect.h"

struct watch {
    uint64_t hash;
    size_t events;
    int last;
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct watch *w = ctx;
    must(w->last == 0, "an event after the last");
    must(w->events++ > 0 || e->kind == CHAT_EVENT_START || e->kind == CHAT_EVENT_ERROR,
        "the first is no START");
    w->hash = (w->hash ^ e->kind) * 0x100000001b3u;
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING)
        w->hash = (w->hash ^ str_hash(e->text)) * 0x100000001b3u;
    w->last = e->kind == CHAT_EVENT_STOP || e->kind == CHAT_EVENT_ERROR;
}

static struct watch translate(const char *type, struct str bytes, size_t step)
{
    struct watch w = {.hash = 0xcbf29ce484222325u};
    struct provider_answer a;
    provider_answer_init(&a, STR("cloud"), STR(""), provider_bedrock_event, (struct chat_sink){on_event, &w});
    provider_answer_content_type(&a, str_from(type));
    for (size_t at = 0; at < bytes.len; at += step)
        provider_answer_feed(&a, str_slice(bytes, at, at + step));
    provider_answer_finish(&a, 0, NULL);
    provider_answer_free(&a);
    must(w.last == 1, "no last event");
    return w;
}

static void number(struct buf *b, size_t n)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_append_char(b, (char)(n >> shift & 0xff));
}

static void checksum(struct buf *b, size_t from)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = from; i < b->len; i++) {
        crc ^= (unsigned char)b->data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    number(b, ~crc);
}

static void header(struct buf *b, struct str name, struct str value)
{
    buf_append_char(b, (char)name.len);
    buf_append_str(b, name);
    buf_append_char(b, 7);
    buf_append_char(b, 0);
    buf_append_char(b, (char)(value.len & 0x7f));
    buf_append_str(b, str_slice(value, 0, value.len & 0x7f));
}

static void message(struct buf *out, char kind, struct str type, struct str payload)
{
    struct buf headers;
    size_t from = out->len;
    buf_init(&headers, 4 * KIB);
    header(&headers, STR(":message-type"), kind & 1 ? STR("exception") : STR("event"));
    header(&headers, kind & 1 ? STR(":exception-type") : STR(":event-type"), type);
    number(out, 16 + headers.len + payload.len);
    number(out, headers.len);
    checksum(out, from);
    buf_append_str(out, buf_str(&headers));
    buf_append_str(out, payload);
    checksum(out, from);
    buf_free(&headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf made;
    if (size < 2)
        return 0;
    buf_init(&made, 16 * MIB);
    struct str rest = {(const char *)data + 1, size - 1}, type, payload, bytes = rest;
    if (data[0] & 1) {
        while (rest.len > 1) {
            char kind = rest.data[0];
            rest = str_slice(rest, 1, rest.len);
            if (!str_split(&rest, '\n', &type))
                break;
            if (!str_split(&rest, '\n', &payload))
                payload = STR_NONE;
            message(&made, kind, type, payload);
        }
        bytes = buf_str(&made);
    }
    const char *content =
        str_starts(bytes, STR("{")) ? "application/json" : "application/vnd.amazon.eventstream";
    struct watch whole = translate(content, bytes, bytes.len ? bytes.len : 1);
    struct watch cut = translate(content, bytes, (size_t)(data[0] >> 1) + 1);
    must(whole.hash == cut.hash && whole.events == cut.events, "a cut changes the events");
    buf_free(&made);
    return 0;
}
