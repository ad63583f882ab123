/* How much of something a minute has room for: a bucket that holds a minute's worth and fills evenly (the
 * generic cell rate algorithm, ITU-T I.371, with a minute's burst). So over any time t at most limit x (1 + t
 * / 60 s) is let through. All its state is the instant at which it is full again. Pure: the caller brings the
 * monotonic clock. */
#ifndef WEIR_GOVERN_RATE_H
#define WEIR_GOVERN_RATE_H

#include <stdint.h>

enum { RATE_MOST = 1 << 27 }; /* of a limit, and of what is taken at a time: more counts as this */

struct rate {
    int64_t full_ns;
};

/* 0: there is room for `n` (where it is more than the limit, for what the full bucket holds). Else how long
 * until there is. */
int64_t rate_wait_ns(const struct rate *r, int64_t limit, int64_t n, int64_t now_ns);
/* Takes `n`, room or not: what is missing delays the next. */
void rate_take(struct rate *r, int64_t limit, int64_t n, int64_t now_ns);
/* `taken` turned out to be `used`. */
void rate_correct(struct rate *r, int64_t limit, int64_t taken, int64_t used);
/* The limit is another: what was taken is of `after` where it was of `before` (both in any unit). */
void rate_rescale(struct rate *r, int64_t before, int64_t after, int64_t now_ns);
int64_t rate_room(const struct rate *r, int64_t limit, int64_t now_ns);
int64_t rate_full_ns(const struct rate *r, int64_t now_ns); /* until it is full */

#endif
