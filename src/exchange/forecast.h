/* How long answers are likely to be, learned from those that were given.
 *
 *   (key, route) --> route --> all: each a running mean of an answer's tokens and of the share of its prompt
 * that a cache held. Of the first few of a kind the wider kind says more.
 *
 * A table of fixed size: two kinds that meet in a place take it from each other. Thread-safe; shared by all
 * loops, and it outlives a reload. */
#ifndef WEIR_EXCHANGE_FORECAST_H
#define WEIR_EXCHANGE_FORECAST_H

#include <stdint.h>

#include "base/str.h"

struct forecast;

struct forecast *forecast_create(void);
void forecast_free(struct forecast *f); /* NULL is allowed */

/* `route`: the virtual model, or the model that was named. Tokens of one choice; negative ones are unknown
 * and left out. */
struct forecast_answer {
    struct str key_id, route;
    int64_t input_tokens, cached_tokens, output_tokens;
};
void forecast_add(struct forecast *f, const struct forecast_answer *a);

struct forecast_guess {
    double output_tokens; /* of one choice */
    double cached;        /* share of the prompt, 0 to 1 */
};
/* NULL: as one that has seen nothing. */
struct forecast_guess forecast_guess(struct forecast *f, struct str key_id, struct str route);

#endif
