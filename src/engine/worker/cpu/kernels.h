/* The inner loops, one table of them for each instruction set; the scalar one is the reference.
 *
 * A product of rows and columns is summed in `lanes` independent sums, lane l over the values l, l + lanes,
 * ... in order, then the lanes together. Every result depends on its own row and column alone: a token's
 * logits are the same to the bit whatever else is in the batch, and with any number of threads. */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/worker/cpu/product.h"
#include "engine/worker/tensor.h"

enum { KERNEL_LANES_MAX = 16, KERNEL_ROWS = 4, KERNEL_COLUMNS = 4, KERNEL_ALIGN = 64 };

struct kernels {
    const char *isa;
    const struct products *products; /* of quantised weights on integers; NULL: they go through floats */
    int32_t lanes;
    /* Whole blocks to floats; NULL: tensor_dequantize, which all must agree with to a rounding. */
    void (*dequantize[TENSOR_TYPES])(const uint8_t *from, float *to, int64_t count);
    /* acc[r * lanes + l] += w[r] x, for 4 rows */
    void (*dot_4x1)(float *acc, const float *const *w, const float *x, int64_t n);
    /* acc[c * stride + r * lanes + l] += w[r] x[c], for 4 rows and 4 columns */
    void (*dot_4x4)(float *acc, int64_t stride, const float *const *w, const float *const *x, int64_t n);
    float (*lane_sum)(const float *acc);
    /* `rows`: n_rows of `width` floats, one after another. out[r] = rows[r] x;  y += sum of weights[r]
     * rows[r] */
    void (*dot_rows)(float *out, const float *rows, const float *x, int64_t n_rows, int64_t width);
    void (*mix_rows)(float *y, const float *rows, const float *weights, int64_t n_rows, int64_t width);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*rms_norm)(float *y, const float *x, const float *weight, float eps, int64_t n);
    void (*glu)(float *y, const float *gate, const float *up, int64_t n); /* silu(gate) up */
    void (*gelu)(float *y, const float *x, int64_t n);
    void (*geglu)(float *y, const float *gate, const float *up, int64_t n);       /* gelu(gate) up */
    void (*glu_clamped)(float *y, const float *gate, const float *up, int64_t n); /* GLU_CLAMPED */
    void (*softcap)(float *y, const float *x, float cap, int64_t n);              /* cap tanh(x / cap) */
    /* x becomes exp(scale (x - max)); returns the sum. */
    float (*softmax_terms)(float *x, float scale, int64_t n);
    /* Products of floats from registers, as products.peak; NULL: not known. */
    int64_t (*peak)(int64_t rounds);
};

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avxvnni, kernels_avx512, kernels_avx512vnni;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon, kernels_dotprod;
#endif

/* The best table for this CPU; `isa` (may be NULL) asks for a lesser one by name. */
int kernels_select(const char *isa, const struct kernels **out, struct error *err) MUST_USE;
/* All tables that this CPU can run, scalar first; returns how many. */
enum { KERNELS_MAX = 5 };
int32_t kernels_list(const struct kernels *out[KERNELS_MAX]);
/* Any readable type. */
void kernels_dequantize(
    const struct kernels *k, enum tensor_type type, const uint8_t *from, float *to, int64_t count);

#endif
