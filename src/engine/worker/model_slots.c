/* What slots hold: taking back, sharing, keeping for others. */
#include <string.h>

#include "engine/worker/model_arch.h"
#include "engine/worker/model_foretell.h"

int32_t model_state_length(const struct model_state *s, int32_t slot)
{
    return slot >= 0 && slot < s->n_slots ? s->lengths[slot] : 0;
}

int32_t model_state_reach(const struct model_state *s, int32_t slot, int32_t length)
{
    if (slot < 0 || slot >= s->n_slots || length < 0)
        return 0;
    int32_t most = length < s->lengths[slot] ? length : s->lengths[slot], asked;
    /* A layer that holds less takes the others back with it. */
    do {
        asked = most;
        for (int32_t i = 0; i < s->model->n_states; i++)
            most = state_kinds[s->model->states[i].kind]->reach(s->layers[i], slot, most);
    } while (most != asked);
    return most;
}

int32_t model_state_truncate(struct model_state *s, int32_t slot, int32_t length)
{
    if (slot < 0 || slot >= s->n_slots)
        return 0;
    foretell_truncate(s->foretell, slot, length);
    s->lengths[slot] = model_state_reach(s, slot, length);
    for (int32_t i = 0; i < s->model->n_states; i++)
        state_kinds[s->model->states[i].kind]->truncate(s->layers[i], slot, s->lengths[slot]);
    if (s->pages)
        pages_truncate(s->pages, slot, s->lengths[slot]);
    return s->lengths[slot];
}

bool model_state_rewinds(const struct model_state *s)
{
    for (int32_t i = 0; i < s->model->n_states; i++)
        if (s->model->states[i].kind == STATE_RECURRENT)
            return false;
    return true;
}

static size_t scales_bytes(const struct model_state *s)
{
    return (size_t)s->model->info.n_adapters * sizeof *s->scales;
}

bool model_state_is_adapted(const struct model_state *s, int32_t slot, const float *scales)
{
    for (int32_t i = 0; i < s->model->info.n_adapters; i++)
        if (model_slot_scales(s, slot)[i] != (scales ? scales[i] : 0))
            return false;
    return true;
}

void model_state_adapt(struct model_state *s, int32_t slot, const float *scales)
{
    if (slot < 0 || slot >= s->n_slots || model_state_is_adapted(s, slot, scales))
        return;
    model_state_truncate(s, slot, 0);
    for (int32_t i = 0; i < s->model->info.n_adapters; i++)
        model_slot_scales(s, slot)[i] = scales ? scales[i] : 0;
}

int32_t model_state_fork(struct model_state *s, int32_t from, int32_t to, int32_t length)
{
    if (from == to)
        return model_state_truncate(s, to, length);
    if (to < 0 || to >= s->n_slots)
        return 0;
    s->lengths[to] = model_state_reach(s, from, length);
    if (s->lengths[to] > 0)
        memcpy(model_slot_scales(s, to), model_slot_scales(s, from), scales_bytes(s));
    if (s->pages)
        pages_fork(s->pages, from, to, s->lengths[to]);
    foretell_fork(s->foretell, from, to, s->lengths[to]);
    for (int32_t i = 0; i < s->model->n_states; i++) {
        const struct state_ops *ops = state_kinds[s->model->states[i].kind];
        if (s->lengths[to] > 0)
            ops->fork(s->layers[i], from, to, s->lengths[to]);
        else
            ops->truncate(s->layers[i], to, 0);
    }
    return s->lengths[to];
}

static void page_copy(void *ctx, int32_t from, int32_t to)
{
    const struct model_state *s = ctx;
    for (int32_t i = 0; i < s->model->n_states; i++)
        state_kinds[s->model->states[i].kind]->copy(s->layers[i], from, to);
}

/* What was foretold in this step may have pages behind those of the slot's length. */
int model_slot_reserve(struct model_state *s, int32_t slot, int32_t length, struct error *err)
{
    if (!s->pages)
        return 0;
    const int32_t held = s->pages->held[slot];
    const int32_t from = held > pages_for(s->lengths[slot]) ? held * PAGE_POSITIONS : s->lengths[slot];
    return from < length ? pages_reserve(s->pages, slot, from, length, page_copy, s, err) : 0;
}

bool model_state_shares(const struct model_state *s)
{
    return s->shares;
}

int32_t model_state_match(const struct model_state *s, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, int32_t *unused)
{
    *unused = 0;
    return s->shares ? pages_match(s->pages, kin, tokens, count, unused) : 0;
}

static struct pages_kin slot_kin(const struct model_state *s, int32_t slot, uint64_t scope)
{
    return (struct pages_kin){scope, model_slot_scales(s, slot)};
}

int32_t model_state_adopt(
    struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, int32_t count)
{
    const struct pages_kin kin = slot_kin(s, slot, scope);
    if (s->shares && s->lengths[slot] == 0)
        s->lengths[slot] = pages_adopt(s->pages, slot, &kin, tokens, count);
    return s->lengths[slot];
}

void model_state_keep(struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, bool leave)
{
    const struct pages_kin kin = slot_kin(s, slot, scope);
    if (!s->shares)
        return;
    pages_keep(s->pages, slot, &kin, tokens, s->lengths[slot], leave);
    if (leave)
        model_state_truncate(s, slot, 0);
}

int32_t model_state_pages_left(const struct model_state *s)
{
    return s->pages ? pages_available(s->pages) : 0;
}

int32_t model_state_pages_needed(const struct model_state *s, int32_t slot, int32_t count)
{
    const int32_t from = s->lengths[slot], to = from + count < s->n_context ? from + count : s->n_context;
    return s->pages ? pages_needed(s->pages, slot, from, to) : 0;
}

int32_t model_state_pages_between(const struct model_state *s, int32_t kept, int32_t length)
{
    length = length < s->n_context ? length : s->n_context;
    return s->pages ? pages_for(length) - kept / PAGE_POSITIONS : 0;
}

int32_t model_state_page(const struct model_state *s)
{
    return s->shares ? PAGE_POSITIONS : 1;
}
