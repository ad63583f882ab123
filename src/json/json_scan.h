/* For this room: the words of JSON text (RFC 8259), one after another; what they make is for the callers, a
 * tree in json_parse.c, an array in json_view.c. Nothing is read beyond `end`. */
#ifndef WEIR_JSON_JSON_SCAN_H
#define WEIR_JSON_JSON_SCAN_H

#include <string.h>

#include "base/buf.h"

struct json_scan {
    const char *at, *end;
    size_t depth, values; /* so far; against LIMIT_JSON_DEPTH and `most` */
    size_t most;          /* LIMIT_JSON_VALUES, but for a file that is known to be large */
};

/* The first byte of [at, end) that is not printable ASCII (`high`: or UTF-8), or is a quote or a backslash;
 * what stands before it stands for itself in a string. */
const char *json_plain_end(const char *at, const char *end, bool high);

/* ---- False: the text is not valid there. ---- */

static inline void json_scan_space(struct json_scan *s)
{
    while (s->at < s->end && (unsigned char)*s->at <= ' ' &&
           (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

static inline bool json_scan_word(struct json_scan *s, struct str word)
{
    if ((size_t)(s->end - s->at) < word.len || memcmp(s->at, word.data, word.len) != 0)
        return false;
    s->at += word.len;
    return true;
}

static inline bool json_scan_take(struct json_scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Behind the opening quote; `out` is inside the text or, with escapes, appended to `plain`, whose `max` is
 * the length of the text: no string is longer than it is written, and what stands in `plain` never moves.
 * UTF-8 is not looked at, NUL is refused. */
bool json_scan_string(struct json_scan *s, struct buf *plain, struct str *out);
/* The same of a string without escapes; its closing quote is left. */
bool json_scan_plain_string(struct json_scan *s, struct str *out);
/* `out` is how it is written; `whole`: neither fraction nor exponent. */
bool json_scan_number(struct json_scan *s, struct str *out, bool *whole);
/* One level deeper, by '{' or '['; leave with depth--. */
bool json_scan_enter(struct json_scan *s, char open);
/* A comma and what follows it. */
bool json_scan_comma(struct json_scan *s);

#endif
