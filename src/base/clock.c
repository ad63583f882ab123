#include "base/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_mono_rough_ms(void)
{
    return read_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}

int64_t clock_wall_rough_ms(void)
{
    return read_ns(CLOCK_REALTIME_COARSE) / 1000000;
}

int64_t clock_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static char *digits_put(char *to, int n, int64_t value, char behind)
{
    for (int i = n; i-- > 0; value /= 10)
        to[i] = (char)('0' + value % 10);
    to[n] = behind;
    return to + n + 1;
}

/* Not by strftime and printf, which take two thousand instructions: some answers say it with each event. */
static void time_put(int64_t wall_s, int places, int64_t fraction, char out[32])
{
    time_t seconds = (time_t)wall_s;
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char *to = digits_put(out, 4, tm.tm_year + 1900, '-');
    to = digits_put(to, 2, tm.tm_mon + 1, '-');
    to = digits_put(to, 2, tm.tm_mday, 'T');
    to = digits_put(to, 2, tm.tm_hour, ':');
    to = digits_put(to, 2, tm.tm_min, ':');
    to = digits_put(to, 2, tm.tm_sec, '.');
    *digits_put(to, places, fraction, 'Z') = '\0';
}

void clock_format(int64_t wall_ms, char out[32])
{
    const int64_t last = 253402300799999; /* of the year 9999 */
    wall_ms = wall_ms < 0 ? 0 : wall_ms > last ? last : wall_ms;
    time_put(wall_ms / 1000, 3, wall_ms % 1000, out);
}

void clock_format_ns(int64_t wall_ns, char out[32])
{
    wall_ns = wall_ns < 0 ? 0 : wall_ns;
    time_put(wall_ns / 1000000000, 9, wall_ns % 1000000000, out);
}

/* Takes exactly `digits` digits off the front. */
static bool take_number(struct str *s, size_t digits, int *out)
{
    *out = 0;
    if (s->len < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (s->data[i] < '0' || s->data[i] > '9')
            return false;
        *out = *out * 10 + (s->data[i] - '0');
    }
    *s = str_slice(*s, digits, s->len);
    return true;
}

static bool take_char(struct str *s, char c)
{
    if (s->len == 0 || s->data[0] != c)
        return false;
    *s = str_slice(*s, 1, s->len);
    return true;
}

/* ".123": milliseconds of however many digits there are. */
static bool take_fraction(struct str *s, int *ms)
{
    int digit, scale = 100;
    if (!take_number(s, 1, &digit))
        return false;
    do {
        *ms += digit * scale;
        scale /= 10;
    } while (take_number(s, 1, &digit));
    return true;
}

/* "", "Z" or "+01:00": minutes east of UTC. */
static bool take_zone(struct str *s, int *minutes)
{
    int hour, minute;
    *minutes = 0;
    if (s->len == 0 || take_char(s, 'Z') || take_char(s, 'z'))
        return true;
    int sign = take_char(s, '+') ? 1 : take_char(s, '-') ? -1 : 0;
    if (sign == 0 || !take_number(s, 2, &hour) || !take_char(s, ':') || !take_number(s, 2, &minute) ||
        hour > 23 || minute > 59)
        return false;
    *minutes = sign * (hour * 60 + minute);
    return true;
}

bool clock_parse(struct str text, int64_t *wall_ms)
{
    struct tm tm = {0};
    int ms = 0, zone = 0;
    if (!take_number(&text, 4, &tm.tm_year) || !take_char(&text, '-') || !take_number(&text, 2, &tm.tm_mon) ||
        !take_char(&text, '-') || !take_number(&text, 2, &tm.tm_mday))
        return false;
    if (take_char(&text, 'T') || take_char(&text, 't') || take_char(&text, ' ')) {
        if (!take_number(&text, 2, &tm.tm_hour) || !take_char(&text, ':') ||
            !take_number(&text, 2, &tm.tm_min) || !take_char(&text, ':') ||
            !take_number(&text, 2, &tm.tm_sec))
            return false;
        if (take_char(&text, '.') && !take_fraction(&text, &ms))
            return false;
        if (!take_zone(&text, &zone))
            return false;
    }
    struct tm given = tm;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t seconds = timegm(&tm); /* normalises: a 31st of February comes back as March */
    if (text.len > 0 || tm.tm_mon + 1 != given.tm_mon || tm.tm_mday != given.tm_mday ||
        tm.tm_hour != given.tm_hour || tm.tm_min != given.tm_min || tm.tm_sec != given.tm_sec)
        return false;
    *wall_ms = ((int64_t)seconds - zone * 60) * 1000 + ms;
    return true;
}

bool clock_parse_duration(struct str text, int64_t *ms)
{
    static const struct str_unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
    return str_to_amount(text, units, sizeof units / sizeof *units, ms);
}

int64_t clock_wall_settled(struct clock_looked *last, int64_t wall_ms, int64_t mono_ms)
{
    const int64_t day_ms = 24 * 3600 * 1000;
    const int64_t expected_ms = last->wall_ms + (mono_ms - last->mono_ms);
    const bool ahead = last->wall_ms != 0 && wall_ms > expected_ms + day_ms;
    *last = (struct clock_looked){wall_ms, mono_ms};
    return ahead ? expected_ms : wall_ms;
}
