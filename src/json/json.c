#include "json/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "json/json_parse.h"
#include "json/json_scan.h"

/* jansson recurses once per level, makes a tree of 2.5 GB from a text of 32 MB ("{},{},...") and passes over
 * a NUL after a number: all are checked before it sees the text. */
static int text_check(struct str text, struct error *err)
{
    size_t depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\0')
            return error_set(err, ERROR_INVALID, "not valid JSON: a NUL byte at offset %zu", i);
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LIMIT_JSON_DEPTH)
                return error_set(
                    err, ERROR_INVALID, "the JSON is nested more than %d levels deep", LIMIT_JSON_DEPTH);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        if (!in_string)
            values += c == '{' ? 8 : c == '[' ? 4 : c == ',';
    }
    if (values > LIMIT_JSON_VALUES)
        return error_set(err, ERROR_INVALID, "the JSON holds too many values: send fewer at once");
    return 0;
}

/* What json_parse did not take: why, in jansson's words. */
static int read_slowly(struct str text, size_t flags, json_t **out, struct error *err)
{
    int rc = text_check(text, err);
    if (rc)
        return rc;
    json_error_t e;
    json_t *root = json_loadb(
        text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &e);
    if (!root) /* jansson's own words name a flag of its */
        return error_set(err, ERROR_INVALID, "not valid JSON at line %d, column %d: %s", e.line, e.column,
            json_error_code(&e) == json_error_null_character ? "a text holds \\u0000, which is not taken here"
                                                             : e.text);
    *out = root;
    return 0;
}

static int text_read(struct str text, size_t flags, json_t **out, struct error *err)
{
    json_t *root = json_parse(text);
    if (!root)
        return read_slowly(text, flags, out, err);
    *out = root;
    return 0;
}

int json_read(struct str text, json_t **out, struct error *err)
{
    return text_read(text, 0, out, err);
}

bool json_is_whole(struct str text)
{
    json_t *value = NULL;
    struct error ignored; /* it only means that there is more to come */
    bool whole = json_read(text, &value, &ignored) == 0;
    json_decref(value);
    return whole;
}

int json_read_nul(struct str text, json_t **out, struct error *err)
{
    return text_read(text, JSON_ALLOW_NUL, out, err);
}

static void tree_free(void *root)
{
    json_decref(root);
}

void json_keep(struct arena *a, json_t *tree)
{
    arena_defer(a, tree_free, tree);
}

int json_read_in(struct arena *a, struct str text, json_t **out, struct error *err)
{
    int rc = json_read(text, out, err);
    if (rc == 0)
        json_keep(a, *out);
    return rc;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

struct str json_str(const json_t *string)
{
    if (!json_is_string(string))
        return STR_NONE;
    return (struct str){json_string_value(string), json_string_length(string)};
}

int json_get_str(const json_t *object, const char *key, struct str *out, struct error *err)
{
    const json_t *value = member(object, key);
    *out = STR_NONE;
    if (!value)
        return 0;
    if (!json_is_string(value))
        return error_set(err, ERROR_INVALID, "'%s' must be a string, not %s", key, type_name(value));
    *out = json_str(value);
    return 0;
}

int json_get_bool(const json_t *object, const char *key, bool fallback, bool *out, struct error *err)
{
    const json_t *value = member(object, key);
    *out = fallback;
    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return error_set(err, ERROR_INVALID, "'%s' must be true or false, not %s", key, type_name(value));
    *out = json_is_true(value);
    return 0;
}

int json_get_int(const json_t *object, const char *key, int64_t fallback, int64_t least, int64_t most,
    int64_t *out, struct error *err)
{
    const json_t *value = member(object, key);
    *out = fallback;
    if (!value)
        return 0;
    if (!json_is_integer(value))
        return error_set(err, ERROR_INVALID, "'%s' must be an integer, not %s", key,
            json_is_real(value) ? "a fraction" : type_name(value));
    int64_t number = json_integer_value(value);
    if (number < least || number > most)
        return error_set(err, ERROR_INVALID, "'%s' must be between %lld and %lld, not %lld", key,
            (long long)least, (long long)most, (long long)number);
    *out = number;
    return 0;
}

int json_get_double(const json_t *object, const char *key, double fallback, double least, double most,
    double *out, struct error *err)
{
    const json_t *value = member(object, key);
    *out = fallback;
    if (!value)
        return 0;
    if (!json_is_number(value))
        return error_set(err, ERROR_INVALID, "'%s' must be a number, not %s", key, type_name(value));
    double number = json_number_value(value);
    if (!(number >= least && number <= most))
        return error_set(
            err, ERROR_INVALID, "'%s' must be between %g and %g, not %g", key, least, most, number);
    *out = number;
    return 0;
}

void json_writer_init(struct json_writer *w, struct buf *buf)
{
    *w = (struct json_writer){buf, false};
}

static void value_begin(struct json_writer *w)
{
    if (w->comma)
        buf_append_char(w->buf, ',');
    w->comma = true;
}

void json_object_begin(struct json_writer *w)
{
    value_begin(w);
    buf_append_char(w->buf, '{');
    w->comma = false;
}

void json_object_end(struct json_writer *w)
{
    buf_append_char(w->buf, '}');
    w->comma = true;
}

void json_array_begin(struct json_writer *w)
{
    value_begin(w);
    buf_append_char(w->buf, '[');
    w->comma = false;
}

void json_array_end(struct json_writer *w)
{
    buf_append_char(w->buf, ']');
    w->comma = true;
}

static void quote_special(struct buf *b, unsigned char c)
{
    static const char names[] = "btn_fr", hex[] = "0123456789abcdef";
    const bool named = c >= '\b' && c <= '\r' && c != '\v', itself = c == '"' || c == '\\';
    char to[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    if (named || itself)
        to[1] = itself ? (char)c : names[c - '\b'];
    buf_append(b, to, named || itself ? 2 : sizeof to);
}

static void quote_escaped(struct buf *b, struct str s)
{
    const bool valid = str_utf8_valid(s); /* then all that is not ASCII stands for itself */
    size_t plain = 0;                     /* start of the run that needs no escaping */
    buf_append_char(b, '"');
    for (size_t i = 0; i < s.len;) {
        i = (size_t)(json_plain_end(s.data + i, s.data + s.len, valid) - s.data);
        if (i == s.len)
            break;
        unsigned char c = (unsigned char)s.data[i];
        uint32_t code_point;
        size_t n = c < 0x80 ? 1 : str_utf8_decode(str_slice(s, i, s.len), &code_point);
        if (n > 0 && c >= ' ' && c != '"' && c != '\\' && c != 0x7f) {
            i += n;
            continue;
        }
        buf_append(b, s.data + plain, i - plain);
        if (n == 0)
            buf_append_text(b, "\xEF\xBF\xBD");
        else
            quote_special(b, c);
        plain = ++i;
    }
    if (s.len > plain)
        buf_append(b, s.data + plain, s.len - plain);
    buf_append_char(b, '"');
}

/* Most texts stand for themselves. */
static void quote(struct buf *b, struct str s)
{
    char *to = buf_reserve(b, s.len + 2);
    if (!to || (s.len > 0 && json_plain_end(s.data, s.data + s.len, false) != s.data + s.len)) {
        quote_escaped(b, s);
        return;
    }
    to[0] = '"';
    if (s.len > 0)
        memcpy(to + 1, s.data, s.len);
    to[s.len + 1] = '"';
    buf_commit(b, s.len + 2);
}

void json_key_str(struct json_writer *w, struct str key)
{
    value_begin(w);
    quote(w->buf, key);
    buf_append_char(w->buf, ':');
    w->comma = false;
}

void json_key_plain(struct json_writer *w, const char *key, size_t len)
{
    char *to = buf_reserve(w->buf, len + 4), *at = to;
    if (!to)
        return;
    if (w->comma)
        *at++ = ',';
    *at++ = '"';
    memcpy(at, key, len);
    at += len;
    *at++ = '"';
    *at++ = ':';
    buf_commit(w->buf, (size_t)(at - to));
    w->comma = false;
}

void json_write_str(struct json_writer *w, struct str value)
{
    value_begin(w);
    quote(w->buf, value);
}

void json_write_text(struct json_writer *w, const char *value)
{
    if (value)
        json_write_str(w, str_from(value));
    else
        json_write_null(w);
}

void json_write_int(struct json_writer *w, int64_t value)
{
    value_begin(w);
    buf_append_int(w->buf, value);
}

/* N / 10^p with few digits, which most reals are: N and 10^p are exact, so the quotient, rounded once, is the
 * very double that a reader of those digits gets (Clinger 1990). */
static bool write_short(struct json_writer *w, double value)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    if (!(fabs(value) < 1e9) || (value == 0 && signbit(value)))
        return false;
    for (int places = 1; places <= 6; places++) {
        long long digits = llround(value * powers[places]);
        if ((double)digits / powers[places] != value)
            continue;
        value_begin(w);
        buf_append_decimal(w->buf, digits, places);
        return true;
    }
    return false;
}

/* The 15 to 17 digits that printf's %g gives, by whole numbers: for the sizes here m * 10^places, with value
 * = m / 2^shift, fits into 128 bits. Digits are enough if they are nearer to the value than half the way to
 * its neighbour, which is 1 / 2^shift away. */
static bool write_long(struct json_writer *w, double value)
{
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
        1000000000, 10000000000, 100000000000, 1000000000000, 10000000000000, 100000000000000,
        1000000000000000, 10000000000000000, 100000000000000000, 1000000000000000000, 10000000000000000000u};
    int exponent, whole = 0; /* digits before the point; negative: zeros behind it */
    const double size = fabs(value);
    if (!(size >= 1e-3 && size < 1e9))
        return false;
    const uint64_t m = (uint64_t)ldexp(frexp(size, &exponent), 53);
    const int shift = 53 - exponent;
    while (whole < 9 && size >= (double)powers[whole])
        whole++;
    if (whole == 0)
        whole = size < 0.01 ? -2 : size < 0.1 ? -1 : 0;
    if ((m & (m - 1)) == 0) /* its lower neighbour is nearer */
        return false;
    for (int digits = 15; digits <= 17; digits++) {
        int places = digits - whole;
        unsigned __int128 scaled = (unsigned __int128)m * powers[places], one = (unsigned __int128)1 << shift;
        unsigned __int128 rest = scaled & (one - 1);
        uint64_t number = (uint64_t)(scaled >> shift);
        bool up = rest > one / 2 || (rest == one / 2 && number & 1);
        if (2 * (up ? one - rest : rest) >= powers[places] && digits < 17)
            continue;
        number += up;
        for (; places > 1 && number % 10 == 0; places--)
            number /= 10;
        value_begin(w);
        buf_append_decimal(w->buf, value < 0 ? -(int64_t)number : (int64_t)number, places);
        break;
    }
    return true;
}

void json_write_double(struct json_writer *w, double value)
{
    if (!isfinite(value)) {
        json_write_null(w);
        return;
    }
    if (write_short(w, value) || write_long(w, value))
        return;
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    value_begin(w);
    buf_append_text(w->buf, text);
    /* A real stays a real, so that 1.0 does not come back as an integer. */
    if (!strpbrk(text, ".e"))
        buf_append_text(w->buf, ".0");
}

/* Digits by whole numbers: a vector has thousands of values. A number of so few digits over an exact power of
 * ten is the very double that a reader gets. */
void json_write_float(struct json_writer *w, float value)
{
    static const double powers[] = {
        1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    const double size = fabs((double)value);
    int places = 1;
    if (!(size >= 1e-5 && size < 1e4)) { /* also what is no number */
        json_write_double(w, (double)value);
        return;
    }
    long long digits = llround(size * powers[places]);
    for (; places < 14 && (float)((double)digits / powers[places]) != fabsf(value); places++)
        digits = llround(size * powers[places + 1]);
    value_begin(w);
    buf_append_decimal(w->buf, value < 0 ? -digits : digits, places);
}

void json_write_bool(struct json_writer *w, bool value)
{
    json_write_raw(w, value ? STR("true") : STR("false"));
}

void json_write_null(struct json_writer *w)
{
    json_write_raw(w, STR("null"));
}

void json_write_raw(struct json_writer *w, struct str json)
{
    value_begin(w);
    buf_append_str(w->buf, json);
}

void json_write_raw_members(struct json_writer *w, struct str members)
{
    if (members.len > 0)
        json_write_raw(w, members);
}

static void write_object(struct json_writer *w, json_t *object)
{
    const char *key;
    json_t *value;
    json_object_begin(w);
    json_object_foreach(object, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
    json_object_end(w);
}

static void write_array(struct json_writer *w, const json_t *array)
{
    json_array_begin(w);
    for (size_t i = 0; i < json_array_size(array); i++)
        json_write_value(w, json_array_get(array, i));
    json_array_end(w);
}

/* Recursion is bounded: every tree was read under LIMIT_JSON_DEPTH or built by us. */
void json_write_value(struct json_writer *w, const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        write_object(w, (json_t *)(uintptr_t)value);
        break;
    case JSON_ARRAY:
        write_array(w, value);
        break;
    case JSON_STRING:
        json_write_str(w, json_str(value));
        break;
    case JSON_INTEGER:
        json_write_int(w, json_integer_value(value));
        break;
    case JSON_REAL:
        json_write_double(w, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        json_write_bool(w, json_is_true(value));
        break;
    default:
        json_write_null(w);
    }
}
