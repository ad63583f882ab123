/* Time. Durations come from the monotonic clock, dates from the wall clock. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

int64_t clock_mono_ns(void);
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* since 1970-01-01 UTC */
/* A tick of the system's behind (1 to 10 ms) and eight times as quick: where seconds count. */
int64_t clock_mono_rough_ms(void);
int64_t clock_wall_rough_ms(void);
int64_t clock_cpu_ns(void); /* that the calling thread has computed */
/* "2026-11-20T12:00:00.123Z" (RFC 3339, UTC, milliseconds); outside 1970 to 9999 the nearest of them. */
void clock_format(int64_t wall_ms, char out[32]);
void clock_format_ns(int64_t wall_ns, char out[32]); /* with nine places; before 1970 that year's beginning */
/* "2026-11-20" or "2026-11-20T12:00:00[.123][Z|+01:00]"; UTC where none is named. False on anything else. */
bool clock_parse(struct str text, int64_t *wall_ms);
/* "250ms", "5s", "10m", "24h", "90d", "2w" to milliseconds. False on anything else. */
bool clock_parse_duration(struct str text, int64_t *ms);

/* For what cannot be undone, and is done now and then: the wall clock, but at the first look after it jumped
 * ahead by more than a day what it would be without that. It may jump back; if it does not, the next look has
 * it. */
struct clock_looked {
    int64_t wall_ms, mono_ms; /* at the last look; 0: there was none */
};
int64_t clock_wall_settled(struct clock_looked *last, int64_t wall_ms, int64_t mono_ms);

#endif
