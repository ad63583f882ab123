#include "engine/worker/tensor_quantize.h"

#include <math.h>
#include <string.h>

#include "engine/worker/tensor_quantize_block.h"

/* Layouts stand at the readers in tensor_dequant*.c. */

static void write_f32(const float *from, uint8_t *to)
{
    memcpy(to, from, sizeof *from);
}

static void write_f16(const float *from, uint8_t *to)
{
    tensor_put_half(to, *from);
}

static void write_bf16(const float *from, uint8_t *to)
{
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

static void write_q8_0(const float *from, uint8_t *to)
{
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

/* value = d * (level - middle): the extreme is the lowest level. */
static void levels_signed(const float *from, int middle, uint8_t *to, uint8_t *levels)
{
    const float d = extreme(from) / (float)-middle, inverse = inverse_of(d);
    tensor_put_half(to, d);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = cut(from[i] * inverse + ((float)middle + 0.5f), 2 * middle - 1);
}

/* value = d * level + min */
static void levels_above(const float *from, int most, uint8_t *to, uint8_t *levels)
{
    float least = from[0], greatest = from[0];
    for (int i = 1; i < BLOCK; i++) {
        least = from[i] < least ? from[i] : least;
        greatest = from[i] > greatest ? from[i] : greatest;
    }
    const float d = (greatest - least) / (float)most, inverse = inverse_of(d);
    tensor_put_half(to, d);
    tensor_put_half(to + 2, least);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = cut((from[i] - least) * inverse + 0.5f, most);
}

static void write_q4_0(const float *from, uint8_t *to)
{
    uint8_t levels[BLOCK];
    levels_signed(from, 8, to, levels);
    put_levels(levels, NULL, to + 2);
}

static void write_q4_1(const float *from, uint8_t *to)
{
    uint8_t levels[BLOCK];
    levels_above(from, 15, to, levels);
    put_levels(levels, NULL, to + 4);
}

static void write_q5_0(const float *from, uint8_t *to)
{
    uint8_t levels[BLOCK];
    levels_signed(from, 16, to, levels);
    put_levels(levels, to + 2, to + 6);
}

static void write_q5_1(const float *from, uint8_t *to)
{
    uint8_t levels[BLOCK];
    levels_above(from, 31, to, levels);
    put_levels(levels, to + 4, to + 8);
}

static void (*const writers[TENSOR_TYPES])(const float *from, uint8_t *to) = {[TENSOR_F32] = write_f32,
    [TENSOR_F16] = write_f16,
    [TENSOR_BF16] = write_bf16,
    [TENSOR_Q8_0] = write_q8_0,
    [TENSOR_Q4_0] = write_q4_0,
    [TENSOR_Q4_1] = write_q4_1,
    [TENSOR_Q5_0] = write_q5_0,
    [TENSOR_Q5_1] = write_q5_1,
    [TENSOR_Q4_K] = tensor_write_q4_k,
    [TENSOR_Q5_K] = tensor_write_q5_k,
    [TENSOR_Q6_K] = tensor_write_q6_k,
    [TENSOR_IQ4_NL] = tensor_write_iq4_nl,
    [TENSOR_IQ4_XS] = tensor_write_iq4_xs};

int tensor_quantize(enum tensor_type type, const float *from, void *to, int64_t count, struct error *err)
{
    const struct tensor_type_info *info = tensor_type_info(type);
    if (!info || !writers[type])
        return error_set(err, ERROR_UNSUPPORTED, "tensors of type %s cannot be written: choose another type",
            info ? info->name : "unknown");
    if (count < 0 || count % info->block_values != 0)
        return error_set(
            err, ERROR_INVALID, "%lld values are not whole blocks of %s", (long long)count, info->name);
    uint8_t *block = to;
    for (int64_t i = 0; i < count; i += info->block_values, block += info->block_bytes)
        writers[type](from + i, block);
    return 0;
}
