#include "engine/worker/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"

enum { SHARE_LEAST = 16 }; /* tokens that are worth waiting for */

struct slot {
    struct sequence *sequence; /* NULL: free */
    struct token_list held;    /* free: the tokens that the state still holds */
    uint64_t freed_at;         /* 0: never used */
    int32_t stop;              /* a step ends here: a waiting sequence has this much in common. 0: nowhere */
};

struct sequence {
    struct list node;         /* among the waiting; alone once it has a slot */
    struct token_list tokens; /* the prompt and what was drawn */
    const float *scales;      /* of adapters */
    bool paused, shifts;
    size_t n_keep; /* of shifts */
    const struct sequence_ops *ops;
    void *ctx;
};

struct scheduler {
    struct model_state *state;
    struct scheduler_options o;
    struct slot *slots;
    struct list waiting;
    uint64_t clock; /* slots freed so far */
    int32_t turn;   /* which slot is served first when prompts share a step */
    /* The step's batch, n_batch each; rows[i]: the slot that the i-th row of logits belongs to. */
    int32_t *tokens, *token_slots, *rows;
    uint8_t *wants;
    int32_t n_tokens, n_rows;
    float *logits; /* n_slots rows of n_vocab */
};

int scheduler_create(struct model_state *state, const struct scheduler_options *options,
    struct scheduler **out, struct error *err)
{
    struct scheduler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return error_set(err, ERROR_MEMORY, "no memory for the scheduler: use fewer slots");
    s->state = state;
    s->o = *options;
    if (s->o.n_batch < s->o.n_slots)
        s->o.n_batch = s->o.n_slots;
    list_init(&s->waiting);
    size_t batch = (size_t)s->o.n_batch, slots = (size_t)s->o.n_slots,
           row = (size_t)s->o.n_vocab * sizeof(float);
    s->slots = calloc(slots, sizeof *s->slots);
    s->tokens = calloc(batch, sizeof *s->tokens);
    s->token_slots = calloc(batch, sizeof *s->token_slots);
    s->rows = calloc(batch, sizeof *s->rows);
    s->wants = calloc(batch, 1);
    s->logits = calloc(slots, row);
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
    *q = (struct sequence){.tokens = *tokens, .ops = ops, .ctx = ctx};
    *tokens = (struct token_list){0};
    list_push_back(&s->waiting, &q->node);
    *out = q;
    return 0;
}

void scheduler_adapt(struct sequence *q, const float *scales)
{
    q->scales = scales;
}

void scheduler_shift(struct sequence *q, int64_t n_keep)
{
    q->shifts = true;
    q->n_keep = n_keep > 0 ? (size_t)n_keep : 0;
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

/* The slot is free again and remembers what its state holds. */
static void slot_release(struct scheduler *s, int32_t index)
{
    struct slot *slot = &s->slots[index];
    slot->held = slot->sequence->tokens;
    slot->held.count = (size_t)model_state_length(s->state, index);
    slot->freed_at = ++s->clock;
    slot->sequence->tokens = (struct token_list){0};
    slot->sequence = NULL;
}

static void sequence_end(struct scheduler *s, int32_t index, int rc, const struct error *err)
{
    struct sequence *q = s->slots[index].sequence;
    slot_release(s, index);
    q->ops->ended(q->ctx, rc, err);
    sequence_free(q);
}

void scheduler_cancel(struct scheduler *s, struct sequence *q)
{
    int32_t index = slot_of(s, q);
    if (index >= 0)
        slot_release(s, index);
    sequence_free(q);
}

/* How many tokens of the beginning are among the first `count` of `tokens`. The last one is always computed:
 * its logits are wanted. */
static size_t common_prefix(const struct token_list *tokens, size_t count, const struct token_list *prompt)
{
    size_t n = 0, most = prompt->count - 1;
    if (most > count)
        most = count;
    while (n < most && tokens->ids[n] == prompt->ids[n])
        n++;
    return n;
}

/* How many of a new sequence's tokens the slot's state could give, exactly. */
static int32_t slot_gives(const struct scheduler *s, int32_t index, const struct sequence *q)
{
    const struct slot *slot = &s->slots[index];
    if (!model_state_is_adapted(s->state, index, q->scales))
        return 0;
    const struct token_list *tokens = slot->sequence ? &slot->sequence->tokens : &slot->held;
    const size_t held = (size_t)model_state_length(s->state, index);
    return model_state_reach(s->state, index, (int32_t)common_prefix(tokens, held, &q->tokens));
}

/* Where a sequence goes, and the slot, perhaps another, whose state it begins with. */
struct place {
    int32_t slot, donor; /* -1: none is free; nothing to begin with */
    int32_t kept;        /* tokens that need not be computed */
};

/* The donor is the slot that gives most, the longest unused among equals. A free one is gone on with, unless
 * that would throw away more than it saves (two conversations that share only a system prompt): then, as from
 * a busy one, the longest unused of all takes a copy. */
static struct place place_find(const struct scheduler *s, const struct sequence *q)
{
    struct place p = {-1, -1, 0};
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
    return p;
}

/* Another sequence is reading a beginning that this one shares: it waits, and takes it over. */
static bool beginning_comes(struct scheduler *s, const struct sequence *waiting, int32_t kept)
{
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        const struct sequence *q = s->slots[i].sequence;
        if (!q || q->paused || !model_state_is_adapted(s->state, i, waiting->scales))
            continue;
        int32_t n = (int32_t)common_prefix(&q->tokens, q->tokens.count, &waiting->tokens);
        int32_t read = model_state_length(s->state, i);
        if (n <= read || n <= kept || (n < kept + SHARE_LEAST && read < kept))
            continue;
        if (s->slots[i].stop == 0 || n < s->slots[i].stop)
            s->slots[i].stop = n;
        return true;
    }
    return false;
}

static void sequence_start(struct scheduler *s, struct sequence *q, const struct place *place)
{
    struct slot *slot = &s->slots[place->slot];
    struct error err = {0};
    int32_t kept = place->donor < 0 ? model_state_truncate(s->state, place->slot, 0)
                                    : model_state_fork(s->state, place->donor, place->slot, place->kept);
    model_state_adapt(s->state, place->slot, q->scales);
    free(slot->held.ids);
    slot->held = (struct token_list){0};
    slot->sequence = q;
    list_remove(&q->node);
    int rc = q->ops->started(q->ctx, (size_t)kept, &err);
    if (rc)
        sequence_end(s, place->slot, rc, &err);
}

static void slots_fill(struct scheduler *s)
{
    for (int32_t i = 0; i < s->o.n_slots; i++)
        s->slots[i].stop = 0;
    list_each(node, after, &s->waiting) {
        struct sequence *q = list_item(node, struct sequence, node);
        if (q->paused)
            continue;
        struct place place = place_find(s, q);
        if (place.slot < 0)
            return;
        if (!beginning_comes(s, q, place.kept))
            sequence_start(s, q, &place);
    }
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

/* Tokens that the slot's state has not seen yet. */
static int32_t pending(const struct scheduler *s, int32_t index)
{
    const struct sequence *q = s->slots[index].sequence;
    return q && !q->paused ? (int32_t)q->tokens.count - model_state_length(s->state, index) : 0;
}

/* Adds the next `count` pending tokens of a slot; the last of all gives logits. */
static void batch_add(struct scheduler *s, int32_t index, int32_t count)
{
    const struct token_list *tokens = &s->slots[index].sequence->tokens;
    int32_t from = model_state_length(s->state, index);
    for (int32_t i = 0; i < count; i++) {
        s->tokens[s->n_tokens] = tokens->ids[from + i];
        s->token_slots[s->n_tokens] = index;
        s->wants[s->n_tokens++] = (size_t)(from + i) + 1 == tokens->count;
    }
    if ((size_t)(from + count) == tokens->count)
        s->rows[s->n_rows++] = index;
}

/* One token for each slot that generates; prompts share the rest evenly, and less of it while others wait for
 * their next token. */
static void batch_build(struct scheduler *s)
{
    int32_t reading = 0;
    s->n_tokens = s->n_rows = 0;
    for (int32_t i = 0; i < s->o.n_slots; i++) {
        int32_t n = pending(s, i);
        if (n == 1)
            batch_add(s, i, 1);
        reading += n > 1;
    }
    int32_t room = s->o.n_batch - s->n_tokens;
    if (s->n_tokens > 0 && room > s->o.n_batch / 4 + reading)
        room = s->o.n_batch / 4 + reading;
    s->turn = (s->turn + 1) % s->o.n_slots;
    for (int32_t k = 0; k < s->o.n_slots && room > 0; k++) {
        int32_t index = (s->turn + k) % s->o.n_slots, n = pending(s, index);
        if (n <= 1)
            continue;
        int32_t share = room > reading ? room / reading : 1; /* NOLINT: as many are left as were counted */
        reading--;
        if (n > share)
            n = share;
        int32_t ahead = s->slots[index].stop - model_state_length(s->state, index);
        if (ahead > 0 && n > ahead)
            n = ahead;
        batch_add(s, index, n);
        room -= n;
    }
}

/* Makes room for another token: of what follows the first n_keep the older half goes. The state is taken back
 * to what is kept, so that the rest is read again: its places have changed, and what it saw. */
static void sequence_shift(struct scheduler *s, struct sequence *q, int32_t index)
{
    struct token_list *t = &q->tokens;
    size_t keep = q->n_keep < t->count - 2 ? q->n_keep : t->count - 2, drop = (t->count - keep + 1) / 2;
    memmove(t->ids + keep, t->ids + keep + drop, (t->count - keep - drop) * sizeof *t->ids);
    t->count -= drop;
    (void)model_state_truncate(s->state, index, (int32_t)keep);
}

static void row_use(struct scheduler *s, int32_t row)
{
    int32_t index = s->rows[row], next;
    struct sequence *q = s->slots[index].sequence;
    struct error err = {0};
    int rc = q->ops->logits(q->ctx, s->logits + (size_t)row * (size_t)s->o.n_vocab, &next, &err);
    if (rc > 0 && q->shifts && q->tokens.count == (size_t)s->o.n_context && s->o.n_context > 2)
        sequence_shift(s, q, index);
    if (rc > 0) {
        rc = q->tokens.count < (size_t)s->o.n_context
                 ? token_list_append(&q->tokens, next, &err)
                 : error_set(&err, ERROR_LIMIT, "the context of %d tokens is full", s->o.n_context);
        if (rc == 0)
            return;
    }
    sequence_end(s, index, rc, &err);
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
    int rc = model_decode(s->state, &batch, s->logits, &err);
    if (rc) {
        batch_fail(s, rc, &err);
        return;
    }
    for (int32_t row = 0; row < s->n_rows; row++)
        row_use(s, row);
}
