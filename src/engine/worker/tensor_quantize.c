#include "engine/worker/tensor_quantize.h"

#include "engine/worker/tensor_codebook.h"
#include "engine/worker/tensor_dequant.h"
#include "engine/worker/tensor_quantize_block.h"
#include "engine/worker/tensor_quantize_fit.h"

/* Layouts stand at the readers in tensor_dequant*.c. */

static void write_f32(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    (void)w;
    memcpy(to, from, sizeof *from);
}

static void write_f16(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    (void)w;
    tensor_put_half(to, *from);
}

static void write_bf16(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    (void)w;
    uint16_t b = tensor_bf16_from_float(*from);
    memcpy(to, &b, sizeof b);
}

/* ---- Blocks of 32 ---- */
enum { BLOCK = 32 };

/* The value of largest magnitude, with its sign. */
static float extreme(const float *from)
{
    float best = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(from[i]) > fabsf(best))
            best = from[i];
    return best;
}

static float inverse_of(float d)
{
    return d != 0 ? 1 / d : 0;
}

/* A value that is not negative cut to a whole number of at most `most`; 0 for what is no number. */
static uint8_t cut(float value, int most)
{
    return (uint8_t)(value < (float)most ? value > 0 ? (int)value : 0 : value >= (float)most ? most : 0);
}

/* To the nearest whole number of -127..127, ties away from zero. */
static int nearest_away(float value)
{
    value = value > -127 ? value < 127 ? value : 127 : -127;
    const int even = tensor_nearest(value, -127, 127);
    const float off = value - (float)even; /* exact */
    return even + (off >= 0.5f && value > 0) - (off <= -0.5f && value < 0);
}

static void write_q8_0(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    (void)w;
    const float d = fabsf(extreme(from)) / 127, inverse = inverse_of(d);
    tensor_put_half(to, d);
    for (int i = 0; i < BLOCK; i++)
        to[2 + i] = (uint8_t)(int8_t)nearest_away(from[i] * inverse);
}

/* Levels in 4 bits, and the fifth bit of each, where there is one, in `high`. */
static void put_levels(const uint8_t *levels, uint8_t *high, uint8_t *low)
{
    uint32_t fifths = 0;
    for (int i = 0; i < BLOCK / 2; i++)
        low[i] = (uint8_t)((levels[i] & 15) | (levels[i + BLOCK / 2] & 15) << 4);
    for (int i = 0; high && i < BLOCK; i++)
        fifths |= (uint32_t)(levels[i] >> 4) << i;
    if (high)
        memcpy(high, &fifths, sizeof fifths);
}

/* ---- Q4_0, Q5_0: value = d * (level - middle) ---- */

/* The extreme is the lowest level. */
static float levels_signed(const float *from, int middle, uint8_t *levels)
{
    const float d = extreme(from) / (float)-middle, inverse = inverse_of(d);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = cut(from[i] * inverse + ((float)middle + 0.5f), 2 * middle - 1);
    return d;
}

static void write_signed(
    const float *from, const struct tensor_importance *w, int middle, uint8_t *to, uint8_t *levels)
{
    float weights[BLOCK], d;
    if (w->weights) {
        tensor_weigh(from, w->weights, BLOCK, w->power, weights);
        d = tensor_fit_signed(from, weights, BLOCK, middle, levels);
    } else {
        d = levels_signed(from, middle, levels);
    }
    tensor_put_half(to, d);
}

static void write_q4_0(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    uint8_t levels[BLOCK];
    write_signed(from, w, 8, to, levels);
    put_levels(levels, NULL, to + 2);
}

static void write_q5_0(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    uint8_t levels[BLOCK];
    write_signed(from, w, 16, to, levels);
    put_levels(levels, to + 2, to + 6);
}

/* ---- Q4_1, Q5_1: value = d * level + min ---- */
static struct tensor_line levels_above(const float *from, int most, uint8_t *levels)
{
    float least = from[0], greatest = from[0];
    for (int i = 1; i < BLOCK; i++) {
        least = from[i] < least ? from[i] : least;
        greatest = from[i] > greatest ? from[i] : greatest;
    }
    const float d = (greatest - least) / (float)most, inverse = inverse_of(d);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = cut((from[i] - least) * inverse + 0.5f, most);
    return (struct tensor_line){d, least};
}

static void write_above(
    const float *from, const struct tensor_importance *w, int most, uint8_t *to, uint8_t *levels)
{
    const struct tensor_line_search search = {BLOCK, most, 36, -0.9f, 0.05f, false};
    struct tensor_line line;
    float weights[BLOCK];
    if (w->weights) {
        tensor_weigh(from, w->weights, BLOCK, w->power, weights);
        line = tensor_fit_line(from, weights, &search, levels);
    } else {
        line = levels_above(from, most, levels);
    }
    tensor_put_half(to, line.scale);
    tensor_put_half(to + 2, line.least);
}

static void write_q4_1(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    uint8_t levels[BLOCK];
    write_above(from, w, 15, to, levels);
    put_levels(levels, NULL, to + 4);
}

static void write_q5_1(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    uint8_t levels[BLOCK];
    write_above(from, w, 31, to, levels);
    put_levels(levels, to + 4, to + 8);
}

/* ---- MXFP4: value = 2^e * one of sixteen, which are kept doubled ---- */
static uint8_t fp4_nearest(float x, float half)
{
    uint8_t best = 0;
    for (uint8_t i = 1; i < 16; i++)
        if (fabsf((float)tensor_fp4_doubled[i] * half - x) <
            fabsf((float)tensor_fp4_doubled[best] * half - x))
            best = i;
    return best;
}

static void write_mxfp4(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    const float most = fabsf(extreme(from));
    const float e = most > 0 ? floorf(log2f(most)) - 2 + 127 : 0;
    (void)w;
    to[0] = cut(e, 254);
    const float half = tensor_half_e8m0(to[0]);
    for (int i = 0; i < BLOCK / 2; i++)
        to[1 + i] = (uint8_t)(fp4_nearest(from[i], half) | fp4_nearest(from[i + BLOCK / 2], half) << 4);
}

static tensor_writer *const writers[TENSOR_TYPES] = {[TENSOR_F32] = write_f32,
    [TENSOR_F16] = write_f16,
    [TENSOR_BF16] = write_bf16,
    [TENSOR_Q8_0] = write_q8_0,
    [TENSOR_Q4_0] = write_q4_0,
    [TENSOR_Q4_1] = write_q4_1,
    [TENSOR_Q5_0] = write_q5_0,
    [TENSOR_Q5_1] = write_q5_1,
    [TENSOR_MXFP4] = write_mxfp4,
    [TENSOR_Q2_K] = tensor_write_q2_k,
    [TENSOR_Q3_K] = tensor_write_q3_k,
    [TENSOR_Q4_K] = tensor_write_q4_k,
    [TENSOR_Q5_K] = tensor_write_q5_k,
    [TENSOR_Q6_K] = tensor_write_q6_k,
    [TENSOR_IQ4_NL] = tensor_write_iq4_nl,
    [TENSOR_IQ4_XS] = tensor_write_iq4_xs,
    [TENSOR_TQ1_0] = tensor_write_tq1_0,
    [TENSOR_TQ2_0] = tensor_write_tq2_0,
    [TENSOR_IQ2_XXS] = tensor_write_iq2_xxs,
    [TENSOR_IQ2_XS] = tensor_write_iq2_xs,
    [TENSOR_IQ2_S] = tensor_write_iq2_s,
    [TENSOR_IQ3_XXS] = tensor_write_iq3_xxs,
    [TENSOR_IQ3_S] = tensor_write_iq3_s,
    [TENSOR_IQ1_S] = tensor_write_iq1_s,
    [TENSOR_IQ1_M] = tensor_write_iq1_m};

/* Makes the codebook of a type that has one. */
static bool book_ready(enum tensor_type type)
{
    switch (type) {
    case TENSOR_IQ1_S:
    case TENSOR_IQ1_M:
        return tensor_codebook(TENSOR_CODEBOOK_IQ1);
    case TENSOR_IQ2_XXS:
        return tensor_codebook(TENSOR_CODEBOOK_IQ2_XXS);
    case TENSOR_IQ2_XS:
        return tensor_codebook(TENSOR_CODEBOOK_IQ2_XS);
    case TENSOR_IQ2_S:
        return tensor_codebook(TENSOR_CODEBOOK_IQ2_S);
    case TENSOR_IQ3_XXS:
        return tensor_codebook(TENSOR_CODEBOOK_IQ3_XXS);
    case TENSOR_IQ3_S:
        return tensor_codebook(TENSOR_CODEBOOK_IQ3_S);
    default:
        return true;
    }
}

bool tensor_type_writable(enum tensor_type type)
{
    return tensor_type_info(type) && writers[type];
}

int tensor_quantize_rows(enum tensor_type type, const float *from, void *to, int64_t n_rows, int64_t width,
    const float *importance, struct error *err)
{
    const struct tensor_type_info *info = tensor_type_info(type);
    if (!info || !writers[type])
        return error_set(err, ERROR_UNSUPPORTED, "tensors of type %s cannot be written: choose another type",
            info ? info->name : "unknown");
    if (n_rows < 0 || width < 0 || width % info->block_values != 0)
        return error_set(
            err, ERROR_INVALID, "%lld values are not whole blocks of %s", (long long)width, info->name);
    if (!book_ready(type))
        return error_set(err, ERROR_MEMORY, "no memory for the codebook of %s", info->name);
    uint8_t *block = to;
    for (int64_t row = 0; row < n_rows; row++, from += width) {
        struct tensor_importance w = {.power = importance ? tensor_power(from, width, 1) : 0};
        for (int64_t i = 0; i < width; i += info->block_values, block += info->block_bytes) {
            w.weights = importance ? importance + i : NULL;
            writers[type](from + i, &w, block);
        }
    }
    return 0;
}

int tensor_quantize(enum tensor_type type, const float *from, void *to, int64_t count, struct error *err)
{
    return tensor_quantize_rows(type, from, to, 1, count, NULL, err);
}
