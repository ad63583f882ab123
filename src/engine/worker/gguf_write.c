#include "engine/worker/gguf_write.h"

#include <assert.h>

#include "base/limits.h"

/* Bytes of each type of scalar, by its number; none of strings and arrays. */
static const size_t scalar_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void append_str(struct buf *b, struct str s)
{
    uint64_t len = s.len;
    buf_append(b, &len, sizeof len);
    buf_append_str(b, s);
}

static void append_key_str(struct gguf_writer *w, struct str key, uint32_t type)
{
    append_str(&w->pairs, key);
    buf_append(&w->pairs, &type, sizeof type);
    w->n_pairs++;
}

static void append_key(struct gguf_writer *w, const char *key, uint32_t type)
{
    append_key_str(w, str_from(key), type);
}

void gguf_writer_init(struct gguf_writer *w)
{
    *w = (struct gguf_writer){.version = 3, .alignment = 32};
    buf_init(&w->pairs, 4 * GIB);
    buf_init(&w->infos, GIB);
}

void gguf_writer_free(struct gguf_writer *w)
{
    buf_free(&w->pairs);
    buf_free(&w->infos);
}

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    append_key(w, key, GGUF_UINT32);
    buf_append(&w->pairs, &value, sizeof value);
}

void gguf_write_f32(struct gguf_writer *w, const char *key, float value)
{
    append_key(w, key, GGUF_FLOAT32);
    buf_append(&w->pairs, &value, sizeof value);
}

void gguf_write_bool(struct gguf_writer *w, const char *key, bool value)
{
    append_key(w, key, GGUF_BOOL);
    buf_append_char(&w->pairs, value ? 1 : 0);
}

void gguf_write_str(struct gguf_writer *w, const char *key, struct str value)
{
    append_key(w, key, GGUF_STRING);
    append_str(&w->pairs, value);
}

static void append_array(struct gguf_writer *w, struct str key, uint32_t type, uint64_t count)
{
    append_key_str(w, key, GGUF_ARRAY);
    buf_append(&w->pairs, &type, sizeof type);
    buf_append(&w->pairs, &count, sizeof count);
}

void gguf_write_array(
    struct gguf_writer *w, const char *key, enum gguf_type type, const void *data, size_t count)
{
    assert((size_t)type < sizeof scalar_bytes / sizeof *scalar_bytes && scalar_bytes[type] > 0);
    append_array(w, str_from(key), type, count);
    buf_append(&w->pairs, data, count * scalar_bytes[type]);
}

void gguf_write_strs(struct gguf_writer *w, const char *key, const struct str *values, size_t count)
{
    append_array(w, str_from(key), GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        append_str(&w->pairs, values[i]);
}

/* A scalar in the width of its type. */
static void append_scalar(struct gguf_writer *w, const struct gguf_pair *pair)
{
    const float narrow = pair->type == GGUF_FLOAT32 ? (float)pair->f : 0;
    if (pair->type == GGUF_FLOAT32)
        buf_append(&w->pairs, &narrow, sizeof narrow);
    else if (pair->type == GGUF_BOOL)
        buf_append_char(&w->pairs, pair->b ? 1 : 0);
    else /* little-endian: the low bytes come first */
        buf_append(&w->pairs, &pair->u, scalar_bytes[pair->type]);
}

void gguf_write_pair(struct gguf_writer *w, const struct gguf_pair *pair)
{
    const struct gguf_array *a = &pair->array;
    struct str item;
    size_t cursor = 0;
    if (pair->type == GGUF_ARRAY && a->type == GGUF_ARRAY)
        return;
    if (pair->type == GGUF_ARRAY)
        append_array(w, pair->key, a->type, a->count);
    else
        append_key_str(w, pair->key, pair->type);
    if (pair->type == GGUF_STRING) {
        append_str(&w->pairs, pair->s);
    } else if (pair->type == GGUF_ARRAY) {
        if (a->type != GGUF_STRING)
            buf_append(&w->pairs, a->data, a->count * scalar_bytes[a->type]);
        else
            while (gguf_array_next(a, &cursor, &item))
                append_str(&w->pairs, item);
    } else {
        append_scalar(w, pair);
    }
}

size_t gguf_writer_padding(const struct gguf_writer *w, uint64_t bytes)
{
    return (size_t)(-bytes & (w->alignment - 1));
}

void gguf_write_tensor(
    struct gguf_writer *w, const char *name, enum tensor_type type, uint32_t n_dims, const int64_t *shape)
{
    uint32_t number = type;
    uint64_t bytes = tensor_row_bytes(type, shape[0]);
    for (uint32_t i = 1; i < n_dims; i++)
        bytes *= (uint64_t)shape[i];
    append_str(&w->infos, str_from(name));
    buf_append(&w->infos, &n_dims, sizeof n_dims);
    buf_append(&w->infos, shape, n_dims * sizeof *shape);
    buf_append(&w->infos, &number, sizeof number);
    buf_append(&w->infos, &w->data_bytes, sizeof w->data_bytes);
    w->data_bytes += bytes + gguf_writer_padding(w, bytes);
    w->n_tensors++;
}

int gguf_writer_header(const struct gguf_writer *w, struct buf *out, struct error *err)
{
    static const char zeros[64];
    size_t start = out->len;
    buf_append_text(out, "GGUF");
    buf_append(out, &w->version, sizeof w->version);
    buf_append(out, &w->n_tensors, sizeof w->n_tensors);
    buf_append(out, &w->n_pairs, sizeof w->n_pairs);
    buf_append_str(out, buf_str(&w->pairs));
    buf_append_str(out, buf_str(&w->infos));
    for (size_t pad = gguf_writer_padding(w, out->len - start); pad > 0;) {
        size_t n = pad < sizeof zeros ? pad : sizeof zeros;
        buf_append(out, zeros, n);
        pad -= n;
    }
    int failed = w->pairs.failed ? w->pairs.failed : w->infos.failed ? w->infos.failed : out->failed;
    return failed ? error_set(err, failed, "the header of the model file is too large to be built in memory")
                  : 0;
}
