#include "train/hf/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

enum { LENGTH_BYTES = 8, DIMS_MAX = 16 };
#define HEADER_MAX ((size_t)100000000) /* the format's own bound */

static const struct dtype {
    const char *name;
    size_t bytes;
    bool usable;
    enum tensor_type type;
} dtypes[] = {{"F32", 4, true, TENSOR_F32}, {"F16", 2, true, TENSOR_F16}, {"BF16", 2, true, TENSOR_BF16},
    {"F64", 8, true, TENSOR_F64}, {"I8", 1, false, 0}, {"U8", 1, false, 0}, {"BOOL", 1, false, 0},
    {"F8_E4M3", 1, false, 0}, {"F8_E5M2", 1, false, 0}, {"F8_E8M0", 1, false, 0}, {"I16", 2, false, 0},
    {"U16", 2, false, 0}, {"I32", 4, false, 0}, {"U32", 4, false, 0}, {"I64", 8, false, 0},
    {"U64", 8, false, 0}};

static const struct dtype *dtype_find(struct str name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (str_is(name, dtypes[i].name))
            return &dtypes[i];
    return NULL;
}

const char *safetensors_type_name(enum tensor_type type)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (dtypes[i].usable && dtypes[i].type == type)
            return dtypes[i].name;
    return NULL;
}

int safetensor_values(const struct tensor *t, int64_t first, int64_t count, float *to, struct error *err)
{
    if (t->type != TENSOR_F64)
        return tensor_dequantize(
            t->type, (const char *)t->data + tensor_row_bytes(t->type, first), to, count, err);
    for (int64_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, (const char *)t->data + (size_t)(first + i) * sizeof value, sizeof value);
        to[i] = (float)value;
    }
    return 0;
}

/* ---- One tensor of the header ---- */

static int broken(struct str name, const char *what, struct error *err)
{
    return error_set(err, ERROR_INVALID, "tensor '" STR_FMT "' %s: the file is corrupt, fetch it again",
        STR_ARG(str_slice(name, 0, 200)), what);
}

/* The shape, fastest dimension first; *bytes: what it takes. */
static int shape_read(const struct json_item *item, const struct dtype *d, struct safetensor *s,
    uint64_t *bytes, struct error *err)
{
    const struct json_item *shape = json_item_get(item, "shape");
    uint32_t left = shape ? shape->n : 0;
    if (!json_item_is(shape, JSON_ITEM_ARRAY) || left > DIMS_MAX)
        return broken(s->tensor.name, "has no shape that can be", err);
    *bytes = d->bytes;
    s->tensor.n_dims = left;
    for (int i = 0; i < TENSOR_DIMS; i++)
        s->tensor.shape[i] = 1;
    if (left > TENSOR_DIMS)
        s->unusable = "has more than 4 dimensions";
    json_item_each(n, shape) {
        int64_t size;
        if (!json_item_int(n, &size) || size < 0 || __builtin_mul_overflow(*bytes, (uint64_t)size, bytes))
            return broken(s->tensor.name, "has no shape that can be", err);
        if (--left < TENSOR_DIMS)
            s->tensor.shape[left] = size;
        if (size == 0)
            s->unusable = "is empty";
    }
    return 0;
}

static int tensor_read(
    const struct json_item *item, size_t data_bytes, struct safetensor *s, uint64_t *begin, struct error *err)
{
    const struct dtype *d = dtype_find(json_item_text(item, "dtype"));
    const struct json_item *offsets = json_item_get(item, "data_offsets");
    int64_t from, to;
    uint64_t bytes = 0;
    s->tensor.name = item->key;
    if (!d)
        return error_set(err, ERROR_UNSUPPORTED,
            "tensor '" STR_FMT "' has the type '" STR_FMT "', unknown here",
            STR_ARG(str_slice(item->key, 0, 200)), STR_ARG(str_slice(json_item_text(item, "dtype"), 0, 40)));
    int rc = shape_read(item, d, s, &bytes, err);
    if (rc)
        return rc;
    if (json_item_length(offsets) != 2 || !json_item_int(json_item_first(offsets), &from) ||
        !json_item_int(json_item_next(offsets, json_item_first(offsets)), &to) || from < 0 || to < from ||
        (uint64_t)to > data_bytes)
        return broken(item->key, "lies outside the file", err);
    if ((uint64_t)(to - from) != bytes)
        return broken(item->key, "has not as many bytes as its shape says", err);
    if (!d->usable)
        s->unusable = "is of a type that holds no weights here: only F32, F16, BF16 and F64 are read";
    s->e4m3 = strcmp(d->name, "F8_E4M3") == 0;
    s->tensor.type = d->type;
    s->tensor.bytes = (size_t)bytes;
    *begin = (uint64_t)from;
    return 0;
}

/* ---- The header ---- */

static int place_compare(const void *a, const void *b)
{
    const struct tensor *x = &((const struct safetensor *)a)->tensor,
                        *y = &((const struct safetensor *)b)->tensor;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* In the order of the data, each begins where the one before ends, and the last ends the file. */
static int check_places(struct safetensors *s, const char *data, struct error *err)
{
    qsort(s->list, s->n, sizeof *s->list, place_compare);
    for (size_t i = 0; i < s->n; i++) {
        const struct tensor *t = &s->list[i].tensor;
        if (t->data != data)
            return broken(t->name,
                (const char *)t->data < data ? "shares bytes with another" : "leaves a hole before it", err);
        data += t->bytes;
    }
    if (data != s->base + s->size)
        return error_set(err, ERROR_INVALID, "%zu bytes at its end belong to no tensor: the file is corrupt",
            (size_t)(s->base + s->size - data));
    return 0;
}

static int check_names(const struct safetensors *s, struct error *err)
{
    struct map names;
    int rc = map_init(&names, s->n, err);
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        bool added = false;
        rc = map_add(&names, s->list[i].tensor.name, 0, &added, err);
        if (rc == 0 && !added)
            rc = broken(s->list[i].tensor.name, "stands twice in the header", err);
    }
    map_free(&names);
    return rc;
}

static int tensors_read(
    struct safetensors *s, const struct json_item *header, const char *data, struct error *err)
{
    const size_t bytes = (size_t)(s->base + s->size - data);
    if (header->n > LIMIT_MODEL_TENSORS)
        return error_set(err, ERROR_LIMIT, "the file has more than %d tensors", LIMIT_MODEL_TENSORS);
    s->list = calloc((size_t)header->n + 1, sizeof *s->list);
    if (!s->list)
        return error_set(err, ERROR_MEMORY, "no memory for %u tensors", header->n);
    int rc = 0;
    for (const struct json_item *i = header->n > 0 ? header + 1 : NULL; i && rc == 0;
         i = json_item_next(header, i)) {
        uint64_t begin = 0;
        if (str_is(i->key, "__metadata__"))
            continue;
        rc = tensor_read(i, bytes, &s->list[s->n], &begin, err);
        s->list[s->n++].tensor.data = data + begin;
    }
    rc = rc ? rc : check_places(s, data, err);
    return rc ? rc : check_names(s, err);
}

static int header_read(struct safetensors *s, struct error *err)
{
    uint64_t length = 0;
    const struct json_item *header;
    if (s->size >= LENGTH_BYTES)
        memcpy(&length, s->base, sizeof length);
    if (s->size < LENGTH_BYTES || length > s->size - LENGTH_BYTES || length > HEADER_MAX || length < 2 ||
        s->base[LENGTH_BYTES] != '{')
        return error_set(err, ERROR_INVALID,
            s->size >= 7 && memcmp(s->base, "version", 7) == 0
                ? "not a safetensors file but what git keeps in its place: fetch the file itself (git lfs "
                  "pull)"
                : "not a safetensors file, or cut short: fetch it again");
    if (json_view_read(&s->view, (struct str){s->base + LENGTH_BYTES, (size_t)length}, &header, err))
        return error_wrap(err, "its header");
    return tensors_read(s, header, s->base + LENGTH_BYTES + length, err);
}

int safetensors_parse(const void *data, size_t size, struct safetensors *out, struct error *err)
{
    *out = (struct safetensors){.base = data, .size = size};
    json_view_init(&out->view);
    int rc = header_read(out, err);
    if (rc)
        safetensors_close(out);
    return rc;
}

int safetensors_open(const char *path, struct safetensors *out, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO must not stop us. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    void *data = MAP_FAILED;
    *out = (struct safetensors){0};
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    const bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    if (is_file)
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (!is_file)
        return error_set(err, ERROR_IO, "%s is empty or not a file", path);
    if (data == MAP_FAILED)
        return error_set(err, ERROR_MEMORY, "%s cannot be mapped: %s", path, strerror(errno));
    if (safetensors_parse(data, (size_t)st.st_size, out, err)) {
        munmap(data, (size_t)st.st_size);
        return error_wrap(err, "%s", path);
    }
    out->mapped = true;
    return 0;
}

void safetensors_close(struct safetensors *s)
{
    json_view_free(&s->view);
    free(s->list);
    if (s->mapped)
        munmap((void *)(uintptr_t)s->base, s->size);
    *s = (struct safetensors){0};
}
