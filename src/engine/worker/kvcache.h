/* Keys and values of one attention layer.
 *
 *   keys:   [slot][head][position][k_width]      a head's positions stand together: attention reads them in
 *   values: [slot][head][position][v_width]      one sweep; memory that no position has reached costs nothing
 */
#ifndef WEIR_ENGINE_WORKER_KVCACHE_H
#define WEIR_ENGINE_WORKER_KVCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/worker/backend.h"

struct kv_spec {
    enum tensor_type type; /* of the elements: F32 or F16 */
    int32_t n_heads, k_width, v_width;
};

struct kv_layer {
    struct kv_spec spec;
    struct backend *backend;
    int32_t n_slots, n_context;
    size_t k_row, v_row; /* bytes of one position of one head */
    uint64_t bytes;
    char *keys, *values; /* one buffer */
};

static inline char *kv_key(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    int64_t row = ((int64_t)slot * l->spec.n_heads + head) * l->n_context + position;
    return l->keys + (size_t)row * l->k_row;
}

static inline char *kv_value(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    int64_t row = ((int64_t)slot * l->spec.n_heads + head) * l->n_context + position;
    return l->values + (size_t)row * l->v_row;
}

#endif
