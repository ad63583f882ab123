/* What the files of the sampler share. */
#ifndef WEIR_ENGINE_WORKER_SAMPLER_INNER_H
#define WEIR_ENGINE_WORKER_SAMPLER_INNER_H

#include "base/buf.h"
#include "base/rand.h"
#include "engine/worker/sampler.h"
#include "engine/worker/tokenizer.h"

/* ---- Candidates: the tokens that may still be drawn ----
 *
 *   | in order of preference (sorted) | the rest, less preferred, in any order |
 *
 * The order is made only as far as a stage needs it: most of a vocabulary is far below every cut. */
struct candidate {
    int32_t id;
    float logit;
    float weight; /* its probability but for a factor; of the stage that last weighed */
};

struct candidates {
    struct candidate *list;
    int32_t n, sorted;
};

/* Puts at least the first `count` in order: larger logits first, ties to the lower id. */
void candidates_order(struct candidates *c, int32_t count);
/* Leaves the first `count` in order, where there are so many. */
void candidates_first(struct candidates *c, int32_t count);
/* Weights exp((logit - largest) / temperature), 1 for the most preferred; returns their sum. */
double candidates_weigh(struct candidates *c, float temperature);
/* The filters that are switched on, in their order. XTC may draw a number. */
struct sampler_filters {
    float top_n_sigma, typical_p, top_p, min_p, xtc_probability, xtc_threshold;
    int32_t top_k, min_keep;
};
/* So many does top-k leave. */
static inline int32_t filters_first(const struct sampler_filters *f)
{
    return f->top_k > f->min_keep ? f->top_k : f->min_keep;
}
void candidates_filter(struct candidates *c, const struct sampler_filters *f, struct rand_pcg *random);

/* ---- Drawing ---- */
struct sampler_drawing {
    float temperature, dynatemp_range, dynatemp_exponent;
    int32_t mirostat, n_vocab;
    float tau, eta, mu;                  /* mirostat; mu is what it has come to */
    float target, decay;                 /* adaptive-p; target < 0: off */
    float adaptive_sum, adaptive_weight; /* of the probabilities of what was drawn, the latest count most */
};
void drawing_init(struct sampler_drawing *d, const struct chat_sampling *p, int32_t n_vocab);
/* n >= 1, temperature > 0. */
int32_t drawing_draw(struct sampler_drawing *d, struct candidates *c, struct rand_pcg *random);

/* ---- Repetition ---- */
struct sampler_repeat {
    float repeat, presence, frequency;
    float dry_multiplier, dry_base;
    int32_t n_vocab, last_n, dry_last_n, dry_allowed;
    const struct tokenizer *tokenizer;
    struct str *breakers;
    size_t n_breakers;
    /* The last `capacity` tokens as a ring, `at` the next to be written; `breaks`: a breaker ends in it. */
    int32_t *recent, capacity, count, at;
    bool *breaks;
    struct buf tail;  /* the end of the text, where a breaker may have begun */
    struct buf piece; /* of one token */
    uint32_t *counts; /* n_vocab: how often each token stands in the last last_n; NULL without penalties */
    int32_t *reversed, *matches, *longest; /* DRY's; the last n_vocab, all 0 between draws */
};
int repeat_create(struct sampler_repeat *r, const struct sampler_setup *setup, struct error *err) MUST_USE;
void repeat_free(struct sampler_repeat *r);
void repeat_accept(struct sampler_repeat *r, int32_t token);
void repeat_penalize(struct sampler_repeat *r, float *logits);

static inline float sampler_known(double value, double fallback)
{
    return (float)(value >= 0 || value < 0 ? value : fallback); /* NaN: unset */
}

#endif
