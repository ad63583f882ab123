/* A tiny model and sequences for it. */
#ifndef WEIR_TESTS_TRAIN_TINY_H
#define WEIR_TESTS_TRAIN_TINY_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "train/pass.h"

static inline struct train_shape tiny_shape(void)
{
    return (struct train_shape){.n_layers = 2,
        .n_embed = 24,
        .n_heads = 4,
        .n_kv_heads = 2,
        .head_width = 6,
        .n_ffn = 20,
        .n_vocab = 37,
        .n_context = 200,
        .tied = true,
        .rope_base = 10000,
        .norm_eps = 1e-5f};
}

/* Three examples, one of them longer than the attention's run of rows, and targets among their tokens. */
enum { TINY_TOKENS = 120, TINY_DOCS = 3 };
struct tiny_sequence {
    int32_t tokens[TINY_TOKENS], docs[TINY_DOCS + 1], rows[TINY_TOKENS], targets[TINY_TOKENS];
    float weights[TINY_TOKENS];
    struct train_sequence s;
};

static inline void tiny_sequence_fill(struct tiny_sequence *t, uint64_t seed, int32_t n_vocab, int every)
{
    static const int32_t docs[] = {0, 9, 100, TINY_TOKENS};
    struct rand_pcg r;
    rand_pcg_seed(&r, seed);
    *t = (struct tiny_sequence){.s = {.n_tokens = TINY_TOKENS, .n_docs = TINY_DOCS}};
    memcpy(t->docs, docs, sizeof docs);
    for (int i = 0; i < TINY_TOKENS; i++)
        t->tokens[i] = (int32_t)(rand_pcg_u32(&r) % (uint32_t)n_vocab);
    for (int i = 0; i < TINY_TOKENS - 1; i++)
        if (i % every == every - 1) {
            t->weights[t->s.n_targets] = i % 3 ? 1 : 0.25f;
            t->targets[t->s.n_targets] = t->tokens[i + 1];
            t->rows[t->s.n_targets++] = i;
        }
    t->s.tokens = t->tokens;
    t->s.docs = t->docs;
    t->s.rows = t->rows;
    t->s.targets = t->targets;
    t->s.weights = t->weights;
}

/* Weights that are large enough for every path to matter. */
static inline void tiny_model_create(struct train_model *m, const struct train_shape *shape)
{
    struct rand_pcg r;
    assert_int_equal(train_model_create(shape, 7, m, NULL), 0);
    rand_pcg_seed(&r, 11);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct train_weight *w = &m->weights[i];
        for (int64_t j = 0; j < w->n_in * w->n_out; j++) {
            float u = (float)(2 * rand_pcg_double(&r) - 1);
            m->values[w->at + j] = w->vector ? 1 + u / 2 : 2 * u / sqrtf((float)w->n_in);
        }
    }
}

#endif
