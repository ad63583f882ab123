/* Codebooks for writers: which point has given codes, and which points are near where none has (inside the
 * tensor code). A key is codes side by side as tensor_grid.h has them. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_CODEBOOK_H
#define WEIR_ENGINE_WORKER_TENSOR_CODEBOOK_H

#include <stdint.h>

enum tensor_codebook_kind {
    TENSOR_CODEBOOK_IQ1,
    TENSOR_CODEBOOK_IQ2_XXS,
    TENSOR_CODEBOOK_IQ2_XS,
    TENSOR_CODEBOOK_IQ2_S,
    TENSOR_CODEBOOK_IQ3_XXS,
    TENSOR_CODEBOOK_IQ3_S,
    TENSOR_CODEBOOKS
};

struct tensor_codebook {
    const uint16_t *points;
    int n_points;
    int group, bits, codes; /* codes of a point, bits of a code, values of a code: 0..codes-1 */
    int shells;             /* distances that count as near */
    int32_t *map;           /* [65536]: the point of a key, or -1 - where in `near` its neighbours are */
    uint16_t *near;         /* how many, then their points, the nearest first */
};

/* Made when it is first asked for, which takes some 50 ms, and kept; any thread may ask. NULL: no memory. */
const struct tensor_codebook *tensor_codebook(enum tensor_codebook_kind kind);

#endif
