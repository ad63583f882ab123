#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void error_fill(struct error *e, const char *fmt, va_list ap)
{
    int n = vsnprintf(e->message, sizeof e->message, fmt, ap);
    if (n >= (int)sizeof e->message) {
        size_t cut = str_utf8_floor(e->message, sizeof e->message - 1);
        e->message[cut] = '\0';
    }
}

void error_note(struct error *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        e->code = code;
        error_fill(e, fmt, ap);
        va_end(ap);
    }
}

int error_wrap(struct error *e, const char *fmt, ...)
{
    if (!e)
        return ERROR_INTERNAL;
    struct error inner = *e;
    va_list ap;
    va_start(ap, fmt);
    error_fill(e, fmt, ap);
    va_end(ap);
    size_t used = strlen(e->message), room = sizeof e->message - used;
    if (room > 3) {
        memcpy(e->message + used, ": ", 3);
        size_t len = strlen(inner.message), left = room - 3;
        size_t fits = len <= left ? len : str_utf8_floor(inner.message, left);
        memcpy(e->message + used + 2, inner.message, fits);
        e->message[used + 2 + fits] = 0;
    }
    return e->code;
}

const char *error_code_name(int code)
{
    static const char *const names[] = {"none", "invalid", "limit", "memory", "io", "not_found",
        "unsupported", "denied", "timeout", "unavailable", "cancelled", "busy", "internal", "context"};
    return code <= 0 && code > -(int)(sizeof names / sizeof *names) ? names[-code] : "unknown";
}
