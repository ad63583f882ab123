/* Attention over the KV cache (Vaswani et al. 2017; grouped queries: Ainslie et al. 2023), a tile of
 * positions at a time with a running softmax (Dao et al. 2022, arxiv.org/abs/2205.14135). What shares a head
 * of keys and values is a block: the queries of a few tokens of one slot, which read the cache once for all
 * of them.
 *
 *   for each tile of TILE_POSITIONS:   keys, turned round  x  queries    ->  scores [query][position]
 *                                      scores  ->  exp(score - largest), the sums of which are kept
 *                                      those  x  values                  ->  added to out [query][width]
 *
 * When a larger score comes, what was summed before is made less by it. Tiles begin at multiples of
 * TILE_POSITIONS and a query takes of each exactly what it sees, so that its result is the same to the bit
 * whatever shares its block.
 *
 * A CPU's matrix unit does it for sixteen queries at a time (attention_matrix.c), as do integers of 16 bits
 * where these are the faster (attention_shorts.c). Elsewhere a block has a
 * tile's keys as floats once for all of its queries, and the values as well where these are many; for a few,
 * values are read as they stand. What the next tile needs is asked for meanwhile, a little at a time. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/attention.h"
#include "engine/worker/tensor_quantize.h"

enum {
    AT_ONCE = 48, /* whose scores stay in the first-level cache beside a tile's keys and values */
    FEW_QUERIES = 12
};

static void row_write(
    const struct kernels *k, enum tensor_type type, char *to, const float *from, int32_t width)
{
    if (type == TENSOR_F16 && k->halve) {
        k->halve((uint8_t *)to, from, width);
        return;
    }
    if (type == TENSOR_F32) {
        memcpy(to, from, (size_t)width * sizeof *from);
        return;
    }
    struct error err;
    int rc = tensor_quantize(type, from, to, width, &err);
    assert(rc == 0); /* kvcache.c makes layers of these types only, of whole blocks */
    (void)rc;
}

void cpu_kv_write(const struct cpu_task *task)
{
    const struct kv_layer *l = task->op->kv.layer;
    const struct program_batch *b = &task->cpu->program->batch;
    int64_t from, to;
    cpu_rows_own(task, b->n_tokens, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *k = cpu_row(task->cpu, task->op->a, t);
        const float *v = l->spec.latent ? NULL : cpu_row(task->cpu, task->op->b, t);
        int32_t slot = b->slots[t], position = b->positions[t];
        for (int32_t h = 0; h < l->spec.n_heads; h++) {
            row_write(task->cpu->kernels, l->spec.type, kv_key(l, slot, h, position), k + h * l->spec.k_width,
                l->spec.k_width);
            if (v)
                row_write(task->cpu->kernels, l->spec.type, kv_value(l, slot, h, position),
                    v + h * l->spec.v_width, l->spec.v_width);
        }
    }
}

static const struct attention_way attention_floats;

/* (A cap is of the scores alone; those of integers have their values' powers of two with them.) */
static const struct attention_way *way_of(const struct kernels *k, const struct op *op)
{
    const struct kv_spec *spec = &op->kv.layer->spec;
    if (k->matrix && spec->type == TENSOR_BF16)
        return &attention_matrix;
    const bool shorts =
        k->shorts && spec->type == TENSOR_F16 && spec->k_width <= SHORT_WIDTH && op->kv.how.softcap == 0;
    return shorts ? &attention_shorts : &attention_floats;
}

static void floats_parts(const struct op *op, size_t sizes[PARTS])
{
    const struct kv_spec *spec = &op->kv.layer->spec;
    const size_t n = (size_t)block_tokens(op) * (size_t)group_size(op), width = (size_t)padded(spec->v_width),
                 k_width = (size_t)spec->k_width;
    const size_t all[PARTS] = {TILE_POSITIONS * k_width, TILE_POSITIONS * width, TILE_ROWS * k_width,
        (k_width + COLUMN_STRIDE - 1) / COLUMN_STRIDE * n * COLUMN_STRIDE, 0, n * TILE_POSITIONS, n * width,
        n, n};
    memcpy(sizes, all, sizeof all);
}

static struct parts parts_of(const struct attention_way *way, const struct op *op, float *memory)
{
    struct parts p;
    float **const parts[PARTS] = {
        &p.keys, &p.values, &p.row, &p.queries, &p.terms, &p.scores, &p.out, &p.most, &p.sums};
    size_t sizes[PARTS];
    way->parts(op, sizes);
    for (int i = 0; i < PARTS; i++) {
        *parts[i] = memory;
        memory += sizes[i];
    }
    return p;
}

size_t cpu_attention_scores(const struct kernels *k, const struct op *op)
{
    size_t sizes[PARTS], total = 0;
    way_of(k, op)->parts(op, sizes);
    for (int i = 0; i < PARTS; i++)
        total += sizes[i];
    return total;
}

/* Keys of sixteen positions from `first` on turned round; those outside of [from, to) repeat others. `row`:
 * memory for them as floats. */
static void keys_turn(const struct kernels *k, const struct kv_layer *l, const struct stretch *s,
    const struct rows *keys, int32_t first, float *tile, float *row)
{
    const enum tensor_type type = l->spec.type;
    const int64_t width = l->spec.k_width;
    const uint8_t *rows[TILE_ROWS];
    for (int32_t r = 0; r < TILE_ROWS; r++) {
        rows[r] = row_at(keys, first + r < s->from ? s->from : first + r >= s->to ? s->to - 1 : first + r);
        if (k->tile[type])
            continue;
        kernels_dequantize(k, type, rows[r], row + r * width, width);
        rows[r] = (const uint8_t *)(row + r * width);
    }
    k->tile[k->tile[type] ? type : TENSOR_F32](tile, rows, width);
}

/* ---- A block ---- */

static struct span positions_seen(const struct cpu_task *task, int64_t token)
{
    const struct program_batch *b = &task->cpu->program->batch;
    const struct attention *how = &task->op->kv.how;
    const int32_t own = b->positions[token];
    while (how->later && token + 1 < b->n_tokens && b->slots[token + 1] == b->slots[token])
        token++;
    struct span s = {.last = b->positions[token]};
    s.first = kv_first(task->op->kv.layer, s.last);
    if (how->reach == 0)
        return s;
    s.first = own - how->reach > s.first ? own - how->reach : s.first;
    s.last = s.last - own > how->reach ? own + how->reach : s.last;
    return s;
}

static void keys_read(struct block *b)
{
    const struct kernels *k = b->task->cpu->kernels;
    const struct kv_layer *l = b->task->op->kv.layer;
    const struct stretch *s = &b->now;
    const struct rows keys = rows_of(l, s, true);
    for (int32_t first = s->from / TILE_ROWS * TILE_ROWS; first < s->to; first += TILE_ROWS) {
        keys_turn(
            k, l, s, &keys, first, b->parts.keys + first % TILE_POSITIONS * l->spec.k_width, b->parts.row);
        ask(b);
    }
}

static void values_read(struct block *b)
{
    const struct kernels *k = b->task->cpu->kernels;
    const struct kv_layer *l = b->task->op->kv.layer;
    const int64_t width = l->spec.v_width, stride = padded(width);
    const struct rows values = rows_of(l, &b->now, false);
    for (int32_t position = b->now.from; position < b->now.to; position++) {
        float *to = b->parts.values + position % TILE_POSITIONS * stride;
        const uint8_t *row = row_at(&values, position);
        if (l->spec.type == TENSOR_F32)
            memcpy(to, row, (size_t)width * sizeof *to);
        else
            kernels_dequantize(k, l->spec.type, row, to, width);
        memset(to + width, 0, (size_t)(stride - width) * sizeof *to);
    }
}

/* Scores of query q, at `s.first` to `s.last` of its row, become terms of the softmax; what was summed before
 * follows a larger maximum. */
static void terms_add(struct block *b, int64_t q, struct span s)
{
    const struct kernels *k = b->task->cpu->kernels;
    const struct attention *how = &b->task->op->kv.how;
    const int64_t width = padded(b->task->op->kv.layer->spec.v_width);
    float *scores = b->parts.scores + q * TILE_POSITIONS + s.first, *out = b->parts.out + q * width;
    const float before = b->parts.most[q];
    /* cap * tanh(scale * s / cap): the scale goes into a cap for the raw products. */
    if (how->softcap != 0)
        k->softcap(scores, scores, how->softcap / how->scale, s.last - s.first);
    ask(b);
    float sum = k->softmax_terms(scores, how->scale, &b->parts.most[q], s.last - s.first);
    if (b->parts.most[q] != before) {
        const float less = expf((before - b->parts.most[q]) * how->scale);
        b->parts.sums[q] *= less;
        for (int64_t i = 0; i < width; i++)
            out[i] *= less;
    }
    b->parts.sums[q] += sum;
}

/* Scores of n queries, from `query` of the block on. */
static void scores_multiply(struct block *b, float *scores, int64_t query, int64_t n, struct span s)
{
    const int64_t width = b->task->op->kv.layer->spec.k_width, first = s.first / TILE_ROWS * TILE_ROWS;
    for (int64_t k = 0; k < width; k += COLUMN_STRIDE) {
        const struct panel p = {.rows = b->parts.keys + first * width + k * TILE_ROWS,
            .x = b->parts.queries + k * n_queries(b) + query * COLUMN_STRIDE,
            .row_stride = TILE_ROWS,
            .tile_stride = TILE_ROWS * width,
            .tiles = (s.last - first + TILE_ROWS - 1) / TILE_ROWS,
            .n = n,
            .count = width - k < COLUMN_STRIDE ? width - k : COLUMN_STRIDE,
            .acc_stride = TILE_POSITIONS};
        b->task->cpu->kernels->multiply_panel(scores + first, &p);
        ask(b);
    }
}

/* The values at the positions s of the tile, by their terms, are added to the outputs of a few queries. */
static void few_values(struct block *b, float *out, const float *const *terms, int64_t n, struct span s)
{
    const struct kv_layer *l = b->task->op->kv.layer;
    const struct rows values = rows_of(l, &b->now, false);
    const uint8_t *rows = row_at(&values, b->now.from / TILE_POSITIONS * TILE_POSITIONS + s.first);
    const int64_t width = padded(l->spec.v_width);
    ask(b);
    b->task->cpu->kernels->multiply[l->spec.type](
        out, width, rows, values.bytes, 0, width / TILE_ROWS, terms, n, s.last - s.first);
    ask(b);
}

static void many_values(struct block *b, float *out, const float *terms, int64_t n, struct span s)
{
    const int64_t width = padded(b->task->op->kv.layer->spec.v_width);
    const struct panel p = {.rows = b->parts.values + s.first * width,
        .x = terms,
        .row_stride = width,
        .tile_stride = TILE_ROWS,
        .tiles = width / TILE_ROWS,
        .n = n,
        .count = s.last - s.first,
        .acc_stride = width};
    b->task->cpu->kernels->multiply_panel(out, &p);
    ask(b);
}

/* Queries [from, to) of the block, at most AT_ONCE, all of which see the same part of the tile. */
static void tile_attend(struct block *b, int64_t from, int64_t to, struct span s)
{
    const int64_t n = to - from;
    const float *columns[AT_ONCE];
    float *scores = b->parts.scores + from * TILE_POSITIONS,
          *out = b->parts.out + from * padded(b->task->op->kv.layer->spec.v_width);
    memset(scores, 0, (size_t)n * TILE_POSITIONS * sizeof *scores);
    scores_multiply(b, scores, from, n, s);
    for (int64_t i = 0; i < n; i++) {
        terms_add(b, from + i, s);
        columns[i] = scores + i * TILE_POSITIONS + s.first;
    }
    if (b->few)
        few_values(b, out, columns, n, s);
    else
        many_values(b, out, scores + s.first, n, s);
}

/* Runs of tokens that see the same part of the tile, mostly all of it, go together. */
static void tile_run(struct block *b, int32_t tile)
{
    const int64_t group = group_size(b->task->op);
    for (int64_t from = b->from, to; from < b->to; from = to) {
        const struct span s = seen_of_tile(b, from, tile);
        for (to = from + 1; to < b->to; to++) {
            const struct span next = seen_of_tile(b, to, tile);
            if (next.first != s.first || next.last != s.last)
                break;
        }
        const int64_t end = (to - b->from) * group;
        for (int64_t q = (from - b->from) * group; s.first < s.last && q < end; q += AT_ONCE)
            tile_attend(b, q, q + AT_ONCE < end ? q + AT_ONCE : end, s);
    }
}

static void floats_begin(struct block *b)
{
    const struct kv_spec *spec = &b->task->op->kv.layer->spec;
    const int64_t width = spec->k_width, n = n_queries(b);
    memset(b->parts.out, 0, (size_t)(n * padded(spec->v_width)) * sizeof *b->parts.out);
    for (int64_t q = 0; q < n; q++)
        for (int64_t k = 0; k < width; k += COLUMN_STRIDE)
            memcpy(b->parts.queries + k * n + q * COLUMN_STRIDE, query_at(b, q) + k,
                (size_t)(width - k < COLUMN_STRIDE ? width - k : COLUMN_STRIDE) * sizeof(float));
}

/* A sink is a score of no position: it takes its share of the sum and gives nothing. */
static void block_begin(struct block *b, struct span *all)
{
    const struct attention *how = &b->task->op->kv.how;
    const int32_t group = group_size(b->task->op);
    const int64_t n = (b->to - b->from) * group;
    for (int64_t t = b->from; t < b->to; t++) {
        const struct span s = positions_seen(b->task, t);
        b->seen[t - b->from] = s;
        all->first = t == b->from || s.first < all->first ? s.first : all->first;
        all->last = t == b->from || s.last > all->last ? s.last : all->last;
    }
    for (int64_t q = 0; q < n; q++) {
        b->parts.most[q] = how->sinks ? how->sinks[b->head * group + q % group] / how->scale : -INFINITY;
        b->parts.sums[q] = how->sinks ? 1 : 0;
    }
}

static void block_store(const struct block *b, int64_t stride)
{
    const int32_t group = group_size(b->task->op), width = b->task->op->kv.layer->spec.v_width;
    const float *from = b->parts.out;
    for (int64_t q = 0; q < (b->to - b->from) * group; q++, from += stride) {
        float *out = cpu_row(b->task->cpu, b->task->op->out, b->from + q / group) +
                     (b->head * (int64_t)group + q % group) * width;
        for (int32_t i = 0; i < width; i++)
            out[i] = from[i] / b->parts.sums[q];
    }
}

/* Can the values of a stretch be multiplied as they stand? */
static bool is_plain(const struct kernels *k, const struct kv_layer *l, const struct stretch *s)
{
    return k->multiply[l->spec.type] && l->spec.v_width % TILE_ROWS == 0 &&
           s->from % l->n_rows + s->to - s->from <= l->n_rows;
}

/* What the next tile needs, to be asked for at so many `times` of this one's work. */
static void next_find(struct block *b, const struct span *all, int64_t times)
{
    const struct kv_layer *l = b->task->op->kv.layer;
    const int32_t left = all->last + 1 - b->now.to, n = left < TILE_POSITIONS ? left : TILE_POSITIONS;
    memset(b->ahead, 0, sizeof b->ahead);
    b->share = 0;
    for (int i = 0; i < (l->spec.latent ? 1 : 2) && n > 0; i++) {
        const struct stretch next = {b->now.slot, b->now.head, b->now.to, b->now.to + n};
        const struct rows r = rows_of(l, &next, i == 0);
        b->ahead[i] = (struct ahead){r.first, r.first + (size_t)n * r.bytes};
        b->share += (size_t)n * r.bytes / (size_t)times / 64 * 64 + 64;
    }
}

static int64_t floats_times(const struct block *b)
{
    return TILE_POSITIONS / TILE_ROWS + 3 + n_queries(b);
}

static void floats_tile(struct block *b)
{
    b->few = n_queries(b) <= FEW_QUERIES && is_plain(b->task->cpu->kernels, b->task->op->kv.layer, &b->now);
    keys_read(b);
    if (!b->few)
        values_read(b);
    tile_run(b, b->now.from / TILE_POSITIONS * TILE_POSITIONS);
}

static int64_t floats_end(struct block *b)
{
    return padded(b->task->op->kv.layer->spec.v_width);
}

static const struct attention_way attention_floats = {.parts = floats_parts,
    .begin = floats_begin,
    .times = floats_times,
    .tile = floats_tile,
    .end = floats_end};

static void attend(struct block *b)
{
    const struct attention_way *way = way_of(b->task->cpu->kernels, b->task->op);
    struct span all = {0};
    b->parts = parts_of(way, b->task->op, b->task->scratch->scores);
    block_begin(b, &all);
    way->begin(b);
    const int64_t times = way->times(b);
    struct stretch s = {
        .slot = b->task->cpu->program->batch.slots[b->from], .head = b->head, .from = all.first};
    for (; s.from <= all.last; s.from = s.to) {
        const int32_t next = s.from / TILE_POSITIONS * TILE_POSITIONS + TILE_POSITIONS;
        s.to = next <= all.last ? next : all.last + 1;
        b->now = s;
        next_find(b, &all, times);
        way->tile(b);
    }
    block_store(b, way->end(b));
}

/* Where the block that begins at token `from` ends: it is of one slot. */
static int64_t block_end(const struct cpu_task *task, int64_t from)
{
    const struct program_batch *b = &task->cpu->program->batch;
    const int32_t most = block_tokens(task->op);
    int64_t to = from + 1;
    while (to < b->n_tokens && to - from < most && b->slots[to] == b->slots[from])
        to++;
    return to;
}

void cpu_attention(const struct cpu_task *task)
{
    int64_t n_blocks = 0, at, end;
    struct block b = {.task = task};
    for (int64_t t = 0; t < task->cpu->program->batch.n_tokens; t = block_end(task, t))
        n_blocks++;
    while (cpu_claim(task, n_blocks * task->op->kv.layer->spec.n_heads, 1, &at, &end)) {
        assert(n_blocks > 0); /* of nothing no part can be claimed */
        b.head = (int32_t)(at / n_blocks);
        b.from = 0;
        for (int64_t i = at % n_blocks; i > 0; i--)
            b.from = block_end(task, b.from);
        b.to = block_end(task, b.from);
        attend(&b);
    }
}
