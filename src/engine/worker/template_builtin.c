/* How built-ins are called, the global functions, and the tests behind `is`. */
#include "engine/worker/template_internal.h"

#include <math.h>
#include <string.h>

/* ---- Calling ---- */

const struct tpl_builtin *tpl_builtin_find(const struct tpl_builtin *table, struct str name)
{
    for (; table->name; table++)
        if (str_is(name, table->name))
            return table;
    return NULL;
}

const struct tpl_builtin *tpl_filter_find(struct str name)
{
    const struct tpl_builtin *found = tpl_builtin_find(tpl_filters_text, name);
    if (!found)
        found = tpl_builtin_find(tpl_filters_sequence, name);
    return found ? found : tpl_builtin_find(tpl_filters_sort, name);
}

/* Puts the arguments into the slots of the parameters' names. */
static int bind(
    struct tpl_run *r, const struct tpl_builtin *b, const struct tpl_args *args, struct tpl_call *call)
{
    struct str rest = str_from(b->params), param;
    size_t slot = 0, used = 0;
    for (; str_split(&rest, ' ', &param); slot++) {
        bool optional = param.data[0] == '?';
        param = str_slice(param, optional, param.len);
        if (slot < args->n_positional)
            call->arg[slot] = args->positional[slot];
        for (size_t i = 0; i < args->n_keywords; i++) {
            if (!str_eq(args->keywords[i].name, param))
                continue;
            if (slot < args->n_positional)
                return tpl_fail(
                    r, "%s() got multiple values for argument '" STR_FMT "'", b->name, STR_ARG(param));
            call->arg[slot] = args->keywords[i].value;
            used++;
        }
        if (!optional && call->arg[slot].kind == TPL_MISSING)
            return tpl_fail(r, "%s() is missing its argument '" STR_FMT "'", b->name, STR_ARG(param));
    }
    if (args->n_positional > slot)
        return tpl_fail(r, "%s() takes at most %zu arguments, not %zu", b->name, slot, args->n_positional);
    if (used < args->n_keywords)
        return tpl_fail(r, "%s() got a keyword argument that it does not have", b->name);
    return 0;
}

int tpl_builtin_call(struct tpl_run *r, const struct tpl_builtin *b, const struct tpl_value *self,
    const struct tpl_args *args, struct tpl_value *out)
{
    struct tpl_call call = {.self = *self, .args = args};
    int rc = tpl_spend(r, 1);
    if (rc == 0 && b->params)
        rc = bind(r, b, args, &call);
    return rc ? rc : b->fn(r, &call, out);
}

int tpl_bound_value(
    struct tpl_run *r, const struct tpl_builtin *b, const struct tpl_value *self, struct tpl_value *out)
{
    struct tpl_bound *bound = arena_try_alloc(r->arena, 1, sizeof *bound);
    if (!bound)
        return tpl_fail_memory(r);
    *bound = (struct tpl_bound){b, *self};
    *out = (struct tpl_value){.kind = TPL_FUNCTION, .bound = bound};
    return 0;
}

int tpl_arg_str(struct tpl_run *r, const struct tpl_value *v, const char *what, struct str *out)
{
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (v->kind != TPL_STRING)
        return tpl_fail(r, "%s must be str, not %s", what, tpl_type_name(v));
    *out = v->s;
    return 0;
}

int tpl_arg_int(
    struct tpl_run *r, const struct tpl_value *v, const char *what, int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v->kind == TPL_MISSING)
        return 0;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (!tpl_is_integral(v))
        return tpl_fail(r, "%s must be an integer, not %s", what, tpl_type_name(v));
    *out = tpl_integer(v);
    return 0;
}

int tpl_arg_bool(struct tpl_run *r, const struct tpl_value *v, bool *out)
{
    *out = false;
    return v->kind == TPL_MISSING ? 0 : tpl_truth(r, v, out);
}

/* ---- Global functions ---- */

static int fn_range(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int64_t start, stop, step;
    bool one = call->arg[1].kind == TPL_MISSING;
    int rc = tpl_arg_int(r, &call->arg[0], "a bound of range()", 0, &start);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[1], "a bound of range()", start, &stop);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[2], "the step of range()", 1, &step);
    if (rc)
        return rc;
    if (one)
        start = 0;
    if (step == 0)
        return tpl_fail(r, "range() arg 3 must not be zero");
    uint64_t distance = 0, stride = step > 0 ? (uint64_t)step : (uint64_t)0 - (uint64_t)step;
    if (step > 0 && stop > start)
        distance = (uint64_t)stop - (uint64_t)start;
    else if (step < 0 && start > stop)
        distance = (uint64_t)start - (uint64_t)stop;
    uint64_t count = distance / stride + (distance % stride != 0);
    if (count > TPL_RANGE_MAX || stride > INT64_MAX / (TPL_RANGE_MAX + 1))
        return tpl_fail(r, "the range is too big: at most %d items", TPL_RANGE_MAX);
    if (start > INT64_MAX / 2 || start < INT64_MIN / 2 || stop > INT64_MAX / 2 || stop < INT64_MIN / 2)
        return tpl_fail(r, "a bound of range() is too big");
    struct tpl_range *range = arena_try_alloc(r->arena, 1, sizeof *range);
    if (!range)
        return tpl_fail_memory(r);
    *range = (struct tpl_range){start, step, (size_t)count};
    *out = (struct tpl_value){.kind = TPL_RANGE, .range = range};
    return 0;
}

/* The entries of a dict, or of a list of pairs. */
static int dict_fill(struct tpl_run *r, struct tpl_dict *dict, const struct tpl_value *from)
{
    struct tpl_list list, pair;
    int rc = 0;
    if (from->kind == TPL_DICT) {
        for (size_t i = 0; rc == 0 && i < from->dict->count; i++)
            rc = tpl_dict_put(r, dict, from->dict->entries[i].key, from->dict->entries[i].value);
        return rc;
    }
    rc = tpl_items(r, from, &list);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        rc = tpl_items(r, &list.items[i], &pair);
        if (rc == 0 && pair.count != 2)
            return tpl_fail(r, "a dict is made of pairs, not of %zu values", pair.count);
        if (rc == 0)
            rc = tpl_dict_put(r, dict, pair.items[0], pair.items[1]);
    }
    return rc;
}

static int make_dict(
    struct tpl_run *r, const struct tpl_args *args, enum tpl_kind kind, struct tpl_value *out)
{
    int rc = tpl_dict_new(r, args->n_keywords, kind, out);
    if (args->n_positional > 1)
        return tpl_fail(r, "dict() takes at most one positional argument");
    if (rc == 0 && args->n_positional > 0)
        rc = dict_fill(r, out->dict, &args->positional[0]);
    for (size_t i = 0; rc == 0 && i < args->n_keywords; i++)
        rc = tpl_dict_put(r, out->dict, tpl_string(args->keywords[i].name), args->keywords[i].value);
    return rc;
}

static int fn_dict(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return make_dict(r, call->args, TPL_DICT, out);
}

static int fn_namespace(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return make_dict(r, call->args, TPL_NAMESPACE, out);
}

static int make_cycler(
    struct tpl_run *r, enum tpl_kind kind, const struct tpl_list *items, struct tpl_value *out)
{
    struct tpl_cycler *c = arena_try_alloc(r->arena, 1, sizeof *c);
    if (!c)
        return tpl_fail_memory(r);
    c->items = *items;
    *out = (struct tpl_value){.kind = (uint8_t)kind, .cycler = c};
    return 0;
}

static int fn_cycler(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list items = {call->args->positional, call->args->n_positional, NULL};
    return items.count ? make_cycler(r, TPL_CYCLER, &items, out)
                       : tpl_fail(r, "at least one item has to be provided");
}

static int fn_joiner(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list items;
    int rc = tpl_list_new(r, 1, &items);
    if (rc == 0)
        rc = tpl_list_append(
            r, &items, call->arg[0].kind == TPL_MISSING ? tpl_string(STR(", ")) : call->arg[0]);
    return rc ? rc : make_cycler(r, TPL_JOINER, &items, out);
}

static int cycler_next(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_cycler *c = call->self.cycler;
    (void)r;
    *out = c->items.items[c->next];
    c->next = (c->next + 1) % c->items.count;
    return 0;
}

static int cycler_reset(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    (void)r;
    call->self.cycler->next = 0;
    *out = tpl_none();
    return 0;
}

const struct tpl_builtin tpl_methods_cycler[] = {
    {"next", "", cycler_next}, {"reset", "", cycler_reset}, {NULL, NULL, NULL}};

/* The template's own refusal: its message goes to the user as it stands. */
static int fn_raise(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str text;
    *out = tpl_none();
    int rc = tpl_to_str(r, &call->arg[0], &text);
    return rc ? rc
              : error_set(r->err, ERROR_INVALID, STR_FMT, (int)(text.len < 500 ? text.len : 500),
                    text.data ? text.data : "");
}

static int fn_strftime(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str format;
    int rc = tpl_arg_str(r, &call->arg[0], "the format of a date", &format);
    return rc ? rc : tpl_strftime(r, format, out);
}

const struct tpl_builtin tpl_functions[] = {{"range", "start ?stop ?step", fn_range}, {"dict", NULL, fn_dict},
    {"namespace", NULL, fn_namespace}, {"cycler", NULL, fn_cycler}, {"joiner", "?sep", fn_joiner},
    {"raise_exception", "message", fn_raise}, {"strftime_now", "format", fn_strftime}, {NULL, NULL, NULL}};

/* ---- Tests: they fill *out with a bool ---- */

#define TEST(name, condition)                                                                                \
    static int is_##name(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)              \
    {                                                                                                        \
        const struct tpl_value *v = &call->self;                                                             \
        (void)r;                                                                                             \
        *out = tpl_bool(condition);                                                                          \
        return 0;                                                                                            \
    }

TEST(defined, v->kind != TPL_UNDEFINED)
TEST(undefined, v->kind == TPL_UNDEFINED)
TEST(none, v->kind == TPL_NONE)
TEST(boolean, v->kind == TPL_BOOL)
TEST(true, v->kind == TPL_BOOL && v->b)
TEST(false, v->kind == TPL_BOOL && !v->b)
TEST(integer, v->kind == TPL_INT)
TEST(float, v->kind == TPL_FLOAT)
TEST(number, tpl_is_number(v))
TEST(string, v->kind == TPL_STRING)
TEST(mapping, v->kind == TPL_DICT)
TEST(iterable, tpl_iterable(v))
TEST(escaped, v->kind == TPL_STRING && v->markup)
TEST(callable, v->kind == TPL_FUNCTION || v->kind == TPL_MACRO || v->kind == TPL_LOOP ||
                   v->kind == TPL_JOINER || v->kind == TPL_UNDEFINED)
/* What has a length and items: as in Python, also what is undefined. */
TEST(sequence, v->kind == TPL_STRING || v->kind == TPL_LIST || v->kind == TPL_TUPLE || v->kind == TPL_DICT ||
                   v->kind == TPL_RANGE || v->kind == TPL_UNDEFINED)
TEST(filter, v->kind == TPL_STRING && tpl_filter_find(v->s) != NULL)
TEST(test, v->kind == TPL_STRING && tpl_builtin_find(tpl_tests, v->s) != NULL)

static int remainder_is(
    struct tpl_run *r, const struct tpl_value *v, int64_t divisor, int64_t want, struct tpl_value *out)
{
    struct tpl_value by = tpl_int(divisor), rest, wanted = tpl_int(want);
    bool same = false;
    int rc =
        v->kind == TPL_STRING ? tpl_fail(r, "a str has no remainder") : tpl_binary(r, OP_MOD, v, &by, &rest);
    if (rc == 0)
        rc = tpl_equal(r, &rest, &wanted, &same);
    *out = tpl_bool(same);
    return rc;
}

static int is_odd(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return remainder_is(r, &call->self, 2, 1, out);
}

static int is_even(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return remainder_is(r, &call->self, 2, 0, out);
}

static int is_divisible(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int64_t by;
    int rc = tpl_arg_int(r, &call->arg[0], "a divisor", 1, &by);
    return rc ? rc : remainder_is(r, &call->self, by, 0, out);
}

static int is_compared(struct tpl_run *r, const struct tpl_call *call, enum tpl_op op, struct tpl_value *out)
{
    const struct tpl_value *a = &call->self, *b = &call->arg[0];
    bool yes = false;
    int rc;
    if (op == OP_EQ || op == OP_NE)
        rc = tpl_equal(r, a, b, &yes);
    else if (op == OP_LT || op == OP_LE)
        rc = tpl_less(r, a, b, op == OP_LE, &yes);
    else
        rc = tpl_less(r, b, a, op == OP_GE, &yes);
    *out = tpl_bool(yes != (op == OP_NE));
    return rc;
}

#define COMPARISON(name, op)                                                                                 \
    static int is_##name(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)              \
    {                                                                                                        \
        return is_compared(r, call, op, out);                                                                \
    }

COMPARISON(eq, OP_EQ)
COMPARISON(ne, OP_NE)
COMPARISON(lt, OP_LT)
COMPARISON(le, OP_LE)
COMPARISON(gt, OP_GT)
COMPARISON(ge, OP_GE)

static int is_in(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    bool yes = false;
    int rc = tpl_contains(r, &call->arg[0], &call->self, &yes);
    *out = tpl_bool(yes);
    return rc;
}

static int is_same(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value *a = &call->self, *b = &call->arg[0];
    bool same = a->kind == b->kind;
    int rc = 0;
    if (same && (a->kind == TPL_LIST || a->kind == TPL_TUPLE || a->kind == TPL_DICT))
        same = a->list == b->list;
    else if (same)
        rc = tpl_equal(r, a, b, &same);
    *out = tpl_bool(same);
    return rc;
}

/* Are there cased characters, and all of them of one case? */
static int is_cased(struct tpl_run *r, const struct tpl_value *v, bool upper, struct tpl_value *out)
{
    struct str s;
    bool any = false, all = true;
    int rc = tpl_to_str(r, v, &s);
    if (rc == 0)
        rc = tpl_spend_bytes(r, s.len);
    for (size_t pos = 0; rc == 0 && pos < s.len;) {
        uint32_t c = tpl_char_next(s, &pos), other[3];
        if (!tpl_is_cased(c))
            continue;
        any = true;
        tpl_upper(c, other);
        all = all && (upper ? other[0] == c : tpl_lower(c) == c);
    }
    *out = tpl_bool(any && all);
    return rc;
}

static int is_lower(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return is_cased(r, &call->self, false, out);
}

static int is_upper(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return is_cased(r, &call->self, true, out);
}

const struct tpl_builtin tpl_tests[] = {{"defined", "", is_defined}, {"undefined", "", is_undefined},
    {"none", "", is_none}, {"boolean", "", is_boolean}, {"true", "", is_true}, {"false", "", is_false},
    {"integer", "", is_integer}, {"float", "", is_float}, {"number", "", is_number},
    {"string", "", is_string}, {"mapping", "", is_mapping}, {"iterable", "", is_iterable},
    {"sequence", "", is_sequence}, {"callable", "", is_callable}, {"escaped", "", is_escaped},
    {"odd", "", is_odd}, {"even", "", is_even}, {"divisibleby", "num", is_divisible}, {"in", "seq", is_in},
    {"sameas", "other", is_same}, {"lower", "", is_lower}, {"upper", "", is_upper}, {"filter", "", is_filter},
    {"test", "", is_test}, {"eq", "other", is_eq}, {"equalto", "other", is_eq}, {"==", "other", is_eq},
    {"ne", "other", is_ne}, {"!=", "other", is_ne}, {"lt", "other", is_lt}, {"lessthan", "other", is_lt},
    {"<", "other", is_lt}, {"le", "other", is_le}, {"<=", "other", is_le}, {"gt", "other", is_gt},
    {"greaterthan", "other", is_gt}, {">", "other", is_gt}, {"ge", "other", is_ge}, {">=", "other", is_ge},
    {NULL, NULL, NULL}};
