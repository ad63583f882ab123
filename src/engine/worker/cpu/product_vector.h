/* Vectors of LANES 32-bit words, in the compiler's own terms (GCC's vector extensions, which clang shares):
 * what product_types.h does to bytes and floats is the same for every instruction set. The including file
 * defines LANES, and TOGETHER: columns whose sums are begun together, so that while one waits for its
 * products, the others' fill the units. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_VECTOR_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_VECTOR_H

#include <math.h>
#include <string.h>

#include "engine/worker/cpu/product.h"
#include "engine/worker/tensor_dequant.h"
#include "engine/worker/tensor_half.h"

/* The loop that follows has a few rounds, all of which are written out. */
#if defined(UNROLLED)
#elif defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 12")
#endif

/* One that is not to be written out, for what is decoded of it has to stay where the core keeps it. */
#if defined(__clang__)
#define ROLLED _Pragma("nounroll")
#else
#define ROLLED _Pragma("GCC unroll 1")
#endif

#define INLINE static inline __attribute__((always_inline))

typedef uint32_t vwords __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t vints __attribute__((vector_size(4 * LANES), may_alias));
typedef float vfloats __attribute__((vector_size(4 * LANES), may_alias));

/* What a weight's bytes may be: how many products of them and a signed byte fit into 16 bits. */
enum range { RANGE_15, RANGE_31, RANGE_63, RANGE_255, RANGE_SIGNED };

/* A block of 32 values of LANES rows: word i of row r is lane r of v[i]. Scale
 * and minimum are the row's, of the block or of each half of it. SCALES_IN_DOTS: a half's scale is scale[0]
 * times a number of 16 bits, which is twice in scales[half], its minimum min[0] times the low or the high 16
 * bits of mins. SIGNED_BY_OFFSET: zero is what has to be added where scales multiply sums that began
 * with SUM_ZERO. */
struct unpacked {
    vwords v[8];
    vfloats scale[2], min[2], zero;
    vwords scales[2], mins;
};

/* (0 + x would be an addition: of -0 it makes 0.) */
INLINE vfloats splat(float x)
{
    return x - (vfloats){0};
}

/* What is in `v` is not known to the compiler from here on, so that what is made of it is made each time. */
#if defined(OPAQUE)
#elif defined(__x86_64__)
#define OPAQUE(v) __asm__ volatile("" : "+v"(v))
#elif defined(__aarch64__)
#define OPAQUE(v) __asm__ volatile("" : "+w"(v))
#else
#define OPAQUE(v) __asm__ volatile("" : "+m"(v))
#endif

INLINE uint32_t read_word(const uint8_t *at)
{
    uint32_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

INLINE uint16_t read_short(const uint8_t *at)
{
    uint16_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

INLINE vwords rows_word(const uint8_t *const *rows, size_t at)
{
    vwords w;
    for (int r = 0; r < LANES; r++)
        w[r] = read_word(rows[r] + at);
    return w;
}

#endif
