#include "engine/worker/kvcache.h"

#include <stdlib.h>

#include "engine/worker/state.h"

static uint64_t kv_bytes(const struct state_spec *spec, int32_t n_slots, int32_t n_context)
{
    uint64_t row =
        tensor_row_bytes(spec->kv.type, spec->kv.k_width) + tensor_row_bytes(spec->kv.type, spec->kv.v_width);
    uint64_t bytes;
    if (__builtin_mul_overflow(row * (uint64_t)spec->kv.n_heads, (uint64_t)n_slots, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)n_context, &bytes))
        return UINT64_MAX;
    return bytes;
}

static int kv_create(const struct state_spec *spec, struct backend *backend, int32_t n_slots,
    int32_t n_context, void **layer, struct error *err)
{
    if (spec->kv.type != TENSOR_F32 && spec->kv.type != TENSOR_F16)
        return error_set(err, ERROR_UNSUPPORTED, "a KV cache of type %s: use F32 or F16",
            tensor_type_info(spec->kv.type)->name);
    uint64_t bytes = kv_bytes(spec, n_slots, n_context);
    struct kv_layer *l = calloc(1, sizeof *l);
    void *buffer = NULL;
    if (!l || bytes > SIZE_MAX)
        goto no_memory;
    if (backend->ops->buffer_create(backend, (size_t)bytes, &buffer, err)) {
        free(l);
        return ERROR_MEMORY;
    }
    *l = (struct kv_layer){.spec = spec->kv, .backend = backend, .n_slots = n_slots, .n_context = n_context};
    l->k_row = tensor_row_bytes(spec->kv.type, spec->kv.k_width);
    l->v_row = tensor_row_bytes(spec->kv.type, spec->kv.v_width);
    l->bytes = bytes;
    l->keys = buffer;
    l->values = l->keys + l->k_row * (size_t)spec->kv.n_heads * (size_t)n_slots * (size_t)n_context;
    *layer = l;
    return 0;
no_memory:
    free(l);
    return error_set(err, ERROR_MEMORY, "no memory for a KV cache layer of %llu bytes: use a smaller context",
        (unsigned long long)bytes);
}

static void kv_free(void *layer)
{
    struct kv_layer *l = layer;
    if (!l)
        return;
    l->backend->ops->buffer_free(l->backend, l->keys, (size_t)l->bytes);
    free(l);
}

/* Positions are overwritten as the slot grows again, and attention reads none behind the token's own. */
static int32_t kv_truncate(void *layer, int32_t slot, int32_t length)
{
    (void)layer;
    (void)slot;
    return length;
}

static const struct state_ops kv_ops = {kv_bytes, kv_create, kv_free, kv_truncate};

const struct state_ops *const state_kinds[STATE_KINDS] = {[STATE_KV] = &kv_ops};
