/* AVX-512 (F, BW, DQ, VL). Quantised bytes are unpacked 32 at a time and widened to 16 floats. */
#if defined(__AVX512F__)
#include "engine/worker/cpu/product_avx512.h"
#define TERM_LANES
/* clang-format off: the vectors first */
#include "engine/worker/cpu/term_avx512.h"
/* clang-format on */

INLINE float largest_lane(vfloats v)
{
    return _mm512_reduce_max_ps((__m512)v);
}

INLINE float sum_lanes(vfloats v)
{
    return _mm512_reduce_add_ps((__m512)v);
}

#define EIGHT_HALVES

/* Eight halves of sixteen rows: the low halves of a word's rows, then the high ones, are made floats
 * together. */
INLINE void eight_halves(float *tile, const uint8_t *const *rows, size_t at)
{
    const __m512i low_high = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30,
        28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    vwords w[4];
    rows_16(w, rows, at);
    for (int i = 0; i < 4; i++) {
        const __m512i halves = _mm512_permutexvar_epi16(low_high, (__m512i)w[i]);
        _mm512_storeu_ps(tile + 32 * i, _mm512_cvtph_ps(_mm512_castsi512_si256(halves)));
        _mm512_storeu_ps(tile + 32 * i + 16, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)));
    }
}

/* clang-format off: the vectors first */
#include "engine/worker/cpu/kernels_common.h"
#include "engine/worker/cpu/kernels_float.h"
#include "engine/worker/cpu/kernels_tile.h"
/* clang-format on */

static __mmask16 tail_mask(int64_t left)
{
    return (__mmask16)(left >= LANES ? 0xFFFF : (1u << left) - 1);
}

/* Two sums hide the latency of the additions. */
static float dot(const float *a, const float *b, int64_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + LANES), _mm512_loadu_ps(b + i + LANES), s1);
    }
    for (; i < n; i += LANES) {
        __mmask16 m = tail_mask(n - i);
        s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

static void avx512_dot_rows(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++)
        out[r] = dot(rows + r * width, x, width);
}

/* Columns 16 * n_vectors at a time, their sums in registers while the rows go by; the last may be cut by a
 * mask. */
static inline __attribute__((always_inline)) void mix_columns(float *y, const float *rows,
    const float *weights, int64_t n_rows, int64_t width, const int n_vectors, __mmask16 last)
{
    __m512 s[4];
    for (int v = 0; v < n_vectors; v++)
        s[v] = _mm512_maskz_loadu_ps(v == n_vectors - 1 ? last : (__mmask16)0xFFFF, y + v * LANES);
    for (int64_t r = 0; r < n_rows; r++) {
        __m512 weight = _mm512_set1_ps(weights[r]);
        for (int v = 0; v < n_vectors; v++) {
            __mmask16 m = v == n_vectors - 1 ? last : (__mmask16)0xFFFF;
            s[v] = _mm512_fmadd_ps(weight, _mm512_maskz_loadu_ps(m, rows + r * width + v * LANES), s[v]);
        }
    }
    for (int v = 0; v < n_vectors; v++)
        _mm512_mask_storeu_ps(y + v * LANES, v == n_vectors - 1 ? last : (__mmask16)0xFFFF, s[v]);
}

static void avx512_mix_rows(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        mix_columns(y + i, rows + i, weights, n_rows, width, 4, (__mmask16)0xFFFF);
    for (; i < width; i += LANES)
        mix_columns(y + i, rows + i, weights, n_rows, width, 1, tail_mask(width - i));
}

/* 16 signed bytes to floats. */
static inline __m512 widen(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/* to[0..31] = scale * bytes - offset */
static inline void store_scaled(float *to, __m256i bytes, __m512 scale, __m512 offset)
{
    __m512 low = widen(_mm256_castsi256_si128(bytes)), high = widen(_mm256_extracti128_si256(bytes, 1));
    _mm512_storeu_ps(to, _mm512_fmsub_ps(low, scale, offset));
    _mm512_storeu_ps(to + 16, _mm512_fmsub_ps(high, scale, offset));
}

static void floats_of_f16(const uint8_t *from, float *to, int64_t count)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(
            to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(from + 2 * i))));
    for (; i < count; i++)
        to[i] = read_half(from + 2 * i);
}

static void halve(uint8_t *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) {
        const __mmask16 m = tail_mask(n - i);
        const __m512 x = _mm512_maskz_loadu_ps(m, from + i);
        _mm256_mask_storeu_epi16(
            to + 2 * i, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}

static void floats_of_bf16(const uint8_t *from, float *to, int64_t count)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(from + 2 * i));
        _mm512_storeu_ps(to + i, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)));
    }
    for (; i < count; i++) {
        uint16_t b;
        memcpy(&b, from + 2 * i, sizeof b);
        to[i] = tensor_float_from_bf16(b);
    }
}

static void read_q8_0(const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i += 32, from += 34) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(from + 2));
        store_scaled(to + i, bytes, _mm512_set1_ps(read_half(from)), _mm512_setzero_ps());
    }
}

static void read_q4_0(const uint8_t *from, float *to, int64_t count)
{
    const __m256i nibble = _mm256_set1_epi8(15), eight = _mm256_set1_epi8(8);
    for (int64_t i = 0; i < count; i += 32, from += 18) {
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(from + 2));
        __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(q), _mm_srli_epi16(q, 4), 1);
        __m256i bytes = _mm256_sub_epi8(_mm256_and_si256(both, nibble), eight);
        store_scaled(to + i, bytes, _mm512_set1_ps(read_half(from)), _mm512_setzero_ps());
    }
}

/* The eight 6-bit scales, then the eight minima, of a Q4_K or Q5_K block (layout: tensor_dequant_k.c). */
static inline void unpack_scales(const uint8_t *packed, uint8_t out[16])
{
    uint32_t p[3];
    memcpy(p, packed, sizeof p);
    uint32_t words[4] = {p[0] & 0x3F3F3F3F, (p[2] & 0x0F0F0F0F) | (p[0] >> 6 & 0x03030303) << 4,
        p[1] & 0x3F3F3F3F, (p[2] >> 4 & 0x0F0F0F0F) | (p[1] >> 6 & 0x03030303) << 4};
    memcpy(out, words, sizeof words);
}

/* scales[0..7] then minima[0..7] as floats, multiplied out. */
static inline void k_scales(const uint8_t *block, float out[16])
{
    uint8_t packed[16];
    unpack_scales(block + 4, packed);
    __m512 values =
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(void *)packed)));
    __m512 d =
        _mm512_mask_blend_ps(0xFF00, _mm512_set1_ps(read_half(block)), _mm512_set1_ps(read_half(block + 2)));
    _mm512_storeu_ps(out, _mm512_mul_ps(values, d));
}

/* 16 bytes whose low nibbles are values of one run of 32, the high ones of the next: `scale` and `offset` of
 * both. */
static inline void store_nibbles(float *to, const uint8_t *q, const float *scale, const float *offset)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q));
    __m512 low = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
    __m512 high = _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
    _mm512_storeu_ps(to, _mm512_fmsub_ps(low, _mm512_set1_ps(scale[0]), _mm512_set1_ps(offset[0])));
    _mm512_storeu_ps(to + 32, _mm512_fmsub_ps(high, _mm512_set1_ps(scale[1]), _mm512_set1_ps(offset[1])));
}

static void read_q4_k(const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i += 256, from += 144, to += 256) {
        float s[16];
        k_scales(from, s);
        for (int j = 0; j < 8; j += 2) {
            store_nibbles(to + 32 * j, from + 16 + 16 * j, s + j, s + j + 8);
            store_nibbles(to + 32 * j + 16, from + 32 + 16 * j, s + j, s + j + 8);
        }
    }
}

static void read_q5_k(const uint8_t *from, float *to, int64_t count)
{
    const __m256i nibble = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
    for (int64_t i = 0; i < count; i += 256, from += 176, to += 256) {
        float s[16];
        k_scales(from, s);
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(from + 16));
        for (int j = 0; j < 8; j++) {
            __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)(from + 48 + j / 2 * 32));
            __m256i low = _mm256_and_si256(j % 2 ? _mm256_srli_epi16(q, 4) : q, nibble);
            __mmask32 set = _mm256_test_epi8_mask(high, _mm256_set1_epi8((char)(1 << j)));
            __m256i bytes = _mm256_mask_add_epi8(low, set, low, sixteen);
            store_scaled(to + 32 * j, bytes, _mm512_set1_ps(s[j]), _mm512_set1_ps(s[j + 8]));
        }
    }
}

/* Values 32j .. 32j+31 of a half block: nibbles of `low`, two bits of `high`, less 32. */
static inline __m256i q6_bytes(const uint8_t *low, __m256i high, int j)
{
    const __m256i nibble = _mm256_set1_epi8(15), top = _mm256_set1_epi8(0x30);
    __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)(low + j % 2 * 32));
    q = _mm256_and_si256(j >= 2 ? _mm256_srli_epi16(q, 4) : q, nibble);
    __m256i h = j < 2 ? _mm256_slli_epi16(high, 4 - 2 * j) : _mm256_srli_epi16(high, 2 * j - 4);
    q = _mm256_or_si256(q, _mm256_and_si256(h, top));
    return _mm256_sub_epi8(q, _mm256_set1_epi8(32));
}

static void read_q6_k(const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i += 256, from += 210) {
        __m512 d = _mm512_set1_ps(read_half(from + 208));
        float s[16];
        _mm512_storeu_ps(
            s, _mm512_mul_ps(d, widen(_mm_loadu_si128((const __m128i *)(const void *)(from + 192)))));
        for (int j = 0; j < 8; j++, to += 32) {
            __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(from + 128 + j / 4 * 32));
            __m256i bytes = q6_bytes(from + j / 4 * 64, high, j % 4);
            __m512 low = widen(_mm256_castsi256_si128(bytes)),
                   top = widen(_mm256_extracti128_si256(bytes, 1));
            _mm512_storeu_ps(to, _mm512_mul_ps(low, _mm512_set1_ps(s[2 * j])));
            _mm512_storeu_ps(to + 16, _mm512_mul_ps(top, _mm512_set1_ps(s[2 * j + 1])));
        }
    }
}

/* All but the products: what a CPU has of these says nothing of its integer instructions. */
#define AVX512_FLOATS                                                                                        \
    .dequantize = {[TENSOR_F16] = floats_of_f16,                                                             \
        [TENSOR_BF16] = floats_of_bf16,                                                                      \
        [TENSOR_Q8_0] = read_q8_0,                                                                           \
        [TENSOR_Q4_0] = read_q4_0,                                                                           \
        [TENSOR_Q4_K] = read_q4_k,                                                                           \
        [TENSOR_Q5_K] = read_q5_k,                                                                           \
        [TENSOR_Q6_K] = read_q6_k},                                                                          \
    FLOAT_PRODUCTS, TILE_PRODUCTS, .halve = halve, .dot_rows = avx512_dot_rows, .mix_rows = avx512_mix_rows, \
    .add = common_add, .rms_norm = common_rms_norm, .glu = common_glu, .gelu = common_gelu,                  \
    .geglu = common_geglu, .glu_clamped = common_glu_clamped, .softcap = common_softcap

const struct kernels kernels_avx512 = {.isa = "avx512", .products = &products_avx2, AVX512_FLOATS};
const struct kernels kernels_avx512vnni = {
    .isa = "avx512vnni", .products = &products_avx512vnni, .shorts = &shorts_avx512vnni, AVX512_FLOATS};
const struct kernels kernels_amx = {
    .isa = "amx", .products = &products_amx, .matrix = &matrix_amx, AVX512_FLOATS};

#else
typedef int kernels_avx512_elsewhere; /* ISO C wants something in every file */
#endif
