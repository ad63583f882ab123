/* Blocks of 256 values as points of a codebook (tensor_grid.h) with signs or an offset. The arithmetic (what
 * is rounded when) is that of ggml's reference, to the bit.
 *
 * A block is eight runs of 32 values; a run is four groups of eight. */
#include "engine/worker/tensor_dequant.h"
#include "engine/worker/tensor_grid.h"

enum { RUNS = 8, GROUPS = 4 };

static uint32_t read_u16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static uint32_t read_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

/* Eight signs of which seven are kept: an even number of them is set. */
static uint32_t even_signs(uint32_t seven)
{
    return seven | (uint32_t)__builtin_parity(seven) << 7;
}

/* Bit i of `signs` set: value i is negative. */
static void put_signed(float *to, int count, float scale, const float *magnitudes, uint32_t signs)
{
    for (int i = 0; i < count; i++) {
        float value = scale * magnitudes[i];
        to[i] = signs >> i & 1 ? -value : value;
    }
}

static void put_iq2(float *to, float scale, uint32_t point, uint32_t signs)
{
    static const float levels[4] = {8, 25, 43, 0};
    float magnitudes[8];
    for (int i = 0; i < 8; i++)
        magnitudes[i] = levels[point >> 2 * i & 3];
    put_signed(to, 8, scale, magnitudes, signs);
}

static void put_iq3(float *to, float scale, const float levels[8], uint32_t point, uint32_t signs)
{
    float magnitudes[4];
    for (int i = 0; i < 4; i++)
        magnitudes[i] = levels[point >> 4 * i & 7];
    put_signed(to, 4, scale, magnitudes, signs);
}

static void put_iq1(float *to, float scale, uint32_t point, float offset)
{
    for (int i = 0; i < 8; i++)
        to[i] = scale * ((float)((int)(point >> 2 * i & 3) - 1) + offset);
}

/* d f16 | eight runs: four indices u8, then a u32 of four times 7 signs and, on top, 4 bits of scale */
void tensor_read_iq2_xxs(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *run = block + 2;
    for (int r = 0; r < RUNS; r++, run += 8) {
        uint32_t packed = read_u32(run + 4);
        float scale = d * (0.5f + (float)(packed >> 28)) * 0.25f;
        for (int g = 0; g < GROUPS; g++, to += 8)
            put_iq2(to, scale, tensor_grid_iq2_xxs[run[g]], even_signs(packed >> 7 * g & 127));
    }
}

/* Scale of half a run of iq2: two nibbles for each run. */
static float iq2_scale(float d, uint8_t nibbles, int group)
{
    return d * (0.5f + (float)(nibbles >> group / 2 * 4 & 15)) * 0.25f;
}

/* d f16 | q u16[32]: index of 9 bits, then 7 signs | scales[8] */
void tensor_read_iq2_xs(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2, *scales = block + 66;
    for (int r = 0; r < RUNS; r++)
        for (int g = 0; g < GROUPS; g++, q += 2, to += 8) {
            uint32_t packed = read_u16(q);
            put_iq2(
                to, iq2_scale(d, scales[r], g), tensor_grid_iq2_xs[packed & 511], even_signs(packed >> 9));
        }
}

/* d f16 | q[32]: low bits of the indices | signs[32] | high[8]: 2 bits of each index | scales[8] */
void tensor_read_iq2_s(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2, *signs = block + 34, *high = block + 66, *scales = block + 74;
    for (int r = 0; r < RUNS; r++)
        for (int g = 0; g < GROUPS; g++, q++, signs++, to += 8) {
            uint32_t index = *q | (uint32_t)(high[r] >> 2 * g & 3) << 8;
            put_iq2(to, iq2_scale(d, scales[r], g), tensor_grid_iq2_s[index], *signs);
        }
}

/* d f16 | q[64]: two indices for each group | eight u32: four times 7 signs and, on top, 4 bits of scale */
void tensor_read_iq3_xxs(const uint8_t *block, float *to)
{
    static const float levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2;
    for (int r = 0; r < RUNS; r++) {
        uint32_t packed = read_u32(block + 66 + 4 * r);
        float scale = d * (0.5f + (float)(packed >> 28)) * 0.5f;
        for (int g = 0; g < GROUPS; g++, q += 2, to += 8) {
            uint32_t signs = even_signs(packed >> 7 * g & 127);
            put_iq3(to, scale, levels, tensor_grid_iq3_xxs[q[0]], signs);
            put_iq3(to + 4, scale, levels, tensor_grid_iq3_xxs[q[1]], signs >> 4);
        }
    }
}

/* d f16 | q[64]: low bits of the indices | high[8]: a bit of each index of a run | signs[32] | scales[4] */
void tensor_read_iq3_s(const uint8_t *block, float *to)
{
    static const float levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2, *high = block + 66, *signs = block + 74, *scales = block + 106;
    for (int r = 0; r < RUNS; r++) {
        float scale = d * (float)(1 + 2 * (scales[r / 2] >> r % 2 * 4 & 15));
        for (int i = 0; i < 2 * GROUPS; i++, q++, to += 4) {
            uint32_t index = *q | (uint32_t)(high[r] >> i & 1) << 8;
            put_iq3(to, scale, levels, tensor_grid_iq3_s[index], (uint32_t)signs[4 * r + i / 2] >> i % 2 * 4);
        }
    }
}

#define IQ1_OFFSET 0.125f /* all values of a group are moved by it, up or down */

/* d f16 | q[32]: low bits of the indices | high u16[8]: four times 3 bits of index, 3 bits of scale, a bit:
 * down */
void tensor_read_iq1_s(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2;
    for (int r = 0; r < RUNS; r++) {
        uint32_t high = read_u16(block + 34 + 2 * r);
        float scale = d * (float)(2 * (high >> 12 & 7) + 1);
        float offset = high >> 15 ? -IQ1_OFFSET : IQ1_OFFSET;
        for (int g = 0; g < GROUPS; g++, q++, to += 8)
            put_iq1(to, scale, tensor_grid_iq1[*q | (high >> 3 * g & 7) << 8], offset);
    }
}

/* q[32]: low bits of the indices | high[16]: a nibble for each group, 3 bits of index and a bit: down |
 * scales u16[4]: four times 3 bits for half a run each, and a nibble of d (f16), lowest first */
void tensor_read_iq1_m(const uint8_t *block, float *to)
{
    const uint8_t *q = block, *high = block + 32, *scales = block + 48;
    uint32_t d_bits = 0;
    for (int i = 0; i < 4; i++)
        d_bits |= (read_u16(scales + 2 * i) >> 12) << 4 * i;
    float d = tensor_float_from_half((uint16_t)d_bits);
    for (int i = 0; i < RUNS * GROUPS; i++, to += 8) {
        uint32_t nibble = (uint32_t)high[i / 2] >> i % 2 * 4, packed = read_u16(scales + i / 8 * 2);
        float scale = d * (float)(2 * (packed >> i % 8 / 2 * 3 & 7) + 1);
        put_iq1(to, scale, tensor_grid_iq1[q[i] | (nibble & 7) << 8], nibble & 8 ? -IQ1_OFFSET : IQ1_OFFSET);
    }
}
