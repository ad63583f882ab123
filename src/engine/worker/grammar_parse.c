/* GBNF text to trees of rules, by descent. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar_inner.h"

struct reader {
    struct grammar *g;
    struct str text;
    size_t at;
    int line, depth;
    struct map names;
    uint32_t capacity; /* of g->rules */
    struct error *err;
};

static int fail(struct reader *r, const char *what)
{
    return error_set(r->err, ERROR_INVALID, "the grammar cannot be read in line %d: %s", r->line, what);
}

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_LIMIT, "the grammar is too large: make it shorter");
}

static int peek(const struct reader *r)
{
    return r->at < r->text.len ? (unsigned char)r->text.data[r->at] : -1;
}

static bool is_name(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static void skip_space(struct reader *r)
{
    for (int c; (c = peek(r)) >= 0; r->at++) {
        if (c == '#')
            while (peek(r) >= 0 && peek(r) != '\n')
                r->at++;
        c = peek(r);
        if (c == '\n')
            r->line++;
        else if (c != ' ' && c != '\t' && c != '\r')
            break;
    }
}

static struct str take_name(struct reader *r)
{
    size_t from = r->at;
    while (is_name(peek(r)))
        r->at++;
    return str_slice(r->text, from, r->at);
}

/* Does a new rule begin here? */
static bool at_rule(const struct reader *r)
{
    struct reader ahead = *r;
    if (take_name(&ahead).len == 0)
        return false;
    skip_space(&ahead);
    return str_starts(str_slice(ahead.text, ahead.at, ahead.text.len), STR("::="));
}

static int rule_find(struct reader *r, struct str name, uint32_t *out)
{
    struct grammar *g = r->g;
    bool added;
    int rc = map_add(&r->names, name, g->n_rules, &added, r->err);
    if (rc)
        return rc;
    *out = *map_find(&r->names, name);
    if (!added)
        return 0;
    if (g->n_rules == GRAMMAR_RULES_MAX)
        return error_set(
            r->err, ERROR_LIMIT, "the grammar has more than %d rules: use fewer", GRAMMAR_RULES_MAX);
    if (g->n_rules == r->capacity) {
        uint32_t more = r->capacity ? r->capacity * 2 : 64;
        struct grammar_rule *rules = realloc(g->rules, more * sizeof *rules);
        if (!rules)
            return no_memory(r->err);
        g->rules = rules;
        r->capacity = more;
    }
    g->rules[g->n_rules++] = (struct grammar_rule){.name = name};
    return 0;
}

static int node_new(struct reader *r, enum grammar_node_kind kind, struct grammar_node **out)
{
    *out = arena_try_alloc(r->g->arena, 1, sizeof **out);
    if (!*out)
        return no_memory(r->err);
    (*out)->kind = kind;
    return 0;
}

/* ---- Characters ---- */

static int hex(struct reader *r, int digits, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++) {
        int c = peek(r);
        int value = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (value < 0)
            return fail(r, "a hexadecimal digit is missing after \\x, \\u or \\U");
        *out = *out * 16 + (uint32_t)value;
        r->at++;
    }
    return *out > SYMBOL_LAST ? fail(r, "there is no such character") : 0;
}

static int character(struct reader *r, uint32_t *out)
{
    size_t n = str_utf8_decode(str_slice(r->text, r->at, r->text.len), out);
    if (n == 0)
        return fail(r, "a text or class does not end, or is not UTF-8");
    r->at += n;
    if (*out == '\n')
        r->line++;
    if (*out != '\\')
        return 0;
    int c = peek(r);
    r->at++;
    switch (c) {
    case 'x':
        return hex(r, 2, out);
    case 'u':
        return hex(r, 4, out);
    case 'U':
        return hex(r, 8, out);
    case 'n':
        *out = '\n';
        return 0;
    case 'r':
        *out = '\r';
        return 0;
    case 't':
        *out = '\t';
        return 0;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '^':
    case '-':
        *out = (uint32_t)c;
        return 0;
    default:
        return fail(r, "an escape that does not exist: \\n \\r \\t \\\\ \\\" \\[ \\] \\x \\u \\U do");
    }
}

static int chars_new(struct reader *r, uint32_t first, uint32_t last, struct grammar_node **out)
{
    int rc = node_new(r, NODE_CHARS, out);
    if (rc)
        return rc;
    struct grammar_range *range = arena_try_array(r->g->arena, struct grammar_range, 1);
    if (!range)
        return no_memory(r->err);
    *range = (struct grammar_range){first, last};
    (*out)->ranges = range;
    (*out)->n_ranges = 1;
    return 0;
}

static int literal(struct reader *r, struct grammar_node **out)
{
    uint32_t c;
    int rc = node_new(r, NODE_SEQUENCE, out);
    struct grammar_node **tail = rc ? NULL : &(*out)->first;
    r->at++;
    while (rc == 0 && peek(r) != '"') {
        rc = character(r, &c);
        if (rc == 0)
            rc = chars_new(r, c, c, tail);
        if (rc == 0)
            tail = &(*tail)->next;
    }
    r->at++;
    return rc;
}

static int range_compare(const void *a, const void *b)
{
    const struct grammar_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorts and joins ranges; `negated`: the rest of Unicode instead. `ranges` has room for one more. */
static uint32_t ranges_normalize(struct grammar_range *ranges, uint32_t n, bool negated)
{
    uint32_t kept = 0;
    qsort(ranges, n, sizeof *ranges, range_compare);
    for (uint32_t i = 0; i < n; i++) {
        if (kept > 0 && ranges[i].first <= ranges[kept - 1].last + 1) {
            if (ranges[i].last > ranges[kept - 1].last)
                ranges[kept - 1].last = ranges[i].last;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    if (!negated)
        return kept;
    uint32_t gaps = 0, from = 0;
    for (uint32_t i = 0; i < kept; i++) {
        struct grammar_range taken = ranges[i];
        if (taken.first > from)
            ranges[gaps++] = (struct grammar_range){from, taken.first - 1};
        from = taken.last + 1;
    }
    if (from <= SYMBOL_LAST)
        ranges[gaps++] = (struct grammar_range){from, SYMBOL_LAST};
    return gaps;
}

static int class_read(struct reader *r, struct buf *ranges)
{
    while (peek(r) != ']') {
        struct grammar_range range;
        int rc = character(r, &range.first);
        range.last = range.first;
        if (rc == 0 && peek(r) == '-' && r->at + 1 < r->text.len && r->text.data[r->at + 1] != ']') {
            r->at++;
            rc = character(r, &range.last);
        }
        if (rc)
            return rc;
        if (range.last < range.first)
            return fail(r, "a range ends before it begins");
        if (buf_append(ranges, &range, sizeof range))
            return no_memory(r->err);
    }
    r->at++;
    return 0;
}

static int class(struct reader *r, struct grammar_node **out)
{
    struct buf list;
    buf_init(&list, MIB);
    r->at++;
    bool negated = peek(r) == '^';
    r->at += negated;
    int rc = class_read(r, &list);
    if (rc == 0)
        rc = node_new(r, NODE_CHARS, out);
    if (rc == 0) {
        uint32_t n = (uint32_t)(list.len / sizeof(struct grammar_range));
        struct grammar_range *ranges = arena_try_array(r->g->arena, struct grammar_range, n + 1);
        if (!ranges) {
            rc = no_memory(r->err);
        } else {
            if (n > 0)
                memcpy(ranges, list.data, list.len);
            (*out)->ranges = ranges;
            (*out)->n_ranges = ranges_normalize(ranges, n, negated);
        }
    }
    buf_free(&list);
    return rc;
}

static int number(struct reader *r, uint32_t *out)
{
    uint64_t n = 0;
    size_t from = r->at;
    for (int c; (c = peek(r)) >= '0' && c <= '9'; r->at++)
        if ((n = n * 10 + (uint64_t)(c - '0')) > GRAMMAR_TURNS_MAX)
            return fail(r, "a number is too large");
    *out = (uint32_t)n;
    return r->at == from ? fail(r, "a number is missing") : 0;
}

static int token(struct reader *r, struct grammar_node **out)
{
    uint32_t id;
    r->at++;
    if (peek(r) != '[')
        return fail(r, "a special token is written as <[id]>");
    r->at++;
    int rc = number(r, &id);
    if (rc == 0 && !str_starts(str_slice(r->text, r->at, r->text.len), STR("]>")))
        rc = fail(r, "a special token is written as <[id]>");
    r->at += 2;
    return rc ? rc : chars_new(r, SYMBOL_TOKEN + id, SYMBOL_TOKEN + id, out);
}

/* ---- Rules ---- */

static int choice(struct reader *r, struct grammar_node **out);

static int group(struct reader *r, struct grammar_node **out)
{
    if (r->depth == GRAMMAR_DEPTH_MAX)
        return fail(r, "parentheses are nested too deep: name rules instead");
    r->at++;
    r->depth++;
    int rc = choice(r, out);
    r->depth--;
    if (rc == 0 && peek(r) != ')')
        rc = fail(r, "a ')' is missing");
    r->at++;
    return rc;
}

static int atom(struct reader *r, struct grammar_node **out)
{
    int c = peek(r);
    if (c == '"')
        return literal(r, out);
    if (c == '[')
        return class(r, out);
    if (c == '(')
        return group(r, out);
    if (c == '<')
        return token(r, out);
    if (c == '.') {
        r->at++;
        return chars_new(r, 0, SYMBOL_LAST, out);
    }
    if (!is_name(c))
        return fail(r, "a text, class, group or rule was expected");
    int rc = node_new(r, NODE_CALL, out);
    return rc ? rc : rule_find(r, take_name(r), &(*out)->rule);
}

/* {n} {n,} {n,m} {,m} */
static int braces(struct reader *r, uint32_t *least, uint32_t *most)
{
    int rc = 0;
    r->at++;
    skip_space(r);
    *least = 0;
    if (peek(r) != ',')
        rc = number(r, least);
    skip_space(r);
    *most = *least;
    if (rc == 0 && peek(r) == ',') {
        r->at++;
        skip_space(r);
        *most = GRAMMAR_ENDLESS;
        if (peek(r) != '}')
            rc = number(r, most);
    }
    skip_space(r);
    if (rc == 0 && peek(r) != '}')
        rc = fail(r, "a '}' is missing");
    if (rc == 0 && *most < *least)
        rc = fail(r, "a repetition ends before it begins");
    r->at++;
    return rc;
}

static int repeated(struct reader *r, struct grammar_node **out)
{
    int rc = atom(r, out), times = 0;
    while (rc == 0) {
        uint32_t least = 0, most = GRAMMAR_ENDLESS;
        int c = peek(r);
        if (c == '{')
            rc = braces(r, &least, &most);
        else if (c != '*' && c != '+' && c != '?')
            return 0;
        else
            r->at++;
        least = c == '+' ? 1 : least;
        most = c == '?' ? 1 : most;
        struct grammar_node *repeat;
        if (rc == 0 && ++times > 8)
            rc = fail(r, "too many repetitions of one thing");
        if (rc == 0)
            rc = node_new(r, NODE_REPEAT, &repeat);
        if (rc == 0) {
            repeat->first = *out;
            repeat->least = least;
            repeat->most = most;
            *out = repeat;
        }
    }
    return rc;
}

static int sequence(struct reader *r, struct grammar_node **out)
{
    int rc = node_new(r, NODE_SEQUENCE, out);
    struct grammar_node **tail = rc ? NULL : &(*out)->first;
    while (rc == 0) {
        skip_space(r);
        int c = peek(r);
        if (c < 0 || c == '|' || c == ')' || (is_name(c) && at_rule(r)))
            break;
        rc = repeated(r, tail);
        if (rc == 0)
            tail = &(*tail)->next;
    }
    return rc;
}

static int choice(struct reader *r, struct grammar_node **out)
{
    int rc = node_new(r, NODE_CHOICE, out);
    struct grammar_node **tail = rc ? NULL : &(*out)->first;
    while (rc == 0) {
        rc = sequence(r, tail);
        if (rc || peek(r) != '|')
            break;
        tail = &(*tail)->next;
        r->at++;
    }
    return rc;
}

static int rule(struct reader *r)
{
    uint32_t index;
    struct grammar_node *body;
    struct str name = take_name(r);
    if (name.len == 0)
        return fail(r, "a rule was expected: name ::= ...");
    int rc = rule_find(r, name, &index);
    skip_space(r);
    if (rc == 0 && !str_starts(str_slice(r->text, r->at, r->text.len), STR("::=")))
        rc = fail(r, "'::=' is missing");
    r->at += 3;
    if (rc == 0)
        rc = choice(r, &body);
    if (rc == 0 && peek(r) == ')')
        rc = fail(r, "a ')' too many");
    if (rc == 0 && r->g->rules[index].body)
        rc = fail(r, "a rule is defined twice");
    if (rc == 0)
        r->g->rules[index].body = body;
    return rc;
}

static int rules(struct reader *r, struct str root)
{
    int rc = rule_find(r, root, &r->g->root);
    skip_space(r);
    while (rc == 0 && peek(r) >= 0) {
        rc = rule(r);
        skip_space(r);
    }
    for (uint32_t i = 0; i < r->g->n_rules && rc == 0; i++)
        if (!r->g->rules[i].body)
            rc = error_set(r->err, ERROR_INVALID, "the grammar has no rule '" STR_FMT "': define it",
                STR_ARG(str_slice(r->g->rules[i].name, 0, 100)));
    return rc;
}

int grammar_parse(struct str gbnf, struct grammar **out, struct error *err)
{
    return grammar_parse_from(gbnf, STR("root"), out, err);
}

int grammar_parse_from(struct str gbnf, struct str root, struct grammar **out, struct error *err)
{
    *out = NULL;
    if (gbnf.len > GRAMMAR_SOURCE_MAX)
        return no_memory(err);
    struct grammar *g = calloc(1, sizeof *g);
    if (!g)
        return error_set(err, ERROR_MEMORY, "no memory for a grammar: try again later");
    g->arena = arena_create(GRAMMAR_MEMORY);
    struct reader r = {.g = g, .text = gbnf, .line = 1, .err = err};
    int rc = map_init(&r.names, 64, err);
    if (rc == 0)
        rc = rules(&r, root);
    if (rc == 0)
        rc = grammar_compile(g, err);
    map_free(&r.names);
    free(g->rules);
    g->rules = NULL;
    if (rc)
        grammar_free(g);
    else
        *out = g;
    return rc;
}

void grammar_free(struct grammar *g)
{
    if (!g)
        return;
    free(g->rules);
    arena_free(g->arena);
    free(g);
}

void grammar_literal_append(struct buf *out, struct str text)
{
    buf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            buf_appendf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            buf_appendf(out, "\\x%02X", c);
        else
            buf_append_char(out, (char)c);
    }
    buf_append_char(out, '"');
}

/* Where what begins at `at` and is no name ends: a literal, a class, a comment, or one byte. */
static size_t word_end(struct str text, size_t at)
{
    char c = text.data[at++], end = c == '"' ? '"' : c == '[' ? ']' : '\n';
    if (c != '"' && c != '[' && c != '#')
        return at;
    while (at < text.len && text.data[at] != end)
        at += text.data[at] == '\\' && end != '\n' && at + 1 < text.len ? 2 : 1;
    return at < text.len ? at + 1 : at;
}

void grammar_append_renamed(struct buf *out, struct str gbnf, struct str prefix)
{
    size_t at = 0, from;
    while (at < gbnf.len) {
        from = at;
        bool name = is_name(gbnf.data[at]) && !isdigit((unsigned char)gbnf.data[at]);
        if (name) {
            buf_append_str(out, prefix);
            while (at < gbnf.len && is_name(gbnf.data[at]))
                at++;
        } else {
            at = word_end(gbnf, at);
        }
        buf_append_str(out, str_slice(gbnf, from, at));
    }
}
