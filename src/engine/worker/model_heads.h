/* The figures of attention with grouped heads that most decoders have in common. */
#ifndef WEIR_ENGINE_WORKER_MODEL_HEADS_H
#define WEIR_ENGINE_WORKER_MODEL_HEADS_H

#include "engine/worker/kvcache.h"
#include "engine/worker/model_loader.h"

struct heads {
    int32_t n, n_kv;                      /* of queries; of keys and values, which `n / n_kv` queries share */
    int32_t k_width, v_width;             /* of one head */
    int32_t n_rotated;                    /* values of a head that positions turn */
    int32_t queries, keys, values, mixed; /* widths of rows of all heads; `mixed`: what attention gives */
};

/* From attention.head_count and its kin; without widths, heads share the embedding. */
struct heads heads_load(struct loader *l, int32_t n_embed);
/* What their layers remember; `window` 0: everything. */
struct kv_spec heads_cache(const struct heads *h, int32_t window);

#endif
