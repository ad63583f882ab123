/* Letters and digits of ASCII, whatever the locale, and what else is written as %XX. */
#ifndef WEIR_BASE_ASCII_H
#define WEIR_BASE_ASCII_H

#include "base/buf.h"

static inline bool ascii_is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Of a path: what is no unreserved character (RFC 3986, 2.3), nor one of `plain_too`, as %XX. */
void ascii_escape(struct buf *out, struct str text, const char *plain_too);

#endif
