#include "engine/worker/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"

/* A token that may still be drawn. */
struct candidate {
    int32_t id;
    float logit;
    float weight; /* exp(logit - largest): its probability but for a factor */
};

struct sampler {
    float temperature, top_p, min_p, repeat, presence, frequency;
    int32_t top_k, n_vocab;
    struct rand_pcg random;
    struct candidate *candidates; /* n_vocab */
    /* The last `capacity` tokens as a ring, and how often each token stands in it. */
    int32_t *recent, capacity, count, at;
    uint32_t *counts; /* n_vocab; NULL without penalties */
};

enum { RECENT_MAX = 1 << 16 };

static double known(double value, double fallback)
{
    return value >= 0 || value < 0 ? value : fallback; /* NaN: unset */
}

static int penalties_create(struct sampler *s, const struct chat_sampling *p, struct error *err)
{
    s->repeat = (float)known(p->repeat_penalty, 1.0);
    s->presence = (float)known(p->presence_penalty, 0.0);
    s->frequency = (float)known(p->frequency_penalty, 0.0);
    int64_t last_n = p->repeat_last_n < 0 ? 64 : p->repeat_last_n;
    s->capacity = (int32_t)(last_n < RECENT_MAX ? last_n : RECENT_MAX);
    if (s->capacity == 0 || (s->repeat == 1.0f && s->presence == 0.0f && s->frequency == 0.0f))
        return 0;
    s->recent = calloc((size_t)s->capacity, sizeof *s->recent);
    s->counts = calloc((size_t)s->n_vocab, sizeof *s->counts);
    if (!s->recent || !s->counts)
        return error_set(err, ERROR_MEMORY, "no memory for a sampler: try again later");
    return 0;
}

int sampler_create(const struct chat_sampling *p, int32_t n_vocab, struct sampler **out, struct error *err)
{
    struct sampler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return error_set(err, ERROR_MEMORY, "no memory for a sampler: try again later");
    s->n_vocab = n_vocab;
    s->temperature = (float)known(p->temperature, 0.8);
    s->top_p = (float)known(p->top_p, 0.95);
    s->min_p = (float)known(p->min_p, 0.05);
    int64_t top_k = p->top_k < 0 ? 40 : p->top_k;
    s->top_k = top_k == 0 || top_k > n_vocab ? n_vocab : (int32_t)top_k;
    rand_pcg_seed(&s->random, p->has_seed ? (uint64_t)p->seed : rand_u64());
    int rc = penalties_create(s, p, err);
    s->candidates = calloc((size_t)n_vocab, sizeof *s->candidates);
    if (rc == 0 && !s->candidates)
        rc = error_set(err, ERROR_MEMORY, "no memory for a sampler: try again later");
    if (rc) {
        sampler_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->candidates);
    free(s->recent);
    free(s->counts);
    free(s);
}

void sampler_accept(struct sampler *s, int32_t token)
{
    if (!s->counts || token < 0 || token >= s->n_vocab)
        return;
    if (s->count == s->capacity)
        s->counts[s->recent[s->at]]--;
    else
        s->count++;
    s->recent[s->at] = token;
    s->counts[token]++;
    s->at = (s->at + 1) % s->capacity;
}

/* Repetition: Keskar et al. 2019 (CTRL), as llama.cpp applies it to negative logits. Presence and frequency:
 * OpenAI's API reference. */
static void penalize(const struct sampler *s, float *logits)
{
    if (!s->counts)
        return;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        if (s->counts[id] == 0)
            continue;
        logits[id] = logits[id] > 0 ? logits[id] / s->repeat : logits[id] * s->repeat;
        logits[id] -= (float)s->counts[id] * s->frequency + s->presence;
    }
}

/* The largest, ties to the lowest id; -1 when there is none above minus infinity. NaN is never chosen. */
static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = -1;
    float largest = -INFINITY;
    for (int32_t id = 0; id < n; id++)
        if (logits[id] > largest) {
            largest = logits[id];
            best = id;
        }
    return best;
}

/* Order of preference: larger logits first, ties to the lower id. */
static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return before(x, y) ? -1 : before(y, x) ? 1 : 0;
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Moves the k most preferred of n to the front, in any order (Hoare's selection, median of three). */
static void select_front(struct candidate *c, int32_t n, int32_t k)
{
    int32_t low = 0, high = n - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (before(&c[middle], &c[low]))
            swap(&c[middle], &c[low]);
        if (before(&c[high], &c[low]))
            swap(&c[high], &c[low]);
        if (before(&c[high], &c[middle]))
            swap(&c[high], &c[middle]);
        const struct candidate pivot = c[middle];
        int32_t i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot))
                i++;
            while (before(&pivot, &c[j]))
                j--;
            if (i <= j)
                swap(&c[i++], &c[j--]);
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

/* Puts the first n candidates in order of preference. */
static void sort_front(struct candidate *c, int32_t total, int32_t n)
{
    if (n < total)
        select_front(c, total, n);
    qsort(c, (size_t)n, sizeof *c, compare);
}

/* Everything that can be drawn at all: not NaN, not minus infinity. */
static int32_t gather(const struct sampler *s, const float *logits)
{
    int32_t n = 0;
    for (int32_t id = 0; id < s->n_vocab; id++)
        if (logits[id] > -INFINITY)
            s->candidates[n++] = (struct candidate){id, logits[id], 0};
    return n;
}

/* Weights relative to the largest logit; returns their sum. An infinite logit outweighs all finite ones. */
static double weigh(struct candidate *c, int32_t n, float largest, float temperature)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        c[i].weight = c[i].logit == largest ? 1.0f : expf((c[i].logit - largest) / temperature);
        sum += (double)c[i].weight;
    }
    return sum;
}

/* The fewest candidates, most preferred first, that hold a share top_p of the probability (Holtzman et al.
 * 2019). The order is made only as far as it is needed: most of a vocabulary is far below the cut. */
static int32_t keep_top_p(struct candidate *c, int32_t n, double sum, float top_p)
{
    if (top_p >= 1.0f)
        return n;
    double wanted = sum * (double)top_p, held = 0;
    int32_t sorted = 0;
    for (int32_t kept = 0; kept < n; kept++) {
        if (kept == sorted) {
            int32_t more = sorted == 0 ? 64 : sorted * 3;
            if (more > n - sorted)
                more = n - sorted;
            sort_front(c + sorted, n - sorted, more);
            sorted += more;
        }
        held += (double)c[kept].weight;
        if (held >= wanted)
            return kept + 1;
    }
    return n;
}

/* Drops what is less likely than min_p times the likeliest (Nguyen et al. 2024); its weight is 1. */
static int32_t keep_min_p(struct candidate *c, int32_t n, float min_p)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++)
        if (c[i].weight >= min_p)
            c[kept++] = c[i];
    return kept;
}

/* Candidates stand in order of preference or of id, never as selection left them, so that a seed gives the
 * same token when logits differ in their last bit. */
static int32_t draw(struct sampler *s, const struct candidate *c, int32_t n, double sum)
{
    double left = rand_pcg_double(&s->random) * sum;
    int32_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].weight <= 0)
            continue;
        last = i;
        left -= (double)c[i].weight;
        if (left < 0)
            break;
    }
    return c[last].id;
}

int sampler_draw(struct sampler *s, float *logits, int32_t *token, struct error *err)
{
    penalize(s, logits);
    int32_t best = argmax(logits, s->n_vocab);
    if (best < 0)
        return error_set(
            err, ERROR_INTERNAL, "the model computed no usable number: its file is broken, fetch it again");
    *token = best;
    if (s->temperature <= 0)
        return 0;
    struct candidate *c = s->candidates;
    float largest = logits[best];
    int32_t n = gather(s, logits);
    if (s->top_k < n) {
        sort_front(c, n, s->top_k);
        n = s->top_k;
    }
    double sum = weigh(c, n, largest, 1.0f);
    n = keep_top_p(c, n, sum, s->top_p);
    n = keep_min_p(c, n, s->min_p);
    sum = weigh(c, n, largest, s->temperature);
    *token = draw(s, c, n, sum);
    return 0;
}
