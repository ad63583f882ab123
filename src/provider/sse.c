#include "provider/sse.h"

#include <string.h>

void sse_init(struct sse *s, size_t max, sse_event *event, void *ctx)
{
    *s = (struct sse){.event = event, .ctx = ctx};
    buf_init(&s->line, max);
    buf_init(&s->data, max);
    buf_init(&s->name, 256);
}

void sse_free(struct sse *s)
{
    buf_free(&s->line);
    buf_free(&s->data);
    buf_free(&s->name);
}

static int dispatch(struct sse *s, struct error *err)
{
    int rc = 0;
    if (s->has_data) {
        rc = str_utf8_valid(buf_str(&s->data))
                 ? s->event(s->ctx, buf_str(&s->name), buf_str(&s->data), err)
                 : error_set(err, ERROR_INVALID, "an event of the stream is not valid UTF-8");
    }
    buf_clear(&s->data);
    buf_clear(&s->name);
    s->has_data = false;
    return rc;
}

static int too_big(struct error *err, size_t max)
{
    return error_set(err, ERROR_LIMIT, "an event of the stream is larger than %zu bytes", max);
}

static int take_field(struct sse *s, struct str field, struct str value, struct error *err)
{
    if (str_is(field, "data")) {
        if (s->has_data)
            buf_append_char(&s->data, '\n');
        s->has_data = true;
        if (buf_append_str(&s->data, value))
            return too_big(err, s->data.max);
    } else if (str_is(field, "event")) {
        buf_clear(&s->name);
        if (buf_append_str(&s->name, value))
            return error_set(err, ERROR_LIMIT, "the name of an event of the stream is too long");
    }
    return 0;
}

static int take_line(struct sse *s, struct str line, struct error *err)
{
    if (!s->begun && str_starts(line, STR("\xEF\xBB\xBF")))
        line = str_slice(line, 3, line.len);
    s->begun = true;
    if (line.len == 0)
        return dispatch(s, err);
    size_t colon = str_find_char(line, ':');
    if (colon == 0) /* a comment */
        return 0;
    struct str field = str_slice(line, 0, colon); /* slices clamp: no colon means the whole line */
    struct str value = colon == SIZE_MAX ? STR_NONE : str_slice(line, colon + 1, line.len);
    if (value.len > 0 && value.data[0] == ' ')
        value = str_slice(value, 1, value.len);
    return take_field(s, field, value, err);
}

static size_t line_length(struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.data[i] == '\n' || bytes.data[i] == '\r')
            return i;
    return SIZE_MAX;
}

int sse_feed(struct sse *s, struct str bytes, struct error *err)
{
    int rc = 0;
    while (bytes.len > 0 && rc == 0) {
        if (s->skip_lf && bytes.data[0] == '\n')
            bytes = str_slice(bytes, 1, bytes.len);
        s->skip_lf = false;
        if (bytes.len == 0)
            break;
        size_t end = line_length(bytes);
        if (end == SIZE_MAX)
            return buf_append_str(&s->line, bytes) ? too_big(err, s->line.max) : 0;
        struct str line = str_slice(bytes, 0, end);
        if (s->line.len > 0) {
            if (buf_append_str(&s->line, line))
                return too_big(err, s->line.max);
            line = buf_str(&s->line);
        }
        s->skip_lf = bytes.data[end] == '\r';
        bytes = str_slice(bytes, end + 1, bytes.len);
        rc = take_line(s, line, err);
        buf_clear(&s->line);
    }
    return rc;
}

int sse_end(struct sse *s, struct error *err)
{
    int rc = s->line.len > 0 ? take_line(s, buf_str(&s->line), err) : 0;
    buf_clear(&s->line);
    return rc ? rc : dispatch(s, err);
}
