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
int tpl_attr_path(struct tpl_run *r, struct tpl_value v, const struct tpl_value *path,
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
        return tpl_attr_path(r, *item, path, fallback, out);
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

/* Python makes these items when they are asked for: an error among them counts only then. */
static int lazy_value(
    struct tpl_run *r, int rc, size_t mark, const struct tpl_list *list, struct tpl_value *out)
{
    if (rc && rc != ERROR_INVALID)
        return rc;
    struct error *failure = rc ? arena_try_alloc(r->arena, 1, sizeof *failure) : NULL;
    if (rc && !failure)
        return tpl_fail_memory(r);
    if (failure)
        *failure = *r->err;
    tpl_text_drop(r, mark); /* a string that was being put together */
    rc = tpl_iterator_value(r, list, out);
    if (rc == 0)
        out->iterator->failure = failure;
    return rc;
}

static int f_map(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list, result = {NULL, 0, NULL};
    size_t mark = tpl_text_begin(r);
    int rc = items_if_true(r, &call->self, &list);
    if (rc == 0)
        rc = tpl_list_new(r, list.count, &result);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value v;
        rc = map_one(r, call->args, &list.items[i], &v);
        if (rc == 0)
            rc = tpl_list_append(r, &result, v);
    }
    return lazy_value(r, rc, mark, &result, out);
}

/* Keeps the items (or those whose attribute) for which the test says `want`. */
static int filter_items(
    struct tpl_run *r, const struct tpl_call *call, bool by_attr, bool want, struct tpl_value *out)
{
    const struct tpl_args *args = call->args;
    struct tpl_list list, result = {NULL, 0, NULL};
    size_t mark = tpl_text_begin(r);
    struct str name;
    size_t skip = by_attr;
    int rc = items_if_true(r, &call->self, &list);
    if (rc == 0 && args->n_positional < skip)
        rc = tpl_fail(r, "Missing parameter for attribute name");
    if (rc == 0)
        rc = tpl_list_new(r, 4, &result);
    if (rc == 0 && args->n_positional > skip)
        rc = tpl_arg_str(r, &args->positional[skip], "the name of a test", &name);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct tpl_value v = list.items[i], verdict;
        bool yes = false;
        if (by_attr)
            rc = tpl_attr_path(r, list.items[i], &args->positional[0], NULL, &v);
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
    return lazy_value(r, rc, mark, &result, out);
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
        if (it->next == it->list.count && it->failure)
            return tpl_items(r, &call->self, &list);
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

static int f_sum(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    struct tpl_value total = call->arg[1].kind == TPL_MISSING ? tpl_int(0) : call->arg[1], v, both;
    int rc = tpl_items(r, &call->self, &list);
    if (rc == 0 && total.kind == TPL_STRING)
        return tpl_fail(r, "sum() can't sum strings: use join");
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = tpl_attr_path(r, list.items[i], &call->arg[0], NULL, &v);
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
        rc = tpl_attr_path(r, list.items[i], &call->arg[1], NULL, &v);
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
    int64_t width = 1;
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
    int64_t slices = 1;
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

/* ---- Others ---- */

static int f_default(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    bool also_false, yes = true;
    int rc = tpl_arg_bool(r, &call->arg[1], &also_false);
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
    {"sum", "?attribute ?start", f_sum}, {"reverse", "", f_reverse},
    {"batch", "linecount ?fill_with", f_batch}, {"slice", "slices ?fill_with", f_slice},
    {"attr", "name", f_attr}, {NULL, NULL, NULL}};
