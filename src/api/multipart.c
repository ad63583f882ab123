#include "api/multipart.h"

#include <string.h>
#include <strings.h>

enum { BOUNDARY_MOST = 70 };

static bool starts_nocase(struct str s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && strncasecmp(s.data, with, n) == 0;
}

/* The value of a parameter "; name=value" or "; name="value"" of a header; STR_NONE: there is none. */
static struct str parameter(struct str header, const char *name)
{
    size_t n = strlen(name);
    bool quoted = false;
    for (size_t i = 0; i < header.len; i++) {
        quoted ^= header.data[i] == '"' && (i == 0 || header.data[i - 1] != '\\');
        if (quoted || header.data[i] != ';')
            continue;
        struct str rest = str_trim(str_slice(header, i + 1, header.len));
        if (!starts_nocase(rest, name) || rest.len <= n || rest.data[n] != '=')
            continue;
        struct str value = str_slice(rest, n + 1, rest.len);
        if (value.len == 0 || value.data[0] != '"')
            return str_trim(str_slice(value, 0, str_find_char(value, ';')));
        size_t end = 1;
        while (end < value.len && (value.data[end] != '"' || value.data[end - 1] == '\\'))
            end++;
        return str_slice(value, 1, end);
    }
    return STR_NONE;
}

/* The headers of a part; false: they do not say its name. */
static bool headers_read(struct str headers, struct multipart_part *p)
{
    struct str line;
    while (str_split(&headers, '\n', &line)) {
        line = str_trim(line);
        if (!starts_nocase(line, "content-disposition:"))
            continue;
        p->name = parameter(line, "name");
        p->filename = parameter(line, "filename");
    }
    return p->name.len > 0;
}

/* Where the next delimiter ("--BOUNDARY" at the start of a line) begins, or SIZE_MAX. */
static size_t delimiter_find(struct str body, size_t from, struct str boundary)
{
    for (size_t at = from;;) {
        size_t dash = str_find(str_slice(body, at, body.len), STR("--"));
        if (dash == SIZE_MAX)
            return SIZE_MAX;
        dash += at;
        bool begins = dash == 0 || (dash >= 2 && memcmp(body.data + dash - 2, "\r\n", 2) == 0);
        if (begins && str_starts(str_slice(body, dash + 2, body.len), boundary))
            return dash;
        at = dash + 1;
    }
}

int multipart_read(struct str type, struct str body, struct multipart_part parts[MULTIPART_PARTS_MOST],
    size_t *n, struct error *err)
{
    struct str boundary = parameter(type, "boundary");
    *n = 0;
    if (!starts_nocase(type, "multipart/form-data") || boundary.len == 0 || boundary.len > BOUNDARY_MOST)
        return error_set(
            err, ERROR_INVALID, "the body must be multipart/form-data with a boundary, as for a file");
    size_t at = delimiter_find(body, 0, boundary);
    while (at != SIZE_MAX) {
        struct str rest = str_slice(body, at + 2 + boundary.len, body.len);
        if (str_starts(rest, STR("--")))
            return *n > 0 ? 0 : error_set(err, ERROR_INVALID, "the form is empty");
        size_t line = str_find(rest, STR("\r\n")), head = str_find(rest, STR("\r\n\r\n"));
        size_t start = (size_t)(rest.data - body.data) + head + 4;
        size_t next = line == SIZE_MAX || head == SIZE_MAX ? SIZE_MAX : delimiter_find(body, start, boundary);
        if (next == SIZE_MAX || next < start + 2)
            break;
        if (*n == MULTIPART_PARTS_MOST)
            return error_set(err, ERROR_INVALID, "the form has more than %d parts", MULTIPART_PARTS_MOST);
        struct multipart_part *p = &parts[(*n)++];
        *p = (struct multipart_part){.content = str_slice(body, start, next - 2)};
        if (!headers_read(str_slice(rest, line + 2, head), p))
            return error_set(err, ERROR_INVALID, "a part of the form has no name");
        at = next;
    }
    return error_set(err, ERROR_INVALID, "the form is cut off or malformed");
}

const struct multipart_part *multipart_find(const struct multipart_part *parts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(parts[i].name, name))
            return &parts[i];
    return NULL;
}
