/* Typed look-ups in the metadata. */
#include "engine/worker/gguf.h"

#include <float.h>
#include <math.h>
#include <string.h>

static int wrong(const struct gguf_pair *pair, const char *wanted, struct error *err)
{
    return error_set(err, ERROR_INVALID, "the model's '" STR_FMT "' (%s) must be %s: the file is not usable",
        STR_ARG(pair->key), gguf_type_name(pair->type), wanted);
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t fallback, uint32_t *out, struct error *err)
{
    const struct gguf_pair *pair = gguf_find(g, key);
    *out = fallback;
    if (!pair)
        return 0;
    uint64_t value;
    switch (pair->type) {
    case GGUF_UINT8:
    case GGUF_UINT16:
    case GGUF_UINT32:
    case GGUF_UINT64:
        value = pair->u;
        break;
    case GGUF_INT8:
    case GGUF_INT16:
    case GGUF_INT32:
    case GGUF_INT64:
        value = pair->i < 0 ? UINT64_MAX : (uint64_t)pair->i;
        break;
    default:
        value = UINT64_MAX;
    }
    if (value > UINT32_MAX)
        return wrong(pair, "a whole number from 0 to 4294967295", err);
    *out = (uint32_t)value;
    return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float fallback, float *out, struct error *err)
{
    const struct gguf_pair *pair = gguf_find(g, key);
    *out = fallback;
    if (!pair)
        return 0;
    if ((pair->type != GGUF_FLOAT32 && pair->type != GGUF_FLOAT64) || !(fabs(pair->f) <= (double)FLT_MAX))
        return wrong(pair, "a finite float", err);
    *out = (float)pair->f;
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool fallback, bool *out, struct error *err)
{
    const struct gguf_pair *pair = gguf_find(g, key);
    *out = fallback;
    if (!pair)
        return 0;
    if (pair->type != GGUF_BOOL)
        return wrong(pair, "true or false", err);
    *out = pair->b;
    return 0;
}

int gguf_get_str(
    const struct gguf *g, const char *key, struct str fallback, struct str *out, struct error *err)
{
    const struct gguf_pair *pair = gguf_find(g, key);
    *out = fallback;
    if (!pair)
        return 0;
    if (pair->type != GGUF_STRING)
        return wrong(pair, "a string", err);
    *out = pair->s;
    return 0;
}

int gguf_get_array(
    const struct gguf *g, const char *key, enum gguf_type type, struct gguf_array *out, struct error *err)
{
    const struct gguf_pair *pair = gguf_find(g, key);
    *out = (struct gguf_array){.type = type};
    if (!pair)
        return 0;
    if (pair->type != GGUF_ARRAY || pair->array.type != type)
        return error_set(err, ERROR_INVALID,
            "the model's '%s' must be an array of %s: the file is not usable", key, gguf_type_name(type));
    *out = pair->array;
    return 0;
}

bool gguf_array_next(const struct gguf_array *array, size_t *cursor, struct str *out)
{
    /* Checked again: whoever can write the file can change it after it was parsed. */
    uint64_t len = 0;
    if (array->type != GGUF_STRING || *cursor > array->bytes || array->bytes - *cursor < sizeof len)
        return false;
    const char *at = (const char *)array->data + *cursor;
    memcpy(&len, at, sizeof len);
    if (len > array->bytes - *cursor - sizeof len)
        return false;
    *out = (struct str){at + sizeof len, (size_t)len};
    *cursor += sizeof len + (size_t)len;
    return true;
}
