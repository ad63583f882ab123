/* The calendar of budgets, in days since 1970-01-01, UTC: a day from midnight, a week from Monday (ISO 8601),
 * a month from its first day. Pure. */
#ifndef WEIR_GOVERN_PERIOD_H
#define WEIR_GOVERN_PERIOD_H

#include "base/str.h"

/* In the order of store_limits.usd. */
enum period { PERIOD_TOTAL, PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIODS };

const char *period_name(enum period p);              /* "total", "day", "week", "month" */
bool period_from(struct str name, enum period *out); /* the same */
int64_t period_day(int64_t wall_ms);                 /* the day of a time */
int64_t period_start(enum period p, int64_t day);    /* its first day; of the total: INT64_MIN */
int64_t period_end_ms(enum period p, int64_t day);   /* when the next one begins; of the total: -1, never */

#endif
