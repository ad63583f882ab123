#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static _Atomic int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

static const char *const names[] = {"debug", "info", "warn", "error"};

void log_set_level_name(const char *name)
{
    for (int level = LOG_DEBUG; name && level <= LOG_ERROR; level++)
        if (strcmp(name, names[level]) == 0)
            log_set_level((enum log_level)level);
}

/* Also those of two bytes, U+0080 to U+009F: terminals obey them too. */
void log_hide_controls(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool two = c == 0xC2 && i + 1 < len && ((unsigned char)text[i + 1] & 0xE0) == 0x80;
        if (two)
            text[i++] = '?';
        if (c < ' ' || c == 0x7F || two)
            text[i] = '?';
    }
}

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    if ((int)level < atomic_load(&threshold))
        return;
    char line[1024], when[32];
    clock_format(clock_wall_ms(), when);
    int used = snprintf(line, sizeof line, "%s %s %s: ", when, names[level], room);
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, fmt, ap);
    va_end(ap);
    size_t len = (size_t)used + (more > 0 ? (size_t)more : 0);
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    log_hide_controls(line, len);
    line[len++] = '\n';
    /* One write per line keeps lines of several threads apart; a log that cannot be written has nobody to
     * tell. */
    if (write(STDERR_FILENO, line, len) < 0)
        return;
}
