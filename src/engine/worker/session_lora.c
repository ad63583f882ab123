/* The adapters of a session: loaded with the model, scaled by each request. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/lora.h"
#include "engine/worker/session_inner.h"

enum { SCALE_MOST = 1000 };

static int entry_read(const json_t *entry, struct session_adapter *out, struct error *err)
{
    struct str name;
    double scale;
    if (!json_is_object(entry))
        return error_set(err, ERROR_INVALID, "an adapter must be an object with a name");
    int rc = json_get_str(entry, "name", &name, err);
    if (rc == 0)
        rc = json_get_double(entry, "scale", 1, -SCALE_MOST, SCALE_MOST, &scale, err);
    if (rc)
        return rc;
    name = str_slice(name, 0, LIMIT_MODEL_NAME);
    memcpy(out->name, name.data ? name.data : "", name.len);
    out->name[name.len] = '\0';
    out->scale = (float)scale;
    return 0;
}

int session_adapters_open(struct session *s, const json_t *list, struct error *err)
{
    const size_t n = json_array_size(list), n_files = s->setup.n_files;
    if (n > LORA_ADAPTERS_MAX || (n > 0 && n >= n_files))
        return error_set(err, ERROR_INVALID,
            "%zu adapters among %zu files: at most %d, and a model before them", n, n_files,
            LORA_ADAPTERS_MAX);
    s->adapters = calloc(n + 1, sizeof *s->adapters);
    s->adapter_files = calloc(n + 1, sizeof *s->adapter_files);
    if (!s->adapters || !s->adapter_files)
        return error_set(err, ERROR_MEMORY, "no memory for the adapters");
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = entry_read(json_array_get(list, i), &s->adapters[i], err);
        if (rc == 0)
            rc = gguf_open(s->setup.files + n_files - n + i, 1, &s->adapter_files[i], err);
        s->n_adapters += rc == 0;
    }
    return rc;
}

void session_adapters_close(struct session *s)
{
    for (int32_t i = 0; i < s->n_adapters; i++)
        gguf_close(s->adapter_files[i]);
    free(s->adapter_files);
    free(s->adapters);
    s->adapter_files = NULL;
    s->adapters = NULL;
    s->n_adapters = 0;
}

/* The adapter that an entry means, by its number or its name. */
static int32_t adapter_find(const struct session *s, const json_t *entry)
{
    const json_t *id = json_object_get(entry, "id"), *name = json_object_get(entry, "name");
    for (int32_t i = 0; i < s->n_adapters; i++)
        if (json_is_integer(id) ? json_integer_value(id) == i : str_is(json_str(name), s->adapters[i].name))
            return i;
    return -1;
}

static int scale_read(
    const struct session *s, const json_t *entry, size_t index, float *scales, struct error *err)
{
    double scale;
    if (!json_is_object(entry))
        return error_set(
            err, ERROR_INVALID, "lora[%zu] must be an object with 'id' or 'name', and 'scale'", index);
    const int32_t adapter = adapter_find(s, entry);
    if (adapter < 0)
        return error_set(err, ERROR_INVALID,
            "lora[%zu] names an adapter that this model does not have: it has %d%s%s%s", index,
            (int)s->n_adapters, s->n_adapters ? ", the first is '" : "",
            s->n_adapters ? s->adapters[0].name : "", s->n_adapters ? "'" : "");
    int rc = json_get_double(entry, "scale", 1, -SCALE_MOST, SCALE_MOST, &scale, err);
    if (rc == 0)
        scales[adapter] = (float)scale;
    return rc;
}

int session_adapters_read(const struct session *s, const json_t *list, float **scales, struct error *err)
{
    int rc = 0;
    const bool given = list && !json_is_null(list);
    if (given && !json_is_array(list))
        return error_set(err, ERROR_INVALID, "'lora' must be a list of {\"id\" or \"name\", \"scale\"}");
    float *out = calloc((size_t)s->n_adapters + 1, sizeof *out);
    if (!out)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    for (int32_t i = 0; i < s->n_adapters && !given; i++)
        out[i] = s->adapters[i].scale;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = scale_read(s, json_array_get(list, i), i, out, err);
    if (rc)
        free(out);
    else
        *scales = out;
    return rc;
}
