/* What the writers of tensor_quantize*.c share. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_BLOCK_H
#define WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_BLOCK_H

#include <stdint.h>
#include <string.h>

#include "engine/worker/tensor_half.h"

/* A block of values to bytes: of 256, tensor_quantize_k.c; of 32 and 256, tensor_quantize_iq4.c. */
void tensor_write_q4_k(const float *from, uint8_t *to);
void tensor_write_q5_k(const float *from, uint8_t *to);
void tensor_write_q6_k(const float *from, uint8_t *to);
void tensor_write_iq4_nl(const float *from, uint8_t *to);
void tensor_write_iq4_xs(const float *from, uint8_t *to);

/* Writes a half and gives the value that a reader will see. */
static inline float tensor_put_half(uint8_t *to, float value)
{
    uint16_t h = tensor_half_from_float(value);
    memcpy(to, &h, sizeof h);
    return tensor_float_from_half(h);
}

/* To the nearest whole number, ties to even, within bounds; `least` for what is no number. */
static inline int tensor_nearest(float value, int least, int most)
{
    value = value > (float)least ? value : (float)least;
    value = value < (float)most ? value : (float)most;
    return (int)(value + 0x1.8p23f - 0x1.8p23f); /* from here on a unit is the last place */
}

#endif
