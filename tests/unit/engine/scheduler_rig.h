/* The scheduler over a model of the tests' own, whose next token depends on every token before it: a sequence
 * that was mixed up with another, cut or shifted continues differently. */
#ifndef WEIR_TESTS_UNIT_ENGINE_SCHEDULER_RIG_H
#define WEIR_TESTS_UNIT_ENGINE_SCHEDULER_RIG_H

#include "engine/worker/scheduler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 4, CONTEXT = 200, VOCAB = 50, BATCH = 16, PAGE = 10 };

/* ---- The model ---- */

struct model_state {
    int32_t tokens[SLOTS][CONTEXT], lengths[SLOTS];
    float scales[SLOTS];       /* of one adapter */
    int32_t keeps;             /* truncation keeps multiples of this: layers that cannot roll back exactly */
    int32_t fail_at;           /* decode number that fails, 0: none */
    int32_t n_pages;           /* of PAGE positions, which slots have no more than; 0: any number */
    int64_t ns_step, ns_token; /* a step takes; 0: 100 and 10 */
    int32_t wrong;             /* it says this much more than the model of the tests */
    int32_t mute;              /* in so many slots, from the first, its logits are no numbers */
    int32_t foretells; /* of so many tokens a layer of its own foretells all but the last; 0: it has none */
    int32_t foretold[SLOTS], reached[SLOTS], n_foretold; /* of each slot in this step, and where to; in all */
    int32_t n_decodes, n_computed, last_tokens, last_rows;
};

int32_t model_state_length(const struct model_state *s, int32_t slot)
{
    return s->lengths[slot];
}

int32_t model_state_reach(const struct model_state *s, int32_t slot, int32_t length)
{
    assert_true(length <= s->lengths[slot]);
    return length < s->lengths[slot] ? length / s->keeps * s->keeps : length;
}

int32_t model_state_truncate(struct model_state *s, int32_t slot, int32_t length)
{
    s->lengths[slot] = model_state_reach(s, slot, length);
    return s->lengths[slot];
}

bool model_state_rewinds(const struct model_state *s)
{
    return s->keeps == 1;
}

bool model_state_is_adapted(const struct model_state *s, int32_t slot, const float *scales)
{
    return s->scales[slot] == (scales ? *scales : 0);
}

void model_state_adapt(struct model_state *s, int32_t slot, const float *scales)
{
    if (!model_state_is_adapted(s, slot, scales))
        s->lengths[slot] = 0;
    s->scales[slot] = scales ? *scales : 0;
}

int32_t model_state_fork(struct model_state *s, int32_t from, int32_t to, int32_t length)
{
    length = model_state_reach(s, from, length);
    memmove(s->tokens[to], s->tokens[from], (size_t)length * sizeof s->tokens[to][0]);
    s->lengths[to] = length;
    s->scales[to] = s->scales[from];
    return length;
}

/* Its slots share nothing: what is shared is tested with models (scheduler_fuzz_test.c). */
bool model_state_shares(const struct model_state *s)
{
    (void)s;
    return false;
}

int32_t model_state_match(const struct model_state *s, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, int32_t *unused)
{
    (void)s;
    (void)kin;
    (void)tokens;
    (void)count;
    *unused = 0;
    return 0;
}

int32_t model_state_adopt(
    struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, int32_t count)
{
    (void)s;
    (void)slot;
    (void)scope;
    (void)tokens;
    (void)count;
    return 0;
}

bool model_state_recall(
    struct model_state *s, const struct pages_kin *kin, const int32_t *tokens, int32_t count, bool *disk_free)
{
    (void)s;
    (void)kin;
    (void)tokens;
    (void)count;
    (void)disk_free;
    return false;
}

void model_state_keep(struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, bool leave)
{
    (void)scope;
    (void)tokens;
    (void)leave;
    assert_in_range(slot, 0, SLOTS - 1);
    assert_true(s->lengths[slot] >= 0);
}

int32_t model_state_page(const struct model_state *s)
{
    (void)s;
    return 1;
}

int32_t model_state_pages_between(const struct model_state *s, int32_t kept, int32_t length)
{
    return s->n_pages ? ((length < CONTEXT ? length : CONTEXT) + PAGE - 1) / PAGE - kept / PAGE : 0;
}

int32_t model_state_pages_needed(const struct model_state *s, int32_t slot, int32_t count)
{
    const int32_t from = s->lengths[slot], to = from + count < CONTEXT ? from + count : CONTEXT;
    return s->n_pages ? (to + PAGE - 1) / PAGE - (from + PAGE - 1) / PAGE : 0;
}

int32_t model_state_pages_left(const struct model_state *s)
{
    int32_t left = s->n_pages;
    for (int32_t i = 0; left > 0 && i < SLOTS; i++)
        left -= ((s->reached[i] > s->lengths[i] ? s->reached[i] : s->lengths[i]) + PAGE - 1) / PAGE;
    assert_true(left >= 0);
    return left;
}

/* Steps take as long as this says, not as long as they do. */
static int64_t now;

static int64_t now_ns(void)
{
    return now;
}

static int32_t follow(const int32_t *tokens, int32_t n)
{
    uint32_t h = 17;
    for (int32_t i = 0; i < n; i++)
        h = (h ^ (uint32_t)tokens[i]) * 2654435761u;
    return (int32_t)((h >> 8) % VOCAB);
}

int model_decode(struct model_state *s, const struct model_batch *b, float *logits, struct error *err)
{
    bool seen[SLOTS] = {false};
    int32_t rows = 0;
    assert_in_range(b->n_tokens, 1, s->keeps > 1 ? 4 * BATCH : BATCH); /* what was taken back comes on top */
    if (++s->n_decodes == s->fail_at)
        return error_set(err, ERROR_MEMORY, "out of memory");
    for (int32_t i = 0; i < b->n_tokens; i++) {
        int32_t slot = b->slots[i];
        assert_in_range(slot, 0, SLOTS - 1);
        assert_true(i == 0 || slot == b->slots[i - 1] || !seen[slot]); /* together */
        assert_true(s->lengths[slot] < CONTEXT);
        seen[slot] = true;
        s->tokens[slot][s->lengths[slot]++] = b->tokens[i];
        if (!b->wants_logits[i])
            continue;
        float *row = logits + (size_t)rows++ * VOCAB;
        for (int32_t id = 0; id < VOCAB; id++)
            row[id] = slot < s->mute                                                         ? NAN
                      : id == (follow(s->tokens[slot], s->lengths[slot]) + s->wrong) % VOCAB ? 1.0f
                                                                                             : 0.0f;
    }
    (void)model_state_pages_left(s);
    now += s->ns_step ? s->ns_step + s->ns_token * b->n_tokens : 100 + 10 * b->n_tokens;
    s->n_computed += b->n_tokens;
    s->last_tokens = b->n_tokens;
    s->last_rows = rows;
    return 0;
}

bool model_state_foretells(const struct model_state *s)
{
    return s->foretells > 0;
}

/* Tokens come one by one behind those of the sequence, whose newest the slot has not read. */
int model_foretell(struct model_state *s, const struct model_batch *b, const int32_t *positions,
    float *logits, struct error *err)
{
    (void)err;
    for (int32_t i = 0; i < b->n_tokens; i++, logits += VOCAB) {
        const int32_t slot = b->slots[i], at = positions[i];
        assert_in_range(at - s->foretold[slot], s->lengths[slot], s->lengths[slot] + 15);
        assert_true(at < CONTEXT);
        s->tokens[slot][at] = b->tokens[i];
        const int32_t right = follow(s->tokens[slot], at + 1);
        memset(logits, 0, VOCAB * sizeof *logits);
        logits[(right + (at % s->foretells == s->foretells - 1)) % VOCAB] = 1;
        s->foretold[slot]++;
        s->reached[slot] = at + 1;
        s->n_foretold++;
    }
    (void)model_state_pages_left(s);
    now += s->ns_step ? s->ns_token * b->n_tokens : 10 * b->n_tokens;
    return 0;
}

void model_foretell_end(struct model_state *s, int32_t slot, int32_t length)
{
    assert_true(length >= s->lengths[slot]);
    s->foretold[slot] = s->reached[slot] = 0;
}

/* ---- A client ---- */

struct client {
    int32_t tokens[CONTEXT + 1]; /* the prompt, then what came; the last may not fit the model */
    int32_t n_prompt, n, wanted;
    size_t cached;
    int n_started, n_ended, rc;
    struct sequence *sequence;
};

static int client_started(void *ctx, size_t cached, struct error *err)
{
    struct client *c = ctx;
    (void)err;
    c->n_started++;
    c->cached = cached;
    return 0;
}

static int client_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct client *c = ctx;
    (void)err;
    *next = 0;
    for (int32_t id = 0; id < VOCAB; id++)
        if (row[id] > row[*next])
            *next = id;
    assert_int_equal(*next, follow(c->tokens, c->n));
    c->tokens[c->n++] = *next;
    return c->n - c->n_prompt < c->wanted;
}

static inline void client_ended(void *ctx, int rc, const struct error *err)
{
    struct client *c = ctx;
    (void)err;
    c->n_ended++;
    c->rc = rc;
    c->sequence = NULL;
}

static const struct sequence_ops ops = {
    .started = client_started, .logits = client_logits, .ended = client_ended};

static inline void client_add(
    struct scheduler *s, struct client *c, const int32_t *prompt, int32_t n, int32_t wanted)
{
    struct token_list list = {0};
    struct error err = {0};
    *c = (struct client){.n_prompt = n, .n = n, .wanted = wanted};
    for (int32_t i = 0; i < n; i++) {
        c->tokens[i] = prompt[i];
        assert_int_equal(token_list_append(&list, prompt[i], &err), 0);
    }
    if (scheduler_add(s, &list, &ops, c, &c->sequence, &err) != 0)
        fail_msg("%s", err.message);
    assert_null(list.ids);
}

static inline struct scheduler *create_drafting(
    struct model_state *state, struct model_state *draft, int32_t n_slots, bool drafts)
{
    struct scheduler *s;
    const struct scheduler_options o = {n_slots, CONTEXT, VOCAB, BATCH, now_ns, drafts, draft, VOCAB};
    if (draft && draft->keeps == 0)
        draft->keeps = 1;
    if (state->keeps == 0)
        state->keeps = 1;
    assert_int_equal(scheduler_create(state, &o, &s, NULL), 0);
    return s;
}

static inline struct scheduler *create_with(struct model_state *state, int32_t n_slots, bool drafts)
{
    return create_drafting(state, NULL, n_slots, drafts);
}

static inline struct scheduler *create(struct model_state *state, int32_t n_slots)
{
    return create_with(state, n_slots, false);
}

static inline void run(struct scheduler *s)
{
    for (int i = 0; scheduler_ready(s); i++) {
        assert_true(i < 10000);
        scheduler_step(s);
    }
}

static inline const int32_t *numbers(int32_t first)
{
    static int32_t list[CONTEXT + 1];
    for (int32_t i = 0; i <= CONTEXT; i++)
        list[i] = (first + i * i) % VOCAB;
    return list;
}

#endif
