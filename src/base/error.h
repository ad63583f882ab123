/* Operating errors: what happened and what to do about it.
 *
 * A fallible function returns 0 or a negative `enum error_code`, takes a `struct error *` last and is marked
 * MUST_USE, so that ignoring it does not compile. Bugs are asserted instead. */
#ifndef WEIR_BASE_ERROR_H
#define WEIR_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
/* Seldom called: what only leads there is taken for unlikely and stands apart from the code that runs. */
#define SELDOM __attribute__((cold))

enum error_code {
    ERROR_NONE = 0,
    ERROR_INVALID = -1,     /* the input is wrong */
    ERROR_LIMIT = -2,       /* the input or a queue is larger than its bound */
    ERROR_MEMORY = -3,      /* a request- or model-sized allocation failed */
    ERROR_IO = -4,          /* a file, socket or database failed */
    ERROR_NOT_FOUND = -5,   /* no such thing */
    ERROR_UNSUPPORTED = -6, /* understood, but not something this build or target can do */
    ERROR_DENIED = -7,      /* a boundary, key or policy forbids it */
    ERROR_TIMEOUT = -8,     /* it took longer than allowed */
    ERROR_UNAVAILABLE = -9, /* down at present; trying elsewhere or later may work */
    ERROR_CANCELLED = -10,  /* the caller asked to stop */
    ERROR_BUSY = -11,       /* too much at once; trying later will work */
    ERROR_INTERNAL = -12,   /* an invariant of ours did not hold */
    ERROR_CONTEXT = -13     /* the prompt is longer than the model's context */
};

struct error {
    int code;
    char message[512]; /* NUL-terminated; one sentence, "what happened: what to do about it" where it can say
                        */
};

/* Fills `e` (which may be NULL) and returns `code`, so that `return error_set(err, ...)` reads well.
 * A message that is too long is cut at a UTF-8 boundary. */
#define error_set(e, code, ...) (error_note((e), (code), __VA_ARGS__), error_is(code))
/* A macro over these two, so that compilers and analysers see which code comes back. `code` has no effects.
 */
void error_note(struct error *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4) SELDOM;
static inline int error_is(int code)
{
    return code;
}

/* Puts "prefix: " before the message already in `e` and returns its code. */
int error_wrap(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3) SELDOM;

/* A stable lower-case name for a code, e.g. "unavailable". */
const char *error_code_name(int code);

#endif
