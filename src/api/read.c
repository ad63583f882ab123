#include "api/read.h"

#include <string.h>

#include "base/limits.h"

int api_body_read(struct arena *a, struct str body, const json_t **root, struct error *err)
{
    json_t *tree;
    int rc = json_read_in(a, body, &tree, err);
    if (rc)
        return rc;
    *root = tree;
    return json_is_object(tree) ? 0 : error_set(err, ERROR_INVALID, "the request body must be a JSON object");
}

int api_model_read(const json_t *root, struct str *out, struct error *err)
{
    int rc = json_get_str(root, "model", out, err);
    if (rc == 0 && out->len == 0)
        rc = error_set(err, ERROR_INVALID, "'model' is missing: GET /v1/models lists what can be asked for");
    if (rc == 0 && out->len > LIMIT_MODEL_NAME)
        rc = error_set(err, ERROR_INVALID, "'model' is longer than %d bytes", LIMIT_MODEL_NAME);
    return rc;
}

bool api_ids_read(struct arena *a, const json_t *list, const int32_t **out, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = *n > 0 ? arena_try_array(a, int32_t, *n) : NULL;
    *out = ids;
    for (size_t i = 0; i < *n; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return false;
        if (ids)
            ids[i] = (int32_t)id;
    }
    return *n > 0;
}

/* Each is judged and sent as JSON, which is written once: of lists of a usual size. */
static void tools_write(struct arena *a, struct chat_request *r)
{
    enum { MOST = 256 * KIB };
    struct buf text;
    buf_init(&text, MOST);
    for (size_t i = 0; i < r->n_tools; i++) {
        struct json_writer w;
        size_t from = text.len;
        json_writer_init(&w, &text);
        json_write_value(&w, r->tools[i].raw);
        if (text.failed || arena_try_copy(a, str_slice(buf_str(&text), from, text.len), &r->tools[i].written))
            break;
    }
    buf_free(&text);
}

int api_tools_read(struct arena *a, const json_t *list,
    int (*read)(const json_t *item, struct chat_tool *out, struct error *err), struct chat_request *r,
    struct error *err)
{
    size_t n = json_array_size(list);
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(err, ERROR_INVALID, "'tools' must be an array");
    if (n > LIMIT_TOOLS)
        return error_set(
            err, ERROR_INVALID, "the request has %zu tools: at most %d are allowed", n, LIMIT_TOOLS);
    r->tools = arena_try_array(a, struct chat_tool, n ? n : 1);
    if (!r->tools)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    r->n_tools = n;
    for (size_t i = 0; i < n; i++)
        if (read(json_array_get(list, i), &r->tools[i], err))
            return error_wrap(err, "tools[%zu]", i);
    tools_write(a, r);
    return 0;
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
        if (json_is_null(value) || str_among(str_from(key), known))
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
        if (!json_is_null(value) && !str_among(str_from(key), known))
            return error_set(
                err, ERROR_INVALID, "has the member '%.80s', which is not known: leave it out", key);
    }
    return 0;
}
