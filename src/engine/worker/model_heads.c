#include "engine/worker/model_heads.h"

static bool too_wide(const struct heads *h)
{
    int64_t widest = h->k_width > h->v_width ? h->k_width : h->v_width;
    return h->n * widest > MODEL_WIDTH_MAX;
}

struct heads heads_load(struct loader *l, int32_t n_embed)
{
    struct heads h = {.n = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, MODEL_HEADS_MAX)};
    h.n_kv = loader_int(l, "attention.head_count_kv", h.n, 1, MODEL_HEADS_MAX);
    if (l->rc)
        return h;
    if (h.n % h.n_kv != 0)
        loader_fail(l, ERROR_INVALID, "%d attention heads cannot share %d of keys: the file is broken",
            (int)h.n, (int)h.n_kv);
    int32_t share =
        n_embed % h.n == 0 && n_embed / h.n <= MODEL_HEAD_WIDTH_MAX ? n_embed / h.n : LOADER_REQUIRED;
    h.k_width = loader_int(l, "attention.key_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    h.v_width = loader_int(l, "attention.value_length", share, 1, MODEL_HEAD_WIDTH_MAX);
    h.n_rotated = loader_int(l, "rope.dimension_count", h.k_width, 2, MODEL_HEAD_WIDTH_MAX);
    if (l->rc == 0 && (h.n_rotated % 2 != 0 || h.n_rotated > h.k_width))
        loader_fail(l, ERROR_INVALID, "%d of %d values of a head are to be rotated: the file is broken",
            (int)h.n_rotated, (int)h.k_width);
    if (l->rc == 0 && too_wide(&h))
        loader_fail(l, ERROR_INVALID, "%d heads of %d and %d values are too wide: the file is broken",
            (int)h.n, (int)h.k_width, (int)h.v_width);
    h.queries = h.n * h.k_width;
    h.keys = h.n_kv * h.k_width;
    h.values = h.n_kv * h.v_width;
    h.mixed = h.n * h.v_width;
    return h;
}

struct kv_spec heads_cache(const struct heads *h, int32_t window)
{
    return (struct kv_spec){.type = TENSOR_F32,
        .n_heads = h->n_kv,
        .k_width = h->k_width,
        .v_width = h->v_width,
        .window = window};
}
