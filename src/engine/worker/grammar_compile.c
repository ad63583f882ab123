/* Trees of rules to a program (grammar_inner.h), once it is known which rules can be empty, which can end at
 * all, and that none begins with itself. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar_inner.h"

/* ---- What rules can be ---- */

enum { PASSES_WORK = 1 << 26 }; /* nodes looked at, all passes together */

/* Can it be empty; `ends`: can it come to an end at all? Both are told by the parts in the same way. */
static bool holds(const struct grammar *g, const struct grammar_node *n, bool ends, int64_t *work)
{
    bool found = false;
    ++*work;
    switch (n->kind) {
    case NODE_CHARS:
        return ends && n->n_ranges > 0;
    case NODE_CALL:
        return ends ? g->rules[n->rule].productive : g->rules[n->rule].nullable;
    case NODE_REPEAT:
        return n->least == 0 || holds(g, n->first, ends, work);
    case NODE_SEQUENCE:
        for (const struct grammar_node *c = n->first; c; c = c->next)
            if (!holds(g, c, ends, work))
                return false;
        return true;
    case NODE_CHOICE:
        for (const struct grammar_node *c = n->first; c && !found; c = c->next)
            found = holds(g, c, ends, work);
        return found;
    }
    return false;
}

static bool nullable(const struct grammar *g, const struct grammar_node *n, int64_t *work)
{
    return holds(g, n, false, work);
}

static bool productive(const struct grammar *g, const struct grammar_node *n, int64_t *work)
{
    return holds(g, n, true, work);
}

static bool rule_learn(struct grammar *g, uint32_t index, int64_t *work)
{
    struct grammar_rule *r = &g->rules[index];
    bool before = r->nullable, could = r->productive;
    r->nullable = r->nullable || nullable(g, r->body, work);
    r->productive = r->productive || productive(g, r->body, work);
    return r->nullable != before || r->productive != could;
}

/* Both are least fixed points. Rules mostly use those that come after them, or before. */
static int rules_learn(struct grammar *g, struct error *err)
{
    int64_t work = 0;
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t i = g->n_rules; i-- > 0;)
            changed = rule_learn(g, i, &work) || changed;
        for (uint32_t i = 0; i < g->n_rules; i++)
            changed = rule_learn(g, i, &work) || changed;
        if (work > PASSES_WORK)
            return error_set(
                err, ERROR_LIMIT, "the grammar's rules depend on each other too much: make it simpler");
    }
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (!g->rules[i].productive && i == g->root)
            return error_set(err, ERROR_INVALID,
                "nothing can follow the grammar or schema: it asks for something that never ends or "
                "contradicts itself");
    return 0;
}

/* ---- Left recursion ---- */

/* Calls at the beginning of rules: for each rule where its edges start, Kahn's algorithm over them. */
struct edges {
    uint32_t *from, *to, *degree;
    size_t count, capacity;
    bool failed;
};

static void edge_add(struct edges *e, uint32_t from, uint32_t to)
{
    if (e->count == e->capacity) {
        size_t more = e->capacity ? e->capacity * 2 : 256;
        uint32_t *a = realloc(e->from, more * sizeof *a);
        if (a)
            e->from = a;
        uint32_t *b = realloc(e->to, more * sizeof *b);
        if (b)
            e->to = b;
        if (!a || !b) {
            e->failed = true;
            return;
        }
        e->capacity = more;
    }
    e->from[e->count] = from;
    e->to[e->count++] = to;
    e->degree[to]++;
}

static void edges_gather(
    const struct grammar *g, struct edges *e, uint32_t rule, const struct grammar_node *n)
{
    int64_t work = 0;
    if (n->kind == NODE_CALL)
        edge_add(e, rule, n->rule);
    for (const struct grammar_node *c = n->first; c && !e->failed; c = c->next) {
        edges_gather(g, e, rule, c);
        if (n->kind == NODE_SEQUENCE && !nullable(g, c, &work))
            return;
    }
}

/* Removes rules that nothing left begins with; what cannot be removed goes round in a circle. */
static uint32_t circle_find(const struct grammar *g, struct edges *e, uint32_t *starts, uint32_t *order)
{
    uint32_t n = 0;
    for (size_t i = 0; i < e->count; i++)
        starts[e->from[i] + 1]++;
    for (uint32_t i = 0; i < g->n_rules; i++)
        starts[i + 1] += starts[i];
    uint32_t *sorted = order + g->n_rules;
    for (size_t i = 0; i < e->count; i++)
        sorted[starts[e->from[i]]++] = e->to[i];
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (e->degree[i] == 0)
            order[n++] = i;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = order[k] ? starts[order[k] - 1] : 0; i < starts[order[k]]; i++)
            if (--e->degree[sorted[i]] == 0)
                order[n++] = sorted[i];
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (e->degree[i] > 0)
            return i;
    return g->n_rules;
}

static int left_recursion_check(const struct grammar *g, struct error *err)
{
    struct edges e = {.degree = calloc(g->n_rules, sizeof(uint32_t))};
    e.failed = !e.degree;
    for (uint32_t i = 0; i < g->n_rules && !e.failed; i++)
        edges_gather(g, &e, i, g->rules[i].body);
    uint32_t *starts = calloc(g->n_rules + 1, sizeof *starts);
    uint32_t *order = calloc(g->n_rules + e.count, sizeof *order);
    int rc = 0;
    if (e.failed || !starts || !order) {
        rc = error_set(err, ERROR_MEMORY, "no memory for a grammar: try again later");
    } else {
        uint32_t found = circle_find(g, &e, starts, order);
        if (found < g->n_rules)
            rc = error_set(err, ERROR_UNSUPPORTED,
                "the grammar's rule '" STR_FMT
                "' comes back to itself before anything is read (left recursion): "
                "let it read something first",
                STR_ARG(str_slice(g->rules[found].name, 0, 100)));
    }
    free(e.from);
    free(e.to);
    free(e.degree);
    free(starts);
    free(order);
    return rc;
}

/* ---- The program ---- */

struct writer {
    struct grammar *g;
    uint32_t capacity, range_capacity, turn_capacity;
    struct error *err;
};

static int grow(struct writer *w, void *array, size_t size, uint32_t count, uint32_t need, uint32_t *capacity)
{
    void **to = array;
    if (count + need <= *capacity)
        return 0;
    uint32_t more = (count + need) * 2;
    void *bigger = count + need <= GRAMMAR_OPS_MAX ? arena_try_alloc(w->g->arena, more, size) : NULL;
    if (!bigger)
        return error_set(w->err, ERROR_LIMIT, "the grammar is too large: make it shorter");
    if (count > 0)
        memcpy(bigger, *to, count * size);
    *to = bigger;
    *capacity = more;
    return 0;
}

static int op_add(struct writer *w, enum grammar_op_kind kind, uint32_t a, uint32_t b)
{
    struct grammar *g = w->g;
    int rc = grow(w, &g->ops, sizeof *g->ops, g->n_ops, 1, &w->capacity);
    if (rc == 0)
        g->ops[g->n_ops++] = (struct grammar_op){kind, a, b};
    return rc;
}

static int chars_write(struct writer *w, const struct grammar_node *n)
{
    struct grammar *g = w->g;
    int rc = grow(w, &g->ranges, sizeof *g->ranges, g->n_ranges, n->n_ranges, &w->range_capacity);
    if (rc)
        return rc;
    if (n->n_ranges > 0)
        memcpy(g->ranges + g->n_ranges, n->ranges, n->n_ranges * sizeof *n->ranges);
    g->n_ranges += n->n_ranges;
    return op_add(w, OP_CHARS, g->n_ranges - n->n_ranges, n->n_ranges);
}

static int node_write(struct writer *w, const struct grammar_node *n);

/* The first of these that can come to an end: an answer must not enter the others. */
static const struct grammar_node *alternative_next(const struct grammar *g, const struct grammar_node *n)
{
    int64_t work = 0;
    while (n && !productive(g, n, &work))
        n = n->next;
    return n;
}

/* SPLIT first, next; first...; JUMP end; next: SPLIT ... */
static int choice_write(struct writer *w, const struct grammar_node *n)
{
    struct grammar *g = w->g;
    uint32_t last_jump = UINT32_MAX; /* a chain through `a` */
    int rc = 0;
    for (const struct grammar_node *c = alternative_next(g, n->first), *after; c && rc == 0; c = after) {
        uint32_t split = g->n_ops;
        after = alternative_next(g, c->next);
        if (after)
            rc = op_add(w, OP_SPLIT, split + 1, 0);
        if (rc == 0)
            rc = node_write(w, c);
        if (rc || !after)
            break;
        rc = op_add(w, OP_JUMP, last_jump, 0);
        last_jump = g->n_ops - 1;
        g->ops[split].b = g->n_ops;
    }
    while (rc == 0 && last_jump != UINT32_MAX) {
        uint32_t before = g->ops[last_jump].a;
        g->ops[last_jump].a = g->n_ops;
        last_jump = before;
    }
    return rc;
}

/* JUMP turn; body...; RETURN; turn: REPEAT body */
static int repeat_write(struct writer *w, const struct grammar_node *n)
{
    struct grammar *g = w->g;
    int64_t work = 0;
    struct grammar_turns turns = {n->least, n->most};
    if (nullable(g, n->first, &work)) {
        turns.least = 0;
        if (n->most != GRAMMAR_ENDLESS && n->most > GRAMMAR_NULLABLE_MOST)
            return error_set(w->err, ERROR_UNSUPPORTED,
                "the grammar repeats something that may be empty up to %u times: at most %d can be followed",
                n->most, GRAMMAR_NULLABLE_MOST);
    }
    if (!productive(g, n->first, &work))
        turns.most = 0; /* `least` is 0, or nobody comes here */
    uint32_t jump = g->n_ops;
    int rc = op_add(w, OP_JUMP, 0, 0);
    if (rc == 0)
        rc = node_write(w, n->first);
    if (rc == 0)
        rc = op_add(w, OP_RETURN, 0, 0);
    if (rc == 0)
        rc = grow(w, &g->turns, sizeof *g->turns, g->n_turns, 1, &w->turn_capacity);
    if (rc)
        return rc;
    g->ops[jump].a = g->n_ops;
    g->turns[g->n_turns++] = turns;
    return op_add(w, OP_REPEAT, jump + 1, g->n_turns - 1);
}

static int node_write(struct writer *w, const struct grammar_node *n)
{
    int rc = 0;
    switch (n->kind) {
    case NODE_CHARS:
        return chars_write(w, n);
    case NODE_CALL:
        return op_add(w, OP_CALL, n->rule, 0);
    case NODE_SEQUENCE:
        for (const struct grammar_node *c = n->first; c && rc == 0; c = c->next)
            rc = node_write(w, c);
        return rc;
    case NODE_CHOICE:
        return choice_write(w, n);
    case NODE_REPEAT:
        return repeat_write(w, n);
    }
    return rc;
}

static uint32_t jump_end(const struct grammar *g, uint32_t op)
{
    while (g->ops[op].kind == OP_JUMP)
        op = g->ops[op].a; /* forward only */
    return op;
}

/* Calls know where, and jumps to jumps go where those do. */
static void program_link(struct grammar *g)
{
    for (uint32_t i = g->n_ops; i-- > 0;) {
        struct grammar_op *op = &g->ops[i];
        if (op->kind == OP_CALL)
            op->a = g->rules[op->a].entry;
        else if (op->kind == OP_JUMP)
            op->a = jump_end(g, op->a);
    }
}

int grammar_compile(struct grammar *g, struct error *err)
{
    struct writer w = {.g = g, .err = err};
    int rc = rules_learn(g, err);
    if (rc == 0)
        rc = left_recursion_check(g, err);
    for (uint32_t i = 0; i < g->n_rules && rc == 0; i++) {
        g->rules[i].entry = g->n_ops;
        rc = node_write(&w, g->rules[i].body);
        if (rc == 0)
            rc = op_add(&w, OP_RETURN, 0, 0);
    }
    if (rc)
        return rc;
    program_link(g);
    g->root = g->rules[g->root].entry;
    return 0;
}
