/* Attention on integers of 16 bits (shorts.h): a tile's keys and values are made integers once for all
 * queries of a block, sixteen of which go together.
 *
 * What a query does not see of a tile has no term, so that its result is the same to the bit whatever shares
 * its block. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/attention.h"
#include "engine/worker/cpu/shorts.h"

enum { GROUPS = 3, TILE_SCORES = SHORT_POSITIONS * SHORT_QUERIES };
static_assert((int)TILE_POSITIONS == (int)SHORT_POSITIONS && (int)TILE_ROWS == (int)SHORT_QUERIES,
    "a tile of positions is what the unit takes");

static const struct kv_spec *spec_of(const struct block *b)
{
    return &b->task->op->kv.layer->spec;
}

static uint32_t *words(float *part)
{
    return (uint32_t *)(void *)part;
}

/* Rows of k_width zeros; what each query's scores are multiplied by; a tile's. */
static float *query_scales(const struct block *b)
{
    return b->parts.row + padded(spec_of(b)->k_width + spec_of(b)->v_width);
}

static struct short_tile tile_memory(const struct block *b)
{
    float *scales = query_scales(b) + padded(n_queries(b));
    return (struct short_tile){words(b->parts.keys), scales, words(b->parts.values), scales + SHORT_POSITIONS,
        scales + 2 * SHORT_POSITIONS};
}

static void shorts_parts(const struct op *op, size_t sizes[PARTS])
{
    const struct kv_spec *spec = &op->kv.layer->spec;
    const int64_t n = padded(block_tokens(op) * (int64_t)group_size(op)), width = padded(spec->v_width);
    const int64_t all[PARTS] = {short_runs(spec->k_width) * SHORT_RUN * SHORT_POSITIONS,
        SHORT_POSITIONS / 2 * width, padded(spec->k_width + spec->v_width) + n + 3 * SHORT_POSITIONS,
        short_pairs(spec->k_width) * n, SHORT_POSITIONS / 2 * SHORT_QUERIES, GROUPS * TILE_SCORES, n * width,
        n, n};
    for (int i = 0; i < PARTS; i++)
        sizes[i] = (size_t)padded(all[i]);
}

static int64_t shorts_times(const struct block *b)
{
    return 12 + padded(n_queries(b)) / SHORT_QUERIES * 2;
}

/* Those behind the last query are zeros. From here on the largest scores are powers of two. */
static void shorts_begin(struct block *b)
{
    const struct short_unit *u = b->task->cpu->kernels->shorts;
    const struct kv_spec *spec = spec_of(b);
    const int64_t n = n_queries(b), stride = padded(n);
    const float scale = b->task->op->kv.how.scale * SHORT_LOG2_E;
    memset(b->parts.row, 0, (size_t)(spec->k_width + spec->v_width) * sizeof(float));
    for (int64_t first = 0; first < n; first += SHORT_QUERIES) {
        const float *rows[SHORT_QUERIES];
        for (int64_t r = 0; r < SHORT_QUERIES; r++)
            rows[r] = first + r < n ? query_at(b, first + r) : b->parts.row;
        u->queries(
            words(b->parts.queries) + first, stride, query_scales(b) + first, rows, spec->k_width, scale);
    }
    for (int64_t q = 0; q < n; q++)
        b->parts.most[q] *= scale;
    for (int64_t q = n; q < stride; q++) {
        b->parts.most[q] = -INFINITY;
        b->parts.sums[q] = 0;
    }
    memset(b->parts.out, 0, (size_t)(stride * padded(spec->v_width)) * sizeof(float));
}

/* Rows of positions from the tile's `at`-th on; zeros outside of what is looked at. */
static void rows_find(
    const struct block *b, const struct rows *all, int32_t at, const uint8_t *out[SHORT_ROWS])
{
    const int32_t first = b->now.from / TILE_POSITIONS * TILE_POSITIONS + at, last = first + SHORT_ROWS - 1;
    if (first >= b->now.from && last < b->now.to && (last < all->turn || first >= all->turn)) {
        const uint8_t *row = row_at(all, first);
        for (size_t i = 0; i < SHORT_ROWS; i++)
            out[i] = row + i * all->bytes;
        return;
    }
    for (int32_t p = first; p <= last; p++)
        *out++ = p >= b->now.from && p < b->now.to ? row_at(all, p) : (const uint8_t *)b->parts.row;
}

static void tile_read(struct block *b, const struct short_tile *t)
{
    const struct short_unit *u = b->task->cpu->kernels->shorts;
    const struct kv_layer *l = b->task->op->kv.layer;
    const struct rows keys = rows_of(l, &b->now, true), values = rows_of(l, &b->now, false);
    const uint8_t *rows[SHORT_ROWS], *beside[SHORT_ROWS];
    for (int32_t at = 0; at < SHORT_POSITIONS; at += SHORT_ROWS) {
        rows_find(b, &keys, at, rows);
        u->keys(t, at, rows, l->spec.k_width);
        ask(b);
    }
    for (int32_t at = 0; at < SHORT_POSITIONS; at += SHORT_ROWS) {
        if (at % SHORT_VALUES >= SHORT_VALUES / 2) /* these stood beside others */
            continue;
        rows_find(b, &values, at, rows);
        rows_find(b, &values, at + SHORT_VALUES / 2, beside);
        u->values(t, at, rows, beside, l->spec.v_width);
        ask(b);
    }
}

static bool all_see_all(const struct block *b)
{
    const int32_t tile = b->now.from / TILE_POSITIONS * TILE_POSITIONS;
    for (int64_t t = 0; t < b->to - b->from; t++)
        if (b->seen[t].first > tile || b->seen[t].last < tile + TILE_POSITIONS - 1)
            return false;
    return true;
}

/* What sixteen queries see of a tile: [first, last). */
struct seen {
    int32_t first[SHORT_QUERIES], last[SHORT_QUERIES];
};

/* False: nothing. */
static bool seen_by(const struct block *b, int64_t query, struct seen *out)
{
    const int64_t group = group_size(b->task->op), n = n_queries(b);
    const int32_t tile = b->now.from / TILE_POSITIONS * TILE_POSITIONS;
    bool some = false;
    for (int64_t i = 0; i < SHORT_QUERIES; i++) {
        struct span s = {0, 0};
        if (query + i < n)
            s = seen_of_tile(b, b->from + (query + i) / group, tile);
        some = some || s.first < s.last;
        out->first[i] = s.first;
        out->last[i] = s.last;
    }
    return some;
}

/* Terms and outputs of sixteen queries, whose scores are known. seen: NULL: all. */
static void group_attend(
    struct block *b, const struct short_tile *t, int64_t query, float *scores, const struct seen *seen)
{
    const struct short_unit *u = b->task->cpu->kernels->shorts;
    const int64_t width = padded(spec_of(b)->v_width), left = n_queries(b) - query;
    const struct short_queries q = {
        seen ? seen->first : NULL, seen ? seen->last : NULL, b->parts.most + query, b->parts.sums + query};
    float less[SHORT_QUERIES], more[SHORT_QUERIES];
    u->terms(words(b->parts.terms), less, more, scores, t, &q);
    ask(b);
    u->mix(b->parts.out + query * width, width, less, more, words(b->parts.terms), t->values,
        left < SHORT_QUERIES ? left : SHORT_QUERIES);
    ask(b);
}

static void few_attend(struct block *b, const struct short_tile *t, int64_t pairs, const struct seen *seen)
{
    const struct short_unit *u = b->task->cpu->kernels->shorts;
    const int64_t width = padded(spec_of(b)->v_width), n = n_queries(b);
    const struct short_queries q = {
        seen ? seen->first : NULL, seen ? seen->last : NULL, b->parts.most, b->parts.sums};
    float less[SHORT_QUERIES], more[SHORT_QUERIES];
    u->few_scores(b->parts.scores, t, words(b->parts.queries), padded(n), query_scales(b), pairs, n);
    ask(b);
    u->few_terms(words(b->parts.terms), less, more, b->parts.scores, t, &q, n);
    ask(b);
    u->few_mix(b->parts.out, width, less, more, words(b->parts.terms), t->values, n);
    ask(b);
}

static void many_attend(struct block *b, const struct short_tile *t, int64_t pairs, bool all)
{
    const int64_t stride = padded(n_queries(b));
    for (int64_t q = 0; q < stride; q += GROUPS * SHORT_QUERIES) {
        const int64_t left = (stride - q) / SHORT_QUERIES, n = left < GROUPS ? left : GROUPS;
        struct seen seen;
        b->task->cpu->kernels->shorts->scores(
            b->parts.scores, t, words(b->parts.queries) + q, stride, query_scales(b) + q, pairs, n);
        for (int64_t g = 0; g < n; g++)
            if (all || seen_by(b, q + g * SHORT_QUERIES, &seen))
                group_attend(
                    b, t, q + g * SHORT_QUERIES, b->parts.scores + g * TILE_SCORES, all ? NULL : &seen);
    }
}

static void shorts_tile(struct block *b)
{
    const struct short_tile t = tile_memory(b);
    const int64_t pairs = short_pairs(spec_of(b)->k_width);
    const bool all = all_see_all(b);
    struct seen seen;
    tile_read(b, &t);
    if (n_queries(b) > SHORT_FEW)
        many_attend(b, &t, pairs, all);
    else if (all || seen_by(b, 0, &seen))
        few_attend(b, &t, pairs, all ? NULL : &seen);
}

static int64_t shorts_end(struct block *b)
{
    return padded(spec_of(b)->v_width);
}

const struct attention_way attention_shorts = {.parts = shorts_parts,
    .begin = shorts_begin,
    .times = shorts_times,
    .tile = shorts_tile,
    .end = shorts_end};
