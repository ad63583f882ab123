/* Blocks of 256 values. The arithmetic (what is rounded when) is that of ggml's reference, to the bit. */
#include "engine/worker/tensor_dequant.h"

/* scales[16]: 4 bits scale, 4 bits minimum, for 16 values each | q[64]: 2 bits | d f16 | dmin f16
 * In each half of 128 values, value 32j + l is bits 2j of byte l. */
void tensor_read_q2_k(const uint8_t *block, float *to)
{
    const uint8_t *scales = block, *q = block + 16;
    float d = tensor_read_half(block + 80), min = tensor_read_half(block + 82);
    for (int i = 0; i < 256; i += 16, scales++) {
        float scale = d * (float)(*scales & 15), offset = min * (float)(*scales >> 4);
        const uint8_t *bytes = q + i / 128 * 32 + i % 32;
        int shift = i % 128 / 32 * 2;
        for (int l = 0; l < 16; l++)
            to[i + l] = scale * (float)(bytes[l] >> shift & 3) - offset;
    }
}

/* high[32] | q[64]: 2 bits, as in Q2_K | scales[12]: sixteen of 6 bits | d f16
 * Bit i/32 of high[i % 32] clear: four less. */
void tensor_read_q3_k(const uint8_t *block, float *to)
{
    const uint8_t *high = block, *q = block + 32, *packed = block + 96;
    float d = tensor_read_half(block + 108);
    for (int i = 0; i < 256; i += 16) {
        int s = i / 16;
        int low = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
        int scale = low | (packed[8 + s % 4] >> s / 4 * 2 & 3) << 4;
        float factor = d * (float)(scale - 32);
        const uint8_t *bytes = q + i / 128 * 32 + i % 32, *bits = high + i % 32;
        int shift = i % 128 / 32 * 2;
        for (int l = 0; l < 16; l++) {
            int value = (bytes[l] >> shift & 3) - ((bits[l] >> i / 32 & 1) ? 0 : 4);
            to[i + l] = factor * (float)value;
        }
    }
}

/* Scale and minimum j of eight, 6 bits each, from 12 bytes: the first four lie in the low bits of bytes 0..3
 * and 4..7; the last four have their low nibbles in bytes 8..11 and their high bits on top of bytes 0..7. */
static void scale_min(const uint8_t *packed, int j, float *scale, float *min)
{
    if (j < 4) {
        *scale = (float)(packed[j] & 63);
        *min = (float)(packed[j + 4] & 63);
    } else {
        *scale = (float)((packed[j + 4] & 15) | packed[j - 4] >> 6 << 4);
        *min = (float)(packed[j + 4] >> 4 | packed[j] >> 6 << 4);
    }
}

/* d f16 | dmin f16 | scales[12] | q[128]: in each 64 values, low nibbles first, then high */
void tensor_read_q4_k(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block), dmin = tensor_read_half(block + 2);
    const uint8_t *q = block + 16;
    for (int j = 0; j < 8; j++) {
        float scale, min;
        scale_min(block + 4, j, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int l = 0; l < 32; l++)
            to[32 * j + l] = scale * (float)(q[j / 2 * 32 + l] >> j % 2 * 4 & 15) - min;
    }
}

/* d f16 | dmin f16 | scales[12] | high[32]: bit j of byte l for value 32j + l | q[128] as in Q4_K */
void tensor_read_q5_k(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block), dmin = tensor_read_half(block + 2);
    const uint8_t *high = block + 16, *q = block + 48;
    for (int j = 0; j < 8; j++) {
        float scale, min;
        scale_min(block + 4, j, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int l = 0; l < 32; l++) {
            int value = (q[j / 2 * 32 + l] >> j % 2 * 4 & 15) + (high[l] >> j & 1) * 16;
            to[32 * j + l] = scale * (float)value - min;
        }
    }
}

/* low[128] | high[64] | scales[16] signed | d f16
 * In each 128 values: value 32j + l has its low nibble in byte 32(j % 2) + l (upper half for j >= 2) and its
 * high bits in bits 2j of high[l]. */
void tensor_read_q6_k(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block + 208);
    for (int i = 0; i < 256; i += 16) {
        const uint8_t *low = block + i / 128 * 64 + i % 64, *high = block + 128 + i / 128 * 32 + i % 32;
        float scale = d * (float)(int8_t)block[192 + i / 16];
        int j = i % 128 / 32;
        for (int l = 0; l < 16; l++) {
            int value = (low[l] >> j / 2 * 4 & 15) | (high[l] >> 2 * j & 3) << 4;
            to[i + l] = scale * (float)(value - 32);
        }
    }
}

/* d f16 | scales_high u16 | scales_low[4] | q[128]: eight runs of 32 as in IQ4_NL */
void tensor_read_iq4_xs(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *low = block + 4, *q = block + 8;
    int high = block[2] | block[3] << 8;
    for (int j = 0; j < 8; j++, q += 16, to += 32) {
        int scale = (low[j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
        float factor = d * (float)(scale - 32);
        for (int l = 0; l < 16; l++) {
            to[l] = factor * (float)tensor_iq4_values[q[l] & 15];
            to[l + 16] = factor * (float)tensor_iq4_values[q[l] >> 4];
        }
    }
}

/* Digit n of the base-3 fraction in a byte, less one. */
static float trit(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    uint8_t shifted = (uint8_t)(byte * power[n]);
    return (float)((shifted * 3 >> 8) - 1);
}

/* q[48]: five digits a byte, the first 32 bytes digit by digit, then the other 16 | high[4]: four digits | d
 * f16 */
void tensor_read_tq1_0(const uint8_t *block, float *to)
{
    static const struct {
        int offset, bytes, digits;
    } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    float d = tensor_read_half(block + 52);
    for (int r = 0; r < 3; r++)
        for (int n = 0; n < runs[r].digits; n++)
            for (int i = 0; i < runs[r].bytes; i++)
                *to++ = trit(block[runs[r].offset + i], n) * d;
}

/* q[64]: 2 bits, as in Q2_K | d f16 */
void tensor_read_tq2_0(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block + 64);
    for (int i = 0; i < 256; i++)
        to[i] = (float)((block[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1) * d;
}
