/* Statements, scopes, loops, macros: one rendering. */
#include "engine/worker/template_internal.h"

#include <string.h>

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

static int exec_block(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *block, enum flow *flow);

/* ---- Scopes ---- */

static int scope_new(struct tpl_run *r, struct tpl_scope *parent, struct tpl_scope **out)
{
    *out = arena_try_alloc(r->arena, 1, sizeof **out);
    if (!*out)
        return tpl_fail_memory(r);
    (*out)->parent = parent;
    return 0;
}

/* A scope for the next turn of a loop: the old one, unless a macro still sees it. */
static int scope_fresh(struct tpl_run *r, struct tpl_scope *parent, struct tpl_scope **scope)
{
    if (!*scope || (*scope)->captured)
        return scope_new(r, parent, scope);
    (*scope)->count = 0;
    return 0;
}

static struct tpl_var *scope_find(const struct tpl_scope *scope, struct str name)
{
    for (size_t i = 0; i < scope->count; i++)
        if (str_eq(scope->vars[i].name, name))
            return &scope->vars[i];
    return NULL;
}

static int scope_set(struct tpl_run *r, struct tpl_scope *scope, struct str name, struct tpl_value v)
{
    int rc = tpl_spend(r, scope->count / 16);
    struct tpl_var *var = scope_find(scope, name);
    if (rc)
        return rc;
    if (var) {
        var->value = v;
        return 0;
    }
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity * 2 + 4;
        struct tpl_var *wider = arena_try_array(r->arena, struct tpl_var, capacity);
        if (!wider)
            return tpl_fail_memory(r);
        if (scope->count > 0)
            memcpy(wider, scope->vars, scope->count * sizeof *wider);
        scope->vars = wider;
        scope->capacity = capacity;
    }
    scope->vars[scope->count++] = (struct tpl_var){name, v};
    return 0;
}

/* What the caller passed in, or a function of ours; kept among the globals from then on. */
static int global_get(struct tpl_run *r, struct str name, struct tpl_value *out)
{
    const json_t *json = json_object_getn(r->values, name.data, name.len);
    const struct tpl_builtin *function = tpl_builtin_find(tpl_functions, name);
    int rc;
    if (json) {
        rc = tpl_from_json(r, json, out);
    } else if (function) {
        rc = tpl_bound_value(r, function, &(struct tpl_value){.kind = TPL_MISSING}, out);
    } else {
        *out = (struct tpl_value){.kind = TPL_UNDEFINED, .owner = TPL_MISSING, .s = name};
        return 0;
    }
    return rc ? rc : scope_set(r, r->globals, name, *out);
}

int tpl_scope_get(struct tpl_run *r, const struct tpl_scope *scope, struct str name, struct tpl_value *out)
{
    for (; scope; scope = scope->parent) {
        int rc = tpl_spend(r, scope->count / 16);
        const struct tpl_var *var = scope_find(scope, name);
        if (rc)
            return rc;
        if (var) {
            *out = var->value;
            return 0;
        }
    }
    return global_get(r, name, out);
}

/* ---- Assigning ---- */

static int assign_attr(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *target, struct tpl_value v)
{
    struct tpl_value object;
    int rc = tpl_scope_get(r, scope, target->a->name, &object);
    if (rc)
        return rc;
    if (object.kind != TPL_NAMESPACE)
        return tpl_fail(r, "cannot assign attribute on non-namespace object");
    return tpl_dict_put(r, object.dict, tpl_string(target->name), v);
}

static int assign(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *target, struct tpl_value v)
{
    struct tpl_list items;
    size_t i = 0;
    if (target->kind == NODE_NAME)
        return scope_set(r, scope, target->name, v);
    if (target->kind == NODE_NSREF)
        return assign_attr(r, scope, target, v);
    if (v.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, &v);
    int rc = tpl_items(r, &v, &items);
    for (const struct tpl_node *part = target->first; rc == 0 && part; part = part->next, i++) {
        if (i >= items.count)
            return tpl_fail(r, "not enough values to unpack: there are %zu", items.count);
        rc = assign(r, scope, part, items.items[i]);
    }
    if (rc == 0 && i < items.count)
        return tpl_fail(r, "too many values to unpack: %zu are expected", i);
    return rc;
}

/* ---- Loops ---- */

/* The next item that the loop's filter lets through. */
static int loop_fetch(struct tpl_run *r, struct tpl_loop *loop, struct tpl_value *item, bool *found)
{
    *found = false;
    while (loop->next < loop->source.count) {
        struct tpl_value verdict;
        *item = loop->source.items[loop->next++];
        *found = true;
        if (!loop->filter)
            return 0;
        int rc = scope_fresh(r, loop->outer, &loop->test_scope);
        if (rc == 0)
            rc = assign(r, loop->test_scope, loop->node->a, *item);
        if (rc == 0)
            rc = tpl_eval(r, loop->test_scope, loop->node->first, &verdict);
        if (rc == 0)
            rc = tpl_truth(r, &verdict, found);
        if (rc || *found)
            return rc;
    }
    return 0;
}

int tpl_loop_peek(struct tpl_run *r, struct tpl_loop *loop, bool *found)
{
    *found = loop->has_after;
    if (loop->has_after)
        return 0;
    int rc = loop_fetch(r, loop, &loop->after, found);
    loop->has_after = rc == 0 && *found;
    return rc;
}

static int loop_step(struct tpl_run *r, struct tpl_loop *loop, bool *found)
{
    struct tpl_value item = loop->after;
    *found = loop->has_after;
    int rc = loop->has_after ? 0 : loop_fetch(r, loop, &item, found);
    loop->has_after = false;
    if (rc || !*found)
        return rc;
    loop->index0++;
    loop->before = loop->current;
    loop->current = item;
    return 0;
}

/* Asking for the length walks what is left, and keeps it. */
int tpl_loop_length(struct tpl_run *r, struct tpl_loop *loop, int64_t *out)
{
    struct tpl_list rest;
    struct tpl_value item;
    bool found = true;
    int rc = 0;
    if (loop->length < 0 && loop->filter) {
        rc = tpl_list_new(r, 4, &rest);
        while (rc == 0 && found) {
            rc = loop_fetch(r, loop, &item, &found);
            if (rc == 0 && found)
                rc = tpl_list_append(r, &rest, item);
        }
        if (rc)
            return rc;
        loop->source = rest;
        loop->next = 0;
        loop->filter = false;
        loop->length = (int64_t)rest.count + loop->index0 + 1 + loop->has_after;
    } else if (loop->length < 0) {
        loop->length = (int64_t)loop->source.count;
    }
    *out = loop->length;
    return 0;
}

static int loop_run(struct tpl_run *r, struct tpl_loop *loop)
{
    const struct tpl_node *n = loop->node, *otherwise = n->first->next;
    struct tpl_value self = {.kind = TPL_LOOP, .loop = loop};
    struct tpl_scope *scope = NULL;
    enum flow flow = FLOW_NEXT;
    bool found = true;
    int rc = 0;
    while (rc == 0 && found && flow != FLOW_BREAK) {
        rc = loop_step(r, loop, &found);
        if (rc || !found)
            break;
        rc = scope_fresh(r, loop->outer, &scope);
        if (rc == 0)
            rc = scope_set(r, scope, STR("loop"), self);
        if (rc == 0)
            rc = assign(r, scope, n->a, loop->current);
        if (rc == 0)
            rc = exec_block(r, scope, n->c, &flow);
    }
    if (rc || loop->index0 >= 0 || otherwise->kind == NODE_NONE)
        return rc;
    rc = scope_new(r, loop->outer, &scope);
    return rc ? rc : exec_block(r, scope, otherwise, &flow);
}

static int loop_over(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n,
    const struct tpl_value *items, int64_t depth0)
{
    struct tpl_loop *loop = arena_try_alloc(r->arena, 1, sizeof *loop);
    if (!loop)
        return tpl_fail_memory(r);
    *loop = (struct tpl_loop){.node = n,
        .outer = scope,
        .filter = n->first->kind != NODE_NONE,
        .index0 = -1,
        .depth0 = depth0,
        .length = -1};
    int rc = tpl_items(r, items, &loop->source);
    return rc ? rc : loop_run(r, loop);
}

/* loop(items) inside a recursive loop: the same body over other items, as text. */
int tpl_loop_recurse(
    struct tpl_run *r, struct tpl_loop *loop, const struct tpl_args *args, struct tpl_value *out)
{
    if (!loop->node->flags)
        return tpl_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    if (args->n_positional != 1 || args->n_keywords > 0)
        return tpl_fail(r, "loop() takes the items to go over");
    size_t mark = tpl_text_begin(r);
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    rc = loop_over(r, loop->outer, loop->node, &args->positional[0], loop->depth0 + 1);
    tpl_leave(r);
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int exec_for(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_value items;
    int rc = tpl_eval(r, scope, n->b, &items);
    return rc ? rc : loop_over(r, scope, n, &items, 0);
}

/* ---- Macros ---- */

static int macro_make(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out)
{
    struct tpl_macro *macro = arena_try_alloc(r->arena, 1, sizeof *macro);
    if (!macro)
        return tpl_fail_memory(r);
    *macro = (struct tpl_macro){n, scope};
    for (struct tpl_scope *s = scope; s && !s->captured; s = s->parent)
        s->captured = true;
    *out = (struct tpl_value){.kind = TPL_MACRO, .macro = macro};
    return 0;
}

static const struct tpl_keyword *keyword_find(const struct tpl_args *args, struct str name)
{
    for (size_t i = 0; i < args->n_keywords; i++)
        if (str_eq(args->keywords[i].name, name))
            return &args->keywords[i];
    return NULL;
}

/* Parameters from positional arguments, keywords, defaults, in that order. Counts the keywords used. */
static int params_bind(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n,
    const struct tpl_args *args, size_t *used)
{
    size_t i = 0;
    int rc = 0;
    *used = 0;
    for (const struct tpl_node *p = n->first; rc == 0 && p; p = p->next, i++) {
        const struct tpl_keyword *named = i < args->n_positional ? NULL : keyword_find(args, p->name);
        *used += named != NULL;
        if (i < args->n_positional)
            rc = scope_set(r, scope, p->name, args->positional[i]);
        else if (named)
            rc = scope_set(r, scope, p->name, named->value);
    }
    i = 0;
    for (const struct tpl_node *p = n->first; rc == 0 && p; p = p->next, i++) {
        struct tpl_value v = {.kind = TPL_UNDEFINED, .owner = TPL_MISSING, .s = p->name};
        if (i < args->n_positional || keyword_find(args, p->name))
            continue;
        if (p->a)
            rc = tpl_eval(r, scope, p->a, &v);
        if (rc == 0)
            rc = scope_set(r, scope, p->name, v);
    }
    return rc;
}

static bool has_param(const struct tpl_node *n, struct str name)
{
    for (const struct tpl_node *p = n->first; p; p = p->next)
        if (str_eq(p->name, name))
            return true;
    return false;
}

static size_t param_count(const struct tpl_node *n)
{
    size_t count = 0;
    for (const struct tpl_node *p = n->first; p; p = p->next)
        count++;
    return count;
}

/* The keywords that are no parameters: kwargs. */
static int extra_keywords(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, const struct tpl_args *args)
{
    struct tpl_value dict;
    int rc = tpl_dict_new(r, args->n_keywords, TPL_DICT, &dict);
    for (size_t i = 0; rc == 0 && i < args->n_keywords; i++) {
        const struct tpl_keyword *k = &args->keywords[i];
        if (!has_param(n, k->name) && !((n->flags & MACRO_CALLER) && str_is(k->name, "caller")))
            rc = tpl_dict_put(r, dict.dict, tpl_string(k->name), k->value);
    }
    return rc ? rc : scope_set(r, scope, STR("kwargs"), dict);
}

static int extra_positional(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, const struct tpl_args *args)
{
    size_t params = param_count(n);
    size_t extra = args->n_positional > params ? args->n_positional - params : 0;
    struct tpl_list list = {extra ? args->positional + params : NULL, extra, NULL};
    struct tpl_value v;
    int rc = tpl_list_value(r, TPL_TUPLE, &list, &v);
    return rc ? rc : scope_set(r, scope, STR("varargs"), v);
}

/* All that a macro can be given, or a complaint about what it cannot. */
static int macro_bind(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, const struct tpl_args *args)
{
    size_t used, params = param_count(n);
    int rc = params_bind(r, scope, n, args, &used);
    if (rc == 0 && (n->flags & MACRO_CALLER) && !has_param(n, STR("caller"))) {
        const struct tpl_keyword *caller = keyword_find(args, STR("caller"));
        used += caller != NULL;
        rc = scope_set(
            r, scope, STR("caller"), caller ? caller->value : tpl_undefined(STR("No caller defined")));
    }
    if (rc)
        return rc;
    if (n->flags & MACRO_KWARGS)
        rc = has_param(n, STR("kwargs")) ? 0 : extra_keywords(r, scope, n, args);
    else if (used < args->n_keywords)
        return tpl_fail(
            r, "macro '" STR_FMT "' got a keyword argument that it does not take", STR_ARG(n->name));
    if (rc == 0 && (n->flags & MACRO_VARARGS))
        rc = has_param(n, STR("varargs")) ? 0 : extra_positional(r, scope, n, args);
    else if (rc == 0 && args->n_positional > params)
        return tpl_fail(
            r, "macro '" STR_FMT "' takes not more than %zu argument(s)", STR_ARG(n->name), params);
    return rc;
}

int tpl_macro_call(
    struct tpl_run *r, const struct tpl_macro *m, const struct tpl_args *args, struct tpl_value *out)
{
    struct tpl_scope *scope;
    enum flow flow = FLOW_NEXT;
    size_t mark = tpl_text_begin(r);
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    rc = scope_new(r, m->scope, &scope);
    if (rc == 0)
        rc = macro_bind(r, scope, m->node, args);
    if (rc == 0)
        rc = exec_block(r, scope, m->node->c, &flow);
    tpl_leave(r);
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int exec_call_block(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_value callee, caller, text;
    struct tpl_args args;
    int rc = macro_make(r, scope, n->b, &caller);
    if (rc == 0)
        rc = tpl_eval(r, scope, n->a->a, &callee);
    if (rc == 0)
        rc = tpl_eval_args(r, scope, n->a, 1, &args);
    if (rc)
        return rc;
    args.keywords[args.n_keywords++] = (struct tpl_keyword){STR("caller"), caller};
    rc = tpl_call_value(r, &callee, &args, &text);
    return rc ? rc : tpl_write(r, &text);
}

/* ---- Statements ---- */

/* What a block writes, as a string. A jump out of it leaves nothing written. */
static int captured(struct tpl_run *r, struct tpl_scope *outer, const struct tpl_node *body, enum flow *flow,
    struct tpl_scope **scope, struct tpl_value *out)
{
    size_t mark = tpl_text_begin(r);
    int rc = scope_new(r, outer, scope);
    if (rc == 0)
        rc = exec_block(r, *scope, body, flow);
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int exec_set_block(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, enum flow *flow)
{
    struct tpl_scope *inner;
    struct tpl_value text, v;
    int rc = captured(r, scope, n->c, flow, &inner, &text);
    if (rc || *flow != FLOW_NEXT)
        return rc;
    rc = tpl_eval_filters(r, inner, n->b, &text, &v);
    return rc ? rc : assign(r, scope, n->a, v);
}

static int exec_filter_block(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, enum flow *flow)
{
    struct tpl_scope *inner;
    struct tpl_value text, v;
    int rc = captured(r, scope, n->c, flow, &inner, &text);
    if (rc || *flow != FLOW_NEXT)
        return rc;
    rc = tpl_eval_filters(r, inner, n->a, &text, &v);
    return rc ? rc : tpl_write(r, &v);
}

static int exec_if(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, enum flow *flow)
{
    for (const struct tpl_node *branch = n->first; branch; branch = branch->next) {
        struct tpl_value v;
        bool yes = true;
        int rc = branch->a ? tpl_eval(r, scope, branch->a, &v) : 0;
        if (rc == 0 && branch->a)
            rc = tpl_truth(r, &v, &yes);
        if (rc)
            return rc;
        if (yes)
            return exec_block(r, scope, branch->b, flow);
    }
    return 0;
}

static int exec_with(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, enum flow *flow)
{
    struct tpl_scope *inner;
    int rc = scope_new(r, scope, &inner);
    for (const struct tpl_node *set = n->first; rc == 0 && set; set = set->next) {
        struct tpl_value v;
        rc = tpl_eval(r, scope, set->b, &v);
        if (rc == 0)
            rc = assign(r, inner, set->a, v);
    }
    return rc ? rc : exec_block(r, inner, n->c, flow);
}

static int exec_value(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_value v;
    int rc = 0;
    if (n->kind == NODE_OUTPUT) {
        rc = tpl_eval(r, scope, n->a, &v);
        return rc ? rc : tpl_write(r, &v);
    }
    if (n->kind == NODE_SET) {
        rc = tpl_eval(r, scope, n->b, &v);
        return rc ? rc : assign(r, scope, n->a, v);
    }
    rc = macro_make(r, scope, n, &v);
    return rc ? rc : scope_set(r, scope, n->name, v);
}

static int exec(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, enum flow *flow)
{
    r->line = n->line;
    switch (n->kind) {
    case NODE_TEXT:
        return tpl_write(r, &n->constant);
    case NODE_OUTPUT:
    case NODE_SET:
    case NODE_MACRO:
        return exec_value(r, scope, n);
    case NODE_BLOCK:
        return exec_block(r, scope, n, flow);
    case NODE_IF:
        return exec_if(r, scope, n, flow);
    case NODE_FOR:
        return exec_for(r, scope, n);
    case NODE_SET_BLOCK:
        return exec_set_block(r, scope, n, flow);
    case NODE_FILTER_BLOCK:
        return exec_filter_block(r, scope, n, flow);
    case NODE_CALL_BLOCK:
        return exec_call_block(r, scope, n);
    case NODE_WITH:
        return exec_with(r, scope, n, flow);
    default:
        *flow = n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        return 0;
    }
}

static int exec_block(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *block, enum flow *flow)
{
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    *flow = FLOW_NEXT;
    for (const struct tpl_node *n = block->first; rc == 0 && n && *flow == FLOW_NEXT; n = n->next) {
        rc = exec(r, scope, n, flow);
        if (rc == 0)
            rc = tpl_spend(r, 1);
    }
    tpl_leave(r);
    return rc;
}

int template_render(
    const struct template *t, const json_t *values, int64_t now_s, struct buf *out, struct error *err)
{
    struct error own; /* what fails may be put off: it must be written somewhere */
    if (!err)
        err = &own;
    struct tpl_run r = {.values = values, .now_s = now_s, .out = out, .err = err, .steps = TPL_STEPS};
    size_t before = out->len;
    enum flow flow = FLOW_NEXT;
    if (!json_is_object(values))
        return error_set(err, ERROR_INVALID, "the values of a chat template must be an object");
    r.arena = arena_create(TPL_RUN_MEMORY);
    int rc = scope_new(&r, NULL, &r.globals);
    if (rc == 0)
        rc = exec_block(&r, r.globals, t->root, &flow);
    if (rc)
        tpl_text_drop(&r, before);
    arena_free(r.arena);
    return rc;
}
