/* What the layer that drafts is given and leaves (model_nextn.h). Its keys and values are kept by every step
 * for every token, in pages like all others; of what the model's last norm gives a slot has the last few
 * rows:
 *
 *   rows of a step   | before t0 | t0 | t1 | t2 | ...     each token's stand before the next one's
 *   a slot's kept    ring of KEPT rows: those of positions from .. to-1
 *
 * A row that is not there (a beginning that was taken over, a place far behind) is zero: a draft may be worse
 * for it, nothing else. */
#include "engine/worker/model_foretell.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/model_arch.h"

enum {
    KEPT = 32, /* what a step drafts, and what is read again before it, is less */
    ROWS = STATE_STEP_MAX + 1
};

struct foretell {
    int32_t width;
    float *rows, *kept; /* ROWS of them; of each slot KEPT */
    struct kept {
        int32_t from, to;
    } * spans; /* of each slot */
};

uint64_t foretell_bytes(const struct model *m, int32_t n_slots)
{
    const uint64_t row = (uint64_t)m->info.n_embed * sizeof(float);
    if (!m->foretell)
        return 0;
    return sizeof(struct foretell) + row * (ROWS + KEPT * (uint64_t)n_slots) +
           (uint64_t)n_slots * sizeof(struct kept);
}

int foretell_create(const struct model *m, int32_t n_slots, struct foretell **out, struct error *err)
{
    const size_t width = (size_t)m->info.n_embed;
    *out = NULL;
    if (!m->foretell)
        return 0;
    struct foretell *f = calloc(1, sizeof *f);
    if (f) {
        f->width = m->info.n_embed;
        f->rows = calloc(ROWS * width, sizeof *f->rows);
        f->kept = calloc((size_t)n_slots * KEPT * width, sizeof *f->kept);
        f->spans = calloc((size_t)n_slots, sizeof *f->spans);
    }
    *out = f;
    return f && f->rows && f->kept && f->spans
               ? 0
               : error_set(err, ERROR_MEMORY, "no memory for the layer of the model that drafts");
}

void foretell_free(struct foretell *f)
{
    if (!f)
        return;
    free(f->rows);
    free(f->kept);
    free(f->spans);
    free(f);
}

static float *row_at(const struct foretell *f, int32_t index)
{
    return f->rows + (size_t)index * (size_t)f->width;
}

static float *kept_at(const struct foretell *f, int32_t slot, int32_t position)
{
    return f->kept + ((size_t)slot * KEPT + (size_t)(position % KEPT)) * (size_t)f->width;
}

/* Row `index` of the step becomes that of the token before the slot's `position`. */
static void before_set(struct foretell *f, int32_t index, int32_t slot, int32_t position)
{
    const struct kept *span = &f->spans[slot];
    if (position > span->from && position <= span->to)
        memcpy(row_at(f, index), kept_at(f, slot, position - 1), (size_t)f->width * sizeof *f->rows);
    else
        memset(row_at(f, index), 0, (size_t)f->width * sizeof *f->rows);
}

/* The slot's row at the position, behind which it has none now. */
static void kept_put(struct foretell *f, int32_t slot, int32_t position, const float *row)
{
    struct kept *span = &f->spans[slot];
    memcpy(kept_at(f, slot, position), row, (size_t)f->width * sizeof *row);
    if (position < span->from || position > span->to)
        span->from = position;
    span->to = position + 1;
    if (span->to - span->from > KEPT)
        span->from = span->to - KEPT;
}

void foretell_truncate(struct foretell *f, int32_t slot, int32_t length)
{
    if (!f)
        return;
    struct kept *span = &f->spans[slot];
    span->to = span->to < length ? span->to : length;
    span->from = span->from < span->to ? span->from : span->to;
}

void foretell_fork(struct foretell *f, int32_t from, int32_t to, int32_t length)
{
    if (!f)
        return;
    memcpy(kept_at(f, to, 0), kept_at(f, from, 0), (size_t)KEPT * (size_t)f->width * sizeof *f->kept);
    f->spans[to] = f->spans[from];
    foretell_truncate(f, to, length);
}

float *foretell_rows(const struct foretell *f)
{
    return f ? row_at(f, 1) : NULL;
}

/* Tokens [from, to) are one slot's. */
static void run_keep(struct foretell *f, const struct program_batch *b, int32_t from, int32_t to)
{
    const int32_t slot = b->slots[from];
    before_set(f, from, slot, b->positions[from]); /* in place of the slot before's last row, which is kept */
    for (int32_t i = from > to - KEPT ? from : to - KEPT; i < to; i++)
        kept_put(f, slot, b->positions[i], row_at(f, i + 1));
}

int foretell_keep(struct model_state *s, struct error *err)
{
    struct program *p = &s->program;
    struct program_batch batch = p->batch;
    if (!s->foretell)
        return 0;
    for (int32_t i = 0, from = 0; i < batch.n_tokens; i++) {
        if (i + 1 < batch.n_tokens && batch.slots[i + 1] == batch.slots[from])
            continue;
        run_keep(s->foretell, &batch, from, i + 1);
        from = i + 1;
    }
    batch.n_outputs = 0;
    program_reset(p, &batch);
    p->hidden.before = row_at(s->foretell, 0);
    (void)s->model->foretell(s->model, p, s->layers);
    return model_program_run(s, err);
}

bool model_state_foretells(const struct model_state *s)
{
    return s->foretell != NULL;
}

static int foretold_check(
    const struct model_state *s, const struct model_batch *b, const int32_t *positions, struct error *err)
{
    assert(s->foretell && b->n_tokens <= FORETOLD_MOST);
    for (int32_t i = 0; i < b->n_tokens; i++) {
        assert(b->slots[i] >= 0 && b->slots[i] < s->n_slots);
        assert(b->tokens[i] >= 0 && b->tokens[i] < s->model->info.n_vocab);
        if (positions[i] < s->lengths[b->slots[i]] || positions[i] >= s->n_context)
            return error_set(err, ERROR_LIMIT,
                "nothing can be foretold at %d: the sequence has %d tokens of %d", (int)positions[i],
                (int)s->lengths[b->slots[i]], (int)s->n_context);
    }
    return 0;
}

int model_foretell(struct model_state *s, const struct model_batch *b, const int32_t *positions,
    float *logits, struct error *err)
{
    struct foretell *f = s->foretell;
    struct program *p = &s->program;
    int rc = foretold_check(s, b, positions, err);
    for (int32_t i = 0; i < b->n_tokens && rc == 0; i++) {
        s->outputs[i] = i;
        before_set(f, i, b->slots[i], positions[i]);
        rc = model_slot_reserve(s, b->slots[i], positions[i] + 1, err);
    }
    if (rc)
        return rc;
    model_program_begin(s, &(struct program_batch){b->n_tokens, b->n_tokens, b->tokens, b->slots, positions,
                               s->outputs, s->n_context});
    p->hidden = (struct program_hidden){row_at(f, 0), row_at(f, FORETOLD_MOST)};
    program_output(p, s->model->foretell(s->model, p, s->layers), logits);
    rc = model_program_run(s, err);
    for (int32_t i = 0; i < b->n_tokens && rc == 0; i++)
        kept_put(f, b->slots[i], positions[i], row_at(f, FORETOLD_MOST + i));
    return rc;
}

void model_foretell_end(struct model_state *s, int32_t slot, int32_t length)
{
    foretell_truncate(s->foretell, slot, length);
    if (s->pages)
        pages_truncate(s->pages, slot, s->lengths[slot]);
}
