/* How the lines of a request end (RFC 9112, 2.2, 5.2, 7.1). http_parser is lenient: it takes a LF alone for
 * the end of a line, a line that begins with a space for more of the one before, and anything for what ends a
 * chunk. Whoever stands before us may see other lines, and other requests, in such bytes. */
#include <string.h>

#include "http/http_internal.h"

/* All of a line that came now: is nothing of it what it must not be? */
static bool piece_is_good(const struct http_lines *l, const char *at, const char *stop, const char *cr)
{
    if (l->cr) /* the LF is due */
        return at == stop;
    if (cr && cr + 1 < stop)
        return false;
    if (l->body)
        return at == stop || at == cr;
    return l->begun || at == stop || (*at != ' ' && *at != '\t');
}

/* Behind a chunk's size a blank may stand before a ';' only (RFC 9112, 7.1.1). */
static bool size_is_good(struct http_lines *l, const char *at, const char *stop)
{
    for (; l->size && at < stop; at++) {
        if (*at == ';')
            l->size = false;
        else if (*at == ' ')
            l->blank = true;
        else if (l->blank)
            return false;
    }
    return true;
}

/* The head and a chunk's bytes each end in an empty line; a chunk's size stands on the next one. */
static struct http_lines line_after(const struct http_lines *l, bool chunked)
{
    return (struct http_lines){.head = l->head || l->begun, .size = chunked && l->head && !l->begun};
}

bool http_lines_until(struct http_connection *c, const char *end)
{
    struct http_lines *l = &c->lines;
    for (const char *at = c->lines_at; at < end;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at)), *stop = lf ? lf : end;
        const char *cr = memchr(at, '\r', (size_t)(stop - at));
        if (!piece_is_good(l, at, stop, cr) || (lf && !cr && !l->cr) || !size_is_good(l, at, stop))
            return false;
        l->begun = l->begun || (at != stop && at != cr);
        l->cr = cr;
        if (lf)
            *l = line_after(l, c->parser.flags & F_CHUNKED);
        at = stop + (lf != NULL);
    }
    c->lines_at = end;
    return true;
}
