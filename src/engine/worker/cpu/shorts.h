/* Attention's products on integers of 16 bits, which a CPU with VNNI multiplies twice as fast as floats. Keys
 * and values are F16 as they stand in the cache. Each row is made integers by a power of two of its own, so
 * that of its larger values all eleven bits stay; a query by its length; the softmax's terms by their sum in
 * a tile of positions, after a value's power of two has gone into its term. So no sum of a tile is rounded,
 * nor does one leave 32 bits, whatever the values (of what is no number the result is none, either):
 *
 *   keys (pairs of values)       x  queries  ->  scores  ->  terms (pairs of positions)
 *   values (pairs of positions)  x  terms    ->  added to out
 *
 * A row's integers depend on that row alone, a query's results on it and on what it sees. */
#ifndef WEIR_ENGINE_WORKER_CPU_SHORTS_H
#define WEIR_ENGINE_WORKER_CPU_SHORTS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SHORT_QUERIES = 16,   /* that go together */
    SHORT_FEW = 8,        /* where there are no more */
    SHORT_POSITIONS = 64, /* of a tile */
    SHORT_ROWS = 8,       /* of it at once */
    SHORT_WIDTH = 1024,   /* of keys, at most, lest rounding a query takes a sum out of 32 bits */
    SHORT_VALUES = 32,    /* a row is filled up to a multiple of it; value i of these stands beside i + 16 */
    SHORT_RUN = 32,       /* pairs of a key that stand together */
    SHORT_KEY_BITS = 13,  /* besides the sign */
    SHORT_VALUE_BITS = 15,
    SHORT_TERM = 32767,
    SHORT_TERMS = 65000 /* their sum before they are rounded, so that with any values it is under 2^31 */
};

/* A tile of positions. */
struct short_tile {
    uint32_t *keys;     /* [SHORT_RUN pairs][position][SHORT_RUN] */
    float *key_scale;   /* [position] */
    uint32_t *values;   /* [pair of positions][width, filled up]: 0 and 16, 1 and 17, ..; then from 32 on */
    float *value_power; /* [position]: what 1 of its values is, as a power of two */
    float *value_back;  /* [position]: one by that */
};

/* Of sixteen queries: what each sees of the tile, [first, last) (NULL: all of it), and how far it is, by
 * powers of two. */
struct short_queries {
    const int32_t *first, *last;
    float *most, *sums;
};

/* Where terms stand: how far it is from one pair of positions to the next, from one query to the next. */
struct short_steps {
    int64_t pair, query;
};
#define SHORT_TERMS_MANY ((struct short_steps){SHORT_QUERIES, 1})
#define SHORT_TERMS_FEW ((struct short_steps){1, SHORT_POSITIONS / 2})

struct short_unit {
    /* The columns from `to` on, `stride` apart, of sixteen queries; their scores' scale, times `scale`. */
    void (*queries)(
        uint32_t *to, int64_t stride, float *scales, const float *const *rows, int64_t width, float scale);
    /* The rows of SHORT_ROWS positions from `at` on; those of `at` and of at + 16. */
    void (*keys)(const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width);
    void (*values)(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
        const uint8_t *const *beside, int64_t width);
    /* scores[group][position][query]: powers of two of `groups` times sixteen queries, those of their values
     * with them. `pairs`: of a row. */
    void (*scores)(float *scores, const struct short_tile *t, const uint32_t *queries, int64_t stride,
        const float *scales, int64_t pairs, int64_t groups);
    /* Scores of sixteen queries, which are lost, become terms[pair of positions][query]. What was summed
     * before is to be multiplied by less[query], what the tile adds by more[query]. */
    void (*terms)(uint32_t *terms, float *less, float *more, float *scores, const struct short_tile *t,
        const struct short_queries *q);
    /* out[query * width + i] times less[query] += more[query] x terms by values, of n queries. */
    void (*mix)(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
        const uint32_t *values, int64_t n);
    /* The same for n queries, at most SHORT_FEW (there is room for so many), in another order:
     * scores[query][position], terms[query][pair of positions]. */
    void (*few_scores)(float *scores, const struct short_tile *t, const uint32_t *queries, int64_t stride,
        const float *scales, int64_t pairs, int64_t n);
    void (*few_terms)(uint32_t *terms, float *less, float *more, const float *scores,
        const struct short_tile *t, const struct short_queries *q, int64_t n);
    void (*few_mix)(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
        const uint32_t *values, int64_t n);
};

#define SHORT_LOG2_E 1.44269504f

extern const struct short_unit shorts_scalar;
#if defined(__x86_64__)
extern const struct short_unit shorts_avx512vnni;
#endif

/* How long a query is as integers: so that its product with any key of that width is under 2^31. */
static inline float short_query_length(int64_t width)
{
    return fminf(32767, 2.14e9f / (float)(1 << SHORT_KEY_BITS) / sqrtf((float)width));
}

/* What a query is multiplied by to be `most` long. 0: it is so short that squares may have been lost of its
 * length, and its scores are nothing. */
static inline float short_query_scale(float length, float most)
{
    return length > 1e-15f ? most / length : 0;
}

static inline int64_t short_pairs(int64_t width)
{
    return (width + SHORT_VALUES - 1) / SHORT_VALUES * (SHORT_VALUES / 2);
}

static inline int64_t short_runs(int64_t width)
{
    return (short_pairs(width) + SHORT_RUN - 1) / SHORT_RUN;
}

#endif
