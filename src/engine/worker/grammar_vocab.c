/* Which tokens fit a set of states: the vocabulary is walked in byte order, so that what neighbours share is
 * followed once, and the answer is kept as a mask. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/grammar_inner.h"

/* ---- The vocabulary in byte order ---- */

#define BYTES_MAX (GIB)

struct piece {
    int32_t id;
    uint32_t start, length;
    const char *bytes; /* of all */
};

static int piece_compare(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    uint32_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->bytes + x->start, y->bytes + y->start, n);
    if (order == 0)
        order = x->length < y->length ? -1 : x->length > y->length;
    return order ? order : x->id < y->id ? -1 : x->id > y->id;
}

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory to follow a grammar: try again later");
}

static int pieces_read(const struct grammar_vocab_source *source, struct grammar_vocab *v,
    struct piece *pieces, struct buf *bytes, struct error *err)
{
    for (int32_t id = 0; id < v->n_vocab; id++) {
        size_t from = bytes->len;
        v->places[id] = -1;
        v->ends[id] = source->is_end(source->ctx, id);
        if (v->ends[id])
            continue;
        int rc = source->piece(source->ctx, id, bytes);
        if (rc || bytes->len - from > UINT16_MAX)
            return error_set(err, rc ? rc : ERROR_LIMIT,
                "a token of the vocabulary is too long: the model file is broken");
        if (bytes->len > from)
            pieces[v->n_ids++] =
                (struct piece){.id = id, .start = (uint32_t)from, .length = (uint32_t)(bytes->len - from)};
    }
    for (uint32_t i = 0; i < v->n_ids; i++)
        pieces[i].bytes = bytes->data;
    return 0;
}

static uint16_t shared_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t n = 0;
    while (n < a_length && n < b_length && a[n] == b[n])
        n++;
    return (uint16_t)n;
}

static int pieces_place(struct grammar_vocab *v, const struct piece *pieces, size_t total, struct error *err)
{
    v->ids = malloc((v->n_ids + 1) * sizeof *v->ids);
    v->starts = malloc((v->n_ids + 1) * sizeof *v->starts);
    v->common = malloc((v->n_ids + 1) * sizeof *v->common);
    v->bytes = malloc(total + 1);
    if (!v->ids || !v->starts || !v->common || !v->bytes)
        return no_memory(err);
    uint32_t at = 0;
    for (uint32_t i = 0; i < v->n_ids; i++) {
        const struct piece *p = &pieces[i];
        memcpy(v->bytes + at, p->bytes + p->start, p->length);
        v->ids[i] = p->id;
        v->places[p->id] = (int32_t)i;
        v->starts[i] = at;
        v->common[i] = i == 0 ? 0
                              : shared_bytes(v->bytes + v->starts[i - 1], at - v->starts[i - 1],
                                    v->bytes + at, p->length);
        at += p->length;
    }
    v->starts[v->n_ids] = at;
    return 0;
}

int grammar_vocab_create(
    const struct grammar_vocab_source *source, struct grammar_vocab **out, struct error *err)
{
    struct grammar_vocab *v = calloc(1, sizeof *v);
    size_t n = (size_t)source->n_vocab;
    struct buf bytes;
    *out = NULL;
    if (!v)
        return no_memory(err);
    v->n_vocab = source->n_vocab;
    v->places = calloc(n + 1, sizeof *v->places);
    v->ends = calloc(n + 1, 1);
    struct piece *pieces = calloc(n + 1, sizeof *pieces);
    buf_init(&bytes, BYTES_MAX);
    int rc = v->places && v->ends && pieces ? pieces_read(source, v, pieces, &bytes, err) : no_memory(err);
    if (rc == 0) {
        qsort(pieces, v->n_ids, sizeof *pieces, piece_compare);
        rc = pieces_place(v, pieces, bytes.len, err);
    }
    free(pieces);
    buf_free(&bytes);
    if (rc)
        grammar_vocab_free(v);
    else
        *out = v;
    return rc;
}

void grammar_vocab_free(struct grammar_vocab *v)
{
    if (!v)
        return;
    free(v->ids);
    free(v->starts);
    free(v->common);
    free(v->bytes);
    free(v->places);
    free(v->ends);
    free(v);
}

/* ---- Masks ---- */

void grammar_masks_forget(struct grammar_matcher *m)
{
    for (size_t i = 0; i < MATCHER_MASKS; i++) {
        free(m->masks[i].bits);
        m->masks[i] = (struct grammar_mask){0};
    }
}

static void bit_set(struct grammar_mask *mask, uint32_t id)
{
    uint64_t bit = 1ull << (id % 64);
    mask->count += !(mask->bits[id / 64] & bit);
    mask->bits[id / 64] |= bit;
}

struct seen_tokens {
    struct grammar_mask *mask;
    const struct grammar_vocab *v;
};

static void token_see(void *ctx, uint32_t first, uint32_t last)
{
    const struct seen_tokens *seen = ctx;
    for (uint32_t id = first; id <= last && id < (uint32_t)seen->v->n_vocab; id++)
        if (seen->v->places[id] < 0 && !seen->v->ends[id])
            bit_set(seen->mask, id);
}

/* Goes through the vocabulary in byte order: what two neighbours share is followed once, and where a
 * beginning does not fit, everything that begins so is left out. */
static int mask_fill(struct grammar_matcher *m, struct grammar_mask *mask, struct error *err)
{
    const struct grammar_vocab *v = m->v;
    uint32_t *sets = malloc((UINT16_MAX + 2) * sizeof *sets); /* after each byte of a token */
    uint32_t depth = 0;                                       /* bytes followed */
    int rc = sets ? 0 : no_memory(err);
    if (rc == 0)
        sets[0] = mask->set;
    for (uint32_t i = 0; i < v->n_ids && rc == 0; i++) {
        uint32_t length = v->starts[i + 1] - v->starts[i];
        if (depth > v->common[i])
            depth = v->common[i];
        if (sets[depth] == 0)
            continue;
        while (rc == 0 && depth < length && sets[depth] != 0) {
            rc = grammar_set_next(
                m, sets[depth], (uint8_t)v->bytes[v->starts[i] + depth], &sets[depth + 1], err);
            depth++;
        }
        if (rc == 0 && depth == length && sets[depth] != 0)
            bit_set(mask, (uint32_t)v->ids[i]);
    }
    free(sets);
    struct seen_tokens seen = {mask, v};
    grammar_set_tokens(m, mask->set, token_see, &seen);
    return rc;
}

static int mask_make(struct grammar_matcher *m, struct grammar_mask **out, struct error *err)
{
    size_t words = ((size_t)m->v->n_vocab + 63) / 64;
    struct grammar_mask *mask = &m->masks[m->oldest];
    m->oldest = (m->oldest + 1) % MATCHER_MASKS;
    if (!mask->bits)
        mask->bits = malloc((words + 1) * sizeof *mask->bits);
    if (!mask->bits)
        return no_memory(err);
    memset(mask->bits, 0, words * sizeof *mask->bits);
    mask->count = 0;
    mask->set = m->now;
    m->work = 0;
    int rc = mask_fill(m, mask, err);
    if (rc)
        mask->set = 0;
    *out = mask;
    return rc;
}

static int mask_find(struct grammar_matcher *m, struct grammar_mask **out, struct error *err)
{
    for (size_t i = 0; i < MATCHER_MASKS; i++)
        if (m->masks[i].set == m->now) {
            *out = &m->masks[i];
            return 0;
        }
    int rc = mask_make(m, out, err);
    if (rc != ERROR_LIMIT)
        return rc;
    /* What was remembered is full: once more without it. */
    rc = grammar_matcher_compact(m, err);
    return rc ? rc : mask_make(m, out, err);
}

int grammar_matcher_mask(struct grammar_matcher *m, float *logits, struct error *err)
{
    struct grammar_mask *mask;
    int rc = mask_find(m, &mask, err);
    if (rc)
        return rc;
    bool complete = grammar_matcher_complete(m), open = mask->count > 0;
    for (int32_t id = 0; id < m->v->n_vocab; id++) {
        bool fits = m->v->ends[id] ? complete : mask->bits[id / 64] >> (id % 64) & 1;
        if (!fits)
            logits[id] = -__builtin_inff();
        open = open || fits;
    }
    if (open)
        return 1;
    return complete
               ? 0
               : error_set(err, ERROR_UNSUPPORTED,
                     "the model has no token that goes on as the grammar or schema demands: use another one");
}

/* ---- What was drawn ---- */

static int text_follow(struct grammar_matcher *m, struct str bytes, uint32_t *set, struct error *err)
{
    int rc = 0;
    m->work = 0;
    *set = m->now;
    for (size_t i = 0; i < bytes.len && *set != 0 && rc == 0; i++)
        rc = grammar_set_next(m, *set, (uint8_t)bytes.data[i], set, err);
    return rc;
}

int grammar_matcher_text(struct grammar_matcher *m, struct str bytes, struct error *err)
{
    uint32_t set;
    int rc = text_follow(m, bytes, &set, err);
    if (rc == ERROR_LIMIT) {
        rc = grammar_matcher_compact(m, err);
        if (rc == 0)
            rc = text_follow(m, bytes, &set, err);
    }
    if (rc || set == 0)
        return rc;
    m->now = set;
    return 1;
}

int grammar_matcher_accept(struct grammar_matcher *m, int32_t id, struct error *err)
{
    const struct grammar_vocab *v = m->v;
    uint32_t set;
    if (id < 0 || id >= v->n_vocab)
        return 0;
    if (v->ends[id])
        return grammar_matcher_complete(m);
    int32_t place = v->places[id];
    if (place >= 0)
        return grammar_matcher_text(
            m, (struct str){v->bytes + v->starts[place], v->starts[place + 1] - v->starts[place]}, err);
    int rc = grammar_set_next_token(m, m->now, id, &set, err);
    if (rc || set == 0)
        return rc;
    m->now = set;
    return 1;
}
