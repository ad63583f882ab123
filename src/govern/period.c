#include "govern/period.h"

#include <assert.h>

enum { DAY_MS = 24 * 3600 * 1000 };

static const char *const names[PERIODS] = {"total", "day", "week", "month"};

const char *period_name(enum period p)
{
    return names[p];
}

bool period_from(struct str name, enum period *out)
{
    for (int p = 0; p < PERIODS; p++) {
        *out = (enum period)p;
        if (str_is(name, names[p]))
            return true;
    }
    return false;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t period_day(int64_t wall_ms)
{
    return floor_div(wall_ms, DAY_MS);
}

/* Years here begin in March, so that the leap day is their last; 400 of them have 146097 days. (H. Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms".) */
static int64_t month_start(int64_t day, int64_t *next)
{
    const int64_t march_0 = -719468; /* the first of March of the year 0 */
    int64_t since = day - march_0, era = floor_div(since, 146097), of_era = since - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t first = march_0 + era * 146097 + 365 * year + year / 4 - year / 100; /* of March */
    int64_t month = (5 * (day - first) + 2) / 153;
    bool leap = ((year + 1) % 4 == 0 && (year + 1) % 100 != 0) || (year + 1) % 400 == 0;
    *next = month < 11 ? first + (153 * (month + 1) + 2) / 5 : first + 365 + leap;
    return first + (153 * month + 2) / 5;
}

/* 1970-01-05 was a Monday. */
static int64_t week_start(int64_t day)
{
    return floor_div(day - 4, 7) * 7 + 4;
}

int64_t period_start(enum period p, int64_t day)
{
    int64_t next;
    switch (p) {
    case PERIOD_DAY:
        return day;
    case PERIOD_WEEK:
        return week_start(day);
    case PERIOD_MONTH:
        return month_start(day, &next);
    default:
        return INT64_MIN;
    }
}

int64_t period_end_ms(enum period p, int64_t day)
{
    int64_t next = day + 1;
    if (p == PERIOD_TOTAL)
        return -1;
    if (p == PERIOD_WEEK)
        next = week_start(day) + 7;
    else if (p == PERIOD_MONTH)
        (void)month_start(day, &next);
    return next * DAY_MS;
}
