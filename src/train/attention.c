/* Causal attention inside each example. What one head of keys and all its heads of queries do in one example
 * is one piece of work. Scores are made for ATTENTION_ROWS queries at a time and not kept: the backward pass
 * makes them again out of the logarithms of their sums (Dao et al. 2022, arxiv.org/abs/2205.14135). */
#include <string.h>

#include "train/pass.h"

size_t attention_scratch_floats(
    const struct train_model *m, int32_t most, const struct train_kernels *kernels)
{
    const int64_t width = m->shape.head_width;
    const size_t turned = gemm_packed_size(kernels, most, width),
                 plain = gemm_packed_size(kernels, width, most);
    return 2 * (turned + plain) + 2 * ATTENTION_ROWS * (((size_t)most + 15) / 16 * 16 + 16) + 64;
}

void attention_scratch_place(struct attention_scratch *s, const struct train_model *m, int32_t most,
    const struct train_kernels *kernels, float *at)
{
    const int64_t width = m->shape.head_width;
    const size_t turned = gemm_packed_size(kernels, most, width),
                 plain = gemm_packed_size(kernels, width, most);
    /* No multiple of a page: rows would share cache sets. */
    s->stride = ((int64_t)most + 15) / 16 * 16 + 16;
    s->keys_turned = at;
    s->values_turned = s->keys_turned + turned;
    s->keys = s->values_turned + turned;
    s->values = s->keys + plain;
    s->scores = s->values + plain;
    s->d_scores = s->scores + ATTENTION_ROWS * s->stride;
}

struct task {
    struct train_pass *p;
    struct kept *k;
    const int32_t *rows; /* NULL: all */
    int32_t n_rows;
    int32_t window; /* 0: none */
    bool back;
};

/* One example and head of keys. */
struct piece {
    const struct task *t;
    struct attention_scratch *s;
    const struct gemm_scratch *blocks;
    int64_t start, length; /* tokens of the example */
    int64_t from, to;      /* its rows of queries */
    int64_t width, q_width, kv_width, head, kv_head;
    float scale, cap; /* of scores; cap 0: none */
};

/* The first row whose token is not before `token`. */
static int64_t row_find(const struct task *t, int64_t token)
{
    int64_t low = 0, high = t->n_rows;
    if (!t->rows)
        return token;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (t->rows[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keys that a row's query sees. */
static int64_t seen(const struct piece *c, int64_t row)
{
    return (c->t->rows ? c->t->rows[row] : row) - c->start + 1;
}

/* scores = Q K^T of `n` rows from `row` on. */
static int64_t scores_make(const struct piece *c, int64_t row, int64_t n)
{
    const struct train_kernels *kernels = c->t->p->team->kernels;
    const int64_t keys = seen(c, row + n - 1);
    gemm_with_packed(kernels, n, keys, c->width,
        matrix_rows(c->t->k->q + row * c->q_width + c->head * c->width, c->q_width), c->s->keys_turned,
        c->width, c->s->scores, c->s->stride, false, c->blocks);
    return keys;
}

/* Keys before these are outside the window. */
static int64_t first_seen(const struct piece *c, int64_t visible)
{
    const int32_t window = c->t->window;
    return window > 0 && visible > window ? visible - window : 0;
}

static void clear_unseen(float *row, int64_t first, int64_t visible, int64_t keys)
{
    memset(row, 0, (size_t)first * sizeof *row);
    memset(row + visible, 0, (size_t)(keys - visible) * sizeof *row);
}

/* Scores held below the cap; what is left to multiply them by. */
static float scores_cap(const struct piece *c, float *scores, int64_t n)
{
    if (c->cap == 0)
        return c->scale;
    c->t->p->team->kernels->softcap(scores, c->scale, c->cap, n);
    return 1;
}

static void rows_forward(const struct piece *c, int64_t row, int64_t n)
{
    const struct train_kernels *kernels = c->t->p->team->kernels;
    struct kept *k = c->t->k;
    const int64_t keys = scores_make(c, row, n), n_heads = c->t->p->model->shape.n_heads;
    for (int64_t i = 0; i < n; i++) {
        float *scores = c->s->scores + i * c->s->stride, sum;
        const int64_t visible = seen(c, row + i), first = first_seen(c, visible), n_seen = visible - first;
        const float scale = scores_cap(c, scores + first, n_seen);
        k->lse[(row + i) * n_heads + c->head] = kernels->softmax(scores + first, scale, n_seen, &sum);
        kernels->scale(scores + first, 1 / sum, n_seen);
        clear_unseen(scores, first, visible, keys);
    }
    gemm_with_packed(kernels, n, c->width, keys, matrix_rows(c->s->scores, c->s->stride), c->s->values,
        c->length, k->mix + row * c->q_width + c->head * c->width, c->q_width, false, c->blocks);
}

/* P = exp(scale S - lse), dP = dO V^T, dS = P (dP - dO . O) scale (FlashAttention, algorithm 4). */
static void row_back(const struct piece *c, float *scores, float *d_scores, int64_t n, float less, float lse)
{
    const struct train_kernels *kernels = c->t->p->team->kernels;
    const float scale = scores_cap(c, scores, n);
    if (c->cap != 0) { /* its slope, before the scores are no more */
        for (int64_t i = 0; i < n; i++)
            d_scores[i] -= less;
        kernels->softcap_back(d_scores, scores, c->cap, n);
        less = 0;
    }
    kernels->exponents(scores, scale, lse, n);
    kernels->softmax_back(d_scores, scores, less, c->scale, n);
}

static int64_t d_scores_make(const struct piece *c, int64_t row, int64_t n)
{
    struct train_pass *p = c->t->p;
    const struct train_kernels *kernels = p->team->kernels;
    struct kept *k = c->t->k;
    const int64_t at = row * c->q_width + c->head * c->width, keys = scores_make(c, row, n);
    gemm_with_packed(kernels, n, keys, c->width, matrix_rows(p->dmix + at, c->q_width), c->s->values_turned,
        c->width, c->s->d_scores, c->s->stride, false, c->blocks);
    for (int64_t i = 0; i < n; i++) {
        float *scores = c->s->scores + i * c->s->stride, *d_scores = c->s->d_scores + i * c->s->stride;
        const int64_t visible = seen(c, row + i), first = first_seen(c, visible);
        const float less =
            kernels->dot(p->dmix + at + i * c->q_width, k->mix + at + i * c->q_width, c->width);
        row_back(c, scores + first, d_scores + first, visible - first, less,
            k->lse[(row + i) * p->model->shape.n_heads + c->head]);
        clear_unseen(scores, first, visible, keys);
        clear_unseen(d_scores, first, visible, keys);
    }
    return keys;
}

static void rows_back(const struct piece *c, int64_t row, int64_t n)
{
    struct train_pass *p = c->t->p;
    const struct train_kernels *kernels = p->team->kernels;
    const int64_t at = row * c->q_width + c->head * c->width, keys = d_scores_make(c, row, n);
    const int64_t kv = c->start * c->kv_width + c->kv_head * c->width;
    gemm(kernels, keys, c->width, n, matrix_turned(c->s->scores, c->s->stride),
        matrix_rows(p->dmix + at, c->q_width), p->dv + kv, c->kv_width, true, c->blocks);
    gemm(kernels, keys, c->width, n, matrix_turned(c->s->d_scores, c->s->stride),
        matrix_rows(c->t->k->q + at, c->q_width), p->dk + kv, c->kv_width, true, c->blocks);
    gemm_with_packed(kernels, n, c->width, keys, matrix_rows(c->s->d_scores, c->s->stride), c->s->keys,
        c->length, p->dq + at, c->q_width, false, c->blocks);
}

static void piece_pack(const struct piece *c)
{
    const struct train_kernels *kernels = c->t->p->team->kernels;
    const struct kept *k = c->t->k;
    const int64_t kv = c->start * c->kv_width + c->kv_head * c->width;
    gemm_pack(kernels, c->length, c->width, matrix_turned(k->k + kv, c->kv_width), c->s->keys_turned);
    if (!c->t->back) {
        gemm_pack(kernels, c->width, c->length, matrix_rows(k->v + kv, c->kv_width), c->s->values);
        return;
    }
    gemm_pack(kernels, c->width, c->length, matrix_rows(k->k + kv, c->kv_width), c->s->keys);
    gemm_pack(kernels, c->length, c->width, matrix_turned(k->v + kv, c->kv_width), c->s->values_turned);
    for (int64_t i = 0; i < c->length; i++) {
        memset(c->t->p->dk + kv + i * c->kv_width, 0, (size_t)c->width * sizeof(float));
        memset(c->t->p->dv + kv + i * c->kv_width, 0, (size_t)c->width * sizeof(float));
    }
}

static void piece_run(void *ctx, int64_t item, int32_t thread)
{
    const struct task *t = ctx;
    const struct train_shape *shape = &t->p->model->shape;
    const int32_t *docs = t->p->sequence->docs + item / shape->n_kv_heads;
    struct piece c = {.t = t,
        .s = &t->p->attention[thread],
        .blocks = &t->p->team->scratch[thread],
        .start = docs[0],
        .length = docs[1] - docs[0],
        .from = row_find(t, docs[0]),
        .to = row_find(t, docs[1]),
        .width = shape->head_width,
        .q_width = (int64_t)shape->n_heads * shape->head_width,
        .kv_width = (int64_t)shape->n_kv_heads * shape->head_width,
        .kv_head = item % shape->n_kv_heads,
        .scale = t->p->model->score_scale,
        .cap = t->p->model->score_cap};
    const int64_t group = shape->n_heads / shape->n_kv_heads;
    piece_pack(&c);
    for (c.head = c.kv_head * group; c.head < (c.kv_head + 1) * group; c.head++)
        for (int64_t row = c.from; row < c.to; row += ATTENTION_ROWS) {
            const int64_t n = c.to - row < ATTENTION_ROWS ? c.to - row : ATTENTION_ROWS;
            if (t->back)
                rows_back(&c, row, n);
            else
                rows_forward(&c, row, n);
        }
}

static void run(struct train_pass *p, struct kept *k, const struct train_layer *l, const int32_t *rows,
    int32_t n_rows, bool back)
{
    struct task t = {p, k, rows, n_rows, l->window, back};
    team_each(p->team, (int64_t)p->sequence->n_docs * p->model->shape.n_kv_heads, piece_run, &t);
}

void attention_forward(
    struct train_pass *p, struct kept *k, const struct train_layer *l, const int32_t *rows, int32_t n_rows)
{
    run(p, k, l, rows, n_rows, false);
}

void attention_back(
    struct train_pass *p, struct kept *k, const struct train_layer *l, const int32_t *rows, int32_t n_rows)
{
    run(p, k, l, rows, n_rows, true);
}
