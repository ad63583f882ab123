/* Statements of templates. */
#include "engine/worker/template_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What the parser's two files share ---- */

int tpl_parse_fail(struct tpl_parser *p, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(
        p->err, ERROR_INVALID, "the chat template is not valid at line %u: %s", p->token.line, text);
}

int tpl_parse_advance(struct tpl_parser *p)
{
    return tpl_lexer_next(&p->lexer, &p->token, p->err);
}

bool tpl_parse_at_op(const struct tpl_parser *p, enum tpl_op op)
{
    return p->token.kind == TOKEN_OP && p->token.op == op;
}

bool tpl_parse_at_name(const struct tpl_parser *p, const char *name)
{
    return p->token.kind == TOKEN_NAME && str_is(p->token.text, name);
}

int tpl_parse_expect_op(struct tpl_parser *p, enum tpl_op op)
{
    static const char *const names[] = {[OP_ASSIGN] = "=",
        [OP_COMMA] = ",",
        [OP_COLON] = ":",
        [OP_LPAREN] = "(",
        [OP_RPAREN] = ")",
        [OP_LBRACKET] = "[",
        [OP_RBRACKET] = "]",
        [OP_LBRACE] = "{",
        [OP_RBRACE] = "}"};
    if (!tpl_parse_at_op(p, op))
        return tpl_parse_fail(p, "'%s' was expected here", names[op]);
    return tpl_parse_advance(p);
}

int tpl_parse_enter(struct tpl_parser *p)
{
    if (p->depth >= TPL_PARSE_DEPTH)
        return error_set(p->err, ERROR_LIMIT,
            "the chat template is nested more than %d levels deep at line %u", TPL_PARSE_DEPTH,
            p->token.line);
    p->depth++;
    return 0;
}

int tpl_parse_node(struct tpl_parser *p, enum tpl_node_kind kind, struct tpl_node **out)
{
    *out = arena_try_alloc(p->arena, 1, sizeof **out);
    if (!*out)
        return error_set(p->err, ERROR_LIMIT, "the chat template is too large");
    (*out)->kind = (uint8_t)kind;
    (*out)->line = p->token.line;
    return 0;
}

void tpl_node_add(struct tpl_node *parent, struct tpl_node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

/* ---- Blocks ---- */

static int parse_statement(struct tpl_parser *p, struct tpl_node **out);

static int expect_kind(struct tpl_parser *p, enum tpl_token_kind kind, const char *what)
{
    if (p->token.kind != kind)
        return tpl_parse_fail(p, "%s was expected here", what);
    return tpl_parse_advance(p);
}

static int parse_output(struct tpl_parser *p, struct tpl_node *block)
{
    struct tpl_node *output;
    int rc = tpl_parse_node(p, NODE_OUTPUT, &output);
    if (rc || (rc = tpl_parse_advance(p)) || (rc = tpl_parse_tuple(p, true, false, NULL, &output->a)))
        return rc;
    tpl_node_add(block, output);
    return expect_kind(p, TOKEN_VARIABLE_END, "'}}'");
}

static bool at_any(const struct tpl_parser *p, const char *const *names)
{
    for (; names && *names; names++)
        if (tpl_parse_at_name(p, *names))
            return true;
    return false;
}

/* Text and statements up to one of the tags in `ends` (left as the current token), or to the end if NULL. */
static int parse_until(struct tpl_parser *p, const char *const *ends, struct tpl_node **out)
{
    struct tpl_node *node;
    int rc = tpl_parse_enter(p);
    if (rc)
        return rc;
    rc = tpl_parse_node(p, NODE_BLOCK, out);
    while (rc == 0) {
        if (p->token.kind == TOKEN_DATA) {
            rc = tpl_parse_node(p, NODE_TEXT, &node);
            if (rc)
                break;
            node->constant = tpl_string(p->token.text);
            tpl_node_add(*out, node);
            rc = tpl_parse_advance(p);
        } else if (p->token.kind == TOKEN_VARIABLE_BEGIN) {
            rc = parse_output(p, *out);
        } else if (p->token.kind == TOKEN_BLOCK_BEGIN) {
            rc = tpl_parse_advance(p);
            if (rc || at_any(p, ends))
                break;
            rc = parse_statement(p, &node);
            if (rc == 0)
                tpl_node_add(*out, node);
            if (rc == 0)
                rc = expect_kind(p, TOKEN_BLOCK_END, "'%}'");
        } else if (ends) {
            rc = tpl_parse_fail(p, "the template ends where '{%% %s %%}' is missing", ends[0]);
        } else {
            break;
        }
    }
    p->depth--;
    return rc;
}

/* The body after a tag's header. Its closing tag stays current. */
static int parse_body(struct tpl_parser *p, const char *const *ends, struct tpl_node **out)
{
    int rc = tpl_parse_at_op(p, OP_COLON) ? tpl_parse_advance(p) : 0;
    if (rc == 0)
        rc = expect_kind(p, TOKEN_BLOCK_END, "'%}'");
    return rc ? rc : parse_until(p, ends, out);
}

/* The body up to `end`, which is taken too. Inside, an unknown filter is an error at once. */
static int parse_body_to(struct tpl_parser *p, const char *end, struct tpl_node **out)
{
    const char *const ends[] = {end, NULL};
    bool soft = p->soft;
    p->soft = false;
    int rc = parse_body(p, ends, out);
    p->soft = soft;
    return rc ? rc : tpl_parse_advance(p);
}

/* ---- Targets of assignments ---- */

static int parse_target_one(struct tpl_parser *p, bool attributes, struct tpl_node **out);

static int parse_target(struct tpl_parser *p, bool attributes, struct tpl_node **out)
{
    struct tpl_node *tuple, *item;
    int rc = parse_target_one(p, attributes, out);
    if (rc || !tpl_parse_at_op(p, OP_COMMA))
        return rc;
    rc = tpl_parse_node(p, NODE_TUPLE, &tuple);
    if (rc)
        return rc;
    tpl_node_add(tuple, *out);
    *out = tuple;
    while (rc == 0 && tpl_parse_at_op(p, OP_COMMA)) {
        rc = tpl_parse_advance(p);
        if (rc || (p->token.kind != TOKEN_NAME && !tpl_parse_at_op(p, OP_LPAREN)) ||
            tpl_parse_at_name(p, "in"))
            break;
        rc = parse_target_one(p, attributes, &item);
        if (rc == 0)
            tpl_node_add(tuple, item);
    }
    return rc;
}

static bool name_reserved(struct str name)
{
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (str_is(name, reserved[i]))
            return true;
    return false;
}

static int parse_target_one(struct tpl_parser *p, bool attributes, struct tpl_node **out)
{
    int rc;
    if (tpl_parse_at_op(p, OP_LPAREN)) {
        if ((rc = tpl_parse_enter(p)) || (rc = tpl_parse_advance(p)))
            return rc;
        rc = parse_target(p, attributes, out);
        p->depth--;
        return rc ? rc : tpl_parse_expect_op(p, OP_RPAREN);
    }
    if (p->token.kind != TOKEN_NAME || name_reserved(p->token.text))
        return tpl_parse_fail(p, "a name to assign to was expected here");
    if (p->all_loops > 0 && str_is(p->token.text, "loop"))
        return tpl_parse_fail(p, "'loop' cannot be assigned to inside a loop");
    rc = tpl_parse_node(p, NODE_NAME, out);
    if (rc)
        return rc;
    (*out)->name = p->token.text;
    rc = tpl_parse_advance(p);
    if (rc || !attributes || !tpl_parse_at_op(p, OP_DOT))
        return rc;
    struct tpl_node *object = *out;
    if ((rc = tpl_parse_advance(p)) || (rc = tpl_parse_node(p, NODE_NSREF, out)))
        return rc;
    (*out)->name = p->token.text;
    (*out)->a = object;
    return expect_kind(p, TOKEN_NAME, "a name");
}

/* ---- Statements; the current token is what follows the tag's name ---- */

static int parse_if(struct tpl_parser *p, struct tpl_node **out)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL}, *const end[] = {"endif", NULL};
    bool soft = p->soft, more = true;
    int rc = tpl_parse_node(p, NODE_IF, out);
    p->soft = true;
    while (rc == 0 && more) {
        struct tpl_node *branch;
        if ((rc = tpl_parse_node(p, NODE_BRANCH, &branch)) ||
            (rc = tpl_parse_tuple(p, false, false, NULL, &branch->a)) ||
            (rc = parse_body(p, ends, &branch->b)))
            break;
        tpl_node_add(*out, branch);
        bool otherwise = tpl_parse_at_name(p, "else");
        more = tpl_parse_at_name(p, "elif");
        rc = tpl_parse_advance(p);
        if (rc || !otherwise)
            continue;
        rc = tpl_parse_node(p, NODE_BRANCH, &branch);
        if (rc == 0)
            rc = parse_body(p, end, &branch->b);
        if (rc == 0)
            rc = tpl_parse_advance(p);
        if (rc == 0)
            tpl_node_add(*out, branch);
    }
    p->soft = soft;
    return rc;
}

enum { FOR_RECURSIVE = 1 };

static int parse_for_header(struct tpl_parser *p, struct tpl_node *loop)
{
    struct tpl_node *filter;
    int rc = parse_target(p, false, &loop->a);
    if (rc)
        return rc;
    if (!tpl_parse_at_name(p, "in"))
        return tpl_parse_fail(p, "'in' was expected here");
    if ((rc = tpl_parse_advance(p)) || (rc = tpl_parse_tuple(p, false, false, "recursive", &loop->b)))
        return rc;
    bool soft = p->soft;
    p->soft = false;
    if (tpl_parse_at_name(p, "if")) {
        rc = tpl_parse_advance(p);
        if (rc == 0)
            rc = tpl_parse_expression(p, &filter);
    } else {
        rc = tpl_parse_node(p, NODE_NONE, &filter);
    }
    p->soft = soft;
    if (rc)
        return rc;
    tpl_node_add(loop, filter);
    if (!tpl_parse_at_name(p, "recursive"))
        return 0;
    loop->flags = FOR_RECURSIVE;
    return tpl_parse_advance(p);
}

static int parse_for(struct tpl_parser *p, struct tpl_node **out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct tpl_node *otherwise;
    int rc = tpl_parse_node(p, NODE_FOR, out);
    p->all_loops++; /* `loop` may not be the target either */
    if (rc == 0)
        rc = parse_for_header(p, *out);
    bool soft = p->soft;
    p->soft = false;
    p->loops++;
    if (rc == 0)
        rc = parse_body(p, ends, &(*out)->c);
    p->loops--;
    p->all_loops--;
    p->soft = soft;
    if (rc)
        return rc;
    bool has_else = tpl_parse_at_name(p, "else");
    rc = tpl_parse_advance(p);
    if (rc == 0)
        rc = has_else ? parse_body_to(p, "endfor", &otherwise) : tpl_parse_node(p, NODE_NONE, &otherwise);
    if (rc == 0)
        tpl_node_add(*out, otherwise);
    return rc;
}

static int parse_set(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_node *target, *none;
    int rc = parse_target(p, true, &target);
    if (rc)
        return rc;
    if (tpl_parse_at_op(p, OP_ASSIGN)) {
        rc = tpl_parse_node(p, NODE_SET, out);
        if (rc == 0)
            rc = tpl_parse_advance(p);
        if (rc)
            return rc;
        (*out)->a = target;
        return tpl_parse_tuple(p, true, false, NULL, &(*out)->b);
    }
    bool soft = p->soft;
    p->soft = false;
    if ((rc = tpl_parse_node(p, NODE_SET_BLOCK, out)) == 0 &&
        (rc = tpl_parse_node(p, NODE_NONE, &none)) == 0) {
        (*out)->a = target;
        rc = tpl_parse_filters(p, none, false, &(*out)->b);
    }
    p->soft = soft;
    return rc ? rc : parse_body_to(p, "endset", &(*out)->c);
}

/* (a, b=default): parameters become children. */
static int parse_params(struct tpl_parser *p, struct tpl_node *macro)
{
    int rc = tpl_parse_expect_op(p, OP_LPAREN);
    bool defaults = false;
    while (rc == 0 && !tpl_parse_at_op(p, OP_RPAREN)) {
        struct tpl_node *param;
        if ((macro->first && (rc = tpl_parse_expect_op(p, OP_COMMA))) ||
            (rc = tpl_parse_node(p, NODE_PARAM, &param)))
            break;
        param->name = p->token.text;
        rc = name_reserved(param->name) ? tpl_parse_fail(p, "a parameter's name was expected here")
                                        : expect_kind(p, TOKEN_NAME, "a parameter's name");
        if (rc == 0 && tpl_parse_at_op(p, OP_ASSIGN)) {
            defaults = true;
            rc = tpl_parse_advance(p);
            if (rc == 0)
                rc = tpl_parse_expression(p, &param->a);
        } else if (rc == 0 && defaults) {
            rc = tpl_parse_fail(p, "a parameter without a default follows one with a default");
        }
        if (rc == 0)
            tpl_node_add(macro, param);
    }
    return rc ? rc : tpl_parse_expect_op(p, OP_RPAREN);
}

/* A macro's body: what it uses of varargs, kwargs and caller decides which arguments it takes. */
static int parse_macro_body(struct tpl_parser *p, const char *end, struct tpl_node *macro)
{
    uint8_t uses = p->macro_uses;
    int loops = p->loops;
    p->macro_uses = 0;
    p->loops = 0;
    int rc = parse_body_to(p, end, &macro->c);
    macro->flags = p->macro_uses;
    p->macro_uses |= uses; /* what an inner one uses, an outer one is asked for too */
    p->loops = loops;
    return rc;
}

static int parse_macro(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_MACRO, out);
    if (rc)
        return rc;
    (*out)->name = p->token.text;
    rc = expect_kind(p, TOKEN_NAME, "the macro's name");
    bool soft = p->soft;
    p->soft = false;
    if (rc == 0)
        rc = parse_params(p, *out);
    p->soft = soft;
    return rc ? rc : parse_macro_body(p, "endmacro", *out);
}

static int parse_call_block(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_node *caller;
    int rc = tpl_parse_node(p, NODE_CALL_BLOCK, out);
    if (rc == 0)
        rc = tpl_parse_node(p, NODE_MACRO, &caller);
    if (rc)
        return rc;
    (*out)->b = caller;
    caller->name = STR("caller");
    if (tpl_parse_at_op(p, OP_LPAREN))
        rc = parse_params(p, caller);
    if (rc == 0)
        rc = tpl_parse_expression(p, &(*out)->a);
    if (rc == 0 && (*out)->a->kind != NODE_CALL)
        rc = tpl_parse_fail(p, "a call was expected here");
    return rc ? rc : parse_macro_body(p, "endcall", caller);
}

static int parse_filter_block(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_node *none;
    bool soft = p->soft;
    int rc = tpl_parse_node(p, NODE_FILTER_BLOCK, out);
    if (rc == 0)
        rc = tpl_parse_node(p, NODE_NONE, &none);
    p->soft = false;
    if (rc == 0)
        rc = tpl_parse_filters(p, none, true, &(*out)->a);
    p->soft = soft;
    return rc ? rc : parse_body_to(p, "endfilter", &(*out)->c);
}

static int parse_with(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_WITH, out);
    while (rc == 0 && p->token.kind != TOKEN_BLOCK_END) {
        struct tpl_node *set;
        if (((*out)->first && (rc = tpl_parse_expect_op(p, OP_COMMA))) ||
            (rc = tpl_parse_node(p, NODE_SET, &set)) || (rc = parse_target_one(p, false, &set->a)) ||
            (rc = tpl_parse_expect_op(p, OP_ASSIGN)) || (rc = tpl_parse_expression(p, &set->b)))
            break;
        tpl_node_add(*out, set);
    }
    return rc ? rc : parse_body_to(p, "endwith", &(*out)->c);
}

/* Transformers' mark around what the assistant says: its body stands for itself. */
static int parse_generation(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_WITH, out);
    int loops = p->loops;
    p->loops = 0;
    if (rc == 0)
        rc = parse_body_to(p, "endgeneration", &(*out)->c);
    p->loops = loops;
    return rc;
}

/* {% block name [scoped] [required] %} ... {% endblock [name] %}: nothing extends a chat template, so the
 * body stands for itself. */
static int parse_named_block(struct tpl_parser *p, struct tpl_node **out)
{
    struct str name = p->token.text;
    int loops = p->loops, rc = tpl_parse_node(p, NODE_WITH, out);
    p->loops = 0;
    if (rc == 0)
        rc = expect_kind(p, TOKEN_NAME, "the block's name");
    while (rc == 0 && (tpl_parse_at_name(p, "scoped") || tpl_parse_at_name(p, "required")))
        rc = tpl_parse_advance(p);
    if (rc == 0)
        rc = parse_body_to(p, "endblock", &(*out)->c);
    p->loops = loops;
    return rc || p->token.kind != TOKEN_NAME || !str_eq(p->token.text, name) ? rc : tpl_parse_advance(p);
}

static int parse_print(struct tpl_parser *p, struct tpl_node **out)
{
    int rc = tpl_parse_node(p, NODE_BLOCK, out);
    while (rc == 0 && p->token.kind != TOKEN_BLOCK_END) {
        struct tpl_node *output;
        if (((*out)->first && (rc = tpl_parse_expect_op(p, OP_COMMA))) ||
            (rc = tpl_parse_node(p, NODE_OUTPUT, &output)) || (rc = tpl_parse_expression(p, &output->a)))
            break;
        tpl_node_add(*out, output);
    }
    return rc;
}

static int parse_jump(struct tpl_parser *p, enum tpl_node_kind kind, struct tpl_node **out)
{
    if (p->loops == 0)
        return tpl_parse_fail(p, "'%s' stands outside a loop", kind == NODE_BREAK ? "break" : "continue");
    return tpl_parse_node(p, kind, out);
}

static int parse_break(struct tpl_parser *p, struct tpl_node **out)
{
    return parse_jump(p, NODE_BREAK, out);
}

static int parse_continue(struct tpl_parser *p, struct tpl_node **out)
{
    return parse_jump(p, NODE_CONTINUE, out);
}

static int parse_statement(struct tpl_parser *p, struct tpl_node **out)
{
    static const struct {
        const char *name;
        int (*parse)(struct tpl_parser *p, struct tpl_node **out);
    } statements[] = {{"if", parse_if}, {"for", parse_for}, {"set", parse_set}, {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block}, {"with", parse_with},
        {"generation", parse_generation}, {"block", parse_named_block}, {"print", parse_print},
        {"break", parse_break}, {"continue", parse_continue}};
    if (p->token.kind != TOKEN_NAME)
        return tpl_parse_fail(p, "the name of a tag was expected after '{%%'");
    struct str name = p->token.text;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!str_is(name, statements[i].name))
            continue;
        int rc = tpl_parse_advance(p);
        return rc ? rc : statements[i].parse(p, out);
    }
    return tpl_parse_fail(
        p, "the tag '" STR_FMT "' does not belong here", (int)(name.len < 40 ? name.len : 40), name.data);
}

int template_parse(struct str source, struct template **out, struct error *err)
{
    if (source.len > LIMIT_TEMPLATE_SOURCE)
        return error_set(
            err, ERROR_LIMIT, "the chat template is larger than %zu bytes", (size_t)LIMIT_TEMPLATE_SOURCE);
    struct arena *a = arena_create(TPL_PARSE_MEMORY);
    struct template *t = arena_new(a, struct template);
    struct tpl_parser p = {.arena = a, .err = err};
    t->arena = a;
    int rc = tpl_lexer_init(&p.lexer, a, source, err);
    if (rc == 0)
        rc = tpl_parse_advance(&p);
    if (rc == 0)
        rc = parse_until(&p, NULL, &t->root);
    if (rc == 0 && p.unknown.set)
        rc = error_set(err, ERROR_INVALID,
            "the chat template is not valid at line %u: there is no %s named '" STR_FMT "'", p.unknown.line,
            p.unknown.test ? "test" : "filter", (int)(p.unknown.name.len < 60 ? p.unknown.name.len : 60),
            p.unknown.name.data);
    if (rc) {
        arena_free(a);
        return rc;
    }
    *out = t;
    return 0;
}

void template_free(struct template *t)
{
    if (t)
        arena_free(t->arena);
}
