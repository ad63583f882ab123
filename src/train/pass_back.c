/* The end of a pass, where the loss is, and the way back. */
#include <math.h>
#include <string.h>

#include "train/pass.h"

/* ---- Norms: dx += , and the weights' gradient by runs of rows, which are added in order ---- */
struct norm_task {
    struct train_pass *p;
    const float *values, *dy, *x, *inverse;
    float *dx;
    int64_t width, runs; /* as in the forward pass */
};

static void norm_rows_back(void *ctx, int64_t from, int64_t to)
{
    const struct norm_task *t = ctx;
    const struct train_kernels *k = t->p->team->kernels;
    const bool centred = t->p->model->decoder->centred;
    float *dw = t->p->norm_parts + from / TEAM_ROWS * t->width * t->runs;
    memset(dw, 0, (size_t)(t->width * t->runs) * sizeof *dw);
    for (int64_t i = from * t->runs; i < to * t->runs; i++) {
        const int64_t at = i * t->width, of = i % t->runs * t->width;
        (centred ? k->layer_norm_back : k->norm_back)(
            t->dx + at, dw + of, t->dy + at, t->x + at, t->values + of, t->inverse[i], t->width);
    }
}

static void norm_backward(struct train_pass *p, const struct train_weight *w, const float *dy, const float *x,
    const float *inverse, int64_t rows, float *dx)
{
    const int64_t n = w->n_in * w->n_out;
    struct norm_task t = {p, train_vector_values(p->model, w), dy, x, inverse, dx, w->n_in, w->n_out};
    team_rows(p->team, rows, norm_rows_back, &t);
    for (int64_t i = 0; i < rows && w->at >= 0; i += TEAM_ROWS)
        p->team->kernels->add(p->gradients + w->at, p->norm_parts + i / TEAM_ROWS * n, n);
}

/* Of what went into a branch: dx += */
static void before_back(struct train_pass *p, const struct train_weight *w, const float *dy, const float *x,
    const float *inverse, int64_t rows)
{
    if (w)
        norm_backward(p, w, dy, x, inverse, rows, p->dx);
    else
        p->team->kernels->add(p->dx, dy, rows * p->model->shape.n_embed);
}

/* The gradient of what a branch ends in. No architecture has both norms and a scale there. */
static const float *branch_back(struct train_pass *p, struct branch b, int64_t rows)
{
    const int64_t n = rows * p->model->shape.n_embed;
    if (branch_is_plain(p->model))
        return p->dx;
    memset(p->branch, 0, (size_t)n * sizeof *p->branch);
    if (b.behind) {
        norm_backward(p, b.behind, p->dx, b.plain, b.inverse, rows, p->branch);
    } else {
        p->team->kernels->add(p->branch, p->dx, n);
        p->team->kernels->scale(p->branch, p->model->branch_scale, n);
    }
    return p->branch;
}

/* ---- The head: logits of some rows and some of the vocabulary at a time. First what their exponentials sum
 * to, then each becomes its own gradient. ---- */
struct head_row {
    float most, sum, own; /* the largest logit so far, sum of exp(logit - most), the target's */
};
struct head_task {
    struct train_pass *p;
    int64_t first, rows;
    struct outputs part;
    float scale;
    struct head_row *state; /* of each row */
};

/* Logits as the model has them, of what its last product gives; and the way back. */
static void logits_finish(const struct train_pass *p, float *logits, float *capped, int64_t n)
{
    const struct train_model *m = p->model;
    if (m->logit_cap > 0) {
        p->team->kernels->softcap(logits, m->logit_scale, m->logit_cap, n);
        memcpy(capped, logits, (size_t)n * sizeof *logits);
    } else if (m->logit_scale != 1) {
        p->team->kernels->scale(logits, m->logit_scale, n);
    }
}

static void logits_back(const struct train_pass *p, float *d, const float *capped, int64_t n)
{
    if (p->model->logit_cap > 0)
        p->team->kernels->softcap_back(d, capped, p->model->logit_cap, n);
    if (p->model->logit_scale != 1)
        p->team->kernels->scale(d, p->model->logit_scale, n);
}

/* Where a row's target is in the part; else -1. */
static int64_t target_in(const struct head_task *t, int64_t row)
{
    const int64_t at = t->p->sequence->targets[t->first + row] - t->part.from;
    return at >= 0 && at < t->part.n ? at : -1;
}

static void sum_rows(void *ctx, int64_t from, int64_t to)
{
    const struct head_task *t = ctx;
    const int64_t n = t->part.n;
    for (int64_t i = from; i < to; i++) {
        float *logits = t->p->logits + i * n, most;
        struct head_row *row = &t->state[i];
        const int64_t target = target_in(t, i);
        logits_finish(t->p, logits, t->p->capped + i * n, n);
        const float sum = t->p->team->kernels->exponents_sum(logits, n, &most);
        if (target >= 0)
            row->own = logits[target];
        const float all = most > row->most ? most : row->most;
        row->sum = row->sum * expf(row->most - all) + sum * expf(most - all);
        row->most = all;
    }
}

/* scale dloss/dlogits = weight (softmax - 1 at the target) */
static void gradient_rows(void *ctx, int64_t from, int64_t to)
{
    const struct head_task *t = ctx;
    const struct train_kernels *k = t->p->team->kernels;
    const int64_t n = t->part.n;
    for (int64_t i = from; i < to; i++) {
        float *logits = t->p->logits + i * n, *capped = t->p->capped + i * n;
        const float weight = t->p->sequence->weights[t->first + i] * t->scale;
        const int64_t target = target_in(t, i);
        k->exponents(logits, 1, t->state[i].most + logf(t->state[i].sum), n);
        k->scale(logits, weight, n);
        if (target >= 0)
            logits[target] -= weight;
        logits_back(t->p, logits, capped, n);
    }
}

static void finish_rows(void *ctx, int64_t from, int64_t to)
{
    const struct head_task *t = ctx;
    const int64_t n = t->part.n;
    for (int64_t i = from; i < to; i++)
        logits_finish(t->p, t->p->logits + i * n, t->p->capped + i * n, n);
}

static void part_forward(struct head_task *t)
{
    const struct train_weight *w = t->p->model->output;
    outputs_forward(t->p, w, t->part, t->p->last_norm + t->first * w->n_in, t->rows, t->p->logits, false);
    team_rows(t->p->team, t->rows, sum_rows, t);
}

static void part_back(struct head_task *t)
{
    struct train_pass *p = t->p;
    const struct train_weight *w = p->model->output;
    float *x = p->last_norm + t->first * w->n_in, *dx = p->dn + t->first * w->n_in;
    if (t->part.n < w->n_out) { /* other logits have taken their place */
        outputs_forward(p, w, t->part, x, t->rows, p->logits, false);
        team_rows(p->team, t->rows, finish_rows, t);
    }
    team_rows(p->team, t->rows, gradient_rows, t);
    outputs_back_input(p, w, t->part, p->logits, t->rows, dx, t->part.from > 0);
    outputs_back_weight(p, w, t->part, x, p->logits, t->rows);
}

static void parts_each(struct head_task *t, void (*fn)(struct head_task *t))
{
    const int64_t n = t->p->model->output->n_out, some = t->p->head_columns;
    for (int64_t from = 0; from < n; from += some) {
        t->part = (struct outputs){from, n - from < some ? n - from : some};
        fn(t);
    }
}

static void loss_add(const struct head_task *t, struct train_loss *out)
{
    const float *weights = t->p->sequence->weights + t->first;
    float *losses = t->p->losses + t->first;
    for (int64_t i = 0; i < t->rows; i++) {
        const struct head_row *row = &t->state[i];
        losses[i] = row->most + logf(row->sum) - row->own;
        out->loss += (double)weights[i] * (double)losses[i];
        out->weight += (double)weights[i];
        out->right += weights[i] >= 1 && row->own >= row->most;
        out->targets += weights[i] >= 1;
    }
}

void head_run(struct train_pass *p, bool back, float scale, struct train_loss *out)
{
    const struct train_model *m = p->model;
    const int64_t rows = p->sequence->n_targets;
    struct head_row state[HEAD_ROWS_MOST];
    struct head_task t = {.p = p, .scale = scale, .state = state};
    norm_forward(p, m->output_norm, p->last, rows, p->last_norm, p->last_inverse);
    for (; t.first < rows; t.first += p->head_rows) {
        t.rows = rows - t.first < p->head_rows ? rows - t.first : p->head_rows;
        for (int64_t i = 0; i < t.rows; i++)
            state[i] = (struct head_row){.most = -INFINITY};
        parts_each(&t, part_forward);
        loss_add(&t, out);
        if (back)
            parts_each(&t, part_back);
    }
    if (!back)
        return;
    memset(p->dx, 0, (size_t)(rows * m->shape.n_embed) * sizeof(float));
    norm_backward(p, m->output_norm, p->dn, p->last, p->last_inverse, rows, p->dx);
}

/* ---- Layers. p->dx holds the gradient of a layer's output and becomes that of its input. ---- */
struct wide_task {
    struct train_pass *p;
    struct kept *k;
    int64_t width;
};

static void glu_rows_back(void *ctx, int64_t from, int64_t to)
{
    const struct wide_task *t = ctx;
    const struct train_kernels *k = t->p->team->kernels;
    const int64_t at = from * t->width;
    (t->p->model->decoder->gelu ? k->geglu_back : k->glu_back)(
        t->p->wide + at, t->k->gate + at, t->k->up + at, (to - from) * t->width);
}

static void feed_forward_back(struct train_pass *p, const struct train_layer *l, struct kept *k, int64_t rows)
{
    const struct train_weight *down = l->down;
    struct wide_task glu = {p, k, down->n_in};
    const float *dy = branch_back(p, branch_network(l, k), rows);
    /* The network's inner values are made again on the way: only then is the gradient of `down` known. */
    linear_back_input(p, down, dy, rows, p->wide, false);
    team_rows(p->team, rows, glu_rows_back, &glu);
    linear_back_weight(p, down, p->wide, dy, rows);
    linear_back(p, l->gate, k->n2, k->gate, rows, p->dn, false);
    linear_back(p, l->up, k->n2, k->up, rows, p->dn, true);
    if (p->model->decoder->parallel)
        memcpy(p->d_shared, p->dn, (size_t)(rows * down->n_out) * sizeof *p->dn);
    else
        before_back(p, l->ffn_norm, p->dn, k->middle, k->inverse2, rows);
}

/* Back through the turn and the norms of heads. `spare`: as large as dy. */
static void head_rows_back(struct train_pass *p, const struct train_layer *l, struct head_rows h,
    int64_t rows, const int32_t *positions, float *dy, float *spare)
{
    const size_t bytes = (size_t)(rows * h.w->n_out) * sizeof *dy;
    heads_turn(p, l, dy, positions, rows, h.w, -1);
    if (h.norm) {
        memset(spare, 0, bytes);
        norm_backward(p, h.norm, dy, h.plain, h.inverse, head_rows_normed(&h, rows), spare);
        memcpy(dy, spare, bytes);
    }
}

/* Gradients of `rows` go to their tokens; the others get none. */
static void spread(struct train_pass *p, const int32_t *rows, int64_t n)
{
    const int64_t d = p->model->shape.n_embed;
    float *all = p->dx_rows;
    memset(all, 0, (size_t)(p->sequence->n_tokens * d) * sizeof *all);
    for (int64_t i = 0; i < n; i++)
        memcpy(all + rows[i] * d, p->dx + i * d, (size_t)d * sizeof *all);
    p->dx_rows = p->dx;
    p->dx = all;
}

static void attend_back(
    struct train_pass *p, const struct train_layer *l, struct kept *k, const int32_t *rows, int32_t n)
{
    const int64_t tokens = p->sequence->n_tokens, d = p->model->shape.n_embed;
    const float *dy = branch_back(p, branch_attention(l, k), n);
    linear_back(p, l->output, k->mix, dy, n, p->dmix, false);
    attention_back(p, k, l, rows, n);
    head_rows_back(p, l, head_rows_queries(l, k), n, rows ? p->row_positions : p->positions, p->dq, p->dmix);
    head_rows_back(p, l, head_rows_keys(l, k), tokens, p->positions, p->dk, p->dmix);
    linear_back(p, l->k, k->n1, p->dk, tokens, p->dn, false);
    linear_back(p, l->v, k->n1, p->dv, tokens, p->dn, true);
    if (rows) {
        spread(p, rows, n);
        linear_back(p, l->q, p->n1_rows, p->dq, n, p->dx_rows, false);
        for (int32_t i = 0; i < n; i++)
            p->team->kernels->add(p->dn + rows[i] * d, p->dx_rows + i * d, d);
    } else {
        linear_back(p, l->q, k->n1, p->dq, n, p->dn, true);
    }
    if (p->model->decoder->parallel)
        for (int32_t i = 0; i < n; i++)
            p->team->kernels->add(p->dn + (rows ? rows[i] : i) * d, p->d_shared + i * d, d);
    before_back(p, l->attn_norm, p->dn, k->x, k->inverse1, tokens);
}

void pass_back(struct train_pass *p)
{
    const struct train_model *m = p->model;
    const struct train_sequence *s = p->sequence;
    const int32_t last = m->shape.n_layers - 1;
    const int64_t d = m->shape.n_embed;
    for (int32_t i = last; i >= 0; i--) {
        const int32_t rows = i == last ? s->n_targets : s->n_tokens;
        layer_recall(p, i);
        feed_forward_back(p, &m->layers[i], &p->kept[i], rows);
        attend_back(p, &m->layers[i], &p->kept[i], i == last ? s->rows : NULL, rows);
    }
    if (m->embed_scale != 1)
        p->team->kernels->scale(p->dx, m->embed_scale, s->n_tokens * d);
    for (int32_t t = 0; t < s->n_tokens && m->embedding->at >= 0; t++)
        p->team->kernels->add(p->gradients + m->embedding->at + s->tokens[t] * d, p->dx + t * d, d);
}
