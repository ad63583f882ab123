#include "json/json_view.h"

#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "json/json_scan.h"

enum { ITEMS_FIRST = 64 };

void json_view_init(struct json_view *v)
{
    *v = (struct json_view){0};
    buf_init(&v->plain, 0);
}

void json_view_free(struct json_view *v)
{
    free(v->items);
    buf_free(&v->plain);
}

/* ---- Reading ---- */

static bool value_take(struct json_view *v, struct json_scan *s, struct str key);

static bool items_grow(struct json_view *v)
{
    size_t capacity = v->capacity ? v->capacity * 2 : ITEMS_FIRST;
    struct json_item *items = realloc(v->items, capacity * sizeof *items);
    if (!items)
        return false;
    v->items = items;
    v->capacity = capacity;
    return true;
}

static bool member_take(struct json_view *v, struct json_scan *s)
{
    struct str key;
    json_scan_space(s);
    if (!json_scan_take(s, '"') || !json_scan_string(s, &v->plain, &key))
        return false;
    json_scan_space(s);
    return json_scan_take(s, ':') && value_take(v, s, key);
}

/* Its opening bracket taken. */
static bool container_take(struct json_view *v, struct json_scan *s, size_t at, char open)
{
    const char *begin = s->at - 1;
    char close = open == '{' ? '}' : ']';
    uint32_t n = 0;
    if (!json_scan_enter(s, open))
        return false;
    json_scan_space(s);
    if (!json_scan_take(s, close)) {
        do {
            if (open == '{' ? !member_take(v, s) : !value_take(v, s, STR_NONE))
                return false;
            n++;
            json_scan_space(s);
        } while (json_scan_comma(s));
        if (!json_scan_take(s, close))
            return false;
    }
    s->depth--;
    struct json_item *item = &v->items[at];
    item->kind = open == '{' ? JSON_ITEM_OBJECT : JSON_ITEM_ARRAY;
    item->text = (struct str){begin, (size_t)(s->at - begin)};
    item->n = n;
    item->span = (uint32_t)(v->n - at);
    return true;
}

static inline bool word_take(
    struct json_scan *s, struct json_item *item, enum json_item_kind kind, struct str word)
{
    item->kind = kind;
    item->text = word;
    return json_scan_word(s, word);
}

static bool number_take(struct json_scan *s, struct json_item *item)
{
    bool whole;
    item->kind = JSON_ITEM_NUMBER;
    return json_scan_number(s, &item->text, &whole);
}

static bool value_take(struct json_view *v, struct json_scan *s, struct str key)
{
    json_scan_space(s);
    if (s->at == s->end || (v->n == v->capacity && !items_grow(v)))
        return false;
    size_t at = v->n++;
    struct json_item *item = &v->items[at];
    item->key = key;
    item->span = 1;
    item->n = 0;
    switch (*s->at) {
    case '{':
    case '[':
        return container_take(v, s, at, *s->at++);
    case '"':
        s->at++;
        item->kind = JSON_ITEM_STRING;
        return json_scan_string(s, &v->plain, &item->text);
    case 't':
        return word_take(s, item, JSON_ITEM_TRUE, STR("true"));
    case 'f':
        return word_take(s, item, JSON_ITEM_FALSE, STR("false"));
    case 'n':
        return word_take(s, item, JSON_ITEM_NULL, STR("null"));
    default:
        return number_take(s, item);
    }
}

/* json_read says why. */
static int refuse(struct str text, struct error *err)
{
    json_t *tree = NULL;
    if (!str_utf8_valid(text))
        return error_set(err, ERROR_INVALID, "not valid JSON: it is not UTF-8");
    int rc = json_read(text, &tree, err);
    json_decref(tree);
    return rc ? rc : error_set(err, ERROR_MEMORY, "no memory for an answer's JSON");
}

int json_view_read(struct json_view *v, struct str text, const struct json_item **out, struct error *err)
{
    struct json_scan s = {.at = text.data, .end = text.data + text.len, .values = 1};
    v->n = 0;
    buf_clear(&v->plain);
    v->plain.max = text.len;
    bool whole = text.len > 0 && str_utf8_valid(text) && value_take(v, &s, STR_NONE);
    if (whole)
        json_scan_space(&s);
    if (!whole || s.at != s.end)
        return refuse(text, err);
    *out = v->items;
    return 0;
}

/* ---- Looking ---- */

bool json_item_int(const struct json_item *item, int64_t *out)
{
    if (!json_item_is(item, JSON_ITEM_NUMBER) || item->text.len > 20)
        return false;
    const char *at = item->text.data, *end = at + item->text.len;
    if (item->text.len > 18 || *at == '-')
        return str_to_int64(item->text, out);
    for (*out = 0; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *out = *out * 10 + (*at - '0');
    }
    return true;
}

bool json_item_double(const struct json_item *item, double *out)
{
    char text[64];
    if (!json_item_is(item, JSON_ITEM_NUMBER) || item->text.len >= sizeof text)
        return false;
    memcpy(text, item->text.data, item->text.len);
    text[item->text.len] = '\0';
    *out = strtod(text, NULL);
    return isfinite(*out);
}

/* Recursion is bounded by LIMIT_JSON_DEPTH. */
void json_write_item(struct json_writer *w, const struct json_item *item)
{
    bool object = json_item_is(item, JSON_ITEM_OBJECT);
    if (json_item_is(item, JSON_ITEM_STRING)) {
        json_write_str(w, item->text);
        return;
    }
    if (!object && !json_item_is(item, JSON_ITEM_ARRAY)) {
        json_write_raw(w, item ? item->text : STR("null"));
        return;
    }
    if (object)
        json_object_begin(w);
    else
        json_array_begin(w);
    for (const struct json_item *i = item->n > 0 ? item + 1 : NULL; i; i = json_item_next(item, i)) {
        if (object)
            json_key_str(w, i->key);
        json_write_item(w, i);
    }
    if (object)
        json_object_end(w);
    else
        json_array_end(w);
}
