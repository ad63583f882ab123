#include "engine/worker/gguf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "engine/worker/gguf_read.h"

enum {
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 1 << 20,
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8 /* name length, name, n_dims, type, offset */
};

/* One mapped file. */
struct part {
    const uint8_t *base;
    size_t size;
    bool mapped;
};

struct gguf {
    uint32_t version;
    struct part *parts;
    size_t n_parts;
    bool header; /* the tensors' bytes are not there */
    struct gguf_pair *pairs; /* those of the first part */
    size_t n_pairs;
    struct map keys; /* key -> index in pairs */
    struct tensor *tensors;
    size_t n_tensors;
    struct map names; /* tensor name -> index in tensors */
};

static int read_alignment(const struct gguf_reader *r, size_t *alignment)
{
    const struct gguf_pair *pair = gguf_reader_find(r, "general.alignment");
    *alignment = ALIGNMENT_DEFAULT;
    if (!pair)
        return 0;
    if (pair->type != GGUF_UINT32 || pair->u < 8 || pair->u > ALIGNMENT_MAX || (pair->u & (pair->u - 1)) != 0)
        return error_set(r->err, ERROR_INVALID,
            "'general.alignment' must be a power of two from 8 to %d as uint32: the file is corrupt",
            ALIGNMENT_MAX);
    *alignment = (size_t)pair->u;
    return 0;
}

/* Checks the product of the dimensions and that rows are whole blocks; sets t->bytes. */
static int tensor_measure(struct tensor *t, struct error *err)
{
    const struct tensor_type_info *info = tensor_type_info(t->type);
    int64_t values = 1;
    for (int i = 0; i < TENSOR_DIMS; i++)
        if (t->shape[i] <= 0 || __builtin_mul_overflow(values, t->shape[i], &values))
            return error_set(err, ERROR_INVALID,
                "tensor '" STR_FMT "' has a dimension of zero or too many values: the file is corrupt",
                STR_ARG(t->name));
    if (t->shape[0] % info->block_values != 0)
        return error_set(err, ERROR_INVALID,
            "tensor '" STR_FMT "' has rows of %lld values, which are not whole %s blocks of %u",
            STR_ARG(t->name), (long long)t->shape[0], info->name, info->block_values);
    if (__builtin_mul_overflow((size_t)values / info->block_values, (size_t)info->block_bytes, &t->bytes))
        return error_set(
            err, ERROR_INVALID, "tensor '" STR_FMT "' is too large: the file is corrupt", STR_ARG(t->name));
    return 0;
}

static int read_shape(struct gguf_reader *r, struct tensor *t)
{
    int rc = gguf_reader_bytes(r, &t->n_dims, sizeof t->n_dims, "a tensor's dimensions");
    if (rc)
        return rc;
    if (t->n_dims > TENSOR_DIMS)
        return error_set(r->err, ERROR_INVALID,
            "tensor '" STR_FMT "' has %u dimensions; at most %d are possible", STR_ARG(t->name), t->n_dims,
            TENSOR_DIMS);
    for (uint32_t i = 0; i < TENSOR_DIMS && rc == 0; i++) {
        t->shape[i] = 1;
        if (i < t->n_dims)
            rc = gguf_reader_bytes(r, &t->shape[i], sizeof t->shape[i], "a tensor's dimensions");
    }
    return rc;
}

/* `offset`: from the start of the data, which is not known yet. */
static int read_tensor(struct gguf_reader *r, struct tensor *t, uint64_t *offset)
{
    uint32_t type = 0;
    int rc = gguf_reader_str(r, &t->name, "a tensor's name");
    if (rc)
        return rc;
    if (!gguf_name_valid(t->name, TENSOR_NAME_MAX))
        return error_set(r->err, ERROR_INVALID,
            "a tensor's name at byte %zu is empty, longer than %d or not text: the file is corrupt",
            r->at - t->name.len, TENSOR_NAME_MAX);
    rc = read_shape(r, t);
    rc = rc ? rc : gguf_reader_bytes(r, &type, sizeof type, "a tensor's type");
    rc = rc ? rc : gguf_reader_bytes(r, offset, sizeof *offset, "a tensor's offset");
    if (rc)
        return rc;
    if (!tensor_type_info(type))
        return error_set(r->err, ERROR_UNSUPPORTED,
            "tensor '" STR_FMT
            "' has type %u, which is unknown or was removed from the format: use a newer file",
            STR_ARG(t->name), type);
    t->type = type;
    return tensor_measure(t, r->err);
}

/* Points a tensor at its bytes once they are known to lie inside the file. */
static int tensor_place(
    const struct gguf_reader *r, struct tensor *t, uint64_t offset, size_t alignment, size_t data)
{
    if (offset % alignment != 0)
        return error_set(r->err, ERROR_INVALID,
            "tensor '" STR_FMT "' is not aligned to %zu bytes: the file is corrupt", STR_ARG(t->name),
            alignment);
    if (data > r->size || offset > r->size - data || t->bytes > r->size - data - offset)
        return error_set(r->err, ERROR_INVALID,
            "tensor '" STR_FMT
            "' (%zu bytes) lies past the end of the file: it is truncated or corrupt; fetch it again",
            STR_ARG(t->name), t->bytes);
    t->data = r->base + data + offset;
    return 0;
}

static int tensors_grow(struct gguf *g, size_t more, struct error *err)
{
    struct tensor *tensors = realloc(g->tensors, (g->n_tensors + more + 1) * sizeof *tensors);
    if (!tensors)
        return error_set(err, ERROR_MEMORY, "no memory for %zu tensors", more);
    memset(tensors + g->n_tensors, 0, (more + 1) * sizeof *tensors);
    g->tensors = tensors;
    return 0;
}

static int read_tensors(struct gguf *g, struct gguf_reader *r, uint64_t count)
{
    size_t alignment = 0;
    int rc = read_alignment(r, &alignment);
    if (rc)
        return rc;
    if (count > LIMIT_MODEL_TENSORS - g->n_tensors || count > gguf_reader_rest(r) / TENSOR_BYTES_MIN)
        return error_set(r->err, ERROR_INVALID,
            "the file claims %llu tensors, more than it can hold or than are allowed (%d)",
            (unsigned long long)count, LIMIT_MODEL_TENSORS);
    uint64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    rc = offsets ? tensors_grow(g, (size_t)count, r->err)
                 : error_set(r->err, ERROR_MEMORY, "no memory for tensors");
    struct tensor *first = rc ? NULL : g->tensors + g->n_tensors;
    for (size_t i = 0; i < count && rc == 0; i++) {
        bool added = false;
        rc = read_tensor(r, &first[i], &offsets[i]);
        rc = rc ? rc : map_add(&g->names, first[i].name, (uint32_t)(g->n_tensors + i), &added, r->err);
        if (rc == 0 && !added)
            rc = error_set(r->err, ERROR_INVALID,
                "there are two tensors named '" STR_FMT "': the file is corrupt", STR_ARG(first[i].name));
    }
    size_t data = (r->at + alignment - 1) & ~(alignment - 1); /* at <= file size: cannot overflow */
    for (size_t i = 0; i < count && rc == 0 && !g->header; i++)
        rc = tensor_place(r, &first[i], offsets[i], alignment, data);
    if (rc == 0)
        g->n_tensors += (size_t)count;
    free(offsets);
    return rc;
}

static int read_header(struct gguf_reader *r, uint32_t *version, uint64_t *n_tensors, uint64_t *n_pairs)
{
    char magic[4];
    int rc = gguf_reader_bytes(r, magic, sizeof magic, "the header");
    if (rc)
        return rc;
    if (memcmp(magic, "vers", 4) == 0)
        return error_set(r->err, ERROR_INVALID,
            "not a GGUF file but what git keeps in its place: fetch the file itself (git lfs pull)");
    if (memcmp(magic, "<!DO", 4) == 0 || memcmp(magic, "<htm", 4) == 0)
        return error_set(r->err, ERROR_INVALID, "not a GGUF file but a web page: fetch the file itself");
    if (memcmp(magic, "GGUF", 4) != 0)
        return error_set(r->err, ERROR_INVALID, "not a GGUF file: models must be in that format");
    rc = gguf_reader_bytes(r, version, sizeof *version, "the header");
    if (rc)
        return rc;
    if (*version != 0 && (*version & 0xFFFF) == 0)
        return error_set(
            r->err, ERROR_UNSUPPORTED, "the file is a big-endian GGUF file: use a little-endian one");
    if (*version != 2 && *version != 3)
        return error_set(r->err, ERROR_UNSUPPORTED,
            "the file is GGUF version %u; versions 2 and 3 are read: convert it", *version);
    rc = gguf_reader_bytes(r, n_tensors, sizeof *n_tensors, "the header");
    return rc ? rc : gguf_reader_bytes(r, n_pairs, sizeof *n_pairs, "the header");
}

/* A split.* number; `fallback` where it is missing. */
static int split_number(const struct gguf_reader *r, const char *key, uint64_t fallback, uint64_t *out)
{
    const struct gguf_pair *pair = gguf_reader_find(r, key);
    *out = fallback;
    if (!pair)
        return 0;
    bool is_signed = pair->type == GGUF_INT32 || pair->type == GGUF_INT16;
    bool is_unsigned = pair->type == GGUF_UINT16 || pair->type == GGUF_UINT32 || pair->type == GGUF_UINT64;
    if (!(is_signed && pair->i >= 0) && !is_unsigned)
        return error_set(r->err, ERROR_INVALID, "'%s' is not a count: the file is corrupt", key);
    *out = is_signed ? (uint64_t)pair->i : pair->u;
    return 0;
}

static int check_split(const struct gguf *g, const struct gguf_reader *r, size_t index)
{
    uint64_t number, count;
    int rc = split_number(r, "split.no", 0, &number);
    rc = rc ? rc : split_number(r, "split.count", 1, &count);
    if (rc)
        return rc;
    if (count == 0)
        count = 1;
    if (count != g->n_parts)
        return error_set(r->err, ERROR_INVALID,
            "this is a part of a model split into %llu files, but %zu were given: give all parts in order",
            (unsigned long long)count, g->n_parts);
    if (number != index)
        return error_set(r->err, ERROR_INVALID, "part %llu stands at place %zu: give the parts in order",
            (unsigned long long)number + 1, index + 1);
    return 0;
}

/* Reads one part; the first one's metadata becomes the model's. `total`: tensors in all parts, if it says. */
static int read_part(struct gguf *g, size_t index, uint64_t *total, struct error *err)
{
    struct part *part = &g->parts[index];
    struct gguf_reader r = {.base = part->base, .size = part->size, .err = err};
    uint32_t version;
    uint64_t n_tensors, n_pairs;
    int rc = read_header(&r, &version, &n_tensors, &n_pairs);
    rc = rc ? rc : gguf_reader_pairs(&r, n_pairs);
    rc = rc ? rc : check_split(g, &r, index);
    if (rc == 0 && index == 0)
        rc = split_number(&r, "split.tensors.count", UINT64_MAX, total);
    if (rc == 0)
        rc = read_tensors(g, &r, n_tensors);
    if (rc == 0 && index == 0) {
        g->version = version;
        g->pairs = r.pairs;
        g->n_pairs = r.n_pairs;
        g->keys = r.keys;
        return 0;
    }
    free(r.pairs);
    map_free(&r.keys);
    if (rc && g->n_parts > 1)
        rc = error_wrap(err, "part %zu of %zu", index + 1, g->n_parts);
    return rc;
}

static int read_parts(struct gguf *g, struct error *err)
{
    uint64_t total = UINT64_MAX;
    int rc = map_init(&g->names, 0, err);
    for (size_t i = 0; i < g->n_parts && rc == 0; i++)
        rc = read_part(g, i, &total, err);
    if (rc == 0 && g->n_parts > 1 && total != UINT64_MAX && total != g->n_tensors)
        rc = error_set(err, ERROR_INVALID,
            "the parts hold %zu tensors, not %llu as the first one says: fetch them again", g->n_tensors,
            (unsigned long long)total);
    return rc;
}

static int map_part(struct part *part, int fd, struct error *err)
{
    /* Not fstat: the C library makes it newfstatat, which takes paths and so is closed in the sandbox. */
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0)
        return error_set(err, ERROR_INVALID, "the model is empty or not a regular file");
    void *base = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return error_set(err, ERROR_IO, "the model file cannot be mapped: %s", strerror(errno));
    *part = (struct part){.base = base, .size = (size_t)size, .mapped = true};
    return 0;
}

static int create(size_t n_parts, struct gguf **out, struct error *err)
{
    struct gguf *g = calloc(1, sizeof *g);
    struct part *parts = calloc(n_parts, sizeof *parts);
    *out = g;
    if (!g || !parts) {
        free(g);
        free(parts);
        return error_set(err, ERROR_MEMORY, "no memory to open a model");
    }
    g->parts = parts;
    g->n_parts = n_parts;
    return 0;
}

int gguf_open(const int *fds, size_t n_fds, struct gguf **out, struct error *err)
{
    struct gguf *g;
    *out = NULL;
    if (n_fds == 0 || n_fds > LIMIT_MODEL_PARTS)
        return error_set(err, ERROR_INVALID, "a model has 1 to %d files, not %zu", LIMIT_MODEL_PARTS, n_fds);
    int rc = create(n_fds, &g, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n_fds && rc == 0; i++)
        rc = map_part(&g->parts[i], fds[i], err);
    rc = rc ? rc : read_parts(g, err);
    if (rc)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

static int open_memory(const void *data, size_t size, bool header, struct gguf **out, struct error *err)
{
    struct gguf *g;
    *out = NULL;
    int rc = create(1, &g, err);
    if (rc)
        return rc;
    g->parts[0] = (struct part){.base = data, .size = size};
    g->header = header;
    rc = read_parts(g, err);
    if (rc)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

int gguf_open_memory(const void *data, size_t size, struct gguf **out, struct error *err)
{
    return open_memory(data, size, false, out, err);
}

int gguf_open_header(const void *data, size_t size, struct gguf **out, struct error *err)
{
    return open_memory(data, size, true, out, err);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_parts; i++)
        if (g->parts[i].mapped)
            munmap((void *)(uintptr_t)g->parts[i].base, g->parts[i].size);
    map_free(&g->keys);
    map_free(&g->names);
    free(g->pairs);
    free(g->tensors);
    free(g->parts);
    free(g);
}

uint32_t gguf_version(const struct gguf *g)
{
    return g->version;
}

uint64_t gguf_file_size(const struct gguf *g)
{
    uint64_t size = 0;
    for (size_t i = 0; i < g->n_parts; i++)
        size += g->parts[i].size;
    return size;
}

size_t gguf_n_pairs(const struct gguf *g)
{
    return g->n_pairs;
}

const struct gguf_pair *gguf_pair_at(const struct gguf *g, size_t index)
{
    assert(index < g->n_pairs);
    return &g->pairs[index];
}

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key)
{
    uint32_t *index = map_find(&g->keys, str_from(key));
    return index ? &g->pairs[*index] : NULL;
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct tensor *gguf_tensor_at(const struct gguf *g, size_t index)
{
    assert(index < g->n_tensors);
    return &g->tensors[index];
}

const struct tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    uint32_t *index = map_find(&g->names, str_from(name));
    return index ? &g->tensors[*index] : NULL;
}
