/* The operating log: one line per event on standard error. Never prompt or answer text. */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level); /* default LOG_INFO */
/* "debug", "info", "warn" or "error", as in $WEIR_LOG; anything else, or NULL, changes nothing. */
void log_set_level_name(const char *name);
/* "2026-11-20T12:00:00.123Z warn engine: message"; control characters are written as '?'. Thread-safe. */
void log_write(enum log_level level, const char *room, const char *fmt, ...) PRINTF_LIKE(3, 4) SELDOM;

/* Control characters become '?', for text of strangers on its way to a terminal. */
void log_hide_controls(char *text, size_t len);

#define log_debug(room, ...) log_write(LOG_DEBUG, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...) log_write(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_write(LOG_ERROR, room, __VA_ARGS__)

#endif
