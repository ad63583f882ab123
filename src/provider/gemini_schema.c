/* JSON Schema as Gemini's Schema, which is a part of OpenAPI 3.0's: it refuses requests with keys that it
 * does not know. Source: https://ai.google.dev/api/caching#Schema
 *
 *   $ref, allOf               put in their place; a type that holds itself ends as a bare object
 *   oneOf, ["a", "b"]         anyOf, beside which nothing else may stand: the description moves inside
 *   null among the types      nullable
 *   const                     enum, which is of texts only
 *   no type, no items         what the other members say, else text: Gemini insists on both
 *   everything else           left out. What is left allows at least what the schema did. */
#include <string.h>

#include "base/limits.h"
#include "provider/gemini.h"

enum { DEPTH_MAX = 2 * LIMIT_JSON_DEPTH };

/* A reference that is being followed, and those around it. */
struct following {
    const json_t *target;
    const struct following *outer;
};

struct schema {
    const json_t *root;
    size_t *budget; /* steps left */
    int depth;
    const struct following *following;
    int rc; /* sticky */
    struct error *err;
};

static json_t *clean(struct schema *s, const json_t *in);

static int fail(struct schema *s, int code, const char *message)
{
    if (s->rc == 0)
        s->rc = error_set(s->err, code, "%s", message);
    return s->rc;
}

/* References let a small schema stand for a large one: every step is paid for. */
static bool pay(struct schema *s, size_t steps)
{
    if (s->rc == 0 && (steps > *s->budget || s->depth == DEPTH_MAX))
        fail(s, ERROR_LIMIT, "they are too large");
    if (s->rc == 0)
        *s->budget -= steps;
    return s->rc == 0;
}

/* Takes `value` over. */
static void put(struct schema *s, json_t *out, const char *key, json_t *value)
{
    if (json_object_set_new(out, key, value))
        fail(s, ERROR_MEMORY, "out of memory");
}

static void append(struct schema *s, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value))
        fail(s, ERROR_MEMORY, "out of memory");
}

static void put_text(struct schema *s, json_t *out, const char *key, struct str text)
{
    put(s, out, key, json_stringn(text.data ? text.data : "", text.len));
}

/* Members of `from`, which is about to go, that `out` lacks; those of `properties` one by one. */
static void merge(struct schema *s, json_t *out, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        json_t *mine = json_object_get(out, key);
        if (!mine)
            put(s, out, key, json_incref(value));
        else if (strcmp(key, "properties") == 0 && json_object_update_missing(mine, value))
            fail(s, ERROR_MEMORY, "out of memory");
        else if (strcmp(key, "required") == 0 && json_array_extend(mine, value))
            fail(s, ERROR_MEMORY, "out of memory");
    }
}

/* ---- References ---- */

/* "#/$defs/Place" in the whole schema; NULL: nothing is there. (RFC 6901, without '~' in names.) */
static const json_t *reference_find(const struct schema *s, struct str reference)
{
    const json_t *at = s->root;
    struct str name;
    if (!str_split(&reference, '/', &name) || !str_is(name, "#"))
        return NULL;
    while (at && str_split(&reference, '/', &name))
        at = json_object_getn(at, name.data, name.len);
    return at;
}

static void take_reference(struct schema *s, json_t *out, struct str reference)
{
    struct following here = {pay(s, reference.len) ? reference_find(s, reference) : NULL, s->following};
    if (!json_is_object(here.target)) {
        fail(s, ERROR_INVALID, "a '$ref' in it names nothing inside it");
        return;
    }
    for (const struct following *f = s->following; f; f = f->outer)
        if (f->target == here.target) {
            put_text(s, out, "type", STR("object"));
            return;
        }
    s->following = &here;
    json_t *target = clean(s, here.target);
    merge(s, out, target);
    json_decref(target);
    s->following = here.outer;
}

/* ---- Alternatives ---- */

static bool is_null_type(const json_t *schema)
{
    return str_is(json_text(schema, "type"), "null");
}

/* One left is no choice. */
static void put_alternatives(struct schema *s, json_t *out, json_t *list, bool nullable)
{
    if (nullable)
        put(s, out, "nullable", json_true());
    if (json_array_size(list) == 1)
        merge(s, out, json_array_get(list, 0));
    if (json_array_size(list) > 1)
        put(s, out, "anyOf", json_incref(list));
}

/* Each alternative says for itself what stood beside them. */
static void isolate_alternatives(struct schema *s, json_t *out)
{
    static const char *const shared[] = {"description", "nullable"};
    json_t *list = json_incref(json_object_get(out, "anyOf"));
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; k < 2; k++) {
            json_t *alternative = json_array_get(list, i), *value = json_object_get(out, shared[k]);
            if (value && !json_object_get(alternative, shared[k]))
                put(s, alternative, shared[k], json_incref(value));
        }
    json_object_clear(out);
    put(s, out, "anyOf", list);
}

static void take_any_of(struct schema *s, json_t *out, const json_t *in)
{
    json_t *list = json_array();
    bool nullable = false;
    for (size_t i = 0; i < json_array_size(in) && s->rc == 0; i++) {
        const json_t *alternative = json_array_get(in, i);
        if (is_null_type(alternative))
            nullable = true;
        else
            append(s, list, clean(s, alternative));
    }
    put_alternatives(s, out, list, nullable);
    json_decref(list);
}

/* {"type": ["string", "null"], ...}: the same schema once for each type. */
static void take_types(struct schema *s, json_t *out, const json_t *in, const json_t *types)
{
    json_t *list = json_array();
    bool nullable = false;
    for (size_t i = 0; i < json_array_size(types) && pay(s, json_object_size(in)); i++) {
        json_t *type = json_array_get(types, i);
        if (str_is(json_str(type), "null")) {
            nullable = true;
            continue;
        }
        json_t *one = json_copy((json_t *)(uintptr_t)in); /* shallow: only its type is another */
        put(s, one, "type", json_is_string(type) ? json_incref(type) : json_string("string"));
        append(s, list, clean(s, one));
        json_decref(one);
    }
    put_alternatives(s, out, list, nullable);
    json_decref(list);
}

/* ---- A schema of one type ---- */

static struct str type_of(const json_t *in)
{
    static const char *const types[] = {
        "string", "number", "integer", "boolean", "array", "object", "null", NULL};
    struct str type = json_text(in, "type");
    for (const char *const *t = types; *t; t++)
        if (str_is(type, *t))
            return type;
    if (json_object_get(in, "properties"))
        return STR("object");
    return json_object_get(in, "items") ? STR("array") : STR("string");
}

static void take_plain(struct schema *s, json_t *out, const json_t *in)
{
    static const struct {
        const char *key;
        bool text, fraction;
    } members[] = {{"description", true, false}, {"pattern", true, false}, {"minItems", false, false},
        {"maxItems", false, false}, {"minLength", false, false}, {"maxLength", false, false},
        {"minProperties", false, false}, {"maxProperties", false, false}, {"minimum", false, true},
        {"maximum", false, true}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *value = json_object_get(in, members[i].key);
        if (members[i].text       ? json_is_string(value)
            : members[i].fraction ? json_is_number(value)
                                  : json_is_integer(value))
            put(s, out, members[i].key, json_incref(value));
    }
    if (json_is_true(json_object_get(in, "nullable")))
        put(s, out, "nullable", json_true());
}

static void take_format(struct schema *s, json_t *out, const json_t *in, struct str type)
{
    static const char *const formats[][2] = {{"string", "date-time"}, {"number", "float"},
        {"number", "double"}, {"integer", "int32"}, {"integer", "int64"}};
    struct str format = json_text(in, "format");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(type, formats[i][0]) && str_is(format, formats[i][1]))
            put_text(s, out, "format", format);
}

/* Only texts, and none of them empty. */
static void take_enum(struct schema *s, json_t *out, const json_t *in)
{
    json_t *values = json_object_get(in, "enum"), *only = json_object_get(in, "const");
    json_t *list = json_array();
    bool good = true;
    if (json_str(only).len > 0)
        append(s, list, json_incref(only));
    for (size_t i = 0; i < json_array_size(values) && pay(s, 1); i++) {
        json_t *value = json_array_get(values, i);
        if (json_is_null(value))
            put(s, out, "nullable", json_true());
        else if (json_str(value).len > 0)
            append(s, list, json_incref(value));
        else
            good = false;
    }
    if (good && json_array_size(list) > 0)
        put(s, out, "enum", json_incref(list));
    json_decref(list);
}

static void take_properties(struct schema *s, json_t *out, const json_t *in)
{
    const json_t *required = json_object_get(in, "required");
    json_t *properties = json_object(), *list = json_array();
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(in, "properties"), key, value)
    {
        put(s, properties, key, clean(s, value));
        if (s->rc)
            break;
    }
    for (size_t i = 0; i < json_array_size(required) && pay(s, 1); i++) {
        json_t *name = json_array_get(required, i);
        if (json_is_string(name) && json_object_get(properties, json_string_value(name)))
            append(s, list, json_incref(name));
    }
    if (json_object_size(properties) > 0)
        put(s, out, "properties", json_incref(properties));
    if (json_array_size(list) > 0)
        put(s, out, "required", json_incref(list));
    json_decref(properties);
    json_decref(list);
}

static void take_one_type(struct schema *s, json_t *out, const json_t *in)
{
    struct str type = type_of(in);
    put_text(s, out, "type", type);
    take_format(s, out, in, type);
    if (str_is(type, "string"))
        take_enum(s, out, in);
    if (str_is(type, "object"))
        take_properties(s, out, in);
    if (str_is(type, "array"))
        put(s, out, "items", clean(s, json_object_get(in, "items")));
}

/* ---- All of it ---- */

static void take(struct schema *s, json_t *out, const json_t *in)
{
    const json_t *any = json_object_get(in, "anyOf"), *all = json_object_get(in, "allOf");
    const json_t *type = json_object_get(in, "type");
    struct str reference = json_text(in, "$ref");
    if (!json_array_size(any))
        any = json_object_get(in, "oneOf");
    take_plain(s, out, in);
    if (reference.len > 0) {
        take_reference(s, out, reference);
    } else if (json_array_size(any) > 0) {
        take_any_of(s, out, any);
    } else if (json_is_array(type)) {
        take_types(s, out, in, type);
    } else {
        if (json_array_size(all) == 0 || type || json_object_get(in, "properties"))
            take_one_type(s, out, in);
        for (size_t i = 0; i < json_array_size(all) && s->rc == 0; i++) {
            json_t *part = clean(s, json_array_get(all, i));
            merge(s, out, part);
            json_decref(part);
        }
    }
    if (json_object_get(out, "anyOf"))
        isolate_alternatives(s, out);
    else if (!json_object_get(out, "type"))
        put_text(s, out, "type", STR("string"));
}

/* A new object; NULL once anything has failed. */
static json_t *clean(struct schema *s, const json_t *in)
{
    if (!pay(s, 1))
        return NULL;
    json_t *out = json_object();
    s->depth++;
    take(s, out, in);
    s->depth--;
    if (s->rc == 0)
        return out;
    json_decref(out);
    return NULL;
}

int provider_gemini_schema(const json_t *schema, size_t *budget, json_t **out, struct error *err)
{
    struct schema s = {.root = schema, .budget = budget, .err = err};
    *out = NULL;
    if (json_object_size(schema) == 0)
        return 0;
    json_t *cleaned = clean(&s, schema);
    if (s.rc)
        return s.rc;
    bool arguments = json_object_get(cleaned, "properties") || json_object_get(cleaned, "anyOf");
    if (arguments)
        *out = cleaned;
    else
        json_decref(cleaned);
    return 0;
}
