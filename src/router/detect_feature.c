#include "router/detect_feature.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

size_t detect_feature_hits_plain(const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n)
{
    size_t hits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = feature_id(m, seeds[i]);
        seeds[hits] = id | (uint64_t)whose[i] << 32; /* nothing foretells whether it stays */
        hits += feature_may_be(m, id);
    }
    return hits;
}

#ifdef __x86_64__
#define WITH_AVX512 __attribute__((target("avx512f,avx512dq")))

WITH_AVX512 static size_t hits_wide(
    const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n)
{
    const __m512i product = _mm512_set1_epi64((long long)m->product), last = _mm512_set1_epi64(m->last),
                  bits = _mm512_set1_epi64(63), one = _mm512_set1_epi64(1);
    size_t hits = 0;
    for (size_t i = 0; i < n; i += 8) {
        const __mmask8 there = (__mmask8)(n - i < 8 ? (1u << (n - i)) - 1 : 0xff);
        __m512i of = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(whose + i)));
        __m512i id = _mm512_srli_epi64(_mm512_mullo_epi64(_mm512_loadu_si512(seeds + i), product), 32);
        __m512i at = _mm512_and_epi64(_mm512_srli_epi64(id, 7), last);
        __m512i word = _mm512_mask_i64gather_epi64(one, there, at, m->words, 8);
        __m512i first = _mm512_srlv_epi64(word, _mm512_and_epi64(_mm512_srli_epi64(id, 1), bits)),
                second = _mm512_srlv_epi64(word, _mm512_and_epi64(_mm512_srli_epi64(id, 20), bits));
        __mmask8 may = _mm512_mask_test_epi64_mask(there, _mm512_and_epi64(first, second), one);
        __m512i hit = _mm512_or_epi64(id, _mm512_slli_epi64(of, 32));
        _mm512_storeu_si512(seeds + hits, _mm512_maskz_compress_epi64(may, hit));
        hits += (size_t)__builtin_popcount(may);
    }
    return hits;
}

bool detect_feature_hits_wide(
    const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n, size_t *hits)
{
    const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (has)
        *hits = hits_wide(m, seeds, whose, n);
    return has;
}
#else
bool detect_feature_hits_wide(
    const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n, size_t *hits)
{
    (void)m;
    (void)seeds;
    (void)whose;
    (void)n;
    (void)hits;
    return false;
}
#endif

size_t detect_feature_hits(const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n)
{
    size_t hits;
    return detect_feature_hits_wide(m, seeds, whose, n, &hits)
               ? hits
               : detect_feature_hits_plain(m, seeds, whose, n);
}
