#include "engine/worker/gguf_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are read in place");

enum {
    KEY_MAX = 65535,
    PAIR_BYTES_MIN = 8 + 1 + 4 + 1 /* key length, key, type, value */
};

size_t gguf_reader_rest(const struct gguf_reader *r)
{
    return r->size - r->at;
}

static int cut(const struct gguf_reader *r, const char *what)
{
    return error_set(r->err, ERROR_INVALID,
        "the file ends inside %s (byte %zu of %zu): it is truncated or corrupt; fetch it again", what, r->at,
        r->size);
}

int gguf_reader_bytes(struct gguf_reader *r, void *to, size_t len, const char *what)
{
    if (gguf_reader_rest(r) < len)
        return cut(r, what);
    memcpy(to, r->base + r->at, len);
    r->at += len;
    return 0;
}

int gguf_reader_str(struct gguf_reader *r, struct str *out, const char *what)
{
    uint64_t len = 0;
    int rc = gguf_reader_bytes(r, &len, sizeof len, what);
    if (rc)
        return rc;
    if (len > gguf_reader_rest(r))
        return cut(r, what);
    *out = (struct str){(const char *)r->base + r->at, (size_t)len};
    r->at += (size_t)len;
    return 0;
}

bool gguf_name_valid(struct str name, size_t max)
{
    if (name.len == 0 || name.len > max || !str_utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7F)
            return false;
    return true;
}

/* Bytes of a scalar; 0 for strings, arrays and numbers that name no type. */
static size_t scalar_bytes(uint32_t type)
{
    switch (type) {
    case GGUF_UINT8:
    case GGUF_INT8:
    case GGUF_BOOL:
        return 1;
    case GGUF_UINT16:
    case GGUF_INT16:
        return 2;
    case GGUF_UINT32:
    case GGUF_INT32:
    case GGUF_FLOAT32:
        return 4;
    case GGUF_UINT64:
    case GGUF_INT64:
    case GGUF_FLOAT64:
        return 8;
    default:
        return 0;
    }
}

const char *gguf_type_name(enum gguf_type type)
{
    static const char *const names[] = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32",
        "bool", "string", "array", "uint64", "int64", "float64"};
    return (uint32_t)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

static int64_t sign_extend(uint64_t raw, size_t bytes)
{
    int shift = (int)(64 - 8 * bytes);
    return (int64_t)(raw << shift) >> shift;
}

static int read_scalar(struct gguf_reader *r, struct gguf_pair *pair)
{
    size_t bytes = scalar_bytes(pair->type);
    uint64_t raw = 0;
    int rc = gguf_reader_bytes(r, &raw, bytes, "a metadata value");
    if (rc)
        return rc;
    switch (pair->type) {
    case GGUF_INT8:
    case GGUF_INT16:
    case GGUF_INT32:
    case GGUF_INT64:
        pair->i = sign_extend(raw, bytes);
        return 0;
    case GGUF_FLOAT32: {
        float f;
        memcpy(&f, &raw, sizeof f);
        pair->f = (double)f;
        return 0;
    }
    case GGUF_FLOAT64:
        memcpy(&pair->f, &raw, sizeof pair->f);
        return 0;
    case GGUF_BOOL:
        if (raw > 1)
            return error_set(
                r->err, ERROR_INVALID, "'" STR_FMT "' is neither true nor false", STR_ARG(pair->key));
        pair->b = raw == 1;
        return 0;
    default:
        pair->u = raw;
        return 0;
    }
}

static int read_array(struct gguf_reader *r, struct gguf_pair *pair)
{
    uint32_t type = 0;
    uint64_t count = 0;
    int rc = gguf_reader_bytes(r, &type, sizeof type, "an array's type");
    rc = rc ? rc : gguf_reader_bytes(r, &count, sizeof count, "an array's length");
    if (rc)
        return rc;
    size_t bytes = scalar_bytes(type);
    if (bytes == 0 && type != GGUF_STRING)
        return error_set(r->err, ERROR_UNSUPPORTED,
            "'" STR_FMT "' is an array of %s (type %u), which no model uses", STR_ARG(pair->key),
            gguf_type_name(type), type);
    if (count > gguf_reader_rest(r) / (bytes ? bytes : 8))
        return error_set(r->err, ERROR_INVALID,
            "'" STR_FMT "' claims %llu elements, more than the file holds: it is truncated or corrupt",
            STR_ARG(pair->key), (unsigned long long)count);
    pair->array = (struct gguf_array){type, count, r->base + r->at, 0};
    size_t start = r->at;
    struct str ignored;
    if (bytes)
        r->at += (size_t)count * bytes;
    else
        for (uint64_t i = 0; i < count && rc == 0; i++)
            rc = gguf_reader_str(r, &ignored, "an array of strings");
    pair->array.bytes = r->at - start;
    return rc;
}

static int read_pair(struct gguf_reader *r, struct gguf_pair *pair)
{
    uint32_t type = 0;
    int rc = gguf_reader_str(r, &pair->key, "a metadata key");
    if (rc)
        return rc;
    if (!gguf_name_valid(pair->key, KEY_MAX))
        return error_set(r->err, ERROR_INVALID,
            "a metadata key at byte %zu is empty or not text: the file is corrupt", r->at - pair->key.len);
    rc = gguf_reader_bytes(r, &type, sizeof type, "a metadata type");
    if (rc)
        return rc;
    pair->type = type;
    if (type == GGUF_ARRAY)
        return read_array(r, pair);
    if (type == GGUF_STRING)
        return gguf_reader_str(r, &pair->s, "a metadata string");
    if (scalar_bytes(type) == 0)
        return error_set(r->err, ERROR_INVALID, "'" STR_FMT "' has the unknown type %u: the file is corrupt",
            STR_ARG(pair->key), type);
    return read_scalar(r, pair);
}

int gguf_reader_pairs(struct gguf_reader *r, uint64_t count)
{
    if (count > LIMIT_MODEL_PAIRS || count > gguf_reader_rest(r) / PAIR_BYTES_MIN)
        return error_set(r->err, ERROR_INVALID,
            "the file claims %llu metadata pairs, more than it can hold or than are allowed (%d)",
            (unsigned long long)count, LIMIT_MODEL_PAIRS);
    int rc = map_init(&r->keys, (size_t)count, r->err);
    if (rc)
        return rc;
    r->pairs = calloc((size_t)count + 1, sizeof *r->pairs);
    if (!r->pairs)
        return error_set(
            r->err, ERROR_MEMORY, "no memory for %llu metadata pairs", (unsigned long long)count);
    for (; r->n_pairs < count; r->n_pairs++) {
        struct gguf_pair *pair = &r->pairs[r->n_pairs];
        bool added = false;
        rc = read_pair(r, pair);
        rc = rc ? rc : map_add(&r->keys, pair->key, (uint32_t)r->n_pairs, &added, r->err);
        if (rc)
            return rc;
        if (!added)
            return error_set(r->err, ERROR_INVALID,
                "the metadata key '" STR_FMT "' stands twice: the file is corrupt", STR_ARG(pair->key));
    }
    return 0;
}

const struct gguf_pair *gguf_reader_find(const struct gguf_reader *r, const char *key)
{
    uint32_t *index = map_find(&r->keys, str_from(key));
    return index ? &r->pairs[*index] : NULL;
}
