/* A dense decoder of the Llama family as training sees it: its weights, by the names that GGUF gives them.
 *
 *   trained:  values[] of one array, which gradients and the optimiser's moments mirror
 *   frozen:   bytes of a model file, in any type that can be read; a low-rank adapter may stand beside them
 */
#ifndef WEIR_TRAIN_MODEL_H
#define WEIR_TRAIN_MODEL_H

#include "train/train.h"

struct gguf;

struct train_weight {
    char name[64];
    int64_t n_in, n_out; /* y = W x: n_out rows of n_in values; a vector has n_out 1 */
    bool vector;
    int64_t at; /* its first value among the trained; -1: frozen */
    enum tensor_type type;
    const void *frozen;
    int64_t lora_a, lora_b; /* rank x n_in, n_out x rank, among the trained; -1: none */
};

struct train_layer {
    struct train_weight *attn_norm, *q, *k, *v, *output, *ffn_norm, *gate, *up, *down;
    struct train_weight *q_bias, *k_bias, *v_bias; /* NULL: none */
    struct train_weight *q_norm, *k_norm;          /* of each head, before it turns; NULL: none */
};

struct train_model {
    struct train_shape shape;
    const struct train_family *family;
    bool qkv_bias;
    struct train_weight *weights;
    int32_t n_weights;
    struct train_layer *layers;
    struct train_weight *embedding, *output_norm, *output; /* output is embedding where they are tied */
    float *values;                                         /* n_values, trained */
    int64_t n_values;
    float *cosine, *sine; /* n_context rows of head_width / 2 */
    int32_t lora_rank;
    float lora_scale;
};

/* Architectures that are alike but for a few parts. */
struct train_family {
    const char *name;
    bool rope_halves, head_norms;
};
extern const struct train_family
    train_families[]; /* ends with a name of NULL; the first is what training makes */

/* A model of this shape with random weights (normal, 0.02; less where a matrix adds to the residual stream).
 */
int train_model_create(
    const struct train_shape *shape, uint64_t seed, struct train_model *m, struct error *err) MUST_USE;
/* The model of a file. With `lora` its weights stay frozen and adapters (A random, B zero) are trained, else
 * all weights are, the embedding perhaps not. Only the first `context` positions are used. The gguf must outlive
 * the model. */
int train_model_load(const struct gguf *g, const struct train_lora *lora, bool embedding_frozen,
    int32_t context, uint64_t seed, struct train_model *m, struct error *err) MUST_USE;
void train_model_free(struct train_model *m); /* a zeroed model is allowed */
/* All values of its weights, trained or not, tied ones once; without adapters. */
int64_t train_model_parameters(const struct train_model *m);

static inline float *train_weight_values(const struct train_model *m, const struct train_weight *w)
{
    return m->values + w->at;
}

/* Of a norm or a bias: frozen ones are floats in every file. */
static inline const float *train_vector_values(const struct train_model *m, const struct train_weight *w)
{
    return w->at >= 0 ? train_weight_values(m, w) : w->frozen;
}

#endif
