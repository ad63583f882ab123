/* What a step computes: a token for each sequence that generates, and of prompts as much as does not hold
 * these up (scheduler_pace.h). Each key's prompts get the same share of what is left, whoever has most of
 * them. */
#include "engine/worker/scheduler_inner.h"

int32_t slot_pending(const struct scheduler *s, int32_t index)
{
    const struct sequence *q = s->slots[index].sequence;
    return q && !q->paused ? (int32_t)q->tokens.count - model_state_length(s->state, index) : 0;
}

bool slot_generates(const struct scheduler *s, int32_t index)
{
    const int32_t n = slot_pending(s, index);
    return n > 0 && n == 1 + s->slots[index].behind;
}

static bool reads_prompt(const struct scheduler *s, int32_t index)
{
    return slot_pending(s, index) > 0 && !slot_generates(s, index);
}

/* Adds the next `count` pending tokens of a slot; the last of all gives logits, and those that its owner is
 * told of. */
static void batch_add(struct scheduler *s, int32_t index, int32_t count)
{
    struct slot *slot = &s->slots[index];
    const struct sequence *q = slot->sequence;
    int32_t from = model_state_length(s->state, index);
    slot->told = 0;
    for (int32_t i = 0; i < count; i++) {
        const bool tells = from + i >= q->tell && from + i < q->tell_end;
        s->tokens[s->n_tokens] = q->tokens.ids[from + i];
        s->token_slots[s->n_tokens] = index;
        s->wants[s->n_tokens++] = tells || (size_t)(from + i) + 1 == q->tokens.count;
        slot->told += tells;
    }
    s->n_told += slot->told;
    if (slot->told > 0 || (count > 0 && (size_t)(from + count) == q->tokens.count))
        s->rows[s->n_rows++] = index;
}

static void drafts_add(struct scheduler *s, int32_t index)
{
    const struct draft *d = &s->slots[index].draft;
    for (int32_t i = 0; i < d->taken; i++) {
        s->tokens[s->n_tokens] = d->tokens[i];
        s->token_slots[s->n_tokens] = index;
        s->wants[s->n_tokens++] = 1;
    }
    s->n_drafts += d->taken;
    s->slots[index].sequence->counts.drafted += d->taken;
    s->slots[index].sequence->counts.by_model += d->by_model ? d->taken : 0;
}

/* The slot's part of its key's share. */
static double weight_of(const struct scheduler *s, int32_t index)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        n += reads_prompt(s, i) && s->slots[i].sequence->key == s->slots[index].sequence->key;
    return 1.0 / n;
}

/* At most n tokens of the slot: to where others wait for it, and as many as there are rows and pages for. */
static int32_t chunk_of(const struct scheduler *s, int32_t index, int32_t n, int32_t pages)
{
    const struct sequence *q = s->slots[index].sequence;
    const int32_t from = model_state_length(s->state, index), ahead = s->slots[index].stop - from;
    const int32_t told = q->tell + SCHEDULER_TOLD - s->n_told; /* where the rows end */
    if (ahead > 0 && n > ahead)
        n = ahead;
    if (told < q->tell_end && from + n > told)
        n = told - from;
    while (n > 0 && model_state_pages_needed(s->state, index, n) > pages)
        n--;
    return n;
}

/* Prompts take turns in being first, so that what cannot be divided goes round. */
static void prompts_add(struct scheduler *s, int32_t room, int32_t pages)
{
    double weights = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        weights += reads_prompt(s, i) ? weight_of(s, i) : 0;
    s->turn = (s->turn + 1) % s->o.n_slots;
    for (int32_t k = 0; k < s->o.n_slots && room > 0; k++) {
        const int32_t index = (s->turn + k) % s->o.n_slots, pending = slot_pending(s, index);
        if (!reads_prompt(s, index))
            continue;
        const double weight = weight_of(s, index);
        int32_t share = (int32_t)(room * weight / weights + 0.5);
        share = share < 1 ? 1 : share < room ? share : room;
        weights -= weight;
        const int32_t n = chunk_of(s, index, pending < share ? pending : share, pages);
        pages -= model_state_pages_needed(s->state, index, n);
        batch_add(s, index, n);
        room -= n;
    }
}

/* What sequences that generate wait for is counted first, then it is known what drafts have room. */
void batch_build(struct scheduler *s)
{
    room_secure(s);
    s->n_tokens = s->n_rows = s->n_streams = s->n_drafts = s->n_told = 0;
    int32_t pages = model_state_pages_left(s->state);
    bool prompts = false;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        s->slots[i].draft.n = s->slots[i].draft.taken = 0;
        s->slots[i].draft.by_model = false;
        prompts = prompts || reads_prompt(s, i);
        if (!slot_generates(s, i))
            continue;
        s->n_streams += slot_pending(s, i);
        pages -= model_state_pages_needed(s->state, i, slot_pending(s, i));
    }
    int32_t room = s->o.n_batch - s->n_streams;
    if (prompts)
        room = pace_room(&s->pace, s->n_streams, room);
    if (s->o.drafts)
        (prompts ? drafts_beside : drafts_choose)(s, room, pages);
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        if (!slot_generates(s, i))
            continue;
        const int32_t own = slot_pending(s, i);
        batch_add(s, i, own);
        drafts_add(s, i);
        pages -= model_state_pages_needed(s->state, i, own + s->slots[i].draft.taken) -
                 model_state_pages_needed(s->state, i, own);
    }
    if (prompts)
        prompts_add(s, room - s->n_drafts, pages);
}

void batch_learn(struct scheduler *s, int64_t took_ns)
{
    const int32_t read = s->n_tokens - s->n_streams - s->n_drafts;
    s->n_steps++;
    if (read == 0)
        drafts_learn(s, took_ns);
    if (read > 0 || s->n_drafts == 0)
        pace_learn(&s->pace, s->n_streams, s->n_tokens - s->n_streams, took_ns);
}

void batch_keep(struct scheduler *s)
{
    for (int32_t i = 0; i < s->n_tokens; i++)
        if (s->slots[s->token_slots[i]].sequence &&
            (i + 1 == s->n_tokens || s->token_slots[i + 1] != s->token_slots[i]))
            slot_keep(s, s->token_slots[i], false);
}
