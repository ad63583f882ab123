/* One step of a model as a flat list of operations on matrices of floats, a row for each token of the batch.
 *
 * A model's forward pass calls the op_ functions in the order of its paper; each gives the value that it
 * makes:
 *
 *   op_embed -> [tokens x width] -> op_rms_norm -> op_matmul -> ... -> program_output
 *
 * Nothing runs here. A backend takes the list, places the values in memory (program_plan: a value's memory is
 * used again after its last reader) and runs it. Failures to grow the list are kept in `failed` until encode.
 */
#ifndef WEIR_ENGINE_WORKER_PROGRAM_H
#define WEIR_ENGINE_WORKER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/worker/backend.h"

struct kv_layer;
struct recurrent_layer;
struct rope;

/* A weight with its optional bias: n_out floats for each expert. */
struct linear {
    struct weight weight;
    const float *bias;
};

/* For each head a matrix of its own: rows [head * stride + from, + count) of `weight`. Transposed, its rows
 * are weighted by the input and summed. */
struct linear_heads {
    struct weight weight;
    int32_t n_heads, stride, from, count;
    bool transposed;
};

enum op_kind {
    OP_EMBED,          /* out[t] = row tokens[t] of a table */
    OP_EMBED_POSITION, /* out[t] = row positions[t] of a table */
    OP_SELECT,         /* only the rows of tokens that want logits */
    OP_MEAN,           /* one row: the mean of all */
    OP_ADD,            /* a + b */
    OP_ADD_VECTOR,     /* each row of a + a vector */
    OP_SCALE,          /* x * factor */
    OP_SCALE_ADAPTER,  /* x * (factor * the scale that the token's slot gives an adapter) */
    OP_SCALE_LATE,     /* x * (1 + slope * log(1 + floor(position / span))) */
    OP_SOFTCAP,        /* cap * tanh(x / cap) */
    OP_PART,           /* of each run of a's values, those [from, from + count) */
    OP_JOIN,           /* a run of a's values, a run of b's, and so on */
    OP_RMS_NORM,       /* x / sqrt(mean(x^2) + eps) * weight, for each run of `width` values of a row */
    OP_LAYER_NORM,     /* (x - mean) / sqrt(variance + eps) * weight + bias, for each run of `width` values */
    OP_MATMUL,         /* x W^T + bias */
    OP_MATMUL_HEADS,   /* each head's run of x by that head's own matrix */
    OP_GLU,            /* f(a) * b, f one of enum glu */
    OP_GELU,           /* gelu(a), by its tanh approximation */
    OP_ROPE_ANGLES,    /* cosines and sines for each token's position */
    OP_ROPE,           /* rotates each head of a by the angles in b */
    OP_KV_WRITE,       /* keeps keys a and values b of the tokens in their slots */
    OP_ATTENTION,      /* softmax(q K^T * scale) V over what each token's slot holds up to its position */
    OP_GATE,           /* sigmoid(a) * b; a is as wide as b, or one value for the whole row */
    OP_CONV,           /* each channel of the last inputs by weights of its own */
    OP_DELTA,          /* the gated delta rule over a recurrent state */
    OP_ROUTE,          /* the best experts by their scores: their ids, then their weights */
    OP_MATMUL_EXPERTS, /* for each routed expert e: a W_e^T + bias_e; a holds one input, or one for each
                          expert */
    OP_MIX_EXPERTS,    /* the sum of the routed experts' results by weight */
};

/* A matrix that an operation makes. */
struct value {
    int32_t id;
};

struct value_info {
    int32_t rows, width;
    int32_t last_use; /* index of the last operation that reads it, or of the one that makes it */
    float *host;      /* not NULL: the result goes here */
    size_t offset;    /* else: floats from the start of the scratch memory */
};

enum rope_pairs {
    ROPE_ADJACENT, /* (0,1) (2,3) ...: "normal" */
    ROPE_HALVES    /* (0,n/2) (1,n/2+1) ...: "NeoX" */
};

enum glu {
    GLU_SILU,
    GLU_BILINEAR, /* f(x) = x */
    GLU_GELU,     /* by its tanh approximation */
    GLU_CLAMPED   /* gpt-oss: g sigmoid(1.702 g) (u + 1), both held within 7 */
};

/* What scores become before experts are chosen by them. */
enum routing_score {
    ROUTING_SOFTMAX,
    ROUTING_SIGMOID,
    ROUTING_CHOSEN /* nothing: the softmax is over the chosen ones alone */
};

/* How a token's experts are chosen and weighted.
 *
 *   scores -> + bias -> the best groups, each by its two best -> the best n_used -> scores as weights */
struct routing {
    enum routing_score score;
    int32_t n_used;
    int32_t n_groups, n_groups_used; /* 0 or 1: no groups */
    const float *bias;               /* counts for the choice only; NULL: none */
    const float *factors;            /* of each expert's weight, at the end; NULL: none */
    bool normalized;                 /* weights sum to 1, before the scale */
    float scale;
};

struct attention {
    int32_t n_heads;
    float scale;
    float softcap;      /* 0: none; else scores become softcap * tanh(score / softcap) */
    const float *sinks; /* of each head, a score that no position has; NULL: none */
    bool later;         /* a token also sees those after it in the batch: encoders */
    int32_t reach;      /* with `later`: no further than this to either side; 0: any distance */
};

/* The gated delta rule: its state decays by exp(rate * softplus(gate + bias)); of each head. */
struct delta {
    int32_t n_k_heads; /* of queries and keys; head h of the values takes head h % n_k_heads */
    const float *rate, *bias;
    float eps; /* of the lengths of queries and keys */
};

struct op {
    enum op_kind kind;
    struct value out, a, b; /* id -1: none */
    union {
        const struct weight *table;
        const float *vector;
        const struct linear *linear;
        const struct linear_heads *linear_heads;
        struct {
            const float *weight, *bias; /* `bias`: NULL for none */
            float eps;
            int32_t width;
            bool each; /* every run has weights of its own */
        } norm;
        struct {
            float factor, span; /* span: OP_SCALE_LATE's */
            int32_t adapter;    /* OP_SCALE_ADAPTER's */
        } scale;
        struct {
            int32_t run, from, count;
        } part;
        struct {
            int32_t a_run, b_run;
        } join;
        enum glu glu;
        struct {
            const struct rope *rope;
            int32_t head_width;
        } rope;
        struct {
            const struct kv_layer *layer;
            struct attention how;
        } kv;
        struct {
            const struct recurrent_layer *layer;
            const float *weight; /* OP_CONV: of each channel, the oldest input's first */
            struct delta delta;
        } recurrent;
        struct routing routing;
        int32_t n_used; /* experts a token */
    };
};

/* Which tokens: arrays of n_tokens, owned by whoever runs the step. */
struct program_batch {
    int32_t n_tokens, n_outputs;
    const int32_t *tokens, *slots, *positions;
    const int32_t *outputs; /* indices of the n_outputs tokens that want logits */
    int32_t n_context;      /* positions that a slot may come to hold */
};

/* How much of each adapter (lora.h) each slot takes. */
struct program_adapters {
    int32_t n;
    const float *scales; /* [slot][adapter] */
    uint64_t used;       /* a bit for each adapter that some token of the batch has a scale for */
};

/* A value while its program runs. */
struct program_rows {
    const float *data; /* NULL: the operation has none here */
    int32_t rows, width;
};

/* Sees what products are made of (weir imatrix): called for each, in the operations' order, by one thread. */
struct program_watch {
    void (*product)(void *ctx, const struct op *op, struct program_rows a, struct program_rows b);
    void *ctx;
};

/* Where a layer that drafts (model_nextn.h) finds and leaves rows of n_embed floats, one for each token. */
struct program_hidden {
    const float *before; /* of the token before each */
    float *rows;         /* of each token */
};

struct program {
    struct program_batch batch;
    struct program_adapters adapters;  /* stays as it is set */
    const struct program_watch *watch; /* likewise; NULL: nobody */
    struct program_hidden hidden;      /* likewise */
    struct op *ops;
    size_t n_ops, max_ops;
    struct value_info *values;
    size_t n_values, max_values;
    int failed;
};

void program_reset(struct program *p, const struct program_batch *batch); /* starts from {0}; keeps memory */
void program_free(struct program *p);
/* Places every value; `*floats`: scratch memory that the program needs. ERROR_MEMORY if it could not be
 * built. */
int program_plan(struct program *p, size_t *floats, struct error *err) MUST_USE;
const struct value_info *program_value(const struct program *p, struct value v);

/* What is there already: rows at `host`, one for each token. */
struct value op_input(struct program *p, const float *host, int32_t width);
/* Here and in op_matmul and op_matmul_experts, adapters add to what the weight gives. */
struct value op_embed(struct program *p, const struct weight *table);
/* The table has a row for every position that the state can hold. */
struct value op_embed_position(struct program *p, const struct weight *table);
struct value op_select(struct program *p, struct value x);
/* Of all rows, which must be of one sequence. */
struct value op_mean(struct program *p, struct value x);
struct value op_add(struct program *p, struct value a, struct value b);
struct value op_add_vector(struct program *p, struct value x, const float *vector);
struct value op_scale(struct program *p, struct value x, float factor);
struct value op_scale_late(struct program *p, struct value x, float slope, float span);
struct value op_softcap(struct program *p, struct value x, float cap);
/* Of each run of `run` values, which divide the row, those [from, from + count). */
struct value op_part(struct program *p, struct value x, int32_t run, int32_t from, int32_t count);
/* a_run values of a, b_run of b, the next a_run of a ...: both have as many runs. */
struct value op_join(struct program *p, struct value a, struct value b, int32_t a_run, int32_t b_run);
/* `width`: values that share a mean, as many as `weight` has; divides the row. */
struct value op_rms_norm(struct program *p, struct value x, const float *weight, int32_t width, float eps);
/* `each`: `weight` and `bias` (may be NULL) are as wide as a row, not as a run. */
struct value op_layer_norm(struct program *p, struct value x, const float *weight, const float *bias,
    int32_t width, bool each, float eps);
struct value op_matmul(struct program *p, const struct linear *linear, struct value x);
struct value op_matmul_heads(struct program *p, const struct linear_heads *linear, struct value x);
struct value op_glu(struct program *p, enum glu glu, struct value gate, struct value up);
struct value op_gelu(struct program *p, struct value x);
struct value op_rope_angles(struct program *p, const struct rope *rope);
struct value op_rope(
    struct program *p, struct value x, struct value angles, const struct rope *rope, int32_t head_width);
void op_kv_write(struct program *p, const struct kv_layer *layer, struct value k, struct value v);
/* Values are the beginnings of the keys. */
void op_kv_write_latent(struct program *p, const struct kv_layer *layer, struct value k);
struct value op_attention(
    struct program *p, const struct kv_layer *layer, struct value q, const struct attention *how);
struct value op_conv(
    struct program *p, const struct recurrent_layer *layer, const float *weight, struct value x);
/* `mixed`: queries, keys, values; `gates`: of each head how much is learned, then how much stays. */
struct value op_delta(struct program *p, const struct recurrent_layer *layer, const struct delta *how,
    struct value mixed, struct value gates);
struct value op_silu(struct program *p, struct value x);
struct value op_gate(struct program *p, struct value gate, struct value x);
/* By softmax, the chosen weights made to sum to 1. */
struct value op_route(struct program *p, struct value scores, int32_t n_used);
struct value op_route_by(struct program *p, struct value scores, const struct routing *how);
struct value op_matmul_experts(
    struct program *p, const struct linear *linear, struct value x, struct value routes, int32_t n_used);
struct value op_mix_experts(struct program *p, struct value x, struct value routes, int32_t n_used);
void program_output(struct program *p, struct value x, float *host);

#endif
