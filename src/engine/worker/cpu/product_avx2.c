/* AVX2 with FMA and F16C: bytes are multiplied in pairs to 16 bits, which several products share before they
 * are widened, as many as cannot overflow. */
#if defined(__AVX2__)
#include "engine/worker/cpu/product_avx2.h"

/* Two sets of rows share what is fetched of a column. */
enum { SETS = 2 };
#define SIGNED_BY_OFFSET 0

#if defined(__clang__)
#define IN_ORDER(v)
#else
#define IN_ORDER(v) OPAQUE(v)
#endif

/* Pairs of products of unsigned bytes up to `range` and a signed byte: 2 * 15 * 127 * 8 < 2^15, and so on. */
INLINE int pairs_that_fit(enum range range)
{
    return range == RANGE_15 ? 8 : range == RANGE_31 ? 4 : range == RANGE_63 ? 2 : 1;
}

/* Of word i. Signed weights give their sign to the column's byte: |w| * sign(w) x. 2 * 128 * 127 < 2^15. */
INLINE __m256i pair_products(const struct unpacked *u, const struct x_block *x, int i, enum range range)
{
    const __m256i w = (__m256i)u->v[i], word = column_word(x->q + 4 * i);
    return range == RANGE_SIGNED ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(word, w))
                                 : _mm256_maddubs_epi16(w, word);
}

/* Eight sums of pairs, or four beside eight of what went before, are what fits registers. */
INLINE int together(const enum range range)
{
    return pairs_that_fit(range) == 4 ? 2 : TOGETHER;
}

/* Word by word over all columns and sets, so that each word of either is fetched once. (Else gcc adds all of
 * it at the end, as a tree that fits no registers; clang does not, and is held up by being told.) */
INLINE void dots(vints *sums, const struct unpacked *u, const int sets, const struct x_block *x,
    const int first, const int count, const int n, const enum range range)
{
    const int fit = pairs_that_fit(range), words = fit == 2 ? 2 : 1;
    __m256i pairs[TOGETHER * SETS];
    for (int i = 0; i < n * sets; i++)
        sums[i] = (vints){0};
    UNROLLED
    for (int i = 0; i < count; i += words)
        for (int c = 0; c < n; c++)
            for (int s = 0; s < sets; s++) {
                __m256i *sum = &pairs[c * sets + s], p = pair_products(&u[s], &x[c], first + i, range);
                if (words == 2)
                    p = _mm256_add_epi16(p, pair_products(&u[s], &x[c], first + i + 1, range));
                *sum = words == 2 || i % fit == 0 ? p : _mm256_add_epi16(*sum, p);
                IN_ORDER(*sum);
                if (words == 1 && i % fit < fit - 1 && i < count - 1)
                    continue;
                sums[c * sets + s] += (vints)_mm256_madd_epi16(*sum, _mm256_set1_epi16(1));
                IN_ORDER(sums[c * sets + s]);
            }
}

#define SCALES_IN_DOTS

/* The dots of both halves, each times its scale, which costs nothing where pairs are widened. */
INLINE void scaled_dots(vints *sums, const struct unpacked *u, const int sets, const struct x_block *x,
    const int n, const enum range range)
{
    const int words = range == RANGE_15 ? 4 : 2;
    for (int i = 0; i < n * sets; i++)
        sums[i] = (vints){0};
    UNROLLED
    for (int i = 0; i < 8; i += words)
        for (int c = 0; c < n; c++)
            for (int s = 0; s < sets; s++) {
                __m256i p = pair_products(&u[s], &x[c], i, range);
                for (int w = 1; w < words; w++)
                    p = _mm256_add_epi16(p, pair_products(&u[s], &x[c], i + w, range));
                sums[c * sets + s] += (vints)_mm256_madd_epi16(p, (__m256i)u[s].scales[i / 4]);
                IN_ORDER(sums[c * sets + s]);
            }
}

/* Of the numbers of 16 bits in each lane. */
INLINE vints pair_dot(vwords pairs, const int16_t x[2])
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return (vints)_mm256_madd_epi16((__m256i)pairs, _mm256_set1_epi32(word));
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    __m256i pairs = _mm256_maddubs_epi16((__m256i)w, (__m256i)x);
    return (vints)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "engine/worker/cpu/product_types.h"

const struct products products_avx2 = {
    .isa = "avx2", .lanes = LANES * SETS, .quantize = quantize, .of = PRODUCTS, .peak = peak};

#else
typedef int product_avx2_elsewhere; /* ISO C wants something in every file */
#endif
