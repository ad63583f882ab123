/* Attention on a matrix unit (matrix.h), sixteen queries of a block at a time, or four or eight where a block
 * has no more:
 *
 *   keys (left)   x  queries (right)   ->  scores [position][query]
 *   scores                             ->  the softmax's terms, as left tiles
 *   terms         x  values (right)    ->  added to out [query][width]
 *
 * What a query does not see of a tile has no term, so that its result is the same to the bit whatever shares
 * its block. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/attention.h"

enum {
    TILE_FLOATS = sizeof(struct matrix_tile) / sizeof(float),
    SPLIT_FLOATS = sizeof(struct split_tile) / sizeof(float),
    TERM_STEPS = TILE_POSITIONS / MATRIX_VALUES
};
static_assert((int)TILE_POSITIONS == (int)MATRIX_POSITIONS && (int)TILE_ROWS == (int)MATRIX_ROWS,
    "a tile of positions is what the unit takes");

static const struct kv_spec *spec_of(const struct block *b)
{
    return &b->task->op->kv.layer->spec;
}

static struct split_tile *split_tiles(float *part)
{
    return (struct split_tile *)(void *)part;
}

static struct matrix_tile *tiles(float *part)
{
    return (struct matrix_tile *)(void *)part;
}

/* Steps of MATRIX_VALUES values. */
static int64_t steps_of(int64_t width)
{
    return (width + MATRIX_VALUES - 1) / MATRIX_VALUES;
}

static int64_t out_width(const struct op *op)
{
    return steps_of(op->kv.layer->spec.v_width) * MATRIX_VALUES;
}

static void matrix_parts(const struct op *op, size_t sizes[PARTS])
{
    const int64_t n = padded(block_tokens(op) * (int64_t)group_size(op)),
                  steps = steps_of(op->kv.layer->spec.k_width), v_width = out_width(op),
                  k_width = steps * MATRIX_VALUES;
    const int64_t all[PARTS] = {TILE_POSITIONS * k_width / 2, v_width / TILE_ROWS * TERM_STEPS * TILE_FLOATS,
        MATRIX_ROWS * k_width + (MATRIX_VALUES + 1) * v_width / 2, n / MATRIX_ROWS * steps * SPLIT_FLOATS,
        TERM_STEPS * SPLIT_FLOATS, MATRIX_ROWS * TILE_POSITIONS, n * v_width, n, n};
    for (int i = 0; i < PARTS; i++)
        sizes[i] = (size_t)padded(all[i]);
}

static int64_t matrix_times(const struct block *b)
{
    return TERM_STEPS + padded(n_queries(b)) / MATRIX_ROWS * 3;
}

/* Queries that go together. */
static int32_t columns_of(const struct block *b)
{
    const int64_t n = n_queries(b);
    return n <= MATRIX_QUARTER ? MATRIX_QUARTER : n <= MATRIX_HALF ? MATRIX_HALF : MATRIX_ROWS;
}

/* Those behind the last query are zeros. */
static void matrix_begin(struct block *b)
{
    const struct matrix_unit *m = b->task->cpu->kernels->matrix;
    const int64_t n = n_queries(b), width = spec_of(b)->k_width, steps = steps_of(width),
                  stride = steps * MATRIX_VALUES;
    for (int64_t first = 0; first < n; first += MATRIX_ROWS) {
        const float *rows[MATRIX_ROWS];
        for (int64_t r = 0; r < MATRIX_ROWS; r++) {
            float *row = b->parts.row + r * stride;
            memset(row, 0, (size_t)stride * sizeof *row);
            if (first + r < n)
                memcpy(row, query_at(b, first + r), (size_t)width * sizeof *row);
            rows[r] = row;
        }
        m->queries(split_tiles(b->parts.queries) + first / MATRIX_ROWS * steps, rows, steps);
    }
    for (int64_t q = n; q < padded(n); q++) {
        b->parts.most[q] = -INFINITY;
        b->parts.sums[q] = 0;
    }
    memset(b->parts.out, 0, (size_t)(padded(n) * out_width(b->task->op)) * sizeof(float));
    m->begin(columns_of(b));
}

/* ---- The cache ---- */

static int32_t tile_of(const struct block *b)
{
    return b->now.from / TILE_POSITIONS * TILE_POSITIONS;
}

/* A row with zeros behind up to `bytes`. */
static void row_pad(char *to, const uint8_t *row, int64_t width, size_t bytes)
{
    const size_t own = (size_t)width * sizeof(uint16_t);
    memcpy(to, row, own);
    memset(to + own, 0, bytes - own);
}

/* The tile's keys, as they stand where that is possible. What is outside of the stretch may be anything. */
static const uint8_t *keys_stand(struct block *b, size_t *row_bytes)
{
    const struct kv_layer *l = b->task->op->kv.layer;
    const int64_t width = spec_of(b)->k_width, steps = steps_of(width);
    const int32_t tile = tile_of(b);
    const struct rows keys = rows_of(l, &b->now, true);
    *row_bytes = (size_t)steps * MATRIX_VALUES * sizeof(uint16_t);
    if (width % MATRIX_VALUES == 0 && tile % l->n_rows + TILE_POSITIONS <= l->n_rows)
        return row_at(&keys, b->now.from) - (size_t)(b->now.from - tile) * *row_bytes;
    char *to = (char *)b->parts.keys;
    for (int32_t p = b->now.from; p < b->now.to; p++)
        row_pad(to + (size_t)(p - tile) * *row_bytes, row_at(&keys, p), width, *row_bytes);
    return (const uint8_t *)to;
}

static bool row_is_finite(const uint8_t *row, int64_t width)
{
    enum { INFINITE = 0x7F80 };
    uint16_t most = 0, half;
    for (int64_t i = 0; i < width; i++) {
        memcpy(&half, row + i * (int64_t)sizeof half, sizeof half);
        half &= 0x7FFF;
        most = half > most ? half : most;
    }
    return most < INFINITE;
}

/* Values of positions outside of the stretch are zeros, as their terms are. So are, in a tile that not all
 * see, those that are no numbers, which times a term of 0 would be none either. Returns a bit for each of
 * these. */
static uint64_t values_turn(struct block *b, bool all_see)
{
    const int64_t width = spec_of(b)->v_width, steps = steps_of(width);
    const size_t bytes = (size_t)steps * MATRIX_VALUES * sizeof(uint16_t);
    const struct rows values = rows_of(b->task->op->kv.layer, &b->now, false);
    const bool whole = width % MATRIX_VALUES == 0;
    uint64_t broken = 0;
    char *copies = (char *)b->parts.row, *zeros = copies + MATRIX_VALUES * bytes;
    memset(zeros, 0, bytes);
    for (int32_t at = 0; at < TILE_POSITIONS; at += MATRIX_VALUES) {
        const uint8_t *rows[MATRIX_VALUES];
        for (int32_t r = 0; r < MATRIX_VALUES; r++) {
            const int32_t p = tile_of(b) + at + r;
            const bool inside = p >= b->now.from && p < b->now.to;
            rows[r] = inside ? row_at(&values, p) : (const uint8_t *)zeros;
            if (inside && !all_see && !row_is_finite(rows[r], width)) {
                rows[r] = (const uint8_t *)zeros;
                broken |= (uint64_t)1 << (at + r);
            } else if (inside && !whole) {
                row_pad(copies + (size_t)r * bytes, rows[r], width, bytes);
                rows[r] = (const uint8_t *)copies + (size_t)r * bytes;
            }
        }
        b->task->cpu->kernels->matrix->values(tiles(b->parts.values) + at / MATRIX_VALUES, rows, steps);
        ask(b);
    }
    return broken;
}

/* ---- A tile ---- */

/* What sixteen queries see of a tile: [first, last). */
struct seen {
    int32_t first[MATRIX_ROWS], last[MATRIX_ROWS];
    bool nothing;
};

static void seen_by(const struct block *b, int64_t query, struct seen *out)
{
    const int64_t group = group_size(b->task->op), n = n_queries(b);
    out->nothing = true;
    for (int64_t i = 0; i < MATRIX_ROWS; i++) {
        struct span s = {0, 0};
        if (query + i < n)
            s = seen_of_tile(b, b->from + (query + i) / group, tile_of(b));
        out->nothing = out->nothing && s.first >= s.last;
        out->first[i] = s.first;
        out->last[i] = s.last;
    }
}

static bool all_see_all(const struct block *b)
{
    const int32_t tile = tile_of(b);
    for (int64_t t = 0; t < b->to - b->from; t++)
        if (b->seen[t].first > tile || b->seen[t].last < tile + TILE_POSITIONS - 1)
            return false;
    return true;
}

/* Who sees what is no number gets none. */
static void broken_attend(struct block *b, int64_t query, const struct seen *seen, uint64_t broken)
{
    for (; broken != 0; broken &= broken - 1)
        for (int64_t i = 0, at = __builtin_ctzll(broken); i < MATRIX_ROWS; i++)
            if (seen->first[i] <= at && at < seen->last[i])
                b->parts.sums[query + i] = NAN;
}

/* seen: NULL: all. */
static void group_attend(
    struct block *b, int64_t query, const uint8_t *keys, size_t row_bytes, const struct seen *seen)
{
    const struct kernels *k = b->task->cpu->kernels;
    const struct attention *how = &b->task->op->kv.how;
    const int64_t steps = steps_of(spec_of(b)->k_width), width = out_width(b->task->op);
    struct split_tile *terms = split_tiles(b->parts.terms);
    const int32_t columns = columns_of(b);
    float *scores = b->parts.scores, less[MATRIX_ROWS];
    k->matrix->scores(
        scores, keys, row_bytes, split_tiles(b->parts.queries) + query / MATRIX_ROWS * steps, steps, columns);
    ask(b);
    /* cap * tanh(scale * s / cap): the scale goes into a cap for the raw products. */
    if (how->softcap != 0)
        k->softcap(scores, scores, how->softcap / how->scale, columns * TILE_POSITIONS);
    const struct matrix_queries q = {
        seen ? seen->first : NULL, seen ? seen->last : NULL, b->parts.most + query, b->parts.sums + query};
    k->matrix->terms(terms, less, scores, how->scale, &q, columns);
    ask(b);
    k->matrix->mix(b->parts.out + query * width, width, less, terms, tiles(b->parts.values), columns);
    ask(b);
}

static void matrix_tile_attend(struct block *b)
{
    size_t row_bytes;
    const uint8_t *keys = keys_stand(b, &row_bytes);
    const bool all = all_see_all(b);
    const uint64_t broken = values_turn(b, all);
    for (int64_t q = 0; q < n_queries(b); q += MATRIX_ROWS) {
        struct seen seen;
        if (!all)
            seen_by(b, q, &seen);
        if (all || !seen.nothing)
            group_attend(b, q, keys, row_bytes, all ? NULL : &seen);
        if (broken)
            broken_attend(b, q, &seen, broken);
    }
}

/* Of 32 values the even ones stand first. */
static int64_t matrix_end(struct block *b)
{
    const int64_t stride = out_width(b->task->op);
    b->task->cpu->kernels->matrix->end();
    for (int64_t q = 0; q < n_queries(b); q++)
        for (int64_t i = 0; i < stride; i += MATRIX_VALUES) {
            float *to = b->parts.out + q * stride + i, from[MATRIX_VALUES];
            memcpy(from, to, sizeof from);
            for (int64_t j = 0; j < MATRIX_VALUES; j++)
                to[j] = from[j / 2 + j % 2 * MATRIX_ROWS];
        }
    return stride;
}

const struct attention_way attention_matrix = {.parts = matrix_parts,
    .begin = matrix_begin,
    .times = matrix_times,
    .tile = matrix_tile_attend,
    .end = matrix_end};
