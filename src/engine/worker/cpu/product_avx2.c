/* AVX2 with FMA and F16C: bytes are multiplied in pairs to 16 bits, which several products share before they
 * are widened, as many as cannot overflow. */
#if defined(__AVX2__)
#include "engine/worker/cpu/product_avx2.h"

enum { SIGNED_BY_OFFSET = 0 };

/* Pairs of products of unsigned bytes up to `range` and a signed byte: 2 * 15 * 127 * 8 < 2^15, and so on. */
INLINE int pairs_that_fit(enum range range)
{
    return range == RANGE_15 ? 8 : range == RANGE_31 ? 4 : range == RANGE_63 ? 2 : 1;
}

INLINE vwords magnitude(vwords w)
{
    return (vwords)_mm256_abs_epi8((__m256i)w);
}

/* Signed weights give their sign to the column's byte: |w| * sign(w) x. 2 * 128 * 127 < 2^15. */
INLINE __m256i pair_products(vwords w, vwords size, __m256i x, enum range range)
{
    return _mm256_maddubs_epi16((__m256i)size, range == RANGE_SIGNED ? _mm256_sign_epi8(x, (__m256i)w) : x);
}

INLINE vints dot(const vwords *v, const int8_t *x, const int count, const enum range range)
{
    const int fit = pairs_that_fit(range);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < count; i += fit) {
        __m256i s = pair_products(v[i], v[i], column_word(x + 4 * i), range);
        for (int k = i + 1; k < i + fit && k < count; k++)
            s = _mm256_add_epi16(s, pair_products(v[k], v[k], column_word(x + 4 * k), range));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(s, _mm256_set1_epi16(1)));
    }
    return (vints)sum;
}

/* Word by word over all columns, so that the weight's word and its magnitude are fetched once for them.
 * (OPAQUE keeps gcc from adding all of it at the end, as a tree that fits no registers.) */
INLINE void dots_by_word(vints *sums, const vwords *v, const vwords *sizes, const struct x_block *x,
    const int first, const int count, const int n, const enum range range)
{
    const int fit = pairs_that_fit(range);
    __m256i pairs[TOGETHER];
    for (int c = 0; c < n; c++)
        sums[c] = (vints){0};
    UNROLLED
    for (int i = 0; i < count; i++)
        for (int c = 0; c < n; c++) {
            __m256i p = pair_products(v[i], sizes[i], column_word(x[c].q + 4 * (first + i)), range);
            pairs[c] = i % fit == 0 ? p : _mm256_add_epi16(pairs[c], p);
            if (i % fit < fit - 1 && i < count - 1)
                continue;
            sums[c] += (vints)_mm256_madd_epi16(pairs[c], _mm256_set1_epi16(1));
            OPAQUE(sums[c]);
        }
}

/* Where many products share the additions in 16 bits, a column's fit into registers beside the weight's
 * words. */
INLINE void dots(vints *sums, const vwords *v, const vwords *sizes, const struct x_block *x, const int first,
    const int count, const int n, const enum range range)
{
    if (range == RANGE_SIGNED || range == RANGE_63)
        dots_by_word(sums, v, sizes, x, first, count, n, range);
    else
        for (int c = 0; c < n; c++)
            sums[c] = dot(v, x[c].q + 4 * first, count, range);
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    __m256i pairs = _mm256_maddubs_epi16((__m256i)w, (__m256i)x);
    return (vints)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "engine/worker/cpu/product_types.h"

const struct products products_avx2 = {
    .isa = "avx2", .lanes = LANES, .quantize = quantize, .of = PRODUCTS, .peak = peak};

#else
typedef int product_avx2_elsewhere; /* ISO C wants something in every file */
#endif
