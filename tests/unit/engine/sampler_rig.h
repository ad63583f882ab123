/* Samplers and logits for their tests. */
#ifndef WEIR_TESTS_UNIT_ENGINE_SAMPLER_RIG_H
#define WEIR_TESTS_UNIT_ENGINE_SAMPLER_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/sampler.h"

enum { VOCAB = 500, DRAWS = 20000 };

static inline struct chat_sampling plain(int64_t seed)
{
    struct chat_sampling p;
    chat_sampling_init(&p);
    p.temperature = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    p.has_seed = true;
    p.seed = seed;
    return p;
}

static inline struct sampler *create(const struct chat_sampling *p, int32_t n_vocab)
{
    struct sampler *s;
    struct error err = {0};
    const struct sampler_setup setup = {.sampling = p, .n_vocab = n_vocab, .n_context = 1 << 16};
    if (sampler_create(&setup, &s, &err) != 0)
        fail_msg("%s", err.message);
    return s;
}

static inline int32_t draw_one(struct sampler *s, const float *logits, int32_t n)
{
    float *copy = malloc((size_t)n * sizeof *copy);
    int32_t token;
    struct error err = {0};
    memcpy(copy, logits, (size_t)n * sizeof *copy);
    if (sampler_draw(s, copy, &token, &err) != 0)
        fail_msg("%s", err.message);
    free(copy);
    return token;
}

static inline void random_logits(struct rand_pcg *r, float *logits, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        logits[i] = (float)(rand_pcg_double(r) * 12 - 6);
}

#endif
