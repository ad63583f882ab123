/* Expressions: the tree to values. */
#include "engine/worker/template_internal.h"

#include <math.h>
#include <string.h>

/* ---- Arithmetic ---- */

static int refuse_operands(
    struct tpl_run *r, enum tpl_op op, const struct tpl_value *a, const struct tpl_value *b)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (a->kind == TPL_UNDEFINED || b->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, a->kind == TPL_UNDEFINED ? a : b);
    return tpl_fail(
        r, "unsupported operand types for %s: '%s' and '%s'", names[op], tpl_type_name(a), tpl_type_name(b));
}

static int power(struct tpl_run *r, int64_t base, int64_t exponent, struct tpl_value *out)
{
    int64_t result = 1;
    bool over = false;
    if (exponent < 0 && base == 0)
        return tpl_fail(r, "0 cannot be raised to a negative power");
    *out = tpl_float(pow((double)base, (double)exponent));
    if (exponent < 0)
        return 0;
    if (base == 0 || base == 1 || base == -1) {
        *out = tpl_int(exponent == 0 || base == 1 ? 1 : base == 0 ? 0 : exponent % 2 ? -1 : 1);
        return 0;
    }
    for (; exponent > 0 && !over; exponent--)
        over = __builtin_mul_overflow(result, base, &result);
    *out = tpl_int(result);
    return over ? tpl_fail(r, "the number is too large") : 0;
}

/* Python's // and %: the quotient goes down, the remainder has the divisor's sign. */
static void divide_down(int64_t a, int64_t b, int64_t *quotient, int64_t *remainder)
{
    *quotient = a / b;
    *remainder = a % b;
    if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
        *quotient -= 1;
        *remainder += b;
    }
}

static int binary_integers(struct tpl_run *r, enum tpl_op op, int64_t a, int64_t b, struct tpl_value *out)
{
    int64_t result = 0, other = 0;
    bool over = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return tpl_fail(r, "division by zero");
    switch (op) {
    case OP_ADD:
        over = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUB:
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MUL:
        over = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_DIV:
        *out = tpl_float((double)a / (double)b);
        return 0;
    case OP_POW:
        return power(r, a, b, out);
    default:
        if (b == -1) /* INT64_MIN / -1 does not fit, and the rest is 0 */
            over = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &result);
        else if (op == OP_FLOORDIV)
            divide_down(a, b, &result, &other);
        else
            divide_down(a, b, &other, &result);
    }
    *out = tpl_int(result);
    return over ? tpl_fail(r, "the number is too large") : 0;
}

static int binary_floats(struct tpl_run *r, enum tpl_op op, double a, double b, struct tpl_value *out)
{
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return tpl_fail(r, "float division by zero");
    double rest;
    switch (op) {
    case OP_ADD:
        *out = tpl_float(a + b);
        break;
    case OP_SUB:
        *out = tpl_float(a - b);
        break;
    case OP_MUL:
        *out = tpl_float(a * b);
        break;
    case OP_DIV:
        *out = tpl_float(a / b);
        break;
    case OP_POW:
        *out = tpl_float(pow(a, b));
        if (!isfinite(out->f) && isfinite(a) && isfinite(b))
            return tpl_fail(r, "the power is not a number that can be written");
        break;
    default:
        rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        *out = tpl_float(op == OP_MOD ? rest : floor((a - rest) / b + 0.5));
    }
    return 0;
}

static int add_strings(
    struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, struct tpl_value *out)
{
    struct str left = a->s, right = b->s;
    int rc = 0;
    if (a->markup && !b->markup)
        rc = tpl_escape(r, right, &right);
    else if (b->markup && !a->markup)
        rc = tpl_escape(r, left, &left);
    *out = tpl_markup(STR_NONE, a->markup || b->markup);
    return rc ? rc : tpl_concat(r, left, right, &out->s);
}

static int add_lists(
    struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, struct tpl_value *out)
{
    struct tpl_list sum = *a->list;
    int rc = tpl_spend(r, 1 + b->list->count / 4);
    for (size_t i = 0, n = b->list->count; rc == 0 && i < n; i++)
        rc = tpl_list_append(r, &sum, b->list->items[i]);
    return rc ? rc : tpl_list_value(r, (enum tpl_kind)a->kind, &sum, out);
}

static int repeat(struct tpl_run *r, const struct tpl_value *v, int64_t times, struct tpl_value *out)
{
    if (v->kind == TPL_STRING) {
        *out = tpl_markup(STR_NONE, v->markup);
        return tpl_repeat(r, v->s, times, &out->s);
    }
    struct tpl_list list;
    int rc = tpl_list_new(r, 4, &list);
    for (int64_t k = 0; rc == 0 && k < times && v->list->count > 0; k++)
        for (size_t i = 0; rc == 0 && i < v->list->count; i++) {
            rc = tpl_spend(r, 1);
            if (rc == 0)
                rc = tpl_list_append(r, &list, v->list->items[i]);
        }
    return rc ? rc : tpl_list_value(r, (enum tpl_kind)v->kind, &list, out);
}

static bool repeatable(const struct tpl_value *v)
{
    return v->kind == TPL_STRING || v->kind == TPL_LIST || v->kind == TPL_TUPLE;
}

int tpl_binary(struct tpl_run *r, enum tpl_op op, const struct tpl_value *a, const struct tpl_value *b,
    struct tpl_value *out)
{
    if (tpl_is_integral(a) && tpl_is_integral(b))
        return binary_integers(r, op, tpl_integer(a), tpl_integer(b), out);
    if (tpl_is_number(a) && tpl_is_number(b))
        return binary_floats(r, op, tpl_number(a), tpl_number(b), out);
    if (op == OP_ADD && a->kind == TPL_STRING && b->kind == TPL_STRING)
        return add_strings(r, a, b, out);
    if (op == OP_ADD && a->kind == b->kind && (a->kind == TPL_LIST || a->kind == TPL_TUPLE))
        return add_lists(r, a, b, out);
    if (op == OP_MUL && repeatable(a) && tpl_is_integral(b))
        return repeat(r, a, tpl_integer(b), out);
    if (op == OP_MUL && repeatable(b) && tpl_is_integral(a))
        return repeat(r, b, tpl_integer(a), out);
    if (op == OP_MOD && a->kind == TPL_STRING)
        return tpl_format_printf(r, a, b, out);
    return refuse_operands(r, op, a, b);
}

static int eval_sign(struct tpl_run *r, bool minus, const struct tpl_value *v, struct tpl_value *out)
{
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (!tpl_is_number(v))
        return tpl_fail(r, "bad operand type for unary %c: '%s'", minus ? '-' : '+', tpl_type_name(v));
    if (v->kind == TPL_FLOAT) {
        *out = tpl_float(minus ? -v->f : v->f);
        return 0;
    }
    return binary_integers(r, minus ? OP_SUB : OP_ADD, 0, tpl_integer(v), out);
}

/* ---- Comparisons ---- */

static int compare(
    struct tpl_run *r, enum tpl_op op, const struct tpl_value *a, const struct tpl_value *b, bool *out)
{
    int rc;
    switch (op) {
    case OP_EQ:
    case OP_NE:
        rc = tpl_equal(r, a, b, out);
        break;
    case OP_LT:
    case OP_LE:
        return tpl_less(r, a, b, op == OP_LE, out);
    case OP_GT:
    case OP_GE:
        return tpl_less(r, b, a, op == OP_GE, out);
    default:
        rc = tpl_contains(r, b, a, out);
    }
    if (op == OP_NE || op == OP_NOT_IN)
        *out = !*out;
    return rc;
}

/* a < b < c: every operand is evaluated once, up to the first comparison that is false. */
static int eval_compare(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value left, right;
    bool yes = true;
    int rc = tpl_eval(r, scope, n->a, &left);
    for (const struct tpl_node *operand = n->first; rc == 0 && yes && operand; operand = operand->next) {
        rc = tpl_eval(r, scope, operand->a, &right);
        if (rc == 0)
            rc = compare(r, (enum tpl_op)operand->op, &left, &right, &yes);
        left = right;
    }
    *out = tpl_bool(yes);
    return rc;
}

/* ---- Literals ---- */

static int eval_list(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_list list;
    int rc = tpl_list_new(r, 4, &list);
    for (const struct tpl_node *child = n->first; rc == 0 && child; child = child->next) {
        struct tpl_value v;
        rc = tpl_eval(r, scope, child, &v);
        if (rc == 0)
            rc = tpl_list_append(r, &list, v);
    }
    return rc ? rc : tpl_list_value(r, n->kind == NODE_LIST ? TPL_LIST : TPL_TUPLE, &list, out);
}

static int eval_dict(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    int rc = tpl_dict_new(r, 0, TPL_DICT, out);
    for (const struct tpl_node *key = n->first; rc == 0 && key; key = key->next->next) {
        struct tpl_value k, v;
        rc = tpl_eval(r, scope, key, &k);
        if (rc == 0)
            rc = tpl_eval(r, scope, key->next, &v);
        if (rc == 0)
            rc = tpl_dict_put(r, out->dict, k, v);
    }
    return rc;
}

static int eval_concat(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct str text = STR_NONE, piece;
    int rc = 0;
    for (const struct tpl_node *child = n->first; rc == 0 && child; child = child->next) {
        struct tpl_value v;
        rc = tpl_eval(r, scope, child, &v);
        if (rc == 0)
            rc = tpl_to_str(r, &v, &piece);
        if (rc == 0)
            rc = tpl_concat(r, text, piece, &text);
    }
    *out = tpl_string(text);
    return rc;
}

/* ---- Calls ---- */

static int star_add(struct tpl_run *r, const struct tpl_value *v, struct tpl_list *positional)
{
    struct tpl_list items;
    int rc = tpl_items(r, v, &items);
    for (size_t i = 0; rc == 0 && i < items.count; i++)
        rc = tpl_list_append(r, positional, items.items[i]);
    return rc;
}

static int keyword_add(
    struct tpl_run *r, struct tpl_args *args, size_t *capacity, struct str name, struct tpl_value v)
{
    int rc = tpl_spend(r, 1 + args->n_keywords / 8);
    for (size_t i = 0; rc == 0 && i < args->n_keywords; i++)
        if (str_eq(args->keywords[i].name, name))
            return tpl_fail(r, "the keyword argument '" STR_FMT "' is given twice", STR_ARG(name));
    if (rc == 0 && args->n_keywords == *capacity) {
        struct tpl_keyword *wider = arena_try_array(r->arena, struct tpl_keyword, *capacity * 2 + 4);
        if (!wider)
            return tpl_fail_memory(r);
        if (args->n_keywords > 0)
            memcpy(wider, args->keywords, args->n_keywords * sizeof *wider);
        args->keywords = wider;
        *capacity = *capacity * 2 + 4;
    }
    if (rc == 0)
        args->keywords[args->n_keywords++] = (struct tpl_keyword){name, v};
    return rc;
}

static int star_star_add(
    struct tpl_run *r, struct tpl_args *args, size_t *capacity, const struct tpl_value *v)
{
    int rc = 0;
    if (v->kind != TPL_DICT)
        return tpl_fail(r, "the argument after ** must be a mapping, not %s", tpl_type_name(v));
    for (size_t i = 0; rc == 0 && i < v->dict->count; i++) {
        if (v->dict->entries[i].key.kind != TPL_STRING)
            return tpl_fail(r, "keywords must be strings");
        rc = keyword_add(r, args, capacity, v->dict->entries[i].key.s, v->dict->entries[i].value);
    }
    return rc;
}

/* The arguments of a call, filter or test; `extra`: keywords that the caller will add. */
int tpl_eval_args(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, size_t extra, struct tpl_args *out)
{
    struct tpl_list positional = {NULL, 0, NULL};
    size_t capacity = 0;
    int rc = 0;
    *out = (struct tpl_args){NULL, 0, NULL, 0};
    for (const struct tpl_node *arg = n->first; rc == 0 && arg; arg = arg->next) {
        struct tpl_value v;
        rc = tpl_eval(r, scope, arg->a, &v);
        if (rc)
            break;
        if (arg->op == ARG_POSITIONAL)
            rc = tpl_list_append(r, &positional, v);
        else if (arg->op == ARG_KEYWORD)
            rc = keyword_add(r, out, &capacity, arg->name, v);
        else if (arg->op == ARG_STAR)
            rc = star_add(r, &v, &positional);
        else
            rc = star_star_add(r, out, &capacity, &v);
    }
    out->positional = positional.items;
    out->n_positional = positional.count;
    if (rc || out->n_keywords + extra <= capacity)
        return rc;
    struct tpl_keyword *wider = arena_try_array(r->arena, struct tpl_keyword, out->n_keywords + extra);
    if (!wider)
        return tpl_fail_memory(r);
    if (out->n_keywords > 0)
        memcpy(wider, out->keywords, out->n_keywords * sizeof *wider);
    out->keywords = wider;
    return 0;
}

static int call_joiner(struct tpl_run *r, struct tpl_cycler *joiner, struct tpl_value *out)
{
    (void)r;
    *out = joiner->next++ ? joiner->items.items[0] : tpl_string(STR_NONE);
    return 0;
}

int tpl_call_value(
    struct tpl_run *r, const struct tpl_value *callee, const struct tpl_args *args, struct tpl_value *out)
{
    switch (callee->kind) {
    case TPL_MACRO:
        return tpl_macro_call(r, callee->macro, args, out);
    case TPL_FUNCTION:
        return tpl_builtin_call(r, callee->bound->builtin, &callee->bound->self, args, out);
    case TPL_LOOP:
        return tpl_loop_recurse(r, callee->loop, args, out);
    case TPL_JOINER:
        return call_joiner(r, callee->cycler, out);
    case TPL_UNDEFINED:
        return tpl_fail_undefined(r, callee);
    default:
        return tpl_fail(r, "'%s' object is not callable", tpl_type_name(callee));
    }
}

static int eval_call(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value callee;
    struct tpl_args args;
    int rc = tpl_eval(r, scope, n->a, &callee);
    if (rc == 0)
        rc = tpl_eval_args(r, scope, n, 0, &args);
    if (rc)
        return rc;
    r->line = n->line;
    return tpl_call_value(r, &callee, &args, out);
}

/* A filter or test on a value that is there already. */
static int apply(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n,
    const struct tpl_value *input, struct tpl_value *out)
{
    struct tpl_args args;
    r->line = n->line;
    if (!n->builtin)
        return tpl_fail(r, "there is no %s named '" STR_FMT "'", n->kind == NODE_TEST ? "test" : "filter",
            (int)(n->name.len < 60 ? n->name.len : 60), n->name.data);
    int rc = tpl_eval_args(r, scope, n, 0, &args);
    return rc ? rc : tpl_builtin_call(r, n->builtin, input, &args, out);
}

/* The filters of a block, the innermost first: it gets `input`. */
int tpl_eval_filters(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n,
    const struct tpl_value *input, struct tpl_value *out)
{
    struct tpl_value v = *input;
    if (n->kind == NODE_NONE) {
        *out = v;
        return 0;
    }
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    rc = tpl_eval_filters(r, scope, n->a, input, &v);
    if (rc == 0)
        rc = apply(r, scope, n, &v, out);
    tpl_leave(r);
    return rc;
}

static int eval_applied(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value input;
    int rc = tpl_eval(r, scope, n->a, &input);
    return rc ? rc : apply(r, scope, n, &input, out);
}

/* ---- The rest ---- */

static int eval_slice(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value v, bounds[3] = {{.kind = TPL_MISSING}, {.kind = TPL_MISSING}, {.kind = TPL_MISSING}};
    int rc = tpl_eval(r, scope, n->a, &v), i = 0;
    for (const struct tpl_node *bound = n->first; rc == 0 && bound && i < 3; bound = bound->next, i++)
        if (bound->kind != NODE_NONE)
            rc = tpl_eval(r, scope, bound, &bounds[i]);
    return rc ? rc : tpl_get_slice(r, &v, bounds, out);
}

static int eval_condition(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    bool yes;
    int rc = tpl_eval(r, scope, n->b, out);
    if (rc == 0)
        rc = tpl_truth(r, out, &yes);
    if (rc)
        return rc;
    if (yes)
        return tpl_eval(r, scope, n->a, out);
    if (n->c)
        return tpl_eval(r, scope, n->c, out);
    *out = tpl_undefined(STR("the inline if-expression evaluated to false and no else section was defined."));
    return 0;
}

/* `and` and `or` give the operand that decided. */
static int eval_logic(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    bool yes;
    int rc = tpl_eval(r, scope, n->a, out);
    if (rc == 0)
        rc = tpl_truth(r, out, &yes);
    if (rc || yes == (n->kind == NODE_OR))
        return rc;
    return tpl_eval(r, scope, n->b, out);
}

static int eval_unary(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value v;
    bool yes;
    int rc = tpl_eval(r, scope, n->a, &v);
    if (rc)
        return rc;
    if (n->kind == NODE_ATTR)
        return tpl_get_attr(r, &v, n->name, out);
    if (n->kind != NODE_NOT)
        return eval_sign(r, n->kind == NODE_NEGATE, &v, out);
    rc = tpl_truth(r, &v, &yes);
    *out = tpl_bool(!yes);
    return rc;
}

static int eval_pair(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_value a, b;
    int rc = tpl_eval(r, scope, n->a, &a);
    if (rc == 0)
        rc = tpl_eval(r, scope, n->b, &b);
    if (rc)
        return rc;
    return n->kind == NODE_ITEM ? tpl_get_item(r, &a, &b, out)
                                : tpl_binary(r, (enum tpl_op)n->op, &a, &b, out);
}

static int eval_node(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    switch (n->kind) {
    case NODE_CONST:
        *out = n->constant;
        return 0;
    case NODE_NAME:
        return tpl_scope_get(r, scope, n->name, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(r, scope, n, out);
    case NODE_DICT:
        return eval_dict(r, scope, n, out);
    case NODE_COND:
        return eval_condition(r, scope, n, out);
    case NODE_OR:
    case NODE_AND:
        return eval_logic(r, scope, n, out);
    case NODE_NOT:
    case NODE_NEGATE:
    case NODE_PLUS:
    case NODE_ATTR:
        return eval_unary(r, scope, n, out);
    case NODE_COMPARE:
        return eval_compare(r, scope, n, out);
    case NODE_BINARY:
    case NODE_ITEM:
        return eval_pair(r, scope, n, out);
    case NODE_CONCAT:
        return eval_concat(r, scope, n, out);
    case NODE_SLICE:
        return eval_slice(r, scope, n, out);
    case NODE_CALL:
        return eval_call(r, scope, n, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_applied(r, scope, n, out);
    default:
        return error_set(r->err, ERROR_INTERNAL, "the chat template has a statement where a value belongs");
    }
}

int tpl_eval(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    r->line = n->line;
    rc = eval_node(r, scope, n, out);
    tpl_leave(r);
    return rc;
}
