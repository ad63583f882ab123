#include "engine/worker/logprobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "chat/chat_tokens.h"
#include "engine/worker/stream_text.h"

struct known {
    int32_t id;
    float logprob;
};

struct waiting {
    struct known token, top[CHAT_TOP_LOGPROBS_MAX]; /* likeliest first */
    int32_t n_top;
    uint64_t at;
};

struct logprobs {
    const struct tokenizer *tokenizer;
    int32_t top, n_vocab;
    float *row; /* as it was seen */
    struct waiting *waiting;
    size_t n_waiting, capacity;
};

int logprobs_create(
    int32_t top, int32_t n_vocab, const struct tokenizer *t, struct logprobs **out, struct error *err)
{
    struct logprobs *l = *out = calloc(1, sizeof *l);
    float *row = calloc((size_t)n_vocab, sizeof *row);
    if (!l || !row) {
        free(row);
        logprobs_free(l);
        *out = NULL;
        return error_set(err, ERROR_MEMORY, "no memory for log-probabilities: try again later");
    }
    *l = (struct logprobs){.tokenizer = t, .top = top, .n_vocab = n_vocab, .row = row};
    return 0;
}

void logprobs_free(struct logprobs *l)
{
    if (!l)
        return;
    free(l->row);
    free(l->waiting);
    free(l);
}

void logprobs_see(struct logprobs *l, const float *row)
{
    memcpy(l->row, row, (size_t)l->n_vocab * sizeof *row);
}

/* log(sum(exp(row))); NaN counts as nothing. */
static double log_sum(const float *row, int32_t n)
{
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        largest = row[i] > largest ? row[i] : largest;
    for (int32_t i = 0; i < n; i++)
        if (row[i] > -INFINITY)
            sum += row[i] == largest ? 1 : exp((double)(row[i] - largest));
    return (double)largest + log(sum);
}

/* Keeps the list of the likeliest so far in order; ties to the lower id, which came first. */
static void top_insert(struct waiting *w, int32_t most, struct known one)
{
    int32_t at = w->n_top;
    while (at > 0 && w->top[at - 1].logprob < one.logprob)
        at--;
    if (at == most)
        return;
    if (w->n_top < most)
        w->n_top++;
    memmove(&w->top[at + 1], &w->top[at], (size_t)(w->n_top - 1 - at) * sizeof *w->top);
    w->top[at] = one;
}

int logprobs_take(struct logprobs *l, int32_t token, uint64_t at, struct error *err)
{
    if (l->n_waiting == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 16;
        struct waiting *grown = realloc(l->waiting, capacity * sizeof *grown);
        if (!grown)
            return error_set(err, ERROR_MEMORY, "no memory for log-probabilities: ask for fewer");
        l->waiting = grown;
        l->capacity = capacity;
    }
    struct waiting *w = &l->waiting[l->n_waiting++];
    *w = (struct waiting){.at = at};
    double sum = log_sum(l->row, l->n_vocab);
    for (int32_t id = 0; id < l->n_vocab && l->top > 0; id++)
        if (l->row[id] > -INFINITY && (w->n_top < l->top || l->row[id] > w->top[w->n_top - 1].logprob))
            top_insert(w, l->top, (struct known){id, l->row[id]});
    for (int32_t i = 0; i < w->n_top; i++)
        w->top[i].logprob = (float)((double)w->top[i].logprob - sum);
    w->token = (struct known){token, (float)((double)l->row[token] - sum)};
    return 0;
}

size_t logprobs_waiting(const struct logprobs *l)
{
    return l ? l->n_waiting : 0;
}

void logprobs_drop(struct logprobs *l, uint64_t from)
{
    while (l && l->n_waiting > 0 && l->waiting[l->n_waiting - 1].at >= from)
        l->n_waiting--;
}

/* ---- Writing ---- */

/* The token's bytes and, in `text`, what of them is text; both are appended to `bytes`, whose end is given.
 */
static struct chat_token token_of(
    const struct logprobs *l, struct known one, struct buf *bytes, struct buf *text)
{
    struct chat_token t = {.logprob = (double)one.logprob};
    struct stream_text whole;
    struct error err;
    buf_clear(bytes);
    buf_clear(text);
    /* What has no memory or no text is an empty one. */
    if (tokenizer_append_piece(l->tokenizer, one.id, true, bytes))
        buf_clear(bytes);
    stream_text_init(&whole, NULL, 0);
    if (stream_text_push(&whole, buf_str(bytes), text, &err) || stream_text_finish(&whole, text, &err))
        buf_clear(text);
    stream_text_free(&whole);
    t.text = buf_str(text);
    t.bytes = bytes->data ? buf_str(bytes) : STR("");
    return t;
}

void logprobs_write(struct logprobs *l, struct json_writer *w)
{
    struct buf bytes[CHAT_TOP_LOGPROBS_MAX + 1], texts[CHAT_TOP_LOGPROBS_MAX + 1];
    for (size_t i = 0; i <= CHAT_TOP_LOGPROBS_MAX; i++) {
        buf_init(&bytes[i], 64 * KIB);
        buf_init(&texts[i], 256 * KIB);
    }
    json_array_begin(w);
    for (size_t i = 0; i < l->n_waiting; i++) {
        const struct waiting *one = &l->waiting[i];
        struct chat_token top[CHAT_TOP_LOGPROBS_MAX];
        for (int32_t k = 0; k < one->n_top; k++)
            top[k] = token_of(l, one->top[k], &bytes[k], &texts[k]);
        struct chat_token token =
            token_of(l, one->token, &bytes[CHAT_TOP_LOGPROBS_MAX], &texts[CHAT_TOP_LOGPROBS_MAX]);
        token.top = top;
        token.n_top = (size_t)one->n_top;
        chat_token_write(&token, w);
    }
    json_array_end(w);
    l->n_waiting = 0;
    for (size_t i = 0; i <= CHAT_TOP_LOGPROBS_MAX; i++) {
        buf_free(&bytes[i]);
        buf_free(&texts[i]);
    }
}
