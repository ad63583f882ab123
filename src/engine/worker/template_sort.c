/* Filters that order and compare the items of sequences. */
#include "engine/worker/template_internal.h"

#include <string.h>

/* What items are compared by: an attribute, in lower case unless the case matters. */
static int key_of(struct tpl_run *r, const struct tpl_value *item, const struct tpl_value *path,
    bool case_sensitive, struct tpl_value *out)
{
    int rc = tpl_attr_path(r, *item, path, NULL, out);
    if (rc == 0 && out->kind == TPL_STRING && !case_sensitive) {
        struct tpl_value text = *out;
        rc = tpl_case(r, &text, 'l', out);
    }
    return rc;
}

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
    bool reverse = false, case_sensitive = false;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], &reverse);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[1], &case_sensitive);
    return rc ? rc : sorted(r, &list, BY_ATTRIBUTES, &call->arg[2], case_sensitive, reverse, out);
}

static int f_dictsort(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value none = {.kind = TPL_MISSING};
    struct tpl_list list;
    struct str by = STR("key");
    bool case_sensitive = false, reverse = false;
    if (call->self.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, &call->self);
    if (call->self.kind != TPL_DICT)
        return tpl_fail(r, "dictsort takes a dict, not %s", tpl_type_name(&call->self));
    struct tpl_view view = {call->self.dict, TPL_ITEMS};
    const struct tpl_value items = {.kind = TPL_VIEW, .view = &view};
    int rc = tpl_items(r, &items, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], &case_sensitive);
    if (rc == 0 && call->arg[1].kind != TPL_MISSING)
        rc = tpl_arg_str(r, &call->arg[1], "by", &by);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[2], &reverse);
    if (rc == 0 && !str_is(by, "key") && !str_is(by, "value"))
        return tpl_fail(r, "dictsort sorts by either \"key\" or \"value\"");
    return rc ? rc
              : sorted(r, &list, str_is(by, "value") ? BY_SECOND : BY_FIRST, &none, case_sensitive, reverse,
                    out);
}

/* ---- The least, the largest, each once, in groups ---- */

static int extreme(struct tpl_run *r, const struct tpl_call *call, bool largest, struct tpl_value *out)
{
    struct tpl_list list;
    struct tpl_value best, key;
    bool case_sensitive = false, better;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], &case_sensitive);
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

static int f_unique(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, result;
    struct tpl_value seen, *old;
    bool case_sensitive = false;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[0], &case_sensitive);
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

/* (key, items) pairs by the sorted values of an attribute. */
static int f_groupby(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list = {NULL, 0, NULL}, groups, group;
    struct tpl_value all, key, last = {.kind = TPL_MISSING}, name = last;
    bool case_sensitive = false, same;
    int rc = tpl_arg_bool(r, &call->arg[2], &case_sensitive);
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
                rc = tpl_attr_path(r, all.list->items[i], &call->arg[0], &call->arg[1], &name);
        }
        if (rc == 0)
            rc = tpl_list_append(r, &group, all.list->items[i]);
        last = key;
    }
    return rc ? rc : tpl_list_value(r, TPL_LIST, &groups, out);
}

const struct tpl_builtin tpl_filters_sort[] = {{"min", "?case_sensitive ?attribute", f_min},
    {"max", "?case_sensitive ?attribute", f_max}, {"sort", "?reverse ?case_sensitive ?attribute", f_sort},
    {"dictsort", "?case_sensitive ?by ?reverse", f_dictsort},
    {"unique", "?case_sensitive ?attribute", f_unique},
    {"groupby", "attribute ?default ?case_sensitive", f_groupby}, {NULL, NULL, NULL}};
