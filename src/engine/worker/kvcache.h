/* Keys and values of one attention layer.
 *
 *   keys:   [slot][head][position][k_width]      a head's positions stand together: attention reads them in
 *   values: [slot][head][position][v_width]      one sweep; memory that no position has reached costs nothing
 *
 * A layer with a sliding window keeps a ring: position p stands in row p % n_rows, and a row is written over
 * only when no token of a step to come, nor of the one that writes, sees it any more:
 *
 *   window 4, steps of up to 3:    [ 6 | 7 | 2 | 3 | 4 | 5 ]     n_rows = window + the longest step - 1
 *                                   written by 6 and 7; 5 sees 2 to 5
 */
#ifndef WEIR_ENGINE_WORKER_KVCACHE_H
#define WEIR_ENGINE_WORKER_KVCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/worker/backend.h"

struct kv_spec {
    enum tensor_type type; /* of the elements: F32 or F16 */
    int32_t n_heads, k_width, v_width;
    int32_t window; /* a token sees itself and the window - 1 before it; 0: all */
    bool latent;    /* values are the first v_width of the keys, kept once (DeepSeek's MLA) */
};

struct kv_layer {
    struct kv_spec spec;
    struct backend *backend;
    int32_t n_slots, n_rows; /* positions that a slot has room for */
    int32_t *written;        /* of each slot: positions that rows were written for, behind the last one's */
    size_t k_row, v_row;     /* bytes of one position of one head */
    uint64_t bytes;
    char *keys, *values; /* one buffer */
};

static inline char *kv_key(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    int64_t row = ((int64_t)slot * l->spec.n_heads + head) * l->n_rows + position % l->n_rows;
    return l->keys + (size_t)row * l->k_row;
}

static inline char *kv_value(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    int64_t row = ((int64_t)slot * l->spec.n_heads + head) * l->n_rows + position % l->n_rows;
    return l->values + (size_t)row * l->v_row;
}

/* The first position that the token at `position` sees. */
static inline int32_t kv_first(const struct kv_layer *l, int32_t position)
{
    return l->spec.window > 0 && position >= l->spec.window ? position - l->spec.window + 1 : 0;
}

#endif
