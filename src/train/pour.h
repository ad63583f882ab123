/* Tensors whose values are made on the way to a file: converted, exported, merged.
 *
 *   rows of floats (the caller's) -> looked at: each is a number -> the file's type -> the file
 *
 * A tensor goes in batches that threads share, so memory does not depend on its size. */
#ifndef WEIR_TRAIN_POUR_H
#define WEIR_TRAIN_POUR_H

#include "engine/worker/tensor.h"
#include "train/files.h"
#include "train/quantize.h"
#include "train/team.h"

struct pour_tensor {
    const char *name;
    enum tensor_type type; /* in the file */
    uint32_t n_dims;
    int64_t shape[TENSOR_DIMS];
    const struct tensor *same; /* its bytes are taken as they stand; NULL: rows are made */
};

struct pour {
    /* Before a tensor's rows, in one thread; NULL: nothing to do. */
    int (*begin)(void *ctx, size_t tensor, struct error *err);
    /* Rows [first, first + n) of it, n * shape[0] values; any thread. */
    int (*rows)(void *ctx, size_t tensor, int64_t first, int64_t n, float *to, struct error *err);
    void *ctx;
    struct team *team;
    /* What is said while it runs; false ends it with ERROR_CANCELLED. */
    bool (*go_on)(void *ctx, const char *name, uint64_t done, uint64_t total);
    void *watch;
};

/* Each tensor's bytes in turn, with `padding` zeros behind each (NULL: none) of what a GGUF file wants. */
int pour_write(const struct pour *p, const struct pour_tensor *tensors, size_t n,
    const struct gguf_writer *padding, struct file_writer *f, struct error *err) MUST_USE;
uint64_t pour_bytes(const struct pour_tensor *t);
/* A tensor's own type where that can be written, else halves. */
enum tensor_type pour_type_of(const struct tensor *t);
/* Gives the tensors the types that weir quantize would: matrices the mix, the small and the delicate F32. The
 * writer holds the keys. Sees to it that they make a file, and that its tokenizer is one where there is any.
 */
int pour_choose(struct gguf_writer *w, const struct quantize_mix *mix, struct pour_tensor *tensors, size_t n,
    struct error *err) MUST_USE;
/* A GGUF file: what the writer holds, these tensors, and `path`; all of it or nothing. */
int pour_gguf(const struct pour *p, const struct pour_tensor *tensors, size_t n, struct gguf_writer *w,
    const char *path, struct error *err) MUST_USE;

#endif
