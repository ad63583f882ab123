/* Against repetition: penalties on tokens, and DRY on sequences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/sampler_inner.h"

enum { DRY_ALLOWED = 2, LAST_N = 64 };
#define DRY_BASE 1.75
#define DRY_MOST 1e6f /* no logit outweighs it */

static int32_t window_of(int64_t asked, int64_t fallback, int32_t n_context)
{
    int64_t n = asked < 0 ? fallback : asked;
    return (int32_t)(n < n_context ? n : n_context);
}

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for a sampler: try again later");
}

static int breakers_create(struct sampler_repeat *r, const struct chat_sampling *p, struct error *err)
{
    static const struct str usual[] = {STR("\n"), STR(":"), STR("\""), STR("*")};
    const struct str *from = p->has_dry_breakers ? p->dry_breakers : usual;
    size_t n = p->has_dry_breakers ? p->n_dry_breakers : sizeof usual / sizeof *usual;
    r->breakers = calloc(n + 1, sizeof *r->breakers);
    if (!r->breakers)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        char *copy = malloc(from[i].len + 1);
        if (!copy)
            return no_memory(err);
        memcpy(copy, from[i].data, from[i].len);
        r->breakers[r->n_breakers++] = (struct str){copy, from[i].len};
    }
    return 0;
}

static int dry_create(struct sampler_repeat *r, const struct chat_sampling *p, struct error *err)
{
    size_t n = (size_t)r->dry_last_n;
    r->breaks = calloc((size_t)r->capacity, sizeof *r->breaks);
    r->reversed = calloc(n, sizeof *r->reversed);
    r->matches = calloc(n, sizeof *r->matches);
    r->longest = calloc((size_t)r->n_vocab, sizeof *r->longest);
    if (!r->breaks || !r->reversed || !r->matches || !r->longest)
        return no_memory(err);
    return r->tokenizer ? breakers_create(r, p, err) : 0;
}

int repeat_create(struct sampler_repeat *r, const struct sampler_setup *setup, struct error *err)
{
    const struct chat_sampling *p = setup->sampling;
    *r = (struct sampler_repeat){.repeat = sampler_known(p->repeat_penalty, 1),
        .presence = sampler_known(p->presence_penalty, 0),
        .frequency = sampler_known(p->frequency_penalty, 0),
        .dry_multiplier = sampler_known(p->dry_multiplier, 0),
        .dry_base = sampler_known(p->dry_base, DRY_BASE),
        .n_vocab = setup->n_vocab,
        .dry_allowed = p->dry_allowed_length < 0 ? DRY_ALLOWED : (int32_t)p->dry_allowed_length,
        .tokenizer = setup->tokenizer};
    buf_init(&r->tail, MIB);
    buf_init(&r->piece, MIB);
    bool penalties = r->repeat != 1.0f || r->presence != 0.0f || r->frequency != 0.0f;
    bool dry = r->dry_multiplier > 0 && r->dry_base >= 1;
    r->last_n = penalties ? window_of(p->repeat_last_n, LAST_N, setup->n_context) : 0;
    r->dry_last_n = dry ? window_of(p->dry_penalty_last_n, CHAT_ALL, setup->n_context) : 0;
    r->capacity = r->last_n > r->dry_last_n ? r->last_n : r->dry_last_n;
    if (r->capacity == 0)
        return 0;
    r->recent = calloc((size_t)r->capacity, sizeof *r->recent);
    if (r->last_n > 0)
        r->counts = calloc((size_t)r->n_vocab, sizeof *r->counts);
    if (!r->recent || (r->last_n > 0 && !r->counts))
        return no_memory(err);
    return r->dry_last_n > 0 ? dry_create(r, p, err) : 0;
}

void repeat_free(struct sampler_repeat *r)
{
    for (size_t i = 0; i < r->n_breakers; i++)
        free((void *)(uintptr_t)r->breakers[i].data);
    free(r->breakers);
    free(r->recent);
    free(r->breaks);
    free(r->counts);
    free(r->reversed);
    free(r->matches);
    free(r->longest);
    buf_free(&r->tail);
    buf_free(&r->piece);
}

/* The token that came `back` tokens ago, 0 the last. */
static int32_t index_back(const struct sampler_repeat *r, int32_t back)
{
    int32_t i = r->at - 1 - back;
    return i < 0 ? i + r->capacity : i;
}

/* Does a breaker end in the last token? It may have begun in those before. */
static bool breaker_ends(struct sampler_repeat *r, int32_t token)
{
    size_t old = r->tail.len;
    if (tokenizer_append_piece(r->tokenizer, token, true, &r->tail))
        buf_clear(&r->tail);
    bool ends = false;
    for (size_t i = 0; i < r->n_breakers && !ends; i++) {
        size_t begin = old >= r->breakers[i].len ? old - r->breakers[i].len + 1 : 0;
        ends = str_find(str_slice(buf_str(&r->tail), begin, r->tail.len), r->breakers[i]) != SIZE_MAX;
    }
    if (r->tail.len > LIMIT_BREAKER)
        buf_consume(&r->tail, r->tail.len - LIMIT_BREAKER);
    return ends;
}

void repeat_accept(struct sampler_repeat *r, int32_t token)
{
    if (r->capacity == 0)
        return;
    if (r->counts && r->count >= r->last_n)
        r->counts[r->recent[index_back(r, r->last_n - 1)]]--;
    r->recent[r->at] = token;
    if (r->counts)
        r->counts[token]++;
    if (r->n_breakers > 0)
        r->breaks[r->at] = breaker_ends(r, token);
    r->at = (r->at + 1) % r->capacity;
    r->count += r->count < r->capacity;
}

/* ---- DRY (p-e-w 2024): what would continue a sequence that stood before ---- */

/* A token that holds a breaker begins anew whatever went before it. */
static bool token_breaks(struct sampler_repeat *r, int32_t token)
{
    buf_clear(&r->piece);
    if (r->n_breakers == 0 || tokenizer_append_piece(r->tokenizer, token, true, &r->piece))
        return false;
    for (size_t i = 0; i < r->n_breakers; i++)
        if (str_find(buf_str(&r->piece), r->breakers[i]) != SIZE_MAX)
            return true;
    return false;
}

/* matches[k]: how many of the last tokens also stand, in the same order, k tokens earlier. The Z function of
 * the tokens in reverse (Gusfield 1997): linear, for it compares nothing that the rightmost match so far has
 * settled. */
static void matches_find(const int32_t *reversed, int32_t n, int32_t *matches)
{
    int32_t left = 0, right = 0; /* the match that reaches furthest: [left, right) */
    for (int32_t k = 1; k < n; k++) {
        int32_t settled = k < right ? right - k : 0;
        int32_t known = settled > 0 && matches[k - left] < settled ? matches[k - left] : settled;
        while (k + known < n && reversed[known] == reversed[k + known])
            known++;
        matches[k] = known;
        if (k + known > right) {
            left = k;
            right = k + known;
        }
    }
}

static void dry_penalize(struct sampler_repeat *r, float *logits)
{
    int32_t n = r->count < r->dry_last_n ? r->count : r->dry_last_n, most = 0;
    if (n <= r->dry_allowed)
        return;
    while (most < n && !r->breaks[index_back(r, most)])
        most++;
    if (most < r->dry_allowed)
        return;
    for (int32_t i = 0; i < n; i++)
        r->reversed[i] = r->recent[index_back(r, i)];
    matches_find(r->reversed, n, r->matches);
    for (int32_t k = 1; k < n; k++) {
        int32_t length = r->matches[k] < most ? r->matches[k] : most, next = r->reversed[k - 1];
        if (length >= r->dry_allowed && length >= r->longest[next])
            r->longest[next] = length + 1; /* 0: none */
    }
    for (int32_t k = 1; k < n; k++) {
        int32_t next = r->reversed[k - 1], length = r->longest[next] - 1;
        r->longest[next] = 0;
        if (length < 0 || token_breaks(r, next))
            continue;
        float penalty = r->dry_multiplier * powf(r->dry_base, (float)(length - r->dry_allowed));
        logits[next] -= penalty < DRY_MOST ? penalty : DRY_MOST;
    }
}

/* Repetition: Keskar et al. 2019 (CTRL), as llama.cpp applies it to negative logits. Presence and frequency:
 * OpenAI's API reference. */
void repeat_penalize(struct sampler_repeat *r, float *logits)
{
    for (int32_t id = 0; id < r->n_vocab && r->counts; id++) {
        if (r->counts[id] == 0)
            continue;
        logits[id] = logits[id] > 0 ? logits[id] / r->repeat : logits[id] * r->repeat;
        logits[id] -= (float)r->counts[id] * r->frequency + r->presence;
    }
    if (r->dry_last_n > 0)
        dry_penalize(r, logits);
}
