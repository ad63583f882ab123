/* strftime_now: dates in the C locale, UTC. Its own code, because the C library's reads time zone files,
 * which the sandbox forbids. */
#include "engine/worker/template_internal.h"

struct date {
    int64_t year;
    int month, day, hour, minute, second; /* month and day from 1 */
    int weekday, yearday;                 /* from 0; Sunday is 0 */
};

static const char *const day_names[] = {
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December"};

static bool leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days to date: howardhinnant.github.io/date_algorithms.html, civil_from_days. */
static void date_from(int64_t now_s, struct date *d)
{
    int64_t days = now_s / 86400, second = now_s % 86400;
    if (second < 0) {
        second += 86400;
        days--;
    }
    int64_t shifted = days + 719468, era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    d->day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    d->month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    d->year = year_of_era + era * 400 + (d->month <= 2);
    d->hour = (int)(second / 3600);
    d->minute = (int)(second / 60 % 60);
    d->second = (int)(second % 60);
    d->weekday = (int)(((days + 4) % 7 + 7) % 7);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    d->yearday = before[d->month - 1] + d->day - 1 + (d->month > 2 && leap(d->year));
}

/* Week of ISO 8601 and the year it belongs to. */
static int iso_week(const struct date *d, int64_t *year)
{
    int weekday = (d->weekday + 6) % 7; /* Monday is 0 */
    int week = (d->yearday - weekday + 10) / 7;
    *year = d->year;
    if (week == 0) {
        struct date last = *d;
        last.year = *year = d->year - 1;
        last.yearday = d->yearday + (leap(last.year) ? 366 : 365);
        return (last.yearday - weekday + 10) / 7;
    }
    int days = leap(d->year) ? 366 : 365;
    if (week == 53 && d->yearday - weekday + 3 >= days) {
        *year = d->year + 1;
        return 1;
    }
    return week;
}

/* A number with `width` places, filled as the flag says: '-' not at all, '_' spaces, '0' zeros. */
static void put(struct buf *b, int64_t value, int width, char fill, char flag)
{
    if (flag)
        fill = flag == '_' ? ' ' : flag;
    if (fill == '-')
        buf_appendf(b, "%lld", (long long)value);
    else if (fill == ' ')
        buf_appendf(b, "%*lld", width, (long long)value);
    else
        buf_appendf(b, "%0*lld", width, (long long)value);
}

/* The conversions that are numbers; false for others. */
static bool put_number(struct buf *b, const struct date *d, int64_t now_s, char c, char flag)
{
    int64_t iso_year;
    int week = iso_week(d, &iso_year), hour12 = d->hour % 12 ? d->hour % 12 : 12;
    int monday_based = (d->weekday + 6) % 7;
    const struct {
        char name;
        int64_t value;
        int width;
        char fill;
    } numbers[] = {{'Y', d->year, 4, '-'}, {'C', d->year / 100, 2, '0'}, {'y', d->year % 100, 2, '0'},
        {'m', d->month, 2, '0'}, {'d', d->day, 2, '0'}, {'e', d->day, 2, ' '}, {'H', d->hour, 2, '0'},
        {'k', d->hour, 2, ' '}, {'I', hour12, 2, '0'}, {'l', hour12, 2, ' '}, {'M', d->minute, 2, '0'},
        {'S', d->second, 2, '0'}, {'f', 0, 6, '0'}, {'j', d->yearday + 1, 3, '0'}, {'w', d->weekday, 1, '0'},
        {'u', monday_based + 1, 1, '0'}, {'U', (d->yearday + 7 - d->weekday) / 7, 2, '0'},
        {'W', (d->yearday + 7 - monday_based) / 7, 2, '0'}, {'V', week, 2, '0'}, {'G', iso_year, 4, '-'},
        {'g', iso_year % 100, 2, '0'}, {'s', now_s, 1, '-'}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].name == c) {
            put(b, numbers[i].value, numbers[i].width, numbers[i].fill, flag);
            return true;
        }
    return false;
}

/* The conversions that stand for several others. */
static const char *shorthand(char c)
{
    switch (c) {
    case 'c':
        return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x':
        return "%m/%d/%y";
    case 'F':
        return "%Y-%m-%d";
    case 'r':
        return "%I:%M:%S %p";
    case 'R':
        return "%H:%M";
    case 'T':
    case 'X':
        return "%H:%M:%S";
    default:
        return NULL;
    }
}

static void put_text(struct buf *b, const struct date *d, char c, char flag)
{
    const char *name = c == 'p' || c == 'P' ? (d->hour < 12 ? "AM" : "PM") : "";
    bool upper = flag == '^', lower = c == 'P' || (c == 'p' && flag == '#');
    size_t len = 3;
    if (c == 'a' || c == 'A')
        name = day_names[d->weekday];
    else if (c == 'b' || c == 'B' || c == 'h')
        name = month_names[d->month - 1];
    if (c == 'A' || c == 'B' || *name == '\0')
        len = SIZE_MAX;
    for (size_t i = 0; i < len && name[i]; i++) {
        bool small = name[i] >= 'a' && name[i] <= 'z';
        buf_append_char(b, (char)(small && (upper || (flag == '#' && c != 'p')) ? name[i] - 32
                                  : !small && lower                             ? name[i] + 32
                                                                                : name[i]));
    }
}

static void put_all(struct buf *b, const struct date *d, int64_t now_s, struct str format)
{
    for (size_t i = 0; i < format.len; i++) {
        char c = format.data[i], flag = '\0';
        if (c != '%' || i + 1 == format.len) {
            buf_append_char(b, c);
            continue;
        }
        size_t start = i;
        c = format.data[++i];
        while ((c == '-' || c == '_' || c == '0' || c == '^' || c == '#' || c == 'E' || c == 'O') &&
               i + 1 < format.len) {
            flag = c == 'E' || c == 'O' ? flag : c;
            c = format.data[++i];
        }
        const char *several = shorthand(c);
        if (several)
            put_all(b, d, now_s, str_from(several)); /* one level: shorthands name no shorthands */
        else if (c == '%' || c == 'n' || c == 't')
            buf_append_char(b, c == 'n' ? '\n' : c == 't' ? '\t' : '%');
        else if (c == 'a' || c == 'A' || c == 'b' || c == 'B' || c == 'h' || c == 'p' || c == 'P')
            put_text(b, d, c, flag);
        else if (c != 'z' && c != 'Z' && !put_number(b, d, now_s, c, flag)) /* a naive time has no zone */
            buf_append_str(b, str_slice(format, start, i + 1));
    }
}

int tpl_strftime(struct tpl_run *r, struct str format, struct tpl_value *out)
{
    struct date d;
    if (r->now_s > (int64_t)253402300799 || r->now_s < -(int64_t)62135596800)
        return tpl_fail(r, "the time is outside the years 1 to 9999");
    int rc = tpl_spend(r, format.len * 8);
    if (rc)
        return rc;
    date_from(r->now_s, &d);
    size_t mark = tpl_text_begin(r);
    put_all(r->out, &d, r->now_s, format);
    *out = tpl_string(STR_NONE);
    return tpl_text_end(r, mark, &out->s);
}
