/* AVX2 with FMA and F16C. Quantised bytes are unpacked 32 at a time and widened to 8 floats. */
#if defined(__AVX2__)
#include "engine/worker/cpu/product_avx2.h"

#define EIGHT_HALVES

/* In each half of the vectors, eight rows of eight halves are turned round: into one of each row. */
INLINE void turn_halves(__m256i v[8])
{
    __m256i b[8];
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_epi16(v[i], v[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        const int from = i / 2 * 4 + i % 2;
        v[2 * i] = _mm256_unpacklo_epi32(b[from], b[from + 2]);
        v[2 * i + 1] = _mm256_unpackhi_epi32(b[from], b[from + 2]);
    }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi64(v[i], v[i + 4]);
        b[2 * i + 1] = _mm256_unpackhi_epi64(v[i], v[i + 4]);
    }
    for (int i = 0; i < 8; i++)
        v[i] = b[i];
}

/* Rows 0 to 7 in the low halves, 8 to 15 in the high ones. */
INLINE void eight_halves(float *tile, const uint8_t *const *rows, size_t at)
{
    __m256i v[8];
    for (int r = 0; r < 8; r++)
        v[r] = load_two(rows[r] + at, rows[r + 8] + at);
    turn_halves(v);
    for (int i = 0; i < 8; i++) {
        _mm256_storeu_ps(tile + 16 * i, _mm256_cvtph_ps(_mm256_castsi256_si128(v[i])));
        _mm256_storeu_ps(tile + 16 * i + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(v[i], 1)));
    }
}

#define FOUR_SUMS

/* acc[i] += the sum of all lanes of v[i * stride] */
INLINE void four_sums(float *acc, const vfloats *v, int stride)
{
    const __m256 a = (__m256)v[0], b = (__m256)v[stride], c = (__m256)v[2 * stride],
                 d = (__m256)v[3 * stride];
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const __m256 sums = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    _mm_storeu_ps(acc, _mm_add_ps(_mm_loadu_ps(acc), four));
}

/* clang-format off: the vectors first */
#include "engine/worker/cpu/kernels_common.h"
#include "engine/worker/cpu/kernels_float.h"
#include "engine/worker/cpu/kernels_tile.h"
/* clang-format on */

/* All ones in the first `left` lanes. */
static __m256i tail_mask(int64_t left)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < LANES ? (int)left : LANES), index);
}

/* Four sums hide the latency of the additions. */
static float dot(const float *a, const float *b, int64_t n)
{
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            s[j] =
                _mm256_fmadd_ps(_mm256_loadu_ps(a + i + j * LANES), _mm256_loadu_ps(b + i + j * LANES), s[j]);
    for (; i < n; i += LANES) {
        __m256i m = tail_mask(n - i);
        s[0] = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, m), _mm256_maskload_ps(b + i, m), s[0]);
    }
    float lanes[LANES];
    _mm256_storeu_ps(lanes, _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    return common_lane_sum(lanes);
}

static void avx2_dot_rows(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width)
{
    for (int64_t r = 0; r < n_rows; r++)
        out[r] = dot(rows + r * width, x, width);
}

/* 32 columns at a time, their sums in registers while the rows go by; then 8 at a time with a mask. */
static void avx2_mix_rows(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES) {
        __m256 s[4];
        for (int v = 0; v < 4; v++)
            s[v] = _mm256_loadu_ps(y + i + v * LANES);
        for (int64_t r = 0; r < n_rows; r++) {
            const float *row = rows + r * width + i;
            __m256 weight = _mm256_set1_ps(weights[r]);
            for (int v = 0; v < 4; v++)
                s[v] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(row + v * LANES), s[v]);
        }
        for (int v = 0; v < 4; v++)
            _mm256_storeu_ps(y + i + v * LANES, s[v]);
    }
    for (; i < width; i += LANES) {
        __m256i m = tail_mask(width - i);
        __m256 s = _mm256_maskload_ps(y + i, m);
        for (int64_t r = 0; r < n_rows; r++)
            s = _mm256_fmadd_ps(_mm256_set1_ps(weights[r]), _mm256_maskload_ps(rows + r * width + i, m), s);
        _mm256_maskstore_ps(y + i, m, s);
    }
}

/* The low 8 signed bytes to floats. */
static inline __m256 widen(__m128i bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* to[0..15] = scale * bytes - offset */
static inline void store_scaled_16(float *to, __m128i bytes, float scale, float offset)
{
    __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
    _mm256_storeu_ps(to, _mm256_fmsub_ps(widen(bytes), s, o));
    _mm256_storeu_ps(to + 8, _mm256_fmsub_ps(widen(_mm_srli_si128(bytes, 8)), s, o));
}

static inline void store_scaled_32(float *to, __m256i bytes, float scale, float offset)
{
    store_scaled_16(to, _mm256_castsi256_si128(bytes), scale, offset);
    store_scaled_16(to + 16, _mm256_extracti128_si256(bytes, 1), scale, offset);
}

static inline __m256i load_32(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static void floats_of_f16(const uint8_t *from, float *to, int64_t count)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(
            to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + 2 * i))));
    for (; i < count; i++)
        to[i] = read_half(from + 2 * i);
}

static void floats_of_bf16(const uint8_t *from, float *to, int64_t count)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(from + 2 * i));
        _mm256_storeu_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16)));
    }
    for (; i < count; i++) {
        uint16_t b;
        memcpy(&b, from + 2 * i, sizeof b);
        to[i] = tensor_float_from_bf16(b);
    }
}

static void read_q8_0(const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i += 32, from += 34)
        store_scaled_32(to + i, load_32(from + 2), read_half(from), 0);
}

static void read_q4_0(const uint8_t *from, float *to, int64_t count)
{
    const __m256i nibble = _mm256_set1_epi8(15), eight = _mm256_set1_epi8(8);
    for (int64_t i = 0; i < count; i += 32, from += 18) {
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(from + 2));
        __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(q), _mm_srli_epi16(q, 4), 1);
        store_scaled_32(to + i, _mm256_sub_epi8(_mm256_and_si256(both, nibble), eight), read_half(from), 0);
    }
}

/* The eight 6-bit scales, then the eight minima, of a Q4_K or Q5_K block (layout: tensor_dequant_k.c). */
static inline void k_scales(const uint8_t *block, float out[16])
{
    uint32_t p[3];
    memcpy(p, block + 4, sizeof p);
    uint32_t words[4] = {p[0] & 0x3F3F3F3F, (p[2] & 0x0F0F0F0F) | (p[0] >> 6 & 0x03030303) << 4,
        p[1] & 0x3F3F3F3F, (p[2] >> 4 & 0x0F0F0F0F) | (p[1] >> 6 & 0x03030303) << 4};
    __m128i packed = _mm_loadu_si128((const __m128i *)(const void *)words);
    __m256 scales = _mm256_mul_ps(widen(packed), _mm256_set1_ps(read_half(block)));
    __m256 minima = _mm256_mul_ps(widen(_mm_srli_si128(packed, 8)), _mm256_set1_ps(read_half(block + 2)));
    _mm256_storeu_ps(out, scales);
    _mm256_storeu_ps(out + 8, minima);
}

static void read_q4_k(const uint8_t *from, float *to, int64_t count)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int64_t i = 0; i < count; i += 256, from += 144, to += 256) {
        float s[16];
        k_scales(from, s);
        for (int j = 0; j < 8; j += 2) {
            __m256i q = load_32(from + 16 + 16 * j);
            store_scaled_32(to + 32 * j, _mm256_and_si256(q, nibble), s[j], s[j + 8]);
            store_scaled_32(
                to + 32 * j + 32, _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble), s[j + 1], s[j + 9]);
        }
    }
}

static void read_q5_k(const uint8_t *from, float *to, int64_t count)
{
    const __m256i nibble = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
    for (int64_t i = 0; i < count; i += 256, from += 176, to += 256) {
        float s[16];
        k_scales(from, s);
        __m256i high = load_32(from + 16);
        for (int j = 0; j < 8; j++) {
            __m256i q = load_32(from + 48 + j / 2 * 32), bit = _mm256_set1_epi8((char)(1 << j));
            __m256i low = _mm256_and_si256(j % 2 ? _mm256_srli_epi16(q, 4) : q, nibble);
            __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(high, bit), bit);
            store_scaled_32(
                to + 32 * j, _mm256_or_si256(low, _mm256_and_si256(set, sixteen)), s[j], s[j + 8]);
        }
    }
}

/* Values 32j .. 32j+31 of a half block: nibbles of `low`, two bits of `high`, less 32. */
static inline __m256i q6_bytes(const uint8_t *low, __m256i high, int j)
{
    const __m256i nibble = _mm256_set1_epi8(15), top = _mm256_set1_epi8(0x30);
    __m256i q = load_32(low + j % 2 * 32);
    q = _mm256_and_si256(j >= 2 ? _mm256_srli_epi16(q, 4) : q, nibble);
    __m256i h = j < 2 ? _mm256_slli_epi16(high, 4 - 2 * j) : _mm256_srli_epi16(high, 2 * j - 4);
    q = _mm256_or_si256(q, _mm256_and_si256(h, top));
    return _mm256_sub_epi8(q, _mm256_set1_epi8(32));
}

static void read_q6_k(const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i += 256, from += 210) {
        float d = read_half(from + 208);
        const uint8_t *scale = from + 192;
        for (int j = 0; j < 8; j++, to += 32) {
            __m256i high = load_32(from + 128 + j / 4 * 32), bytes = q6_bytes(from + j / 4 * 64, high, j % 4);
            store_scaled_16(to, _mm256_castsi256_si128(bytes), d * (float)(int8_t)scale[2 * j], 0);
            store_scaled_16(
                to + 16, _mm256_extracti128_si256(bytes, 1), d * (float)(int8_t)scale[2 * j + 1], 0);
        }
    }
}

/* All but the products: what a CPU has of these says nothing of its integer instructions. */
#define AVX2_FLOATS                                                                                          \
    .dequantize = {[TENSOR_F16] = floats_of_f16,                                                             \
        [TENSOR_BF16] = floats_of_bf16,                                                                      \
        [TENSOR_Q8_0] = read_q8_0,                                                                           \
        [TENSOR_Q4_0] = read_q4_0,                                                                           \
        [TENSOR_Q4_K] = read_q4_k,                                                                           \
        [TENSOR_Q5_K] = read_q5_k,                                                                           \
        [TENSOR_Q6_K] = read_q6_k},                                                                          \
    FLOAT_PRODUCTS, TILE_PRODUCTS, .dot_rows = avx2_dot_rows, .mix_rows = avx2_mix_rows, .add = common_add,  \
    .rms_norm = common_rms_norm, .glu = common_glu, .gelu = common_gelu, .geglu = common_geglu,              \
    .glu_clamped = common_glu_clamped, .softcap = common_softcap

const struct kernels kernels_avx2 = {.isa = "avx2", .products = &products_avx2, AVX2_FLOATS};
const struct kernels kernels_avxvnni = {.isa = "avxvnni", .products = &products_avxvnni, AVX2_FLOATS};

#else
typedef int kernels_avx2_elsewhere; /* ISO C wants something in every file */
#endif
