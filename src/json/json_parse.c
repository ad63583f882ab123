#include "json/json_parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

enum { NUMBER_MAX = 64 }; /* bytes; a longer one is left to jansson */

struct parser {
    const char *at, *end;
    size_t depth, values;
    struct buf text; /* a string without its escapes */
};

static json_t *value_parse(struct parser *p);

static void space_skip(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* ---- Strings ---- */

/* Where a byte of the eight is special, the first one that is has its top bit set in the result (Mycroft's
 * trick); later ones may have it without being so. */
static uint64_t special_bytes(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = eight ^ (ones * '"'), slash = eight ^ (ones * '\\'), delete = eight ^ (ones * 0x7f);
    return ((quote - ones) | (slash - ones) | (delete - ones) | (eight - ones * 0x20) | eight) & tops;
}

const char *json_plain_end(const char *at, const char *end)
{
    for (uint64_t eight; end - at >= 8; at += 8) {
        memcpy(&eight, at, sizeof eight);
        if (special_bytes(eight))
            break;
    }
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20 && *at < 0x7f)
        at++;
    return at;
}

/* Up to the next byte that cannot stand as it is in a string. */
static const char *plain_end(const char *at, const char *end)
{
    at = json_plain_end(at, end);
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    return at;
}

static bool hex_take(struct parser *p, uint32_t *out)
{
    *out = 0;
    if (p->end - p->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

/* Behind "\u". */
static bool unicode_take(struct parser *p)
{
    char utf8[4];
    uint32_t code, low;
    if (!hex_take(p, &code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take(p, '\\') || !take(p, 'u') || !hex_take(p, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return buf_append(&p->text, utf8, str_utf8_encode(code, utf8)) == 0;
}

/* Behind a backslash. */
static bool escape_take(struct parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end)
        return false;
    char c = *p->at++;
    if (c == 'u')
        return unicode_take(p);
    const char *found = c ? strchr(from, c) : NULL;
    return found && buf_append_char(&p->text, to[found - from]) == 0;
}

/* Behind the opening quote. `out` is inside the text or, with escapes, in p->text until the next string. */
static bool string_take(struct parser *p, struct str *out)
{
    const char *begin = p->at;
    p->at = plain_end(p->at, p->end);
    if (p->at < p->end && *p->at == '"') {
        *out = (struct str){begin, (size_t)(p->at - begin)};
        p->at++;
        return str_utf8_valid(*out);
    }
    buf_clear(&p->text);
    for (;;) {
        if (p->at == p->end || buf_append(&p->text, begin, (size_t)(p->at - begin)))
            return false;
        char c = *p->at++;
        if (c == '"')
            break;
        if (c != '\\' || !escape_take(p))
            return false;
        begin = p->at;
        p->at = plain_end(p->at, p->end);
    }
    *out = buf_str(&p->text);
    return str_utf8_valid(*out);
}

static json_t *string_parse(struct parser *p)
{
    struct str text;
    return string_take(p, &text) ? json_stringn_nocheck(text.len ? text.data : "", text.len) : NULL;
}

/* ---- Numbers ---- */

static size_t digits_skip(struct parser *p)
{
    const char *begin = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return (size_t)(p->at - begin);
}

/* RFC 8259, 6: [-] int [frac] [exp] */
static json_t *number_parse(struct parser *p)
{
    const char *begin = p->at;
    char text[NUMBER_MAX];
    bool real = false;
    take(p, '-');
    bool zero = p->at < p->end && *p->at == '0';
    size_t n = digits_skip(p);
    if (n == 0 || (zero && n > 1))
        return NULL;
    if (take(p, '.')) {
        real = true;
        if (digits_skip(p) == 0)
            return NULL;
    }
    if (take(p, 'e') || take(p, 'E')) {
        real = true;
        if (!take(p, '+'))
            take(p, '-');
        if (digits_skip(p) == 0)
            return NULL;
    }
    size_t len = (size_t)(p->at - begin);
    if (len >= sizeof text)
        return NULL;
    memcpy(text, begin, len);
    text[len] = '\0';
    errno = 0;
    if (!real) {
        long long integer = strtoll(text, NULL, 10);
        return errno ? NULL : json_integer(integer);
    }
    double value = strtod(text, NULL);
    return isinf(value) ? NULL : json_real(value);
}

/* ---- Values ---- */

static bool count(struct parser *p, size_t values)
{
    p->values += values;
    return p->values <= LIMIT_JSON_VALUES;
}

/* One member, its key's quote taken. */
static bool member_parse(struct parser *p, json_t *object)
{
    struct str key;
    struct str copy = STR_NONE;
    char *heap = NULL;
    if (!string_take(p, &key))
        return false;
    /* A value may need p->text for itself. */
    if (key.data == p->text.data && key.len > 0) {
        heap = malloc(key.len);
        if (!heap)
            return false;
        memcpy(heap, key.data, key.len);
        copy = (struct str){heap, key.len};
    } else {
        copy = key;
    }
    size_t size = json_object_size(object);
    space_skip(p);
    json_t *value = take(p, ':') ? value_parse(p) : NULL;
    bool added =
        value && json_object_setn_new_nocheck(object, copy.len ? copy.data : "", copy.len, value) == 0;
    free(heap);
    return added && json_object_size(object) == size + 1; /* no duplicate */
}

static bool members_parse(struct parser *p, json_t *object)
{
    space_skip(p);
    if (take(p, '}'))
        return true;
    do {
        space_skip(p);
        if (!take(p, '"') || !member_parse(p, object))
            return false;
        space_skip(p);
    } while (take(p, ',') && count(p, 1));
    return p->values <= LIMIT_JSON_VALUES && take(p, '}');
}

static bool elements_parse(struct parser *p, json_t *array)
{
    space_skip(p);
    if (take(p, ']'))
        return true;
    do {
        json_t *value = value_parse(p);
        if (!value || json_array_append_new(array, value))
            return false;
        space_skip(p);
    } while (take(p, ',') && count(p, 1));
    return p->values <= LIMIT_JSON_VALUES && take(p, ']');
}

static json_t *container_parse(struct parser *p, char open)
{
    if (p->depth == LIMIT_JSON_DEPTH || !count(p, open == '{' ? 8 : 4))
        return NULL;
    json_t *container = open == '{' ? json_object() : json_array();
    p->depth++;
    bool whole = container && (open == '{' ? members_parse(p, container) : elements_parse(p, container));
    p->depth--;
    if (whole)
        return container;
    json_decref(container);
    return NULL;
}

static bool word_take(struct parser *p, struct str word)
{
    if (!str_starts((struct str){p->at, (size_t)(p->end - p->at)}, word))
        return false;
    p->at += word.len;
    return true;
}

static json_t *value_parse(struct parser *p)
{
    space_skip(p);
    if (p->at == p->end)
        return NULL;
    switch (*p->at) {
    case '{':
    case '[':
        return container_parse(p, *p->at++);
    case '"':
        p->at++;
        return string_parse(p);
    case 't':
        return word_take(p, STR("true")) ? json_true() : NULL;
    case 'f':
        return word_take(p, STR("false")) ? json_false() : NULL;
    case 'n':
        return word_take(p, STR("null")) ? json_null() : NULL;
    default:
        return number_parse(p);
    }
}

json_t *json_parse(struct str text)
{
    if (text.len == 0)
        return NULL;
    struct parser p = {.at = text.data, .end = text.data + text.len, .values = 1};
    buf_init(&p.text, text.len + 1);
    json_t *root = value_parse(&p);
    space_skip(&p);
    if (root && p.at != p.end) {
        json_decref(root);
        root = NULL;
    }
    buf_free(&p.text);
    return root;
}
