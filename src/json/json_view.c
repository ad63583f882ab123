#include "json/json_view.h"

#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "json/json_scan.h"

enum { ITEMS_FIRST = 32, LAST_BYTES = 1024 };

void json_view_init(struct json_view *v)
{
    *v = (struct json_view){0};
    buf_init(&v->plain, 0);
    buf_init(&v->again, LAST_BYTES);
    buf_init(&v->last, LAST_BYTES);
}

void json_view_free(struct json_view *v)
{
    free(v->items);
    buf_free(&v->plain);
    buf_free(&v->again);
    buf_free(&v->last);
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
    v->untaken = v->takes && s->depth == 1 && !v->takes(key);
    return !v->untaken && json_scan_take(s, ':') && value_take(v, s, key);
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
    item->text = (struct str){s->at, word.len};
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

/* ---- Reading what is like the last text ---- */

static size_t place_of(const struct json_view *v, uint32_t item)
{
    return (size_t)(v->items[item].text.data - v->last.data);
}

/* The value behind which, or in which, byte `at` of the last text stands. */
static bool varying_find(const struct json_view *v, size_t at, uint32_t *out)
{
    for (uint32_t i = 0; i < v->n; i++) {
        enum json_item_kind kind = v->items[i].kind;
        size_t begin = place_of(v, i);
        if ((kind == JSON_ITEM_STRING || kind == JSON_ITEM_NUMBER) && begin <= at &&
            at <= begin + v->items[i].text.len) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* Its value in the text that is being read. */
static bool varying_take(const struct json_view *v, struct json_scan *s, uint32_t item, struct str *out)
{
    bool whole;
    return v->items[item].kind == JSON_ITEM_NUMBER ? json_scan_number(s, out, &whole)
                                                   : json_scan_plain_string(s, out) && str_utf8_valid(*out);
}

/* Passes over what must be alike in both, up to byte `to` of the last text; *at is how far that went. */
static bool alike_take(const struct json_view *v, struct json_scan *s, size_t *at, size_t to)
{
    const char *last = v->last.data;
    size_t n = to - *at;
    if ((size_t)(s->end - s->at) >= n && memcmp(last + *at, s->at, n) == 0) {
        s->at += n;
        *at = to;
        return true;
    }
    while (*at < to && s->at < s->end && last[*at] == *s->at) {
        s->at++;
        ++*at;
    }
    return false;
}

/* Moves the items to where they stand in `text`, now `last`. */
static void items_move(struct json_view *v, struct str text, const struct str *values)
{
    ptrdiff_t shift = 0;
    size_t k = 0;
    for (uint32_t i = v->varies[0]; i < v->n; i++) {
        struct json_item *item = &v->items[i];
        if (item->key.data)
            item->key.data += shift;
        item->text.data += shift;
        if (k == v->n_varies || v->varies[k] != i)
            continue;
        size_t old = item->text.len;
        item->text.len = values[k++].len;
        ptrdiff_t more = (ptrdiff_t)item->text.len - (ptrdiff_t)old;
        shift += more;
        for (uint32_t j = 0; j < i; j++) /* what it stands in */
            if (j + v->items[j].span > i)
                v->items[j].text.len += (size_t)more;
    }
    memcpy(v->last.data, text.data, text.len);
    v->last.data[text.len] = '\0';
    v->last.len = text.len;
}

/* One more item varies, the one at byte `at` of the last text. */
static bool varying_add(struct json_view *v, size_t at)
{
    uint32_t found;
    size_t k = v->n_varies;
    if (k == JSON_VIEW_VARIES || !varying_find(v, at, &found))
        return false;
    for (size_t i = 0; i < k; i++)
        if (v->varies[i] == found)
            return false; /* it does not end like the last one */
    for (; k > 0 && v->varies[k - 1] > found; k--)
        v->varies[k] = v->varies[k - 1];
    v->varies[k] = found;
    v->n_varies++;
    return true;
}

static bool text_repeats(struct json_view *v, struct str text)
{
    struct str values[JSON_VIEW_VARIES];
    struct json_scan s = {.at = text.data, .end = text.data + text.len};
    size_t at = 0;
    if (v->last.len == 0 || v->plain.len > 0 || text.len >= v->last.capacity)
        return false;
    for (size_t k = 0;; k++) {
        size_t to = k < v->n_varies ? place_of(v, v->varies[k]) : v->last.len;
        if (!alike_take(v, &s, &at, to))
            break;
        if (k == v->n_varies) {
            if (s.at == s.end && v->n_varies > 0)
                items_move(v, text, values);
            return s.at == s.end;
        }
        if (!varying_take(v, &s, v->varies[k], &values[k]))
            return false;
        at += v->items[v->varies[k]].text.len;
    }
    return varying_add(v, at) && text_repeats(v, text); /* as deep as values may vary */
}

/* The text, or a copy of it that the next one can be compared with. */
static struct str text_keep(struct json_view *v, struct str text)
{
    buf_clear(&v->last);
    v->n_varies = 0;
    if (!v->repeats || text.len >= LAST_BYTES || (!v->last.data && !buf_reserve(&v->last, LAST_BYTES)))
        return text;
    buf_append_str(&v->last, text);
    return buf_str(&v->last);
}

int json_view_read(struct json_view *v, struct str text, const struct json_item **out, struct error *err)
{
    v->repeated = v->repeats && text_repeats(v, text);
    if (v->repeated) {
        *out = v->items;
        return 0;
    }
    text = text_keep(v, text);
    struct json_scan s = {.at = text.data,
        .end = text.data + text.len,
        .values = 1,
        .most = v->most ? v->most : LIMIT_JSON_VALUES};
    v->n = 0;
    v->untaken = false;
    buf_clear(&v->plain);
    v->plain.max = text.len;
    bool whole = text.len > 0 && str_utf8_valid(text) && value_take(v, &s, STR_NONE);
    if (whole)
        json_scan_space(&s);
    if (!whole || s.at != s.end) {
        int rc = v->untaken ? error_set(err, ERROR_UNSUPPORTED, "it has a member that nobody takes")
                            : refuse(text, err);
        buf_clear(&v->last);
        return rc;
    }
    *out = v->items;
    return 0;
}

/* `n` bytes of the last text from `from` on. */
static bool last_take(const struct json_view *v, struct json_scan *s, size_t from, size_t n)
{
    bool alike = (size_t)(s->end - s->at) >= n && memcmp(v->last.data + from, s->at, n) == 0;
    s->at += alike ? n : 0;
    return alike;
}

size_t json_view_again(struct json_view *v, struct str rest, struct str *value)
{
    const struct json_item *change = json_view_change(v);
    struct json_scan s = {.at = rest.data, .end = rest.data + rest.len};
    if (!json_item_is(change, JSON_ITEM_STRING))
        return 0;
    size_t begin = place_of(v, v->varies[0]), end = begin + change->text.len;
    buf_clear(&v->again);
    if (!last_take(v, &s, 0, begin) || !json_scan_string(&s, &v->again, value) || !str_utf8_valid(*value))
        return 0;
    s.at--; /* its closing quote is alike, too */
    return last_take(v, &s, end, v->last.len - end) ? (size_t)(s.at - rest.data) : 0;
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
