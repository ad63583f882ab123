/* Memory of a pass, and the forward pass. */
#include "train/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

/* ---- Memory: one block of floats, handed out in order ---- */

enum { LOGITS_MAX = 1 << 22, HEAD_ROWS_LEAST = 32, HEAD_COLUMNS = 512 /* whole blocks of products */ };
#define KEPT_FLOATS_MOST (32 << 20) /* 128 MiB: more is narrowed */

/* Counts, and where there is a block gives, floats. */
struct hand {
    float *at; /* NULL: only counting */
    size_t total;
};

static float *hand_out(struct hand *h, int64_t rows, int64_t width)
{
    const size_t n = (size_t)(rows * width + 15) / 16 * 16;
    float *out = h->at ? h->at + h->total : NULL;
    h->total += n;
    return out;
}

/* Where products are fast, logits are made for some of the vocabulary at a time, twice, and stay in the
 * cache. */
static void head_divide(
    struct train_pass *p, const struct train_model *m, const struct train_kernels *kernels)
{
    const int32_t n = m->shape.n_vocab, rows = LOGITS_MAX / n;
    const bool fast = kernels->k_step > 1 && n > HEAD_COLUMNS;
    p->head_columns = fast ? HEAD_COLUMNS : n;
    p->head_rows = fast || rows > HEAD_ROWS_MOST ? HEAD_ROWS_MOST
                   : rows < HEAD_ROWS_LEAST      ? HEAD_ROWS_LEAST
                                                 : rows;
}

/* Values of a layer, one behind the other; returns how many floats they are. */
static int64_t values_place(struct hand *h, const struct train_model *m, int64_t most, struct kept *k)
{
    const struct train_shape *s = &m->shape;
    const int64_t d = s->n_embed, q = (int64_t)s->n_heads * s->head_width,
                  kv = (int64_t)s->n_kv_heads * s->head_width, before = (int64_t)h->total;
    *k = (struct kept){.x = hand_out(h, most, d),
        .n1 = hand_out(h, most, d),
        .k = hand_out(h, most, kv),
        .v = hand_out(h, most, kv),
        .q = hand_out(h, most, q),
        .mix = hand_out(h, most, q),
        .middle = hand_out(h, most, d),
        .n2 = hand_out(h, most, d),
        .gate = hand_out(h, most, s->n_ffn),
        .up = hand_out(h, most, s->n_ffn)};
    if (m->decoder->head_norms) {
        k->q_plain = hand_out(h, most, q);
        k->k_plain = hand_out(h, most, kv);
    }
    if (m->decoder->norms_behind) {
        k->attn_plain = hand_out(h, most, d);
        k->ffn_plain = hand_out(h, most, d);
    }
    return (int64_t)h->total - before;
}

static void figures_place(struct hand *h, const struct train_model *m, int64_t most, struct kept *k)
{
    const struct train_shape *s = &m->shape;
    k->lse = hand_out(h, most, s->n_heads);
    k->inverse1 = hand_out(h, most, 1);
    k->inverse2 = hand_out(h, most, 1);
    if (m->decoder->norms_behind) {
        k->inverse_attn = hand_out(h, most, 1);
        k->inverse_ffn = hand_out(h, most, 1);
    }
    if (!m->decoder->head_norms)
        return;
    k->inverse_q = hand_out(h, most, s->n_heads);
    k->inverse_k = hand_out(h, most, s->n_kv_heads);
}

static void kept_place(struct hand *h, const struct train_model *m, bool narrow, struct train_pass *p)
{
    const int32_t n = m->shape.n_layers;
    struct kept one, *k = &one;
    for (int32_t i = 0; i < n; i++) {
        if (p->kept && narrow && i > 0)
            p->kept[i] = *k;
        k = p->kept ? &p->kept[i] : k;
        if (!narrow || i == 0)
            p->n_narrow = values_place(h, m, p->most, k);
        figures_place(h, m, p->most, k);
    }
    if (narrow) /* two in a float's place */
        p->narrow = (uint16_t *)hand_out(h, n, (p->n_narrow + 1) / 2);
}

static void back_place(struct hand *h, const struct train_model *m, int64_t most, struct train_pass *p)
{
    const struct train_shape *s = &m->shape;
    const int64_t d = s->n_embed, q = (int64_t)s->n_heads * s->head_width,
                  kv = (int64_t)s->n_kv_heads * s->head_width;
    p->dx = hand_out(h, most, d);
    p->dn = hand_out(h, most, d);
    p->dx_rows = hand_out(h, most, d);
    p->dq = hand_out(h, most, q);
    p->dk = hand_out(h, most, kv);
    p->dv = hand_out(h, most, kv);
    p->dmix = hand_out(h, most, q);
    p->branch = hand_out(h, branch_is_plain(m) ? 0 : most, d);
    p->d_shared = hand_out(h, m->decoder->parallel ? most : 0, d);
    p->norm_parts = hand_out(h, most / TEAM_ROWS + 1, d > q ? d : q); /* of heads' norms, too */
}

/* What adapters need, and frozen weights that are not floats. */
static void lora_place(struct hand *h, const struct train_model *m, int64_t most, struct train_pass *p)
{
    int64_t largest = 0;
    for (int32_t i = 0; i < m->n_weights + m->n_parts; i++) {
        const struct train_weight *w = &m->weights[i];
        if (!train_weight_is_multiplied(m, w))
            continue;
        if (w->at < 0 && !w->packed && w->type != TENSOR_F32 && w->n_in * w->n_out > largest)
            largest = w->n_in * w->n_out;
        float *inner = w->lora_a >= 0 ? hand_out(h, most, m->lora_rank) : NULL;
        if (p->lora)
            p->lora[i] = inner;
    }
    p->floats = hand_out(h, largest, 1);
    p->lora_d = hand_out(h, most, m->lora_rank);
}

static void pass_place(struct hand *h, const struct train_model *m, bool narrow, int32_t threads,
    const struct train_kernels *kernels, struct train_pass *p)
{
    const struct train_shape *s = &m->shape;
    const int64_t most = p->most;
    kept_place(h, m, narrow, p);
    p->wide = hand_out(h, most, s->n_ffn);
    p->n1_rows = hand_out(h, most, s->n_embed);
    p->last = hand_out(h, most, s->n_embed);
    p->last_norm = hand_out(h, most, s->n_embed);
    p->last_inverse = hand_out(h, most, 1);
    head_divide(p, m, kernels);
    p->logits = hand_out(h, p->head_rows, p->head_columns);
    p->capped = hand_out(h, m->logit_cap > 0 ? p->head_rows : 0, p->head_columns);
    p->losses = hand_out(h, most, 1);
    back_place(h, m, most, p);
    lora_place(h, m, most, p);
    for (int32_t i = 0; i < threads; i++) {
        float *at = hand_out(h, (int64_t)attention_scratch_floats(m, p->most, kernels), 1);
        if (at)
            attention_scratch_place(&p->attention[i], m, p->most, kernels, at);
    }
}

bool train_pass_narrows(const struct train_model *m, const struct train_kernels *products, int32_t most)
{
    struct kept one;
    struct hand h = {0};
    return products->rounds &&
           m->shape.n_layers * values_place(&h, m, most, &one) > (int64_t)KEPT_FLOATS_MOST;
}

size_t train_pass_bytes(const struct train_model *m, const struct train_kernels *kernels, bool narrow,
    int32_t most, int32_t threads)
{
    struct train_pass p = {.most = most};
    struct hand h = {0};
    pass_place(&h, m, narrow, threads, kernels, &p);
    return h.total * sizeof(float) + (size_t)threads * gemm_scratch_bytes();
}

int train_pass_create(const struct train_model *m, struct team *team, bool narrow, int32_t most,
    struct train_pass *p, struct error *err)
{
    struct hand count = {0}, place = {0};
    *p = (struct train_pass){.model = m, .team = team, .most = most};
    pass_place(&count, m, narrow, team->count, team->kernels, p);
    p->kept = calloc((size_t)m->shape.n_layers, sizeof *p->kept);
    p->attention = calloc((size_t)team->count, sizeof *p->attention);
    p->lora = calloc((size_t)(m->n_weights + m->n_parts), sizeof *p->lora);
    p->positions = calloc((size_t)most, sizeof *p->positions);
    p->row_positions = calloc((size_t)most, sizeof *p->row_positions);
    p->block = pages_alloc(count.total * sizeof(float));
    p->gradients = pages_alloc((size_t)m->n_values * sizeof(float));
    if (!p->kept || !p->attention || !p->lora || !p->positions || !p->row_positions || !p->block ||
        !p->gradients) {
        train_pass_free(p);
        return error_set(err, ERROR_MEMORY,
            "no memory for sequences of %d tokens: choose a smaller context, a smaller model or fewer "
            "threads",
            (int)most);
    }
    memset(p->gradients, 0, (size_t)m->n_values * sizeof(float));
    place.at = p->block;
    pass_place(&place, m, narrow, team->count, team->kernels, p);
    return 0;
}

void train_pass_free(struct train_pass *p)
{
    free(p->kept);
    free(p->attention);
    free(p->lora);
    free(p->positions);
    free(p->row_positions);
    free(p->block);
    free(p->gradients);
    *p = (struct train_pass){0};
}

/* ---- Steps over rows ---- */
struct rows_task {
    struct train_pass *p;
    const struct train_weight *weight;
    const struct train_layer *layer;
    const float *x, *values;
    float *y, *inverse, *other;
    const int32_t *index;
    int64_t width, runs; /* runs of `width` in a row, each with values of its own */
    float sign;
};

static void norm_rows(void *ctx, int64_t from, int64_t to)
{
    const struct rows_task *t = ctx;
    const struct train_model *m = t->p->model;
    const struct train_kernels *k = t->p->team->kernels;
    for (int64_t i = from * t->runs; i < to * t->runs; i++)
        t->inverse[i] = (m->decoder->centred ? k->layer_norm : k->norm)(t->y + i * t->width,
            t->x + i * t->width, t->values + i % t->runs * t->width, m->shape.norm_eps, t->width);
}

void norm_forward(struct train_pass *p, const struct train_weight *w, const float *x, int64_t rows, float *y,
    float *inverse)
{
    const float *values = train_vector_values(p->model, w);
    struct rows_task t = {
        .p = p, .values = values, .x = x, .y = y, .inverse = inverse, .width = w->n_in, .runs = w->n_out};
    team_rows(p->team, rows, norm_rows, &t);
}

/* What goes into a branch: normed, unless the architecture has no norms there. */
static void before_forward(struct train_pass *p, const struct train_weight *w, const float *x, int64_t rows,
    float *y, float *inverse)
{
    if (w)
        norm_forward(p, w, x, rows, y, inverse);
    else
        memcpy(y, x, (size_t)(rows * p->model->shape.n_embed) * sizeof *y);
}

static void row_embed(const struct rows_task *t, int64_t token, float *to)
{
    const struct train_weight *w = t->weight;
    if (w->at >= 0) {
        memcpy(to, train_weight_values(t->p->model, w) + token * t->width, (size_t)t->width * sizeof *to);
        return;
    }
    const size_t bytes = tensor_row_bytes(w->type, w->n_in);
    int rc = tensor_dequantize(w->type, (const char *)w->frozen + (size_t)token * bytes, to, t->width, NULL);
    (void)rc; /* unreadable types are refused when the model is loaded */
}

static void embed_rows(void *ctx, int64_t from, int64_t to)
{
    const struct rows_task *t = ctx;
    const float by = t->p->model->embed_scale;
    for (int64_t i = from; i < to; i++) {
        row_embed(t, t->index[i], t->y + i * t->width);
        if (by != 1)
            t->p->team->kernels->scale(t->y + i * t->width, by, t->width);
    }
}

static void glu_rows(void *ctx, int64_t from, int64_t to)
{
    const struct rows_task *t = ctx;
    const struct train_kernels *k = t->p->team->kernels;
    (t->p->model->decoder->gelu ? k->geglu : k->glu)(
        t->y + from * t->width, t->x + from * t->width, t->other + from * t->width, (to - from) * t->width);
}

static void turn_rows(void *ctx, int64_t from, int64_t to)
{
    const struct rows_task *t = ctx;
    const struct train_model *m = t->p->model;
    const struct train_angles *angles = t->layer->angles;
    const int64_t head = m->shape.head_width, half = m->n_rotated / 2;
    for (int64_t i = from; i < to; i++) {
        float *row = t->y + i * t->width;
        for (int64_t h = 0; angles && h < t->width; h += head)
            t->p->team->kernels->rope(row + h, angles->cosine + t->index[i] * half,
                angles->sine + t->index[i] * half, t->sign, m->rope_halves, m->n_rotated);
        if (m->late && t->weight == t->layer->q)
            t->p->team->kernels->scale(row, m->late[t->index[i]], t->width);
    }
}

void heads_turn(struct train_pass *p, const struct train_layer *l, float *y, const int32_t *positions,
    int64_t rows, const struct train_weight *w, float sign)
{
    struct rows_task t = {
        .p = p, .weight = w, .layer = l, .y = y, .index = positions, .width = w->n_out, .sign = sign};
    team_rows(p->team, rows, turn_rows, &t);
}

static void gather(float *to, const float *from, const int32_t *rows, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * width, from + rows[i] * width, (size_t)width * sizeof *to);
}

/* ---- Keeping values in bfloat16 ---- */
enum { NARROW_ROW = 16 /* floats: of all that is handed out a multiple */ };
struct narrow_task {
    const struct train_kernels *kernels;
    float *values;
    uint16_t *narrow;
};

static void narrow_rows(void *ctx, int64_t from, int64_t to)
{
    const struct narrow_task *t = ctx;
    const int64_t at = from * NARROW_ROW;
    t->kernels->narrow(t->narrow + at, t->values + at, (to - from) * NARROW_ROW);
}

static void widen_rows(void *ctx, int64_t from, int64_t to)
{
    const struct narrow_task *t = ctx;
    const int64_t at = from * NARROW_ROW;
    t->kernels->widen(t->values + at, t->narrow + at, (to - from) * NARROW_ROW);
}

static void layer_convert(
    struct train_pass *p, int32_t layer, void (*convert)(void *ctx, int64_t from, int64_t to))
{
    if (!p->narrow)
        return;
    struct narrow_task t = {p->team->kernels, p->kept[layer].x, p->narrow + layer * p->n_narrow};
    team_rows(p->team, p->n_narrow / NARROW_ROW, convert, &t);
}

/* To their place; layer_recall brings them back. */
static void layer_keep(struct train_pass *p, int32_t layer)
{
    layer_convert(p, layer, narrow_rows);
}

void layer_recall(struct train_pass *p, int32_t layer)
{
    layer_convert(p, layer, widen_rows);
}

/* ---- Forward ---- */

/* Queries or keys of some rows: the product, the norms of heads, and the turn. */
static void head_rows_make(struct train_pass *p, const struct train_layer *l, struct head_rows h,
    const float *x, int64_t rows, const int32_t *positions)
{
    linear_forward(p, h.w, x, rows, h.norm ? h.plain : h.y, false);
    if (h.norm)
        norm_forward(p, h.norm, h.plain, head_rows_normed(&h, rows), h.y, h.inverse);
    heads_turn(p, l, h.y, positions, rows, h.w, 1);
}

/* What a branch ends in, where it is not added as it stands: to `plain`, where a norm follows. */
static void branch_make(struct train_pass *p, struct branch b, const float *x, int64_t rows)
{
    if (!branch_is_plain(p->model))
        linear_forward(p, b.w, x, rows, b.plain ? b.plain : p->branch, false);
}

/* to += that. */
static void branch_add(struct train_pass *p, struct branch b, const float *x, int64_t rows, float *to)
{
    if (branch_is_plain(p->model)) {
        linear_forward(p, b.w, x, rows, to, true);
        return;
    }
    if (b.behind)
        norm_forward(p, b.behind, b.plain, rows, p->branch, b.inverse);
    p->team->kernels->scale(p->branch, p->model->branch_scale, rows * b.w->n_out);
    p->team->kernels->add(to, p->branch, rows * b.w->n_out);
}

/* Keys and values of all tokens; queries and what follows only of `rows`, where they are given. */
static void attend(
    struct train_pass *p, const struct train_layer *l, struct kept *k, const int32_t *rows, int32_t n)
{
    const int64_t tokens = p->sequence->n_tokens, d = p->model->shape.n_embed;
    const float *queried = k->n1;
    before_forward(p, l->attn_norm, k->x, tokens, k->n1, k->inverse1);
    head_rows_make(p, l, head_rows_keys(l, k), k->n1, tokens, p->positions);
    linear_forward(p, l->v, k->n1, tokens, k->v, false);
    if (rows) {
        gather(p->n1_rows, k->n1, rows, n, d);
        gather(k->middle, k->x, rows, n, d);
        queried = p->n1_rows;
    } else {
        memcpy(k->middle, k->x, (size_t)(tokens * d) * sizeof(float));
    }
    if (p->model->decoder->parallel)
        memcpy(k->n2, queried, (size_t)(n * d) * sizeof(float));
    head_rows_make(p, l, head_rows_queries(l, k), queried, n, rows ? p->row_positions : p->positions);
    attention_forward(p, k, l, rows, n);
    branch_make(p, branch_attention(l, k), k->mix, n);
    branch_add(p, branch_attention(l, k), k->mix, n, k->middle);
}

static void feed_forward(struct train_pass *p, const struct train_layer *l, struct kept *k, int64_t rows)
{
    struct rows_task glu = {.p = p, .x = k->gate, .other = k->up, .y = p->wide, .width = l->gate->n_out};
    if (!p->model->decoder->parallel)
        before_forward(p, l->ffn_norm, k->middle, rows, k->n2, k->inverse2);
    linear_forward(p, l->gate, k->n2, rows, k->gate, false);
    linear_forward(p, l->up, k->n2, rows, k->up, false);
    team_rows(p->team, rows, glu_rows, &glu);
    branch_make(p, branch_network(l, k), p->wide, rows);
}

/* The next layer's input, for which this one's may make room. */
static void layer_end(
    struct train_pass *p, const struct train_layer *l, const struct kept *k, int64_t rows, float *out)
{
    memcpy(out, k->middle, (size_t)(rows * l->down->n_out) * sizeof(float));
    branch_add(p, branch_network(l, k), p->wide, rows, out);
}

static void positions_fill(struct train_pass *p)
{
    const struct train_sequence *s = p->sequence;
    for (int32_t d = 0; d < s->n_docs; d++)
        for (int32_t t = s->docs[d]; t < s->docs[d + 1]; t++)
            p->positions[t] = t - s->docs[d];
    for (int32_t i = 0; i < s->n_targets; i++)
        p->row_positions[i] = p->positions[s->rows[i]];
}

void train_pass_run(
    struct train_pass *p, const struct train_sequence *s, bool back, float scale, struct train_loss *out)
{
    const struct train_model *m = p->model;
    const int32_t last = m->shape.n_layers - 1;
    struct rows_task embed = {
        .p = p, .weight = m->embedding, .y = p->kept[0].x, .index = s->tokens, .width = m->shape.n_embed};
    p->sequence = s;
    if (s->n_targets == 0)
        return;
    positions_fill(p);
    team_rows(p->team, s->n_tokens, embed_rows, &embed);
    for (int32_t i = 0; i <= last; i++) {
        const int32_t rows = i == last ? s->n_targets : s->n_tokens;
        attend(p, &m->layers[i], &p->kept[i], i == last ? s->rows : NULL, rows);
        feed_forward(p, &m->layers[i], &p->kept[i], rows);
        if (back)
            layer_keep(p, i);
        layer_end(p, &m->layers[i], &p->kept[i], rows, i == last ? p->last : p->kept[i + 1].x);
    }
    head_run(p, back, scale, out);
    if (back)
        pass_back(p);
}
