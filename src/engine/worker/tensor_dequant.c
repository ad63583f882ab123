/* Blocks of 32 values. The arithmetic (what is rounded when) is that of ggml's reference, to the bit. */
#include "engine/worker/tensor_dequant.h"

enum { HALF = 16 }; /* low nibbles hold values 0..15 of a block, high nibbles 16..31 */

const int8_t tensor_iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

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

/* exponent u8 (E8M0, halved here because the table is doubled) | 16 bytes of FP4 nibbles: OCP MX v1.0 */
void tensor_read_mxfp4(const uint8_t *block, float *to)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    uint32_t e = block[0];
    float d = tensor_float_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    const uint8_t *q = block + 1;
    for (int i = 0; i < HALF; i++) {
        to[i] = (float)doubled[q[i] & 15] * d;
        to[i + HALF] = (float)doubled[q[i] >> 4] * d;
    }
}
