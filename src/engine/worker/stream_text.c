#include "engine/worker/stream_text.h"

#include <string.h>

#include "base/limits.h"

static const struct str replacement = STR("\xEF\xBF\xBD");

void stream_text_init(struct stream_text *t, const struct str *stops, size_t n_stops)
{
    *t = (struct stream_text){.stops = stops, .n_stops = n_stops};
    buf_init(&t->held, MIB);
}

void stream_text_free(struct stream_text *t)
{
    buf_free(&t->held);
}

/* Can `next` follow the n >= 1 bytes at `p`, which begin a character? Unicode 15, table 3-7. */
static bool may_follow(const char *p, size_t n, char next)
{
    unsigned char first = (unsigned char)p[0], c = (unsigned char)next;
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    unsigned char low = 0x80, high = 0xBF;
    if (n >= length)
        return false;
    if (n == 1) {
        low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    }
    return c >= low && c <= high;
}

static bool may_begin(char c)
{
    return (unsigned char)c >= 0xC2 && (unsigned char)c <= 0xF4;
}

/* One byte further; whole characters and replacements go to `held`. */
static void push_byte(struct stream_text *t, char c)
{
    if (t->n_raw > 0 && !may_follow(t->raw, t->n_raw, c)) {
        buf_append_str(&t->held, replacement);
        t->n_raw = 0;
    }
    if (t->n_raw > 0 || may_begin(c)) {
        uint32_t code_point;
        t->raw[t->n_raw++] = c;
        if (str_utf8_decode((struct str){t->raw, t->n_raw}, &code_point) > 0) {
            buf_append(&t->held, t->raw, t->n_raw);
            t->n_raw = 0;
        }
    } else if ((unsigned char)c < 0x80) {
        buf_append_char(&t->held, c);
    } else {
        buf_append_str(&t->held, replacement);
    }
}

/* Where the earliest stop string begins, or SIZE_MAX; notes which it is. */
static size_t find_stop(struct stream_text *t)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < t->n_stops; i++) {
        size_t at = str_find(buf_str(&t->held), t->stops[i]);
        if (at < first) {
            first = at;
            t->met = t->stops[i];
        }
    }
    return first;
}

/* Bytes at the end of `text` that could be the beginning of `stop`. */
static size_t overlap(struct str text, struct str stop)
{
    size_t n = stop.len - 1 < text.len ? stop.len - 1 : text.len;
    while (n > 0 && !str_ends(text, str_slice(stop, 0, n)))
        n--;
    return n;
}

static int emit(struct stream_text *t, size_t count, struct buf *out, struct error *err)
{
    if (t->held.failed || (count > 0 && buf_append(out, t->held.data, count)))
        return error_set(err, ERROR_MEMORY, "no memory for the answer: try again later");
    buf_consume(&t->held, count);
    return 0;
}

int stream_text_push(struct stream_text *t, struct str bytes, struct buf *out, struct error *err)
{
    for (size_t i = 0; i < bytes.len; i++)
        push_byte(t, bytes.data[i]);
    size_t stop = find_stop(t);
    if (stop != SIZE_MAX) {
        int rc = emit(t, stop, out, err);
        buf_clear(&t->held);
        t->n_raw = 0;
        return rc ? rc : 1;
    }
    size_t keep = 0;
    for (size_t i = 0; i < t->n_stops; i++) {
        size_t n = overlap(buf_str(&t->held), t->stops[i]);
        if (n > keep)
            keep = n;
    }
    return emit(t, t->held.len - keep, out, err);
}

int stream_text_finish(struct stream_text *t, struct buf *out, struct error *err)
{
    if (t->n_raw > 0)
        buf_append_str(&t->held, replacement);
    t->n_raw = 0;
    return emit(t, t->held.len, out, err);
}
