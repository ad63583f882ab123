/* Values of templates: making, walking and comparing them. */
#include "engine/worker/template_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Bounds and errors of a rendering ---- */

int tpl_fail(struct tpl_run *r, const char *fmt, ...)
{
    char text[448];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(r->err, ERROR_INVALID, "the chat template failed at line %u: %s", r->line, text);
}

int tpl_fail_memory(struct tpl_run *r)
{
    return error_set(r->err, ERROR_LIMIT, "the chat template needs too much memory at line %u", r->line);
}

int tpl_spend(struct tpl_run *r, size_t steps)
{
    if (steps > (size_t)r->steps) {
        r->steps = 0;
        return error_set(
            r->err, ERROR_LIMIT, "the chat template takes too many steps, the last at line %u", r->line);
    }
    r->steps -= (int64_t)steps;
    return 0;
}

int tpl_spend_bytes(struct tpl_run *r, size_t bytes)
{
    return tpl_spend(r, 1 + bytes / 64);
}

int tpl_enter(struct tpl_run *r)
{
    if (r->depth >= TPL_DEPTH)
        return error_set(r->err, ERROR_LIMIT, "the chat template nests too deeply at line %u", r->line);
    r->depth++;
    return tpl_spend(r, 1);
}

const char *tpl_type_name(const struct tpl_value *v)
{
    static const char *const names[] = {[TPL_MISSING] = "Undefined",
        [TPL_UNDEFINED] = "Undefined",
        [TPL_NONE] = "None",
        [TPL_BOOL] = "bool",
        [TPL_INT] = "int",
        [TPL_FLOAT] = "float",
        [TPL_STRING] = "str",
        [TPL_LIST] = "list",
        [TPL_TUPLE] = "tuple",
        [TPL_DICT] = "dict",
        [TPL_RANGE] = "range",
        [TPL_VIEW] = "dict_items",
        [TPL_ITERATOR] = "generator",
        [TPL_NAMESPACE] = "Namespace",
        [TPL_MACRO] = "Macro",
        [TPL_FUNCTION] = "function",
        [TPL_LOOP] = "LoopContext",
        [TPL_CYCLER] = "Cycler",
        [TPL_JOINER] = "Joiner"};
    return names[v->kind];
}

int tpl_fail_undefined(struct tpl_run *r, const struct tpl_value *v)
{
    int n = (int)(v->s.len < 200 ? v->s.len : 200);
    if (v->owner == TPL_UNDEFINED)
        return tpl_fail(r, "%.*s", n, v->s.data);
    if (v->owner == TPL_MISSING)
        return tpl_fail(r, "'%.*s' is undefined", n, v->s.data ? v->s.data : "");
    struct tpl_value owner = {.kind = v->owner};
    return tpl_fail(r, "'%s%s' has no attribute '%.*s'", tpl_type_name(&owner),
        owner.kind == TPL_NONE ? "" : " object", n, v->s.data ? v->s.data : "");
}

/* ---- Lists ---- */

int tpl_list_new(struct tpl_run *r, size_t capacity, struct tpl_list *out)
{
    size_t bytes;
    if (capacity < 4)
        capacity = 4;
    if (__builtin_mul_overflow(capacity, sizeof(struct tpl_value), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct tpl_store), &bytes))
        return tpl_fail_memory(r);
    struct tpl_store *store = arena_try_alloc(r->arena, bytes, 1);
    if (!store)
        return tpl_fail_memory(r);
    store->capacity = capacity;
    *out = (struct tpl_list){store->items, 0, store};
    return 0;
}

int tpl_list_append(struct tpl_run *r, struct tpl_list *list, struct tpl_value v)
{
    struct tpl_store *store = list->store;
    bool at_end = store && list->items + list->count == store->items + store->used;
    if (!at_end || store->used == store->capacity) {
        struct tpl_list wider;
        int rc = tpl_list_new(r, list->count * 2 + 4, &wider);
        if (rc == 0)
            rc = tpl_spend(r, list->count / 8);
        if (rc)
            return rc;
        if (list->count > 0)
            memcpy(wider.items, list->items, list->count * sizeof *list->items);
        wider.count = wider.store->used = list->count;
        *list = wider;
    }
    list->items[list->count++] = v;
    list->store->used++;
    return 0;
}

int tpl_list_value(struct tpl_run *r, enum tpl_kind kind, const struct tpl_list *list, struct tpl_value *out)
{
    struct tpl_list *copy = arena_try_alloc(r->arena, 1, sizeof *copy);
    if (!copy)
        return tpl_fail_memory(r);
    *copy = *list;
    *out = (struct tpl_value){.kind = (uint8_t)kind, .list = copy};
    return 0;
}

int tpl_iterator_value(struct tpl_run *r, const struct tpl_list *list, struct tpl_value *out)
{
    struct tpl_iterator *it = arena_try_alloc(r->arena, 1, sizeof *it);
    if (!it)
        return tpl_fail_memory(r);
    it->list = *list;
    *out = (struct tpl_value){.kind = TPL_ITERATOR, .iterator = it};
    return 0;
}

int tpl_tuple2(struct tpl_run *r, struct tpl_value first, struct tpl_value second, struct tpl_value *out)
{
    struct tpl_list list;
    int rc = tpl_list_new(r, 2, &list);
    if (rc == 0)
        rc = tpl_list_append(r, &list, first);
    if (rc == 0)
        rc = tpl_list_append(r, &list, second);
    return rc ? rc : tpl_list_value(r, TPL_TUPLE, &list, out);
}

/* ---- Dicts ---- */

int tpl_dict_new(struct tpl_run *r, size_t capacity, enum tpl_kind kind, struct tpl_value *out)
{
    struct tpl_dict *dict = arena_try_alloc(r->arena, 1, sizeof *dict);
    if (!dict)
        return tpl_fail_memory(r);
    if (capacity > 0) {
        dict->entries = arena_try_array(r->arena, struct tpl_entry, capacity);
        if (!dict->entries)
            return tpl_fail_memory(r);
        dict->capacity = capacity;
    }
    *out = (struct tpl_value){.kind = (uint8_t)kind, .dict = dict};
    return 0;
}

static bool hashable(const struct tpl_value *v)
{
    return v->kind != TPL_LIST && v->kind != TPL_DICT;
}

int tpl_dict_find(
    struct tpl_run *r, const struct tpl_dict *dict, const struct tpl_value *key, struct tpl_value **out)
{
    *out = NULL;
    if (!hashable(key))
        return tpl_fail(r, "a %s cannot be the key of a dict", tpl_type_name(key));
    int rc = tpl_spend(r, dict->count / 8);
    for (size_t i = 0; rc == 0 && i < dict->count; i++) {
        struct tpl_value *have = &dict->entries[i].key;
        bool same;
        if (have->kind == TPL_STRING && key->kind == TPL_STRING)
            same = str_eq(have->s, key->s);
        else
            rc = tpl_equal(r, have, key, &same);
        if (rc == 0 && same) {
            *out = &dict->entries[i].value;
            break;
        }
    }
    return rc;
}

static int dict_append(struct tpl_run *r, struct tpl_dict *dict, struct tpl_value key, struct tpl_value value)
{
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity * 2 + 4;
        struct tpl_entry *wider = arena_try_array(r->arena, struct tpl_entry, capacity);
        if (!wider)
            return tpl_fail_memory(r);
        if (dict->count > 0)
            memcpy(wider, dict->entries, dict->count * sizeof *wider);
        dict->entries = wider;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (struct tpl_entry){key, value};
    return 0;
}

int tpl_dict_put(struct tpl_run *r, struct tpl_dict *dict, struct tpl_value key, struct tpl_value value)
{
    struct tpl_value *old;
    int rc = tpl_dict_find(r, dict, &key, &old);
    if (rc)
        return rc;
    if (!old)
        return dict_append(r, dict, key, value);
    *old = value;
    return 0;
}

/* ---- From JSON ---- */

static int from_array(struct tpl_run *r, const json_t *json, struct tpl_value *out)
{
    struct tpl_list list;
    int rc = tpl_list_new(r, json_array_size(json), &list);
    for (size_t i = 0; rc == 0 && i < json_array_size(json); i++) {
        struct tpl_value item;
        rc = tpl_from_json(r, json_array_get(json, i), &item);
        if (rc == 0)
            rc = tpl_list_append(r, &list, item);
    }
    return rc ? rc : tpl_list_value(r, TPL_LIST, &list, out);
}

static int from_object(struct tpl_run *r, const json_t *json, struct tpl_value *out)
{
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's iteration takes no const */
    int rc = tpl_dict_new(r, json_object_size(json), TPL_DICT, out);
    for (void *it = json_object_iter(object); rc == 0 && it; it = json_object_iter_next(object, it)) {
        struct tpl_value value;
        rc = tpl_from_json(r, json_object_iter_value(it), &value);
        if (rc == 0) /* the keys of an object differ: no need to look */
            rc = dict_append(r, out->dict, tpl_string(str_from(json_object_iter_key(it))), value);
    }
    return rc;
}

int tpl_from_json(struct tpl_run *r, const json_t *json, struct tpl_value *out)
{
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        rc = from_object(r, json, out);
        break;
    case JSON_ARRAY:
        rc = from_array(r, json, out);
        break;
    case JSON_STRING:
        *out = tpl_string(json_str(json));
        break;
    case JSON_INTEGER:
        *out = tpl_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = tpl_float(json_real_value(json));
        break;
    case JSON_NULL:
        *out = tpl_none();
        break;
    default:
        *out = tpl_bool(json_is_true(json));
    }
    tpl_leave(r);
    return rc;
}

/* ---- Truth, length, items ---- */

int tpl_length(struct tpl_run *r, const struct tpl_value *v, int64_t *out)
{
    switch (v->kind) {
    case TPL_UNDEFINED:
        *out = 0;
        return 0;
    case TPL_STRING:
        *out = (int64_t)str_utf8_count(v->s);
        return tpl_spend_bytes(r, v->s.len);
    case TPL_LIST:
    case TPL_TUPLE:
        *out = (int64_t)v->list->count;
        return 0;
    case TPL_DICT:
        *out = (int64_t)v->dict->count;
        return 0;
    case TPL_VIEW:
        *out = (int64_t)v->view->dict->count;
        return 0;
    case TPL_RANGE:
        *out = (int64_t)v->range->count;
        return 0;
    case TPL_LOOP:
        return tpl_loop_length(r, v->loop, out);
    default:
        *out = -1;
        return 0;
    }
}

int tpl_truth(struct tpl_run *r, const struct tpl_value *v, bool *out)
{
    int64_t length;
    int rc = 0;
    switch (v->kind) {
    case TPL_MISSING:
    case TPL_UNDEFINED:
    case TPL_NONE:
        *out = false;
        return 0;
    case TPL_BOOL:
    case TPL_INT:
        *out = tpl_integer(v) != 0;
        return 0;
    case TPL_FLOAT:
        *out = v->f != 0; /* NaN is true */
        return 0;
    case TPL_STRING:
        *out = v->s.len > 0;
        return 0;
    default:
        rc = tpl_length(r, v, &length);
        *out = length != 0;
        return rc;
    }
}

bool tpl_iterable(const struct tpl_value *v)
{
    switch (v->kind) {
    case TPL_UNDEFINED:
    case TPL_STRING:
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_DICT:
    case TPL_RANGE:
    case TPL_VIEW:
    case TPL_ITERATOR:
        return true;
    default:
        return false;
    }
}

static int items_of_string(struct tpl_run *r, const struct tpl_value *v, struct tpl_list *out)
{
    int rc = tpl_list_new(r, str_utf8_count(v->s), out);
    if (rc == 0)
        rc = tpl_spend(r, out->store->capacity);
    for (size_t pos = 0; rc == 0 && pos < v->s.len;) {
        size_t from = pos;
        tpl_char_next(v->s, &pos);
        rc = tpl_list_append(r, out, tpl_string(str_slice(v->s, from, pos)));
    }
    return rc;
}

static int items_of_dict(
    struct tpl_run *r, const struct tpl_dict *dict, enum tpl_view_kind kind, struct tpl_list *out)
{
    int rc = tpl_list_new(r, dict->count, out);
    if (rc == 0)
        rc = tpl_spend(r, dict->count);
    for (size_t i = 0; rc == 0 && i < dict->count; i++) {
        const struct tpl_entry *e = &dict->entries[i];
        struct tpl_value item = kind == TPL_KEYS ? e->key : e->value;
        if (kind == TPL_ITEMS)
            rc = tpl_tuple2(r, e->key, e->value, &item);
        if (rc == 0)
            rc = tpl_list_append(r, out, item);
    }
    return rc;
}

int tpl_items(struct tpl_run *r, const struct tpl_value *v, struct tpl_list *out)
{
    int rc;
    *out = (struct tpl_list){NULL, 0, NULL};
    switch (v->kind) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_STRING:
        return items_of_string(r, v, out);
    case TPL_LIST:
    case TPL_TUPLE:
        *out = *v->list;
        return 0;
    case TPL_DICT:
        return items_of_dict(r, v->dict, TPL_KEYS, out);
    case TPL_VIEW:
        return items_of_dict(r, v->view->dict, v->view->kind, out);
    case TPL_RANGE:
        rc = tpl_list_new(r, v->range->count, out);
        if (rc == 0)
            rc = tpl_spend(r, v->range->count);
        for (size_t i = 0; rc == 0 && i < v->range->count; i++)
            rc = tpl_list_append(r, out, tpl_int(v->range->start + (int64_t)i * v->range->step));
        return rc;
    case TPL_ITERATOR: {
        struct tpl_iterator *it = v->iterator;
        if (it->next < it->list.count)
            *out = (struct tpl_list){it->list.items + it->next, it->list.count - it->next, NULL};
        it->next = it->list.count;
        return it->failure ? error_set(r->err, it->failure->code, "%s", it->failure->message) : 0;
    }
    default:
        return tpl_fail(r, "'%s' object is not iterable", tpl_type_name(v));
    }
}

/* ---- Comparing ---- */

static int equal_lists(struct tpl_run *r, const struct tpl_list *a, const struct tpl_list *b, bool *out)
{
    int rc = 0;
    *out = a->count == b->count;
    for (size_t i = 0; rc == 0 && *out && i < a->count; i++)
        rc = tpl_equal(r, &a->items[i], &b->items[i], out);
    return rc;
}

static int equal_dicts(struct tpl_run *r, const struct tpl_dict *a, const struct tpl_dict *b, bool *out)
{
    int rc = 0;
    *out = a->count == b->count;
    for (size_t i = 0; rc == 0 && *out && i < a->count; i++) {
        struct tpl_value *other;
        rc = tpl_dict_find(r, b, &a->entries[i].key, &other);
        if (rc)
            break;
        *out = other != NULL;
        if (other)
            rc = tpl_equal(r, &a->entries[i].value, other, out);
    }
    return rc;
}

static bool equal_numbers(const struct tpl_value *a, const struct tpl_value *b)
{
    if (a->kind != TPL_FLOAT && b->kind != TPL_FLOAT)
        return tpl_integer(a) == tpl_integer(b);
    return tpl_number(a) == tpl_number(b);
}

int tpl_equal(struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, bool *out)
{
    if (tpl_is_number(a) && tpl_is_number(b)) {
        *out = equal_numbers(a, b);
        return 0;
    }
    *out = false;
    if (a->kind != b->kind)
        return 0;
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    switch (a->kind) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        *out = true;
        break;
    case TPL_STRING:
        *out = str_eq(a->s, b->s);
        rc = tpl_spend_bytes(r, a->s.len == b->s.len ? a->s.len : 0);
        break;
    case TPL_LIST:
    case TPL_TUPLE:
        rc = equal_lists(r, a->list, b->list, out);
        break;
    case TPL_DICT:
        rc = equal_dicts(r, a->dict, b->dict, out);
        break;
    case TPL_RANGE:
        *out = a->range->count == b->range->count &&
               (a->range->count == 0 || (a->range->start == b->range->start &&
                                            (a->range->count == 1 || a->range->step == b->range->step)));
        break;
    case TPL_FUNCTION:
        *out = a->bound == b->bound;
        break;
    default: /* the others are what they are: the same object or not */
        *out = a->loop == b->loop;
    }
    tpl_leave(r);
    return rc;
}

static int less_strings(struct tpl_run *r, struct str a, struct str b, bool or_equal, bool *out)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.data, b.data, n) : 0; /* UTF-8 sorts as its code points do */
    *out = order ? order < 0 : or_equal ? a.len <= b.len : a.len < b.len;
    return tpl_spend_bytes(r, n);
}

static int less_lists(
    struct tpl_run *r, const struct tpl_list *a, const struct tpl_list *b, bool or_equal, bool *out)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool same;
        int rc = tpl_equal(r, &a->items[i], &b->items[i], &same);
        if (rc)
            return rc;
        if (!same)
            return tpl_less(r, &a->items[i], &b->items[i], or_equal, out);
    }
    *out = or_equal ? a->count <= b->count : a->count < b->count;
    return 0;
}

int tpl_less(
    struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, bool or_equal, bool *out)
{
    if (a->kind == TPL_UNDEFINED || b->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, a->kind == TPL_UNDEFINED ? a : b);
    if (tpl_is_integral(a) && tpl_is_integral(b)) {
        *out = or_equal ? tpl_integer(a) <= tpl_integer(b) : tpl_integer(a) < tpl_integer(b);
        return 0;
    }
    if (tpl_is_number(a) && tpl_is_number(b)) {
        *out = or_equal ? tpl_number(a) <= tpl_number(b) : tpl_number(a) < tpl_number(b);
        return 0;
    }
    if (a->kind == TPL_STRING && b->kind == TPL_STRING)
        return less_strings(r, a->s, b->s, or_equal, out);
    if (a->kind != b->kind || (a->kind != TPL_LIST && a->kind != TPL_TUPLE))
        return tpl_fail(r, "'%s' and '%s' cannot be put in order", tpl_type_name(a), tpl_type_name(b));
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    rc = less_lists(r, a->list, b->list, or_equal, out);
    tpl_leave(r);
    return rc;
}

int tpl_contains(
    struct tpl_run *r, const struct tpl_value *container, const struct tpl_value *item, bool *out)
{
    struct tpl_value *found;
    struct tpl_list list;
    int rc;
    *out = false;
    if (container->kind == TPL_STRING) {
        if (item->kind != TPL_STRING)
            return tpl_fail(r, "'in <string>' requires string as left operand, not %s", tpl_type_name(item));
        rc = tpl_spend_bytes(r, container->s.len);
        *out = item->s.len == 0 || str_find(container->s, item->s) != SIZE_MAX;
        return rc;
    }
    if (container->kind == TPL_DICT || (container->kind == TPL_VIEW && container->view->kind == TPL_KEYS)) {
        const struct tpl_dict *dict = container->kind == TPL_DICT ? container->dict : container->view->dict;
        rc = tpl_dict_find(r, dict, item, &found);
        *out = found != NULL;
        return rc;
    }
    if (!tpl_iterable(container))
        return tpl_fail(r, "argument of type '%s' is not iterable", tpl_type_name(container));
    rc = tpl_items(r, container, &list);
    for (size_t i = 0; rc == 0 && !*out && i < list.count; i++)
        rc = tpl_equal(r, &list.items[i], item, out);
    return rc;
}
