#include "engine/worker/recurrent.h"

#include <stdlib.h>

#include "engine/worker/state.h"

static size_t conv_floats(const struct recurrent_spec *spec)
{
    return (size_t)spec->n_conv * (size_t)spec->channels;
}

static size_t snapshot_floats(const struct recurrent_spec *spec)
{
    return conv_floats(spec) + (size_t)spec->n_heads * (size_t)spec->k_width * (size_t)spec->v_width;
}

static uint64_t recurrent_bytes(const struct state_spec *spec, const struct state_room *room)
{
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)snapshot_floats(&spec->recurrent) * sizeof(float) * SNAPSHOTS,
            (uint64_t)room->n_slots, &bytes))
        return UINT64_MAX;
    return bytes;
}

static int recurrent_create(const struct state_spec *spec, struct backend *backend,
    const struct state_room *room, void **layer, struct error *err)
{
    uint64_t bytes = recurrent_bytes(spec, room);
    struct recurrent_layer *l = calloc(1, sizeof *l);
    struct recurrent_slot *slots = calloc((size_t)room->n_slots, sizeof *slots);
    void *buffer = NULL;
    int rc = 0;
    if (!l || !slots || bytes > SIZE_MAX)
        rc = error_set(err, ERROR_MEMORY,
            "no memory for a recurrent layer of %llu bytes: use fewer sequences", (unsigned long long)bytes);
    if (rc == 0)
        rc = backend->ops->buffer_create(backend, (size_t)bytes, &buffer, err);
    if (rc) {
        free(l);
        free(slots);
        return rc;
    }
    *l = (struct recurrent_layer){
        .spec = spec->recurrent, .backend = backend, .slots = slots, .bytes = bytes, .data = buffer};
    l->conv_floats = conv_floats(&l->spec);
    l->floats = snapshot_floats(&l->spec);
    *layer = l;
    return 0;
}

static void recurrent_free(void *layer)
{
    struct recurrent_layer *l = layer;
    if (!l)
        return;
    l->backend->ops->buffer_free(l->backend, l->data, (size_t)l->bytes);
    free(l->slots);
    free(l);
}

/* Which of two snapshots is missed less: an empty one, one of a short step, the older. */
static bool matters_less(const struct recurrent_slot *s, int32_t a, int32_t b)
{
    if ((s->lengths[a] == 0) != (s->lengths[b] == 0))
        return s->lengths[a] == 0;
    if (s->runs[a] != s->runs[b])
        return !s->runs[a];
    return s->lengths[a] < s->lengths[b];
}

static void recurrent_advance(void *layer, int32_t slot, int32_t length)
{
    struct recurrent_slot *s = &((struct recurrent_layer *)layer)->slots[slot];
    s->from = -1;
    s->to = -1;
    for (int32_t i = 0; i < SNAPSHOTS; i++)
        if (s->lengths[i] > 0 && (s->from < 0 || s->lengths[i] > s->lengths[s->from]))
            s->from = i;
    for (int32_t i = 0; i < SNAPSHOTS; i++)
        if (i != s->from && (s->to < 0 || matters_less(s, i, s->to)))
            s->to = i;
    s->runs[s->to] = length - (s->from < 0 ? 0 : s->lengths[s->from]) >= RUN_LEAST;
    s->lengths[s->to] = length;
}

static int32_t recurrent_reach(const void *layer, int32_t slot, int32_t length)
{
    const struct recurrent_slot *s = &((const struct recurrent_layer *)layer)->slots[slot];
    int32_t most = 0;
    for (int32_t i = 0; i < SNAPSHOTS; i++)
        most = s->lengths[i] > most && s->lengths[i] <= length ? s->lengths[i] : most;
    return most;
}

static int32_t recurrent_truncate(void *layer, int32_t slot, int32_t length)
{
    struct recurrent_slot *s = &((struct recurrent_layer *)layer)->slots[slot];
    for (int32_t i = 0; i < SNAPSHOTS; i++)
        if (s->lengths[i] > length)
            s->lengths[i] = 0;
    return recurrent_reach(layer, slot, length);
}

static bool recurrent_paged(const struct state_spec *spec, const struct state_room *room)
{
    (void)spec;
    (void)room;
    return false;
}

static void recurrent_copy(void *layer, int32_t from_page, int32_t to_page)
{
    (void)layer;
    (void)from_page;
    (void)to_page;
}

static void recurrent_fork(void *layer, int32_t from, int32_t to, int32_t length)
{
    struct recurrent_layer *l = layer;
    l->slots[to] = l->slots[from];
    recurrent_truncate(l, to, length);
    for (int32_t i = 0; i < SNAPSHOTS; i++)
        if (l->slots[to].lengths[i] > 0)
            l->backend->ops->copy(
                recurrent_conv(l, to, i), recurrent_conv(l, from, i), l->floats * sizeof(float));
}

const struct state_ops recurrent_ops = {recurrent_bytes, recurrent_create, recurrent_free, recurrent_advance,
    recurrent_reach, recurrent_truncate, recurrent_paged, recurrent_copy, NULL, NULL, recurrent_fork};
