/* Writing GGUF v3 files: metadata and the tensor table first, then the tensors' bytes in the order they were
 * declared, each padded to the alignment.
 *
 *   gguf_writer_init(&w); gguf_write_str(&w, "general.architecture", "llama"); ...
 *   gguf_write_tensor(&w, "output.weight", TENSOR_F16, 2, shape); ...
 *   gguf_writer_header(&w, &out, err); then each tensor: its bytes, gguf_writer_padding(&w, bytes) zeros. */
#ifndef WEIR_ENGINE_WORKER_GGUF_WRITE_H
#define WEIR_ENGINE_WORKER_GGUF_WRITE_H

#include "base/buf.h"
#include "engine/worker/gguf.h"

struct gguf_writer {
    struct buf pairs, infos; /* failures stick here and gguf_writer_header reports them */
    uint64_t n_pairs, n_tensors;
    uint64_t data_bytes; /* of the tensors declared so far, padded */
    uint32_t version, alignment;
};

void gguf_writer_init(
    struct gguf_writer *w); /* version 3, alignment 32; may be changed before the first tensor */
void gguf_writer_free(struct gguf_writer *w);

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_write_f32(struct gguf_writer *w, const char *key, float value);
void gguf_write_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_write_str(struct gguf_writer *w, const char *key, struct str value);
/* `type` is a scalar's. */
void gguf_write_array(
    struct gguf_writer *w, const char *key, enum gguf_type type, const void *data, size_t count);
void gguf_write_strs(struct gguf_writer *w, const char *key, const struct str *values, size_t count);
/* A pair of another file as it stands. An array of arrays, which no file in use has, is left out. */
void gguf_write_pair(struct gguf_writer *w, const struct gguf_pair *pair);
/* Declares a tensor; the shape's first dimension must be whole blocks. */
void gguf_write_tensor(
    struct gguf_writer *w, const char *name, enum tensor_type type, uint32_t n_dims, const int64_t *shape);

/* Appends everything before the first tensor's bytes, padded. */
int gguf_writer_header(const struct gguf_writer *w, struct buf *out, struct error *err) MUST_USE;
/* Zeros that follow `bytes` bytes of one tensor. */
size_t gguf_writer_padding(const struct gguf_writer *w, uint64_t bytes);

#endif
