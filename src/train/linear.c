/* Linear maps, forward and back; a frozen weight is made floats for the moment of its use, and a low-rank
 * adapter (Hu et al. 2021, arxiv.org/abs/2106.09685) adds scale B (A x). */
#include <string.h>

#include "engine/worker/tensor.h"
#include "train/pass.h"

struct floats_task {
    const struct train_weight *weight;
    float *to;
};

static void floats_rows(void *ctx, int64_t from, int64_t to)
{
    const struct floats_task *f = ctx;
    const struct train_weight *w = f->weight;
    const char *bytes = w->frozen;
    int rc = tensor_dequantize(w->type, bytes + (size_t)from * tensor_row_bytes(w->type, w->n_in),
        f->to + from * w->n_in, (to - from) * w->n_in, NULL);
    (void)rc; /* unreadable types are refused when the model is loaded */
}

static const float *floats_of(struct train_pass *p, const struct train_weight *w)
{
    if (w->at >= 0)
        return train_weight_values(p->model, w);
    if (w->type == TENSOR_F32)
        return w->frozen;
    struct floats_task task = {w, p->floats};
    if (p->floats_of != w) /* the output layer is used for some rows at a time */
        team_rows(p->team, w->n_out, floats_rows, &task);
    p->floats_of = w;
    return p->floats;
}

static float *lora_inner(const struct train_pass *p, const struct train_weight *w)
{
    return p->lora[w - p->model->weights];
}

/* Biases of the outputs from `from` on. */
static void bias_forward(
    struct train_pass *p, const struct train_weight *bias, struct outputs o, float *y, int64_t rows)
{
    if (!bias)
        return;
    const float *values = train_vector_values(p->model, bias) + o.from;
    for (int64_t i = 0; i < rows; i++)
        p->team->kernels->add(y + i * o.n, values, o.n);
}

static void bias_back(
    struct train_pass *p, const struct train_weight *bias, struct outputs o, const float *dy, int64_t rows)
{
    if (!bias || bias->at < 0)
        return;
    for (int64_t i = 0; i < rows; i++)
        p->team->kernels->add(p->gradients + bias->at + o.from, dy + i * o.n, o.n);
}

void outputs_forward(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *x,
    int64_t rows, float *y, bool add)
{
    const struct matrix in = matrix_rows(x, w->n_in);
    if (w->packed)
        team_gemm_packed(p->team, rows, o.n, w->n_in, in,
            w->packed + gemm_packed_size(p->team->kernels, o.from, w->n_in), w->n_in, y, o.n, add);
    else
        team_gemm(p->team, rows, o.n, w->n_in, in, matrix_turned(floats_of(p, w) + o.from * w->n_in, w->n_in),
            y, o.n, add);
    bias_forward(p, w->bias, o, y, rows);
}

void outputs_back_input(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *dy,
    int64_t rows, float *dx, bool add)
{
    const struct matrix in = matrix_rows(dy, o.n);
    if (w->packed_back)
        team_gemm_packed(p->team, rows, w->n_in, o.n, in,
            w->packed_back + o.from * p->team->kernels->panel_floats, w->n_out, dx, w->n_in, add);
    else
        team_gemm(p->team, rows, w->n_in, o.n, in, matrix_rows(floats_of(p, w) + o.from * w->n_in, w->n_in),
            dx, w->n_in, add);
}

void outputs_back_weight(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *x,
    const float *dy, int64_t rows)
{
    if (w->at >= 0)
        team_gemm(p->team, o.n, w->n_in, rows, matrix_turned(dy, o.n), matrix_rows(x, w->n_in),
            p->gradients + w->at + o.from * w->n_in, w->n_in, true);
    bias_back(p, w->bias, o, dy, rows);
}

static struct outputs all_outputs(const struct train_weight *w)
{
    return (struct outputs){0, w->n_out};
}

void linear_forward(
    struct train_pass *p, const struct train_weight *w, const float *x, int64_t rows, float *y, bool add)
{
    const struct train_model *m = p->model;
    outputs_forward(p, w, all_outputs(w), x, rows, y, add);
    if (w->lora_a < 0)
        return;
    const int64_t rank = m->lora_rank;
    float *inner = lora_inner(p, w);
    team_gemm(p->team, rows, rank, w->n_in, matrix_rows(x, w->n_in),
        matrix_turned(m->values + w->lora_a, w->n_in), inner, rank, false);
    p->team->kernels->scale(inner, m->lora_scale, rows * rank);
    team_gemm(p->team, rows, w->n_out, rank, matrix_rows(inner, rank),
        matrix_turned(m->values + w->lora_b, rank), y, w->n_out, true);
}

/* dx = scale (dy B) A, or += ; what dy B is stays in lora_d for the gradient of A. */
static void lora_back_input(
    struct train_pass *p, const struct train_weight *w, const float *dy, int64_t rows, float *dx)
{
    const struct train_model *m = p->model;
    const int64_t rank = m->lora_rank;
    team_gemm(p->team, rows, rank, w->n_out, matrix_rows(dy, w->n_out),
        matrix_rows(m->values + w->lora_b, rank), p->lora_d, rank, false);
    p->team->kernels->scale(p->lora_d, m->lora_scale, rows * rank);
    team_gemm(p->team, rows, w->n_in, rank, matrix_rows(p->lora_d, rank),
        matrix_rows(m->values + w->lora_a, w->n_in), dx, w->n_in, true);
}

void linear_back_input(
    struct train_pass *p, const struct train_weight *w, const float *dy, int64_t rows, float *dx, bool add)
{
    outputs_back_input(p, w, all_outputs(w), dy, rows, dx, add);
    if (w->lora_a >= 0)
        lora_back_input(p, w, dy, rows, dx);
}

/* With u = scale A x kept: dB += dy^T u, dA += (scale dy B)^T x. */
static void lora_back_weight(
    struct train_pass *p, const struct train_weight *w, const float *x, const float *dy, int64_t rows)
{
    const int64_t rank = p->model->lora_rank;
    team_gemm(p->team, w->n_out, rank, rows, matrix_turned(dy, w->n_out), matrix_rows(lora_inner(p, w), rank),
        p->gradients + w->lora_b, rank, true);
    team_gemm(p->team, rank, w->n_in, rows, matrix_turned(p->lora_d, rank), matrix_rows(x, w->n_in),
        p->gradients + w->lora_a, w->n_in, true);
}

void linear_back_weight(
    struct train_pass *p, const struct train_weight *w, const float *x, const float *dy, int64_t rows)
{
    outputs_back_weight(p, w, all_outputs(w), x, dy, rows);
    if (w->lora_a >= 0)
        lora_back_weight(p, w, x, dy, rows);
}

void linear_back(struct train_pass *p, const struct train_weight *w, const float *x, const float *dy,
    int64_t rows, float *dx, bool add)
{
    linear_back_input(p, w, dy, rows, dx, add);
    linear_back_weight(p, w, x, dy, rows);
}
