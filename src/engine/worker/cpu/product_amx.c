/* AMX for bytes and bfloat16, beside AVX-512 with VNNI, VBMI and BF16. Other types
 * are multiplied as in product_avx512vnni.c. */
#if defined(__AMX_BF16__) || defined(__AMXBF16__) /* gcc says the one, clang up to 15 the other */
#include "engine/worker/cpu/product_avx512.h"

INLINE vints add_products(vints sum, vwords w, const int8_t *x)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return (vints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(word));
}

/* sum + the products of pairs of 16 bits. */
INLINE vints pairs_add(vints sum, vwords pairs, const int16_t x[2])
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return (vints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)pairs, _mm512_set1_epi32(word));
}

#define WIDE
/* clang-format off: in this order */
#include "engine/worker/cpu/product_vnni.h"
#include "engine/worker/cpu/product_types.h"
#include "engine/worker/cpu/product_few.h"
#include "engine/worker/cpu/product_amx.h"
#include "engine/worker/cpu/product_groups.h"
#include "engine/worker/cpu/product_split.h"
/* clang-format on */

/* 256 values of a column of the group. */
static void quantize_wide(const struct wide_group *to, int64_t w, int64_t column, const float *x)
{
    const float magic = 12582912.0f; /* as in product_quantize.h */
    int8_t q[WIDE_VALUES];
    int32_t most = 0;
    for (int i = 0; i < WIDE_VALUES; i++) {
        int32_t magnitude = (int32_t)(tensor_float_bits(x[i]) & 0x7FFFFFFFu);
        most = magnitude > most ? magnitude : most;
    }
    const float max = tensor_float_from_bits((uint32_t)most);
    const bool finite = most < 0x7F800000;
    const float inverse = finite && max > 1e-36f ? 127.0f / max : 0;
    to->scale[column] = finite ? (inverse > 0 ? max / 127.0f : 0) : NAN;
    for (int i = 0; i < WIDE_VALUES; i++)
        q[i] = (int8_t)(tensor_float_bits((finite ? x[i] : 0) * inverse + magic) & 255u);
    for (int i = 0; i < WIDE_VALUES / 4; i++)
        memcpy(to->q + (i * w + column) * 4, q + 4 * i, 4);
    for (int i = 0; i < 16; i++) {
        int32_t sum = 0;
        for (int k = 0; k < 16; k++)
            sum += q[16 * i + k];
        to->halves[(i / 2 * w + column) * 2 + i % 2] = (int16_t)sum;
    }
    for (int i = 0; i < 8; i++) {
        const int16_t *halves = to->halves + (i * w + column) * 2;
        to->sums[(i / 2 * w + column) * 2 + i % 2] = (int16_t)(halves[0] + halves[1]);
    }
}

static void wide_quantize(
    struct x_block *panel, int64_t n, int64_t column, const float *values, int64_t width)
{
    const struct wide_place to = wide_place(n, column);
    for (int64_t i = 0; i < width; i += WIDE_VALUES, panel += to.places * WIDE_BLOCKS) {
        const struct wide_group g = wide_group(panel, to.w, to.first);
        quantize_wide(&g, to.w, to.c, values + i);
    }
}

/* A group's sums, [row][column]. */
INLINE void turn_group(float *to, const float *from, int64_t w)
{
    const uint8_t *rows[LANES];
    vwords words[4];
    for (int r = 0; r < LANES; r++)
        rows[r] = (const uint8_t *)(from + r * w);
    for (int64_t c = 0; c < w; c += 4) {
        rows_16(words, rows, (size_t)c * sizeof *from);
        for (int i = 0; i < 4; i++)
            memcpy(to + (c + i) * LANES * SETS, &words[i], sizeof words[i]);
    }
}

static void tiled_turn(float *acc, int64_t n)
{
    const int64_t places = wide_places(n), w = wide_width(places);
    for (int64_t first = 0; first < places; first += w, acc += SETS * LANES * w) {
        float sums[SETS][LANES * WIDE_COLUMNS];
        for (int64_t set = 0; set < SETS; set++)
            memcpy(sums[set], acc + set * LANES * w, (size_t)(LANES * w) * sizeof *acc);
        for (int64_t set = 0; set < SETS; set++)
            if (w % 4 == 0)
                turn_group(acc + set * LANES, sums[set], w);
            else
                for (int64_t i = 0; i < LANES * w; i++)
                    acc[i % w * LANES * SETS + set * LANES + i / w] = sums[set][i];
    }
}

static const struct products_tiled tiled = {.layout = {[TENSOR_Q4_K] = PANEL_WIDE,
                                                [TENSOR_Q5_K] = PANEL_WIDE,
                                                [TENSOR_Q6_K] = PANEL_WIDE,
                                                [TENSOR_IQ4_XS] = PANEL_WIDE,
                                                [TENSOR_Q4_0] = PANEL_GROUPS,
                                                [TENSOR_Q8_0] = PANEL_GROUPS,
                                                [TENSOR_IQ4_NL] = PANEL_GROUPS,
                                                [TENSOR_MXFP4] = PANEL_GROUPS,
                                                [TENSOR_F16] = PANEL_SPLIT,
                                                [TENSOR_BF16] = PANEL_SPLIT},
    .quantize = {[PANEL_WIDE] = wide_quantize, [PANEL_SPLIT] = split_quantize},
    .turn = tiled_turn,
    .split_peak = split_peak};

static int64_t tiles_peak(int64_t rounds)
{
    tiles_configure(&tile_shapes);
    tiles_begin();
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    for (int64_t i = 0; i < rounds; i += 32) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 5, 6);
        _tile_dpbusd(2, 4, 6);
        _tile_dpbusd(3, 5, 6);
    }
    _tile_release();
    return (rounds + 31) / 32 * 4 * LANES * LANES * PART_VALUES * 2;
}

const struct products products_amx = {.isa = "amx",
    .lanes = LANES * SETS,
    .quantize = quantize,
    .of = {[TENSOR_Q4_0] = groups_product_q4_0,
        [TENSOR_Q4_1] = product_q4_1,
        [TENSOR_Q5_0] = product_q5_0,
        [TENSOR_Q5_1] = product_q5_1,
        [TENSOR_Q8_0] = groups_product_q8_0,
        [TENSOR_IQ4_NL] = groups_product_iq4_nl,
        [TENSOR_MXFP4] = groups_product_mxfp4,
        [TENSOR_Q2_K] = product_q2_k,
        [TENSOR_Q3_K] = product_q3_k,
        [TENSOR_Q4_K] = wide_product_q4_k,
        [TENSOR_Q5_K] = wide_product_q5_k,
        [TENSOR_Q6_K] = wide_product_q6_k,
        [TENSOR_IQ4_XS] = wide_product_iq4_xs,
        [TENSOR_F16] = split_product_f16,
        [TENSOR_BF16] = split_product_bf16},
    .peak = tiles_peak,
    .tiled = &tiled};

#else
typedef int product_amx_elsewhere; /* ISO C wants something in every file */
#endif
