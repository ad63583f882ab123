/* Numbers between bounds, digit by digit. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/worker/json_schema_inner.h"

#define MAGNITUDE_MAX 999999999999999999 /* 18 digits */

static void digit_class(struct buf *out, char from, char to)
{
    if (from == to)
        buf_appendf(out, "\"%c\"", from);
    else
        buf_appendf(out, "[%c-%c]", from, to);
}

static void any_digits(struct buf *out, size_t n)
{
    if (n > 0)
        buf_appendf(out, " [0-9]{%zu}", n);
}

static bool all(const char *digits, size_t n, char wanted)
{
    for (size_t i = 0; i < n; i++)
        if (digits[i] != wanted)
            return false;
    return true;
}

/* n digits from `low` on (or, `down`, up to it). */
static void digits_beyond(struct buf *out, const char *low, size_t n, bool down)
{
    char edge = down ? '0' : '9', first = low[0];
    if (all(low, n, edge == '9' ? '0' : '9')) {
        any_digits(out, n);
        return;
    }
    buf_appendf(out, " (\"%c\"", first);
    if (n > 1)
        digits_beyond(out, low + 1, n - 1, down);
    if (first != edge) {
        buf_append_text(out, " | ");
        if (down)
            digit_class(out, edge, (char)(first - 1));
        else
            digit_class(out, (char)(first + 1), edge);
        any_digits(out, n - 1);
    }
    buf_append_text(out, ")");
}

static void digits_between(struct buf *out, const char *low, const char *high, size_t n)
{
    size_t same = 0;
    while (same < n && low[same] == high[same])
        same++;
    if (same > 0)
        buf_appendf(out, " \"%.*s\"", (int)same, low);
    if (same == n)
        return;
    low += same;
    high += same;
    n -= same;
    buf_appendf(out, " (\"%c\"", low[0]);
    if (n > 1)
        digits_beyond(out, low + 1, n - 1, false);
    if (high[0] - low[0] > 1) {
        buf_append_text(out, " | ");
        digit_class(out, (char)(low[0] + 1), (char)(high[0] - 1));
        any_digits(out, n - 1);
    }
    buf_appendf(out, " | \"%c\"", high[0]);
    if (n > 1)
        digits_beyond(out, high + 1, n - 1, true);
    buf_append_text(out, ")");
}

/* Whole numbers low..high, both 0..MAGNITUDE_MAX, without leading zeros; nothing fits where low > high. */
static void magnitude(struct buf *out, int64_t low, int64_t high)
{
    char a[24], b[24];
    bool first = true;
    buf_append_text(out, "(");
    while (low <= high) {
        size_t n = (size_t)snprintf(a, sizeof a, "%" PRId64, low);
        int64_t longest = 9;
        for (size_t i = 1; i < n; i++)
            longest = longest * 10 + 9;
        snprintf(b, sizeof b, "%" PRId64, high < longest ? high : longest);
        buf_append_text(out, first ? "" : " | ");
        digits_between(out, a, b, n);
        first = false;
        low = longest + 1;
    }
    buf_append_text(out, first ? "[])" : ")");
}

struct bounds {
    int64_t low, high;        /* of the value */
    bool low_open, high_open; /* the bound itself is outside (numbers; integers are moved) */
    bool any;                 /* there is a bound */
};

/* One bound as a whole number. */
static int bound_read(const json_t *schema, const char *key, bool integer, bool up, int64_t *out, bool *there,
    struct error *err)
{
    const json_t *value = json_object_get(schema, key);
    *there = value && !json_is_null(value);
    if (!*there)
        return 0;
    if (!json_is_number(value))
        return error_set(err, ERROR_INVALID, "the JSON schema's '%s' must be a number", key);
    double real = json_number_value(value), whole = up ? ceil(real) : floor(real);
    if (whole != real && !integer)
        return error_set(err, ERROR_UNSUPPORTED,
            "the JSON schema's '%s' of a number must be whole to be enforced here: round it or leave it out",
            key);
    if (fabs(whole) > 9e17)
        return error_set(err, ERROR_UNSUPPORTED,
            "the JSON schema's '%s' is too large to be enforced here: leave it out", key);
    *out = json_is_integer(value) ? json_integer_value(value) : (int64_t)whole;
    return 0;
}

static int bounds_read(const json_t *schema, bool integer, struct bounds *b, struct error *err)
{
    int64_t value = 0;
    bool there[4];
    *b = (struct bounds){-MAGNITUDE_MAX, MAGNITUDE_MAX, false, false, false};
    int rc = bound_read(schema, "minimum", integer, true, &b->low, &there[0], err);
    if (rc == 0)
        rc = bound_read(schema, "maximum", integer, false, &b->high, &there[1], err);
    if (rc == 0)
        rc = bound_read(schema, "exclusiveMinimum", integer, false, &value, &there[2], err);
    if (rc == 0 && there[2] && value >= b->low) {
        b->low = integer ? value + 1 : value;
        b->low_open = !integer;
    }
    if (rc == 0)
        rc = bound_read(schema, "exclusiveMaximum", integer, true, &value, &there[3], err);
    if (rc == 0 && there[3] && value <= b->high) {
        b->high = integer ? value - 1 : value;
        b->high_open = !integer;
    }
    b->any = there[0] || there[1] || there[2] || there[3];
    return rc;
}

/* Decimal numbers of one sign, by magnitude. */
static void decimal(struct buf *out, int64_t low, int64_t high, bool low_open, bool high_open)
{
    int64_t from = low_open ? low + 1 : low;
    bool first = true;
    buf_append_text(out, "(");
    if (from < high) {
        magnitude(out, from, high - 1);
        buf_append_text(out, " (\".\" [0-9]{1,16})?");
        first = false;
    }
    if (low_open && low < high) {
        buf_appendf(out, "%s\"%" PRId64 ".\" [0-9]{0,15} [1-9]", first ? "" : " | ", low);
        first = false;
    }
    if (!high_open && (low < high || (low == high && !low_open))) {
        buf_appendf(out, "%s\"%" PRId64 "\" (\".\" \"0\"{1,16})?", first ? "" : " | ", high);
        first = false;
    }
    buf_append_text(out, first ? "[])" : ")");
}

static int64_t least_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int schema_number_write(const json_t *schema, bool integer, struct buf *out, struct error *err)
{
    struct bounds b;
    const json_t *multiple = json_object_get(schema, "multipleOf");
    int rc = bounds_read(schema, integer, &b, err);
    if (rc)
        return rc;
    if (multiple && !(json_number_value(multiple) == 1.0))
        return error_set(err, ERROR_UNSUPPORTED,
            "the JSON schema uses 'multipleOf', which cannot be enforced here: leave it out or name another "
            "model");
    integer = integer || multiple;
    if (!b.any) {
        buf_append_text(out, integer ? "integer" : "number");
        return 0;
    }
    if (integer && (b.low_open || b.high_open)) {
        b.low += b.low_open;
        b.high -= b.high_open;
        b.low_open = b.high_open = false;
    }
    if (b.low > b.high || (b.low == b.high && (b.low_open || b.high_open)))
        return error_set(err, ERROR_INVALID, "the JSON schema's bounds leave no number: correct them");
    bool negative = b.low<0, positive = b.high> 0 || (b.high == 0 && !b.high_open);
    if (negative) {
        buf_append_text(out, "\"-\" ");
        if (integer)
            magnitude(out, b.high < 0 ? -b.high : 1, -b.low);
        else
            decimal(out, b.high < 0 ? -b.high : 0, -b.low, b.high <= 0 && b.high_open, b.low_open);
    }
    if (positive) {
        int64_t low = b.low > 0 ? b.low : 0;
        buf_append_text(out, negative ? " | " : "");
        if (integer)
            magnitude(out, low, least_of(b.high, MAGNITUDE_MAX));
        else
            decimal(out, low, b.high, b.low >= 0 && b.low_open, b.high_open);
    }
    return 0;
}
