/* Random JSON Schemas of the kind that is supported, and whether a document is valid under one. */
#ifndef TESTS_UNIT_ENGINE_SCHEMA_RIG_H
#define TESTS_UNIT_ENGINE_SCHEMA_RIG_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "json/json.h"

static struct rand_pcg dice;

static inline uint32_t below(uint32_t n)
{
    return rand_pcg_u32(&dice) % n;
}

/* ---- A validator, written from the specification and apart from the code under test ---- */

static inline bool valid(const json_t *root, const json_t *schema, const json_t *v);

static inline bool is_whole(const json_t *v)
{
    return json_is_integer(v) || (json_is_real(v) && floor(json_real_value(v)) == json_real_value(v));
}

static inline bool type_is(const json_t *v, const char *type)
{
    return strcmp(type, "object") == 0    ? json_is_object(v)
           : strcmp(type, "array") == 0   ? json_is_array(v)
           : strcmp(type, "string") == 0  ? json_is_string(v)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(v)
           : strcmp(type, "null") == 0    ? json_is_null(v)
           : strcmp(type, "integer") == 0 ? is_whole(v)
                                          : json_is_number(v);
}

static inline bool types_valid(const json_t *types, const json_t *v)
{
    if (!types)
        return true;
    if (json_is_string(types))
        return type_is(v, json_string_value(types));
    for (size_t i = 0; i < json_array_size(types); i++)
        if (type_is(v, json_string_value(json_array_get(types, i))))
            return true;
    return false;
}

static inline bool number_valid(const json_t *s, const json_t *v)
{
    const json_t *least = json_object_get(s, "minimum"), *most = json_object_get(s, "maximum"),
                 *above = json_object_get(s, "exclusiveMinimum"),
                 *under = json_object_get(s, "exclusiveMaximum");
    double x = json_number_value(v);
    return !(least && x < json_number_value(least)) && !(most && x > json_number_value(most)) &&
           !(above && x <= json_number_value(above)) && !(under && x >= json_number_value(under));
}

static inline bool count_valid(const json_t *s, const char *least, const char *most, size_t n)
{
    const json_t *a = json_object_get(s, least), *b = json_object_get(s, most);
    return !(a && (json_int_t)n < json_integer_value(a)) && !(b && (json_int_t)n > json_integer_value(b));
}

static inline bool object_valid(const json_t *root, const json_t *s, const json_t *v)
{
    const json_t *properties = json_object_get(s, "properties"), *required = json_object_get(s, "required"),
                 *rest = json_object_get(s, "additionalProperties");
    const char *key;
    json_t *value;
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_object_get(v, json_string_value(json_array_get(required, i))))
            return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        const json_t *known = json_object_get(properties, key);
        if (known ? !valid(root, known, value) : rest && !valid(root, rest, value))
            return false;
    }
    return count_valid(s, "minProperties", "maxProperties", json_object_size(v));
}

static inline bool array_valid(const json_t *root, const json_t *s, const json_t *v)
{
    const json_t *first = json_object_get(s, "prefixItems"), *rest = json_object_get(s, "items");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = i < json_array_size(first) ? json_array_get(first, i) : rest;
        if (item && !valid(root, item, json_array_get(v, i)))
            return false;
    }
    return count_valid(s, "minItems", "maxItems", json_array_size(v));
}

static inline size_t characters(const json_t *v)
{
    return str_utf8_count((struct str){json_string_value(v), json_string_length(v)});
}

/* The patterns that the generator draws from, by hand. */
static inline bool pattern_valid(const char *pattern, const char *text)
{
    size_t n = strlen(text);
    if (strcmp(pattern, "^[a-c]+$") == 0)
        return n > 0 && strspn(text, "abc") == n;
    if (strcmp(pattern, "^\\d{3}-\\d{2}$") == 0)
        return n == 6 && strspn(text, "0123456789") == 3 && text[3] == '-' &&
               strspn(text + 4, "0123456789") == 2;
    if (strcmp(pattern, "x|^y$") == 0)
        return strchr(text, 'x') || strcmp(text, "y") == 0;
    return strcmp(pattern, "^\"\\\\[^a]\\n?$") == 0 && strncmp(text, "\"\\", 2) == 0 && text[2] != 'a';
}

static inline bool date_valid(const char *t)
{
    int y, m, d, n = 0;
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return sscanf(t, "%4d-%2d-%2d%n", &y, &m, &d, &n) == 3 && n == 10 && m >= 1 && m <= 12 && d >= 1 &&
           d <= days[m - 1];
}

static inline bool string_valid(const json_t *s, const json_t *v)
{
    const char *pattern = json_string_value(json_object_get(s, "pattern")),
               *format = json_string_value(json_object_get(s, "format"));
    if (pattern && !pattern_valid(pattern, json_string_value(v)))
        return false;
    if (format && strcmp(format, "date") == 0 &&
        (strlen(json_string_value(v)) != 10 || !date_valid(json_string_value(v))))
        return false;
    if (format && strcmp(format, "uuid") == 0 && json_string_length(v) != 36)
        return false;
    return count_valid(s, "minLength", "maxLength", characters(v));
}

static inline int branches_valid(const json_t *root, const json_t *list, const json_t *v)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        n += valid(root, json_array_get(list, i), v);
    return n;
}

static inline bool values_valid(const json_t *s, const json_t *v)
{
    const json_t *constant = json_object_get(s, "const"), *list = json_object_get(s, "enum");
    bool found = !list;
    for (size_t i = 0; i < json_array_size(list); i++)
        found = found || json_equal(json_array_get(list, i), v);
    return found && (!constant || json_equal(constant, v));
}

static inline bool valid(const json_t *root, const json_t *s, const json_t *v)
{
    if (json_is_boolean(s))
        return json_is_true(s);
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    if (ref &&
        !valid(
            root, strcmp(ref, "#") == 0 ? root : json_object_get(json_object_get(root, "$defs"), ref + 8), v))
        return false;
    if (json_is_true(json_object_get(s, "nullable")) && json_is_null(v))
        return true;
    const json_t *any = json_object_get(s, "anyOf"), *one = json_object_get(s, "oneOf"),
                 *all = json_object_get(s, "allOf");
    if ((any && branches_valid(root, any, v) == 0) || (one && branches_valid(root, one, v) != 1) ||
        (all && branches_valid(root, all, v) != (int)json_array_size(all)))
        return false;
    if (!types_valid(json_object_get(s, "type"), v) || !values_valid(s, v))
        return false;
    if (json_is_number(v))
        return number_valid(s, v);
    if (json_is_string(v))
        return string_valid(s, v);
    if (json_is_object(v))
        return object_valid(root, s, v);
    return !json_is_array(v) || array_valid(root, s, v);
}

/* ---- Random schemas ---- */

static const char *const names[] = {"name", "na", "k1", "k2", "k3", "a", "\"q", "\xC3\xA9", "nam"};

static inline json_t *schema_random(int depth, bool defs);

static inline void bounds_add(json_t *s, const char *least, const char *most, int64_t from, int64_t span)
{
    int64_t low = from + (int64_t)below((uint32_t)span);
    if (below(2))
        json_object_set_new(s, least, json_integer(low));
    else
        low = from;
    if (below(2))
        json_object_set_new(s, most, json_integer(low + (int64_t)below((uint32_t)span)));
}

static inline json_t *object_random(int depth, bool defs)
{
    json_t *s = json_pack("{s:s}", "type", "object"), *properties = json_object(), *required = json_array();
    uint32_t n = below(5);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = names[below(9)];
        if (json_object_get(properties, name))
            continue;
        json_object_set_new(properties, name, schema_random(depth - 1, defs));
        if (below(2))
            json_array_append_new(required, json_string(name));
    }
    switch (below(4)) {
    case 0:
        json_object_set_new(s, "additionalProperties", json_false());
        break;
    case 1:
        json_object_set_new(s, "additionalProperties", json_true());
        break;
    case 2:
        json_object_set_new(s, "additionalProperties", schema_random(0, defs));
        break;
    default:
        break;
    }
    json_object_set_new(s, "properties", properties);
    json_object_set_new(s, "required", required);
    return s;
}

static inline json_t *array_random(int depth, bool defs)
{
    json_t *s = json_pack("{s:s}", "type", "array");
    if (below(4) == 0) {
        json_t *list = json_array();
        for (uint32_t n = 1 + below(3); n > 0; n--)
            json_array_append_new(list, schema_random(depth - 1, defs));
        json_object_set_new(s, "prefixItems", list);
        if (below(2))
            json_object_set_new(s, "items", below(2) ? json_false() : schema_random(depth - 1, defs));
        return s;
    }
    json_object_set_new(s, "items", schema_random(depth - 1, defs));
    bounds_add(s, "minItems", "maxItems", 0, 4);
    return s;
}

static inline json_t *number_random(bool integer)
{
    json_t *s = json_pack("{s:s}", "type", integer ? "integer" : "number");
    static const int64_t scales[] = {10, 1000, 123456, 10000000};
    int64_t scale = scales[below(4)];
    if (below(3) == 0)
        return s;
    bounds_add(s, below(4) ? "minimum" : "exclusiveMinimum", below(4) ? "maximum" : "exclusiveMaximum",
        -scale / 2, scale);
    const json_t *low = json_object_get(s, "minimum"), *high = json_object_get(s, "maximum"),
                 *above = json_object_get(s, "exclusiveMinimum"),
                 *under = json_object_get(s, "exclusiveMaximum");
    /* Bounds that leave nothing are tested elsewhere. */
    if (low && under && json_integer_value(under) <= json_integer_value(low))
        json_object_del(s, "exclusiveMaximum");
    else if (above && (high || under) &&
             json_integer_value(high ? high : under) <= json_integer_value(above) + 1)
        json_object_del(s, "exclusiveMinimum");
    return s;
}

static inline json_t *string_random(void)
{
    static const char *const formats[] = {
        "date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "uri", "hostname", "duration"};
    static const char *const patterns[] = {"^[a-c]+$", "^\\d{3}-\\d{2}$", "x|^y$", "^\"\\\\[^a]\\n?$"};
    json_t *s = json_pack("{s:s}", "type", "string");
    switch (below(4)) {
    case 0:
        json_object_set_new(s, "format", json_string(formats[below(10)]));
        break;
    case 1:
        json_object_set_new(s, "pattern", json_string(patterns[below(4)]));
        break;
    case 2:
        bounds_add(s, "minLength", "maxLength", 0, 12);
        break;
    default:
        break;
    }
    return s;
}

static inline json_t *combined_random(int depth, bool defs)
{
    json_t *list = json_array();
    switch (below(4)) {
    case 0:
        for (uint32_t n = 1 + below(3); n > 0; n--)
            json_array_append_new(list, schema_random(depth - 1, defs));
        return json_pack("{s:o}", "anyOf", list);
    case 1:
        for (int i = 0; i < 3; i++)
            json_array_append_new(
                list, json_pack("{s:s,s:{s:{s:i},s:o},s:[s]}", "type", "object", "properties", "kind",
                          "const", i, "k1", schema_random(depth - 1, defs), "required", "kind"));
        return json_pack("{s:o}", "oneOf", list);
    case 2:
        json_array_append_new(list, json_pack("{s:s,s:{s:o},s:[s]}", "type", "object", "properties", "a",
                                        schema_random(depth - 1, defs), "required", "a"));
        json_array_append_new(list,
            json_pack("{s:{s:o},s:[s]}", "properties", "b", schema_random(depth - 1, defs), "required", "b"));
        return json_pack("{s:o}", "allOf", list);
    default:
        json_decref(list);
        json_t *s = schema_random(depth - 1, defs);
        if (json_is_object(s) && json_object_get(s, "type"))
            json_object_set_new(s, "nullable", json_true());
        return s;
    }
}

static inline json_t *leaf_random(bool defs)
{
    switch (below(defs ? 9 : 8)) {
    case 0:
        return number_random(true);
    case 1:
        return number_random(false);
    case 2:
        return json_pack("{s:s,s:s}", "type", "boolean", "title", "a title");
    case 3:
        return json_pack("{s:[s,s]}", "type", "string", "null");
    case 4:
        return json_pack("{s:[s,i,n,s,{s:[i,i]}]}", "enum", "red", 12, "a\"b\\\n\xC3\xA9", "x", 1, 2);
    case 5:
        return json_pack("{s:s}", "const", "green");
    case 8:
        return json_pack("{s:s}", "$ref", "#/$defs/d");
    default:
        return string_random();
    }
}

static inline json_t *schema_random(int depth, bool defs)
{
    switch (depth > 0 ? below(6) : 5) {
    case 0:
    case 1:
        return object_random(depth, defs);
    case 2:
        return array_random(depth, defs);
    case 3:
        return combined_random(depth, defs);
    default:
        return leaf_random(defs);
    }
}

/* One in three has a definition that leads back to itself. */
static inline json_t *root_random(void)
{
    bool defs = below(3) == 0;
    json_t *s = schema_random(3, defs);
    if (!defs)
        return s;
    json_object_set_new(s, "$defs",
        json_pack("{s:{s:s,s:{s:o,s:{s:[{s:s},{s:s}]}},s:[s]}}", "d", "type", "object", "properties", "value",
            schema_random(1, false), "next", "anyOf", "$ref", "#/$defs/d", "type", "null", "required",
            "next"));
    return s;
}

#endif
