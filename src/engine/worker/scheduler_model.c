/* Drafts by a smaller model of the same vocabulary, or else by a layer of the model's own that foretells, for
 * sequences whose next tokens stood nowhere before. A smaller model reads what a sequence holds, in a slot of
 * its own with the same number, and goes on with its own likeliest tokens; the layer has read with the model.
 *
 *   sequence     t0 t1 ... tn         its state has read all but the newest
 *   the model    t0 t1 ... tn | a b   reads what it has not yet, then what it drafts, a token a step
 *   the layer              tn | a b   likewise
 *
 * How often it is right is counted by how far ahead of the second its likeliest token was, and a sequence
 * begins with what was counted of those before. It drafts for as
 * long as the tokens that it is likely to save take longer than it does; what it would have said of tokens
 * that did not run is counted, too, and where it was left it is tried again now and then. */
#include <math.h>

#include "base/log.h"
#include "engine/worker/scheduler_inner.h"

enum {
    MODEL_SLOTS = 4, /* more streams than that fill a step without drafts */
    CATCH_UP = 64,   /* tokens that it reads of a sequence in a step */
    AGAIN = 64,      /* steps until it is tried again */
    REST = 256       /* steps without it when it could not run: there was no memory */
};
#define RECENT 0.95f       /* of a sequence's tokens; */
#define RECENT_ALL 0.99f   /* of all of them: what one begins with */
#define GUESSES 4          /* as so many tokens counts what was known before the first */
#define LOOKUP_ENOUGH 0.5f /* odds of what stood before, from which the model is not asked */

/* Lead of the likeliest token over the second: under 0.5, 1, 2, 3, 4, 6, 8, more. */
static int8_t rank_of(float lead)
{
    static const float steps[] = {0.5f, 1, 2, 3, 4, 6, 8};
    int8_t rank = 0;
    while (rank < DRAFT_RANKS - 1 && lead >= steps[rank])
        rank++;
    return rank;
}

static float rate_after(const struct draft_rate *r, float guess)
{
    return (r->right + GUESSES * guess) / (r->tried + GUESSES);
}

static float rate_of(const struct scheduler *s, const struct sequence *q, int8_t rank)
{
    const float guess = 0.4f + 0.08f * (float)rank;
    return rate_after(&q->rates[rank], rate_after(&s->rates[rank], guess));
}

static struct draft_rate rate_sum(const struct draft_rate *rates)
{
    struct draft_rate all = {0};
    for (int i = 0; i < DRAFT_RANKS; i++) {
        all.tried += rates[i].tried;
        all.right += rates[i].right;
    }
    return all;
}

/* Of any token. */
static float rate_mean(const struct scheduler *s, const struct sequence *q)
{
    const struct draft_rate own = rate_sum(q->rates), all = rate_sum(s->rates);
    return rate_after(&own, rate_after(&all, 0.6f));
}

static void rate_learn(struct draft_rate *r, float recent, bool right)
{
    r->tried = r->tried * recent + 1;
    r->right = r->right * recent + (right ? 1 : 0);
}

void model_draft_learn(
    struct scheduler *s, struct sequence *q, const struct draft *d, int32_t i, int32_t token)
{
    if (!d->by_model || i >= d->n)
        return;
    rate_learn(&q->rates[d->ranks[i]], RECENT, d->tokens[i] == token);
    rate_learn(&s->rates[d->ranks[i]], RECENT_ALL, d->tokens[i] == token);
}

/* ---- One step of the model ---- */

static void token_add(struct scheduler *s, int32_t *n, int32_t slot, int32_t token, bool wants)
{
    s->tokens[*n] = token;
    s->token_slots[*n] = slot;
    s->wants[(*n)++] = wants;
}

/* Numbers in a row of logits. */
static int32_t draft_row(const struct scheduler *s)
{
    return s->o.draft ? s->o.draft_vocab : s->o.n_vocab;
}

/* The likeliest token of a row, and how far it is ahead; -1: there are no numbers in it. */
static int32_t likeliest(const struct scheduler *s, const float *row, float *lead)
{
    const int32_t n = draft_row(s) < s->o.n_vocab ? draft_row(s) : s->o.n_vocab;
    int32_t best = -1;
    float most = -INFINITY, second = -INFINITY;
    for (int32_t i = 0; i < n; i++)
        if (row[i] > most) {
            second = most;
            most = row[i];
            best = i;
        } else if (row[i] > second) {
            second = row[i];
        }
    *lead = most - second;
    return best;
}

/* What the model has not read yet of the slot's sequence, at most so many tokens; the newest wants logits. */
static void rest_add(struct scheduler *s, int32_t index, int32_t most, int32_t *n)
{
    const struct token_list *t = &s->slots[index].sequence->tokens;
    const int32_t from = model_state_length(s->o.draft, index), count = (int32_t)t->count;
    const int32_t to = count - from > most ? from + most : count;
    for (int32_t i = from; i < to; i++)
        token_add(s, n, index, t->ids[i], i + 1 == count);
}

/* Runs what the k-th drafts of the slots follow on from; *n: tokens. */
static int step_run(
    struct scheduler *s, const int32_t *slots, int32_t n_slots, int32_t k, int32_t *n, struct error *err)
{
    const int32_t most = s->o.n_batch / MODEL_SLOTS < CATCH_UP ? s->o.n_batch / MODEL_SLOTS : CATCH_UP;
    int32_t positions[MODEL_SLOTS];
    *n = 0;
    for (int32_t i = 0; i < n_slots; i++) {
        const struct slot *slot = &s->slots[slots[i]];
        const struct token_list *t = &slot->sequence->tokens;
        positions[i] = (int32_t)t->count - 1 + k;
        if (s->o.draft && k == 0)
            rest_add(s, slots[i], most > 1 ? most : 1, n);
        else
            token_add(s, n, slots[i], k == 0 ? t->ids[t->count - 1] : slot->draft.tokens[k - 1], true);
    }
    const struct model_batch batch = {*n, s->tokens, s->token_slots, s->wants};
    return s->o.draft ? model_decode(s->o.draft, &batch, s->logits, err)
                      : model_foretell(s->state, &batch, positions, s->logits, err);
}

/* The k-th draft of each slot; those that have none yet, for there is more to read, leave the list. */
static int step(struct scheduler *s, int32_t *slots, int32_t *n_slots, int32_t k, struct error *err)
{
    int32_t n, kept = 0, rows = 0;
    const int64_t begun_ns = s->o.now_ns();
    int rc = step_run(s, slots, *n_slots, k, &n, err);
    const double took = (double)(s->o.now_ns() - begun_ns);
    if (rc == 0 && n <= 2 * *n_slots)
        s->draft_ns = s->draft_ns > 0 ? s->draft_ns + (took - s->draft_ns) / 4 : took;
    for (int32_t i = 0; i < n && rc == 0; i++) {
        struct slot *slot = &s->slots[s->token_slots[i]];
        struct draft *d = &slot->draft;
        float lead;
        if (!s->wants[i])
            continue;
        const int32_t token = likeliest(s, s->logits + (size_t)rows++ * (size_t)draft_row(s), &lead);
        if (token < 0)
            continue;
        d->tokens[k] = token;
        d->ranks[k] = rank_of(lead);
        d->odds[k] = (k > 0 ? d->odds[k - 1] : 1) * rate_of(s, slot->sequence, d->ranks[k]);
        d->n = k + 1;
        d->by_model = true;
        slots[kept++] = s->token_slots[i];
    }
    *n_slots = kept;
    return rc;
}

/* ---- For how long ---- */

/* Is the slot's next draft likely to save more than it costs? */
static bool is_worth_it(
    const struct scheduler *s, int32_t index, int32_t k, int32_t n_slots, double token_ns, double verify_ns)
{
    const struct slot *slot = &s->slots[index];
    const struct sequence *q = slot->sequence;
    if (k >= s->o.n_context - (int32_t)q->tokens.count)
        return false;
    if (k == 0 && s->n_steps % AGAIN == 0)
        return true;
    const double odds = k > 0 ? (double)slot->draft.odds[k - 1] : 1;
    return odds * (double)rate_mean(s, q) * token_ns > s->draft_ns / n_slots + verify_ns;
}

/* Are there pages for the slot's k-th draft, where the model's own layer makes it? */
static bool pages_allow(const struct scheduler *s, int32_t index, int32_t k, int32_t *pages)
{
    const int32_t own = slot_pending(s, index);
    if (s->o.draft || k == 0)
        return true;
    *pages -= model_state_pages_needed(s->state, index, own + k) -
              model_state_pages_needed(s->state, index, own + k - 1);
    return *pages >= 0;
}

static void slots_draft(
    struct scheduler *s, int32_t *slots, int32_t n, double token_ns, double verify_ns, int32_t pages)
{
    struct error err = {0};
    for (int32_t k = 0; k < DRAFT_MOST && n > 0; k++) {
        int32_t worth = 0;
        for (int32_t i = 0; i < n; i++)
            if (is_worth_it(s, slots[i], k, n, token_ns, verify_ns) && pages_allow(s, slots[i], k, &pages))
                slots[worth++] = slots[i];
        n = worth;
        if (n == 0 || step(s, slots, &n, k, &err) == 0)
            continue;
        log_warn("scheduler", "the model that drafts rests: %s", err.message);
        s->draft_rests = s->n_steps + REST;
        return;
    }
}

void model_draft(struct scheduler *s, double token_ns, double verify_ns, int32_t pages)
{
    int32_t slots[MODEL_SLOTS], n = 0;
    if ((!s->o.draft && !model_state_foretells(s->state)) || s->n_steps < s->draft_rests)
        return;
    for (int32_t i = 0; i < s->o.n_slots && n < MODEL_SLOTS; i++) {
        const struct draft *d = &s->slots[i].draft;
        if (slot_generates(s, i) && (d->n == 0 || d->odds[0] < LOOKUP_ENOUGH))
            slots[n++] = i;
    }
    slots_draft(s, slots, n, token_ns, verify_ns, pages);
    for (int32_t i = 0; i < s->o.n_slots && !s->o.draft; i++)
        if (slot_generates(s, i))
            model_foretell_end(s->state, i, (int32_t)s->slots[i].sequence->tokens.count - 1);
}

/* ---- Its slots ---- */

void model_draft_begin(struct scheduler *s, int32_t index)
{
    const struct sequence *q = s->slots[index].sequence;
    if (!s->o.draft)
        return;
    (void)model_state_truncate(s->o.draft, index, 0);
    if (model_state_shares(s->o.draft))
        (void)model_state_adopt(s->o.draft, index, q->scope, q->tokens.ids, (int32_t)q->tokens.count - 1);
}

void model_draft_settle(struct scheduler *s, int32_t index, int32_t length)
{
    if (s->o.draft && model_state_length(s->o.draft, index) > length)
        (void)model_state_truncate(s->o.draft, index, length);
}

void model_draft_end(struct scheduler *s, int32_t index, const struct sequence *q)
{
    if (!s->o.draft)
        return;
    model_draft_settle(s, index, (int32_t)q->tokens.count);
    model_state_keep(s->o.draft, index, q->scope, q->tokens.ids, true);
    (void)model_state_truncate(s->o.draft, index, 0);
}
