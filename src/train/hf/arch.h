/* Architectures as Hugging Face's folders and GGUF files name them: which tensor is which, which key of
 * config.json is which, and what must be done to the values on the way. A row of the table is an
 * architecture; nothing else asks which one it is.
 *
 *   config.json, *.safetensors  <-- hf_archs -->  ARCHITECTURE.*, blk.N.* */
#ifndef WEIR_TRAIN_HF_ARCH_H
#define WEIR_TRAIN_HF_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

/* How large a model is: from config.json or from a GGUF file's keys. */
struct hf_shape {
    int64_t layers, embed, heads, kv_heads, head, ff, vocab;
    int64_t experts, expert_ff, shared_ff; /* 0: no mixture, its experts are as wide as ff, none is shared */
    bool tied;                             /* the embedding is the output, too */
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
    HF_ONE
};
int64_t hf_size(const struct hf_shape *s, enum hf_size size);

/* What happens to a tensor's values. */
enum hf_change {
    HF_SAME,
    HF_TURN_QUERIES, /* each head's rows: the halves that are rotated together become neighbours */
    HF_TURN_KEYS,
    HF_PLUS_ONE /* a norm that multiplies by 1 + w */
};

enum hf_part_flag {
    HF_MAY_LACK = 1,   /* the tensor itself */
    HF_MAY_BIAS = 2,   /* beside .weight there may be .bias */
    HF_MUST_BIAS = 4,  /* there is */
    HF_EACH_EXPERT = 8 /* %d is the expert; GGUF has them all in one tensor */
};

/* Names without ".weight"; outside the layers, or after "model.layers.N." and "blk.N.". */
struct hf_part {
    const char *hf, *gguf;
    enum hf_size rows, columns; /* of a vector `rows` is HF_NONE */
    enum hf_change change;
    int flags;
};

/* A number of config.json and what it is called in the file. */
struct hf_key {
    const char *hf, *gguf;
    enum { HF_INT, HF_FLOAT } kind;
    bool needed; /* else it is left out where it is not given */
};

/* What config.json must say, as JSON, for the architecture to be what the engine runs. */
struct hf_fixed {
    const char *key, *value;
    const char *also; /* another value that means the same; or NULL */
    bool may_lack;    /* the value is what the key means when it is missing */
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
};

extern const struct hf_arch hf_archs[]; /* ends with a name of NULL */
extern const struct hf_key hf_keys[];   /* of all architectures; ends with a key of NULL */

/* NULL: there is none. */
const struct hf_arch *hf_arch_find(struct str hf);
/* By a file's general.architecture, whether it has experts, and whether it lists its windows. */
const struct hf_arch *hf_arch_of(struct str gguf, bool mixture, bool windows_listed);
/* Some of its parts' rows are turned: that is known of whole heads. */
bool hf_arch_turns(const struct hf_arch *a);
/* The vocabulary's: in an adapter its tokens are the columns of A. */
bool hf_is_table(const struct hf_part *part);
/* "LlamaForCausalLM, ..." into `out`. */
void hf_arch_names(char *out, size_t size);

/* fn for each part: layer -1 outside the layers; `bias`: its bias (after its weight; parts that never have
 * one are not asked for it). Stops at the first error, which it returns. */
typedef int hf_part_fn(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err);
int hf_each_part(
    const struct hf_arch *a, const struct hf_shape *s, hf_part_fn *fn, void *ctx, struct error *err) MUST_USE;

/* The names with what stands before and behind them. `expert`: of a part of HF_EACH_EXPERT. */
enum { HF_NAME_MAX = 160 };
void hf_name(const struct hf_part *part, int64_t layer, int64_t expert, bool bias, char out[HF_NAME_MAX]);
void hf_gguf_name(const struct hf_part *part, int64_t layer, bool bias, char out[HF_NAME_MAX]);

#endif
