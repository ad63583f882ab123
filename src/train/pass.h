/* One sequence through the model and back: cross-entropy and its gradient.
 *
 *   forward, a layer:   x -> norm -> q k v -> rope -> attention -> + -> norm -> silu(gate) up -> down -> +
 *                       and what an architecture has besides (engine/worker/model_decoder.h)
 *   backward:           the same from the end; what a step needs of the forward pass is kept in `struct kept`
 *
 * In the last layer only tokens whose next one is to be learned go on after the keys and values: nothing else
 * reads the others. */
#ifndef WEIR_TRAIN_PASS_H
#define WEIR_TRAIN_PASS_H

#include "train/model.h"
#include "train/team.h"

/* Examples side by side; attention and positions stay inside each. */
struct train_sequence {
    int32_t n_tokens, n_docs, n_targets;
    const int32_t *tokens; /* n_tokens */
    const int32_t *docs;   /* n_docs + 1: where each begins, and the end */
    const int32_t *rows;   /* n_targets, rising: tokens whose next one is learned */
    const int32_t *targets;
    const float *weights; /* of each target */
};

/* What the forward pass leaves for the backward pass, of one layer. Rows: all tokens, in the last layer those
 * with targets where it says `rows`.
 *
 *   f32        every layer has its own values
 *   bfloat16   all layers have the same place for values; what a layer leaves there is narrowed before the
 *              next one's input is, and widened again before its way back. Figures stay f32. */
struct kept {
    /* values */
    float *x, *n1, *k, *v;          /* tokens: the layer's input, normalised, keys, values */
    float *q, *mix;                 /* rows: queries, what attention gives */
    float *middle, *n2, *gate, *up; /* rows: after attention, normalised, and in the network */
    float *q_plain, *k_plain;       /* before the norms of heads, where there are any */
    float *attn_plain, *ffn_plain;  /* rows: before the norms behind branches, where there are any */
    /* figures */
    float *lse;                                         /* rows: logarithms of attention's sums */
    float *inverse1, *inverse2, *inverse_q, *inverse_k; /* 1 / rms */
    float *inverse_attn, *inverse_ffn;                  /* likewise, behind branches */
};

struct train_pass {
    const struct train_model *model;
    struct team *team;
    float *gradients; /* model->n_values */
    int32_t most;     /* tokens of a sequence */
    struct kept *kept;
    uint16_t *narrow; /* n_layers x n_narrow: all layers' values in bfloat16; NULL: kept in f32 */
    int64_t n_narrow;
    float *block; /* all of the floats behind the pointers of this struct */
    float *wide;  /* most x n_ffn */
    float *dx, *dn, *dx_rows, *dq, *dk, *dv, *dmix;
    float *branch;                          /* what a branch adds, or its gradient, where it is not plain */
    float *d_shared;                        /* rows: of what a parallel network reads */
    float *n1_rows;                         /* of the last layer */
    float *last, *last_norm, *last_inverse; /* rows x n_embed: the end of the residual stream */
    float *logits, *losses;                 /* head_rows x head_columns; rows */
    float *capped;                          /* logits, where they are held by a cap */
    int32_t head_rows, head_columns;        /* so many logits are made at a time */
    float *norm_parts;                      /* gradients of a norm's weights by runs of rows */
    struct attention_scratch *attention;    /* one for each thread */
    const struct train_sequence *sequence;
    int32_t *positions, *row_positions; /* inside their examples */
    float **lora;                       /* scale A x of each weight that has an adapter: rows x rank */
    float *floats;                      /* a frozen weight that is not packed, made floats: floats_of */
    const struct train_weight *floats_of;
    float *lora_d; /* most x rank */
};

struct train_loss {
    double loss; /* sum of weight times cross-entropy, in nats */
    double weight;
    int64_t targets, right; /* how often the likeliest token was the target */
};

/* Does a pass of `most` tokens keep bfloat16? Where products round anyway and there is much of it: narrowing
 * and widening a little costs more than it saves. */
bool train_pass_narrows(const struct train_model *m, const struct train_kernels *products, int32_t most);
/* Bytes that a pass takes, without the gradients. `narrow`: bfloat16 is kept. */
size_t train_pass_bytes(const struct train_model *m, const struct train_kernels *kernels, bool narrow,
    int32_t most, int32_t threads);
int train_pass_create(const struct train_model *m, struct team *team, bool narrow, int32_t most,
    struct train_pass *p, struct error *err) MUST_USE;
void train_pass_free(struct train_pass *p); /* a zeroed pass is allowed */

/* Adds to *out. With `back` it also adds `scale` times the gradient of the loss to p->gradients. */
void train_pass_run(
    struct train_pass *p, const struct train_sequence *s, bool back, float scale, struct train_loss *out);

/* ---- Inside ---- */
struct attention_scratch {
    float *keys_turned, *keys, *values_turned, *values; /* packed, of one example and head */
    float *scores, *d_scores;                           /* ATTENTION_ROWS x stride */
    int64_t stride;
};
enum { ATTENTION_ROWS = 64, HEAD_ROWS_MOST = 256 };
size_t attention_scratch_floats(
    const struct train_model *m, int32_t most, const struct train_kernels *kernels);
void attention_scratch_place(struct attention_scratch *s, const struct train_model *m, int32_t most,
    const struct train_kernels *kernels, float *at);
/* Rows of queries [n_rows] at `rows` (NULL: all tokens). */
void attention_forward(
    struct train_pass *p, struct kept *k, const struct train_layer *l, const int32_t *rows, int32_t n_rows);
void attention_back(
    struct train_pass *p, struct kept *k, const struct train_layer *l, const int32_t *rows, int32_t n_rows);

/* y = x W^T + bias, or += ; x: rows of n_in, y: rows of n_out. */
void linear_forward(
    struct train_pass *p, const struct train_weight *w, const float *x, int64_t rows, float *y, bool add);
/* dx = dy W, or +=. Then, with the same dy, dW += dy^T x, and the bias's. linear_back does both. */
void linear_back_input(
    struct train_pass *p, const struct train_weight *w, const float *dy, int64_t rows, float *dx, bool add);
void linear_back_weight(
    struct train_pass *p, const struct train_weight *w, const float *x, const float *dy, int64_t rows);
void linear_back(struct train_pass *p, const struct train_weight *w, const float *x, const float *dy,
    int64_t rows, float *dx, bool add);
/* The same, without an adapter, of some outputs alone: the first is one of a whole panel (gemm.h), y and dy
 * are rows of n. */
struct outputs {
    int64_t from, n;
};
void outputs_forward(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *x,
    int64_t rows, float *y, bool add);
void outputs_back_input(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *dy,
    int64_t rows, float *dx, bool add);
void outputs_back_weight(struct train_pass *p, const struct train_weight *w, struct outputs o, const float *x,
    const float *dy, int64_t rows);
/* Cross-entropy over the rows of p->last, and where `back` its gradient in p->dx. */
void head_run(struct train_pass *p, bool back, float scale, struct train_loss *out);
void pass_back(struct train_pass *p);
/* Where values are kept in bfloat16: a layer's, from their place. */
void layer_recall(struct train_pass *p, int32_t layer);
void norm_forward(struct train_pass *p, const struct train_weight *w, const float *x, int64_t rows, float *y,
    float *inverse);
/* By the angles of a layer; `sign` -1 turns back. Queries grow with their position where models say so. */
void heads_turn(struct train_pass *p, const struct train_layer *l, float *y, const int32_t *positions,
    int64_t rows, const struct train_weight *w, float sign);
/* Queries or keys of a layer: what makes them, and what is kept of it. */
struct head_rows {
    const struct train_weight *w, *norm; /* norm NULL: none */
    float *plain, *inverse, *y;
};
static inline struct head_rows head_rows_queries(const struct train_layer *l, const struct kept *k)
{
    return (struct head_rows){l->q, l->q_norm, k->q_plain, k->inverse_q, k->q};
}
static inline struct head_rows head_rows_keys(const struct train_layer *l, const struct kept *k)
{
    return (struct head_rows){l->k, l->k_norm, k->k_plain, k->inverse_k, k->k};
}
/* Norms of so many rows' heads. */
static inline int64_t head_rows_normed(const struct head_rows *h, int64_t rows)
{
    return rows * (h->w->n_out / (h->norm->n_in * h->norm->n_out));
}
/* The last matrix of a layer's branch, the norm behind it (NULL: none), and what is kept of both. */
struct branch {
    const struct train_weight *w, *behind;
    float *plain, *inverse;
};
static inline struct branch branch_attention(const struct train_layer *l, const struct kept *k)
{
    return (struct branch){l->output, l->attn_norm_behind, k->attn_plain, k->inverse_attn};
}
static inline struct branch branch_network(const struct train_layer *l, const struct kept *k)
{
    return (struct branch){l->down, l->ffn_norm_behind, k->ffn_plain, k->inverse_ffn};
}
/* What a layer's branch gives is added as it stands. */
static inline bool branch_is_plain(const struct train_model *m)
{
    return !m->decoder->norms_behind && m->branch_scale == 1;
}

#endif
