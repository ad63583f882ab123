#include "engine/worker/reply_json.h"

#include <string.h>

enum {
    VALUE,
    FIRST_ITEM, /* after [ */
    FIRST_KEY,  /* after { */
    KEY,        /* after , in an object */
    COLON,
    AFTER, /* a value in an object or array */
    STRING,
    ESCAPE,
    HEX,
    WORD,
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT, /* after e */
    SIGN,
    POWER
};

static const char *const words[] = {"true", "false", "null"};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A value has ended. */
static enum json_scan_result value_end(struct json_scan *s)
{
    s->state = AFTER;
    return s->depth > 0 ? JSON_SCAN_MORE : JSON_SCAN_DONE;
}

static enum json_scan_result container_open(struct json_scan *s, bool object)
{
    if (s->depth == LIMIT_JSON_DEPTH)
        return JSON_SCAN_BROKEN;
    s->object[s->depth++] = object;
    s->state = object ? FIRST_KEY : FIRST_ITEM;
    return JSON_SCAN_MORE;
}

static enum json_scan_result string_open(struct json_scan *s, bool key)
{
    s->key = key;
    s->state = STRING;
    return JSON_SCAN_MORE;
}

static enum json_scan_result value_begin(struct json_scan *s, char c)
{
    if (c == '{' || c == '[')
        return container_open(s, c == '{');
    if (c == '"')
        return string_open(s, false);
    for (uint8_t i = 0; i < 3; i++)
        if (c == words[i][0]) {
            s->word = i;
            s->count = 1;
            s->state = WORD;
            return JSON_SCAN_MORE;
        }
    if (c != '-' && !is_digit(c))
        return JSON_SCAN_BROKEN;
    s->state = c == '-' ? MINUS : c == '0' ? ZERO : DIGITS;
    return JSON_SCAN_MORE;
}

/* Between values. */
static enum json_scan_result place_next(struct json_scan *s, char c)
{
    bool object = s->depth > 0 && s->object[s->depth - 1];
    if (is_space(c))
        return JSON_SCAN_MORE;
    if ((c == '}' && object && (s->state == FIRST_KEY || s->state == AFTER)) ||
        (c == ']' && !object && (s->state == FIRST_ITEM || s->state == AFTER))) {
        s->depth--;
        return value_end(s);
    }
    if (s->state == VALUE || s->state == FIRST_ITEM)
        return value_begin(s, c);
    if (s->state == FIRST_KEY || s->state == KEY)
        return c == '"' ? string_open(s, true) : JSON_SCAN_BROKEN;
    if (c != (s->state == COLON ? ':' : ','))
        return JSON_SCAN_BROKEN;
    s->state = s->state == COLON || !object ? VALUE : KEY;
    return JSON_SCAN_MORE;
}

static enum json_scan_result string_next(struct json_scan *s, char c)
{
    if (s->state == HEX) {
        bool hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (--s->count == 0)
            s->state = STRING;
        return hex ? JSON_SCAN_MORE : JSON_SCAN_BROKEN;
    }
    if (s->state == ESCAPE) {
        s->state = c == 'u' ? HEX : STRING;
        s->count = 4;
        return c != '\0' && strchr("\"\\/bfnrtu", c) ? JSON_SCAN_MORE : JSON_SCAN_BROKEN;
    }
    if (c == '"' && s->key) {
        s->state = COLON;
        return JSON_SCAN_MORE;
    }
    if (c == '"')
        return value_end(s);
    if (c == '\\')
        s->state = ESCAPE;
    return (unsigned char)c < 0x20 ? JSON_SCAN_BROKEN : JSON_SCAN_MORE;
}

/* The next state of a number, or -1 where `c` is not part of it. */
static int number_state(const struct json_scan *s, char c)
{
    bool digit = is_digit(c), e = c == 'e' || c == 'E';
    switch (s->state) {
    case MINUS:
        return c == '0' ? ZERO : digit ? DIGITS : -1;
    case ZERO:
        return c == '.' ? POINT : e ? EXPONENT : -1;
    case DIGITS:
        return digit ? DIGITS : c == '.' ? POINT : e ? EXPONENT : -1;
    case POINT:
        return digit ? FRACTION : -1;
    case FRACTION:
        return digit ? FRACTION : e ? EXPONENT : -1;
    case EXPONENT:
        return digit ? POWER : c == '+' || c == '-' ? SIGN : -1;
    default:
        return digit ? POWER : -1;
    }
}

static enum json_scan_result number_next(struct json_scan *s, char c)
{
    int next = number_state(s, c);
    if (next >= 0) {
        s->state = (uint8_t)next;
        return JSON_SCAN_MORE;
    }
    if (s->state == MINUS || s->state == POINT || s->state == EXPONENT || s->state == SIGN)
        return JSON_SCAN_BROKEN;
    if (value_end(s) == JSON_SCAN_DONE)
        return JSON_SCAN_BEFORE;
    return place_next(s, c);
}

enum json_scan_result json_scan_next(struct json_scan *s, char c)
{
    if (s->state == STRING || s->state == ESCAPE || s->state == HEX)
        return string_next(s, c);
    if (s->state >= MINUS)
        return number_next(s, c);
    if (s->state != WORD)
        return place_next(s, c);
    if (c != words[s->word][s->count])
        return JSON_SCAN_BROKEN;
    return words[s->word][++s->count] ? JSON_SCAN_MORE : value_end(s);
}
