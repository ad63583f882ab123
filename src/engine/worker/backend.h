/* What computes: the CPU now, a GPU later, behind one small table of functions.
 *
 *   model_* writes a program (program.h)  ->  encode  ->  submit  ->  sync  ->  results in host memory
 *
 * A backend runs one program at a time and is driven by one thread. */
#ifndef WEIR_ENGINE_WORKER_BACKEND_H
#define WEIR_ENGINE_WORKER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/worker/tensor.h"

struct backend;
struct lora_delta;
struct program;

/* n_experts matrices one after another, each of n_out rows of n_in values: y = W x. A plain weight has one.
 */
struct weight {
    enum tensor_type type;
    int64_t n_in, n_out, n_experts;
    const void *data;                /* as the backend's upload gave it: the CPU uses the file's mapping */
    const float *scales;             /* each matrix's products are multiplied by its own; NULL: by 1 */
    const struct lora_delta *deltas; /* what adapters add (lora.h); NULL: nothing */
};

/* What the machine can do at best, measured: bytes and operations a second (a product and its addition are
 * two). 0: not known, or nothing of the kind. */
struct backend_limits {
    double read, read_one; /* memory, by all threads and by one */
    double integers;       /* products of bytes */
    double halves;         /* of bfloat16 */
    double floats;
};

/* What the products of a type are made of. */
enum backend_unit { UNIT_FLOATS, UNIT_HALVES, UNIT_INTEGERS, BACKEND_UNITS };

struct backend_ops {
    const char *name;
    void (*free)(struct backend *b);
    /* The instruction set or device in use, such as "avx2". */
    const char *(*isa)(const struct backend *b);
    /* Makes bytes of the host, which stay where they are until the backend is freed, usable by programs. */
    int (*upload)(struct backend *b, const void *host, size_t bytes, const void **out, struct error *err);
    /* Can matrices of this type be multiplied and looked up? */
    bool (*supports)(const struct backend *b, enum tensor_type type);
    /* Zeroed memory for the state of sequences; what is never touched costs nothing. */
    int (*buffer_create)(struct backend *b, size_t bytes, void **out, struct error *err);
    void (*buffer_free)(struct backend *b, void *buffer, size_t bytes);
    /* From a buffer, or the host's memory, to another, while no program runs. */
    void (*copy)(void *to, const void *from, size_t bytes);
    /* Takes a finished program, reserves the memory that it needs. The program must live until sync. */
    int (*encode)(struct backend *b, struct program *p, struct error *err);
    int (*submit)(struct backend *b, struct error *err);
    int (*sync)(struct backend *b, struct error *err);
    /* Takes about half a second, while no program runs. */
    int (*limits)(struct backend *b, struct backend_limits *out, struct error *err);
    enum backend_unit (*unit)(const struct backend *b, enum tensor_type type);
    /* What keys and values are best kept in, in 16 bits each. */
    enum tensor_type (*kv_type)(const struct backend *b);
};

struct backend {
    const struct backend_ops *ops;
};

/* `n_threads` 0: as many as there are cores to run on. The threads start here, so create it before a sandbox
 * forbids that. The environment's WEIR_ISA (scalar, avx2, avx512, neon) forces a lesser instruction set. */
int backend_cpu_create(int32_t n_threads, struct backend **out, struct error *err) MUST_USE;
void backend_free(struct backend *b); /* NULL is allowed */
const char *backend_isa(const struct backend *b);

#endif
