/* TQ1_0 and TQ2_0: each value becomes minus one, zero or one times the block's largest (BitNet b1.58,
 * arxiv.org/abs/2402.17764), for models that were trained so. Layouts stand at the readers in
 * tensor_dequant_k.c. */
#include "engine/worker/tensor_quantize_block.h"

enum { BLOCK = 256 };

static void digits_of(const float *x, uint8_t *d, uint8_t *digits)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    const float inverse = most > 0 ? 1 / most : 0;
    tensor_put_half(d, most);
    for (int i = 0; i < BLOCK; i++) {
        const float part = x[i] * inverse;
        digits[i] = part >= 0.5f ? 2 : part > -0.5f ? 1 : 0;
    }
}

/* Five digits of base 3 as a fraction of a byte, rounded up, so that a product with 3 shows the next digit.
 */
static uint8_t fraction_of(unsigned digits)
{
    return (uint8_t)((digits * 256 + 242) / 243);
}

void tensor_write_tq1_0(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct {
        int bytes, digits;
    } runs[] = {{32, 5}, {16, 5}, {4, 4}};
    uint8_t digits[BLOCK];
    const uint8_t *next = digits;
    (void)w;
    digits_of(from, to + 52, digits);
    for (int r = 0; r < 3; r++) {
        for (int i = 0; i < runs[r].bytes; i++) {
            unsigned all = 0;
            for (int n = 0; n < 5; n++)
                all = 3 * all + (n < runs[r].digits ? next[n * runs[r].bytes + i] : 0);
            *to++ = fraction_of(all);
        }
        next += runs[r].bytes * runs[r].digits;
    }
}

void tensor_write_tq2_0(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    uint8_t digits[BLOCK];
    (void)w;
    digits_of(from, to + 64, digits);
    memset(to, 0, 64);
    for (int i = 0; i < BLOCK; i++)
        to[i / 128 * 32 + i % 32] |= (uint8_t)(digits[i] << i % 128 / 32 * 2);
}
