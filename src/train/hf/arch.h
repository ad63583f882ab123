/* Architectures as Hugging Face's folders and GGUF files name them: which tensor is which, which key of
 * config.json is which, and what must be done to the values on the way. A row of the table is an
 * architecture; nothing else asks which one it is.
 *
 *   config.json, *.safetensors  <-- hf_archs -->  ARCHITECTURE.*, blk.N.* */
#ifndef WEIR_TRAIN_HF_ARCH_H
#define WEIR_TRAIN_HF_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"
#include "engine/worker/model_loader.h"

/* How large a model is: from config.json or from a GGUF file's keys. */
struct hf_shape {
    int64_t layers, embed, heads, kv_heads, head, ff, vocab;
    int64_t experts, expert_ff, shared_ff; /* 0: no mixture, its experts are as wide as ff, none is shared */
    int64_t shared;                        /* experts that shared_ff is the width of together; 0: one */
    int64_t dense;                         /* of a mixture: the layers before those with experts */
    int64_t conv;                          /* inputs that a short convolution sees */
    /* Of linear attention: heads of keys, of values, and how wide each is. */
    int64_t linear_keys, linear_values, linear_key, linear_value;
    /* Of latent attention: ranks (q_rank 0: queries have none) and, of a head's values, those that are
     * rotated and those that it gives. */
    int64_t q_rank, latent, rotated, value;
    /* Where layers without a window have heads of their own: how wide, and how many have keys. Of the last
     * layers, which read the keys of earlier ones: how many. A layer's own embedding of a token: how wide. */
    int64_t wide, wide_kv, sharing, own;
    bool doubled;                 /* the networks of layers that share are twice as wide */
    bool keyed;                   /* values of layers without a window are what their keys are made of */
    int64_t interval;             /* every so many layers one attends; 0: `other` is by no period */
    int64_t ahead;                /* layers behind these, which foretell further tokens: none or one */
    bool apart;                   /* the folder calls it "mtp.layers.0", not as if it were the next layer */
    bool tied;                    /* the embedding is the output, too */
    bool other[MODEL_LAYERS_MAX]; /* layers that mix tokens otherwise than by attention to all */
};

/* What a dimension of a tensor is. */
enum hf_size {
    HF_NONE,
    HF_EMBED,
    HF_QUERIES,
    HF_KEYS,
    HF_QKV,
    HF_HEAD,
    HF_FF,
    HF_FF_TWICE,
    HF_VOCAB,
    HF_EXPERTS,
    HF_EXPERT_FF,
    HF_SHARED_FF,
    HF_ONE,
    HF_HEADS,
    HF_KEY_HEADS,
    HF_EMBED_THRICE,
    HF_CONV_INPUTS,
    HF_Q_RANK,
    HF_LATENT,
    HF_LATENT_ROTATED,
    HF_PLAIN, /* what is not rotated of a head */
    HF_VALUE,
    HF_VALUES,
    HF_QUERIES_TWICE,
    HF_LINEAR_ALL, /* queries, keys and values */
    HF_LINEAR_INNER,
    HF_LINEAR_VALUES,
    HF_LINEAR_VALUE,
    HF_WIDE, /* of layers without a window */
    HF_WIDE_QUERIES,
    HF_WIDE_KEYS,
    HF_OWN,
    HF_OWN_ALL, /* of all layers */
    HF_EXPERT_FF_TWICE,
    HF_EMBED_TWICE
};
int64_t hf_size(const struct hf_shape *s, enum hf_size size);
/* The one that a key of the file gives beside those that all have; NULL: it gives none. */
int64_t *hf_shape_field(struct hf_shape *s, const char *gguf);
/* What follows of those; an error where they do not go together. */
int hf_shape_complete(struct hf_shape *s, struct error *err) MUST_USE;

/* What happens to a tensor's values. */
enum hf_change {
    HF_SAME,
    HF_TURN_QUERIES, /* each head's rows: the halves that are rotated together become neighbours */
    HF_TURN_KEYS,
    HF_PLUS_ONE, /* a norm that multiplies by 1 + w */
    /* The folder has the value heads of one key head beside each other; the file has first one of each, then
     * the next of each. */
    HF_DEAL_ROWS,
    HF_DEAL_LAST_ROWS, /* those behind queries and keys */
    HF_DEAL_COLUMNS,
    HF_DEAL_RATES /* and the folder has logarithms of what the file has, which is below zero */
};

enum hf_part_flag {
    HF_MAY_LACK = 1 << 0,    /* the tensor itself: then the embedding is it */
    HF_MAY_BIAS = 1 << 1,    /* beside .weight there may be .bias */
    HF_MUST_BIAS = 1 << 2,   /* there is */
    HF_OPTIONAL = 1 << 3,    /* some models have none */
    HF_NAMED = 1 << 4,       /* the names are whole: no ".weight" comes behind them */
    HF_EACH_EXPERT = 1 << 5, /* %d is the expert; GGUF has them all in one tensor */
    HF_ALL_EXPERTS = 1 << 6, /* the folder has them all in one tensor, too */
    HF_ALL_HEADS = 1 << 7,   /* a matrix for each head, which in the folder stand one above the other */
    /* The folder's matrix is two of GGUF's (rows of the table beside each other), */
    HF_UPPER = 1 << 8,
    HF_LOWER = 1 << 9, /* one above the other */
    HF_EVEN = 1 << 10,
    HF_ODD = 1 << 11,      /* or row by row */
    HF_ACROSS = 1 << 12,   /* the folder has it transposed */
    HF_CHANNELS = 1 << 13, /* the folder has a dimension of 1 between rows and columns */
    HF_OUTSIDE = 1 << 14   /* though of a layer, the folder's name is of none */
};

/* Names without ".weight"; outside the layers, or after "model.layers.N." and "blk.N.". */
struct hf_part {
    const char *hf, *gguf;
    enum hf_size rows, columns; /* of a vector `rows` is HF_NONE */
    enum hf_change change;
    int flags;
    enum hf_size beside; /* rows that the folder's matrix has for the other of two; HF_NONE: as many */
};

/* Where a part's values stand in the folder's tensor. A matrix of the file is hf_rows x hf_columns there, or
 * some of its rows and columns; across: the file's rows are columns there.
 *
 *   file, row r, column c  <-->  folder, row down.first + r down.step, column right.first + c right.step */
struct hf_span {
    int64_t first, step, count;
};
struct hf_view {
    int64_t stacks; /* matrices, one above the other: experts, heads; 1 */
    int64_t hf_rows, hf_columns;
    struct hf_span down, right;
    bool across;
};
struct hf_view hf_view_of(const struct hf_part *part, const struct hf_shape *s, bool bias);
/* All of a matrix, or of its transpose. */
struct hf_view hf_view_plain(int64_t hf_rows, int64_t hf_columns, bool across);
/* Of the file's matrices. */
int64_t hf_view_rows(const struct hf_view *v);
int64_t hf_view_columns(const struct hf_view *v);

/* Which layers have a part. */
enum hf_layers {
    HF_DENSE,     /* those without experts */
    HF_MIXED,     /* those with */
    HF_ATTENDING, /* those that mix tokens by attention */
    HF_OTHERWISE, /* those that do not, or through a window */
    HF_SHARING,   /* all, of a model with shared experts */
    HF_QUERIES_LOW /* all, if queries have a rank; the other way round: */,
    HF_QUERIES_FULL,
    /* With a window (else WIDE) and keys of their own, or of earlier ones. */
    HF_KEEPING,
    HF_KEEPING_WIDE,
    HF_KEEPING_VALUES, /* WIDE, and values that are not made of what makes the keys */
    HF_READING,
    HF_READING_WIDE,
    HF_SINGLE, /* with networks as wide as most, or twice as wide */
    HF_DOUBLE,
    HF_OWNING, /* all, of a model whose layers have embeddings of their own; and what is outside them */
    HF_ENDS_OWNING,
    HF_AHEAD /* that which foretells */
};
struct hf_some {
    enum hf_layers layers;
    const struct hf_part *parts; /* NULL ends a list */
};

/* A number of config.json and what it is called in the file. */
struct hf_key {
    const char *hf, *gguf;
    /* HF_SCORE: "softmax", "sigmoid"; HF_PER_VALUE: the file has it times the heads of linear values */
    enum { HF_INT, HF_FLOAT, HF_BOOL, HF_SCORE, HF_PER_VALUE } kind;
    bool needed;        /* else it is left out where it is not given */
    const char *absent; /* what a file without it means, as JSON, where config.json would mean otherwise */
};

/* What config.json must say, as JSON, for the architecture to be what the engine runs. */
struct hf_fixed {
    const char *key, *value;
    const char *also; /* another value that means the same; or NULL */
    bool may_lack;    /* the value is what the key means when it is missing */
};

/* A number that files of an architecture have, whatever config.json says. */
struct hf_constant {
    const char *gguf;
    uint32_t value;
};

/* Of a model that sees, too, the one that speaks. */
struct hf_default {
    const char *key;
    double value;
};
struct hf_inner {
    const char *settings;              /* where config.json has its settings: "text_config" */
    const char *prefix;                /* before the names of its tensors */
    const char *const *left;           /* how those begin that are not its; ends with NULL */
    const struct hf_default *defaults; /* what goes without saying; ends with a key of NULL */
};

struct hf_arch {
    const char *hf, *model_type, *gguf;  /* "LlamaForCausalLM", "llama", "llama" */
    const struct hf_part *const *ends;   /* lists of parts outside the layers; ends with NULL */
    const struct hf_part *const *blocks; /* of each layer */
    const struct hf_key *keys;           /* beside those that all have; ends with a key of NULL */
    const struct hf_fixed *fixed;        /* ends with a key of NULL */
    const struct hf_inner *inner;        /* NULL: it is all of the model */
    const char *pre;     /* what the published ones call how text is cut; NULL: as it is usual */
    double rope_base;    /* where config.json does not say */
    double rotated;      /* share of a head's values that is rotated, where config.json does not say */
    int window_period;   /* every so many layers one sees all; 0: windows are no affair of this one */
    bool mixture;        /* has experts: among rows of the same `gguf` the file tells */
    bool layer_norm;     /* its epsilon is a layer norm's */
    int head;            /* width of a head, where config.json does not say; 0: embed / heads */
    bool scalar;         /* query_pre_attn_scalar is the head's width, or embed / heads of the largest */
    bool longrope;       /* positions may be scaled by two lists of factors */
    bool windows_listed; /* the file lists which layers have a window */
    const struct hf_some *some;         /* parts that only some layers have; NULL: none */
    const struct hf_constant *constant; /* ends with a name of NULL; NULL: none */
    const char *eps;                    /* what config.json calls it; NULL: as it is usual */
    const char *otherwise;  /* what 'layer_types' calls layers without attention; NULL: there are none */
    double yarn_multiplier; /* times YaRN's mscale_all_dim: what the file says of it; 0: nothing */
    bool untruncated;       /* YaRN's ends are not rounded; files cannot say it, and who reads them knows */
    bool interval;          /* every so many layers one attends: that is in the file, not a list */
    bool windows_fixed;     /* the file cannot say which layers have a window */
    bool packed;            /* all experts of a layer may be kept in MXFP4, as nibbles and scales */
    bool latent;            /* attends to a latent */
    bool two_kinds;         /* layers with a window and without have heads of their own (config_kinds.c) */
    const char *merged;     /* what its tokenizer of pieces is called in a file, which has its merges, too */
    bool sigmoid;           /* experts are weighed by it: among rows of the same `gguf` the file tells */
    const char *ahead;      /* config.json's count of layers that foretell further tokens; NULL: none do */
    bool apart;             /* they are named apart */
};

extern const struct hf_arch hf_archs[]; /* ends with a name of NULL */
extern const struct hf_key hf_keys[];   /* of all architectures; ends with a key of NULL */

/* NULL: there is none. */
const struct hf_arch *hf_arch_find(struct str hf);
/* By a file's general.architecture, and what else it shows. */
struct hf_signs {
    bool mixture, windows_listed, sigmoid;
};
const struct hf_arch *hf_arch_of(struct str gguf, struct hf_signs signs);
/* Some of its parts' rows are turned: that is known of whole heads. */
bool hf_arch_turns(const struct hf_arch *a);
/* Its halves in an adapter are of the same matrix in the folder and in a file. */
bool hf_takes_adapter(const struct hf_part *part);
/* The vocabulary's: in an adapter its tokens are the columns of A. */
bool hf_is_table(const struct hf_part *part);
/* "LlamaForCausalLM, ...", in lines. */
void hf_arch_names(struct buf *out);

/* fn for each part: layer -1 outside the layers, s->layers of that which foretells; `bias`: its bias (after
 * its weight; parts that never have one are not asked for it). Stops at the first error, which it returns. */
typedef int hf_part_fn(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err);
int hf_each_part(
    const struct hf_arch *a, const struct hf_shape *s, hf_part_fn *fn, void *ctx, struct error *err) MUST_USE;

/* The names with what stands before and behind them. `expert`: of a part of HF_EACH_EXPERT. */
enum { HF_NAME_MAX = 160 };
void hf_name(const struct hf_shape *s, const struct hf_part *part, int64_t layer, int64_t expert, bool bias,
    char out[HF_NAME_MAX]);
void hf_gguf_name(const struct hf_part *part, int64_t layer, bool bias, char out[HF_NAME_MAX]);

#endif
