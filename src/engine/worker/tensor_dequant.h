/* One block of each quantised type to floats (inside the tensor code; its FP4 where a folder packs that,
 * too). Layouts are drawn at each function. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_DEQUANT_H
#define WEIR_ENGINE_WORKER_TENSOR_DEQUANT_H

#include <stdint.h>

#include "engine/worker/tensor_half.h"

/* `block` may be unaligned. */
typedef void tensor_block_reader(const uint8_t *block, float *to);

tensor_block_reader tensor_read_q4_0, tensor_read_q4_1, tensor_read_q5_0, tensor_read_q5_1, tensor_read_q8_0;
tensor_block_reader tensor_read_iq4_nl, tensor_read_mxfp4, tensor_read_nvfp4;
tensor_block_reader tensor_read_q2_k, tensor_read_q3_k, tensor_read_q4_k, tensor_read_q5_k, tensor_read_q6_k;
tensor_block_reader tensor_read_iq4_xs, tensor_read_tq1_0, tensor_read_tq2_0, tensor_read_q1_0;
tensor_block_reader tensor_read_iq1_s, tensor_read_iq1_m, tensor_read_iq2_xxs, tensor_read_iq2_xs;
tensor_block_reader tensor_read_iq2_s, tensor_read_iq3_xxs, tensor_read_iq3_s;

extern const int8_t tensor_iq4_values[16];
extern const int8_t tensor_fp4_doubled[16]; /* FP4 (E2M1: OCP MX v1.0) */

/* Half of 2^(e - 127): the table of FP4 is doubled. */
static inline float tensor_half_e8m0(uint8_t e)
{
    return tensor_float_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static inline float tensor_read_half(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return tensor_float_from_half(h);
}

#endif
