/* What the ways to attend share: blocks of queries, the cache's rows, what is asked for ahead. */
#ifndef WEIR_ENGINE_WORKER_CPU_ATTENTION_H
#define WEIR_ENGINE_WORKER_CPU_ATTENTION_H

#include "engine/worker/cpu/cpu.h"
#include "engine/worker/kvcache.h"

enum { BLOCK_QUERIES = 192 }; /* and all that share a head of one token, where those are more */

static inline int32_t group_size(const struct op *op)
{
    return op->kv.how.n_heads / op->kv.layer->spec.n_heads;
}

static inline int64_t padded(int64_t width)
{
    return (width + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
}

/* Tokens of a block. */
static inline int32_t block_tokens(const struct op *op)
{
    const int32_t n = BLOCK_QUERIES / group_size(op);
    return n > 0 ? n : 1;
}

/* ---- The cache ---- */

/* Positions [from, to) of one slot and head, which lie in one tile. */
struct stretch {
    int32_t slot, head, from, to;
};

/* Where the keys (or values) of a position of it stand: behind those of `from`, but for a ring's end. */
struct rows {
    const char *first, *again; /* again: of the positions from `turn` on, less these */
    size_t bytes;
    int32_t from, turn;
};

static inline struct rows rows_of(const struct kv_layer *l, const struct stretch *s, bool keys)
{
    const size_t bytes = keys || l->spec.latent ? l->k_row : l->v_row;
    const int32_t turn = s->from + l->n_rows - s->from % l->n_rows;
    const char *first = keys || l->spec.latent ? kv_key(l, s->slot, s->head, s->from)
                                               : kv_value(l, s->slot, s->head, s->from);
    return (struct rows){first, first - (size_t)(s->from % l->n_rows) * bytes, bytes, s->from, turn};
}

static inline const uint8_t *row_at(const struct rows *r, int32_t position)
{
    return (const uint8_t *)(position < r->turn ? r->first + (size_t)(position - r->from) * r->bytes
                                                : r->again + (size_t)(position - r->turn) * r->bytes);
}

/* ---- A block ---- */

/* The scratch of a block of n queries, one part after the other. Of a matrix unit (attention_matrix.c) keys,
 * values, queries and terms are tiles. */
struct parts {
    float *keys;        /* [16 positions][k_width][TILE_ROWS] */
    float *values;      /* [position][padded v_width] */
    float *row;         /* [TILE_ROWS][k_width]: keys as floats, before they are turned round */
    float *queries;     /* [k_width in runs of COLUMN_STRIDE][query][COLUMN_STRIDE] */
    float *terms;       /* only of a matrix unit */
    float *scores;      /* [query][position] */
    float *out;         /* [query][padded v_width] */
    float *most, *sums; /* [query] */
};
enum { PARTS = 9 };

/* Positions. */
struct span {
    int32_t first, last;
};

/* Tokens [from, to) of the batch, with what each sees. */
struct block {
    const struct cpu_task *task;
    int32_t head;
    int64_t from, to;
    struct span seen[BLOCK_QUERIES];
    struct parts parts;
    struct stretch now; /* of the cache: the tile's */
    bool few;
    struct ahead {
        const char *at, *to;
    } ahead[2];   /* keys and values of the next tile, which are asked for meanwhile: */
    size_t share; /* so many bytes at a time, as few as a core can wait for beside what it reads */
};

static inline void ask(struct block *b)
{
    size_t left = b->share;
    for (struct ahead *a = b->ahead; a < b->ahead + 2; a++)
        for (; a->at < a->to && left > 0; a->at += 64, left -= 64)
            __builtin_prefetch(a->at, 0, 2);
}

/* What the token sees of the tile that begins at `tile`: positions of it [from, to). */
static inline struct span seen_of_tile(const struct block *b, int64_t token, int32_t tile)
{
    const struct span s = b->seen[token - b->from];
    return (struct span){s.first > tile ? s.first - tile : 0,
        s.last + 1 - tile < TILE_POSITIONS ? s.last + 1 - tile : TILE_POSITIONS};
}

static inline int64_t n_queries(const struct block *b)
{
    return (b->to - b->from) * group_size(b->task->op);
}

/* Query q of the block, as the program has it. */
static inline const float *query_at(const struct block *b, int64_t q)
{
    const int64_t group = group_size(b->task->op);
    return cpu_row(b->task->cpu, b->task->op->a, b->from + q / group) +
           (b->head * group + q % group) * b->task->op->kv.layer->spec.k_width;
}

/* A way to attend to a block. */
struct attention_way {
    void (*parts)(const struct op *op, size_t sizes[PARTS]); /* floats of each */
    void (*begin)(struct block *b);                          /* packs the queries of a block that has begun */
    int64_t (*times)(const struct block *b);                 /* that a tile asks for what is ahead */
    void (*tile)(struct block *b);                           /* of the positions b->now */
    int64_t (*end)(struct block *b); /* the outputs stand; how many floats from one to the next */
};
/* On a matrix unit (matrix.h), where there is one and the cache is of bfloat16. */
extern const struct attention_way attention_matrix;
/* On integers of 16 bits (shorts.h), where the CPU multiplies these faster than floats and the cache is of
 * F16. */
extern const struct attention_way attention_shorts;

#endif
