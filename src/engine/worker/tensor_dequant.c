/* Blocks of 32 values. The arithmetic (what is rounded when) is that of ggml's reference, to the bit. */
#include "engine/worker/tensor_dequant.h"

enum { HALF = 16 }; /* low nibbles hold values 0..15 of a block, high nibbles 16..31 */

const int8_t tensor_iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* d f16 | 128 bits: a bit that is set is d, one that is not is -d */
void tensor_read_q1_0(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    for (int i = 0; i < 128; i++)
        to[i] = block[2 + i / 8] >> (i % 8) & 1 ? d : -d;
}

/* d f16 | 16 bytes of nibbles: (q - 8) * d */
void tensor_read_q4_0(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2;
    for (int i = 0; i < HALF; i++) {
        to[i] = (float)((q[i] & 15) - 8) * d;
        to[i + HALF] = (float)((q[i] >> 4) - 8) * d;
    }
}

/* d f16 | m f16 | 16 bytes of nibbles: q * d + m */
void tensor_read_q4_1(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block), m = tensor_read_half(block + 2);
    const uint8_t *q = block + 4;
    for (int i = 0; i < HALF; i++) {
        to[i] = (float)(q[i] & 15) * d + m;
        to[i + HALF] = (float)(q[i] >> 4) * d + m;
    }
}

/* Value i of 32 whose fifth bit is bit i of `high`. */
static int five_bits(const uint8_t *q, uint32_t high, int i)
{
    int low = i < HALF ? q[i] & 15 : q[i - HALF] >> 4;
    return low | (int)(high >> i & 1) << 4;
}

/* d f16 | high bits u32 | 16 bytes of nibbles: (q - 16) * d */
void tensor_read_q5_0(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    uint32_t high;
    memcpy(&high, block + 2, sizeof high);
    for (int i = 0; i < 32; i++)
        to[i] = (float)(five_bits(block + 6, high, i) - 16) * d;
}

/* d f16 | m f16 | high bits u32 | 16 bytes of nibbles: q * d + m */
void tensor_read_q5_1(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block), m = tensor_read_half(block + 2);
    uint32_t high;
    memcpy(&high, block + 4, sizeof high);
    for (int i = 0; i < 32; i++)
        to[i] = (float)five_bits(block + 8, high, i) * d + m;
}

/* d f16 | 32 signed bytes: q * d */
void tensor_read_q8_0(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    for (int i = 0; i < 32; i++)
        to[i] = (float)(int8_t)block[2 + i] * d;
}

/* d f16 | 16 bytes of nibbles, each an index into a table of values */
void tensor_read_iq4_nl(const uint8_t *block, float *to)
{
    float d = tensor_read_half(block);
    const uint8_t *q = block + 2;
    for (int i = 0; i < HALF; i++) {
        to[i] = d * (float)tensor_iq4_values[q[i] & 15];
        to[i + HALF] = d * (float)tensor_iq4_values[q[i] >> 4];
    }
}

const int8_t tensor_fp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* exponent u8 (E8M0, halved here because the table is doubled) | 16 bytes of FP4 nibbles: OCP MX v1.0 */
void tensor_read_mxfp4(const uint8_t *block, float *to)
{
    const float d = tensor_half_e8m0(block[0]);
    const uint8_t *q = block + 1;
    for (int i = 0; i < HALF; i++) {
        to[i] = (float)tensor_fp4_doubled[q[i] & 15] * d;
        to[i + HALF] = (float)tensor_fp4_doubled[q[i] >> 4] * d;
    }
}

/* Half of an unsigned E4M3: 4 bits of exponent, 3 of fraction; what would be no number is zero. */
static float half_e4m3(uint8_t x)
{
    uint32_t exponent = x >> 3 & 15, fraction = x & 7;
    if (x == 0x7F)
        return 0;
    if (exponent == 0)
        return (float)fraction * 0x1p-10f;
    return tensor_float_from_bits((exponent + 119) << 23 | fraction << 20);
}

/* scales[4]: unsigned E4M3 | four runs of 16 values: 8 bytes of FP4 nibbles, the first eight values low */
void tensor_read_nvfp4(const uint8_t *block, float *to)
{
    const uint8_t *q = block + 4;
    for (int run = 0; run < 4; run++, q += 8, to += 16) {
        float d = half_e4m3(block[run]);
        for (int i = 0; i < 8; i++) {
            to[i] = (float)tensor_fp4_doubled[q[i] & 15] * d;
            to[i + 8] = (float)tensor_fp4_doubled[q[i] >> 4] * d;
        }
    }
}
