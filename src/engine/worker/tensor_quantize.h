/* Floats to the types of tensor.h, to the byte as the format's reference does: blocks of 32 by rounding, the
 * K and IQ4 types by a search for the scales that leave the least error. Where it is known how much each
 * column matters, all types but the plainest search for what leaves the least error there. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_H
#define WEIR_ENGINE_WORKER_TENSOR_QUANTIZE_H

#include "engine/worker/tensor.h"

/* `count` finite values (whole blocks) to tensor_row_bytes(type, count) bytes. ERROR_UNSUPPORTED for a type
 * that this build cannot write, by name. */
int tensor_quantize(
    enum tensor_type type, const float *from, void *to, int64_t count, struct error *err) MUST_USE;
/* Rows of `width` values (whole blocks); `importance`: `width` weights, not negative; NULL: as above. */
int tensor_quantize_rows(enum tensor_type type, const float *from, void *to, int64_t n_rows, int64_t width,
    const float *importance, struct error *err) MUST_USE;
bool tensor_type_writable(enum tensor_type type);

#endif
