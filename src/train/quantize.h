/* A model file's matrices in other types (weir quantize), and which type each of them gets.
 *
 *   names, shapes, keys --> quantize_choose: a type each --> header --> tensor by tensor, in pieces that
 * threads share: read, write, read again to see what was lost --> NAME.part --> NAME */
#ifndef WEIR_TRAIN_QUANTIZE_H
#define WEIR_TRAIN_QUANTIZE_H

#include <stdbool.h>

#include "engine/worker/gguf.h"
#include "train/imatrix.h"
#include "train/team.h"

/* Is there an importance matrix? */
enum quantize_when { QUANTIZE_ALWAYS, QUANTIZE_WITHOUT, QUANTIZE_WITH };

/* What gets another type than most matrices. F32 (0): nothing else. */
struct quantize_rules {
    enum tensor_type output, embedding;    /* the embedding where it is not the output, too */
    enum tensor_type values_shared;        /* attention's values that four heads or more share */
    enum tensor_type values_first, values; /* of the first layers (n_first), of the others */
    int n_first;
    enum tensor_type down_first, down; /* the same of ffn_down, in the first `part`th of the layers */
    int part;
    enum tensor_type more; /* values and down, in layers that are worth more */
    enum tensor_type join, keys, queries,
        middle; /* attn_output, attn_k, attn_q; ffn_up and gate between ends */
    enum quantize_when down_when, values_when;
    bool down_more_of_eight; /* down_first also in layers that are worth more, in mixtures of eight */
    bool join_of_eight;      /* Q5_K for attn_output in mixtures of eight */
    bool tiny;               /* less than three bits: mixtures have rules of their own */
    bool weighed;      /* what it writes without importance is noise, though its type is not known for that */
    bool experts_only; /* only matrices of experts get the type, the others Q8_0 */
};

/* What a person asks for: most matrices in `type`, some in a better one. */
struct quantize_mix {
    const char *name;
    enum tensor_type type;
    uint32_t file_type; /* general.file_type */
    struct quantize_rules rules;
};
/* By name, in any case; NULL: there is none. */
const struct quantize_mix *quantize_mix_find(const char *name);

/* A matrix whose name `pattern` (PCRE2) finds gets `type`. */
struct quantize_override {
    const char *pattern;
    enum tensor_type type;
};

struct quantize_plan {
    const struct quantize_mix *mix;
    const struct imatrix *importance;   /* NULL: not known */
    bool pure;                          /* all matrices get the mix's type */
    bool dry;                           /* importance that is not there is not asked for */
    enum tensor_type output, embedding; /* TENSOR_TYPES: as the mix has it */
    const struct quantize_override *overrides;
    size_t n_overrides;
};

/* The mix alone. */
struct quantize_plan quantize_plan_of(const struct quantize_mix *mix);

/* types[i]: what gguf_tensor_at(g, i) becomes, its own type where it stays as it is. The choice is that of
 * llama.cpp's quantize program (its Falcon rules apart), except that rows which are not whole blocks of 32
 * become F16 in every mix. ERROR_INVALID, naming the matrix, where a type needs importance that is not there,
 * or the importance matrix is of another model. */
int quantize_choose_by(const struct gguf *g, const struct quantize_plan *plan, enum tensor_type *types,
    struct error *err) MUST_USE;
/* By the mix alone. */
int quantize_choose(const struct gguf *g, const struct quantize_mix *mix, enum tensor_type *types,
    struct error *err) MUST_USE;

struct quantize_totals {
    uint64_t bytes, values;    /* of the new file's tensors */
    uint64_t converted, again; /* tensors; those of them that were quantised before */
    uint64_t weighed;          /* of the converted, with importance */
    double lost, power;        /* sums of squares over what was converted: of the errors, of the values */
};

/* What is said while it runs; false ends it with ERROR_CANCELLED. `done`: bytes of g's tensors. */
struct quantize_watch {
    bool (*go_on)(void *ctx, const struct tensor *t, enum tensor_type to, uint64_t done);
    void *ctx;
};

/* Writes `path`, all of it or nothing. Memory: QUANTIZE_BATCH values in two forms, or a row where it is
 * longer, and the importance of the largest matrix, whatever the model's size. */
enum { QUANTIZE_PIECE = 1 << 14, QUANTIZE_PIECES = 64, QUANTIZE_BATCH = QUANTIZE_PIECE * QUANTIZE_PIECES };
int quantize_write(const struct gguf *g, const struct quantize_plan *plan, const enum tensor_type *types,
    const char *path, struct team *team, struct quantize_watch watch, struct quantize_totals *totals,
    struct error *err) MUST_USE;

#endif
