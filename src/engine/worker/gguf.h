/* GGUF v2 and v3 files (github.com/ggml-org/ggml/blob/master/docs/gguf.md), read from a mapping.
 *
 *   magic u32 | version u32 | n_tensors u64 | n_metadata u64 | metadata pairs | tensor infos | padding | data
 *
 * The file is hostile until parsed: every count, length, offset and product is checked against the file
 * before use, work is linear in the file, and nothing is copied but the tables of names. Spans point into the
 * mapping. A file that is cut while it is mapped kills the process with SIGBUS; the worker is made to be
 * restarted. */
#ifndef WEIR_ENGINE_WORKER_GGUF_H
#define WEIR_ENGINE_WORKER_GGUF_H

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "engine/worker/tensor.h"

struct gguf;

enum gguf_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64
};

struct gguf_array {
    enum gguf_type type;
    uint64_t count;
    const void *data; /* scalars: packed, possibly unaligned; strings: use gguf_array_next in order */
    size_t bytes;     /* of data */
};

/* One metadata pair. */
struct gguf_pair {
    struct str key;
    enum gguf_type type;
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct str s;
        struct gguf_array array;
    };
};

/* Maps and parses the files (more than one: the parts of a split model, in order). The descriptors stay the
 * caller's. gguf_open_memory parses bytes that must outlive the result. */
int gguf_open(const int *fds, size_t n_fds, struct gguf **out, struct error *err) MUST_USE;
int gguf_open_memory(const void *data, size_t size, struct gguf **out, struct error *err) MUST_USE;
/* The same of what stands before the tensors' bytes, as gguf_writer_header gives it: their data is NULL. */
int gguf_open_header(const void *data, size_t size, struct gguf **out, struct error *err) MUST_USE;
void gguf_close(struct gguf *g); /* NULL is allowed; unmaps: every span and tensor dies */

uint32_t gguf_version(const struct gguf *g);
uint64_t gguf_file_size(const struct gguf *g);
size_t gguf_n_pairs(const struct gguf *g);
const struct gguf_pair *gguf_pair_at(const struct gguf *g, size_t index);
const struct gguf_pair *gguf_find(const struct gguf *g, const char *key); /* NULL if absent */

/* Typed look-ups: a missing key gives the fallback; a value of another type or out of range is an error that
 * names the key. Integers of any width are accepted where they fit. */
int gguf_get_u32(
    const struct gguf *g, const char *key, uint32_t fallback, uint32_t *out, struct error *err) MUST_USE;
int gguf_get_f32(
    const struct gguf *g, const char *key, float fallback, float *out, struct error *err) MUST_USE;
int gguf_get_bool(
    const struct gguf *g, const char *key, bool fallback, bool *out, struct error *err) MUST_USE;
int gguf_get_str(
    const struct gguf *g, const char *key, struct str fallback, struct str *out, struct error *err) MUST_USE;
/* An array of this exact element type; count 0 when missing. */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type, struct gguf_array *out,
    struct error *err) MUST_USE;
/* Walks an array of strings: start with *cursor = 0; false at the end. */
bool gguf_array_next(const struct gguf_array *array, size_t *cursor, struct str *out);

size_t gguf_n_tensors(const struct gguf *g);
const struct tensor *gguf_tensor_at(const struct gguf *g, size_t index);
const struct tensor *gguf_tensor_find(const struct gguf *g, const char *name); /* NULL if absent */

const char *gguf_type_name(enum gguf_type type);

#endif
