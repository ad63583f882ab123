/* Frozen matrices as products take them, packed once instead of for each product: W^T for the way forward, W
 * for the way back. */
#include <stdlib.h>

#include "base/pages.h"
#include "engine/worker/tensor.h"
#include "train/gemm.h"
#include "train/model.h"

enum { FLOATS_IN_LINE = PAGES_ALIGN / sizeof(float) };

static bool is_packed(const struct train_model *m, const struct train_weight *w)
{
    return w->at < 0 && train_weight_is_multiplied(m, w);
}

static size_t whole_lines(size_t floats)
{
    return (floats + FLOATS_IN_LINE - 1) / FLOATS_IN_LINE * FLOATS_IN_LINE;
}

static size_t forward_size(const struct train_kernels *products, const struct train_weight *w)
{
    return whole_lines(gemm_packed_size(products, w->n_out, w->n_in));
}

static size_t back_size(const struct train_kernels *products, const struct train_weight *w)
{
    return whole_lines(gemm_packed_size(products, w->n_in, w->n_out));
}

size_t train_model_packed_bytes(const struct train_model *m, const struct train_kernels *products)
{
    size_t floats = 0;
    for (int32_t i = 0; i < m->n_weights + m->n_parts; i++)
        if (is_packed(m, &m->weights[i]))
            floats += forward_size(products, &m->weights[i]) + back_size(products, &m->weights[i]);
    return floats * sizeof(float);
}

static int weight_pack(
    struct train_weight *w, const struct train_kernels *products, float *to, struct error *err)
{
    float *values = malloc((size_t)(w->n_in * w->n_out) * sizeof *values);
    if (!values)
        return error_set(err, ERROR_MEMORY, "no memory to pack '%s'", w->name);
    int rc = tensor_dequantize(w->type, w->frozen, values, w->n_in * w->n_out, err);
    if (rc == 0) {
        float *back = to + forward_size(products, w);
        gemm_pack(products, w->n_out, w->n_in, matrix_turned(values, w->n_in), to);
        gemm_pack(products, w->n_in, w->n_out, matrix_rows(values, w->n_in), back);
        w->packed = to;
        w->packed_back = back;
    }
    free(values);
    return rc;
}

int train_model_pack(struct train_model *m, const struct train_kernels *products, struct error *err)
{
    const size_t bytes = train_model_packed_bytes(m, products);
    if (bytes == 0)
        return 0;
    float *to = m->packed = pages_alloc(bytes);
    int rc = to ? 0 : error_set(err, ERROR_MEMORY, "no memory for the frozen matrices");
    for (int32_t i = 0; i < m->n_weights + m->n_parts && rc == 0; i++) {
        struct train_weight *w = &m->weights[i];
        if (!is_packed(m, w))
            continue;
        rc = weight_pack(w, products, to, err);
        to += forward_size(products, w) + back_size(products, w);
    }
    return rc;
}
