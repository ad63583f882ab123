/* Expressions of templates, loosest binding first: a if b else c · or · and · not · comparisons, in · + - · ~
 * ·
 * * / // % · ** · unary + - · .name [item] (call) · |filter, is test. */
#include "engine/worker/template_internal.h"

static int parse_unary(struct tpl_parser *p, bool with_filters, struct tpl_node **out);
static int parse_or(struct tpl_parser *p, struct tpl_node **out);

static int node_on(struct tpl_parser *p, enum tpl_node_kind kind, struct tpl_node *a, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, kind, out);
    if (rc == 0)
        (*out)->a = a;
    return rc;
}

static bool skip_op(struct tpl_parser *p, enum tpl_op op, int *rc)
{
    if (*rc || !tpl_parse_at_op(p, op))
        return false;
    *rc = tpl_parse_advance(p);
    return *rc == 0;
}

static bool skip_name(struct tpl_parser *p, const char *name, int *rc)
{
    if (*rc || !tpl_parse_at_name(p, name))
        return false;
    *rc = tpl_parse_advance(p);
    return *rc == 0;
}

/* What follows the current token; the lexer's state is small, so it simply reads ahead on a copy. */
static int peek(const struct tpl_parser *p, struct tpl_token *out)
{
    struct tpl_lexer copy = p->lexer;
    return tpl_lexer_next(&copy, out, NULL);
}

/* ---- Literals ---- */

static int parse_list(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_LIST, out);
    if (rc == 0)
        rc = tpl_parse_expect_op(p, OP_LBRACKET);
    while (rc == 0 && !tpl_parse_at_op(p, OP_RBRACKET)) {
        if ((*out)->first && ((rc = tpl_parse_expect_op(p, OP_COMMA)) || tpl_parse_at_op(p, OP_RBRACKET)))
            break;
        struct tpl_node *item;
        rc = tpl_parse_expression(p, &item);
        if (rc == 0)
            tpl_node_add(*out, item);
    }
    return rc ? rc : tpl_parse_expect_op(p, OP_RBRACKET);
}

static int parse_dict(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_DICT, out);
    if (rc == 0)
        rc = tpl_parse_expect_op(p, OP_LBRACE);
    while (rc == 0 && !tpl_parse_at_op(p, OP_RBRACE)) {
        if ((*out)->first && ((rc = tpl_parse_expect_op(p, OP_COMMA)) || tpl_parse_at_op(p, OP_RBRACE)))
            break;
        struct tpl_node *key, *value;
        if ((rc = tpl_parse_expression(p, &key)) || (rc = tpl_parse_expect_op(p, OP_COLON)) ||
            (rc = tpl_parse_expression(p, &value)))
            break;
        tpl_node_add(*out, key);
        tpl_node_add(*out, value);
    }
    return rc ? rc : tpl_parse_expect_op(p, OP_RBRACE);
}

/* Strings that stand side by side are one. */
static int parse_string(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_CONST, out);
    if (rc)
        return rc;
    struct buf joined;
    struct str text = p->token.text;
    buf_init(&joined, LIMIT_TEMPLATE_SOURCE);
    rc = tpl_parse_advance(p);
    if (rc == 0 && p->token.kind == TOKEN_STRING)
        buf_append_str(&joined, text);
    while (rc == 0 && p->token.kind == TOKEN_STRING) {
        buf_append_str(&joined, p->token.text);
        rc = tpl_parse_advance(p);
    }
    if (rc == 0 && joined.data && (joined.failed || arena_try_copy(p->arena, buf_str(&joined), &text)))
        rc = error_set(p->err, ERROR_LIMIT, "the chat template is too large");
    buf_free(&joined);
    (*out)->constant = tpl_string(text);
    return rc;
}

static int parse_name(struct tpl_parser *p, struct tpl_node **out)
{
    struct str name = p->token.text;
    bool yes = str_is(name, "true") || str_is(name, "True");
    bool constant = yes || str_is(name, "false") || str_is(name, "False");
    bool none = str_is(name, "none") || str_is(name, "None");
    int rc = tpl_parse_node(p, constant || none ? NODE_CONST : NODE_NAME, out);
    if (rc)
        return rc;
    if (constant || none)
        (*out)->constant = none ? tpl_none() : tpl_bool(yes);
    else
        (*out)->name = name;
    if (str_is(name, "varargs"))
        p->macro_uses |= MACRO_VARARGS;
    else if (str_is(name, "kwargs"))
        p->macro_uses |= MACRO_KWARGS;
    else if (str_is(name, "caller"))
        p->macro_uses |= MACRO_CALLER;
    return tpl_parse_advance(p);
}

static int parse_primary(struct tpl_parser *p, struct tpl_node **out)
{
    int rc;
    switch (p->token.kind) {
    case TOKEN_NAME:
        return parse_name(p, out);
    case TOKEN_STRING:
        return parse_string(p, out);
    case TOKEN_INT:
    case TOKEN_FLOAT:
        rc = tpl_parse_node(p, NODE_CONST, out);
        if (rc)
            return rc;
        (*out)->constant =
            p->token.kind == TOKEN_INT ? tpl_int(p->token.integer) : tpl_float(p->token.number);
        return tpl_parse_advance(p);
    case TOKEN_OP:
        if (p->token.op == OP_LBRACKET)
            return parse_list(p, out);
        if (p->token.op == OP_LBRACE)
            return parse_dict(p, out);
        if (p->token.op == OP_LPAREN) {
            rc = tpl_parse_advance(p);
            if (rc == 0)
                rc = tpl_parse_tuple(p, true, true, NULL, out);
            return rc ? rc : tpl_parse_expect_op(p, OP_RPAREN);
        }
        break;
    default:
        break;
    }
    return tpl_parse_fail(p, "an expression was expected here");
}

/* ---- Postfix ---- */

static int arg_add(struct tpl_parser *p, struct tpl_node *call, enum tpl_arg_kind kind, struct str name)
{
    struct tpl_node *arg, *value;
    int rc = tpl_parse_node(p, NODE_ARG, &arg);
    if (rc == 0)
        rc = tpl_parse_expression(p, &value);
    if (rc)
        return rc;
    arg->op = (uint8_t)kind;
    arg->name = name;
    arg->a = value;
    enum tpl_arg_kind last = call->last ? (enum tpl_arg_kind)call->last->op : ARG_POSITIONAL;
    if ((kind == ARG_POSITIONAL && last != ARG_POSITIONAL) || last == ARG_STAR_STAR ||
        (kind == ARG_STAR && last == ARG_STAR))
        return tpl_parse_fail(p, "arguments are in the wrong order: positional, named, *list, **dict");
    tpl_node_add(call, arg);
    return 0;
}

/* (a, b, name=c, *d, **e): arguments become children of `call`. */
static int parse_args(struct tpl_parser *p, struct tpl_node *call)
{
    int rc = tpl_parse_expect_op(p, OP_LPAREN);
    while (rc == 0 && !tpl_parse_at_op(p, OP_RPAREN)) {
        if (call->first && ((rc = tpl_parse_expect_op(p, OP_COMMA)) || tpl_parse_at_op(p, OP_RPAREN)))
            break;
        struct tpl_token next;
        if (skip_op(p, OP_MUL, &rc)) {
            rc = arg_add(p, call, ARG_STAR, STR_NONE);
        } else if (skip_op(p, OP_POW, &rc)) {
            rc = arg_add(p, call, ARG_STAR_STAR, STR_NONE);
        } else if (rc == 0 && p->token.kind == TOKEN_NAME && peek(p, &next) == 0 && next.kind == TOKEN_OP &&
                   next.op == OP_ASSIGN) {
            struct str name = p->token.text;
            if ((rc = tpl_parse_advance(p)) == 0 && (rc = tpl_parse_advance(p)) == 0)
                rc = arg_add(p, call, ARG_KEYWORD, name);
        } else if (rc == 0) {
            rc = arg_add(p, call, ARG_POSITIONAL, STR_NONE);
        }
    }
    return rc ? rc : tpl_parse_expect_op(p, OP_RPAREN);
}

static int slice_bound(struct tpl_parser *p, struct tpl_node *slice)
{
    struct tpl_node *bound;
    bool none = tpl_parse_at_op(p, OP_COLON) || tpl_parse_at_op(p, OP_RBRACKET);
    int rc = none ? tpl_parse_node(p, NODE_NONE, &bound) : tpl_parse_expression(p, &bound);
    if (rc == 0)
        tpl_node_add(slice, bound);
    return rc;
}

/* [index] or [from:to:step] */
static int parse_subscript(struct tpl_parser *p, struct tpl_node *on, struct tpl_node **out)
{
    struct tpl_node *slice, *index;
    int rc = tpl_parse_expect_op(p, OP_LBRACKET);
    if (rc == 0)
        rc = node_on(p, NODE_SLICE, on, &slice);
    if (rc == 0)
        rc = slice_bound(p, slice);
    if (rc)
        return rc;
    index = slice->first;
    if (tpl_parse_at_op(p, OP_RBRACKET) && index->kind != NODE_NONE) {
        rc = node_on(p, NODE_ITEM, on, out);
        if (rc == 0)
            (*out)->b = index;
        return rc ? rc : tpl_parse_advance(p);
    }
    if (!tpl_parse_at_op(p, OP_COLON))
        return tpl_parse_fail(p, "']' was expected here");
    for (int i = 0; i < 2 && rc == 0 && (tpl_parse_at_op(p, OP_COLON) || i == 1); i++) {
        if (i == 1 && !tpl_parse_at_op(p, OP_COLON))
            break;
        rc = tpl_parse_advance(p);
        if (rc == 0)
            rc = slice_bound(p, slice);
    }
    *out = slice;
    return rc ? rc : tpl_parse_expect_op(p, OP_RBRACKET);
}

static int parse_attr(struct tpl_parser *p, struct tpl_node *on, struct tpl_node **out)
{
    int rc = tpl_parse_advance(p);
    if (rc)
        return rc;
    if (p->token.kind == TOKEN_NAME) {
        rc = node_on(p, NODE_ATTR, on, out);
        if (rc == 0)
            (*out)->name = p->token.text;
    } else if (p->token.kind == TOKEN_INT) {
        struct tpl_node *index;
        rc = node_on(p, NODE_ITEM, on, out);
        if (rc == 0)
            rc = tpl_parse_node(p, NODE_CONST, &index);
        if (rc == 0) {
            index->constant = tpl_int(p->token.integer);
            (*out)->b = index;
        }
    } else {
        return tpl_parse_fail(p, "a name or a number was expected after '.'");
    }
    return rc ? rc : tpl_parse_advance(p);
}

static int parse_call(struct tpl_parser *p, struct tpl_node *on, struct tpl_node **out)
{
    int rc = node_on(p, NODE_CALL, on, out);
    return rc ? rc : parse_args(p, *out);
}

static int parse_postfix(struct tpl_parser *p, struct tpl_node **node)
{
    int rc = 0;
    while (rc == 0) {
        if (tpl_parse_at_op(p, OP_DOT))
            rc = parse_attr(p, *node, node);
        else if (tpl_parse_at_op(p, OP_LBRACKET))
            rc = parse_subscript(p, *node, node);
        else if (tpl_parse_at_op(p, OP_LPAREN))
            rc = parse_call(p, *node, node);
        else
            break;
    }
    return rc;
}

/* A name that may have dots: no built-in has any, so such a one is unknown. */
static int parse_builtin_name(struct tpl_parser *p, struct tpl_node *node)
{
    if (p->token.kind != TOKEN_NAME)
        return tpl_parse_fail(p, "the name of a filter or test was expected here");
    node->name = p->token.text;
    int rc = tpl_parse_advance(p);
    while (rc == 0 && skip_op(p, OP_DOT, &rc)) {
        if (p->token.kind != TOKEN_NAME)
            return tpl_parse_fail(p, "a name was expected after '.'");
        node->name.len = (size_t)(p->token.text.data + p->token.text.len - node->name.data);
        rc = tpl_parse_advance(p);
    }
    return rc;
}

static void builtin_check(struct tpl_parser *p, const struct tpl_node *node)
{
    if (node->builtin || p->soft || p->unknown.set)
        return;
    p->unknown.set = true;
    p->unknown.test = node->kind == NODE_TEST;
    p->unknown.line = node->line;
    p->unknown.name = node->name;
}

int tpl_parse_filters(struct tpl_parser *p, struct tpl_node *input, bool inline_start, struct tpl_node **out)
{
    int rc = 0;
    *out = input;
    while (rc == 0 && (inline_start || tpl_parse_at_op(p, OP_PIPE))) {
        struct tpl_node *filter;
        if (!inline_start)
            rc = tpl_parse_advance(p);
        inline_start = false;
        if (rc || (rc = node_on(p, NODE_FILTER, *out, &filter)) || (rc = parse_builtin_name(p, filter)))
            break;
        filter->builtin = tpl_filter_find(filter->name);
        builtin_check(p, filter);
        if (tpl_parse_at_op(p, OP_LPAREN))
            rc = parse_args(p, filter);
        *out = filter;
    }
    return rc;
}

/* The one argument that a test takes without parentheses. */
static int parse_test_arg(struct tpl_parser *p, struct tpl_node *test)
{
    bool starts = p->token.kind == TOKEN_NAME || p->token.kind == TOKEN_STRING ||
                  p->token.kind == TOKEN_INT || p->token.kind == TOKEN_FLOAT ||
                  tpl_parse_at_op(p, OP_LBRACKET) || tpl_parse_at_op(p, OP_LBRACE);
    if (!starts || tpl_parse_at_name(p, "else") || tpl_parse_at_name(p, "or") || tpl_parse_at_name(p, "and"))
        return 0;
    if (tpl_parse_at_name(p, "is"))
        return tpl_parse_fail(p, "tests cannot be chained with 'is'");
    struct tpl_node *arg;
    int rc = tpl_parse_node(p, NODE_ARG, &arg);
    if (rc == 0)
        rc = parse_primary(p, &arg->a);
    if (rc == 0)
        rc = parse_postfix(p, &arg->a);
    if (rc == 0)
        tpl_node_add(test, arg);
    return rc;
}

static int parse_test(struct tpl_parser *p, struct tpl_node *on, struct tpl_node **out)
{
    struct tpl_node *test;
    int rc = tpl_parse_advance(p);
    bool negated = skip_name(p, "not", &rc);
    if (rc || (rc = node_on(p, NODE_TEST, on, &test)) || (rc = parse_builtin_name(p, test)))
        return rc;
    test->builtin = tpl_builtin_find(tpl_tests, test->name);
    builtin_check(p, test);
    rc = tpl_parse_at_op(p, OP_LPAREN) ? parse_args(p, test) : parse_test_arg(p, test);
    *out = test;
    return rc || !negated ? rc : node_on(p, NODE_NOT, test, out);
}

/* ---- Operators ---- */

static int parse_unary(struct tpl_parser *p, bool with_filters, struct tpl_node **out)
{
    int rc = tpl_parse_enter(p);
    if (rc)
        return rc;
    struct tpl_node *operand;
    bool minus = tpl_parse_at_op(p, OP_SUB);
    if (minus || tpl_parse_at_op(p, OP_ADD)) {
        rc = tpl_parse_advance(p);
        if (rc == 0)
            rc = parse_unary(p, false, &operand);
        if (rc == 0)
            rc = node_on(p, minus ? NODE_NEGATE : NODE_PLUS, operand, out);
    } else {
        rc = parse_primary(p, out);
    }
    if (rc == 0)
        rc = parse_postfix(p, out);
    while (rc == 0 && with_filters) {
        if (tpl_parse_at_op(p, OP_PIPE))
            rc = tpl_parse_filters(p, *out, false, out);
        else if (tpl_parse_at_name(p, "is"))
            rc = parse_test(p, *out, out);
        else if (tpl_parse_at_op(p, OP_LPAREN))
            rc = parse_call(p, *out, out);
        else
            break;
    }
    p->depth--;
    return rc;
}

enum level { LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER, LEVEL_UNARY };

static bool at_level(const struct tpl_parser *p, enum level level)
{
    if (p->token.kind != TOKEN_OP)
        return false;
    switch (level) {
    case LEVEL_SUM:
        return p->token.op == OP_ADD || p->token.op == OP_SUB;
    case LEVEL_CONCAT:
        return p->token.op == OP_TILDE;
    case LEVEL_PRODUCT:
        return p->token.op == OP_MUL || p->token.op == OP_DIV || p->token.op == OP_FLOORDIV ||
               p->token.op == OP_MOD;
    case LEVEL_POWER:
        return p->token.op == OP_POW;
    default:
        return false;
    }
}

static int parse_level(struct tpl_parser *p, enum level level, struct tpl_node **out)
{
    if (level == LEVEL_UNARY)
        return parse_unary(p, true, out);
    struct tpl_node *left, *right, *both;
    int rc = parse_level(p, level + 1, &left);
    while (rc == 0 && at_level(p, level)) {
        enum tpl_op op = p->token.op;
        if ((rc = tpl_parse_advance(p)) || (rc = parse_level(p, level + 1, &right)))
            break;
        if (level == LEVEL_CONCAT && left->kind == NODE_CONCAT) {
            tpl_node_add(left, right); /* one flat node however many pieces there are */
            continue;
        }
        rc = tpl_parse_node(p, level == LEVEL_CONCAT ? NODE_CONCAT : NODE_BINARY, &both);
        if (rc)
            break;
        if (level == LEVEL_CONCAT) {
            tpl_node_add(both, left);
            tpl_node_add(both, right);
        } else {
            both->op = (uint8_t)op;
            both->a = left;
            both->b = right;
        }
        left = both;
    }
    *out = left;
    return rc;
}

/* Steps over a comparison's operator; *found is false if there is none here. */
static int compare_op(struct tpl_parser *p, enum tpl_op *op, bool *found)
{
    struct tpl_token next;
    *found = true;
    if (p->token.kind == TOKEN_OP && p->token.op >= OP_EQ && p->token.op <= OP_GE) {
        *op = p->token.op;
        return tpl_parse_advance(p);
    }
    if (tpl_parse_at_name(p, "in")) {
        *op = OP_IN;
        return tpl_parse_advance(p);
    }
    if (tpl_parse_at_name(p, "not") && peek(p, &next) == 0 && next.kind == TOKEN_NAME &&
        str_is(next.text, "in")) {
        *op = OP_NOT_IN;
        int rc = tpl_parse_advance(p);
        return rc ? rc : tpl_parse_advance(p);
    }
    *found = false;
    return 0;
}

static int parse_compare(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_node *compare = NULL, *operand;
    int rc = parse_level(p, LEVEL_SUM, out);
    while (rc == 0) {
        enum tpl_op op;
        bool found;
        rc = compare_op(p, &op, &found);
        if (rc || !found)
            break;
        if (!compare)
            rc = node_on(p, NODE_COMPARE, *out, &compare);
        if (rc == 0)
            rc = tpl_parse_node(p, NODE_OPERAND, &operand);
        if (rc == 0)
            rc = parse_level(p, LEVEL_SUM, &operand->a);
        if (rc)
            break;
        operand->op = (uint8_t)op;
        tpl_node_add(compare, operand);
        *out = compare;
    }
    return rc;
}

static int parse_not(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = 0;
    if (!skip_name(p, "not", &rc))
        return rc ? rc : parse_compare(p, out);
    struct tpl_node *operand;
    rc = tpl_parse_enter(p);
    if (rc)
        return rc;
    rc = parse_not(p, &operand);
    p->depth--;
    return rc ? rc : node_on(p, NODE_NOT, operand, out);
}

static int parse_logic(struct tpl_parser *p, enum tpl_node_kind kind, struct tpl_node **out)
{
    struct tpl_node *left, *right;
    int rc = kind == NODE_OR ? parse_logic(p, NODE_AND, &left) : parse_not(p, &left);
    while (rc == 0 && skip_name(p, kind == NODE_OR ? "or" : "and", &rc)) {
        rc = kind == NODE_OR ? parse_logic(p, NODE_AND, &right) : parse_not(p, &right);
        if (rc == 0)
            rc = node_on(p, kind, left, out);
        if (rc)
            break;
        (*out)->b = right;
        left = *out;
    }
    *out = left;
    return rc;
}

static int parse_or(struct tpl_parser *p, struct tpl_node **out)
{
    return parse_logic(p, NODE_OR, out);
}

/* `a if b else c`. As in Jinja, an unknown filter inside one fails only when it is used. */
int tpl_parse_expression(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_enter(p);
    if (rc)
        return rc;
    bool soft = p->soft, unknown = p->unknown.set;
    rc = parse_or(p, out);
    while (rc == 0 && skip_name(p, "if", &rc)) {
        struct tpl_node *condition, *otherwise = NULL, *whole;
        p->soft = true;
        p->unknown.set = unknown;
        rc = parse_or(p, &condition);
        if (rc == 0 && skip_name(p, "else", &rc))
            rc = tpl_parse_expression(p, &otherwise);
        if (rc || (rc = node_on(p, NODE_COND, *out, &whole)))
            break;
        whole->b = condition;
        whole->c = otherwise;
        *out = whole;
    }
    p->soft = soft;
    p->depth--;
    return rc;
}

static bool tuple_ends(const struct tpl_parser *p, const char *end)
{
    return p->token.kind == TOKEN_VARIABLE_END || p->token.kind == TOKEN_BLOCK_END ||
           tpl_parse_at_op(p, OP_RPAREN) || (end && tpl_parse_at_name(p, end));
}

int tpl_parse_tuple(
    struct tpl_parser *p, bool condition, bool parentheses, const char *end, struct tpl_node **out)
{
    struct tpl_node *tuple = NULL, *item = NULL;
    int rc = 0;
    while (rc == 0 && !tuple_ends(p, end)) {
        rc = condition ? tpl_parse_expression(p, &item) : parse_or(p, &item);
        if (rc)
            return rc;
        if (tuple)
            tpl_node_add(tuple, item);
        if (!tpl_parse_at_op(p, OP_COMMA))
            break;
        if (!tuple) {
            rc = tpl_parse_node(p, NODE_TUPLE, &tuple);
            if (rc == 0)
                tpl_node_add(tuple, item);
        }
        if (rc == 0)
            rc = tpl_parse_advance(p);
    }
    if (rc)
        return rc;
    *out = tuple ? tuple : item;
    if (*out)
        return 0;
    return parentheses ? tpl_parse_node(p, NODE_TUPLE, out)
                       : tpl_parse_fail(p, "an expression was expected here");
}
