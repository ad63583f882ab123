#include "api/read.h"

#include <string.h>

int api_body_read(struct arena *a, struct str body, const json_t **root, struct error *err)
{
    json_t *tree;
    int rc = json_read_in(a, body, &tree, err);
    if (rc)
        return rc;
    *root = tree;
    return json_is_object(tree) ? 0 : error_set(err, ERROR_INVALID, "the request body must be a JSON object");
}

int api_read_vendor(
    struct arena *a, const json_t *object, const char *const *known, const json_t **out, struct error *err)
{
    json_t *rest = NULL;
    const char *key;
    json_t *value;
    *out = NULL;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool is_known = false;
        for (const char *const *k = known; *k && !is_known; k++)
            is_known = strcmp(*k, key) == 0;
        if (is_known || json_is_null(value))
            continue;
        if (!rest) {
            rest = json_object();
            if (!rest)
                return error_set(err, ERROR_MEMORY, "no memory for the request");
            json_keep(a, rest);
        }
        if (json_object_set(rest, key, value) != 0)
            return error_set(err, ERROR_MEMORY, "no memory for the request");
    }
    *out = rest;
    return 0;
}

int api_read_only(const json_t *object, const char *const *known, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool is_known = json_is_null(value);
        for (const char *const *k = known; *k && !is_known; k++)
            is_known = strcmp(*k, key) == 0;
        if (!is_known)
            return error_set(
                err, ERROR_INVALID, "has the member '%.80s', which is not known: leave it out", key);
    }
    return 0;
}
