/* Floats to the types of tensor.h, to the byte as the format's reference does without an importance matrix:
 * blocks of 32 by rounding, the K and IQ4 types by a search for the scales that leave the least error. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_H
#define WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_H

#include "engine/worker/tensor.h"

/* `count` finite values (whole blocks) to tensor_row_bytes(type, count) bytes. ERROR_UNSUPPORTED for a type
 * that this build cannot write, by name. */
int tensor_quantize(
    enum tensor_type type, const float *from, void *to, int64_t count, struct error *err) MUST_USE;

#endif
