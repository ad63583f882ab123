/* Attributes, items and slices of values, and the methods of dicts, lists and loops. What would change a
 * value (append, update, pop ...) is refused as Jinja's immutable sandbox does. */
#include "engine/worker/template_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- Methods of dicts ---- */

static int view_value(
    struct tpl_run *r, const struct tpl_call *call, enum tpl_view_kind kind, struct tpl_value *out)
{
    struct tpl_view *view = arena_try_alloc(r->arena, 1, sizeof *view);
    if (!view)
        return tpl_fail_memory(r);
    *view = (struct tpl_view){call->self.dict, kind};
    *out = (struct tpl_value){.kind = TPL_VIEW, .view = view};
    return 0;
}

static int dict_items(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return view_value(r, call, TPL_ITEMS, out);
}

static int dict_keys(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return view_value(r, call, TPL_KEYS, out);
}

static int dict_values(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return view_value(r, call, TPL_VALUES, out);
}

static int dict_get(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value *found;
    int rc = tpl_dict_find(r, call->self.dict, &call->arg[0], &found);
    if (rc)
        return rc;
    *out = found ? *found : call->arg[1].kind == TPL_MISSING ? tpl_none() : call->arg[1];
    return 0;
}

/* Nothing can change a value, so a copy is the value. */
static int itself(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    (void)r;
    *out = call->self;
    return 0;
}

static const struct tpl_builtin methods_dict[] = {{"items", "", dict_items}, {"keys", "", dict_keys},
    {"values", "", dict_values}, {"get", "key ?default", dict_get}, {"copy", "", itself}, {NULL, NULL, NULL}};

/* ---- Methods of lists and tuples ---- */

static int list_index(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_list *list = call->self.list;
    for (size_t i = 0; i < list->count; i++) {
        bool same;
        int rc = tpl_equal(r, &list->items[i], &call->arg[0], &same);
        if (rc == 0)
            rc = tpl_spend(r, 1);
        *out = tpl_int((int64_t)i);
        if (rc || same)
            return rc;
    }
    return tpl_fail(r, "the value is not in the %s", tpl_type_name(&call->self));
}

static int list_count(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_list *list = call->self.list;
    int64_t count = 0;
    int rc = tpl_spend(r, list->count);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        bool same;
        rc = tpl_equal(r, &list->items[i], &call->arg[0], &same);
        count += rc == 0 && same;
    }
    *out = tpl_int(count);
    return rc;
}

static const struct tpl_builtin methods_list[] = {
    {"index", "value", list_index}, {"count", "value", list_count}, {"copy", "", itself}, {NULL, NULL, NULL}};

/* ---- Methods of loops ---- */

static int loop_cycle(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    size_t n = call->args->n_positional;
    if (n == 0)
        return tpl_fail(r, "no items for cycling given");
    *out = call->args->positional[(size_t)call->self.loop->index0 % n];
    return 0;
}

static int loop_changed(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_loop *loop = call->self.loop;
    struct tpl_list list = {call->args->positional, call->args->n_positional, NULL};
    struct tpl_value now;
    bool same;
    int rc = tpl_list_value(r, TPL_TUPLE, &list, &now);
    if (rc == 0)
        rc = tpl_equal(r, &now, &loop->changed, &same);
    if (rc)
        return rc;
    loop->changed = now;
    *out = tpl_bool(!same);
    return 0;
}

static const struct tpl_builtin methods_loop[] = {
    {"cycle", NULL, loop_cycle}, {"changed", NULL, loop_changed}, {NULL, NULL, NULL}};

/* The counters of `loop`; TPL_MISSING for another name. */
static int loop_attr(struct tpl_run *r, const struct tpl_value *v, struct str name, struct tpl_value *out)
{
    struct tpl_loop *l = v->loop;
    bool found;
    int64_t length;
    int rc = 0;
    *out = (struct tpl_value){.kind = TPL_MISSING};
    if (str_is(name, "index")) {
        *out = tpl_int(l->index0 + 1);
    } else if (str_is(name, "index0")) {
        *out = tpl_int(l->index0);
    } else if (str_is(name, "first")) {
        *out = tpl_bool(l->index0 == 0);
    } else if (str_is(name, "last")) {
        rc = tpl_loop_peek(r, l, &found);
        *out = tpl_bool(rc == 0 && !found);
    } else if (str_is(name, "previtem")) {
        *out = l->index0 > 0 ? l->before : tpl_undefined(STR("there is no previous item"));
    } else if (str_is(name, "nextitem")) {
        rc = tpl_loop_peek(r, l, &found);
        *out = rc == 0 && found ? l->after : tpl_undefined(STR("there is no next item"));
    } else if (str_is(name, "depth")) {
        *out = tpl_int(l->depth0 + 1);
    } else if (str_is(name, "depth0")) {
        *out = tpl_int(l->depth0);
    } else if (str_is(name, "length") || str_is(name, "revindex") || str_is(name, "revindex0")) {
        rc = tpl_loop_length(r, l, &length);
        *out = tpl_int(length - (name.len == 6 ? 0 : name.len == 8 ? l->index0 : l->index0 + 1));
    }
    return rc;
}

/* ---- Attributes ---- */

static bool changes(const struct tpl_value *v, struct str name)
{
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    static const char *const of_list[] = {
        "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};
    for (const char *const *p = v->kind == TPL_DICT ? of_dict : of_list; *p; p++)
        if (str_is(name, *p))
            return v->kind == TPL_DICT || v->kind == TPL_LIST;
    return false;
}

static int refuse_change(struct tpl_run *r, const struct tpl_value *v, struct str name, struct tpl_value *out)
{
    struct str text;
    size_t mark = tpl_text_begin(r);
    buf_appendf(r->out, "access to attribute '" STR_FMT "' of '%s' object is unsafe.", STR_ARG(name),
        tpl_type_name(v));
    int rc = tpl_text_end(r, mark, &text);
    *out = tpl_undefined(text);
    return rc;
}

static const struct tpl_builtin *method_find(const struct tpl_value *v, struct str name)
{
    const struct tpl_builtin *found;
    switch (v->kind) {
    case TPL_STRING:
        found = tpl_builtin_find(tpl_methods_string, name);
        return found ? found : tpl_builtin_find(tpl_methods_case, name);
    case TPL_DICT:
        return tpl_builtin_find(methods_dict, name);
    case TPL_LIST:
    case TPL_TUPLE:
        return tpl_builtin_find(methods_list, name);
    case TPL_LOOP:
        return tpl_builtin_find(methods_loop, name);
    case TPL_CYCLER:
        return tpl_builtin_find(tpl_methods_cycler, name);
    default:
        return NULL;
    }
}

/* A real attribute of the value; TPL_MISSING if it has none of that name. */
static int own_attr(struct tpl_run *r, const struct tpl_value *v, struct str name, struct tpl_value *out)
{
    struct tpl_value *found, key = tpl_string(name);
    *out = (struct tpl_value){.kind = TPL_MISSING};
    const struct tpl_builtin *method = method_find(v, name);
    if (method)
        return tpl_bound_value(r, method, v, out);
    if (changes(v, name))
        return refuse_change(r, v, name, out);
    if (v->kind == TPL_LOOP)
        return loop_attr(r, v, name, out);
    if (v->kind == TPL_NAMESPACE) {
        int rc = tpl_dict_find(r, v->dict, &key, &found);
        if (rc == 0 && found)
            *out = *found;
        return rc;
    }
    if (v->kind == TPL_TUPLE && v->list->count == 2) { /* the names that groupby gives to its pairs */
        if (str_is(name, "grouper"))
            *out = v->list->items[0];
        else if (str_is(name, "list"))
            *out = v->list->items[1];
    } else if (v->kind == TPL_MACRO && str_is(name, "name"))
        *out = tpl_string(v->macro->node->name);
    else if (v->kind == TPL_CYCLER && str_is(name, "current"))
        *out = v->cycler->items.items[v->cycler->next];
    return 0;
}

static struct tpl_value lacks(const struct tpl_value *v, struct str name)
{
    return (struct tpl_value){.kind = TPL_UNDEFINED, .owner = v->kind, .s = name};
}

/* v.name: an attribute or, failing that, an item. */
int tpl_get_attr(struct tpl_run *r, const struct tpl_value *v, struct str name, struct tpl_value *out)
{
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    int rc = own_attr(r, v, name, out);
    if (rc || out->kind != TPL_MISSING)
        return rc;
    *out = lacks(v, name);
    if (v->kind == TPL_DICT) {
        struct tpl_value *found, key = tpl_string(name);
        rc = tpl_dict_find(r, v->dict, &key, &found);
        if (rc == 0 && found)
            *out = *found;
    }
    return rc;
}

/* ---- Items ---- */

static int item_of_string(struct tpl_run *r, const struct tpl_value *v, int64_t index, struct tpl_value *out)
{
    int rc = tpl_spend_bytes(r, v->s.len);
    if (rc)
        return rc;
    if (index < 0)
        index += (int64_t)str_utf8_count(v->s);
    if (index < 0 || index > (int64_t)v->s.len)
        return 0;
    size_t from = tpl_char_offset(v->s, (size_t)index);
    if (from == v->s.len)
        return 0;
    size_t to = from;
    tpl_char_next(v->s, &to);
    *out = tpl_markup(str_slice(v->s, from, to), v->markup);
    return 0;
}

static int item_at(struct tpl_run *r, const struct tpl_value *v, int64_t index, struct tpl_value *out)
{
    if (v->kind == TPL_STRING)
        return item_of_string(r, v, index, out);
    size_t count = v->kind == TPL_RANGE ? v->range->count : v->list->count;
    if (index < 0)
        index += (int64_t)count;
    if (index < 0 || (size_t)index >= count)
        return 0;
    *out = v->kind == TPL_RANGE ? tpl_int(v->range->start + index * v->range->step) : v->list->items[index];
    return 0;
}

/* v[key]: an item or, failing that, an attribute; anything else that does not fit is undefined. */
int tpl_get_item(
    struct tpl_run *r, const struct tpl_value *v, const struct tpl_value *key, struct tpl_value *out)
{
    int rc = 0;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    *out = (struct tpl_value){.kind = TPL_MISSING};
    if (v->kind == TPL_DICT && key->kind != TPL_LIST && key->kind != TPL_DICT) {
        struct tpl_value *found;
        rc = tpl_dict_find(r, v->dict, key, &found);
        if (rc == 0 && found)
            *out = *found;
    } else if (tpl_is_integral(key) && (v->kind == TPL_STRING || v->kind == TPL_LIST ||
                                           v->kind == TPL_TUPLE || v->kind == TPL_RANGE)) {
        rc = item_at(r, v, tpl_integer(key), out);
    }
    if (rc || out->kind != TPL_MISSING)
        return rc;
    if (key->kind == TPL_STRING) {
        rc = own_attr(r, v, key->s, out);
        if (rc == 0 && out->kind == TPL_MISSING)
            *out = lacks(v, key->s);
        return rc;
    }
    struct str text;
    size_t mark = tpl_text_begin(r);
    buf_appendf(r->out, "%s object has no element ", tpl_type_name(v));
    rc = tpl_write_repr(r, key);
    if (rc == 0)
        rc = tpl_text_end(r, mark, &text);
    if (rc == 0)
        *out = tpl_undefined(text);
    return rc;
}

/* ---- Slices ---- */

struct span {
    int64_t start, step;
    size_t count;
};

static int bound_get(struct tpl_run *r, const struct tpl_value *v, int64_t fallback, int64_t *out)
{
    if (v->kind == TPL_MISSING || v->kind == TPL_NONE) {
        *out = fallback;
        return 0;
    }
    if (!tpl_is_integral(v))
        return tpl_fail(r, "slice indices must be integers or None, not %s", tpl_type_name(v));
    *out = tpl_integer(v);
    return 0;
}

/* An index of a slice, brought into least..most. */
static int64_t bound_clamp(int64_t i, int64_t length, int64_t least, int64_t most)
{
    if (i < 0)
        i = i < -length ? -1 : i + length;
    return i < least ? least : i > most ? most : i;
}

/* Python's rules (slice.indices): steps may be negative, bounds count from the end and never go out of range.
 */
static int span_of(struct tpl_run *r, const struct tpl_value bounds[3], int64_t length, struct span *out)
{
    int64_t start, stop;
    int rc = bound_get(r, &bounds[2], 1, &out->step);
    if (rc)
        return rc;
    if (out->step == 0)
        return tpl_fail(r, "slice step cannot be zero");
    bool back = out->step < 0;
    int64_t least = back ? -1 : 0, most = back ? length - 1 : length;
    rc = bound_get(r, &bounds[0], back ? INT64_MAX : 0, &start);
    if (rc == 0)
        rc = bound_get(r, &bounds[1], INT64_MAX, &stop);
    if (rc)
        return rc;
    bool no_stop = bounds[1].kind == TPL_MISSING || bounds[1].kind == TPL_NONE;
    out->start = bound_clamp(start, length, least, most);
    stop = back && no_stop ? -1 : bound_clamp(stop, length, least, most);
    uint64_t distance = back ? (uint64_t)(out->start > stop ? out->start - stop : 0)
                             : (uint64_t)(stop > out->start ? stop - out->start : 0);
    uint64_t step = back ? (uint64_t)0 - (uint64_t)out->step : (uint64_t)out->step;
    out->count = (size_t)(distance / step + (distance % step != 0));
    return 0;
}

static int slice_string(
    struct tpl_run *r, const struct tpl_value *v, const struct span *span, struct tpl_value *out)
{
    if (span->step == 1 || span->count == 0) {
        size_t from = tpl_char_offset(v->s, (size_t)span->start);
        struct str rest = str_slice(v->s, from, v->s.len);
        *out = tpl_markup(str_slice(rest, 0, tpl_char_offset(rest, span->count)), v->markup);
        return 0;
    }
    struct tpl_list chars;
    struct tpl_value plain = tpl_string(v->s);
    size_t mark = tpl_text_begin(r);
    int rc = tpl_items(r, &plain, &chars);
    if (rc)
        return rc;
    for (size_t i = 0; i < span->count; i++)
        buf_append_str(r->out, chars.items[span->start + (int64_t)i * span->step].s);
    *out = tpl_markup(STR_NONE, v->markup);
    return tpl_text_end(r, mark, &out->s);
}

static int slice_list(
    struct tpl_run *r, const struct tpl_value *v, const struct span *span, struct tpl_value *out)
{
    struct tpl_list list = {NULL, 0, NULL};
    int rc = 0;
    if (span->step == 1 && span->count > 0) {
        list = (struct tpl_list){v->list->items + span->start, span->count, v->list->store};
    } else if (span->count > 0) {
        rc = tpl_list_new(r, span->count, &list);
        if (rc == 0)
            rc = tpl_spend(r, span->count / 4);
        for (size_t i = 0; rc == 0 && i < span->count; i++)
            rc = tpl_list_append(r, &list, v->list->items[span->start + (int64_t)i * span->step]);
    }
    return rc ? rc : tpl_list_value(r, (enum tpl_kind)v->kind, &list, out);
}

int tpl_get_slice(
    struct tpl_run *r, const struct tpl_value *v, const struct tpl_value bounds[3], struct tpl_value *out)
{
    struct span span;
    int64_t length;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (v->kind != TPL_STRING && v->kind != TPL_LIST && v->kind != TPL_TUPLE && v->kind != TPL_RANGE)
        return tpl_fail(r, "'%s' object cannot be sliced", tpl_type_name(v));
    int rc = tpl_length(r, v, &length);
    if (rc == 0)
        rc = span_of(r, bounds, length, &span);
    if (rc == 0)
        rc = tpl_spend_bytes(r, v->kind == TPL_STRING ? v->s.len : 0);
    if (rc)
        return rc;
    if (v->kind == TPL_STRING)
        return slice_string(r, v, &span, out);
    if (v->kind != TPL_RANGE)
        return slice_list(r, v, &span, out);
    struct tpl_range *range = arena_try_alloc(r->arena, 1, sizeof *range);
    if (!range)
        return tpl_fail_memory(r);
    range->start = v->range->start + span.start * v->range->step;
    range->step = span.count > 1 ? v->range->step * span.step : v->range->step;
    range->count = span.count;
    *out = (struct tpl_value){.kind = TPL_RANGE, .range = range};
    return 0;
}
