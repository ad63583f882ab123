/* A look at JSON text without a tree: its values in one array, in the order they are written. Strings without
 * escapes stay in the text, and once the array has grown to what texts need nothing is allocated.
 *
 *   {"a": [1, "x"], "b": null}      [0] object, span 5   [1] a: array, span 3   [2] 1   [3] "x"   [4] b: null
 *
 * What a container holds follows it; the next value of its own level stands `span` further. */
#ifndef WEIR_JSON_JSON_VIEW_H
#define WEIR_JSON_JSON_VIEW_H

#include <string.h>

#include "json/json.h"

enum json_item_kind {
    JSON_ITEM_NULL,
    JSON_ITEM_FALSE,
    JSON_ITEM_TRUE,
    JSON_ITEM_NUMBER,
    JSON_ITEM_STRING,
    JSON_ITEM_ARRAY,
    JSON_ITEM_OBJECT
};

struct json_item {
    struct str key;  /* of a member */
    struct str text; /* of a string what it says, of anything else how it is written */
    uint32_t span;   /* items, this one included */
    uint32_t n;      /* elements or members */
    enum json_item_kind kind;
};

/* Events of a stream mostly differ in one string. Where a text says the same as the last one but for a few
 * strings and numbers, only these are read, and the items moved:
 *
 *   last   {"id":"c1","n":1,"text":"Hel"}            varies: [3]
 *   next   {"id":"c1","n":1,"text":"lo, world"}      the rest is compared, byte by byte
 */
enum { JSON_VIEW_VARIES = 6 };

struct json_view {
    struct json_item *items;
    size_t n, capacity;
    struct buf plain; /* strings that had escapes */
    struct buf again; /* the one of json_view_again, where it had some */
    size_t most;      /* values; 0: LIMIT_JSON_VALUES */
    /* NULL, or of the members of the outermost object: where it says no it is not read on (untaken). */
    bool (*takes)(struct str key);
    bool untaken;
    bool repeats;     /* the caller's word that texts may be alike */
    struct buf last; /* then the items stand in this copy; empty: the last text was too large, or not valid */
    uint32_t varies[JSON_VIEW_VARIES]; /* items that have differed, in order */
    size_t n_varies;
    bool repeated; /* the last read was such a one */
};

void json_view_init(struct json_view *v);
void json_view_free(struct json_view *v);
/* Takes what json_read takes; of two members of one name the first counts, and a number may be larger than
 * any type of ours. The items live until the next read, and as long as the text. */
int json_view_read(
    struct json_view *v, struct str text, const struct json_item **out, struct error *err) MUST_USE;

/* Does `rest` begin with a text that differs from the last one read in what json_view_change gives, a string,
 * and in nothing else? Then how many bytes it has, and the string, which lives as long as `rest` and until
 * the next call; 0: no, or it is to be read to know. The items stay those of the text that was read. */
size_t json_view_again(struct json_view *v, struct str rest, struct str *value);

/* The only item that differs from the text before; NULL where there are others, or it was read afresh. */
static inline const struct json_item *json_view_change(const struct json_view *v)
{
    return v->repeated && v->n_varies == 1 ? &v->items[v->varies[0]] : NULL;
}

/* ---- Looking. NULL, or a value of another kind, is as if nothing stood there. ---- */

static inline bool json_item_is(const struct json_item *item, enum json_item_kind kind)
{
    return item && item->kind == kind;
}

/* The elements of an array: json_item_each(element, array) ... */
#define json_item_each(item, array)                                                                          \
    for (const struct json_item *item = json_item_first(array); item; item = json_item_next(array, item))

static inline const struct json_item *json_item_first(const struct json_item *array)
{
    return json_item_is(array, JSON_ITEM_ARRAY) && array->n > 0 ? array + 1 : NULL;
}

/* Of an object too: the next of its members. */
static inline const struct json_item *json_item_next(
    const struct json_item *container, const struct json_item *item)
{
    item += item->span;
    return item < container + container->span ? item : NULL;
}

static inline const struct json_item *json_item_find(const struct json_item *object, struct str key)
{
    if (!json_item_is(object, JSON_ITEM_OBJECT) || object->n == 0)
        return NULL;
    for (const struct json_item *i = object + 1; i; i = json_item_next(object, i))
        if (i->key.len == key.len && memcmp(i->key.data, key.data, key.len) == 0)
            return i;
    return NULL;
}

static inline const struct json_item *json_item_get(const struct json_item *object, const char *key)
{
    return json_item_find(object, (struct str){key, strlen(key)});
}

static inline struct str json_item_str(const struct json_item *item)
{
    return json_item_is(item, JSON_ITEM_STRING) ? item->text : STR_NONE;
}

static inline struct str json_item_text(const struct json_item *object, const char *key)
{
    return json_item_str(json_item_get(object, key));
}

/* Elements of an array, 0 of anything else. */
static inline size_t json_item_length(const struct json_item *array)
{
    return array && json_item_is(array, JSON_ITEM_ARRAY) ? array->n : 0;
}

/* An integer that fits; false: it is none. */
bool json_item_int(const struct json_item *item, int64_t *out);

/* A number that is finite as a double; false: it is none. */
bool json_item_double(const struct json_item *item, double *out);

/* The value again, without the white space it came with; numbers as they were written. */
void json_write_item(struct json_writer *w, const struct json_item *item);

#endif
