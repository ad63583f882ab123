#include "json/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/limits.h"

enum {
    MAX_NODES = 1 << 16,
    MAX_MEMBERS = 4096, /* of one map or list: a repeated key is looked for among them */
    MAX_KEY = 256
};

/* ---- Reading: libyaml's events build the tree, the stack holds the open lists and maps.
 *
 *   open[0] the root, open[depth - 1] the innermost; a map waits for a key, then for that key's value   */
struct reader {
    struct arena *arena;
    const char *file;
    yaml_parser_t parser;
    struct yaml_node *root;
    struct yaml_node *open[LIMIT_JSON_DEPTH], *last[LIMIT_JSON_DEPTH];
    struct str key[LIMIT_JSON_DEPTH]; /* the key read, while a map waits for its value; else data NULL */
    int key_line[LIMIT_JSON_DEPTH];
    size_t depth, nodes;
};

static int error_at(const char *file, int line, struct error *err, int code, const char *fmt, va_list ap)
{
    char message[400];
    vsnprintf(message, sizeof message, fmt, ap);
    message[str_utf8_floor(message, strlen(message))] = '\0';
    return error_set(err, code, "%s:%d: %s", file, line, message);
}

static int PRINTF_LIKE(4, 5)
    refuse(const struct reader *r, const yaml_event_t *e, struct error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = error_at(r->file, (int)e->start_mark.line + 1, err, ERROR_INVALID, fmt, ap);
    va_end(ap);
    return rc;
}

int yaml_error(const struct yaml_node *at, struct error *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = error_at(at->file, at->line, err, code, fmt, ap);
    va_end(ap);
    return rc;
}

/* Hangs a node under the innermost open list or map. */
static int node_add(
    struct reader *r, const yaml_event_t *e, enum yaml_kind kind, struct yaml_node **out, struct error *err)
{
    struct yaml_node *node = r->nodes < MAX_NODES ? arena_try_array(r->arena, struct yaml_node, 1) : NULL;
    if (!node)
        return error_set(err, ERROR_LIMIT, "%s: more than %d values: split the file", r->file, MAX_NODES);
    r->nodes++;
    node->kind = kind;
    node->line = (int)e->start_mark.line + 1;
    node->file = r->file;
    *out = node;
    if (r->depth == 0) {
        if (r->root)
            return refuse(r, e, err, "a second document: keep one in a file");
        r->root = node;
        return 0;
    }
    size_t top = r->depth - 1;
    struct yaml_node *parent = r->open[top];
    if (parent->count == MAX_MEMBERS)
        return refuse(r, e, err, "more than %d entries in one list or map", MAX_MEMBERS);
    if (parent->kind == YAML_MAP) {
        node->key = r->key[top];
        node->line = r->key_line[top]; /* a nested value may begin a line later */
        r->key[top] = STR_NONE;
    }
    if (r->last[top])
        r->last[top]->next = node;
    else
        parent->first = node;
    r->last[top] = node;
    parent->count++;
    return 0;
}

static bool wants_key(const struct reader *r)
{
    return r->depth > 0 && r->open[r->depth - 1]->kind == YAML_MAP && !r->key[r->depth - 1].data;
}

static int key_read(struct reader *r, const yaml_event_t *e, struct error *err)
{
    struct str key = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (key.len == 0 || key.len > MAX_KEY)
        return refuse(r, e, err, "a key must be a word of at most %d bytes", MAX_KEY);
    for (const struct yaml_node *n = r->open[r->depth - 1]->first; n; n = n->next)
        if (str_eq(n->key, key))
            return refuse(
                r, e, err, "'" STR_FMT "' is here twice (first on line %d): keep one", STR_ARG(key), n->line);
    r->key[r->depth - 1] = arena_copy(r->arena, key);
    r->key_line[r->depth - 1] = (int)e->start_mark.line + 1;
    return 0;
}

static int scalar_read(struct reader *r, const yaml_event_t *e, struct error *err)
{
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return refuse(r, e, err, "anchors and tags are not understood: write the value out");
    if (memchr(e->data.scalar.value, '\0', e->data.scalar.length))
        return refuse(r, e, err, "a value holds a zero byte: remove it");
    if (wants_key(r))
        return key_read(r, e, err);
    struct yaml_node *node;
    int rc = node_add(r, e, YAML_SCALAR, &node, err);
    if (rc)
        return rc;
    node->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    struct str value = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (arena_try_copy(r->arena, value, &node->value))
        return error_set(err, ERROR_LIMIT, "%s: the values are too large", r->file);
    return 0;
}

static int container_open(struct reader *r, const yaml_event_t *e, enum yaml_kind kind, struct error *err)
{
    const yaml_char_t *anchor =
        kind == YAML_MAP ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const yaml_char_t *tag = kind == YAML_MAP ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    if (anchor || tag)
        return refuse(r, e, err, "anchors and tags are not understood: write the value out");
    if (wants_key(r))
        return refuse(r, e, err, "a key must be plain text, not a list or map");
    if (r->depth == LIMIT_JSON_DEPTH)
        return refuse(r, e, err, "nested more than %d levels deep", LIMIT_JSON_DEPTH);
    struct yaml_node *node;
    int rc = node_add(r, e, kind, &node, err);
    if (rc)
        return rc;
    r->open[r->depth] = node;
    r->last[r->depth] = NULL;
    r->key[r->depth] = STR_NONE;
    r->depth++;
    return 0;
}

static int event_take(struct reader *r, const yaml_event_t *e, struct error *err)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return scalar_read(r, e, err);
    case YAML_SEQUENCE_START_EVENT:
        return container_open(r, e, YAML_LIST, err);
    case YAML_MAPPING_START_EVENT:
        return container_open(r, e, YAML_MAP, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(r, e, err, "aliases are not understood: write the value out");
    case YAML_DOCUMENT_START_EVENT:
        if (r->root)
            return refuse(r, e, err, "a second document: keep one in a file");
        return 0;
    default:
        return 0;
    }
}

static int events_read(struct reader *r, struct error *err)
{
    for (;;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) {
            const yaml_parser_t *p = &r->parser;
            return error_set(err, ERROR_INVALID,
                "%s:%d: not valid YAML (%s): check indentation and quotes there", r->file,
                (int)p->problem_mark.line + 1, p->problem ? p->problem : "unreadable");
        }
        yaml_event_type_t type = e.type;
        int rc = event_take(r, &e, err);
        yaml_event_delete(&e);
        if (rc || type == YAML_STREAM_END_EVENT)
            return rc;
    }
}

int yaml_read(struct arena *a, struct str text, const char *file, struct yaml_node **out, struct error *err)
{
    if (text.len > LIMIT_CONFIG)
        return error_set(err, ERROR_LIMIT, "%s: larger than %zu MiB", file, LIMIT_CONFIG / MIB);
    struct reader r = {.arena = a, .file = arena_strdup(a, str_from(file))};
    if (!yaml_parser_initialize(&r.parser))
        return error_set(err, ERROR_MEMORY, "%s: no memory to read it", file);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.data ? text.data : ""), text.len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    int rc = events_read(&r, err);
    yaml_parser_delete(&r.parser);
    if (rc)
        return rc;
    if (!r.root) {
        r.root = arena_new(a, struct yaml_node);
        *r.root = (struct yaml_node){.kind = YAML_MAP, .line = 1, .file = r.file};
    }
    *out = r.root;
    return 0;
}

/* ---- Asking. ---- */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (const struct yaml_node *n = map->first; n; n = n->next)
        if (str_is(n->key, key))
            return n;
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (with swaps of neighbours) from one word to another; 99 for words too long to be a slip. */
static size_t edit_distance(struct str a, struct str b)
{
    enum { LONGEST = 32 };
    if (a.len > LONGEST || b.len > LONGEST)
        return 99;
    size_t row[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= a.len; i++)
        row[i][0] = i;
    for (size_t j = 0; j <= b.len; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a.len; i++)
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = row[i - 1][j - 1] + (a.data[i - 1] != b.data[j - 1]);
            size_t best = least(change, least(row[i - 1][j], row[i][j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1];
            row[i][j] = swapped ? least(best, row[i - 2][j - 2] + 1) : best;
        }
    return row[a.len][b.len];
}

const char *yaml_nearest(struct str word, const char *const *known)
{
    const char *best = NULL;
    size_t best_distance = word.len <= 3 ? 2 : word.len <= 8 ? 3 : 4;
    for (; *known; known++) {
        size_t distance = edit_distance(word, str_from(*known));
        if (distance < best_distance) {
            best_distance = distance;
            best = *known;
        }
    }
    return best;
}

static int unknown_key(
    const struct yaml_node *n, const char *const *keys, const char *what, struct error *err)
{
    const char *near = yaml_nearest(n->key, keys);
    if (near)
        return yaml_error(n, err, ERROR_INVALID, "unknown key '" STR_FMT "' in %s: did you mean '%s'?",
            STR_ARG(n->key), what, near);
    char list[300] = "";
    for (size_t used = 0; *keys && used < sizeof list - 1; keys++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *keys);
    return yaml_error(n, err, ERROR_INVALID, "unknown key '" STR_FMT "' in %s: it may have %s",
        STR_ARG(n->key), what, list);
}

int yaml_check_keys(const struct yaml_node *map, const char *const *keys, const char *what, struct error *err)
{
    if (map->kind != YAML_MAP)
        return yaml_error(map, err, ERROR_INVALID, "%s must be a map of 'key: value'", what);
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        const char *const *key = keys;
        while (*key && !str_is(n->key, *key))
            key++;
        if (!*key)
            return unknown_key(n, keys, what, err);
    }
    return 0;
}

/* The member if it is one value that says something; *out NULL if it is absent. */
static int scalar_get(
    const struct yaml_node *map, const char *key, const struct yaml_node **out, struct error *err)
{
    *out = yaml_get(map, key);
    if (!*out)
        return 0;
    if ((*out)->kind != YAML_SCALAR)
        return yaml_error(*out, err, ERROR_INVALID, "'%s' must be one value, not a list or map", key);
    if (!(*out)->quoted && (*out)->value.len == 0)
        return yaml_error(*out, err, ERROR_INVALID, "'%s' has no value: give one or remove the line", key);
    return 0;
}

int yaml_get_str(
    const struct yaml_node *map, const char *key, struct str fallback, struct str *out, struct error *err)
{
    const struct yaml_node *n;
    int rc = scalar_get(map, key, &n, err);
    if (rc)
        return rc;
    *out = n ? n->value : fallback;
    return 0;
}

int yaml_get_bool(const struct yaml_node *map, const char *key, bool fallback, bool *out, struct error *err)
{
    const struct yaml_node *n;
    int rc = scalar_get(map, key, &n, err);
    if (rc)
        return rc;
    *out = n ? str_is(n->value, "true") : fallback;
    if (n && (n->quoted || (!*out && !str_is(n->value, "false"))))
        return yaml_error(
            n, err, ERROR_INVALID, "'%s' must be true or false, not '" STR_FMT "'", key, STR_ARG(n->value));
    return 0;
}

int yaml_get_int(const struct yaml_node *map, const char *key, int64_t fallback, int64_t lowest,
    int64_t highest, int64_t *out, struct error *err)
{
    const struct yaml_node *n;
    int rc = scalar_get(map, key, &n, err);
    if (rc)
        return rc;
    *out = fallback;
    if (n && (n->quoted || !str_to_int64(n->value, out) || *out < lowest || *out > highest))
        return yaml_error(n, err, ERROR_INVALID,
            "'%s' must be a whole number from %lld to %lld, not '" STR_FMT "'", key, (long long)lowest,
            (long long)highest, STR_ARG(n->value));
    return 0;
}

int yaml_get_double(const struct yaml_node *map, const char *key, double fallback, double lowest,
    double highest, double *out, struct error *err)
{
    const struct yaml_node *n;
    int rc = scalar_get(map, key, &n, err);
    if (rc)
        return rc;
    *out = fallback;
    if (n && (n->quoted || !str_to_double(n->value, out) || !(*out >= lowest && *out <= highest)))
        return yaml_error(n, err, ERROR_INVALID, "'%s' must be a number from %g to %g, not '" STR_FMT "'",
            key, lowest, highest, STR_ARG(n->value));
    return 0;
}
