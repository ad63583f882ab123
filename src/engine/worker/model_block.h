/* What nearly every decoder has: its ends, the shape of its attention and the projections of a layer.
 *
 *   token -> embedding -> layers -> output norm -> output -> logits
 *                           |
 *                x -> q, k, v -> (norms, rotation) -> attention -> output projection */
#ifndef WEIR_ENGINE_WORKER_MODEL_BLOCK_H
#define WEIR_ENGINE_WORKER_MODEL_BLOCK_H

#include "engine/worker/model_arch.h"

struct shape {
    int32_t n_layers, n_embed, n_ff;
    int32_t n_heads, n_kv_heads, key_width, value_width;
    int32_t n_rotated; /* values of a head that turn with its position */
    float eps;         /* of the norms */
};

/* From the keys that all architectures share. `eps_key`: "attention.layer_norm_rms_epsilon"
 * or another. */
struct shape shape_load(const struct model *m, struct loader *l, const char *eps_key);
/* Of a mixture of experts: n_ff is 0 where its file does not tell the width of a network that it may lack. */
struct shape shape_load_mixed(const struct model *m, struct loader *l, const char *eps_key);
/* Scores are scaled by 1 / sqrt(key_width) unless the file has attention.scale. */
struct attention shape_attention(const struct shape *s, struct loader *l);
/* Gemma 2 and 3: in the largest size, of so many layers, by the embedding's share of a head. */
enum { GEMMA2_LARGEST = 46, GEMMA3_LARGEST = 62 };
struct attention shape_attention_gemma(const struct shape *s, struct loader *l, int32_t largest);
/* A layer keeps the keys and values of its last `window` positions; 0: of all. */
struct state_spec shape_state(const struct shape *s, int32_t window);

/* What each layer's window is, 0: none. The file says which layers slide by attention.sliding_window_pattern,
 * a flag for each or a period; without it, all do but every `period`th; with period 0 all. The width is
 * attention.sliding_window, `width` if that is not given. */
const int32_t *shape_windows(const struct shape *s, struct loader *l, int32_t width, int32_t period);

struct embedder;
struct nextn;

struct ends {
    struct weight embedding;
    const float *norm;
    struct linear output;
    struct embedder *embedder; /* NULL: the model generates; else it ends in this, see ends_embed */
    struct nextn *nextn;       /* NULL, or a layer behind the last one foretells (model_nextn.h) */
};

/* A file without an output matrix uses the embedding's. */
void ends_load(struct ends *e, const struct model *m, struct loader *l);
/* For an architecture that also embeds or ranks: it does where the file has a pooling_type or a dense_2.
 * Those that rank do so by their last row, which alone has seen all, as the probability of the first label.
 */
void ends_embed(struct ends *e, struct model *m, struct loader *l, float eps);
/* Logits of what the last layer gives, or what the embedder makes of it. Where a layer foretells, what is
 * normed of all tokens is left for it, and only then become those that want logits. */
struct value ends_forward(const struct ends *e, struct program *p, struct value x, float eps);

struct projections {
    struct linear q, k, v, output;
};

/* attn_q, attn_k, attn_v, or the three in one as attn_qkv; attn_output. Each may have a bias. */
void projections_load(struct projections *y, const struct shape *s, struct loader *l, int32_t layer);

/* Keeps k and v, attends with q and projects the result. */
struct value block_attend(struct program *p, const struct projections *y, const struct attention *how,
    const void *cache, struct value q, struct value k, struct value v);
/* After the attention of the last layer nothing reads the other tokens any more: both become those that want
 * logits. */
void block_select(struct program *p, const struct shape *s, int32_t layer, struct value *x, struct value *h);

#endif
