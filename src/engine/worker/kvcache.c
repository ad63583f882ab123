#include "engine/worker/kvcache.h"

#include <stdlib.h>

#include "engine/worker/state.h"

/* A window's ring must hold what the first token of a step sees while the last one is written. */
static int32_t rows_for(const struct kv_spec *spec, int32_t n_context)
{
    if (spec->window <= 0 || spec->window > n_context - (STATE_STEP_MAX - 1))
        return n_context;
    return spec->window + STATE_STEP_MAX - 1;
}

/* Quantised where rows are of whole blocks; the encoders' cache, which is not kept, stays as it is. */
static enum tensor_type type_for(const struct kv_spec *spec, const struct state_room *room)
{
    const int32_t block = (int32_t)tensor_type_info(room->kv_type)->block_values;
    const bool whole = spec->k_width % block == 0 && spec->v_width % block == 0;
    return room->kv_type != TENSOR_F32 && whole ? room->kv_type : spec->type;
}

static size_t value_bytes(const struct kv_spec *spec)
{
    return spec->latent ? 0 : tensor_row_bytes(spec->type, spec->v_width);
}

static bool kv_paged(const struct state_spec *spec, const struct state_room *room)
{
    return room->n_pages > 0 && rows_for(&spec->kv, room->n_context) == room->n_context;
}

/* The layer's pages: rows of each, and how many. */
static int32_t pages_of_layer(const struct state_spec *spec, const struct state_room *room, int32_t *n_rows)
{
    const bool paged = kv_paged(spec, room);
    *n_rows = paged ? PAGE_POSITIONS : rows_for(&spec->kv, room->n_context);
    return paged ? room->n_pages : room->n_slots;
}

static uint64_t kv_bytes(const struct state_spec *spec, const struct state_room *room)
{
    struct kv_spec own = spec->kv;
    own.type = type_for(&own, room);
    uint64_t row = tensor_row_bytes(own.type, own.k_width) + value_bytes(&own);
    int32_t n_rows, n_pages = pages_of_layer(spec, room, &n_rows);
    uint64_t bytes;
    if (__builtin_mul_overflow(row * (uint64_t)spec->kv.n_heads, (uint64_t)n_pages, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)n_rows, &bytes))
        return UINT64_MAX;
    return bytes;
}

static int kv_create(const struct state_spec *spec, struct backend *backend, const struct state_room *room,
    void **layer, struct error *err)
{
    struct kv_spec own = spec->kv;
    own.type = type_for(&own, room);
    if (own.type != TENSOR_F32 && own.type != TENSOR_F16 && own.type != TENSOR_BF16 &&
        own.type != TENSOR_Q8_0 && own.type != TENSOR_Q4_0)
        return error_set(err, ERROR_UNSUPPORTED, "a KV cache of type %s: use F32, F16, BF16, Q8_0 or Q4_0",
            tensor_type_info(own.type)->name);
    uint64_t bytes = kv_bytes(spec, room);
    struct kv_layer *l = calloc(1, sizeof *l);
    int32_t *written = calloc((size_t)room->n_slots, sizeof *written);
    void *buffer = NULL;
    if (!l || !written || bytes > SIZE_MAX)
        goto no_memory;
    if (backend->ops->buffer_create(backend, (size_t)bytes, &buffer, err)) {
        free(l);
        free(written);
        return ERROR_MEMORY;
    }
    *l = (struct kv_layer){.spec = own, .backend = backend, .written = written};
    l->pages = kv_paged(spec, room) ? room->pages : NULL;
    l->n_pages = pages_of_layer(spec, room, &l->n_rows);
    l->k_row = tensor_row_bytes(own.type, own.k_width);
    l->v_row = value_bytes(&own);
    l->bytes = bytes;
    l->keys = buffer;
    l->values = l->keys + l->k_row * (size_t)spec->kv.n_heads * (size_t)l->n_pages * (size_t)l->n_rows;
    *layer = l;
    return 0;
no_memory:
    free(l);
    free(written);
    return error_set(err, ERROR_MEMORY, "no memory for a KV cache layer of %llu bytes: use a smaller context",
        (unsigned long long)bytes);
}

static void kv_free(void *layer)
{
    struct kv_layer *l = layer;
    if (!l)
        return;
    l->backend->ops->buffer_free(l->backend, l->keys, (size_t)l->bytes);
    free(l->written);
    free(l);
}

static void kv_advance(void *layer, int32_t slot, int32_t length)
{
    struct kv_layer *l = layer;
    l->written[slot] = length > l->written[slot] ? length : l->written[slot];
}

/* The first position that the slot's rows hold. */
static int32_t kv_oldest(const struct kv_layer *l, int32_t slot)
{
    return !l->pages && l->written[slot] > l->n_rows ? l->written[slot] - l->n_rows : 0;
}

/* Positions are overwritten as the slot grows again, and attention reads none behind the token's own. A ring
 * can go back as long as it still holds all that the next token sees; else the sequence must start anew. */
static int32_t kv_reach(const void *layer, int32_t slot, int32_t length)
{
    const struct kv_layer *l = layer;
    return kv_first(l, length) < kv_oldest(l, slot) ? 0 : length;
}

static int32_t kv_truncate(void *layer, int32_t slot, int32_t length)
{
    struct kv_layer *l = layer;
    length = kv_reach(l, slot, length);
    if (length == 0)
        l->written[slot] = 0;
    return length;
}

/* Positions [from, to): runs of rows to the end of a page, or of a ring. */
static void kv_copy_rows(struct kv_layer *l, int32_t from_slot, int32_t to_slot, int32_t from, int32_t to)
{
    const struct backend *b = l->backend;
    for (int32_t count; from < to; from += count) {
        count = l->n_rows - from % l->n_rows;
        count = count < to - from ? count : to - from;
        for (int32_t head = 0; head < l->spec.n_heads; head++) {
            b->ops->copy(
                kv_key(l, to_slot, head, from), kv_key(l, from_slot, head, from), (size_t)count * l->k_row);
            if (!l->spec.latent)
                b->ops->copy(kv_value(l, to_slot, head, from), kv_value(l, from_slot, head, from),
                    (size_t)count * l->v_row);
        }
    }
}

/* Of a page, all heads: its keys, its values. */
static void page_bytes(const struct kv_layer *l, size_t *k, size_t *v)
{
    const size_t rows = (size_t)l->spec.n_heads * (size_t)l->n_rows;
    *k = rows * l->k_row;
    *v = l->spec.latent ? 0 : rows * l->v_row;
}

static void kv_copy(void *layer, int32_t from_page, int32_t to_page)
{
    struct kv_layer *l = layer;
    size_t k, v;
    page_bytes(l, &k, &v);
    if (!l->pages)
        return;
    l->backend->ops->copy(l->keys + (size_t)to_page * k, l->keys + (size_t)from_page * k, k);
    if (v > 0)
        l->backend->ops->copy(l->values + (size_t)to_page * v, l->values + (size_t)from_page * v, v);
}

/* A page's keys, then its values. */
static size_t kv_page_save(const void *layer, int32_t page, char *to)
{
    const struct kv_layer *l = layer;
    size_t k, v;
    page_bytes(l, &k, &v);
    if (to) {
        l->backend->ops->copy(to, l->keys + (size_t)page * k, k);
        l->backend->ops->copy(to + k, l->values + (size_t)page * v, v);
    }
    return k + v;
}

static size_t kv_page_load(void *layer, int32_t page, const char *from)
{
    struct kv_layer *l = layer;
    size_t k, v;
    page_bytes(l, &k, &v);
    l->backend->ops->copy(l->keys + (size_t)page * k, from, k);
    l->backend->ops->copy(l->values + (size_t)page * v, from + k, v);
    return k + v;
}

/* `written` comes along: rows behind `length` that were written over are lost to the copy as well. Pages are
 * shared by then. */
static void kv_fork(void *layer, int32_t from, int32_t to, int32_t length)
{
    struct kv_layer *l = layer;
    if (l->pages)
        return;
    l->written[to] = l->written[from];
    kv_copy_rows(l, from, to, kv_oldest(l, from), length);
}

static const struct state_ops kv_ops = {kv_bytes, kv_create, kv_free, kv_advance, kv_reach, kv_truncate,
    kv_paged, kv_copy, kv_page_save, kv_page_load, kv_fork};

const struct state_ops *const state_kinds[STATE_KINDS] = {
    [STATE_KV] = &kv_ops, [STATE_RECURRENT] = &recurrent_ops};
