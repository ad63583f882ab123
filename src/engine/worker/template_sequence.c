/* Filters over sequences. What is a generator in Python gives an iterator, which can be walked once. */
#include "engine/worker/template_internal.h"

#include <string.h>

/* ---- Attributes by path: "a.b.0", or a number ---- */

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return s.len > 0;
}

/* `fallback` (TPL_MISSING: none) takes the place of what is undefined on the way. */
static int attr_path(struct tpl_run *r, struct tpl_value v, const struct tpl_value *path,
    const struct tpl_value *fallback, struct tpl_value *out)
{
    struct str rest = path->s, part;
    bool more = true;
    int rc = 0;
    *out = v;
    if (path->kind == TPL_MISSING || path->kind == TPL_NONE)
        return 0;
    if (path->kind != TPL_STRING)
        return tpl_get_item(r, &v, path, out);
    while (rc == 0 && more) {
        size_t dot = str_find_char(rest, '.');
        int64_t index;
        part = str_slice(rest, 0, dot);
        more = dot != SIZE_MAX;
        rest = more ? str_slice(rest, dot + 1, rest.len) : STR_NONE;
        v = *out;
        struct tpl_value key =
            all_digits(part) && str_to_int64(part, &index) ? tpl_int(index) : tpl_string(part);
        rc = tpl_get_item(r, &v, &key, out);
        if (rc == 0 && out->kind == TPL_UNDEFINED && fallback && fallback->kind != TPL_MISSING &&
            fallback->kind != TPL_NONE)
            *out = *fallback;
    }
    return rc;
}

/* What items are compared by: an attribute, in lower case unless the case matters. */
static int key_of(struct tpl_run *r, const struct tpl_value *item, const struct tpl_value *path,
    bool case_sensitive, struct tpl_value *out)
{
    int rc = attr_path(r, *item, path, NULL, out);
    if (rc == 0 && out->kind == TPL_STRING && !case_sensitive) {
        struct tpl_value text = *out;
        rc = tpl_case(r, &text, 'l', out);
    }
    return rc;
}

/* ---- Sorting ---- */

struct keyed {
    struct tpl_value key, item;
};

/* Merge sort from the bottom up: stable, and an error in a comparison stops it. */
static int sort_keyed(struct tpl_run *r, struct keyed *items, size_t count, bool reverse)
{
    struct keyed *other = arena_try_array(r->arena, struct keyed, count), *from = items, *to = other;
    if (!other)
        return tpl_fail_memory(r);
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t mid = start + width < count ? start + width : count;
            size_t end = mid + width < count ? mid + width : count;
            for (size_t a = start, b = mid, k = start; k < end; k++) {
                bool take_b = a == mid;
                if (a < mid && b < end) {
                    const struct tpl_value *x = reverse ? &from[a].key : &from[b].key;
                    const struct tpl_value *y = reverse ? &from[b].key : &from[a].key;
                    int rc = tpl_less(r, x, y, false, &take_b);
                    if (rc || (rc = tpl_spend(r, 1)))
                        return rc;
                }
                to[k] = take_b ? from[b++] : from[a++];
            }
        }
        struct keyed *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
    return 0;
}

/* sort() compares lists of attributes, "a,b": what is equal, even undefined, needs no order. */
static int sort_key(struct tpl_run *r, const struct tpl_value *item, const struct tpl_value *path,
    bool case_sensitive, struct tpl_value *out)
{
    struct str rest = path->kind == TPL_STRING ? path->s : STR("-"), part;
    struct tpl_list keys;
    int rc = tpl_list_new(r, 1, &keys);
    while (rc == 0 && str_split(&rest, ',', &part)) {
        struct tpl_value one = path->kind == TPL_STRING ? tpl_string(part) : *path, key;
        rc = key_of(r, item, &one, case_sensitive, &key);
        if (rc == 0)
            rc = tpl_list_append(r, &keys, key);
    }
    return rc ? rc : tpl_list_value(r, TPL_LIST, &keys, out);
}

enum by { BY_FIRST, BY_SECOND, BY_ATTRIBUTE, BY_ATTRIBUTES };

/* The items of `list` by the first or second of a pair, or by the attribute (or several of them) at `path`.
 */
static int sorted(struct tpl_run *r, const struct tpl_list *list, enum by by, const struct tpl_value *path,
    bool case_sensitive, bool reverse, struct tpl_value *out)
{
    struct keyed *items = arena_try_array(r->arena, struct keyed, list->count);
    struct tpl_list result;
    int rc = items ? 0 : tpl_fail_memory(r);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        const struct tpl_value *item = &list->items[i];
        items[i].item = *item;
        if (by == BY_ATTRIBUTES)
            rc = sort_key(r, item, path, case_sensitive, &items[i].key);
        else
            rc = key_of(
                r, by == BY_ATTRIBUTE ? item : &item->list->items[by], path, case_sensitive, &items[i].key);
    }
    if (rc == 0)
        rc = sort_keyed(r, items, list->count, reverse);
    if (rc == 0)
        rc = tpl_list_new(r, list->count, &result);
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        rc = tpl_list_append(r, &result, items[i].item);
    return rc ? rc : tpl_list_value(r, TPL_LIST, &result, out);
}

static int f_sort(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    bool reverse, case_sensitive;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], false, &reverse);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[1], false, &case_sensitive);
    return rc ? rc : sorted(r, &list, BY_ATTRIBUTES, &call->arg[2], case_sensitive, reverse, out);
}

static int f_dictsort(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value none = {.kind = TPL_MISSING};
    struct tpl_list list;
    struct str by = STR("key");
    bool case_sensitive, reverse;
    if (call->self.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, &call->self);
    if (call->self.kind != TPL_DICT)
        return tpl_fail(r, "dictsort takes a dict, not %s", tpl_type_name(&call->self));
    struct tpl_view view = {call->self.dict, TPL_ITEMS};
    const struct tpl_value items = {.kind = TPL_VIEW, .view = &view};
    int rc = tpl_items(r, &items, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], false, &case_sensitive);
    if (rc == 0 && call->arg[1].kind != TPL_MISSING)
        rc = tpl_arg_str(r, &call->arg[1], "by", &by);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[2], false, &reverse);
    if (rc == 0 && !str_is(by, "key") && !str_is(by, "value"))
        return tpl_fail(r, "dictsort sorts by either \"key\" or \"value\"");
    return rc ? rc
              : sorted(r, &list, str_is(by, "value") ? BY_SECOND : BY_FIRST, &none, case_sensitive, reverse,
                    out);
}

/* ---- map, select, reject ---- */

/* A filter or test called by name with the arguments after the first `skip`. */
static int call_named(struct tpl_run *r, bool test, struct str name, const struct tpl_value *item,
    const struct tpl_args *args, size_t skip, struct tpl_value *out)
{
    const struct tpl_builtin *b = test ? tpl_builtin_find(tpl_tests, name) : tpl_filter_find(name);
    if (!b)
        return tpl_fail(r, "there is no %s named '" STR_FMT "'", test ? "test" : "filter", STR_ARG(name));
    struct tpl_args rest = {
        args->positional + skip, args->n_positional - skip, args->keywords, args->n_keywords};
    int rc = tpl_enter(r); /* map('map', 'map' ...) */
    if (rc)
        return rc;
    rc = tpl_builtin_call(r, b, item, &rest, out);
    tpl_leave(r);
    return rc;
}

static const struct tpl_value *keyword(const struct tpl_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_keywords; i++)
        if (str_is(args->keywords[i].name, name))
            return &args->keywords[i].value;
    return NULL;
}

static int map_one(
    struct tpl_run *r, const struct tpl_args *args, const struct tpl_value *item, struct tpl_value *out)
{
    const struct tpl_value *path = keyword(args, "attribute"), *fallback = keyword(args, "default");
    struct str name;
    if (args->n_positional == 0 && path) {
        if (args->n_keywords > (fallback ? 2U : 1U))
            return tpl_fail(r, "map has a keyword argument that it does not know");
        return attr_path(r, *item, path, fallback, out);
    }
    if (args->n_positional == 0)
        return tpl_fail(r, "map requires a filter argument");
    int rc = tpl_arg_str(r, &args->positional[0], "the name of a filter", &name);
    return rc ? rc : call_named(r, false, name, item, args, 1, out);
}

/* The items of what is filtered; nothing for what is false, such as none. */
static int items_if_true(struct tpl_run *r, const struct tpl_value *v, struct tpl_list *list)
{
    bool any;
    int rc = tpl_truth(r, v, &any);
    *list = (struct tpl_list){NULL, 0, NULL};
    return rc || !any ? rc : tpl_items(r, v, list);
}

static int f_map(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, result;
    int rc = items_if_true(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_list_new(r, list.count, &result);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value v;
        rc = map_one(r, call->args, &list.items[i], &v);
        if (rc == 0)
            rc = tpl_list_append(r, &result, v);
    }
    return rc ? rc : tpl_iterator_value(r, &result, out);
}

/* Keeps the items (or those whose attribute) for which the test says `want`. */
static int filter_items(
    struct tpl_run *r, const struct tpl_call *call, bool by_attr, bool want, struct tpl_value *out)
{
    const struct tpl_args *args = call->args;
    struct tpl_list list, result;
    struct str name;
    size_t skip = by_attr;
    int rc = items_if_true(r, &call->self, &list);
    if (rc == 0 && args->n_positional < skip)
        return tpl_fail(r, "Missing parameter for attribute name");
    if (rc == 0)
        rc = tpl_list_new(r, 4, &result);
    if (rc == 0 && args->n_positional > skip)
        rc = tpl_arg_str(r, &args->positional[skip], "the name of a test", &name);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value v = list.items[i], verdict;
        bool yes = false;
        if (by_attr)
            rc = attr_path(r, list.items[i], &args->positional[0], NULL, &v);
        verdict = v;
        if (rc == 0 && args->n_positional > skip)
            rc = call_named(r, true, name, &v, args, skip + 1, &verdict);
        if (rc == 0)
            rc = tpl_truth(r, &verdict, &yes);
        if (rc == 0 && yes == want)
            rc = tpl_list_append(r, &result, list.items[i]);
        if (rc == 0)
            rc = tpl_spend(r, 1);
    }
    return rc ? rc : tpl_iterator_value(r, &result, out);
}

static int f_select(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return filter_items(r, call, false, true, out);
}

static int f_reject(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return filter_items(r, call, false, false, out);
}

static int f_selectattr(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return filter_items(r, call, true, true, out);
}

static int f_rejectattr(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return filter_items(r, call, true, false, out);
}

/* ---- One value out of many ---- */

static int f_length(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int64_t length;
    int rc = tpl_length(r, &call->self, &length);
    if (rc == 0 && length < 0)
        return tpl_fail(r, "object of type '%s' has no len()", tpl_type_name(&call->self));
    *out = tpl_int(rc ? 0 : length);
    return rc;
}

static int f_first(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    struct tpl_iterator *it = call->self.kind == TPL_ITERATOR ? call->self.iterator : NULL;
    *out = tpl_undefined(STR("No first item, sequence was empty."));
    if (it) { /* takes one and leaves the others */
        if (it->next < it->list.count)
            *out = it->list.items[it->next++];
        return 0;
    }
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0 && list.count > 0)
        *out = list.items[0];
    return rc;
}

static int f_last(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    if (call->self.kind == TPL_ITERATOR)
        return tpl_fail(r, "'generator' object is not reversible");
    int rc = tpl_items(r, &call->self, &list);
    *out = tpl_undefined(STR("No last item, sequence was empty."));
    if (rc == 0 && list.count > 0)
        *out = list.items[list.count - 1];
    return rc;
}

static int extreme(struct tpl_run *r, const struct tpl_call *call, bool largest, struct tpl_value *out)
{
    struct tpl_list list;
    struct tpl_value best, key;
    bool case_sensitive, better;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], false, &case_sensitive);
    *out = tpl_undefined(STR("No aggregated item, sequence was empty."));
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = key_of(r, &list.items[i], &call->arg[1], case_sensitive, &key);
        better = i == 0;
        if (rc == 0 && i > 0)
            rc =
                largest ? tpl_less(r, &best, &key, false, &better) : tpl_less(r, &key, &best, false, &better);
        if (rc || !better)
            continue;
        best = key;
        *out = list.items[i];
    }
    return rc;
}

static int f_min(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return extreme(r, call, false, out);
}

static int f_max(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return extreme(r, call, true, out);
}

static int f_sum(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    struct tpl_value total = call->arg[1].kind == TPL_MISSING ? tpl_int(0) : call->arg[1], v, both;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0 && total.kind == TPL_STRING)
        return tpl_fail(r, "sum() can't sum strings: use join");
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = attr_path(r, list.items[i], &call->arg[0], NULL, &v);
        if (rc == 0)
            rc = tpl_binary(r, OP_ADD, &total, &v, &both);
        if (rc == 0)
            total = both;
    }
    *out = total;
    return rc;
}

static int f_join(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    struct str between = STR_NONE;
    int rc = call->arg[0].kind == TPL_MISSING ? 0 : tpl_to_str(r, &call->arg[0], &between);
    if (rc == 0)
        rc = tpl_items(r, &call->self, &list);
    size_t mark = tpl_text_begin(r);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value v;
        rc = attr_path(r, list.items[i], &call->arg[1], NULL, &v);
        if (i > 0)
            buf_append_str(r->out, between);
        if (rc == 0)
            rc = tpl_write(r, &v);
    }
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

/* ---- Sequences out of sequences ---- */

static int f_list(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    int rc = tpl_items(r, &call->self, &list);
    return rc ? rc : tpl_list_value(r, TPL_LIST, &list, out);
}

static int f_items(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list = {NULL, 0, NULL};
    int rc = 0;
    if (call->self.kind == TPL_DICT) {
        struct tpl_view view = {call->self.dict, TPL_ITEMS};
        const struct tpl_value items = {.kind = TPL_VIEW, .view = &view};
        rc = tpl_items(r, &items, &list);
    } else if (call->self.kind != TPL_UNDEFINED) {
        return tpl_fail(r, "Can only get item pairs from a mapping.");
    }
    return rc ? rc : tpl_iterator_value(r, &list, out);
}

static int f_reverse(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, result;
    if (call->self.kind == TPL_STRING) {
        const struct tpl_value bounds[3] = {tpl_none(), tpl_none(), tpl_int(-1)};
        return tpl_get_slice(r, &call->self, bounds, out);
    }
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_list_new(r, list.count, &result);
    if (rc == 0)
        rc = tpl_spend(r, list.count);
    for (size_t i = list.count; rc == 0 && i-- > 0;)
        rc = tpl_list_append(r, &result, list.items[i]);
    if (rc)
        return rc;
    return call->self.kind == TPL_ITERATOR ? tpl_list_value(r, TPL_LIST, &result, out)
                                           : tpl_iterator_value(r, &result, out);
}

static int f_unique(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, result;
    struct tpl_value seen, *old;
    bool case_sensitive;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], false, &case_sensitive);
    if (rc == 0)
        rc = tpl_dict_new(r, list.count, TPL_DICT, &seen);
    if (rc == 0)
        rc = tpl_list_new(r, list.count, &result);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value key;
        rc = key_of(r, &list.items[i], &call->arg[1], case_sensitive, &key);
        if (rc == 0)
            rc = tpl_dict_find(r, seen.dict, &key, &old);
        if (rc || old)
            continue;
        rc = tpl_dict_put(r, seen.dict, key, tpl_none());
        if (rc == 0)
            rc = tpl_list_append(r, &result, list.items[i]);
    }
    return rc ? rc : tpl_iterator_value(r, &result, out);
}

/* A list of items[from .. to), filled up to `width` unless `fill` is missing or none. */
static int row_add(struct tpl_run *r, struct tpl_list *rows, const struct tpl_list *items, size_t from,
    size_t to, size_t width, const struct tpl_value *fill)
{
    struct tpl_list row;
    struct tpl_value v;
    int rc = tpl_list_new(r, to - from, &row);
    for (size_t i = from; rc == 0 && i < to; i++)
        rc = tpl_list_append(r, &row, items->items[i]);
    while (rc == 0 && row.count < width && fill->kind != TPL_MISSING && fill->kind != TPL_NONE) {
        rc = tpl_spend(r, 1);
        if (rc == 0)
            rc = tpl_list_append(r, &row, *fill);
    }
    if (rc == 0)
        rc = tpl_list_value(r, TPL_LIST, &row, &v);
    return rc ? rc : tpl_list_append(r, rows, v);
}

static int f_batch(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, rows;
    int64_t width;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[0], "linecount", 1, &width);
    if (rc == 0 && width < 1)
        return tpl_fail(r, "batch needs a linecount of at least 1");
    if (rc == 0)
        rc = tpl_list_new(r, 4, &rows);
    for (size_t i = 0, end; rc == 0 && i < list.count; i = end) {
        end = (uint64_t)width < list.count - i ? i + (size_t)width : list.count;
        rc = row_add(r, &rows, &list, i, end, (size_t)width, &call->arg[1]);
    }
    return rc ? rc : tpl_iterator_value(r, &rows, out);
}

static int f_slice(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, rows;
    int64_t slices;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[0], "slices", 1, &slices);
    if (rc == 0 && (slices < 1 || slices > TPL_RANGE_MAX))
        return tpl_fail(r, "slice needs 1 to %d slices", TPL_RANGE_MAX);
    if (rc == 0)
        rc = tpl_list_new(r, 4, &rows);
    size_t n = rc ? 0 : (size_t)slices, from = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t whole = list.count / n, extra = i < list.count % n;
        rc = row_add(r, &rows, &list, from, from + whole + extra, extra ? 0 : whole + 1, &call->arg[1]);
        from += whole + extra;
    }
    return rc ? rc : tpl_iterator_value(r, &rows, out);
}

/* (key, items) pairs by the sorted values of an attribute. */
static int f_groupby(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, groups, group;
    struct tpl_value all, key, last = {.kind = TPL_MISSING}, name = last;
    bool case_sensitive, same;
    int rc = tpl_arg_bool(r, &call->arg[2], false, &case_sensitive);
    if (rc == 0)
        rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = sorted(r, &list, BY_ATTRIBUTE, &call->arg[0], case_sensitive, false, &all);
    if (rc == 0)
        rc = tpl_list_new(r, 4, &groups);
    for (size_t i = 0; rc == 0 && i <= list.count; i++) {
        struct tpl_value pair;
        same = false;
        if (i < list.count)
            rc = key_of(r, &all.list->items[i], &call->arg[0], case_sensitive, &key);
        if (rc == 0 && i > 0 && i < list.count)
            rc = tpl_equal(r, &key, &last, &same);
        if (rc == 0 && i > 0 && !same) {
            rc = tpl_list_value(r, TPL_LIST, &group, &pair);
            if (rc == 0)
                rc = tpl_tuple2(r, name, pair, &pair);
            if (rc == 0)
                rc = tpl_list_append(r, &groups, pair);
        }
        if (rc || i == list.count)
            break;
        if (!same) {
            rc = tpl_list_new(r, 4, &group);
            if (rc == 0)
                rc = attr_path(r, all.list->items[i], &call->arg[0], &call->arg[1], &name);
        }
        if (rc == 0)
            rc = tpl_list_append(r, &group, all.list->items[i]);
        last = key;
    }
    return rc ? rc : tpl_list_value(r, TPL_LIST, &groups, out);
}

/* ---- Others ---- */

static int f_default(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    bool also_false, yes = true;
    int rc = tpl_arg_bool(r, &call->arg[1], false, &also_false);
    if (rc == 0 && also_false)
        rc = tpl_truth(r, &call->self, &yes);
    *out = call->self;
    if (rc == 0 && (call->self.kind == TPL_UNDEFINED || !yes))
        *out = call->arg[0].kind == TPL_MISSING ? tpl_string(STR_NONE) : call->arg[0];
    return rc;
}

/* Real attributes only: a dict's keys are none. */
static int f_attr(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str name;
    int rc = tpl_to_str(r, &call->arg[0], &name);
    if (rc == 0 && call->self.kind != TPL_DICT)
        return tpl_get_attr(r, &call->self, name, out);
    *out = (struct tpl_value){.kind = TPL_UNDEFINED, .owner = TPL_DICT, .s = name};
    return rc;
}

const struct tpl_builtin tpl_filters_sequence[] = {{"length", "", f_length}, {"count", "", f_length},
    {"default", "?default_value ?boolean", f_default}, {"d", "?default_value ?boolean", f_default},
    {"join", "?d ?attribute", f_join}, {"items", "", f_items}, {"list", "", f_list}, {"map", NULL, f_map},
    {"select", NULL, f_select}, {"reject", NULL, f_reject}, {"selectattr", NULL, f_selectattr},
    {"rejectattr", NULL, f_rejectattr}, {"first", "", f_first}, {"last", "", f_last},
    {"min", "?case_sensitive ?attribute", f_min}, {"max", "?case_sensitive ?attribute", f_max},
    {"sum", "?attribute ?start", f_sum}, {"reverse", "", f_reverse},
    {"sort", "?reverse ?case_sensitive ?attribute", f_sort},
    {"dictsort", "?case_sensitive ?by ?reverse", f_dictsort},
    {"unique", "?case_sensitive ?attribute", f_unique}, {"batch", "linecount ?fill_with", f_batch},
    {"slice", "slices ?fill_with", f_slice}, {"groupby", "attribute ?default ?case_sensitive", f_groupby},
    {"attr", "name", f_attr}, {NULL, NULL, NULL}};
