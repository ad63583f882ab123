/* Tensors as GGUF files hold them: up to four dimensions, the first varies fastest; rows of blocks. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_H
#define WEIR_ENGINE_WORKER_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

/* Numbers are the file's (ggml's). Gaps are types removed from the format. */
enum tensor_type {
    TENSOR_F32 = 0, TENSOR_F16 = 1, TENSOR_Q4_0 = 2, TENSOR_Q4_1 = 3, TENSOR_Q5_0 = 6, TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8, TENSOR_Q8_1 = 9, TENSOR_Q2_K = 10, TENSOR_Q3_K = 11, TENSOR_Q4_K = 12, TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14, TENSOR_Q8_K = 15, TENSOR_IQ2_XXS = 16, TENSOR_IQ2_XS = 17, TENSOR_IQ3_XXS = 18,
    TENSOR_IQ1_S = 19, TENSOR_IQ4_NL = 20, TENSOR_IQ3_S = 21, TENSOR_IQ2_S = 22, TENSOR_IQ4_XS = 23,
    TENSOR_I8 = 24, TENSOR_I16 = 25, TENSOR_I32 = 26, TENSOR_I64 = 27, TENSOR_F64 = 28, TENSOR_IQ1_M = 29,
    TENSOR_BF16 = 30, TENSOR_TQ1_0 = 34, TENSOR_TQ2_0 = 35, TENSOR_MXFP4 = 39, TENSOR_NVFP4 = 40, TENSOR_Q1_0 = 41,
    TENSOR_Q2_0 = 42,
    TENSOR_TYPES = 43
};

struct tensor_type_info {
    const char *name;       /* NULL for a number that names no type */
    uint32_t block_values;  /* values in a block */
    uint32_t block_bytes;
};

enum { TENSOR_DIMS = 4, TENSOR_NAME_MAX = 128 };

struct tensor {
    struct str name;
    enum tensor_type type;
    uint32_t n_dims;
    int64_t shape[TENSOR_DIMS]; /* unused dimensions are 1 */
    const void *data;           /* NULL until the bytes are known to lie inside the file */
    size_t bytes;
};

const struct tensor_type_info *tensor_type_info(uint32_t type); /* NULL for an unknown or removed number */
size_t tensor_row_bytes(enum tensor_type type, int64_t values); /* values: a multiple of block_values */
int64_t tensor_rows(const struct tensor *t);                    /* product of all dimensions but the first */
/* Dequantises `count` values (whole blocks) of one type to float, to the bit as the format's reference does.
 * ERROR_UNSUPPORTED for a type that this build cannot read, by name. */
int tensor_dequantize(enum tensor_type type, const void *from, float *to, int64_t count, struct error *err) MUST_USE;
bool tensor_type_readable(enum tensor_type type);

#endif
