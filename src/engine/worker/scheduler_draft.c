/* Drafts: tokens that a sequence is likely to draw run in the same step as its newest one, with a row of
 * logits each. The sequence draws from these rows one after the other, as it would have in as many steps, for
 * as long as it draws what was drafted; the rest is taken back. So an answer is the same to the token,
 * whoever drafts and however it is drawn (speculative decoding, arxiv.org/abs/2211.17192, whose rule of
 * acceptance is not needed: the next token is drawn from the model's own row, a draft only says that the row
 * after it is there).
 *
 *   runs     ... t | a b c d        rows are the same to the bit as if each token ran alone (product.h)
 *   drawn          a b x            x is not c: the state goes back to t a b, x is the newest token
 *
 * How many: those with which a step is likely to give most tokens in its time. The odds are measured by who
 * drafts (lookup.h), the times here: a few tokens more cost little as long as a step waits for memory, and as
 * much as they give when streams have filled it. */
#include "engine/worker/scheduler_inner.h"

enum { FRESH = 256 }; /* steps until a time is measured anew: contexts grow, and the machine has other work */
#define GAIN_LEAST 1.03

/* ---- Times ---- */

static bool cost_known(const struct scheduler *s, int32_t n)
{
    return s->costs[n].ns > 0 && s->n_steps - s->costs[n].step < FRESH;
}

/* Another token's time where no step was so large: as in prompts, within what is possible. */
static double slope_of(const struct scheduler *s, double below)
{
    const double token = s->pace.token > 0 ? s->pace.token : below / 8;
    return token < below / 32 ? below / 32 : token > below / 4 ? below / 4 : token;
}

/* Of a step of n tokens; between measured ones in proportion. 0: it is not known. */
static double cost_of(const struct scheduler *s, int32_t n)
{
    int32_t below = n, above = n;
    while (below > 0 && !cost_known(s, below))
        below--;
    if (below == 0)
        return 0;
    while (above <= COSTS && !cost_known(s, above))
        above++;
    const double from = s->costs[below].ns;
    if (above > COSTS)
        return from + (n - below) * slope_of(s, from);
    return above == below ? from : from + (s->costs[above].ns - from) * (n - below) / (above - below);
}

void drafts_learn(struct scheduler *s, int64_t took_ns)
{
    struct cost *c = &s->costs[s->n_tokens <= COSTS ? s->n_tokens : 0];
    c->ns = cost_known(s, (int32_t)(c - s->costs)) ? c->ns + ((double)took_ns - c->ns) / 4 : (double)took_ns;
    c->step = s->n_steps;
}

/* ---- What runs ---- */

static void slot_draft(struct scheduler *s, int32_t index)
{
    struct slot *slot = &s->slots[index];
    const struct sequence *q = slot->sequence;
    const int32_t room = s->o.n_context - (int32_t)q->tokens.count;
    if (q->lookup && room > 0)
        slot->draft.n = lookup_foretell(
            q->lookup, room < DRAFT_MOST ? room : DRAFT_MOST, slot->draft.tokens, slot->draft.odds);
}

/* Pages that the slot's next draft takes. */
static int32_t draft_pages(const struct scheduler *s, int32_t index)
{
    const int32_t n = slot_pending(s, index) + s->slots[index].draft.taken;
    return model_state_pages_needed(s->state, index, n + 1) - model_state_pages_needed(s->state, index, n);
}

/* The slot whose next draft is likeliest to be drawn; -1: there is none, or no pages for it. */
static int32_t best_of(const struct scheduler *s, int32_t pages)
{
    int32_t best = -1;
    float most = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct draft *d = &s->slots[i].draft;
        if (d->taken >= d->n || d->odds[d->taken] <= most)
            continue;
        if (draft_pages(s, i) > pages)
            continue;
        most = d->odds[d->taken];
        best = i;
    }
    return best;
}

/* Tokens that are likely to be read a second time, for the state cannot go back to those that are drawn: all
 * up to the wrong one, where one is wrong. */
static double likely_behind(const struct scheduler *s, const struct draft *d)
{
    if (d->taken == 0 || model_state_rewinds(s->state))
        return 0;
    double drawn = 0;
    for (int32_t i = 0; i < d->taken; i++)
        drawn += (double)d->odds[i];
    const double all = (double)d->odds[d->taken - 1];
    return (1 - all) + drawn - d->taken * all;
}

void drafts_choose(struct scheduler *s, int32_t room, int32_t pages)
{
    int32_t streams = 0, most = room < SCHEDULER_DRAFTS ? room : SCHEDULER_DRAFTS;
    int32_t chosen[SCHEDULER_DRAFTS], n_chosen = 0;
    most = most < COSTS - s->n_streams ? most : COSTS - s->n_streams;
    double behind = 0, drawn, cost = most > 0 ? cost_of(s, s->n_streams) : 0, best;
    if (cost <= 0) /* no room; or first see how long a step takes without */
        return;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        if (!slot_generates(s, i))
            continue;
        streams++;
        slot_draft(s, i);
    }
    model_draft(s, cost / streams, cost_of(s, s->n_streams + 1) - cost, pages);
    drawn = streams;
    best = drawn / cost * GAIN_LEAST;
    for (int32_t n = 0; n < most; n++) {
        const int32_t index = best_of(s, pages);
        if (index < 0)
            break;
        struct draft *d = &s->slots[index].draft;
        pages -= draft_pages(s, index);
        behind -= likely_behind(s, d);
        drawn += (double)d->odds[d->taken++];
        behind += likely_behind(s, d);
        chosen[n] = index;
        const int32_t all = s->n_streams + n + 1 + (int32_t)(behind + 0.5);
        const double gives = drawn / cost_of(s, all < COSTS ? all : COSTS);
        if (gives > best) {
            best = gives;
            n_chosen = n + 1;
        }
    }
    for (int32_t i = 0; i < s->o.n_slots; i++)
        s->slots[i].draft.taken = 0;
    for (int32_t n = 0; n < n_chosen; n++)
        s->slots[chosen[n]].draft.taken++;
}

/* Beside prompts a draft takes the place of one of their tokens, and costs as much. For a stream's token that
 * is cheap, for the weights are read anyway: alone it would take its share of a step, or half of it with
 * drafts. At most half of the room goes to them, so that prompts get on. */
void drafts_beside(struct scheduler *s, int32_t room, int32_t pages)
{
    const int32_t most = room / 2 < SCHEDULER_DRAFTS ? room / 2 : SCHEDULER_DRAFTS;
    if (most == 0 || s->n_streams == 0 || s->pace.token <= 0 || !model_state_rewinds(s->state))
        return;
    const double otherwise = s->pace.alone / s->n_streams / 2;
    for (int32_t i = 0; i < s->o.n_slots; i++)
        if (slot_generates(s, i))
            slot_draft(s, i);
    for (int32_t n = 0; n < most; n++) {
        const int32_t index = best_of(s, pages);
        struct draft *d = index < 0 ? NULL : &s->slots[index].draft;
        if (!d || (double)d->odds[d->taken] * otherwise <= s->pace.token)
            return;
        pages -= draft_pages(s, index);
        d->taken++;
    }
}

/* ---- What became of it ---- */

/* `before`: the sequence's tokens without the newest. */
static void lookup_add(struct sequence *q, const struct token_list *before, int32_t token)
{
    struct error err;
    /* Without memory for it the sequence goes on, and it is tried again. */
    if (!q->lookup && lookup_create(&q->expected, before, &q->lookup, &err) != 0)
        return;
    lookup_push(q->lookup, token);
}

void draft_push(struct scheduler *s, struct sequence *q, int32_t token)
{
    if (s->o.drafts)
        lookup_add(q, &(struct token_list){q->tokens.ids, q->tokens.count - 1, 0}, token);
}

void draft_end(struct scheduler *s, struct sequence *q, int32_t token)
{
    if (s->o.drafts && (q->lookup || q->expected.count > 0))
        lookup_add(q, &q->tokens, token);
}

void draft_settle(struct scheduler *s, int32_t index, int32_t length)
{
    struct slot *slot = &s->slots[index];
    slot->behind = 0;
    model_draft_settle(s, index, length);
    if (model_state_length(s->state, index) <= length)
        return;
    const int32_t behind = length - model_state_truncate(s->state, index, length);
    slot->behind = behind <= DRAFT_MOST ? behind : 0; /* more is read as a prompt is */
}
