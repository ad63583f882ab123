/* The inner loops of training, in f32, one table of them for each instruction set. All tables are compiled
 * from one body (kernels_body.h), which is written in the compilers' own vectors; only their width and the
 * size of a product's tile differ:
 *
 *   base     what every CPU of the architecture has: SSE2, NEON, or scalars     6 x 16 (8 x 8 values of SSE2)
 *   avx2     AVX2 and FMA                                                       6 x 16
 *   avx512   AVX-512 F, BW, DQ, VL                                             12 x 32
 *   amx      the same; products of bfloat16 by AMX (kernels_amx.c)             12 x 32, 32 x 32 */
#ifndef WEIR_TRAIN_KERNELS_H
#define WEIR_TRAIN_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { TRAIN_TILE_ROWS_MAX = 32, TRAIN_TILE_COLUMNS_MAX = 32 };

/* Value (i, j) stands at data[i * row + j * column]. One of the two is 1. */
struct matrix {
    const float *data;
    int64_t row, column;
};

/* What AdamW (Loshchilov and Hutter 2017, arxiv.org/abs/1711.05101) needs for one step. */
struct train_adam {
    float rate, decay, beta1, beta2, epsilon;
    float correction1, correction2; /* 1 / (1 - beta^step) */
    float scale;                    /* of the gradient: clipping */
};

struct train_kernels {
    const char *isa;
    int32_t tile_rows, tile_columns;
    /* A packed panel of B has panel_floats floats for each k, whose number is rounded up to whole k_steps. */
    int32_t panel_floats, k_step;
    /* Products round what they multiply to bfloat16 while they pack it, and sum in f32. The other table has
     * it so: it has the same functions otherwise, and is its own. */
    bool rounds;
    const struct train_kernels *rounding;
    /* C (m x n, rows ldc apart; n: whole panels) gets, or is added, A B over k values. A is what pack_rows
     * returned, B panels that pack_panel wrote, `apart` floats apart; the first k' of the k that they were
     * packed with will do. */
    void (*panels)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, const float *b,
        int64_t apart, float *c, int64_t ldc, bool add);
    /* The multiply-adds of panels alone, of registers that nothing is read to: the most that this CPU could
     * make of them. Returns how many it did, a multiply-add being two. numbers[0] (below 1) is what sums are
     * multiplied by, numbers[1] what is added; all sums' sum goes to numbers[2], so that none is left out. */
    int64_t (*bare)(float *numbers);
    /* One panel: the first n <= tile_columns columns of B; missing ones are 0. */
    void (*pack_panel)(float *to, int64_t n, int64_t k, struct matrix b);
    /* m rows of A as panels takes them, where they stand or in `to`: m rounded up to whole tiles, times k
     * rounded up to whole steps. *a_row: rows are so far apart; 0: they are tiles. */
    const float *(*pack_rows)(float *to, int64_t m, int64_t k, struct matrix a, int64_t *a_row);
    /* y = x / rms(x) w, n values; returns 1 / rms(x). */
    float (*norm)(float *y, const float *x, const float *w, float eps, int64_t n);
    /* dx += what dy does to x through the norm; dw += likewise. `inverse`: 1 / rms(x). */
    void (*norm_back)(
        float *dx, float *dw, const float *dy, const float *x, const float *w, float inverse, int64_t n);
    void (*glu)(float *y, const float *gate, const float *up, int64_t n); /* y = silu(gate) up */
    /* d holds dy and becomes y; gate and up become their gradients. */
    void (*glu_back)(float *d, float *gate, float *up, int64_t n);
    /* The same with GELU, by its tanh (Hendrycks and Gimpel 2016, arxiv.org/abs/1606.08415). */
    void (*geglu)(float *y, const float *gate, const float *up, int64_t n);
    void (*geglu_back)(float *d, float *gate, float *up, int64_t n);
    /* norm and norm_back of x less its mean; `inverse`: 1 / its standard deviation. */
    float (*layer_norm)(float *y, const float *x, const float *w, float eps, int64_t n);
    void (*layer_norm_back)(
        float *dx, float *dw, const float *dy, const float *x, const float *w, float inverse, int64_t n);
    void (*softcap)(float *x, float by, float cap, int64_t n);                 /* x = cap tanh(by x / cap) */
    void (*softcap_back)(float *d, const float *capped, float cap, int64_t n); /* but for `by` */
    void (*add)(float *y, const float *x, int64_t n);                          /* y += x */
    void (*scale)(float *y, float by, int64_t n);
    void (*mix)(float *y, float own, const float *x, float other, int64_t n); /* y = own y + other x */
    float (*dot)(const float *x, const float *y, int64_t n);
    /* x = exp(scale x - max(scale x)), returns the logarithm of what the exponentials of scale x sum to;
     * *sum: what x sums to now. */
    float (*softmax)(float *x, float scale, int64_t n, float *sum);
    void (*exponents)(float *x, float scale, float less, int64_t n); /* x = exp(scale x - less) */
    /* Sum of exp(x - *most), where *most is the largest of x. */
    float (*exponents_sum)(const float *x, int64_t n, float *most);
    /* s = p (s - less) scale: the gradient through softmax */
    void (*softmax_back)(float *s, const float *p, float less, float scale, int64_t n);
    /* Turns pairs (2i, 2i+1), or (i, i + n/2) where `halves`, of n values by the angles whose cosines and
     * sines are given; `sign` -1 turns back. */
    void (*rope)(float *x, const float *cosine, const float *sine, float sign, bool halves, int64_t n);
    /* To bfloat16, to nearest, ties to even: as values that stay floats, and as its 16 bits, and back. */
    void (*round)(float *x, int64_t n);
    void (*narrow)(uint16_t *to, const float *from, int64_t n);
    void (*widen)(float *to, const uint16_t *from, int64_t n);
    void (*adam)(float *w, float *m, float *v, const float *g, const struct train_adam *a, int64_t n);
};

/* The best table for this CPU, or the one that `isa` names (NULL: any). */
int train_kernels_select(const char *isa, const struct train_kernels **out, struct error *err) MUST_USE;
/* All that this CPU can run, the plainest first. */
enum { TRAIN_KERNELS_MAX = 4 };
int32_t train_kernels_list(const struct train_kernels *out[TRAIN_KERNELS_MAX]);

extern const struct train_kernels train_kernels_base;
#if defined(__x86_64__)
extern const struct train_kernels train_kernels_avx2, train_kernels_avx512, train_kernels_amx;
#endif

#endif
