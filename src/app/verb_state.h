/* Where a verb finds the state: --state, else the configuration's. */
#ifndef WEIR_APP_VERB_STATE_H
#define WEIR_APP_VERB_STATE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "store/store.h"

struct verb_state {
    const char *url, *config; /* --state and --config; NULL: not given */
};

/* Opens it; EXIT_DONE, or the exit code after having said what is wrong. Where `make` is false, a state that
 * is not there yet is an error and is not made. */
int verb_state_open(const struct verb_state *where, bool make, struct store **out);

/* "24h" ago or an ISO time, as milliseconds of the wall clock; NULL changes nothing. False after having said
 * what is wrong. */
bool verb_time(const char *option, const char *text, int64_t *wall_ms);
bool verb_since(const char *text, int64_t *since_ms); /* NULL is 0 */

/* Text from outside on a terminal: control characters come out as '?'. At least `width` columns. */
void verb_print_cell(struct str text, int width);
/* What was gathered, as a line; frees it. Nothing is printed where it could not be gathered whole. */
int verb_print_line(struct buf *text, struct error *err) MUST_USE;

#endif
