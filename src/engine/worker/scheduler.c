#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/worker/scheduler_inner.h"

int scheduler_create(struct model_state *state, const struct scheduler_options *options,
    struct scheduler **out, struct error *err)
{
    struct scheduler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return error_set(err, ERROR_MEMORY, "no memory for the scheduler: use fewer slots");
    s->state = state;
    s->o = *options;
    if (!s->o.now_ns)
        s->o.now_ns = clock_mono_ns;
    if (s->o.n_batch < s->o.n_slots)
        s->o.n_batch = s->o.n_slots;
    list_init(&s->waiting);
    size_t slots = (size_t)s->o.n_slots, row = (size_t)s->o.n_vocab * sizeof(float);
    size_t batch = (size_t)s->o.n_batch + slots * DRAFT_MOST; /* what is behind may come on top */
    size_t rows = slots + (s->o.drafts ? SCHEDULER_DRAFTS : 0);
    s->slots = calloc(slots, sizeof *s->slots);
    s->tokens = calloc(batch, sizeof *s->tokens);
    s->token_slots = calloc(batch, sizeof *s->token_slots);
    s->rows = calloc(batch, sizeof *s->rows);
    s->wants = calloc(batch, 1);
    s->logits = calloc(rows + SCHEDULER_TOLD, row);
    if (!s->slots || !s->tokens || !s->token_slots || !s->rows || !s->wants || !s->logits) {
        scheduler_free(s);
        return error_set(err, ERROR_MEMORY, "no memory for the scheduler: use fewer slots");
    }
    *out = s;
    return 0;
}

static void sequence_free(struct sequence *q)
{
    list_remove(&q->node);
    lookup_free(q->lookup);
    free(q->expected.ids);
    free(q->tokens.ids);
    free(q);
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    list_each(node, after, &s->waiting)
        sequence_free(list_item(node, struct sequence, node));
    for (int32_t i = 0; s->slots && i < s->o.n_slots; i++) {
        if (s->slots[i].sequence)
            sequence_free(s->slots[i].sequence);
        free(s->slots[i].held.ids);
    }
    free(s->slots);
    free(s->tokens);
    free(s->token_slots);
    free(s->rows);
    free(s->wants);
    free(s->logits);
    free(s);
}

int scheduler_add(struct scheduler *s, struct token_list *tokens, const struct sequence_ops *ops, void *ctx,
    struct sequence **out, struct error *err)
{
    if (tokens->count == 0)
        return error_set(err, ERROR_INVALID, "the prompt is empty: send some text");
    if (tokens->count > (size_t)s->o.n_context)
        return error_set(err, ERROR_CONTEXT,
            "the prompt has %zu tokens, the context holds %d: shorten it or give the model a larger context",
            tokens->count, s->o.n_context);
    for (size_t i = 0; i < tokens->count; i++)
        if (tokens->ids[i] < 0 || tokens->ids[i] >= s->o.n_vocab)
            return error_set(err, ERROR_INVALID, "token %zu is %d: the vocabulary has ids from 0 to %d", i,
                tokens->ids[i], s->o.n_vocab - 1);
    struct sequence *q = calloc(1, sizeof *q);
    if (!q)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    *q = (struct sequence){.tokens = *tokens, .number = ++s->n_added, .ops = ops, .ctx = ctx};
    *tokens = (struct token_list){0};
    list_push_back(&s->waiting, &q->node);
    *out = q;
    return 0;
}

void scheduler_adapt(struct sequence *q, const float *scales)
{
    q->scales = scales;
}

void scheduler_owner(struct sequence *q, uint64_t key, uint64_t scope)
{
    q->key = key;
    q->scope = scope;
}

void scheduler_shift(struct sequence *q, int64_t n_keep)
{
    q->shifts = true;
    q->n_keep = n_keep > 0 ? (size_t)n_keep : 0;
}

void scheduler_expect(struct sequence *q, struct token_list *tokens)
{
    free(q->expected.ids);
    q->expected = *tokens;
    *tokens = (struct token_list){0};
}

struct draft_counts scheduler_drafts(const struct sequence *q)
{
    struct draft_counts counts = q->counts;
    counts.expected = q->lookup ? lookup_expected(q->lookup) : 0;
    return counts;
}

void scheduler_tell(struct sequence *q, int32_t count)
{
    q->tell_end = (int32_t)q->tokens.count - 1;
    q->tell = q->tell_end > count ? q->tell_end - count : 0;
}

void scheduler_pause(struct sequence *q, bool paused)
{
    q->paused = paused;
}

/* ---- Slots ---- */

static int32_t slot_of(const struct scheduler *s, const struct sequence *q)
{
    for (int32_t i = 0; i < s->o.n_slots; i++)
        if (s->slots[i].sequence == q)
            return i;
    return -1;
}

void sequence_end(struct scheduler *s, int32_t index, int rc, const struct error *err)
{
    struct sequence *q = s->slots[index].sequence;
    free(slot_release(s, index).ids);
    q->ops->ended(q->ctx, rc, err);
    sequence_free(q);
}

void scheduler_cancel(struct scheduler *s, struct sequence *q)
{
    int32_t index = slot_of(s, q);
    if (index >= 0)
        free(slot_release(s, index).ids);
    sequence_free(q);
}

bool scheduler_ready(const struct scheduler *s)
{
    bool free_slot = false;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct sequence *q = s->slots[i].sequence;
        if (q && !q->paused)
            return true;
        free_slot = free_slot || !q;
    }
    for (const struct list *node = s->waiting.next; free_slot && node != &s->waiting; node = node->next)
        if (!list_item(node, struct sequence, node)->paused)
            return true;
    return false;
}

/* ---- A step ---- */

/* Makes room for another token: of what follows the first n_keep the older half goes. The state is taken back
 * to what is kept, so that the rest is read again: its places have changed, and what it saw. */
static void sequence_shift(struct scheduler *s, struct sequence *q, int32_t index)
{
    struct token_list *t = &q->tokens;
    size_t keep = q->n_keep < t->count - 2 ? q->n_keep : t->count - 2, drop = (t->count - keep + 1) / 2;
    memmove(t->ids + keep, t->ids + keep + drop, (t->count - keep - drop) * sizeof *t->ids);
    t->count -= drop;
    (void)model_state_truncate(s->state, index, (int32_t)keep);
    model_draft_settle(s, index, (int32_t)keep);
}

/* 1: the sequence goes on with *next, which is its newest token now. */
static int row_use(struct scheduler *s, int32_t index, float *row, int32_t *next)
{
    struct sequence *q = s->slots[index].sequence;
    struct error err = {0};
    *next = -1;
    int rc = q->ops->logits(q->ctx, row, next, &err);
    if (rc == 0 && *next >= 0)
        draft_end(s, q, *next);
    if (rc > 0 && q->shifts && q->tokens.count == (size_t)s->o.n_context && s->o.n_context > 2)
        sequence_shift(s, q, index);
    if (rc > 0) {
        rc = q->tokens.count < (size_t)s->o.n_context
                 ? token_list_append(&q->tokens, *next, &err)
                 : error_set(&err, ERROR_LIMIT, "the context of %d tokens is full", s->o.n_context);
        if (rc == 0)
            return 1;
    }
    draft_settle(s, index, (int32_t)q->tokens.count);
    sequence_end(s, index, rc, &err);
    return 0;
}

/* What the owner is told of its prompt; returns how many of the slot's rows. */
static int32_t rows_tell(const struct scheduler *s, int32_t index, const float *rows)
{
    struct sequence *q = s->slots[index].sequence;
    const int32_t told = s->slots[index].told;
    for (int32_t i = 0; i < told; i++)
        q->ops->read(q->ctx, rows + (size_t)i * (size_t)s->o.n_vocab, q->tokens.ids[++q->tell]);
    return told;
}

/* The slot's rows: those of its prompt; then, as long as what is drawn is what was drafted, the others.
 * Returns how many it has. */
static int32_t rows_use(struct scheduler *s, int32_t index, float *rows)
{
    struct slot *slot = &s->slots[index];
    struct sequence *q = slot->sequence;
    const int32_t told = rows_tell(s, index, rows), n = told + slot->draft.taken;
    if (slot_pending(s, index) > 0)
        return told;
    for (int32_t i = told, next; i <= n; i++) {
        if (!row_use(s, index, rows + (size_t)i * (size_t)s->o.n_vocab, &next))
            return n + 1;
        draft_push(s, q, next);
        model_draft_learn(s, q, &slot->draft, i - told, next);
        if (i == n || next != slot->draft.tokens[i - told])
            break;
        q->counts.accepted++;
    }
    draft_settle(s, index, (int32_t)q->tokens.count - 1);
    return n + 1;
}

/* The whole batch failed: every sequence that took part ends with the error. */
static void batch_fail(struct scheduler *s, int rc, const struct error *err)
{
    for (int32_t i = 0; i < s->n_tokens; i++)
        if (s->slots[s->token_slots[i]].sequence)
            sequence_end(s, s->token_slots[i], rc, err);
}

void scheduler_step(struct scheduler *s)
{
    struct error err = {0};
    slots_fill(s);
    batch_build(s);
    if (s->n_tokens == 0)
        return;
    const struct model_batch batch = {s->n_tokens, s->tokens, s->token_slots, s->wants};
    const int64_t begun_ns = s->o.now_ns();
    int rc = model_decode(s->state, &batch, s->logits, &err);
    if (rc) {
        batch_fail(s, rc, &err);
        return;
    }
    batch_learn(s, s->o.now_ns() - begun_ns);
    float *rows = s->logits;
    for (int32_t i = 0; i < s->n_rows; i++)
        rows += (size_t)rows_use(s, s->rows[i], rows) * (size_t)s->o.n_vocab;
    batch_keep(s);
}
