/* A slot's state as bytes and back.
 *
 *   | magic | version | model | length | scales of adapters | layer 0 | layer 1 | ...      numbers as in
 * memory
 *
 * `model`: a hash of the architecture, its shape and what each layer keeps. */
#include <math.h>

#include "engine/worker/model_arch.h"
#include "engine/worker/model_state.h"

enum { SAVED_MAGIC = 0x54535257, SAVED_VERSION = 2 };

struct saved_header {
    uint32_t magic, version;
    uint64_t model;
    int32_t length, n_adapters;
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x100000001B3u;
}

static uint64_t spec_hash(uint64_t hash, const struct state_spec *s)
{
    const int64_t kv[] = {
        s->kv.type, s->kv.n_heads, s->kv.k_width, s->kv.v_width, s->kv.window, s->kv.latent};
    const int64_t recurrent[] = {s->recurrent.n_conv, s->recurrent.channels, s->recurrent.n_heads,
        s->recurrent.k_width, s->recurrent.v_width, 0};
    hash = mix(hash, s->kind);
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++)
        hash = mix(hash, (uint64_t)(s->kind == STATE_KV ? kv[i] : recurrent[i]));
    return hash;
}

uint64_t model_state_identity(const struct model *m)
{
    uint64_t hash = mix(str_hash(m->info.architecture), str_hash(m->info.name));
    hash = mix(mix(hash, m->info.n_parameters), m->info.weight_bytes);
    hash = mix(mix(hash, m->info.adapter_bytes), (uint64_t)m->info.n_vocab);
    for (int32_t i = 0; i < m->n_states; i++)
        hash = spec_hash(hash, &m->states[i]);
    return hash;
}

int model_state_save(const struct model_state *s, int32_t slot, struct buf *out, struct error *err)
{
    if (slot < 0 || slot >= s->n_slots)
        return error_set(
            err, ERROR_INVALID, "slot %d does not exist: there are %d", (int)slot, (int)s->n_slots);
    const struct model *m = s->model;
    const struct saved_header header = {
        SAVED_MAGIC, SAVED_VERSION, model_state_identity(m), s->lengths[slot], m->info.n_adapters};
    buf_append(out, &header, sizeof header);
    buf_append(out, s->scales + (size_t)slot * (size_t)m->info.n_adapters,
        (size_t)m->info.n_adapters * sizeof *s->scales);
    for (int32_t i = 0; i < m->n_states && header.length > 0; i++)
        state_kinds[m->states[i].kind]->save(s->layers[i], slot, header.length, out);
    return out->failed
               ? error_set(err, out->failed, "the state of a sequence does not fit %zu bytes", out->max)
               : 0;
}

static int header_check(const struct model_state *s, const struct saved_header *h, struct error *err)
{
    if (h->magic != SAVED_MAGIC || h->version != SAVED_VERSION)
        return error_set(err, ERROR_INVALID, "the bytes are no saved state of version %d", SAVED_VERSION);
    if (h->model != model_state_identity(s->model) || h->n_adapters != s->model->info.n_adapters)
        return error_set(err, ERROR_INVALID, "the saved state is another model's");
    if (h->length < 0 || h->length > s->n_context)
        return error_set(err, ERROR_INVALID, "the saved state has %d tokens, a slot room for %d",
            (int)h->length, (int)s->n_context);
    return 0;
}

static int restore(
    struct model_state *s, int32_t slot, const struct saved_header *h, struct str *in, struct error *err)
{
    const struct model *m = s->model;
    float *scales = s->scales + (size_t)slot * (size_t)m->info.n_adapters;
    int rc = state_take(in, scales, (size_t)m->info.n_adapters * sizeof *scales)
                 ? 0
                 : error_set(err, ERROR_INVALID, "the saved state is cut short");
    for (int32_t i = 0; i < m->info.n_adapters && rc == 0; i++)
        if (!isfinite(scales[i]))
            rc = error_set(err, ERROR_INVALID, "a saved state has an adapter without a scale: it is broken");
    if (rc == 0)
        rc = model_slot_reserve(s, slot, h->length, err);
    for (int32_t i = 0; i < m->n_states && rc == 0 && h->length > 0; i++)
        rc = state_kinds[m->states[i].kind]->restore(s->layers[i], slot, h->length, in, err);
    if (rc == 0 && in->len > 0)
        rc = error_set(err, ERROR_INVALID, "the saved state has more bytes than it says: it is broken");
    return rc;
}

int model_state_restore(struct model_state *s, int32_t slot, struct str saved, struct error *err)
{
    struct saved_header header;
    if (slot < 0 || slot >= s->n_slots)
        return error_set(
            err, ERROR_INVALID, "slot %d does not exist: there are %d", (int)slot, (int)s->n_slots);
    model_state_truncate(s, slot, 0);
    if (!state_take(&saved, &header, sizeof header))
        return error_set(err, ERROR_INVALID, "the saved state is cut short");
    int rc = header_check(s, &header, err);
    if (rc == 0)
        rc = restore(s, slot, &header, &saved, err);
    s->lengths[slot] = rc ? 0 : header.length;
    if (rc) {
        model_state_truncate(s, slot, 0);
        memset(s->scales + (size_t)slot * (size_t)s->model->info.n_adapters, 0,
            (size_t)s->model->info.n_adapters * sizeof *s->scales);
    }
    return rc;
}
