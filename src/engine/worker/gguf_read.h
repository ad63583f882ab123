/* Reading the front of one GGUF part, every length checked against it (inside the GGUF code). */
#ifndef WEIR_ENGINE_WORKER_GGUF_READ_H
#define WEIR_ENGINE_WORKER_GGUF_READ_H

#include "base/map.h"
#include "engine/worker/gguf.h"

/* Where parsing stands in one part. */
struct gguf_reader {
    const uint8_t *base;
    size_t size, at; /* at <= size */
    struct gguf_pair *pairs;
    size_t n_pairs;
    struct map keys;
    struct error *err;
};

size_t gguf_reader_rest(const struct gguf_reader *r);
/* Copies bytes or gives a span of the part; an error that says inside `what` the file ends. */
int gguf_reader_bytes(struct gguf_reader *r, void *to, size_t len, const char *what) MUST_USE;
int gguf_reader_str(struct gguf_reader *r, struct str *out, const char *what) MUST_USE;
/* Fills pairs and keys, which are the caller's to free also on error. */
int gguf_reader_pairs(struct gguf_reader *r, uint64_t count) MUST_USE;
const struct gguf_pair *gguf_reader_find(const struct gguf_reader *r, const char *key);
/* Keys and tensor names end up in messages and logs: text without control characters. */
bool gguf_name_valid(struct str name, size_t max);

#endif
