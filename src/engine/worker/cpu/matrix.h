/* Attention's products on a CPU's matrix unit, which multiplies tiles of bfloat16 and adds in float. Keys and
 * values are bfloat16 as they stand in the cache; queries, and the softmax's terms, are floats that are split
 * into their upper part and what that leaves, both bfloat16, so that 16 bits of them count:
 *
 *   (a.high + a.low) b
 *
 * A left tile holds 16 rows of 32 values, a right one 16 columns of them, two side by side in a word:
 *
 *   left[row][word]     right[word][column]     sums[row][column]
 *
 * Each sum depends on its own row and column alone, to the bit. */
#ifndef WEIR_ENGINE_WORKER_CPU_MATRIX_H
#define WEIR_ENGINE_WORKER_CPU_MATRIX_H

#include <stddef.h>
#include <stdint.h>

enum { MATRIX_ROWS = 16, MATRIX_HALF = 8, MATRIX_QUARTER = 4, MATRIX_VALUES = 32, MATRIX_POSITIONS = 64 };

struct matrix_tile {
    uint32_t words[MATRIX_ROWS][MATRIX_ROWS];
};

struct split_tile {
    struct matrix_tile high, low;
};

/* Of so many queries as go together: what each sees of a tile of positions, [first, last) (NULL: all of it),
 * and how far it is. */
struct matrix_queries {
    const int32_t *first, *last;
    float *most, *sums; /* the largest score so far; the sum of all terms, as they are by it */
};

/* `columns` of queries go together: MATRIX_ROWS, or where there are no more of them MATRIX_HALF or
 * MATRIX_QUARTER: a tile that is narrower takes less time. */
struct matrix_unit {
    /* A thread takes the unit, and gives it back. */
    void (*begin)(int32_t columns);
    void (*end)(void);
    /* Right tiles to[0] .. to[steps - 1], whose columns are 16 rows of 32 * steps floats. */
    void (*queries)(struct split_tile *to, const float *const *rows, int64_t steps);
    /* Right tiles of 32 rows (of 32 * steps values) of MATRIX_POSITIONS: to[0] of the even ones of 32 values,
     * to[2] of the odd ones, and so on. */
    void (*values)(struct matrix_tile *to, const uint8_t *const *rows, int64_t steps);
    /* scores[position][query of `columns`] of MATRIX_POSITIONS keys, row_bytes apart. */
    void (*scores)(float *scores, const uint8_t *keys, size_t row_bytes, const struct split_tile *queries,
        int64_t steps, int32_t columns);
    /* Scores become left tiles to[0] and to[1] of the softmax's terms, e^(scale (score - most)). less[query]:
     * what was summed before is to be multiplied by. */
    void (*terms)(struct split_tile *to, float *less, const float *scores, float scale,
        const struct matrix_queries *q, int32_t columns);
    /* out[query * stride + i] times less[query] += terms by values; of 32 i the even ones stand first. */
    void (*mix)(float *out, int64_t stride, const float *less, const struct split_tile *terms,
        const struct matrix_tile *values, int32_t columns);
};

#if defined(__x86_64__)
extern const struct matrix_unit matrix_amx;
#endif

#endif
