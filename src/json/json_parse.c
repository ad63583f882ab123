#include "json/json_parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "json/json_scan.h"

enum { NUMBER_MAX = 64 }; /* bytes; a longer one is left to jansson */

struct parser {
    struct json_scan scan;
    struct buf plain; /* strings that had escapes: the last one, and above it the keys around it */
};

static json_t *value_parse(struct parser *p);

static json_t *string_parse(struct parser *p)
{
    struct str text;
    size_t kept = p->plain.len;
    if (!json_scan_string(&p->scan, &p->plain, &text))
        return NULL;
    p->plain.len = kept;
    return json_stringn_nocheck(text.len ? text.data : "", text.len);
}

static json_t *number_parse(struct parser *p)
{
    struct str written;
    char text[NUMBER_MAX];
    bool whole;
    if (!json_scan_number(&p->scan, &written, &whole) || written.len >= sizeof text)
        return NULL;
    memcpy(text, written.data, written.len);
    text[written.len] = '\0';
    errno = 0;
    if (whole) {
        long long integer = strtoll(text, NULL, 10);
        return errno ? NULL : json_integer(integer);
    }
    double value = strtod(text, NULL);
    return isinf(value) ? NULL : json_real(value);
}

/* One member, its key's quote taken. */
static bool member_parse(struct parser *p, json_t *object)
{
    struct str key;
    size_t size = json_object_size(object), kept = p->plain.len;
    if (!json_scan_string(&p->scan, &p->plain, &key))
        return false;
    json_scan_space(&p->scan);
    json_t *value = json_scan_take(&p->scan, ':') ? value_parse(p) : NULL;
    bool added = value && json_object_setn_new_nocheck(object, key.len ? key.data : "", key.len, value) == 0;
    p->plain.len = kept;
    return added && json_object_size(object) == size + 1; /* no duplicate */
}

static bool members_parse(struct parser *p, json_t *object)
{
    json_scan_space(&p->scan);
    if (json_scan_take(&p->scan, '}'))
        return true;
    do {
        json_scan_space(&p->scan);
        if (!json_scan_take(&p->scan, '"') || !member_parse(p, object))
            return false;
        json_scan_space(&p->scan);
    } while (json_scan_comma(&p->scan));
    return json_scan_take(&p->scan, '}');
}

static bool elements_parse(struct parser *p, json_t *array)
{
    json_scan_space(&p->scan);
    if (json_scan_take(&p->scan, ']'))
        return true;
    do {
        json_t *value = value_parse(p);
        if (!value || json_array_append_new(array, value))
            return false;
        json_scan_space(&p->scan);
    } while (json_scan_comma(&p->scan));
    return json_scan_take(&p->scan, ']');
}

static json_t *container_parse(struct parser *p, char open)
{
    if (!json_scan_enter(&p->scan, open))
        return NULL;
    json_t *container = open == '{' ? json_object() : json_array();
    bool whole = container && (open == '{' ? members_parse(p, container) : elements_parse(p, container));
    p->scan.depth--;
    if (whole)
        return container;
    json_decref(container);
    return NULL;
}

static json_t *value_parse(struct parser *p)
{
    struct json_scan *s = &p->scan;
    json_scan_space(s);
    if (s->at == s->end)
        return NULL;
    switch (*s->at) {
    case '{':
    case '[':
        return container_parse(p, *s->at++);
    case '"':
        s->at++;
        return string_parse(p);
    case 't':
        return json_scan_word(s, STR("true")) ? json_true() : NULL;
    case 'f':
        return json_scan_word(s, STR("false")) ? json_false() : NULL;
    case 'n':
        return json_scan_word(s, STR("null")) ? json_null() : NULL;
    default:
        return number_parse(p);
    }
}

json_t *json_parse(struct str text)
{
    if (text.len == 0 || !str_utf8_valid(text))
        return NULL;
    struct parser p = {.scan = {.at = text.data, .end = text.data + text.len, .values = 1, .most = LIMIT_JSON_VALUES}};
    buf_init(&p.plain, text.len);
    json_t *root = value_parse(&p);
    json_scan_space(&p.scan);
    if (root && p.scan.at != p.scan.end) {
        json_decref(root);
        root = NULL;
    }
    buf_free(&p.plain);
    return root;
}
