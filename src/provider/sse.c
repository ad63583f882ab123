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
    struct str data = s->is_held ? s->held : buf_str(&s->data);
    if (s->has_data)
        rc = s->event(s->ctx, buf_str(&s->name), data, err);
    buf_clear(&s->data);
    buf_clear(&s->name);
    s->has_data = s->is_held = false;
    return rc;
}

/* The bytes it stands in go. */
static void held_copy(struct sse *s)
{
    if (s->is_held)
        buf_append_str(&s->data, s->held); /* which is within the bound */
    s->is_held = false;
}

static int too_big(struct error *err, size_t max)
{
    return error_set(err, ERROR_LIMIT, "an event of the stream is larger than %zu bytes", max);
}

static int take_field(struct sse *s, struct str field, struct str value, struct error *err)
{
    if (str_is(field, "data") && !s->has_data) {
        s->has_data = s->is_held = true;
        s->held = value;
        if (value.len > s->data.max)
            return too_big(err, s->data.max);
    } else if (str_is(field, "data")) {
        held_copy(s);
        buf_append_char(&s->data, '\n');
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

/* The first `c` from `at` on, or `end`. `found` is what it was before: looked for again only once it is
 * passed. */
static const char *next_of(char c, const char *found, const char *at, const char *end)
{
    if (found && found >= at)
        return found;
    found = memchr(at, c, (size_t)(end - at));
    return found ? found : end;
}

/* A line, its beginning in s->line where it came in pieces. */
static int line_end(struct sse *s, struct str line, struct error *err)
{
    if (s->line.len == 0)
        return take_line(s, line, err);
    if (buf_append_str(&s->line, line))
        return too_big(err, s->line.max);
    int rc = take_line(s, buf_str(&s->line), err);
    held_copy(s);
    buf_clear(&s->line);
    return rc;
}

/* How many bytes are events that are known without reading them: only where one ends does another begin. */
static size_t known_take(struct sse *s, const char *at, const char *end)
{
    const char *begin = at;
    size_t n = s->known && s->begun && s->line.len == 0 && !s->has_data && s->name.len == 0;
    while (n > 0 && (n = s->known(s->ctx, (struct str){at, (size_t)(end - at)})) > 0)
        at += n;
    return (size_t)(at - begin);
}

int sse_feed(struct sse *s, struct str bytes, struct error *err)
{
    const char *at = bytes.data, *end = at + bytes.len, *lf = NULL, *cr = NULL;
    int rc = 0;
    while (at < end && rc == 0) {
        at += s->skip_lf && *at == '\n';
        s->skip_lf = false;
        at += known_take(s, at, end);
        lf = next_of('\n', lf, at, end);
        cr = next_of('\r', cr, at, end);
        const char *stop = lf < cr ? lf : cr;
        struct str line = {at, (size_t)(stop - at)};
        if (stop == end) {
            rc = buf_append_str(&s->line, line) ? too_big(err, s->line.max) : 0;
            break;
        }
        s->skip_lf = *stop == '\r';
        at = stop + 1;
        rc = line_end(s, line, err);
    }
    held_copy(s);
    return rc;
}

int sse_end(struct sse *s, struct error *err)
{
    int rc = s->line.len > 0 ? take_line(s, buf_str(&s->line), err) : 0;
    rc = rc ? rc : dispatch(s, err);
    buf_clear(&s->line);
    return rc;
}
