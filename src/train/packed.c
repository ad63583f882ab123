/* Matrices as products take them, packed once instead of for each product: W^T for the way forward, W for the
 * way back. Frozen ones stay so, trained ones are packed again before each batch. */
#include <stdlib.h>

#include "base/pages.h"
#include "engine/worker/tensor.h"
#include "train/model.h"
#include "train/team.h"

enum { FLOATS_IN_LINE = PAGES_ALIGN / sizeof(float) };

static bool is_packed(const struct train_model *m, const struct train_weight *w, bool trained)
{
    return (w->at < 0 || trained) && train_weight_is_multiplied(m, w);
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

size_t train_model_packed_bytes(
    const struct train_model *m, const struct train_kernels *products, bool trained)
{
    size_t floats = 0;
    for (int32_t i = 0; i < m->n_weights + m->n_parts; i++)
        if (is_packed(m, &m->weights[i], trained))
            floats += forward_size(products, &m->weights[i]) + back_size(products, &m->weights[i]);
    return floats * sizeof(float);
}

/* One matrix, one way: by runs of its columns, which are whole panels. */
struct packing {
    const struct train_kernels *products;
    int64_t k;
    struct matrix b;
    float *to;
};

static void columns_pack(void *ctx, int64_t from, int64_t to)
{
    const struct packing *p = ctx;
    gemm_pack(p->products, to - from, p->k,
        (struct matrix){p->b.data + from * p->b.column, p->b.row, p->b.column},
        p->to + gemm_packed_size(p->products, from, p->k));
}

static void weight_pack(
    const struct train_weight *w, const struct train_kernels *products, struct team *t, const float *values)
{
    struct packing forward = {products, w->n_in, matrix_turned(values, w->n_in), w->packed},
                   back = {products, w->n_out, matrix_rows(values, w->n_in), w->packed_back};
    team_rows(t, w->n_out, columns_pack, &forward);
    team_rows(t, w->n_in, columns_pack, &back);
}

static int frozen_pack(
    const struct train_weight *w, const struct train_kernels *products, struct team *t, struct error *err)
{
    float *values = malloc((size_t)(w->n_in * w->n_out) * sizeof *values);
    if (!values)
        return error_set(err, ERROR_MEMORY, "no memory to pack '%s'", w->name);
    int rc = tensor_dequantize(w->type, w->frozen, values, w->n_in * w->n_out, err);
    if (rc == 0)
        weight_pack(w, products, t, values);
    free(values);
    return rc;
}

int train_model_pack(struct train_model *m, const struct train_kernels *products, bool trained,
    struct team *t, struct error *err)
{
    const size_t bytes = train_model_packed_bytes(m, products, trained);
    if (bytes == 0)
        return 0;
    float *to = m->packed = pages_alloc(bytes);
    int rc = to ? 0 : error_set(err, ERROR_MEMORY, "no memory for packed matrices");
    for (int32_t i = 0; i < m->n_weights + m->n_parts && rc == 0; i++) {
        struct train_weight *w = &m->weights[i];
        if (!is_packed(m, w, trained))
            continue;
        w->packed = to;
        w->packed_back = to + forward_size(products, w);
        to = w->packed_back + back_size(products, w);
        if (w->at < 0)
            rc = frozen_pack(w, products, t, err);
    }
    return rc;
}

void train_model_pack_trained(
    const struct train_model *m, const struct train_kernels *products, struct team *t)
{
    for (int32_t i = 0; i < m->n_weights + m->n_parts; i++)
        if (m->weights[i].at >= 0 && m->weights[i].packed)
            weight_pack(&m->weights[i], products, t, train_weight_values(m, &m->weights[i]));
}
