/* Reads a model's hyperparameters and tensors, checking each against what the architecture expects, so that
 * running the model cannot leave a buffer.
 *
 * Failure is kept: after the first one (rc != 0) every call gives zeros, so an architecture's load reads as a
 * list of what it needs and checks once. */
#ifndef WEIR_ENGINE_WORKER_MODEL_LOADER_H
#define WEIR_ENGINE_WORKER_MODEL_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/worker/gguf.h"
#include "engine/worker/program.h"
#include "engine/worker/rope.h"

struct arena;

struct loader {
    const struct gguf *gguf;
    struct backend *backend;
    struct arena *arena;
    struct str architecture; /* keys begin with it */
    struct lora *adapters;   /* n_adapters of them; weights take from each what it adds to them */
    int32_t n_adapters;
    int rc;
    struct error *err;
};

/* Bounds of any model; they keep products of two of them inside an int32_t or size_t. */
enum {
    MODEL_LAYERS_MAX = 4096,
    MODEL_WIDTH_MAX = 1 << 22, /* of a row: embedding, feed-forward */
    MODEL_VOCAB_MAX = 1 << 24,
    MODEL_HEADS_MAX = 4096,
    MODEL_HEAD_WIDTH_MAX = 4096,
    MODEL_EXPERTS_MAX = 4096,
    MODEL_EXPERTS_USED_MAX = 128
};

#define LOADER_REQUIRED (-1)

void loader_fail(struct loader *l, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* `key` comes after "ARCHITECTURE."; a value outside min..max is an error. Without the key: `fallback`, or an
 * error if that is LOADER_REQUIRED. */
int32_t loader_int(struct loader *l, const char *key, int32_t fallback, int32_t min, int32_t max);
/* Finite and min..max. */
float loader_float(struct loader *l, const char *key, float fallback, float min, float max);

/* Inside the file. */
struct str loader_str(struct loader *l, const char *key, struct str fallback);
bool loader_bool(struct loader *l, const char *key, bool fallback);

/* A figure for each of n layers: the file gives one for all or an array. */
const int32_t *loader_ints(
    struct loader *l, const char *key, int32_t n, int32_t fallback, int32_t min, int32_t max);

/* A flag for each of n layers; NULL where the key is missing or not an array. */
const bool *loader_flags(struct loader *l, const char *key, int32_t n);

bool loader_has(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The second dimension of a matrix, which its name alone tells; 1..max. */
int32_t loader_rows(struct loader *l, int32_t max, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* How many texts a list has; 0 without the key. */
uint64_t loader_strings(struct loader *l, const char *key);
/* n floats, from a tensor of any readable type. */
const float *loader_vector(struct loader *l, int64_t n, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* n x m floats, row by row, likewise. */
const float *loader_vectors(struct loader *l, int64_t n, int64_t m, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The weight of a norm that has none. */
const float *loader_ones(struct loader *l, int32_t n);
struct weight loader_weight(struct loader *l, int64_t n_in, int64_t n_out, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* NAME.weight with NAME.bias if there is one. */
struct linear loader_linear(struct loader *l, int64_t n_in, int64_t n_out, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* output.weight or, where there is none, the embedding again. */
struct linear loader_output(struct loader *l, const struct weight *embedding);
/* Rows [from, from + count) of a matrix that is several in one. */
struct linear loader_part(struct loader *l, const struct linear *whole, int64_t from, int64_t count);
struct linear loader_experts(
    struct loader *l, int64_t n_in, int64_t n_out, int64_t n_experts, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* From rope.*: base (10000), scaling, and the tensor rope_freqs.weight if there is one. */
struct rope loader_rope(struct loader *l, int32_t n_dims, enum rope_pairs pairs);
/* The same with the factors of the tensor of this name, if there is one: LongRoPE has two sets of them. */
struct rope loader_rope_factors(struct loader *l, int32_t n_dims, enum rope_pairs pairs, const char *factors);
/* Of layers with a window: not scaled, the base from rope.freq_base_swa if it is given. */
struct rope loader_rope_window(struct loader *l, int32_t n_dims, enum rope_pairs pairs, float default_base);
/* Files say by how much the magnitude that YaRN gives to rotations is to be taken back. */
void loader_rope_lessen(struct loader *l, struct rope *rope);
/* What a part is multiplied by; 0 is how some files say that it is by nothing. */
float loader_scale(struct loader *l, const char *key, float fallback);
/* `count` zeroed things of `size` bytes that live as long as the model. */
void *loader_alloc(struct loader *l, size_t count, size_t size);

#endif
