/* Keys and values of one attention layer.
 *
 *   keys:   [page][head][row][k_width]      position p stands in row p % n_rows of a page: the rows of a head
 *   values: [page][head][row][v_width]      to the end of a page are read in one sweep
 *
 * A layer that keeps all positions takes a slot's pages from its table (pages.h; without one a slot has a
 * page of its own for all its positions). Memory that no position has reached costs nothing.
 *
 * A layer with a sliding window keeps a ring, one page a slot, and a row is written over only when no token
 * of a step to come, nor of the one that writes, sees it any more:
 *
 *   window 4, steps of up to 3:    [ 6 | 7 | 2 | 3 | 4 | 5 ]     n_rows = window + the longest step - 1
 *                                   written by 6 and 7; 5 sees 2 to 5
 */
#ifndef WEIR_ENGINE_WORKER_KVCACHE_H
#define WEIR_ENGINE_WORKER_KVCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/worker/backend.h"
#include "engine/worker/pages.h"

struct kv_spec {
    enum tensor_type type; /* of the elements: F32, F16, BF16, Q8_0 or Q4_0 */
    int32_t n_heads, k_width, v_width;
    int32_t window; /* a token sees itself and the window - 1 before it; 0: all */
    bool latent;    /* values are the first v_width of the keys, kept once (DeepSeek's MLA) */
};

struct kv_layer {
    struct kv_spec spec;
    struct backend *backend;
    const struct pages *pages; /* NULL: page i is slot i's */
    int32_t n_pages, n_rows;   /* n_rows: of a page */
    int32_t *written;          /* of each slot without a table: positions written, behind the last one's */
    size_t k_row, v_row;       /* bytes of one position of one head */
    uint64_t bytes;
    char *keys, *values; /* one buffer */
};

static inline int64_t kv_row(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    const int32_t page = l->pages ? pages_of(l->pages, slot, position) : slot;
    return ((int64_t)page * l->spec.n_heads + head) * l->n_rows + position % l->n_rows;
}

/* The rows behind it, to the end of the page, are those of the positions that follow. */
static inline char *kv_key(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    return l->keys + (size_t)kv_row(l, slot, head, position) * l->k_row;
}

static inline char *kv_value(const struct kv_layer *l, int32_t slot, int32_t head, int32_t position)
{
    return l->values + (size_t)kv_row(l, slot, head, position) * l->v_row;
}

/* The first position that the token at `position` sees. */
static inline int32_t kv_first(const struct kv_layer *l, int32_t position)
{
    return l->spec.window > 0 && position >= l->spec.window ? position - l->spec.window + 1 : 0;
}

#endif
