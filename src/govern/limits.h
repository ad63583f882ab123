/* Limits as people and programs write them: "10/day,100/month", {"budget": {"day": 10}, "requests": 60}. The
 * row itself is the store's (store_limits). Money is whole nano-dollars throughout. */
#ifndef WEIR_GOVERN_LIMITS_H
#define WEIR_GOVERN_LIMITS_H

#include "govern/period.h"
#include "json/json.h"
#include "store/store.h"

enum { LIMITS_MODELS_MOST = 4096 }; /* bytes of the names that may be asked for */

/* The team of everyone: its limits are the whole gateway's. */
#define LIMITS_EVERYONE "*"

struct store_limits limits_none(struct str kind, struct str name);

/* "12.50" to nano-dollars; false where that is no amount from 0 to a billion. */
bool limits_usd_read(struct str text, int64_t *nano_usd);
/* "10/day,100/month", "250" (in all) or "none"; takes the place of all budgets there were. */
int limits_budget_read(struct str text, struct store_limits *l, struct error *err) MUST_USE;
void limits_budget_write(const struct store_limits *l, struct buf *out); /* the same; "-" for none */
/* "60" or "none"; `what` names it in errors. */
int limits_count_read(const char *what, struct str text, int64_t *out, struct error *err) MUST_USE;
/* "auto,gpt-4*" (a '*' at the end stands for any), or "all". Points into the text. */
int limits_models_read(struct str text, struct store_limits *l, struct error *err) MUST_USE;
/* May `model` be asked for? */
bool limits_model_allowed(struct str models, struct str model);
/* A team's name: printable, not empty, not over 63 bytes. */
int limits_team_check(struct str name, struct error *err) MUST_USE;

/* Members that are there take the place of what `l` says: budget (as above, a number: in all, or an object of
 * periods and numbers or texts, null: none), requests, tokens, parallel (a number, null: none), models (a
 * list of names, null or ["all"]: all). Strings live in the arena. */
int limits_json_read(
    struct arena *a, const json_t *object, struct store_limits *l, struct error *err) MUST_USE;
/* The members requests, tokens, parallel and models. */
void limits_json_write(const struct store_limits *l, struct json_writer *w);
void limits_usd_write(
    struct json_writer *w, const char *key, int64_t nano_usd); /* a number; negative: null */

#endif
