/* allOf: what is valid under two schemas, as one schema. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/json_schema_inner.h"

static int cannot(const char *key, struct error *err)
{
    return error_set(err, ERROR_UNSUPPORTED,
        "the JSON schema combines two values of '%.100s' (allOf, or beside $ref or anyOf), which cannot be "
        "enforced here: "
        "write one schema",
        key);
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        abort(); /* no memory */
}

static void add(json_t *list, json_t *value)
{
    if (json_array_append(list, value) != 0)
        abort();
}

static bool contains(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), value))
            return true;
    return false;
}

static json_t *list_of(const json_t *one_or_list)
{
    if (json_is_array(one_or_list))
        return json_copy((json_t *)(uintptr_t)one_or_list);
    json_t *list = json_array();
    add(list, (json_t *)(uintptr_t)one_or_list);
    return list;
}

static json_t *lists_joined(const json_t *a, const json_t *b)
{
    json_t *all = json_copy((json_t *)(uintptr_t)a);
    for (size_t i = 0; i < json_array_size(b); i++)
        if (!contains(all, json_array_get(b, i)))
            add(all, json_array_get(b, i));
    return all;
}

static json_t *lists_shared(const json_t *a, const json_t *b)
{
    json_t *both = json_array();
    for (size_t i = 0; i < json_array_size(a); i++)
        if (contains(b, json_array_get(a, i)))
            add(both, json_array_get(a, i));
    return both;
}

/* Integers are numbers. */
static json_t *types_shared(const json_t *a, const json_t *b)
{
    json_t *x = list_of(a), *y = list_of(b), *both = lists_shared(x, y);
    json_t *integer = json_string("integer"), *number = json_string("number");
    bool narrow =
        (contains(x, integer) && contains(y, number)) || (contains(x, number) && contains(y, integer));
    if (narrow && !contains(both, number) && !contains(both, integer))
        add(both, integer);
    json_decref(integer);
    json_decref(number);
    json_decref(x);
    json_decref(y);
    return both;
}

static void properties_join(json_t *into, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        json_t *old = json_object_get(into, key);
        if (!old)
            set(into, key, json_incref(value));
        else if (!json_equal(old, value))
            set(into, key, json_pack("{s:[O,O]}", "allOf", old, value));
    }
}

/* A schema that closes or types its other members says something of the members that only the other one has.
 */
static int additional_check(const json_t *a, const json_t *b, struct error *err)
{
    const json_t *rest = json_object_get(a, "additionalProperties");
    const char *key;
    json_t *value;
    if (!rest || json_is_true(rest))
        return 0;
    json_object_foreach(json_object_get(b, "properties"), key, value)
    {
        if (!json_object_get(json_object_get(a, "properties"), key))
            return cannot("additionalProperties", err);
    }
    return 0;
}

static bool keeps_larger(const char *key)
{
    return strncmp(key, "min", 3) == 0 || strcmp(key, "exclusiveMinimum") == 0;
}

static bool keeps_smaller(const char *key)
{
    return strncmp(key, "max", 3) == 0 || strcmp(key, "exclusiveMaximum") == 0;
}

static int member_merge(json_t *to, const char *key, json_t *a, json_t *b, struct error *err)
{
    if (json_equal(a, b) || schema_is_note(key))
        return 0;
    if (strcmp(key, "type") == 0) {
        json_t *types = types_shared(a, b);
        if (json_array_size(types) == 0)
            set(to, "enum", json_array());
        set(to, key, types);
    } else if (strcmp(key, "properties") == 0 && json_is_object(a) && json_is_object(b)) {
        json_t *all = json_copy(a);
        properties_join(all, b);
        set(to, key, all);
    } else if ((strcmp(key, "required") == 0 || strcmp(key, "allOf") == 0) && json_is_array(a) &&
               json_is_array(b)) {
        set(to, key, lists_joined(a, b));
    } else if (strcmp(key, "enum") == 0 && json_is_array(a) && json_is_array(b)) {
        set(to, key, lists_shared(a, b));
    } else if (json_is_number(a) && json_is_number(b) && (keeps_larger(key) || keeps_smaller(key))) {
        bool larger = json_number_value(b) > json_number_value(a);
        set(to, key, json_incref(larger == keeps_larger(key) ? b : a));
    } else if (strcmp(key, "additionalProperties") == 0 && (json_is_boolean(a) || json_is_boolean(b))) {
        set(to, key, json_incref(json_is_false(a) || json_is_true(b) ? a : b));
    } else {
        return cannot(key, err);
    }
    return 0;
}

int schema_merge(
    struct json_schema *s, const json_t *a, const json_t *b, const json_t **out, struct error *err)
{
    const char *key;
    json_t *value;
    if (json_is_true(a) || json_is_true(b) || json_is_false(a) || json_is_false(b)) {
        *out = json_is_true(a) || json_is_false(b) ? b : a;
        return 0;
    }
    if (!json_is_object(a) || !json_is_object(b))
        return error_set(err, ERROR_INVALID, "a JSON schema must be an object, true or false");
    int rc = additional_check(a, b, err);
    if (rc == 0)
        rc = additional_check(b, a, err);
    json_t *both = json_copy((json_t *)(uintptr_t)a);
    if (!both)
        abort();
    json_keep(s->arena, both);
    json_object_foreach((json_t *)(uintptr_t)b, key, value)
    {
        json_t *mine = json_object_get(both, key);
        if (rc)
            break;
        if (mine)
            rc = member_merge(both, key, mine, value, err);
        else
            set(both, key, json_incref(value));
    }
    *out = both;
    return rc;
}
