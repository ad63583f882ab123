/* Who gets a slot, and what it begins with.
 *
 * Where states share pages, a sequence takes any free slot and finds its beginning among all that was
 * computed. Elsewhere the beginning is another slot's: slots that became free remember what they hold.
 *
 * A sequence is let in when its whole prompt has room beside those of the others. Answers are not foreseen:
 * when the pages run out, what free slots remember goes, then the youngest sequence gives way. It waits
 * before all others, and begins again with what is still kept of it. */
#include <stdlib.h>

#include "engine/worker/pages.h"
#include "engine/worker/scheduler_inner.h"

enum { SHARE_LEAST = 16 }; /* tokens that are worth waiting for */

/* How many tokens may be had of others: the last one is always computed, for its logits are wanted, and so
 * are those that the owner is still to be told of. */
static size_t most_had(const struct sequence *q)
{
    return q->tell < q->tell_end ? (size_t)q->tell : q->tokens.count - 1;
}

/* How many tokens of the beginning are among the first `count` of `tokens`. */
static size_t common_prefix(const struct token_list *tokens, size_t count, const struct sequence *q)
{
    size_t n = 0, most = most_had(q);
    if (most > count)
        most = count;
    while (n < most && tokens->ids[n] == q->tokens.ids[n])
        n++;
    return n;
}

/* How many of a new sequence's tokens the slot's state could give, exactly. */
static int32_t slot_gives(const struct scheduler *s, int32_t index, const struct sequence *q)
{
    const struct slot *slot = &s->slots[index];
    const uint64_t scope = slot->sequence ? slot->sequence->scope : slot->scope;
    if (scope != q->scope || !model_state_is_adapted(s->state, index, q->scales))
        return 0;
    const struct token_list *tokens = slot->sequence ? &slot->sequence->tokens : &slot->held;
    const size_t held = (size_t)model_state_length(s->state, index);
    return model_state_reach(s->state, index, (int32_t)common_prefix(tokens, held, q));
}

/* Where a sequence goes, and the slot, perhaps another, whose state it begins with. */
struct place {
    int32_t slot, donor; /* -1: none is free; nothing to begin with, or what all share */
    int32_t kept;        /* tokens that need not be computed */
    int32_t pages;       /* that are needed to read the prompt */
};

/* The donor is the slot that gives most, the longest unused among equals. A free one is gone on with, unless
 * that would throw away more than it saves (two conversations that share only a system prompt): then, as from
 * a busy one, the longest unused of all takes a copy. */
static void donor_find(const struct scheduler *s, const struct sequence *q, struct place *out)
{
    struct place p = *out;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct slot *slot = &s->slots[i];
        if (!slot->sequence && (p.slot < 0 || slot->freed_at < s->slots[p.slot].freed_at))
            p.slot = i;
        int32_t n = slot_gives(s, i, q);
        bool later = p.donor >= 0 && (slot->sequence || slot->freed_at >= s->slots[p.donor].freed_at);
        if (n < 1 || n < p.kept || (n == p.kept && later))
            continue;
        p.donor = i;
        p.kept = n;
    }
    if (p.donor >= 0 && !s->slots[p.donor].sequence &&
        model_state_length(s->state, p.donor) - p.kept <= p.kept)
        p.slot = p.donor;
    *out = p;
}

static struct place place_find(const struct scheduler *s, const struct sequence *q)
{
    struct place p = {-1, -1, 0, 0};
    const struct pages_kin kin = {q->scope, q->scales};
    const int32_t count = (int32_t)q->tokens.count;
    int32_t unused = 0;
    if (model_state_shares(s->state)) {
        for (int32_t i = s->o.n_slots - 1; i >= 0; i--)
            p.slot = s->slots[i].sequence ? p.slot : i;
        if (p.slot >= 0)
            p.kept = model_state_match(s->state, &kin, q->tokens.ids, (int32_t)most_had(q), &unused);
    } else {
        donor_find(s, q, &p);
    }
    p.pages = unused + model_state_pages_between(s->state, p.kept, count + 1);
    return p;
}

/* Another sequence is reading a beginning that this one shares: it waits, and takes it over. */
static bool beginning_comes(struct scheduler *s, const struct sequence *waiting, int32_t kept)
{
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct sequence *q = s->slots[i].sequence;
        if (!q || q->paused || q->scope != waiting->scope ||
            !model_state_is_adapted(s->state, i, waiting->scales))
            continue;
        int32_t n = (int32_t)common_prefix(&q->tokens, q->tokens.count, waiting);
        n -= n % model_state_page(s->state);
        int32_t read = model_state_length(s->state, i);
        if (n <= read || n <= kept || (n < kept + SHARE_LEAST && read < kept))
            continue;
        if (s->slots[i].stop == 0 || n < s->slots[i].stop)
            s->slots[i].stop = n;
        return true;
    }
    return false;
}

static int32_t state_begin(struct scheduler *s, const struct sequence *q, const struct place *place)
{
    int32_t kept = place->donor < 0 ? model_state_truncate(s->state, place->slot, 0)
                                    : model_state_fork(s->state, place->donor, place->slot, place->kept);
    model_state_adapt(s->state, place->slot, q->scales);
    if (model_state_shares(s->state))
        kept = model_state_adopt(s->state, place->slot, q->scope, q->tokens.ids, (int32_t)most_had(q));
    return kept;
}

static void sequence_start(struct scheduler *s, struct sequence *q, const struct place *place)
{
    struct slot *slot = &s->slots[place->slot];
    struct error err = {0};
    int32_t kept = state_begin(s, q, place);
    free(slot->held.ids);
    slot->held = (struct token_list){0};
    slot->sequence = q;
    slot->behind = 0;
    model_draft_begin(s, place->slot);
    list_remove(&q->node);
    int rc = q->started ? 0 : q->ops->started(q->ctx, (size_t)kept, &err);
    q->started = true;
    if (rc)
        sequence_end(s, place->slot, rc, &err);
}

/* ---- Pages ---- */

void slot_keep(struct scheduler *s, int32_t index, bool leave)
{
    const struct sequence *q = s->slots[index].sequence;
    model_state_keep(s->state, index, q->scope, q->tokens.ids, leave);
}

struct token_list slot_release(struct scheduler *s, int32_t index)
{
    struct slot *slot = &s->slots[index];
    struct sequence *q = slot->sequence;
    const bool shares = model_state_shares(s->state);
    if (shares)
        slot_keep(s, index, true);
    model_draft_end(s, index, q);
    struct token_list tokens = q->tokens;
    q->tokens = (struct token_list){0};
    slot->sequence = NULL;
    slot->scope = q->scope;
    slot->freed_at = ++s->clock;
    if (shares)
        return tokens;
    slot->held = tokens;
    slot->held.count = (size_t)model_state_length(s->state, index);
    return (struct token_list){0};
}

/* The free slot that was unused for longest, but `besides`, and still holds something; -1: none does. */
static int32_t slot_oldest(const struct scheduler *s, int32_t besides)
{
    int32_t oldest = -1;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        if (i != besides && !s->slots[i].sequence && model_state_length(s->state, i) > 0 &&
            (oldest < 0 || s->slots[i].freed_at < s->slots[oldest].freed_at))
            oldest = i;
    return oldest;
}

static void slot_forget(struct scheduler *s, int32_t index)
{
    free(s->slots[index].held.ids);
    s->slots[index].held = (struct token_list){0};
    (void)model_state_truncate(s->state, index, 0);
}

/* The youngest sequence gives its pages and waits for its turn to come again; false: it is alone. */
static bool youngest_yields(struct scheduler *s)
{
    int32_t youngest = -1, count = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct sequence *q = s->slots[i].sequence;
        count += q != NULL;
        if (q && (youngest < 0 || q->number > s->slots[youngest].sequence->number))
            youngest = i;
    }
    if (count < 2)
        return false;
    struct sequence *q = s->slots[youngest].sequence;
    if (model_state_shares(s->state)) {
        q->tokens = slot_release(s, youngest);
    } else {
        model_draft_end(s, youngest, q);
        s->slots[youngest].sequence = NULL;
        slot_forget(s, youngest);
    }
    list_push_back(s->waiting.next, &q->node); /* before the first */
    return true;
}

/* Pages for the next token of each sequence. */
static int32_t pages_next(const struct scheduler *s)
{
    int32_t wanted = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        if (slot_pending(s, i) > 0)
            wanted += model_state_pages_needed(s->state, i, 1 + s->slots[i].behind);
    return wanted;
}

/* Pages for what the sequences still have to read, and one each for what they will say. */
static int32_t pages_promised(const struct scheduler *s)
{
    int32_t promised = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct sequence *q = s->slots[i].sequence;
        if (q)
            promised += model_state_pages_between(s->state, 0, 1) +
                        model_state_pages_needed(
                            s->state, i, (int32_t)q->tokens.count - model_state_length(s->state, i));
    }
    return promised;
}

void room_secure(struct scheduler *s)
{
    while (pages_next(s) > model_state_pages_left(s->state)) {
        const int32_t oldest = slot_oldest(s, -1);
        if (oldest >= 0)
            slot_forget(s, oldest);
        else if (!youngest_yields(s))
            return;
    }
}

/* Is there room for the prompt beside the others'? What free slots remember makes way for it. */
static bool room_make(struct scheduler *s, const struct place *place)
{
    while (pages_promised(s) + place->pages > model_state_pages_left(s->state)) {
        const int32_t oldest = slot_oldest(s, place->donor);
        if (oldest < 0)
            return false;
        slot_forget(s, oldest);
    }
    return true;
}

static bool is_anyone_running(const struct scheduler *s)
{
    for (int32_t i = 0; i < s->o.n_slots; i++)
        if (s->slots[i].sequence)
            return true;
    return false;
}

/* Pages come from the disk for one sequence at a time: two that have no room beside each other would take
 * them from one another for ever. */
void slots_fill(struct scheduler *s)
{
    bool disk_free = true;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        s->slots[i].stop = 0;
    list_each(node, after, &s->waiting) {
        struct sequence *q = list_item(node, struct sequence, node);
        if (q->paused)
            continue;
        struct place place = place_find(s, q);
        if (place.slot < 0)
            return;
        const struct pages_kin kin = {q->scope, q->scales};
        if (model_state_recall(s->state, &kin, q->tokens.ids, (int32_t)most_had(q), &disk_free) ||
            beginning_comes(s, q, place.kept))
            continue;
        if (!room_make(s, &place) && is_anyone_running(s))
            return;
        sequence_start(s, q, &place);
    }
}
