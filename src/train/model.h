/* A dense decoder as training sees it: its weights, by the names that GGUF gives them.
 *
 *   trained:  values[] of one array, which gradients and the optimiser's moments mirror
 *   frozen:   bytes of a model file, in any type that can be read; a low-rank adapter may stand beside them
 */
#ifndef WEIR_TRAIN_MODEL_H
#define WEIR_TRAIN_MODEL_H

#include "engine/worker/model_decoder.h"
#include "train/train.h"

struct train_weight {
    char name[64];
    int64_t n_in, n_out; /* y = W x: n_out rows of n_in values; a vector has n_out 1 */
    bool vector;
    int64_t at; /* its first value among the trained; -1: frozen */
    enum tensor_type type;
    const void *frozen;
    float *packed, *packed_back; /* of a matrix, W^T and W as products take them; or NULL */
    int64_t lora_a, lora_b;      /* rank x n_in, n_out x rank, among the trained; -1: none */
    struct train_weight *bias;   /* of a matrix; NULL: none */
    /* Rows of another weight, from row `from` on: what stands above follows from that one's. */
    struct train_weight *whole;
    int64_t from;
    bool divided; /* its parts are used, not itself */
};

struct train_angles {
    float *cosine, *sine; /* n_context rows of n_rotated / 2 */
};

struct train_layer {
    struct train_weight *q, *k, *v, *output, *gate, *up, *down;
    /* NULL: none */
    struct train_weight *attn_norm, *ffn_norm;               /* of what goes into a branch */
    struct train_weight *attn_norm_behind, *ffn_norm_behind; /* of what comes out of it */
    struct train_weight *q_norm, *k_norm;                    /* of heads, before they turn */
    const struct train_angles *angles;                       /* NULL: its heads do not turn */
    int32_t window; /* a token sees so many, itself included; 0: all before it */
};

struct train_model {
    struct train_shape shape;
    const struct architecture *architecture;
    const struct decoder *decoder; /* the architecture's */
    struct train_weight *weights;  /* n_weights as files have them, then n_parts of them */
    int32_t n_weights, n_parts;
    struct train_layer *layers;
    struct train_weight *embedding, *output_norm, *output; /* output is embedding where they are tied */
    float *values;                                         /* n_values, trained */
    float *packed;                                         /* of all matrices that are, or NULL */
    int64_t n_values;
    struct train_angles angles[2]; /* of all layers, or of those without a window and with one */
    int32_t n_rotated;             /* values of a head that turn: its first ... */
    bool rope_halves;              /* ... by halves, not in pairs side by side */
    float *late;                   /* n_context factors of queries by their position; NULL: 1 */
    /* What is multiplied: embeddings, branches before they are added, logits, scores. */
    float embed_scale, branch_scale, logit_scale, score_scale;
    float logit_cap, score_cap; /* what tanh holds them below; 0: nothing */
    int32_t lora_rank;
    float lora_scale;
};

/* The engine's architectures that can be trained, then NULL; the first is what training makes. */
extern const struct architecture *const train_architectures[];
/* Angles, windows and scales of a model whose architecture and shape are known, from its file; failures are
 * kept in the loader. */
void train_traits_load(struct train_model *m, struct loader *l);

/* A model of this shape with random weights (normal, 0.02; less where a matrix adds to the residual stream).
 */
int train_model_create(
    const struct train_shape *shape, uint64_t seed, struct train_model *m, struct error *err) MUST_USE;
/* The model of a file. With `lora` its weights stay frozen and adapters (A random, B zero) are trained, else
 * all weights are, the embedding perhaps not. Only the first `context` positions are used. The gguf must
 * outlive the model. */
int train_model_load(const struct gguf *g, const struct train_lora *lora, bool embedding_frozen,
    int32_t context, uint64_t seed, struct train_model *m, struct error *err) MUST_USE;
/* Angles of n_context positions. */
int train_angles_fill(
    struct train_model *m, const struct rope *rope, struct train_angles *out, struct error *err) MUST_USE;
/* Matrices are packed for every product, or, where there is memory to spare, once: the frozen ones here, with
 * `trained` the others by train_model_pack_trained whenever they have changed. What that takes, in bytes, and
 * it. `products`: the kernels of all passes. */
struct train_kernels;
struct team;
size_t train_model_packed_bytes(
    const struct train_model *m, const struct train_kernels *products, bool trained);
int train_model_pack(struct train_model *m, const struct train_kernels *products, bool trained,
    struct team *t, struct error *err) MUST_USE;
void train_model_pack_trained(
    const struct train_model *m, const struct train_kernels *products, struct team *t);
void train_model_free(struct train_model *m); /* a zeroed model is allowed */
/* All values of its weights, trained or not, tied ones once; without adapters. */
int64_t train_model_parameters(const struct train_model *m);

static inline float *train_weight_values(const struct train_model *m, const struct train_weight *w)
{
    return m->values + w->at;
}

/* Is it a matrix of a product? Those that are only looked up or divided into parts are not. */
static inline bool train_weight_is_multiplied(const struct train_model *m, const struct train_weight *w)
{
    return !w->vector && !w->divided && (w != m->embedding || w == m->output);
}

/* Of a norm or a bias: frozen ones are floats in every file. */
static inline const float *train_vector_values(const struct train_model *m, const struct train_weight *w)
{
    return w->at >= 0 ? train_weight_values(m, w) : w->frozen;
}

#endif
