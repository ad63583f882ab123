/* How hard a prompt is for a small model: a linear model of twenty-two features of its text and of its words
 * (score.h).
 *
 * The weights (data/complexity.grams) are a ridge regression of (strong answer's quality - weak answer's
 * quality) on public outcomes of pairs of models (RouteLLM's, LLMRouter's, RouterArena's), each benchmark
 * centred, so that they rank prompts of one kind rather than tell kinds apart. Counts go in as log(1 + n) /
 * scale. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "router/router.h"
#include "router/score.h"

/* log(1 + n) of small counts, as most are. */
enum { LOGS = 256 };
static double logs[LOGS];

static void logs_make(void)
{
    for (size_t n = 0; n < LOGS; n++)
        logs[n] = log1p((double)n);
}

static double log_of(size_t n)
{
    return n < LOGS ? logs[n] : log1p((double)n);
}

static void features_make(const struct score_counts *c, size_t bytes, double out[SCORE_FEATURES])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, logs_make);
    double words = c->words > 0 ? (double)c->words : 1;
    const double features[SCORE_FEATURES] = {
        log_of(bytes) / 8,
        log_of(c->words) / 6,
        log_of(c->numbers) / 3,
        (double)c->long_words / words,
        log_of(c->sign[SCORE_SYMBOL]) / 4,
        log_of(c->word[SCORE_IF]) / 2,
        log_of(c->sign[SCORE_QUESTION]) / 2,
        log_of(c->lines) / 4,
        log_of(c->word[SCORE_HARD]) / 2,
        log_of(c->sign[SCORE_COMMA]) / 3,
        log_of(c->sign[SCORE_STOP]) / 3,
        log_of(c->sign[SCORE_BRACKET]) / 3,
        log_of(c->sign[SCORE_PERCENT]) / 2,
        log_of(c->word[SCORE_STEP]) / 2,
        log_of(c->word[SCORE_NOT]) / 2,
        c->choices ? 1 : 0,
        log_of(c->capitals) / 5,
        log_of(c->repeated) / 5,
        (double)c->repeated / words,
        log_of(c->word[SCORE_MORE]) / 2,
        log_of(c->word[SCORE_TASK]) / 2,
        (double)c->letters / words / 6,
    };
    memcpy(out, features, sizeof features);
}

void score_features(struct str text, double out[SCORE_FEATURES])
{
    struct score_counts counts;
    score_read(text, &counts, NULL);
    features_make(&counts, str_slice(text, 0, SCORE_TEXT).len, out);
}

double router_score(struct str prompt)
{
    const struct score_gram_weights *weights = score_weights();
    struct score_counts counts;
    struct score_grams grams = {0};
    double features[SCORE_FEATURES];
    score_read(prompt, &counts, &grams);
    if (prompt.len <= SCORE_GRAM_TEXT)
        features_make(&counts, prompt.len, features);
    else
        score_features(prompt, features);
    double sum = (double)weights->offset + (double)weights->unit * grams.sum / sqrt((double)grams.n + 1);
    for (size_t i = 0; i < SCORE_FEATURES; i++)
        sum += (double)weights->feature[i] * features[i];
    return 1 / (1 + exp(-sum));
}
