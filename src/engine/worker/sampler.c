#include "engine/worker/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/sampler_inner.h"

struct bias {
    int32_t id;
    float bias;
};

struct sampler {
    int32_t n_vocab;
    struct sampler_repeat repeat;
    struct sampler_filters filters;
    struct sampler_drawing drawing;
    struct rand_pcg random;
    struct candidate *candidates; /* n_vocab; from the first draw on: a call that waits takes little memory */
    struct bias *biases;
    size_t n_biases;
    /* Tokens that end an answer, where they are forbidden at first or always; and their logits meanwhile. */
    int32_t *ends;
    float *end_logits;
    size_t n_ends;
    int64_t drawn, min_tokens;
};

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for a sampler: try again later");
}

/* ---- Bias ---- */

static int bias_append(struct sampler *s, int64_t id, double bias, struct error *err)
{
    if (id < 0 || id >= s->n_vocab)
        return error_set(err, ERROR_INVALID,
            "'logit_bias' names token %lld: the vocabulary has ids from 0 to %d", (long long)id,
            s->n_vocab - 1);
    struct bias *grown = realloc(s->biases, (s->n_biases + 1) * sizeof *grown);
    if (!grown)
        return no_memory(err);
    s->biases = grown;
    s->biases[s->n_biases++] = (struct bias){(int32_t)id, (float)bias};
    return 0;
}

static int biases_create(struct sampler *s, const struct sampler_setup *setup, struct error *err)
{
    const struct chat_sampling *p = setup->sampling;
    int rc = 0;
    for (size_t i = 0; i < p->n_logit_bias && rc == 0; i++) {
        const struct chat_bias *b = &p->logit_bias[i];
        struct token_list tokens = {0};
        if (!b->text.data)
            rc = bias_append(s, b->token, b->bias, err);
        else if (setup->tokenizer)
            rc = tokenizer_encode(setup->tokenizer, b->text, false, false, &tokens, err);
        for (size_t k = 0; k < tokens.count && rc == 0; k++)
            rc = bias_append(s, tokens.ids[k], b->bias, err);
        free(tokens.ids);
    }
    return rc;
}

/* ---- Ends ---- */

static int ends_create(struct sampler *s, const struct sampler_setup *setup, struct error *err)
{
    const struct chat_sampling *p = setup->sampling;
    s->min_tokens = p->ignore_eos ? INT64_MAX : p->min_tokens > 0 ? p->min_tokens : 0;
    for (int32_t id = 0; id < s->n_vocab && s->min_tokens > 0; id++)
        s->n_ends += tokenizer_is_end(setup->tokenizer, id);
    if (s->n_ends == 0)
        return 0;
    s->ends = calloc(s->n_ends, sizeof *s->ends);
    s->end_logits = calloc(s->n_ends, sizeof *s->end_logits);
    if (!s->ends || !s->end_logits)
        return no_memory(err);
    for (int32_t id = 0, n = 0; id < s->n_vocab; id++)
        if (tokenizer_is_end(setup->tokenizer, id))
            s->ends[n++] = id;
    return 0;
}

enum { RUN = 32 };

/* Is any of RUN logits larger? (Without a branch for each, so that compilers make vectors of it.) */
static bool any_above(const float *logits, float least)
{
    int above = 0;
    for (int i = 0; i < RUN; i++)
        above |= logits[i] > least;
    return above;
}

/* The first id from `id` on whose logit is larger; n: there is none. Few of a vocabulary are. */
static int32_t next_above(const float *logits, int32_t id, int32_t n, float least)
{
    while (id + RUN <= n && !any_above(logits + id, least))
        id += RUN;
    while (id < n && !(logits[id] > least))
        id++;
    return id;
}

/* The largest, ties to the lowest id; -1 when there is none above minus infinity. NaN is never chosen. */
static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = -1, id = next_above(logits, 0, n, -INFINITY);
    for (; id < n; id = next_above(logits, id + 1, n, logits[id]))
        best = id;
    return best;
}

/* The best token that is no end; where nothing else is left (a grammar is complete), the end after all. */
static int32_t best_without_end(struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->n_ends; i++) {
        s->end_logits[i] = logits[s->ends[i]];
        logits[s->ends[i]] = -INFINITY;
    }
    int32_t best = argmax(logits, s->n_vocab);
    if (best >= 0)
        return best;
    for (size_t i = 0; i < s->n_ends; i++)
        logits[s->ends[i]] = s->end_logits[i];
    return argmax(logits, s->n_vocab);
}

/* ---- The whole ---- */

static struct sampler_filters filters_of(const struct chat_sampling *p, int32_t n_vocab)
{
    int64_t top_k = p->top_k < 0 ? 40 : p->top_k;
    return (struct sampler_filters){.top_n_sigma = sampler_known(p->top_n_sigma, -1),
        .top_k = top_k == 0 || top_k > n_vocab ? n_vocab : (int32_t)top_k,
        .typical_p = sampler_known(p->typical_p, 1),
        .top_p = sampler_known(p->top_p, 0.95),
        .min_p = sampler_known(p->min_p, 0.05),
        .xtc_probability = sampler_known(p->xtc_probability, 0),
        .xtc_threshold = sampler_known(p->xtc_threshold, 0.1),
        .min_keep = p->min_keep < 1         ? 1
                    : p->min_keep < n_vocab ? (int32_t)p->min_keep
                                            : n_vocab};
}

int sampler_create(const struct sampler_setup *setup, struct sampler **out, struct error *err)
{
    const struct chat_sampling *p = setup->sampling;
    struct sampler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return no_memory(err);
    s->n_vocab = setup->n_vocab;
    s->filters = filters_of(p, s->n_vocab);
    drawing_init(&s->drawing, p, s->n_vocab);
    rand_pcg_seed(&s->random, p->has_seed ? (uint64_t)p->seed : rand_u64());
    int rc = repeat_create(&s->repeat, setup, err);
    if (rc == 0)
        rc = biases_create(s, setup, err);
    if (rc == 0 && setup->tokenizer)
        rc = ends_create(s, setup, err);
    if (rc)
        sampler_free(s);
    else
        *out = s;
    return rc;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    repeat_free(&s->repeat);
    free(s->candidates);
    free(s->biases);
    free(s->ends);
    free(s->end_logits);
    free(s);
}

void sampler_accept(struct sampler *s, int32_t token)
{
    if (token >= 0 && token < s->n_vocab)
        repeat_accept(&s->repeat, token);
}

/* Everything that can be drawn at all: not NaN, not minus infinity. */
static struct candidates gather(const struct sampler *s, const float *logits)
{
    struct candidates c = {.list = s->candidates};
    for (int32_t id = 0; id < s->n_vocab; id++)
        if (logits[id] > -INFINITY)
            c.list[c.n++] = (struct candidate){id, logits[id], 0};
    return c;
}

/* The k most preferred of these, in order (no more than k stay as they are): what reaches the least of those
 * found so far waits behind them until there are four times as many. A later one of the same logit is less
 * preferred. */
static struct candidates gather_first(const struct sampler *s, const float *logits, int32_t k)
{
    struct candidates c = {.list = s->candidates};
    float least = -INFINITY;
    for (int32_t id = -1; (id = next_above(logits, id + 1, s->n_vocab, least)) < s->n_vocab;) {
        c.list[c.n++] = (struct candidate){id, logits[id], 0};
        if (c.n < 4 * k)
            continue;
        candidates_first(&c, k);
        least = c.list[k - 1].logit;
        c.sorted = 0; /* more will come in between */
    }
    if (c.n > k)
        candidates_first(&c, k);
    return c;
}

/* What the first filter leaves, where that is top-k, without a list of the whole vocabulary. */
static struct candidates gather_for(const struct sampler *s, const float *logits)
{
    const int32_t k = filters_first(&s->filters);
    const bool first = s->drawing.mirostat == 0 && !(s->filters.top_n_sigma > 0);
    return first && k < s->n_vocab / 8 ? gather_first(s, logits, k) : gather(s, logits);
}

int sampler_draw(struct sampler *s, float *logits, int32_t *token, struct error *err)
{
    for (size_t i = 0; i < s->n_biases; i++)
        logits[s->biases[i].id] += s->biases[i].bias;
    repeat_penalize(&s->repeat, logits);
    bool may_end = s->drawn++ >= s->min_tokens;
    int32_t best = may_end ? argmax(logits, s->n_vocab) : best_without_end(s, logits);
    if (best < 0)
        return error_set(
            err, ERROR_INTERNAL, "the model computed no usable number: its file is broken, fetch it again");
    *token = best;
    if (s->drawing.temperature <= 0)
        return 0;
    if (!s->candidates)
        s->candidates = calloc((size_t)s->n_vocab, sizeof *s->candidates);
    if (!s->candidates)
        return no_memory(err);
    struct candidates c = gather_for(s, logits);
    if (s->drawing.mirostat == 0)
        candidates_filter(&c, &s->filters, &s->random);
    *token = drawing_draw(&s->drawing, &c, &s->random);
    return 0;
}
