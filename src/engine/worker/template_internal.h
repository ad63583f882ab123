/* What the files of the template interpreter share: the tree, the values and the state of one rendering.
 *
 *   source -> lexer (template_lex) -> parser (template_parse, template_expr) -> tree of tpl_node
 *   tree + JSON values -> template_exec (statements), template_eval (expressions) -> text
 *
 * Semantics follow Python and Jinja2 3.1 in its immutable sandbox. All memory is in two arenas with a
 * maximum: the template's and the rendering's. Everything that loops spends steps, everything that recurses
 * counts depth. */
#ifndef WEIR_ENGINE_WORKER_TEMPLATE_INTERNAL_H
#define WEIR_ENGINE_WORKER_TEMPLATE_INTERNAL_H

#include "base/arena.h"
#include "base/limits.h"
#include "engine/worker/template.h"
#include "engine/worker/template_unicode.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { TPL_STEPS = 1000 * 1000 }; /* under sanitizers every step takes ten times as long */
#else
enum { TPL_STEPS = 100 * 1000 * 1000 }; /* evaluation steps of one rendering; 64 bytes of text count as one */
#endif
enum {
    TPL_DEPTH = 1000,       /* nesting of evaluation, macro calls and walks over values */
    TPL_PARSE_DEPTH = 200,  /* nesting of statements and expressions in the source */
    TPL_RANGE_MAX = 100000, /* items of range(), as in Jinja's sandbox */
    TPL_SLOTS = 6,          /* most parameters a built-in has */
    TPL_GROWERS = 4         /* strings that can grow in place at the same time */
};
#define TPL_PARSE_MEMORY (192 * MIB)
#define TPL_RUN_MEMORY LIMIT_REQUEST_MEMORY

/* ---- Values ---- */

enum tpl_kind {
    TPL_MISSING, /* an argument that was not given; never seen by a template */
    TPL_UNDEFINED,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_LIST,
    TPL_TUPLE,
    TPL_DICT,
    TPL_RANGE,
    TPL_VIEW,     /* dict.keys(), .values(), .items() */
    TPL_ITERATOR, /* what map, select, reverse ... return: can be walked once */
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_FUNCTION, /* a built-in, bound to a value if it is a method */
    TPL_LOOP,
    TPL_CYCLER,
    TPL_JOINER
};

/* Why a value is undefined: `s` is a name that no scope has (owner 0), an attribute that a value of the kind
 * `owner` lacks, or with owner TPL_UNDEFINED a whole sentence. */
struct tpl_value {
    uint8_t kind;  /* enum tpl_kind */
    uint8_t owner; /* UNDEFINED: above */
    bool markup;   /* STRING: marked safe (Jinja's Markup): what is added to it gets HTML-escaped */
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;                /* valid UTF-8, shared, never changed */
        const struct tpl_list *list; /* LIST, TUPLE */
        struct tpl_dict *dict;       /* DICT (never changed once made), NAMESPACE */
        const struct tpl_range *range;
        const struct tpl_view *view;
        struct tpl_iterator *iterator;
        const struct tpl_macro *macro;
        const struct tpl_bound *bound;
        struct tpl_loop *loop;
        struct tpl_cycler *cycler; /* CYCLER, JOINER */
    };
};

/* A list owns a window of a store; adding to the list that ends where its store is filled needs no copy:
 *
 *   store  | a | b | c | d |   |   |      used 4 of 6
 *   list     `-- count 3 -'   `-- [a, b, c] + [x] copies; [a, b, c, d] + [x] goes into the fifth place */
struct tpl_store {
    size_t used, capacity;
    struct tpl_value items[];
};
struct tpl_list {
    struct tpl_value *items;
    size_t count;
    struct tpl_store *store; /* NULL: the items are somebody else's */
};

struct tpl_entry {
    struct tpl_value key, value;
};
struct tpl_dict {
    struct tpl_entry *entries; /* in the order they were put in */
    size_t count, capacity;
};

struct tpl_range {
    int64_t start, step;
    size_t count;
};

enum tpl_view_kind { TPL_KEYS, TPL_VALUES, TPL_ITEMS };
struct tpl_view {
    const struct tpl_dict *dict;
    enum tpl_view_kind kind;
};

struct tpl_iterator {
    struct tpl_list list;
    size_t next;
    const struct error *failure; /* what comes after the last item, or NULL */
};

struct tpl_cycler {
    struct tpl_list items; /* JOINER: the separator alone */
    size_t next;
};

/* ---- The tree ---- */

enum tpl_node_kind {
    /* statements */
    NODE_BLOCK,  /* children in order */
    NODE_TEXT,   /* constant */
    NODE_OUTPUT, /* {{ a }} */
    NODE_IF,     /* children: NODE_BRANCH, tried in order */
    NODE_BRANCH, /* a: condition, NULL for else; b: body */
    NODE_FOR,    /* a: target; b: iterable; c: body; children: [0] filter, [1] else, both maybe NODE_NONE */
    NODE_SET,    /* a: target; b: value */
    NODE_SET_BLOCK,    /* a: target; b: filters over NODE_NONE, or NULL; c: body */
    NODE_MACRO,        /* name; children: NODE_PARAM; c: body; flags: MACRO_* */
    NODE_PARAM,        /* name; a: default or NULL */
    NODE_CALL_BLOCK,   /* a: NODE_CALL; b: NODE_MACRO, the caller */
    NODE_FILTER_BLOCK, /* a: filters over NODE_NONE; c: body */
    NODE_WITH,         /* children: NODE_SET; c: body */
    NODE_BREAK,
    NODE_CONTINUE,
    /* expressions */
    NODE_NONE,    /* no expression; under filters of a block: the text of the block */
    NODE_CONST,   /* constant */
    NODE_NAME,    /* name */
    NODE_NSREF,   /* name: attribute; a: NODE_NAME. A target of set only */
    NODE_TUPLE,   /* children */
    NODE_LIST,    /* children */
    NODE_DICT,    /* children: key, value, key, value ... */
    NODE_COND,    /* a if b else c; c may be NULL */
    NODE_OR,      /* a, b */
    NODE_AND,     /* a, b */
    NODE_NOT,     /* a */
    NODE_COMPARE, /* a; children: NODE_OPERAND */
    NODE_OPERAND, /* op; a */
    NODE_BINARY,  /* a op b */
    NODE_CONCAT,  /* children */
    NODE_NEGATE,  /* a */
    NODE_PLUS,    /* a */
    NODE_ATTR,    /* a.name */
    NODE_ITEM,    /* a[b] */
    NODE_SLICE,   /* a[children: from, to, step; NODE_NONE where left out] */
    NODE_CALL,    /* a(children: NODE_ARG) */
    NODE_FILTER,  /* a|name(children: NODE_ARG) */
    NODE_TEST,    /* a is name(children: NODE_ARG) */
    NODE_ARG      /* op: enum tpl_arg_kind; name of a keyword; a */
};

enum tpl_arg_kind { ARG_POSITIONAL, ARG_KEYWORD, ARG_STAR, ARG_STAR_STAR };

enum tpl_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
    /* tokens that are no operators of the tree */
    OP_TILDE,
    OP_DOT,
    OP_COMMA,
    OP_COLON,
    OP_PIPE,
    OP_ASSIGN,
    OP_LPAREN,
    OP_RPAREN,
    OP_LBRACKET,
    OP_RBRACKET,
    OP_LBRACE,
    OP_RBRACE,
    OP_SEMICOLON
};

enum { MACRO_VARARGS = 1, MACRO_KWARGS = 2, MACRO_CALLER = 4 }; /* the body uses these names */

struct tpl_node {
    uint8_t kind, op, flags;
    uint32_t line;
    struct str name;
    union {
        struct tpl_value constant;
        struct {
            struct tpl_node *a, *b, *c;
        };
    };
    const struct tpl_builtin *builtin; /* FILTER, TEST; NULL if there is none of that name */
    struct tpl_node *first, *last;     /* children */
    struct tpl_node *next;             /* sibling */
};

struct template
{
    struct arena *arena;
    struct tpl_node *root;
};

/* ---- Lexer ---- */

enum tpl_token_kind {
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_OP,
    TOKEN_END
};

struct tpl_token {
    enum tpl_token_kind kind;
    enum tpl_op op;
    uint32_t line;
    struct str text; /* DATA, NAME, STRING (escapes undone) */
    int64_t integer;
    double number;
};

struct tpl_lexer {
    struct arena *arena;
    struct str source; /* line ends are \n */
    size_t pos;
    uint32_t line;
    uint32_t brackets;  /* open ones: the end of a tag does not count inside */
    bool in_tag;        /* TOKEN_BLOCK_BEGIN or TOKEN_VARIABLE_BEGIN is open */
    bool in_block;      /* of these, a block */
    bool line_starting; /* what was read last ended a line */
};

int tpl_lexer_init(struct tpl_lexer *l, struct arena *a, struct str source, struct error *err) MUST_USE;
int tpl_lexer_next(struct tpl_lexer *l, struct tpl_token *out, struct error *err) MUST_USE;

/* ---- Parser ---- */

struct tpl_parser {
    struct arena *arena;
    struct tpl_lexer lexer;
    struct tpl_token token; /* the current one */
    struct error *err;
    int depth;
    int loops;          /* `for` around this place inside the same macro: break is allowed */
    int all_loops;      /* `for` around this place at all */
    bool soft;          /* under an `if`: an unknown filter fails only when it is used */
    uint8_t macro_uses; /* MACRO_* names seen since the current macro began */
    struct {
        bool set;
        bool test;
        uint32_t line;
        struct str name;
    } unknown; /* the first unknown filter or test outside such a place */
};

int tpl_parse_fail(struct tpl_parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
int tpl_parse_advance(struct tpl_parser *p) MUST_USE;
bool tpl_parse_at_op(const struct tpl_parser *p, enum tpl_op op);
bool tpl_parse_at_name(const struct tpl_parser *p, const char *name);
int tpl_parse_expect_op(struct tpl_parser *p, enum tpl_op op) MUST_USE;
int tpl_parse_enter(struct tpl_parser *p) MUST_USE; /* one level deeper; the caller takes it back */
int tpl_parse_node(struct tpl_parser *p, enum tpl_node_kind kind, struct tpl_node **out) MUST_USE;
void tpl_node_add(struct tpl_node *parent, struct tpl_node *child);

int tpl_parse_expression(struct tpl_parser *p, struct tpl_node **out) MUST_USE;
/* One expression, or a tuple of those that commas separate. `condition` false: no inline `if` at this level
 * (the header of for and if). `end`: a name that ends the tuple, or NULL. */
int tpl_parse_tuple(
    struct tpl_parser *p, bool condition, bool parentheses, const char *end, struct tpl_node **out) MUST_USE;
int tpl_parse_filters(
    struct tpl_parser *p, struct tpl_node *input, bool inline_start, struct tpl_node **out) MUST_USE;

/* ---- One rendering ---- */

struct tpl_var {
    struct str name;
    struct tpl_value value;
};

struct tpl_scope {
    struct tpl_scope *parent;
    struct tpl_var *vars;
    size_t count, capacity;
    bool captured; /* a macro closed over it: it must not be used again */
};

struct tpl_macro {
    const struct tpl_node *node;
    struct tpl_scope *scope; /* where it was defined */
};

struct tpl_loop {
    const struct tpl_node *node;
    struct tpl_scope *outer;
    struct tpl_list source;
    size_t next;    /* of the source */
    bool filter;    /* the node's filter is still to be asked */
    bool has_after; /* `after` was fetched early, for `last` or `nextitem` */
    struct tpl_value before, current, after, changed;
    int64_t index0, depth0;
    int64_t length; /* -1 until somebody asks */
    struct tpl_scope *test_scope;
};

struct tpl_grower {
    char *data;
    size_t used, size;
};

struct tpl_run {
    const json_t *values;
    int64_t now_s;
    struct buf *out; /* also where strings are put together, beyond what was written so far */
    struct error *err;
    struct arena *arena;
    struct tpl_scope *globals;
    char *heap; /* where short strings go, one behind the other */
    size_t heap_used, heap_size;
    struct tpl_grower growers[TPL_GROWERS]; /* strings that may be added to in place */
    unsigned next_grower;
    int64_t steps; /* left */
    int depth;
    uint32_t line; /* of the statement or expression being evaluated */
};

int tpl_fail(struct tpl_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
int tpl_fail_memory(struct tpl_run *r);
int tpl_spend(struct tpl_run *r, size_t steps) MUST_USE;
int tpl_spend_bytes(struct tpl_run *r, size_t bytes) MUST_USE;
int tpl_enter(struct tpl_run *r) MUST_USE; /* one level deeper; pair with tpl_leave */
static inline void tpl_leave(struct tpl_run *r)
{
    r->depth--;
}

/* template_value: making, walking and comparing values */
static inline struct tpl_value tpl_none(void)
{
    return (struct tpl_value){.kind = TPL_NONE};
}
static inline struct tpl_value tpl_bool(bool b)
{
    return (struct tpl_value){.kind = TPL_BOOL, .b = b};
}
static inline struct tpl_value tpl_int(int64_t i)
{
    return (struct tpl_value){.kind = TPL_INT, .i = i};
}
static inline struct tpl_value tpl_float(double f)
{
    return (struct tpl_value){.kind = TPL_FLOAT, .f = f};
}
static inline struct tpl_value tpl_string(struct str s)
{
    return (struct tpl_value){.kind = TPL_STRING, .s = s};
}
static inline struct tpl_value tpl_markup(struct str s, bool markup)
{
    return (struct tpl_value){.kind = TPL_STRING, .markup = markup, .s = s};
}
static inline struct tpl_value tpl_undefined(struct str sentence)
{
    return (struct tpl_value){.kind = TPL_UNDEFINED, .owner = TPL_UNDEFINED, .s = sentence};
}
static inline bool tpl_is_number(const struct tpl_value *v)
{
    return v->kind == TPL_BOOL || v->kind == TPL_INT || v->kind == TPL_FLOAT;
}
static inline bool tpl_is_integral(const struct tpl_value *v)
{
    return v->kind == TPL_BOOL || v->kind == TPL_INT;
}
static inline int64_t tpl_integer(const struct tpl_value *v)
{
    return v->kind == TPL_BOOL ? v->b : v->i;
}
static inline double tpl_number(const struct tpl_value *v)
{
    return v->kind == TPL_FLOAT ? v->f : (double)tpl_integer(v);
}

const char *tpl_type_name(const struct tpl_value *v); /* as Python calls it */
int tpl_fail_undefined(struct tpl_run *r, const struct tpl_value *v);
int tpl_list_new(struct tpl_run *r, size_t capacity, struct tpl_list *out) MUST_USE;
int tpl_list_append(struct tpl_run *r, struct tpl_list *list, struct tpl_value v) MUST_USE;
int tpl_list_value(
    struct tpl_run *r, enum tpl_kind kind, const struct tpl_list *list, struct tpl_value *out) MUST_USE;
int tpl_iterator_value(struct tpl_run *r, const struct tpl_list *list, struct tpl_value *out) MUST_USE;
int tpl_tuple2(
    struct tpl_run *r, struct tpl_value first, struct tpl_value second, struct tpl_value *out) MUST_USE;
int tpl_dict_new(struct tpl_run *r, size_t capacity, enum tpl_kind kind, struct tpl_value *out) MUST_USE;
int tpl_dict_put(
    struct tpl_run *r, struct tpl_dict *dict, struct tpl_value key, struct tpl_value value) MUST_USE;
/* NULL in *out if the key is absent. A key that cannot be hashed is an error. */
int tpl_dict_find(struct tpl_run *r, const struct tpl_dict *dict, const struct tpl_value *key,
    struct tpl_value **out) MUST_USE;
int tpl_from_json(struct tpl_run *r, const json_t *json, struct tpl_value *out) MUST_USE;
int tpl_truth(struct tpl_run *r, const struct tpl_value *v, bool *out) MUST_USE;
int tpl_equal(struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, bool *out) MUST_USE;
int tpl_less(struct tpl_run *r, const struct tpl_value *a, const struct tpl_value *b, bool or_equal,
    bool *out) MUST_USE;
int tpl_contains(
    struct tpl_run *r, const struct tpl_value *container, const struct tpl_value *item, bool *out) MUST_USE;
/* -1 in *out for a value without a length. */
int tpl_length(struct tpl_run *r, const struct tpl_value *v, int64_t *out) MUST_USE;
bool tpl_iterable(const struct tpl_value *v);
/* The items of a value that can be walked; an iterator is used up. */
int tpl_items(struct tpl_run *r, const struct tpl_value *v, struct tpl_list *out) MUST_USE;

/* template_access: attributes, items, slices */
int tpl_get_attr(
    struct tpl_run *r, const struct tpl_value *v, struct str name, struct tpl_value *out) MUST_USE;
int tpl_get_item(struct tpl_run *r, const struct tpl_value *v, const struct tpl_value *key,
    struct tpl_value *out) MUST_USE;
int tpl_get_slice(struct tpl_run *r, const struct tpl_value *v, const struct tpl_value bounds[3],
    struct tpl_value *out) MUST_USE;

/* template_text: values as text. Strings are put together at the end of r->out:
 *   size_t mark = tpl_text_begin(r); ...append to r->out...; rc = tpl_text_end(r, mark, &string);          */
static inline size_t tpl_text_begin(const struct tpl_run *r)
{
    return r->out->len;
}
int tpl_text_end(struct tpl_run *r, size_t mark, struct str *out) MUST_USE;
void tpl_text_drop(struct tpl_run *r, size_t mark);
int tpl_out_check(struct tpl_run *r) MUST_USE; /* turns r->out->failed into an error */
int tpl_concat(struct tpl_run *r, struct str a, struct str b, struct str *out) MUST_USE;
int tpl_repeat(struct tpl_run *r, struct str s, int64_t times, struct str *out) MUST_USE;
int tpl_write(struct tpl_run *r, const struct tpl_value *v) MUST_USE;      /* appends str(v) */
int tpl_write_repr(struct tpl_run *r, const struct tpl_value *v) MUST_USE; /* appends repr(v) */
int tpl_to_str(struct tpl_run *r, const struct tpl_value *v, struct str *out) MUST_USE;
void tpl_float_text(double f, char out[40]);                               /* repr of a float */
int tpl_escape(struct tpl_run *r, struct str s, struct str *out) MUST_USE; /* & < > ' " as HTML entities */
struct tpl_json_style {
    bool ascii, sort, indented;
    struct str indent, comma, colon;
};
int tpl_write_json(struct tpl_run *r, const struct tpl_value *v, const struct tpl_json_style *style) MUST_USE;

/* template_format: "%s" % values, "{}".format(values) */
struct tpl_call;
int tpl_format_printf(struct tpl_run *r, const struct tpl_value *format, const struct tpl_value *values,
    struct tpl_value *out) MUST_USE;
int tpl_format_braces(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out) MUST_USE;

/* template_builtin: filters, tests, methods and functions, found in tables by name */
struct tpl_keyword {
    struct str name;
    struct tpl_value value;
};
struct tpl_args {
    struct tpl_value *positional;
    size_t n_positional;
    struct tpl_keyword *keywords;
    size_t n_keywords;
};
struct tpl_call {
    struct tpl_value self;           /* the value filtered or tested, the method's object */
    struct tpl_value arg[TPL_SLOTS]; /* by the parameters' order; TPL_MISSING where not given */
    const struct tpl_args *args;
};
/* `params`: names separated by spaces, '?' before those that may be left out; NULL: the function takes
 * call->args as they are. */
struct tpl_builtin {
    const char *name;
    const char *params;
    int (*fn)(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out);
};
struct tpl_bound {
    const struct tpl_builtin *builtin;
    struct tpl_value self;
};
extern const struct tpl_builtin tpl_filters_text[], tpl_filters_sequence[], tpl_filters_sort[], tpl_tests[],
    tpl_functions[], tpl_methods_string[], tpl_methods_case[], tpl_methods_cycler[];
const struct tpl_builtin *tpl_builtin_find(const struct tpl_builtin *table, struct str name);
const struct tpl_builtin *tpl_filter_find(struct str name);
int tpl_builtin_call(struct tpl_run *r, const struct tpl_builtin *b, const struct tpl_value *self,
    const struct tpl_args *args, struct tpl_value *out) MUST_USE;
int tpl_bound_value(struct tpl_run *r, const struct tpl_builtin *b, const struct tpl_value *self,
    struct tpl_value *out) MUST_USE;
/* Arguments of built-ins, with Python's complaints. */
int tpl_arg_str(struct tpl_run *r, const struct tpl_value *v, const char *what, struct str *out) MUST_USE;
int tpl_arg_int(
    struct tpl_run *r, const struct tpl_value *v, const char *what, int64_t fallback, int64_t *out) MUST_USE;
int tpl_arg_bool(struct tpl_run *r, const struct tpl_value *v, bool *out) MUST_USE; /* false if not given */
int tpl_strftime(struct tpl_run *r, struct str format, struct tpl_value *out) MUST_USE;
int tpl_case(struct tpl_run *r, const struct tpl_value *v, char how, struct tpl_value *out) MUST_USE;
int tpl_strip_chars(struct tpl_run *r, const struct tpl_value *v, const struct tpl_value *chars, bool left,
    bool right, struct tpl_value *out) MUST_USE;
int tpl_replace(
    struct tpl_run *r, struct str s, struct str old, struct str new, int64_t most, struct str *out) MUST_USE;
int tpl_split_lines(struct tpl_run *r, const struct tpl_value *v, bool keep, struct tpl_list *list) MUST_USE;

/* A value's attribute by path, "a.b.0" or a number; `fallback` (or NULL) takes the place of what is
 * undefined. */
int tpl_attr_path(struct tpl_run *r, struct tpl_value v, const struct tpl_value *path,
    const struct tpl_value *fallback, struct tpl_value *out) MUST_USE;

/* template_eval, template_exec */
int tpl_eval(
    struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_value *out) MUST_USE;
int tpl_eval_args(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n, size_t extra,
    struct tpl_args *out) MUST_USE;
int tpl_eval_filters(struct tpl_run *r, struct tpl_scope *scope, const struct tpl_node *n,
    const struct tpl_value *input, struct tpl_value *out) MUST_USE;
int tpl_binary(struct tpl_run *r, enum tpl_op op, const struct tpl_value *a, const struct tpl_value *b,
    struct tpl_value *out) MUST_USE;
int tpl_call_value(struct tpl_run *r, const struct tpl_value *callee, const struct tpl_args *args,
    struct tpl_value *out) MUST_USE;
int tpl_macro_call(struct tpl_run *r, const struct tpl_macro *m, const struct tpl_args *args,
    struct tpl_value *out) MUST_USE;
int tpl_loop_recurse(
    struct tpl_run *r, struct tpl_loop *loop, const struct tpl_args *args, struct tpl_value *out) MUST_USE;
int tpl_loop_peek(struct tpl_run *r, struct tpl_loop *loop, bool *found) MUST_USE;
int tpl_loop_length(struct tpl_run *r, struct tpl_loop *loop, int64_t *out) MUST_USE;
int tpl_scope_get(
    struct tpl_run *r, const struct tpl_scope *scope, struct str name, struct tpl_value *out) MUST_USE;

#endif
