/* A model file's matrices in other types (weir quantize), and which type each of them gets.
 *
 *   names, shapes, keys --> quantize_choose: a type each --> header --> tensor by tensor, in pieces that
 * threads share: read, write, read again to see what was lost --> NAME.part --> NAME */
#ifndef WEIR_TRAIN_QUANTIZE_H
#define WEIR_TRAIN_QUANTIZE_H

#include <stdbool.h>

#include "engine/worker/gguf.h"
#include "train/team.h"

/* What a person asks for: most matrices in `type`, some in a better one. */
struct quantize_mix {
    const char *name;
    enum tensor_type type;
    enum { QUANTIZE_PLAIN, QUANTIZE_SMALL, QUANTIZE_MEDIUM, QUANTIZE_CURVED } extra;
    uint32_t file_type; /* general.file_type */
};
/* By name, in any case; NULL: there is none. */
const struct quantize_mix *quantize_mix_find(const char *name);

/* types[i]: what gguf_tensor_at(g, i) becomes, its own type where it stays as it is. The choice is that of
 * llama.cpp's quantize program without an importance matrix (its Falcon rules apart), except that rows which
 * are not whole blocks of 32 become F16 in every mix. */
int quantize_choose(const struct gguf *g, const struct quantize_mix *mix, enum tensor_type *types,
    struct error *err) MUST_USE;

struct quantize_totals {
    uint64_t bytes, values;    /* of the new file's tensors */
    uint64_t converted, again; /* tensors; those of them that were quantised before */
    double lost, power;        /* sums of squares over what was converted: of the errors, of the values */
};

/* What is said while it runs; false ends it with ERROR_CANCELLED. `done`: bytes of g's tensors. */
struct quantize_watch {
    bool (*go_on)(void *ctx, const struct tensor *t, enum tensor_type to, uint64_t done);
    void *ctx;
};

/* Writes `path`, all of it or nothing. Memory: QUANTIZE_BATCH values in two forms, whatever the model's size.
 */
enum { QUANTIZE_PIECE = 1 << 14, QUANTIZE_PIECES = 64, QUANTIZE_BATCH = QUANTIZE_PIECE * QUANTIZE_PIECES };
int quantize_write(const struct gguf *g, const struct quantize_mix *mix, const enum tensor_type *types,
    const char *path, struct team *team, struct quantize_watch watch, struct quantize_totals *totals,
    struct error *err) MUST_USE;

#endif
