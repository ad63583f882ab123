#include "engine/worker/json_schema.h"

#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar.h"
#include "engine/worker/json_schema_inner.h"

static const char *const notes[] = {"$schema", "$id", "$comment", "$defs", "definitions", "title",
    "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator",
    "strict", "contentMediaType", "contentEncoding", "markdownDescription"};

static const char *const known[] = {"$ref", "type", "nullable", "enum", "const", "anyOf", "oneOf", "allOf",
    "properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties",
    "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "minLength",
    "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf"};

static bool among(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

bool schema_is_note(const char *key)
{
    return among(key, notes, sizeof notes / sizeof *notes) || strncmp(key, "x-", 2) == 0;
}

static int keywords_check(const json_t *schema, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value)
    {
        if (!schema_is_note(key) && !among(key, known, sizeof known / sizeof *known))
            return error_set(err, ERROR_UNSUPPORTED,
                "the JSON schema uses '%.100s', which cannot be enforced here: leave it out or name another "
                "model",
                key);
    }
    return 0;
}

/* ---- Rules ---- */

int schema_rule_new(struct json_schema *s, uint32_t *rule, struct error *err)
{
    if (s->n_rules == SCHEMA_RULES_MAX)
        return error_set(err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    *rule = s->n_rules++;
    return 0;
}

int schema_rule_end(struct json_schema *s, uint32_t rule, const struct buf *body, struct error *err)
{
    buf_appendf(s->out, "r%u ::= ", rule);
    buf_append_str(s->out, buf_str(body));
    buf_append_char(s->out, '\n');
    if (body->failed || s->out->failed)
        return error_set(err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    return 0;
}

static int rule_of(struct json_schema *s, const json_t *schema, uint32_t *rule, struct error *err)
{
    const json_t **key = arena_try_array(s->arena, const json_t *, 1);
    bool added;
    if (!key)
        return error_set(err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    *key = schema;
    int rc = map_add(&s->rules, (struct str){(const char *)key, sizeof *key}, s->n_rules, &added, err);
    if (rc)
        return rc;
    *rule = *map_find(&s->rules, (struct str){(const char *)key, sizeof *key});
    if (!added)
        return 0;
    struct buf body;
    buf_init(&body, SCHEMA_GRAMMAR_MAX);
    rc = schema_rule_new(s, rule, err);
    if (rc == 0)
        rc = schema_write(s, schema, &body, err);
    if (rc == 0)
        rc = schema_rule_end(s, *rule, &body, err);
    buf_free(&body);
    return rc;
}

int schema_reference_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    uint32_t rule;
    int rc = rule_of(s, schema, &rule, err);
    if (rc == 0)
        buf_appendf(out, "r%u", rule);
    return rc;
}

/* ---- References ---- */

/* One step of a JSON pointer (RFC 6901). */
static const json_t *step_into(const json_t *at, struct str token)
{
    char name[512];
    size_t n = 0;
    int64_t index;
    for (size_t i = 0; i < token.len; i++) {
        char c = token.data[i];
        if (n + 1 == sizeof name)
            return NULL;
        if (c == '~' && i + 1 < token.len)
            c = token.data[++i] == '1' ? '/' : '~';
        name[n++] = c;
    }
    name[n] = '\0';
    if (json_is_array(at) && str_to_int64(token, &index) && index >= 0)
        return json_array_get(at, (size_t)index);
    return json_object_get(at, name);
}

static int pointer_follow(const json_t *root, struct str ref, const json_t **out, struct error *err)
{
    struct str token, rest = str_slice(ref, 2, ref.len);
    *out = root;
    if (!str_is(ref, "#") && !str_starts(ref, STR("#/")))
        return error_set(err, ERROR_UNSUPPORTED,
            "the JSON schema's '$ref' leads to '" STR_FMT
            "': it must lead to a place in the schema, as #/$defs/NAME does",
            STR_ARG(str_slice(ref, 0, 100)));
    while (*out && str_split(&rest, '/', &token))
        *out = step_into(*out, token);
    return *out ? 0
                : error_set(err, ERROR_INVALID,
                      "the JSON schema's '$ref' leads to '" STR_FMT "', which is not there",
                      STR_ARG(str_slice(ref, 0, 100)));
}

/* Has it keywords beside notes and `key`? */
static bool has_others(const json_t *schema, const char *key)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, name, value)
    {
        if (strcmp(name, key) != 0 && !schema_is_note(name))
            return true;
    }
    return false;
}

/* A shallow copy without one member; lives in the arena. */
static const json_t *schema_without(struct json_schema *s, const json_t *schema, const char *key)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)schema);
    if (!copy)
        abort();
    json_keep(s->arena, copy);
    json_object_del(copy, key);
    return copy;
}

/* Follows $ref until there is none; the target of a reference with siblings is merged with them. */
static int schema_resolve(struct json_schema *s, const json_t *schema, const json_t **out, struct error *err)
{
    const json_t *target, *ref;
    int rc = 0;
    *out = schema;
    for (int steps = 0; rc == 0 && (ref = json_object_get(*out, "$ref")) != NULL; steps++) {
        if (!json_is_string(ref))
            return error_set(err, ERROR_INVALID, "the JSON schema's '$ref' must be a text");
        if (steps == SCHEMA_DEPTH_MAX)
            return error_set(err, ERROR_INVALID, "the JSON schema's references go round in a circle");
        rc = pointer_follow(s->root, json_str(ref), &target, err);
        if (rc == 0 && !has_others(*out, "$ref"))
            *out = target;
        else if (rc == 0)
            rc = schema_merge(s, schema_without(s, *out, "$ref"), target, out, err);
    }
    return rc;
}

/* ---- Alternatives ---- */

static void alternative_begin(struct buf *out, bool *first)
{
    if (!*first)
        buf_append_text(out, " | ");
    *first = false;
}

static const char *type_word(const json_t *schema)
{
    static const struct {
        const char *key, *type;
    } hints[] = {{"properties", "object"}, {"required", "object"}, {"additionalProperties", "object"},
        {"propertyNames", "object"}, {"minProperties", "object"}, {"maxProperties", "object"},
        {"items", "array"}, {"prefixItems", "array"}, {"additionalItems", "array"}, {"minItems", "array"},
        {"maxItems", "array"}, {"uniqueItems", "array"}, {"minLength", "string"}, {"maxLength", "string"},
        {"pattern", "string"}, {"format", "string"}, {"minimum", "number"}, {"maximum", "number"},
        {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}, {"multipleOf", "number"}};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (json_object_get(schema, hints[i].key))
            return hints[i].type;
    return NULL;
}

/* Can no document be valid under both? Answers no where it does not know. */
static bool disjoint(struct json_schema *s, const json_t *a, const json_t *b, int depth);

static bool value_has_type(const json_t *value, struct str type)
{
    double real = json_number_value(value);
    return (str_is(type, "object") && json_is_object(value)) ||
           (str_is(type, "array") && json_is_array(value)) ||
           (str_is(type, "string") && json_is_string(value)) ||
           (str_is(type, "number") && json_is_number(value)) ||
           (str_is(type, "integer") &&
               (json_is_integer(value) ||
                   (json_is_real(value) && real == (double)(int64_t)real && real < 1e15 && real > -1e15))) ||
           (str_is(type, "boolean") && json_is_boolean(value)) ||
           (str_is(type, "null") && json_is_null(value));
}

static bool type_allows(const json_t *types, const json_t *value)
{
    if (!types)
        return true;
    if (json_is_string(types))
        return value_has_type(value, json_str(types));
    for (size_t i = 0; i < json_array_size(types); i++)
        if (value_has_type(value, json_str(json_array_get(types, i))))
            return true;
    return false;
}

static bool types_meet(struct str a, struct str b)
{
    return str_eq(a, b) || (str_is(a, "integer") && str_is(b, "number")) ||
           (str_is(a, "number") && str_is(b, "integer"));
}

/* The i-th of a list, or of a single value; NULL at the end. */
static const json_t *nth(const json_t *one_or_list, size_t i)
{
    if (json_is_array(one_or_list))
        return json_array_get(one_or_list, i);
    return i == 0 ? one_or_list : NULL;
}

static bool types_disjoint(const json_t *a, const json_t *b)
{
    if (!a || !b)
        return false;
    for (size_t i = 0; nth(a, i); i++)
        for (size_t k = 0; nth(b, k); k++)
            if (types_meet(json_str(nth(a, i)), json_str(nth(b, k))))
                return false;
    return true;
}

/* Values that are all a schema allows, and whether it allows only some. */
static bool values_of(const json_t *schema, size_t i, const json_t **out)
{
    const json_t *value = json_object_get(schema, "const");
    const json_t *list = json_object_get(schema, "enum");
    *out = value ? (i == 0 ? value : NULL) : json_array_get(list, i);
    return value || json_is_array(list);
}

static bool values_disjoint(const json_t *a, const json_t *b)
{
    const json_t *x, *y;
    if (!values_of(a, 0, &x))
        return false;
    if (!values_of(b, 0, &y)) {
        const json_t *types = json_object_get(b, "type");
        for (size_t i = 0; values_of(a, i, &x) && x; i++)
            if (type_allows(types, x))
                return false;
        return true;
    }
    for (size_t i = 0; values_of(a, i, &x) && x; i++)
        for (size_t k = 0; values_of(b, k, &y) && y; k++)
            if (json_equal(x, y) ||
                (json_is_number(x) && json_is_number(y) && json_number_value(x) == json_number_value(y)))
                return false;
    return true;
}

bool schema_requires(const json_t *schema, const char *key)
{
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (str_is(json_str(json_array_get(list, i)), key))
            return true;
    return false;
}

/* Both demand a member, and of values that have nothing in common. */
static bool tags_disjoint(struct json_schema *s, const json_t *a, const json_t *b, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(a, "properties"), key, value)
    {
        const json_t *other = json_object_get(json_object_get(b, "properties"), key);
        if (other && schema_requires(a, key) && schema_requires(b, key) &&
            disjoint(s, value, other, depth + 1))
            return true;
    }
    return false;
}

static bool disjoint(struct json_schema *s, const json_t *a, const json_t *b, int depth)
{
    if (depth > 8 || schema_resolve(s, a, &a, NULL) || schema_resolve(s, b, &b, NULL))
        return false;
    if (json_is_true(json_object_get(a, "nullable")) || json_is_true(json_object_get(b, "nullable")))
        return false;
    return types_disjoint(json_object_get(a, "type"), json_object_get(b, "type")) || values_disjoint(a, b) ||
           values_disjoint(b, a) ||
           (str_is(json_text(a, "type"), "object") && str_is(json_text(b, "type"), "object") &&
               tags_disjoint(s, a, b, depth));
}

enum { ONE_OF_MAX = 512 };

static int one_of_check(struct json_schema *s, const json_t *list, struct error *err)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && n <= ONE_OF_MAX; i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(s, json_array_get(list, i), json_array_get(list, k), 0))
                return error_set(err, ERROR_UNSUPPORTED,
                    "the JSON schema's 'oneOf' has branches that may both fit: use 'anyOf', or tell them "
                    "apart by a 'const'");
    return n <= ONE_OF_MAX ? 0
                           : error_set(err, ERROR_LIMIT,
                                 "the JSON schema's 'oneOf' has more than %d branches", ONE_OF_MAX);
}

static int any_write(
    struct json_schema *s, const json_t *schema, const char *key, struct buf *out, struct error *err)
{
    const json_t *list = json_object_get(schema, key);
    const json_t *base = has_others(schema, key) ? schema_without(s, schema, key) : NULL;
    bool first = true;
    int rc = 0;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return error_set(err, ERROR_INVALID, "the JSON schema's '%s' must be a list of schemas", key);
    if (strcmp(key, "oneOf") == 0)
        rc = one_of_check(s, list, err);
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        const json_t *branch = json_array_get(list, i);
        if (base)
            rc = schema_resolve(s, branch, &branch, err);
        if (rc == 0 && base)
            rc = schema_merge(s, base, branch, &branch, err);
        if (rc)
            break;
        alternative_begin(out, &first);
        rc = schema_reference_write(s, branch, out, err);
    }
    return rc;
}

static int all_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    const json_t *list = json_object_get(schema, "allOf"), *part,
                 *merged = schema_without(s, schema, "allOf");
    int rc = 0;
    if (!json_is_array(list))
        return error_set(err, ERROR_INVALID, "the JSON schema's 'allOf' must be a list of schemas");
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        rc = schema_resolve(s, json_array_get(list, i), &part, err);
        if (rc == 0)
            rc = schema_merge(s, merged, part, &merged, err);
    }
    return rc ? rc : schema_write(s, merged, out, err);
}

/* ---- Values ---- */

static int values_write(const struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    const json_t *value;
    const char *key;
    json_t *other;
    bool first = true;
    json_object_foreach((json_t *)(uintptr_t)schema, key, other)
    {
        if (!schema_is_note(key) && strcmp(key, "const") != 0 && strcmp(key, "enum") != 0 &&
            strcmp(key, "type") != 0)
            return error_set(err, ERROR_UNSUPPORTED,
                "the JSON schema has '%.100s' beside 'const' or 'enum': leave one of them out", key);
    }
    const json_t *constant = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    if (list && !json_is_array(list))
        return error_set(err, ERROR_INVALID, "the JSON schema's 'enum' must be a list");
    for (size_t i = 0; values_of(schema, i, &value) && value; i++) {
        bool listed = !constant || !list;
        for (size_t k = 0; k < json_array_size(list) && !listed; k++)
            listed = json_equal(json_array_get(list, k), value);
        if (!listed || !type_allows(json_object_get(schema, "type"), value))
            continue;
        alternative_begin(out, &first);
        schema_literal_write(s, value, out);
    }
    return first ? error_set(err, ERROR_INVALID, "the JSON schema's 'const' or 'enum' allows no value at all")
                 : 0;
}

static int typed_write(
    struct json_schema *s, const json_t *schema, struct str type, struct buf *out, struct error *err)
{
    if (str_is(type, "object"))
        return schema_object_write(s, schema, out, err);
    if (str_is(type, "array"))
        return schema_array_write(s, schema, out, err);
    if (str_is(type, "string"))
        return schema_string_write(s, schema, out, err);
    if (str_is(type, "integer") || str_is(type, "number"))
        return schema_number_write(schema, str_is(type, "integer"), out, err);
    if (!str_is(type, "boolean") && !str_is(type, "null"))
        return error_set(err, ERROR_INVALID,
            "the JSON schema has a 'type' that does not exist: '" STR_FMT "'",
            STR_ARG(str_slice(type, 0, 100)));
    buf_append_str(out, type);
    return 0;
}

static int types_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    const json_t *types = json_object_get(schema, "type");
    const char *hint = type_word(schema);
    bool first = true;
    int rc = 0;
    if (!types && !hint) {
        buf_append_text(out, "value");
        return 0;
    }
    if (!types)
        return typed_write(s, schema, str_from(hint), out, err);
    if (!json_is_string(types) && json_array_size(types) == 0)
        return error_set(err, ERROR_INVALID, "the JSON schema's 'type' must be a name or a list of names");
    for (size_t i = 0; nth(types, i) && rc == 0; i++) {
        alternative_begin(out, &first);
        rc = typed_write(s, schema, json_str(nth(types, i)), out, err);
    }
    return rc;
}

static int keyword_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    const json_t *target;
    bool nullable;
    int rc = keywords_check(schema, err);
    if (rc == 0)
        rc = json_get_bool(schema, "nullable", false, &nullable, err);
    if (rc)
        return rc;
    if (nullable) {
        rc = schema_reference_write(s, schema_without(s, schema, "nullable"), out, err);
        buf_append_text(out, " | null");
        return rc;
    }
    if (json_object_get(schema, "$ref")) {
        rc = schema_resolve(s, schema, &target, err);
        return rc ? rc : schema_reference_write(s, target, out, err);
    }
    if (json_object_get(schema, "allOf"))
        return all_write(s, schema, out, err);
    if (json_object_get(schema, "anyOf"))
        return any_write(s, schema, "anyOf", out, err);
    if (json_object_get(schema, "oneOf"))
        return any_write(s, schema, "oneOf", out, err);
    if (json_object_get(schema, "const") || json_object_get(schema, "enum"))
        return values_write(s, schema, out, err);
    return types_write(s, schema, out, err);
}

int schema_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    if (json_is_true(schema)) {
        buf_append_text(out, "value");
        return 0;
    }
    if (json_is_false(schema)) {
        buf_append_text(out, "[]"); /* nothing is valid */
        return 0;
    }
    if (!json_is_object(schema))
        return error_set(err, ERROR_INVALID, "a JSON schema must be an object, true or false");
    if (s->depth == SCHEMA_DEPTH_MAX)
        return error_set(
            err, ERROR_LIMIT, "the JSON schema is nested too deep or never ends: make it simpler");
    s->depth++;
    int rc = keyword_write(s, schema, out, err);
    s->depth--;
    return rc;
}

/* ---- The whole ---- */

struct json_schema *json_schema_create(enum json_schema_style style, struct buf *out)
{
    struct json_schema *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->out = out;
    s->arena = arena_create(64 * MIB);
    s->style = schema_style_of(style);
    buf_append_text(out, s->style->rules);
    return s;
}

void json_schema_free(struct json_schema *s)
{
    if (!s)
        return;
    map_free(&s->rules);
    arena_free(s->arena);
    free(s);
}

int json_schema_rule_in(
    struct json_schema *s, const json_t *root, const json_t *schema, uint32_t *rule, struct error *err)
{
    int rc = s->rules.slots ? 0 : map_init(&s->rules, 64, err);
    s->root = root;
    return rc ? rc : rule_of(s, schema, rule, err);
}

int json_schema_rule(struct json_schema *s, const json_t *schema, uint32_t *rule, struct error *err)
{
    return json_schema_rule_in(s, schema, schema, rule, err);
}

int json_schema_grammar(const json_t *schema, struct buf *out, struct error *err)
{
    struct json_schema *s = json_schema_create(JSON_SCHEMA_JSON, out);
    uint32_t rule;
    int rc = schema ? json_schema_rule(s, schema, &rule, err) : 0;
    if (rc == 0 && schema)
        buf_appendf(out, "root ::= r%u\n", rule);
    else if (rc == 0)
        buf_append_text(out, "root ::= object\n");
    json_schema_free(s);
    if (rc == 0 && out->failed)
        rc = error_set(err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    return rc;
}
