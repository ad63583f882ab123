#include "engine/worker/tensor_quantize.h"

#include <math.h>
#include <string.h>

#include "engine/worker/tensor_half.h"

/* Layouts stand at the readers in tensor_dequant*.c. */

/* Writes a half and gives the value that a reader will see. */
static float put_half(uint8_t *to, float value)
{
    uint16_t h = tensor_half_from_float(value);
    memcpy(to, &h, sizeof h);
    return tensor_float_from_half(h);
}

static int clamp_round(float value, int least, int most)
{
    float r = rintf(value);
    return r > (float)least ? r < (float)most ? (int)r : most : least; /* also of no number */
}

static void write_f32(const float *from, uint8_t *to)
{
    memcpy(to, from, sizeof *from);
}

static void write_f16(const float *from, uint8_t *to)
{
    put_half(to, *from);
}

static void write_bf16(const float *from, uint8_t *to)
{
    uint16_t b = tensor_bf16_from_float(*from);
    memcpy(to, &b, sizeof b);
}

/* The value of largest magnitude, with its sign. */
static float extreme(const float *from, int count)
{
    float best = 0;
    for (int i = 0; i < count; i++)
        if (fabsf(from[i]) > fabsf(best))
            best = from[i];
    return best;
}

static void write_q8_0(const float *from, uint8_t *to)
{
    float d = put_half(to, fabsf(extreme(from, 32)) / 127);
    for (int i = 0; i < 32; i++)
        to[2 + i] = (uint8_t)(int8_t)clamp_round(d > 0 ? from[i] / d : 0, -127, 127);
}

static void write_q4_0(const float *from, uint8_t *to)
{
    float d = put_half(to, extreme(from, 32) / -8);
    float inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < 16; i++) {
        int low = clamp_round(from[i] * inverse, -8, 7) + 8;
        int high = clamp_round(from[i + 16] * inverse, -8, 7) + 8;
        to[2 + i] = (uint8_t)(low | high << 4);
    }
}

/* Scale and offset of each run of 32 in a block of 256: value = scale * q - min, q in 0..levels. */
static void fit_runs(const float *from, int levels, float scales[8], float mins[8])
{
    for (int j = 0; j < 8; j++) {
        float least = 0, most = 0;
        for (int l = 0; l < 32; l++) {
            least = fminf(least, from[32 * j + l]);
            most = fmaxf(most, from[32 * j + l]);
        }
        scales[j] = (most - least) / (float)levels;
        mins[j] = -least;
    }
}

/* Packs eight scales and minima of 6 bits under d and dmin (scale_min in tensor_dequant_k.c), and changes
 * them to what a reader will see. */
static void pack_runs(float scales[8], float mins[8], uint8_t *to)
{
    float d = put_half(to, extreme(scales, 8) / 63), dmin = put_half(to + 2, extreme(mins, 8) / 63);
    uint8_t *packed = to + 4;
    memset(packed, 0, 12);
    for (int j = 0; j < 8; j++) {
        int s = d > 0 ? clamp_round(scales[j] / d, 0, 63) : 0,
            m = dmin > 0 ? clamp_round(mins[j] / dmin, 0, 63) : 0;
        if (j < 4) {
            packed[j] |= (uint8_t)s;
            packed[j + 4] |= (uint8_t)m;
        } else {
            packed[j + 4] |= (uint8_t)((s & 15) | (m & 15) << 4);
            packed[j - 4] |= (uint8_t)(s >> 4 << 6);
            packed[j] |= (uint8_t)(m >> 4 << 6);
        }
        scales[j] = d * (float)s;
        mins[j] = dmin * (float)m;
    }
}

static int level_of(float value, float scale, float min, int levels)
{
    return scale > 0 ? clamp_round((value + min) / scale, 0, levels) : 0;
}

static void write_q4_k(const float *from, uint8_t *to)
{
    float scales[8], mins[8];
    fit_runs(from, 15, scales, mins);
    pack_runs(scales, mins, to);
    uint8_t *q = to + 16;
    for (int j = 0; j < 8; j += 2)
        for (int l = 0; l < 32; l++) {
            int low = level_of(from[32 * j + l], scales[j], mins[j], 15);
            int high = level_of(from[32 * j + 32 + l], scales[j + 1], mins[j + 1], 15);
            q[j / 2 * 32 + l] = (uint8_t)(low | high << 4);
        }
}

static void write_q5_k(const float *from, uint8_t *to)
{
    float scales[8], mins[8];
    fit_runs(from, 31, scales, mins);
    pack_runs(scales, mins, to);
    uint8_t *high = to + 16, *q = to + 48;
    memset(high, 0, 32 + 128);
    for (int j = 0; j < 8; j++)
        for (int l = 0; l < 32; l++) {
            int value = level_of(from[32 * j + l], scales[j], mins[j], 31);
            q[j / 2 * 32 + l] |= (uint8_t)((value & 15) << j % 2 * 4);
            high[l] |= (uint8_t)(value >> 4 << j);
        }
}

static void write_q6_k(const float *from, uint8_t *to)
{
    float scales[16];
    for (int s = 0; s < 16; s++)
        scales[s] = extreme(from + 16 * s, 16) / -32;
    memset(to, 0, 208);
    float d = put_half(to + 208, fabsf(extreme(scales, 16)) / 127);
    for (int i = 0; i < 256; i++) {
        int scale = d > 0 ? clamp_round(scales[i / 16] / d, -127, 127) : 0;
        float factor = d * (float)scale;
        int value = factor != 0 ? clamp_round(from[i] / factor, -32, 31) + 32 : 32;
        int j = i % 128 / 32, l = i % 32;
        to[192 + i / 16] = (uint8_t)(int8_t)scale;
        to[i / 128 * 64 + i % 64] |= (uint8_t)((value & 15) << j / 2 * 4);
        to[128 + i / 128 * 32 + l] |= (uint8_t)(value >> 4 << 2 * j);
    }
}

int tensor_quantize(enum tensor_type type, const float *from, void *to, int64_t count, struct error *err)
{
    static void (*const writers[TENSOR_TYPES])(const float *from, uint8_t *to) = {[TENSOR_F32] = write_f32,
        [TENSOR_F16] = write_f16,
        [TENSOR_BF16] = write_bf16,
        [TENSOR_Q8_0] = write_q8_0,
        [TENSOR_Q4_0] = write_q4_0,
        [TENSOR_Q4_K] = write_q4_k,
        [TENSOR_Q5_K] = write_q5_k,
        [TENSOR_Q6_K] = write_q6_k};
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
