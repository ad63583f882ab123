#include "exchange/forecast.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/must.h"

enum { PLACES = 4096, LEVELS = 3 };
#define UNSEEN_TOKENS 256.0 /* an answer's, before any was seen */
#define WIDER 4.0           /* the wider kind counts as so many answers */
#define MEMORY 50.0         /* answers that a mean remembers */

struct kind {
    uint64_t tag; /* 0: free */
    double n;     /* answers, at most MEMORY */
    struct forecast_guess mean;
};

struct forecast {
    pthread_mutex_t mutex;
    struct kind kinds[PLACES];
};

struct forecast *forecast_create(void)
{
    struct forecast *f = must(calloc(1, sizeof *f));
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

void forecast_free(struct forecast *f)
{
    if (f)
        pthread_mutex_destroy(&f->mutex);
    free(f);
}

/* All, the route, the key on the route. */
static void tags_make(struct str key_id, struct str route, uint64_t tags[LEVELS])
{
    uint64_t hash = str_hash(route) * 0x9e3779b97f4a7c15u;
    tags[0] = 1;
    tags[1] = hash | 1;
    tags[2] = ((hash ^ str_hash(key_id)) * 0x9e3779b97f4a7c15u) | 1;
}

static struct kind *place_of(struct forecast *f, uint64_t tag)
{
    return &f->kinds[(tag ^ (tag >> 32)) >> 1 & (PLACES - 1)];
}

void forecast_add(struct forecast *f, const struct forecast_answer *a)
{
    uint64_t tags[LEVELS];
    if (a->output_tokens < 0)
        return;
    double cached = a->input_tokens > 0 && a->cached_tokens > 0 && a->cached_tokens <= a->input_tokens
                        ? (double)a->cached_tokens / (double)a->input_tokens
                        : 0;
    tags_make(a->key_id, a->route, tags);
    pthread_mutex_lock(&f->mutex);
    for (int i = 0; i < LEVELS; i++) {
        struct kind *k = place_of(f, tags[i]);
        if (k->tag != tags[i])
            *k = (struct kind){.tag = tags[i]};
        k->n += k->n < MEMORY;
        k->mean.output_tokens += ((double)a->output_tokens - k->mean.output_tokens) / k->n;
        k->mean.cached += (cached - k->mean.cached) / k->n;
    }
    pthread_mutex_unlock(&f->mutex);
}

struct forecast_guess forecast_guess(struct forecast *f, struct str key_id, struct str route)
{
    struct forecast_guess guess = {UNSEEN_TOKENS, 0};
    uint64_t tags[LEVELS];
    if (!f)
        return guess;
    tags_make(key_id, route, tags);
    pthread_mutex_lock(&f->mutex);
    for (int i = 0; i < LEVELS; i++) {
        const struct kind *k = place_of(f, tags[i]);
        if (k->tag != tags[i])
            continue;
        double wider = WIDER / (k->n + WIDER);
        guess.output_tokens = wider * guess.output_tokens + (1 - wider) * k->mean.output_tokens;
        guess.cached = wider * guess.cached + (1 - wider) * k->mean.cached;
    }
    pthread_mutex_unlock(&f->mutex);
    return guess;
}
